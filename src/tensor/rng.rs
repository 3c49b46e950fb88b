//! Random numbers from keyed counters.
//!
//! A [`Key`] is a pure function of what it is made from (a seed, a purpose, a parameter path, a
//! position), and a [`Rng`] a pure function of its key. Numbers therefore do not depend on thread
//! count, on order of creation, or on what else was drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// A 256-bit key: fold in everything that the numbers shall depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u64; 4]);

/// The finaliser of splitmix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Key {
    /// The key of a seed.
    pub fn new(seed: u64) -> Self {
        Self([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ])
        .fold(seed)
    }

    /// The key that also depends on `number`.
    pub fn fold(mut self, number: u64) -> Self {
        for (i, lane) in self.0.iter_mut().enumerate() {
            let salt = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * i as u64 + 1);
            *lane = mix(lane
                .rotate_left(23)
                .wrapping_add(mix(number.wrapping_add(salt))));
        }
        let [a, b, c, d] = self.0;
        self.0 = [a ^ mix(d), b ^ mix(a), c ^ mix(b), d ^ mix(c)];
        self
    }

    /// The key that also depends on `label`, for instance a purpose or a parameter path.
    pub fn label(self, label: &str) -> Self {
        let mut key = self.fold(label.len() as u64);
        for chunk in label.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            key = key.fold(u64::from_le_bytes(word));
        }
        key
    }

    /// The generator of this key, at its beginning.
    pub fn rng(self) -> Rng {
        let mut seed = [0; 32];
        for (bytes, lane) in seed.chunks_exact_mut(8).zip(self.0) {
            bytes.copy_from_slice(&lane.to_le_bytes());
        }
        Rng(ChaCha8Rng::from_seed(seed))
    }
}

/// A stream of random numbers, made by [`Key::rng`].
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number below `n` (which must not be 0), without modulo bias.
    pub fn below(&mut self, n: u64) -> u64 {
        let zone = u64::MAX - u64::MAX % n;
        loop {
            let bits = self.bits();
            if bits < zone {
                return bits % n;
            }
        }
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A random permutation of 0..n (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_in_every_ingredient() {
        let base = Key::new(1).label("init").label("layers.0.weight");
        for other in [
            Key::new(2).label("init").label("layers.0.weight"),
            Key::new(1).label("data").label("layers.0.weight"),
            Key::new(1).label("init").label("layers.1.weight"),
            Key::new(1).label("initlayers.0.weight"),
            base.fold(0),
        ] {
            assert_ne!(base.rng().bits(), other.rng().bits());
        }
        assert_eq!(base.rng().bits(), base.rng().bits());
    }

    #[test]
    fn moments_of_the_distributions() {
        let mut rng = Key::new(0).rng();
        let n = 200_000;
        let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / n as f64;
        let var = normal.iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((var - 1.0).abs() < 0.01, "{var}");
        let uniform = (0..n).map(|_| rng.uniform()).sum::<f64>() / n as f64;
        assert!((uniform - 0.5).abs() < 0.003, "{uniform}");
    }

    #[test]
    fn first_numbers_of_seeds_are_not_correlated() {
        let n = 20_000;
        let firsts: Vec<f64> = (0..n).map(|seed| Key::new(seed).rng().normal()).collect();
        let lag = firsts.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
        assert!(lag.abs() < 0.03, "{lag}");
    }

    #[test]
    fn permutation_holds_each_index_once() {
        let mut order = Key::new(3).rng().permutation(1000);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| i as u32 == x));
    }
}
