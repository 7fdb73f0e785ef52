//! Images over a disk directory that a liar wrote, read in every way and compared with each other.
#![no_main]

use cairn_fuzz::liar::{Lab, Plan};
use cairn_fuzz::reading;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: Plan| {
    let Some(lab) = Lab::of(&plan) else { return };
    let images = lab.images();
    for (_, image) in &images {
        reading::check_reads(image);
    }
    for (_, from) in &images {
        for (_, to) in &images {
            reading::check_changes(from, to);
        }
    }
});
