//! Tensors of random numbers.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::error::Result;
use crate::memory::numbers;
use crate::tensor::rng::Key;

/// Numbers drawn from one key; a part of the definition of the numbers.
const BLOCK: usize = 4096;

/// Standard normal numbers of type `f32`: number `i` is a function of (seed, `i`) alone.
///
/// # Errors
/// If the tensor cannot be made.
pub fn normal(shape: &[usize], seed: u64) -> Result<Tensor> {
    let key = Key::new(seed).label("randn");
    let mut values = numbers::<f32>("randn", shape)?;
    let parts = values.par_chunks_mut(BLOCK).enumerate();
    parts.for_each(|(block, part)| {
        let mut rng = key.fold(block as u64).rng();
        part.fill_with(|| rng.normal() as f32);
    });
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_seed_and_place_alone() -> Result<()> {
        let numbers = |shape: &[usize], seed| -> Result<Vec<f32>> {
            Ok(normal(shape, seed)?.flatten_all()?.to_vec1()?)
        };
        let long = numbers(&[3, 5000], 7)?;
        assert_eq!(long[..5000], numbers(&[5000], 7)?);
        assert_ne!(long[..5000], numbers(&[5000], 8)?);
        assert_ne!(long[..4096], long[4096..8192]);
        assert_eq!(normal(&[0, 3], 1)?.dims(), [0, 3]);
        let mean = long.iter().sum::<f32>() / 15_000.0;
        let square = long.iter().map(|x| x * x).sum::<f32>() / 15_000.0;
        assert!(
            mean.abs() < 0.04 && (square - 1.0).abs() < 0.05,
            "{mean} {square}"
        );
        Ok(())
    }
}
