//! Initial values from counters keyed by (seed, parameter path).

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::error::Result;
use crate::memory;
use crate::parametrization::Init;
use crate::tensor::elem::{Elem, unsupported};
use crate::tensor::rng::Key;

/// Numbers drawn from one key; a part of the definition of the initial values.
const BLOCK: usize = 4096;

/// The initial tensor `[members, shape…]` of a parameter: number `i` of a member is a function of
/// (its seed, the path, `i`) alone.
///
/// # Errors
/// If memory for it cannot be had, or models do not compute in this type.
pub fn initial(
    init: Init,
    path: &str,
    shape: &[usize],
    seeds: &[u64],
    (dtype, device): (DType, &Device),
) -> Result<Tensor> {
    let dims = [&[seeds.len()], shape].concat();
    match dtype {
        DType::F32 => Ok(Tensor::from_vec(
            fill::<f32>(init, path, shape, seeds)?,
            dims,
            device,
        )?),
        DType::F64 => Ok(Tensor::from_vec(
            fill::<f64>(init, path, shape, seeds)?,
            dims,
            device,
        )?),
        other => Err(unsupported(other)),
    }
}

fn fill<T: Elem>(init: Init, path: &str, shape: &[usize], seeds: &[u64]) -> Result<Vec<T>> {
    let size: usize = shape.iter().product();
    let mut values = memory::numbers::<T>(path, &[&[seeds.len()], shape].concat())?;
    for (member, &seed) in values.chunks_mut(size.max(1)).zip(seeds) {
        let key = Key::new(seed).label("init").label(path);
        member
            .par_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(block, part)| {
                let mut rng = key.fold(block as u64).rng();
                for value in part {
                    *value = T::of(match init {
                        Init::Constant(c) => c,
                        Init::Normal(std) => std * rng.normal(),
                        Init::Uniform(std) => std * 3f64.sqrt() * rng.between(-1.0, 1.0),
                    });
                }
            });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f64], size: usize, member: usize) -> &[f64] {
        &values[member * size..(member + 1) * size]
    }

    #[test]
    fn a_member_starts_the_same_alone_and_in_an_ensemble() {
        let shape = [130, 70];
        let all = fill::<f64>(Init::Normal(0.5), "a.weight", &shape, &[3, 9, 4]).unwrap();
        let alone = fill::<f64>(Init::Normal(0.5), "a.weight", &shape, &[9]).unwrap();
        assert_eq!(column(&all, 9100, 1), alone);
        assert_ne!(column(&all, 9100, 0), alone);
        assert_ne!(
            fill::<f64>(Init::Normal(0.5), "b.weight", &shape, &[9]).unwrap(),
            alone
        );
    }

    #[test]
    fn spreads_are_what_the_table_says() {
        for init in [Init::Normal(0.3), Init::Uniform(0.3)] {
            let values = fill::<f64>(init, "w", &[200, 500], &[1]).unwrap();
            let var = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
            assert!((var.sqrt() - 0.3).abs() < 0.003, "{init:?} {var}");
        }
        let limit = 0.3 * 3f64.sqrt();
        let values = fill::<f32>(Init::Uniform(0.3), "w", &[200, 500], &[1]).unwrap();
        assert!(
            values
                .iter()
                .all(|x| f64::from(x.abs()) <= limit * 1.000_001)
        );
        assert!(
            fill::<f32>(Init::Constant(1.0), "w", &[7], &[1])
                .unwrap()
                .iter()
                .all(|&x| x == 1.0)
        );
    }
}
