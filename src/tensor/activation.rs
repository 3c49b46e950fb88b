//! Elementwise nonlinearities and their derivatives.

use serde::{Deserialize, Serialize};

use super::elem::Elem;
use super::elementwise::chunks;

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

    /// The second derivative at `x`; 0 for relu, also at 0.
    pub fn second_derivative<T: Elem>(self, x: T) -> T {
        match self {
            Self::Relu | Self::Identity => T::zero(),
            Self::Gelu => (T::of(2.0) - x * x) * normal_density(x),
            Self::Tanh => {
                let tanh = x.tanh();
                T::of(-2.0) * tanh * (T::one() - tanh * tanh)
            }
            Self::Erf => T::of(-2.0 * std::f64::consts::FRAC_2_SQRT_PI) * x * (-x * x).exp(),
            Self::Quadratic => T::of(2.0),
        }
    }
}

fn normal_cdf<T: Elem>(x: T) -> T {
    T::of(0.5) * (T::one() + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

fn normal_density<T: Elem>(x: T) -> T {
    T::of(0.398_942_280_401_432_7) * (T::of(-0.5) * x * x).exp()
}

/// `y = φ(x)`, elementwise.
pub fn forward<T: Elem>(activation: Activation, x: &[T], y: &mut [T]) {
    chunks(y, |at, y| {
        for (y, x) in y.iter_mut().zip(&x[at..]) {
            *y = activation.value(*x);
        }
    });
}

/// `gx = gy · φ'(x)`, elementwise; also the tangent of `y` from that of `x`.
pub fn backward<T: Elem>(activation: Activation, x: &[T], gy: &[T], gx: &mut [T]) {
    chunks(gx, |at, gx| {
        for (gx, (gy, x)) in gx.iter_mut().zip(gy[at..].iter().zip(&x[at..])) {
            *gx = *gy * activation.derivative(*x);
        }
    });
}

/// The tangent of [`backward`]: `dgx = dgy · φ'(x) + gy · φ''(x) · dx`, elementwise.
pub fn backward_tangent<T: Elem>(
    activation: Activation,
    (x, dx): (&[T], Option<&[T]>),
    (gy, dgy): (&[T], &[T]),
    dgx: &mut [T],
) {
    backward(activation, x, dgy, dgx);
    let Some(dx) = dx else { return };
    chunks(dgx, |at, dgx| {
        let rest = x[at..].iter().zip(&dx[at..]).zip(&gy[at..]);
        for (dgx, ((x, dx), gy)) in dgx.iter_mut().zip(rest) {
            *dgx += *gy * activation.second_derivative(*x) * *dx;
        }
    });
}
