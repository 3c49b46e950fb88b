//! Whether the variables that a closure shares with the script are as they were.

use std::sync::Arc;

use rhai::{Dynamic, FnPtr};

use super::api::data::{BatchValue, StreamValue};
use super::api::tensor::TensorValue;

/// The variables of a closure as they were at some time.
#[derive(Debug, Clone)]
pub struct Captured(Vec<Dynamic>);

impl Captured {
    /// Those of a function as they are now.
    pub fn new(function: &FnPtr) -> Self {
        let now = function.curry().iter();
        Self(now.map(Dynamic::flatten_clone).collect())
    }

    /// Whether each of them holds what it held then. Of a variable whose contents can change without it
    /// (a model, a trainer, a function) nobody knows: that is no.
    pub fn is_as(&self, function: &FnPtr) -> bool {
        let now = function.curry();
        now.len() == self.0.len() && now.iter().zip(&self.0).all(|(a, b)| same(a, b))
    }
}

fn same(a: &Dynamic, b: &Dynamic) -> bool {
    // one lock at a time: a variable may hold itself
    let a = a.flatten_clone();
    if a.type_id() != b.type_id() {
        return false;
    }
    if let (Some(a), Some(b)) = (
        a.clone().try_cast::<rhai::Array>(),
        b.clone().try_cast::<rhai::Array>(),
    ) {
        return a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b));
    }
    if let (Some(a), Some(b)) = (
        a.clone().try_cast::<rhai::Map>(),
        b.clone().try_cast::<rhai::Map>(),
    ) {
        let equal = |(key, value): (_, &Dynamic)| b.get(key).is_some_and(|b| same(value, b));
        return a.len() == b.len() && a.iter().all(|(key, value)| equal((key.as_str(), value)));
    }
    if let (Ok(a), Ok(b)) = (a.as_float(), b.as_float()) {
        return a.to_bits() == b.to_bits();
    }
    plain(&a).is_some_and(|a| Some(a) == plain(b))
        || both::<TensorValue>(&a, b, |a, b| a.0.id() == b.0.id())
        || both::<BatchValue>(&a, b, |a, b| Arc::ptr_eq(&a.0, &b.0))
        || both::<StreamValue>(&a, b, |a, b| Arc::ptr_eq(&a.0, &b.0))
}

/// A value of one of the language's own types, as text.
fn plain(value: &Dynamic) -> Option<String> {
    let is = value.is_unit() || value.is_bool() || value.is_int() || value.is_char();
    (is || value.is_string()).then(|| value.to_string())
}

fn both<T: Clone + Send + Sync + 'static>(
    a: &Dynamic,
    b: &Dynamic,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    match (a.clone().try_cast::<T>(), b.clone().try_cast::<T>()) {
        (Some(a), Some(b)) => same(&a, &b),
        _ => false,
    }
}
