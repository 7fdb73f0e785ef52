//! Images over a disk directory that a liar wrote, read in every way and compared with each other.

use crate::liar::{Lab, Plan};
use crate::reading;

pub fn run(plan: Plan) {
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
}
