//! Elementwise nonlinearities and their derivatives.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::elem::{Elem, dispatch, read, write};
use crate::error::{Error, Result};

/// Numbers per task of an elementwise pass.
const CHUNK: usize = 1 << 14;

/// An elementwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0), with derivative 0 at 0 as in PyTorch.
    Relu,
    /// x Φ(x) with the exact normal distribution function, PyTorch's default `gelu`.
    Gelu,
    /// The hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// x, for linear networks.
    Identity,
    /// x².
    Quadratic,
}

impl Activation {
    /// Every activation, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Relu,
        Self::Gelu,
        Self::Tanh,
        Self::Erf,
        Self::Identity,
        Self::Quadratic,
    ];

    /// The name in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::Tanh => "tanh",
            Self::Erf => "erf",
            Self::Identity => "identity",
            Self::Quadratic => "quadratic",
        }
    }

    /// The activation with this name in scripts.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The value at `x`.
    pub fn value<T: Elem>(self, x: T) -> T {
        match self {
            // written so that NaN passes through
            Self::Relu if x < T::zero() => T::zero(),
            Self::Relu => x,
            Self::Gelu => x * normal_cdf(x),
            Self::Tanh => x.tanh(),
            Self::Erf => x.erf(),
            Self::Identity => x,
            Self::Quadratic => x * x,
        }
    }

    /// The derivative at `x`.
    pub fn derivative<T: Elem>(self, x: T) -> T {
        let one = T::one();
        match self {
            Self::Relu => {
                if x > T::zero() {
                    one
                } else {
                    T::zero()
                }
            }
            Self::Gelu => normal_cdf(x) + x * normal_density(x),
            Self::Tanh => one - x.tanh().powi(2),
            Self::Erf => T::of(std::f64::consts::FRAC_2_SQRT_PI) * (-x * x).exp(),
            Self::Identity => one,
            Self::Quadratic => T::of(2.0) * x,
        }
    }
}

fn normal_cdf<T: Elem>(x: T) -> T {
    T::of(0.5) * (T::one() + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

fn normal_density<T: Elem>(x: T) -> T {
    T::of(0.398_942_280_401_432_7) * (T::of(-0.5) * x * x).exp()
}

fn same_size(x: &Tensor, y: &Tensor, name: &str) -> Result<()> {
    if x.elem_count() == y.elem_count() {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{name}: {:?} does not fit {:?}",
        x.dims(),
        y.dims()
    )))
}

/// `y = φ(x)`, elementwise.
///
/// # Errors
/// If the sizes differ.
pub fn forward(y: &Tensor, x: &Tensor, activation: Activation) -> Result<()> {
    same_size(x, y, activation.name())?;
    dispatch!(x, T => read(x, |xs: &[T]| write(y, |ys: &mut [T]| {
        ys.par_chunks_mut(CHUNK).zip(xs.par_chunks(CHUNK)).for_each(|(ys, xs)| {
            for (y, x) in ys.iter_mut().zip(xs) {
                *y = activation.value(*x);
            }
        });
        Ok(())
    })))
}

/// `gx = gy · φ'(x)`, elementwise.
///
/// # Errors
/// If the sizes differ.
pub fn backward(gx: &Tensor, gy: &Tensor, x: &Tensor, activation: Activation) -> Result<()> {
    same_size(gx, gy, activation.name())?;
    same_size(gx, x, activation.name())?;
    dispatch!(x, T => read(x, |xs: &[T]| read(gy, |gys: &[T]| write(gx, |gxs: &mut [T]| {
        gxs.par_chunks_mut(CHUNK)
            .zip(gys.par_chunks(CHUNK).zip(xs.par_chunks(CHUNK)))
            .for_each(|(gxs, (gys, xs))| {
                for (gx, (gy, x)) in gxs.iter_mut().zip(gys.iter().zip(xs)) {
                    *gx = *gy * activation.derivative(*x);
                }
            });
        Ok(())
    }))))
}
