//! Script values as the numbers and tensors that the core computes with, and results as maps.

use candle_core::{DType, Device, Tensor};
use rhai::{Array, Dynamic, Map};
use serde::Serialize;

use super::data::BatchValue;
use super::tensor::TensorValue;
use crate::data::Labels;
use crate::error::{Error, Result};
use crate::script::options::{FromScript, Values};
use crate::tensor::array::operations;

/// Numbers in a row: an array of numbers or a tensor of any shape, read in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers(pub Vec<f64>);

/// Rows of numbers of equal length: an array of arrays or a tensor with two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Table(pub Vec<Vec<f64>>);

impl FromScript for Numbers {
    fn words() -> String {
        "array of numbers or tensor".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        if let Some(tensor) = tensor_in(value) {
            return operations::numbers(&tensor).map(Self);
        }
        match value.is_array() {
            true => Vec::<f64>::from_script(value).map(Self),
            false => Err(Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        self.0.show()
    }
}

impl FromScript for Table {
    fn words() -> String {
        "array of arrays of numbers, or tensor with two axes".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        if let Some(tensor) = tensor_in(value) {
            let &[_, columns] = tensor.dims() else {
                return Err(Error::shape(format!(
                    "expected {}, found one of shape {:?}",
                    Self::words(),
                    tensor.dims()
                )));
            };
            let numbers = operations::numbers(&tensor)?;
            let rows = numbers.chunks(columns.max(1)).map(<[f64]>::to_vec);
            return Ok(Self(rows.collect()));
        }
        let Ok(rows) = value.as_array_ref() else {
            return Err(Values::mismatch::<Self>(value));
        };
        let read = |(i, row): (usize, &Dynamic)| match row.is_array() || tensor_in(row).is_some() {
            true => Ok(Numbers::from_script(row)?.0),
            false => Err(Error::setting(format!(
                "expected {}, found {} at index {i}",
                Self::words(),
                Values::describe(row)
            ))),
        };
        let rows: Vec<Vec<f64>> = rows.iter().enumerate().map(read).collect::<Result<_>>()?;
        match rows.iter().position(|row| row.len() != rows[0].len()) {
            None => Ok(Self(rows)),
            Some(i) => Err(Error::shape(format!(
                "rows of unequal length: row 0 has {} numbers, row {i} has {}",
                rows[0].len(),
                rows[i].len()
            ))),
        }
    }
    fn show(&self) -> String {
        self.0.show()
    }
}

/// The tensor in a value, if it is one.
pub fn tensor_in(value: &Dynamic) -> Option<Tensor> {
    value.clone().try_cast::<TensorValue>().map(|t| t.0)
}

/// Whether a value is a table rather than a row of numbers.
pub fn is_table(value: &Dynamic) -> bool {
    match (tensor_in(value), value.as_array_ref()) {
        (Some(tensor), _) => tensor.rank() == 2,
        (None, Ok(array)) => array
            .first()
            .is_some_and(|row| row.is_array() || tensor_in(row).is_some()),
        _ => false,
    }
}

/// Numbers given to the function `what` as its argument `name`.
///
/// Errors: a value of another kind.
pub fn numbers(what: &str, name: &str, value: &Dynamic) -> Result<Vec<f64>> {
    let read = Numbers::from_script(value).map_err(|e| e.at(format_args!("{what}: {name}")));
    read.map(|n| n.0)
}

/// The number given to the function `what` as its argument `name`.
///
/// Errors: a value of another kind.
pub fn number(what: &str, name: &str, value: &Dynamic) -> Result<f64> {
    f64::from_script(value).map_err(|e| e.at(format_args!("{what}: {name}")))
}

/// Steps or positions: numbers that are whole and not negative.
///
/// Errors: a value of another kind.
pub fn steps(what: &str, name: &str, value: &Dynamic) -> Result<Vec<u64>> {
    let whole = |(i, x): (usize, f64)| match x >= 0.0 && x.fract() == 0.0 && x < 9e15 {
        true => Ok(x as u64),
        false => Err(Error::setting(format!(
            "{what}: {name}: expected whole numbers from 0 up, found {x} at index {i}"
        ))),
    };
    let values = numbers(what, name, value)?;
    values.into_iter().enumerate().map(whole).collect()
}

/// A tensor, or one made of nested arrays, for the argument `name` of the function `what`.
///
/// Errors: a value of another kind, arrays of unequal lengths.
pub fn tensor(what: &str, name: &str, value: &Dynamic) -> Result<Tensor> {
    if let Some(tensor) = tensor_in(value) {
        return Ok(tensor);
    }
    from_nested(value, None).map_err(|e| e.at(format_args!("{what}: {name}")))
}

/// Labels: a batch's, a tensor or array of classes (whole numbers), or one of real targets.
///
/// Errors: a value of another kind.
pub fn labels(what: &str, value: &Dynamic) -> Result<Labels> {
    if let Some(batch) = value.clone().try_cast::<BatchValue>() {
        return Ok(batch.0.labels.clone());
    }
    let tensor = tensor(what, "labels", value)?;
    if tensor.dtype().is_int() {
        return Ok(Labels::Classes(tensor));
    }
    Ok(Labels::Values(match tensor.rank() {
        1 => tensor.unsqueeze(1)?,
        _ => tensor,
    }))
}

/// A tensor from a number or nested arrays of numbers: `i64` if all of them are whole numbers, else
/// `f32`, unless `dtype` says otherwise.
///
/// Errors: something that is not a number, arrays of unequal lengths.
pub fn from_nested(value: &Dynamic, dtype: Option<DType>) -> Result<Tensor> {
    fn walk(
        value: &Dynamic,
        depth: usize,
        shape: &mut Vec<usize>,
        known: &mut Option<usize>,
        out: &mut Vec<f64>,
        whole: &mut bool,
    ) -> Result<()> {
        let uneven = || Error::shape("the arrays within have unequal lengths or depths");
        if let Ok(array) = value.as_array_ref() {
            match shape.get(depth) {
                None if known.is_some_and(|rank| depth >= rank) => return Err(uneven()),
                None => shape.push(array.len()),
                Some(length) if *length != array.len() => return Err(uneven()),
                Some(_) => (),
            }
            return array
                .iter()
                .try_for_each(|v| walk(v, depth + 1, shape, known, out, whole));
        }
        if *known.get_or_insert(depth) != depth {
            return Err(uneven());
        }
        if let Ok(i) = value.as_int() {
            out.push(i as f64);
        } else if let Ok(b) = value.as_bool() {
            out.push(f64::from(u8::from(b)));
        } else if let Ok(x) = value.as_float() {
            out.push(x);
            *whole = false;
        } else {
            return Err(Error::setting(format!(
                "expected a number or nested arrays of numbers, found {}",
                Values::describe(value)
            )));
        }
        Ok(())
    }
    let (mut shape, mut known, mut out, mut whole) = (Vec::new(), None, Vec::new(), true);
    walk(value, 0, &mut shape, &mut known, &mut out, &mut whole)?;
    whole &= !out.is_empty();
    let dtype = dtype.unwrap_or(if whole { DType::I64 } else { DType::F32 });
    operations::cast(
        "as a tensor",
        &Tensor::from_vec(out, shape, &Device::Cpu)?,
        dtype,
    )
}

/// Numbers as a script array.
pub fn array(values: impl IntoIterator<Item = f64>) -> Array {
    values.into_iter().map(Dynamic::from).collect()
}

/// Rows of numbers as a script array of arrays.
pub fn table(rows: &[Vec<f64>]) -> Array {
    rows.iter()
        .map(|row| array(row.iter().copied()).into())
        .collect()
}

/// A result of the core as a map with its fields' names; NaN stays, `None` becomes `()`.
///
/// Errors: none for the structs of this crate.
pub fn map(result: &impl Serialize) -> Result<Map> {
    rhai::serde::to_dynamic(result)
        .map_err(|e| Error::other(e.to_string()))?
        .try_cast::<Map>()
        .ok_or_else(|| Error::other("the result is not a map"))
}
