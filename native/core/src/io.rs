//! Reading and writing, behind traits so that tests can put memory or faults in the place of files.

/// Positioned reads from anything that has bytes at offsets: a file, a device, an image.
pub trait ReadAt {
    /// Fills `into` from `offset` (bytes) as far as there are bytes; returns how many were copied,
    /// short only at the end.
    ///
    /// # Errors
    /// Whatever the medium says; nothing of `into` is then defined.
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize>;
}
