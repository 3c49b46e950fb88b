//! Dropout whose mask is a function of a key and of the place alone.
//!
//! Masks come from Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011), a counter-based generator: the
//! backward pass makes them again instead of keeping them.

use rayon::prelude::*;

use super::elem::Elem;
use super::parallel::{CHUNK, PARALLEL};
use super::rng::Key;
use super::simd::simd;

/// Counters that are worked on side by side.
const LANES: usize = 16;
/// Numbers that they decide on: four words of each.
const GROUP: usize = 4 * LANES;

/// `y = x / (1 − p)`, or 0 with probability `p`, 0 ≤ p < 1. With the same key and probability the
/// same places are 0, so that this is its own backward pass.
pub fn apply<T: Elem>(x: &[T], p: f64, key: Key, y: &mut [T]) {
    let bits = key.rng().bits();
    let key = [bits as u32, (bits >> 32) as u32];
    // words below the limit are dropped
    let limit = (p * 2f64.powi(32)) as u32;
    let factor = T::of(1.0 / (1.0 - p));
    let part = |start: usize, y: &mut [T]| {
        let x = &x[start..][..y.len()];
        simd(
            #[inline(always)]
            || drop_part((start / GROUP) as u64, key, (limit, factor), x, y),
        );
    };
    if y.len() < PARALLEL {
        part(0, y);
    } else {
        y.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(i, y)| part(i * CHUNK, y));
    }
}

#[inline(always)]
fn drop_part<T: Elem>(first: u64, key: [u32; 2], (limit, factor): (u32, T), x: &[T], y: &mut [T]) {
    for (i, (x, y)) in x.chunks(GROUP).zip(y.chunks_mut(GROUP)).enumerate() {
        let words = words(first + i as u64, key);
        let words = words.as_flattened();
        for ((y, &x), &word) in y.iter_mut().zip(x).zip(words) {
            *y = if word < limit { T::of(0.0) } else { factor * x };
        }
    }
}

#[allow(
    clippy::needless_range_loop,
    reason = "lanes of several rows, side by side"
)]
/// Word `w` of the counters `16 · group ..`, `[word, counter]`.
#[inline(always)]
fn words(group: u64, key: [u32; 2]) -> [[u32; LANES]; 4] {
    let mut counter = [[0; LANES]; 4];
    for lane in 0..LANES {
        let number = group * LANES as u64 + lane as u64;
        counter[0][lane] = number as u32;
        counter[1][lane] = (number >> 32) as u32;
    }
    philox(counter, key)
}

#[allow(
    clippy::needless_range_loop,
    reason = "lanes of several rows, side by side"
)]
/// Ten rounds of Philox4x32 on several counters.
#[inline(always)]
fn philox(mut c: [[u32; LANES]; 4], mut key: [u32; 2]) -> [[u32; LANES]; 4] {
    for _ in 0..10 {
        for lane in 0..LANES {
            let a = 0xd251_1f53 * u64::from(c[0][lane]);
            let b = 0xcd9e_8d57 * u64::from(c[2][lane]);
            c[0][lane] = (b >> 32) as u32 ^ c[1][lane] ^ key[0];
            c[2][lane] = (a >> 32) as u32 ^ c[3][lane] ^ key[1];
            c[1][lane] = b as u32;
            c[3][lane] = a as u32;
        }
        key[0] = key[0].wrapping_add(0x9e37_79b9);
        key[1] = key[1].wrapping_add(0xbb67_ae85);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that come with Random123.
    #[test]
    fn the_generator_gives_its_known_answers() {
        let pi = (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
        );
        for ((counter, key), wanted) in [
            (
                ([0; 4], [0; 2]),
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                ([u32::MAX; 4], [u32::MAX; 2]),
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            let words = philox(counter.map(|word| [word; LANES]), key);
            assert_eq!(words, wanted.map(|word: u32| [word; LANES]));
        }
    }

    #[test]
    fn the_share_and_the_mean_are_right() {
        let n = 200_000;
        for p in [0.0, 0.1, 0.5, 0.9] {
            let mut y = vec![f32::NAN; n];
            apply(&vec![1.0; n], p, Key::new(3), &mut y);
            let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / n as f64;
            assert!((dropped - p).abs() < 0.005, "{p} {dropped}");
            let kept = (1.0 / (1.0 - p)) as f32;
            assert!(y.iter().all(|&y| y == 0.0 || (y - kept).abs() < 1e-5));
        }
    }

    #[test]
    fn the_mask_depends_on_key_and_place_alone() {
        let n = PARALLEL + 1000;
        let run = |n: usize, key: Key, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let mut y = vec![f64::NAN; n];
            pool.unwrap()
                .install(|| apply(&vec![1.0; n], 0.3, key, &mut y));
            y
        };
        let all = run(n, Key::new(1), 1);
        assert_eq!(run(n, Key::new(1), 3), all);
        assert_eq!(run(777, Key::new(1), 1), all[..777]);
        assert_ne!(run(777, Key::new(2), 1), all[..777]);
        let mut none: [f32; 0] = [];
        apply(&[], 0.5, Key::new(1), &mut none);
    }
}
