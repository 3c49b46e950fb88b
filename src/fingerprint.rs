//! One number for many: whether settings, parameters or examples are those of an earlier run.

/// FNV-1a over words: quick, and equal for others than the same words by a chance of about 2⁻⁶⁴ only. It is
/// no protection against forgery.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds a word.
    pub fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_published_value() {
        let mut found = Fingerprint::default();
        b"foobar".iter().for_each(|b| found.add((*b).into()));
        // from the test vectors of FNV-1a with 64 bits
        assert_eq!(found.value(), 0x8594_4171_f739_67e8);
    }
}
