//! Bytes that are the same at every run.

/// A sequence of numbers that is the same at every run.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, anything but 0.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}

/// Words out of a small dictionary and numbers between them, as in logs and databases: blocks of them
/// shrink to about a third.
pub fn words(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    let dictionary: Vec<Vec<u8>> = (0..2000)
        .map(|_| (0..3 + numbers.below(9)).map(|_| b'a' + numbers.below(26) as u8).collect())
        .collect();
    let mut out = Vec::with_capacity(len + 32);
    while out.len() < len {
        out.extend_from_slice(&dictionary[numbers.below(dictionary.len())]);
        out.push(b' ');
        if numbers.below(8) == 0 {
            out.extend_from_slice(&numbers.number().to_le_bytes());
        }
    }
    out.truncate(len);
    out
}

/// Bytes that do not shrink.
pub fn noise(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    (0..len / 8).flat_map(|_| numbers.number().to_le_bytes()).collect()
}
