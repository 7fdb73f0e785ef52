//! What the parts of the core cost: [`pairs`] puts each beside a yardstick, which is the same work done
//! by the libraries alone. `cargo bench -p cairn-bench --bench micro` tells both in seconds, and the
//! program `cairn-bench` holds their ratios to bounds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "where a benchmark fails there is nothing to save"
)]

pub mod data;
pub mod pairs;
pub mod store;
