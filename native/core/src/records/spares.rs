//! The memory of blocks that a cache let go of, for the blocks that come next.
//!
//! A block is allocated by the thread that decodes it and freed by the one that pushes it out. With
//! the system's allocator, which gives each thread an arena of its own, that grew 96 MiB of blocks
//! to 180 MiB of memory (8 threads); used again, they stay what the budget says, and need no zeroing.

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::Lifecycle;

use crate::digest::Digest;

/// About as many as there are threads that decode.
const COUNT_MAX: usize = 16;
/// Bytes of all of them, but for one, which may be of any size.
const BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Spares {
    blocks: Arc<Mutex<Vec<Arc<[u8]>>>>,
}

impl Spares {
    /// Memory for a block, with nobody else's claim on it and whatever bytes.
    pub(super) fn buffer(&self, len: usize) -> Arc<[u8]> {
        let spare = {
            let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            let found = blocks.iter().rposition(|block| block.len() == len);
            found.map(|at| blocks.swap_remove(at))
        };
        spare.unwrap_or_else(|| std::iter::repeat_n(0, len).collect())
    }

    fn keep(&self, mut block: Arc<[u8]>) {
        // A reader may still have it; then it is freed when he is done.
        if Arc::get_mut(&mut block).is_none() {
            return;
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = blocks.iter().map(|block| block.len()).sum();
        if blocks.len() < COUNT_MAX && kept < BYTES_MAX {
            blocks.push(block);
        }
    }
}

impl Lifecycle<Digest, Arc<[u8]>> for Spares {
    /// Blocks that one insertion pushed out, looked at once the cache's lock is free again.
    type RequestState = Vec<Arc<[u8]>>;

    fn begin_request(&self) -> Self::RequestState {
        Vec::new()
    }

    fn on_evict(&self, evicted: &mut Self::RequestState, _: Digest, block: Arc<[u8]>) {
        evicted.push(block);
    }

    fn end_request(&self, evicted: Self::RequestState) {
        evicted.into_iter().for_each(|block| self.keep(block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_any_more_is_used_again() {
        let spares = Spares::default();
        let (first, second) = (spares.buffer(4096), spares.buffer(4096));
        let (memory, reader) = (Arc::as_ptr(&first).addr(), Arc::clone(&second));
        spares.end_request(vec![first, second]);
        assert_eq!(spares.buffer(8192).len(), 8192);
        let mut again = spares.buffer(4096);
        assert_eq!(Arc::as_ptr(&again).addr(), memory);
        assert!(Arc::get_mut(&mut again).is_some());
        assert_ne!(Arc::as_ptr(&spares.buffer(4096)).addr(), Arc::as_ptr(&reader).addr());
    }

    #[test]
    fn few_are_kept() {
        let spares = Spares::default();
        spares.end_request((0..100).map(|_| spares.buffer(4096)).collect());
        assert_eq!(spares.blocks.lock().unwrap().len(), COUNT_MAX);
        let spares = Spares::default();
        spares.end_request((0..100).map(|_| spares.buffer(BYTES_MAX)).collect());
        assert_eq!(spares.blocks.lock().unwrap().len(), 1);
    }
}
