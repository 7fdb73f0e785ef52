//! Any bytes as a map page.

use cairn_core::map::{Fanout, Page};

pub fn run(bytes: &[u8]) {
    for (level, log2) in [(1, 5), (2, 5), (1, 6), (3, 10)] {
        let Some(fanout) = Fanout::from_log2(log2) else { return };
        if let Ok(page) = Page::decode(bytes.into(), level, fanout) {
            assert!(
                (0..fanout.entries()).any(|slot| page.block(slot).is_some() || page.child(slot).is_some())
            );
            let _ = page.allocated();
        }
    }
}
