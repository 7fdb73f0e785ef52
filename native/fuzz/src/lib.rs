//! What several fuzz targets share: disks in memory that were made by a liar.

pub mod liar;
pub mod reading;
