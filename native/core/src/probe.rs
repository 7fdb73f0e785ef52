//! What stands on a disk.
