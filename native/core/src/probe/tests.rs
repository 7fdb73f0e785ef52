//! The survey as a whole, on disks made by hand.
