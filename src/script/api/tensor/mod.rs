//! `Tensor`: arrays of numbers as values.

mod arithmetic;
mod functions;
mod linear_algebra;
mod parts;
mod reductions;

pub use functions::to_nested;

use std::fmt;

use candle_core::{DType, Tensor};
use rhai::Dynamic;

use super::Registry;
use crate::error::{Error, Result};
use crate::options;
use crate::script::options::NON_NEGATIVE;

/// A tensor in a script; cloning it copies no number.
#[derive(Clone)]
pub struct TensorValue(pub Tensor);

impl fmt::Debug for TensorValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorValue({:?}, {:?})", self.0.dims(), self.0.dtype())
    }
}

crate::script_type!(TensorValue, "tensor", "tensor([1.0, 2.0])");

/// Types of numbers that scripts can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName(pub DType);

crate::choice! { TypeName {
    "f32" => TypeName(DType::F32),
    "f64" => TypeName(DType::F64),
    "i64" => TypeName(DType::I64),
    "u32" => TypeName(DType::U32),
} }

impl TypeName {
    /// The type called `name`.
    fn named(name: &str) -> Result<DType> {
        use crate::script::options::FromScript;
        Self::from_script(&Dynamic::from(name.to_string())).map(|t| t.0)
    }
}

options! {
    /// How near is near, as in numpy's `allclose`: |a − b| ≤ atol + rtol · |b|.
    pub struct CloseOptions for "close_to" {
        /// Tolerance relative to the second tensor.
        rtol: f64 = 1e-5, where NON_NEGATIVE;
        /// Absolute tolerance.
        atol: f64 = 1e-8, where NON_NEGATIVE;
    }
}

/// Registers tensors.
pub fn register(registry: &mut Registry) {
    registry.name_type::<TensorValue>("Tensor");
    // the name in signatures of the reference
    registry
        .engine()
        .register_type_with_name_raw("TensorValue", "Tensor");
    registry.options(CloseOptions::spec());
    functions::register(registry);
    parts::register(registry);
    reductions::register(registry);
    arithmetic::register(registry);
    linear_algebra::register(registry);
}

/// Lengths given as script integers.
fn integers(what: &str, values: &[Dynamic]) -> Result<Vec<i64>> {
    let read = |(i, v): (usize, &Dynamic)| {
        v.as_int().map_err(|found| {
            Error::setting(format!(
                "{what}: expected integers, found {found} at index {i}"
            ))
        })
    };
    values.iter().enumerate().map(read).collect()
}
