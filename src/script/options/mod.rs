//! Settings maps: one declaration gives the struct, the checked reader and the documentation.
//!
//! ```
//! use widthwise::options;
//! use widthwise::script::options::{POSITIVE, PerMember};
//!
//! options! {
//!     /// Settings of stochastic gradient descent.
//!     pub struct SgdOptions for "sgd" {
//!         /// Learning rate, one for all members or one per member.
//!         lr: PerMember, where POSITIVE;
//!         /// Momentum.
//!         momentum: f64 = 0.0, where (0.0..1.0);
//!         /// Nesterov momentum.
//!         nesterov: bool = false;
//!         /// Hyperparameter after which the gradients are clipped; absent means never.
//!         clip: Option<f64> = None, where POSITIVE;
//!     }
//! }
//!
//! let mut map = rhai::Map::new();
//! map.insert("lr".into(), rhai::Dynamic::from(1_i64));
//! let options = SgdOptions::read("sgd", &map).unwrap();
//! assert_eq!(options.lr, PerMember::Same(1.0));
//! map.insert("momentun".into(), rhai::Dynamic::from(0.9));
//! let error = SgdOptions::read("sgd", &map).unwrap_err();
//! assert_eq!(error.message, "sgd has no setting `momentun`; it accepts clip, lr, momentum, nesterov");
//! assert_eq!(error.help.as_deref(), Some("did you mean `momentum`?"));
//! ```
//!
//! A field without a default must be given. `where RANGE` checks every number of the value;
//! `check FUNCTION` (after it) runs `fn(&T) -> Result<(), String>`. `()` means "not given". The
//! struct is itself a field type, so settings nest.
//!
//! Field types: see [`FromScript`]; a core enum becomes one with [`choice!`](crate::choice), a
//! registered Rust type with [`script_type!`](crate::script_type).

mod read;
mod values;

pub use read::{OptionSpec, OptionsSpec, Reader, Values};
pub use values::{FromScript, Limits, Numbers, PerMember, limits};

use std::ops::Bound;

/// Range of numbers above zero, for `where POSITIVE`.
pub const POSITIVE: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Unbounded);

/// Range of numbers from zero up, for `where NON_NEGATIVE`.
pub const NON_NEGATIVE: (Bound<f64>, Bound<f64>) = (Bound::Included(0.0), Bound::Unbounded);

/// Range of numbers between 0 and 1, for `where IN_BETWEEN`.
pub const IN_BETWEEN: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Excluded(1.0));

