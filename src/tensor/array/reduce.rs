//! Sums, means and extremes over all numbers or along an axis. Computed in `f64`; NaN is passed on.

use candle_core::{D, DType, Device, Tensor};

use super::index::axis;
use super::operations::{numbers, real_dtype};
use crate::error::{Error, Result};
use crate::memory::room;

/// What is made of several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// Their standard deviation, with n − 1.
    Std,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The position of the first largest, counted from 0.
    Argmax,
    /// The position of the first smallest, counted from 0.
    Argmin,
}

impl Reduction {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Std => "std",
            Self::Min => "min",
            Self::Max => "max",
            Self::Argmax => "argmax",
            Self::Argmin => "argmin",
        }
    }

    /// Whether whole numbers give a whole number.
    pub fn keeps_integers(self) -> bool {
        !matches!(self, Self::Mean | Self::Std)
    }

    /// Over all numbers of a tensor.
    ///
    /// The sum of no number is 0. Errors: no number otherwise, or one for the standard deviation.
    pub fn all(self, tensor: &Tensor) -> Result<f64> {
        let values = numbers(tensor)?;
        self.check(tensor, values.len())?;
        Ok(self.of(&values))
    }

    /// Along one axis, which goes away; negative axes count from the last.
    ///
    /// Sums and extremes keep the type, positions are `u32`. The sum along an axis of no number is 0.
    /// Errors: no such axis, an axis of no number otherwise, or of one for the standard deviation.
    pub fn along(self, tensor: &Tensor, along: i64) -> Result<Tensor> {
        let along = axis(self.name(), tensor, along)?;
        let length = tensor.dims()[along];
        self.check(tensor, length)?;
        // as f64, with this axis last, and as a vector
        room(self.name(), tensor.dims(), 3 * size_of::<f64>())?;
        let last = tensor
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .transpose(along, D::Minus1)?;
        let rows: Vec<f64> = last.flatten_all()?.to_vec1()?;
        let rest = tensor
            .dims()
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != along);
        let count: usize = rest.map(|(_, n)| n).product();
        let row = |i: usize| &rows[i * length..(i + 1) * length];
        let found: Vec<f64> = (0..count).map(|i| self.of(row(i))).collect();
        // the transposition has put the last axis where this one was
        let mut dims = last.dims().to_vec();
        dims.pop();
        let mut found = Tensor::from_vec(found, dims, &Device::Cpu)?;
        let rank = tensor.rank();
        if along + 1 < rank {
            let order: Vec<usize> = (0..rank - 1)
                .filter(|&i| i != along)
                .chain([along])
                .collect();
            found = found.permute(order)?.contiguous()?;
        }
        let dtype = match self {
            Self::Argmax | Self::Argmin => DType::U32,
            Self::Mean | Self::Std => real_dtype(tensor.dtype()),
            _ => tensor.dtype(),
        };
        Ok(found.to_dtype(dtype)?.to_device(tensor.device())?)
    }

    fn check(self, tensor: &Tensor, count: usize) -> Result<()> {
        let (needed, word) = match self {
            Self::Sum => (0, "numbers"),
            Self::Std => (2, "numbers"),
            _ => (1, "number"),
        };
        if count >= needed {
            return Ok(());
        }
        Err(Error::shape(format!(
            "{}: needs at least {needed} {word}, found {count} in a tensor of shape {:?}",
            self.name(),
            tensor.dims()
        )))
    }

    fn of(self, values: &[f64]) -> f64 {
        let count = values.len() as f64;
        let mean = || {
            // as an offset from the first, so that equal numbers give themselves
            let offset: f64 = values.iter().map(|x| x - values[0]).sum();
            let mean = values[0] + offset / count;
            // an infinite first number makes the offsets undefined
            if mean.is_nan() {
                values.iter().sum::<f64>() / count
            } else {
                mean
            }
        };
        let best = |better: fn(f64, f64) -> bool| {
            let mut at = 0;
            for (i, x) in values.iter().enumerate() {
                if !values[at].is_nan() && (x.is_nan() || better(*x, values[at])) {
                    at = i;
                }
            }
            at
        };
        match self {
            // the sum of nothing would be -0
            Self::Sum => 0.0 + values.iter().sum::<f64>(),
            Self::Mean => mean(),
            Self::Std => {
                let mean = mean();
                let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
                (squares / (count - 1.0)).sqrt()
            }
            Self::Min => values[best(|x, y| x < y)],
            Self::Max => values[best(|x, y| x > y)],
            Self::Argmin => best(|x, y| x < y) as f64,
            Self::Argmax => best(|x, y| x > y) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube() -> Tensor {
        let values: Vec<f32> = (0..24).map(|i| ((i * 7) % 24) as f32).collect();
        Tensor::from_vec(values, (2, 3, 4), &Device::Cpu).unwrap()
    }

    #[test]
    fn every_axis_agrees_with_candle() {
        let t = cube();
        for along in 0..3 {
            let sum = Reduction::Sum.along(&t, along as i64).unwrap();
            let expected = t.sum(along).unwrap();
            assert_eq!(sum.dims(), expected.dims());
            assert_eq!(numbers(&sum).unwrap(), numbers(&expected).unwrap());
            let largest = Reduction::Argmax.along(&t, along as i64 - 3).unwrap();
            let expected = t.argmax(along).unwrap();
            assert_eq!(largest.dtype(), DType::U32);
            assert_eq!(numbers(&largest).unwrap(), numbers(&expected).unwrap());
            let std = Reduction::Std.along(&t, along as i64).unwrap();
            let expected = t.var(along).unwrap().sqrt().unwrap();
            for (a, b) in numbers(&std)
                .unwrap()
                .iter()
                .zip(numbers(&expected).unwrap())
            {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn all_numbers_give_one() {
        let t = Tensor::new(&[[1_f32, 2.], [3., 6.]], &Device::Cpu).unwrap();
        let all = |r: Reduction| r.all(&t).unwrap();
        assert_eq!(all(Reduction::Sum), 12.0);
        assert_eq!(all(Reduction::Mean), 3.0);
        assert!((all(Reduction::Std) - (14.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!((all(Reduction::Min), all(Reduction::Max)), (1.0, 6.0));
        assert_eq!(all(Reduction::Argmax), 3.0);
    }

    #[test]
    fn nan_is_passed_on_and_infinity_is_kept() {
        let t = Tensor::new(&[1_f32, f32::NAN, 3.], &Device::Cpu).unwrap();
        for r in [
            Reduction::Sum,
            Reduction::Mean,
            Reduction::Std,
            Reduction::Min,
            Reduction::Max,
        ] {
            assert!(r.all(&t).unwrap().is_nan(), "{r:?}");
        }
        let t = Tensor::new(&[f32::INFINITY, 3.], &Device::Cpu).unwrap();
        assert_eq!(Reduction::Mean.all(&t).unwrap(), f64::INFINITY);
        assert_eq!(Reduction::Min.all(&t).unwrap(), 3.0);
    }

    #[test]
    fn too_few_numbers_and_missing_axes_name_the_shape() {
        let t = Tensor::new(&[[1_f32, 2.]], &Device::Cpu).unwrap();
        for error in [
            Reduction::Std.along(&t, 0).unwrap_err(),
            Reduction::Mean.along(&t, 2).unwrap_err(),
            Reduction::Mean.along(&t, -3).unwrap_err(),
        ] {
            assert!(error.message.contains("[1, 2]"), "{error}");
        }
        let empty = Tensor::zeros((0, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(Reduction::Mean.all(&empty).is_err());
        assert!(Reduction::Max.along(&empty, 0).is_err());
        assert_eq!(Reduction::Sum.all(&empty).unwrap().to_bits(), 0);
        let sums = Reduction::Sum.along(&empty, 0).unwrap();
        assert_eq!(numbers(&sums).unwrap(), [0.0, 0.0]);
        assert_eq!(Reduction::Max.along(&empty, 1).unwrap().dims(), [0]);
    }
}
