//! The types a setting can have.

use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;

use rhai::{Dynamic, FnPtr, Map};

use super::read::{OptionsSpec, Values};
use crate::error::Error;
pub use crate::optim::PerMember;

/// A type that a setting can have.
///
/// Implemented for `bool`, `i64`, `u64`, `usize`, `f64` (an integer is taken too), `String`,
/// [`PathBuf`], vectors of these, [`PerMember`], [`FnPtr`], [`Map`], [`Dynamic`] (so that `Vec<Dynamic>` is any array),
/// `Option` of any of them (`()` is `None`), and every `options!` struct.
pub trait FromScript: Sized {
    /// What the value must be, in words: "number", "array of integers".
    fn words() -> String;
    /// Reads a value.
    ///
    /// # Errors
    /// [`Values::mismatch`], or a message of its own that starts with what was expected.
    fn from_script(value: &Dynamic) -> Result<Self, Error>;
    /// The value as a script would write it, for defaults in the documentation.
    fn show(&self) -> String;
    /// The strings that are accepted, if it is one of a fixed set.
    fn choices() -> &'static [&'static str] {
        &[]
    }
    /// The settings within, if it is a map with known keys.
    fn nested() -> Option<&'static OptionsSpec> {
        None
    }
    /// The value when the setting is not given and has no default; `Option` gives `None`.
    fn absent() -> Option<Self> {
        None
    }
}

impl FromScript for bool {
    fn words() -> String {
        "true or false".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        value.as_bool().map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl FromScript for i64 {
    fn words() -> String {
        "integer".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        value.as_int().map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! unsigned {
    ($($ty:ty),*) => {$(
        impl FromScript for $ty {
            fn words() -> String {
                "integer from 0 up".into()
            }
            fn from_script(value: &Dynamic) -> Result<Self, Error> {
                value
                    .as_int()
                    .ok()
                    .and_then(|i| <$ty>::try_from(i).ok())
                    .ok_or_else(|| Values::mismatch::<Self>(value))
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
unsigned!(usize, u64, u32);

impl FromScript for f64 {
    fn words() -> String {
        "number".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        value
            .as_float()
            .or_else(|_| value.as_int().map(|i| i as f64))
            .map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl FromScript for String {
    fn words() -> String {
        "string".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        value
            .as_immutable_string_ref()
            .map(|s| s.to_string())
            .map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl FromScript for PathBuf {
    fn words() -> String {
        "path as a string".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        value
            .as_immutable_string_ref()
            .map(|s| Self::from(s.as_str()))
            .map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

impl<T: FromScript> FromScript for Vec<T> {
    fn words() -> String {
        match T::words().as_str() {
            "any value" => "array".into(),
            words => format!("array, each element: {words}"),
        }
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        let array = value
            .as_array_ref()
            .map_err(|_| Values::mismatch::<Self>(value))?;
        array
            .iter()
            .enumerate()
            .map(|(i, v)| {
                T::from_script(v).map_err(|mut e| {
                    e.message = format!("{} at index {i}", e.message);
                    e
                })
            })
            .collect()
    }
    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(FromScript::show).collect();
        format!("[{}]", items.join(", "))
    }
}

impl<T: FromScript> FromScript for Option<T> {
    fn words() -> String {
        T::words()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        if value.is_unit() {
            return Ok(None);
        }
        T::from_script(value).map(Some)
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "()".into(), FromScript::show)
    }
    fn choices() -> &'static [&'static str] {
        T::choices()
    }
    fn nested() -> Option<&'static OptionsSpec> {
        T::nested()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

macro_rules! rhai_type {
    ($($ty:ty, $words:literal, $show:literal);*) => {$(
        impl FromScript for $ty {
            fn words() -> String {
                $words.into()
            }
            fn from_script(value: &Dynamic) -> Result<Self, Error> {
                value
                    .clone()
                    .try_cast::<$ty>()
                    .ok_or_else(|| Values::mismatch::<Self>(value))
            }
            fn show(&self) -> String {
                $show.into()
            }
        }
    )*};
}
rhai_type!(
    FnPtr, "function, such as |x| x", "|…| …";
    Map, "map", "#{ … }"
);

impl FromScript for Dynamic {
    fn words() -> String {
        "any value".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        Ok(value.clone())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl FromScript for PerMember {
    fn words() -> String {
        "number, or an array with one number per member".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self, Error> {
        if value.is_array() {
            let each = Vec::<f64>::from_script(value)?;
            return if each.is_empty() {
                Err(Values::mismatch::<Self>(value))
            } else {
                Ok(Self::Each(each))
            };
        }
        f64::from_script(value)
            .map(Self::Same)
            .map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        match self {
            Self::Same(x) => x.show(),
            Self::Each(xs) => xs.show(),
        }
    }
}

/// Lower and upper bound of a `where` range.
pub type Limits = (Bound<f64>, Bound<f64>);

/// The bounds of a range of integers or floats.
pub fn limits<T: Copy + Into<f64>>(range: &impl RangeBounds<T>) -> Limits {
    let convert = |bound: Bound<&T>| bound.map(|x| (*x).into());
    (convert(range.start_bound()), convert(range.end_bound()))
}

/// The numbers in a value, each of which a `where` range checks.
pub trait Numbers {
    /// All numbers of the value.
    fn numbers(&self) -> Vec<f64>;
}

macro_rules! one_number {
    ($($ty:ty),*) => {$(
        impl Numbers for $ty {
            fn numbers(&self) -> Vec<f64> {
                vec![*self as f64]
            }
        }
    )*};
}
one_number!(usize, u64, u32, i64, f64);

impl<T: Numbers> Numbers for Vec<T> {
    fn numbers(&self) -> Vec<f64> {
        self.iter().flat_map(Numbers::numbers).collect()
    }
}

impl<T: Numbers> Numbers for Option<T> {
    fn numbers(&self) -> Vec<f64> {
        self.as_ref().map(Numbers::numbers).unwrap_or_default()
    }
}

impl Numbers for PerMember {
    fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Same(x) => vec![*x],
            Self::Each(xs) => xs.clone(),
        }
    }
}