/// Declares a settings struct; see [the module](crate::script::options).
#[macro_export]
macro_rules! options {
    (
        $(#[doc = $doc:expr])*
        $vis:vis struct $name:ident for $($function:literal),+ {
            $(
                $(#[doc = $field_doc:expr])*
                $field:ident : $ty:ty $(= $default:expr)? $(, where $range:expr)? $(, check $check:expr)? ;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* pub $field: $ty, )*
        }

        #[allow(dead_code, reason = "not every struct is read in every way")]
        impl $name {
            /// The settings' names, types, defaults and documentation.
            pub fn spec() -> &'static $crate::script::options::OptionsSpec {
                static SPEC: std::sync::OnceLock<$crate::script::options::OptionsSpec> =
                    std::sync::OnceLock::new();
                SPEC.get_or_init(|| $crate::script::options::OptionsSpec {
                    functions: vec![$($function),+],
                    doc: $crate::script::options::OptionsSpec::text(&[$($doc),*]),
                    fields: vec![$(
                        $crate::script::options::OptionSpec::new::<$ty>(
                            stringify!($field),
                            $crate::options!(@default $ty $(, $default)?),
                            None::<$crate::script::options::Limits>
                                $(.or(Some($crate::script::options::limits(&$range))))?,
                            &[$($field_doc),*],
                        ),
                    )*],
                })
            }

            /// Reads a settings map given to `function`.
            ///
            /// # Errors
            /// For unknown keys, wrong types, impossible values and missing settings.
            pub fn read(function: &str, map: &rhai::Map) -> $crate::error::Result<Self> {
                #[allow(unused_mut)]
                let mut reader = $crate::script::options::Reader::new(function, map, Self::spec())?;
                Ok(Self {
                    $( $field: {
                        let value: $ty = reader.field(
                            stringify!($field),
                            $crate::options!(@default $ty $(, $default)?),
                        )?;
                        $( reader.range(stringify!($field), &value, &$range)?; )?
                        $( reader.check(stringify!($field), ($check)(&value))?; )?
                        value
                    }, )*
                })
            }

            /// Reads the settings map of the native call `ctx`.
            ///
            /// # Errors
            /// As [`Self::read`], as a script error at the call's position.
            pub fn from_map(
                ctx: &rhai::NativeCallContext,
                map: &rhai::Map,
            ) -> $crate::script::RhaiResultOf<Self> {
                $crate::script::OrRaise::or_raise(Self::read(ctx.fn_name(), map), ctx)
            }

            /// The settings when none is given.
            ///
            /// # Errors
            /// When a setting has no default.
            pub fn defaults(function: &str) -> $crate::error::Result<Self> {
                Self::read(function, &rhai::Map::new())
            }
        }

        impl $crate::script::options::FromScript for $name {
            fn words() -> String {
                "map of settings".into()
            }
            fn from_script(value: &rhai::Dynamic) -> ::std::result::Result<Self, $crate::error::Error> {
                match value.as_map_ref() {
                    Ok(map) => Self::read(Self::spec().functions[0], &map),
                    Err(_) => Err($crate::script::options::Values::mismatch::<Self>(value)),
                }
            }
            fn show(&self) -> String {
                "#{ … }".into()
            }
            fn nested() -> Option<&'static $crate::script::options::OptionsSpec> {
                Some(Self::spec())
            }
        }
    };
    (@default $ty:ty) => { None::<$ty> };
    (@default $ty:ty, $default:expr) => {{
        let default: $ty = $default;
        Some(default)
    }};
}

/// Makes a core enum a setting that scripts write as one of a fixed set of strings:
/// `choice! { Activation { "relu" => Activation::Relu, "tanh" => Activation::Tanh } }`.
/// The enum must be `Clone + PartialEq`.
#[macro_export]
macro_rules! choice {
    ($ty:ty { $($name:literal => $value:expr),+ $(,)? }) => {
        impl $crate::script::options::FromScript for $ty {
            fn words() -> String {
                let names: Vec<String> = [$($name),+].iter().map(|n| format!("\"{n}\"")).collect();
                names.join(" or ")
            }
            fn from_script(value: &rhai::Dynamic) -> ::std::result::Result<Self, $crate::error::Error> {
                let name = value
                    .as_immutable_string_ref()
                    .map_err(|_| $crate::script::options::Values::mismatch::<Self>(value))?;
                match name.as_str() {
                    $( $name => Ok($value), )+
                    _ => Err($crate::script::options::Values::no_such_choice(&name, &[$($name),+])),
                }
            }
            fn show(&self) -> String {
                $( if *self == $value { return format!("\"{}\"", $name); } )+
                String::from("…")
            }
            fn choices() -> &'static [&'static str] {
                &[$($name),+]
            }
        }
    };
}

/// Makes a Rust type that is registered with the engine a setting:
/// `script_type!(Network, "network", "mlp(#{ width: 64 })")`; the last text is an example value,
/// used in messages.
#[macro_export]
macro_rules! script_type {
    ($ty:ty, $words:literal $(, $example:literal)?) => {
        impl $crate::script::options::FromScript for $ty {
            fn words() -> String {
                let words = String::from($words);
                $( let words = format!("{words}, such as {}", $example); )?
                words
            }
            fn from_script(value: &rhai::Dynamic) -> ::std::result::Result<Self, $crate::error::Error> {
                value
                    .clone()
                    .try_cast::<$ty>()
                    .ok_or_else(|| $crate::script::options::Values::mismatch::<Self>(value))
            }
            fn show(&self) -> String {
                format!("a {}", $words)
            }
        }
    };
}

#[cfg(test)]
mod tests;
