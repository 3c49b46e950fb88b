//! Script values as JSON.

use rhai::Dynamic;
use serde_json::{Map, Number, Value};

/// A script value as JSON. Numbers that JSON lacks (NaN, infinities) become `null`; values without
/// a JSON form become their text.
pub fn to_json(value: &Dynamic) -> Value {
    if value.is_unit() {
        return Value::Null;
    }
    if let Ok(b) = value.as_bool() {
        return b.into();
    }
    if let Ok(i) = value.as_int() {
        return i.into();
    }
    if let Ok(x) = value.as_float() {
        return Number::from_f64(x).map_or(Value::Null, Value::Number);
    }
    if let Ok(s) = value.as_immutable_string_ref() {
        return s.as_str().into();
    }
    if let Ok(array) = value.as_array_ref() {
        return array.iter().map(to_json).collect();
    }
    if let Ok(map) = value.as_map_ref() {
        let entries = map.iter().map(|(k, v)| (k.to_string(), to_json(v)));
        return Value::Object(entries.collect::<Map<_, _>>());
    }
    value.to_string().into()
}
