//! Script values as plain data and as JSON.

use candle_core::Tensor;
use rhai::{Array, Dynamic};
use serde_json::{Map, Number, Value};

use super::api::table::rows;
use super::api::tensor::to_nested;
use super::api::values::tensor_in;
use super::options::Values;
use super::table::Table;
use crate::error::{Error, Result};
use crate::memory::{self, Need};

/// A script value as plain data: `()`, bools, numbers, strings, and arrays and maps of these.
/// Tensors become nested arrays (one without axes its number), tables arrays of maps, characters
/// strings.
///
/// # Errors
/// For a value that is no data, such as a model or a function: what it is, and where in the value.
pub fn to_data(value: &Dynamic) -> Result<Dynamic> {
    let plain = value.is_unit()
        || value.is_bool()
        || value.is_int()
        || value.is_float()
        || value.is_string();
    if plain {
        return Ok(value.flatten_clone());
    }
    if let Ok(c) = value.as_char() {
        return Ok(c.to_string().into());
    }
    if let Some(tensor) = tensor_in(value) {
        has_room(&tensor)?;
        return to_nested("a tensor as data", &tensor);
    }
    if let Some(table) = value.read_lock::<Table>() {
        return Ok(rows(&table).into());
    }
    if let Ok(array) = value.as_array_ref() {
        let items = array.iter().enumerate();
        let items = items.map(|(i, v)| to_data(v).map_err(|e| within(e, format!("[{i}]"))));
        return Ok(items.collect::<Result<Array>>()?.into());
    }
    if let Ok(map) = value.as_map_ref() {
        let entries = map.iter();
        let entries = entries.map(|(key, v)| {
            let data = to_data(v).map_err(|e| within(e, format!(".{key}")))?;
            Ok((key.clone(), data))
        });
        return Ok(entries.collect::<Result<rhai::Map>>()?.into());
    }
    Err(no_data(value))
}

/// A script value as JSON, see [`to_data`].
///
/// # Errors
/// As [`to_data`].
pub fn to_json(value: &Dynamic) -> Result<Value> {
    to_data(value).map(|data| json(&data))
}

/// Plain data as JSON. Numbers that JSON lacks (NaN, infinities) become `null`.
pub fn json(data: &Dynamic) -> Value {
    if let Ok(b) = data.as_bool() {
        return b.into();
    }
    if let Ok(i) = data.as_int() {
        return i.into();
    }
    if let Ok(x) = data.as_float() {
        return Number::from_f64(x).map_or(Value::Null, Value::Number);
    }
    if let Ok(s) = data.as_immutable_string_ref() {
        return s.as_str().into();
    }
    if let Ok(array) = data.as_array_ref() {
        return array.iter().map(json).collect();
    }
    if let Ok(map) = data.as_map_ref() {
        let entries = map.iter().map(|(k, v)| (k.to_string(), json(v)));
        return Value::Object(entries.collect::<Map<_, _>>());
    }
    Value::Null
}

/// Checks that a tensor fits into memory as plain data.
fn has_room(tensor: &Tensor) -> Result<()> {
    // as an array, as JSON and as text, as they are there at the same time (measured)
    const BYTES: usize = 240;
    let needs = [Need {
        name: "its numbers as plain data".into(),
        shape: tensor.dims().to_vec(),
        number: BYTES,
    }];
    memory::check("a tensor in a record or in JSON", &needs, |available| {
        let fit = available / BYTES as u128;
        format!(
            "{fit} of its {} numbers would fit; write_tensor writes a tensor as it is",
            tensor.elem_count()
        )
    })
}

fn no_data(value: &Dynamic) -> Error {
    Error::setting(format!("{} is no data", Values::one(value))).with_help(
        "data are numbers, strings, bools, (), tensors, tables, and arrays and maps of these",
    )
}

/// Puts a step from the outside in front of the place that an error names.
fn within(mut error: Error, step: String) -> Error {
    error.message = match error.message.strip_prefix("at ") {
        Some(rest) => format!("at {step}{rest}"),
        None => format!("at {step}: {}", error.message),
    };
    error
}
