//! `Tensor`: arrays of numbers as values. Scripts hold candle's tensors; cloning one copies no
//! number.

mod arithmetic;
mod functions;
mod reductions;

use candle_core::{DType, Tensor};
use rhai::Dynamic;

use super::Registry;
use crate::error::{Error, Result};
use crate::options;
use crate::script::options::NON_NEGATIVE;

crate::script_type!(Tensor, "tensor", "tensor([1.0, 2.0])");

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
    registry.name_type::<Tensor>("Tensor");
    registry.options(CloseOptions::spec());
    functions::register(registry);
    reductions::register(registry);
    arithmetic::register(registry);
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
