//! The checked reader of settings maps and the static description of settings.

use std::ops::{Bound, RangeBounds};

use rhai::{Dynamic, Map};

use super::values::{FromScript, Limits, Numbers, limits};
use crate::error::{Error, Result};
use crate::script::names::did_you_mean;

/// What is known about one setting.
#[derive(Debug, Clone)]
pub struct OptionSpec {
    /// The key in the map.
    pub key: &'static str,
    /// What the value must be, in words, with its range.
    pub kind: String,
    /// The default as a script would write it; `None` when the setting must be given.
    pub default: Option<String>,
    /// What it means.
    pub doc: String,
    /// The accepted strings, if it is one of a fixed set.
    pub choices: &'static [&'static str],
    /// The settings within, if it is a map with known keys.
    pub nested: Option<&'static OptionsSpec>,
}

impl OptionSpec {
    /// Describes a field of type `T`; used by `options!`.
    pub fn new<T: FromScript>(
        key: &'static str,
        default: Option<T>,
        range: Option<Limits>,
        doc: &[&str],
    ) -> Self {
        let kind = match range {
            Some(range) => {
                let words = T::words();
                let words = words.strip_suffix(" from 0 up").unwrap_or(&words);
                format!("{words} ({})", Values::range_words(range))
            }
            None => T::words(),
        };
        Self {
            key,
            kind,
            default: default.or_else(T::absent).map(|d| d.show()),
            doc: OptionsSpec::text(doc),
            choices: T::choices(),
            nested: T::nested(),
        }
    }
}

/// What is known about the settings of one or several functions.
#[derive(Debug, Clone)]
pub struct OptionsSpec {
    /// The functions that take these settings, with their module: `mlp`, `data::parity`.
    pub functions: Vec<&'static str>,
    /// What the settings are.
    pub doc: String,
    /// The settings in the order of declaration.
    pub fields: Vec<OptionSpec>,
}

impl OptionsSpec {
    /// Doc lines as one text, without the space that follows `///`.
    pub fn text(lines: &[&str]) -> String {
        let lines: Vec<&str> = lines
            .iter()
            .map(|l| l.strip_prefix(' ').unwrap_or(l))
            .collect();
        lines.join("\n").trim().to_string()
    }

    /// The keys in alphabetical order.
    pub fn keys(&self) -> Vec<&'static str> {
        let mut keys: Vec<_> = self.fields.iter().map(|f| f.key).collect();
        keys.sort_unstable();
        keys
    }

    /// The error for a key that does not exist, if it does not.
    ///
    /// # Errors
    /// When `key` is none of the settings; the message lists them, the help names the nearest.
    pub fn check_key(&self, function: &str, key: &str) -> Result<()> {
        let keys = self.keys();
        if keys.contains(&key) {
            return Ok(());
        }
        let accepted = if keys.is_empty() {
            "no settings".to_string()
        } else {
            keys.join(", ")
        };
        let error = Error::setting(format!(
            "{function} has no setting `{key}`; it accepts {accepted}"
        ));
        Err(match did_you_mean(key, keys) {
            Some(help) => error.with_help(help),
            None => error,
        })
    }
}

/// Reads one settings map; used by `options!`.
#[derive(Debug)]
pub struct Reader<'a> {
    function: &'a str,
    map: &'a Map,
    spec: &'static OptionsSpec,
}

impl<'a> Reader<'a> {
    /// Starts to read `map`, given to `function`.
    ///
    /// # Errors
    /// When a key is unknown.
    pub fn new(function: &'a str, map: &'a Map, spec: &'static OptionsSpec) -> Result<Self> {
        for key in map.keys() {
            spec.check_key(function, key)?;
        }
        Ok(Self {
            function,
            map,
            spec,
        })
    }

    /// The value of a field, or its default.
    ///
    /// # Errors
    /// When the value has another type, or is missing and has no default.
    pub fn field<T: FromScript>(&self, key: &str, default: Option<T>) -> Result<T> {
        match self.map.get(key).filter(|v| !v.is_unit()) {
            Some(value) => {
                let read = T::from_script(value);
                read.map_err(|e| self.place(key, self.with_range::<T>(key, e)))
            }
            None => default.or_else(T::absent).ok_or_else(|| {
                let field = self.spec.fields.iter().find(|f| f.key == key);
                let kind = field.map_or_else(T::words, |f| f.kind.clone());
                Error::setting(format!(
                    "{} needs the setting `{key}`: {kind}",
                    self.function
                ))
            }),
        }
    }

    /// Says from where up a number must be that is an integer from 0 up as far as its type goes.
    fn with_range<T: FromScript>(&self, key: &str, mut error: Error) -> Error {
        let words = T::words();
        let field = self.spec.fields.iter().find(|f| f.key == key);
        if words.ends_with(" from 0 up")
            && let Some(field) = field
            && let Some(rest) = error.message.strip_prefix(&format!("expected {words}, "))
        {
            error.message = format!("expected {}, {rest}", field.kind);
        }
        error
    }

    /// Checks every number of a value against a `where` range.
    ///
    /// # Errors
    /// When one lies outside, or is not a number.
    pub fn range<T: Copy + Into<f64>>(
        &self,
        key: &str,
        value: &impl Numbers,
        range: &impl RangeBounds<T>,
    ) -> Result<()> {
        let limits = limits(range);
        match value.numbers().into_iter().find(|x| !limits.contains(x)) {
            None => Ok(()),
            Some(x) => Err(self.place(
                key,
                Error::setting(format!(
                    "expected a value {}, found {x}",
                    Values::range_words(limits)
                )),
            )),
        }
    }

    /// Turns the answer of a `check` function into an error with the key.
    ///
    /// # Errors
    /// When the answer is one.
    pub fn check(&self, key: &str, answer: std::result::Result<(), String>) -> Result<()> {
        answer.map_err(|message| self.place(key, Error::setting(message)))
    }

    fn place(&self, key: &str, error: Error) -> Error {
        // the errors of nested settings name their own key
        error.at(format_args!("{}: setting `{key}`", self.function))
    }
}

/// Messages about values.
#[derive(Debug)]
pub struct Values;

impl Values {
    /// "expected number, found "abc" (string)".
    pub fn mismatch<T: FromScript>(value: &Dynamic) -> Error {
        Error::setting(format!(
            "expected {}, found {}",
            T::words(),
            Self::describe(value)
        ))
    }

    /// A string that is none of a fixed set.
    pub fn no_such_choice(name: &str, choices: &[&str]) -> Error {
        let error = Error::setting(format!(
            "expected one of {}, found \"{name}\"",
            choices.join(", ")
        ));
        match did_you_mean(name, choices.iter().copied()) {
            Some(help) => error.with_help(help),
            None => error,
        }
    }

    /// A value and its type, short enough for a message: `"abc" (string)`.
    pub fn describe(value: &Dynamic) -> String {
        let kind = Self::type_name(value);
        let shown = if let Ok(text) = value.as_immutable_string_ref() {
            format!("{:?}", text.as_str())
        } else if value.is_array()
            || value.is_map()
            || value.is_int()
            || value.is_float()
            || value.is_bool()
        {
            format!("{value:?}")
        } else {
            return format!("a value of type {kind}");
        };
        if shown.chars().count() > 60 {
            let start: String = shown.chars().take(57).collect();
            return format!("{start}… ({kind})");
        }
        format!("{shown} ({kind})")
    }

    /// The type's name as users know it.
    pub fn type_name(value: &Dynamic) -> String {
        Self::type_words(value.type_name())
    }

    /// A Rust type's name as users know it.
    pub fn type_words(rust: &str) -> String {
        match rust {
            "i64" => "integer".into(),
            "f64" => "float".into(),
            "()" => "nothing".into(),
            "Fn" => "function".into(),
            "alloc::string::String" => "string".into(),
            other => {
                let name = other.rsplit("::").next().unwrap_or(other);
                // our wrappers: `TensorValue` is a tensor
                name.strip_suffix("Value").unwrap_or(name).to_lowercase()
            }
        }
    }

    /// The type's name with its article: "a model", "an array".
    pub fn one(value: &Dynamic) -> String {
        Self::with_article(&Self::type_name(value))
    }

    /// A type's name with its article, unless it is a proper name, as `Study`.
    pub fn with_article(name: &str) -> String {
        match name {
            "nothing" => name.to_string(),
            _ if name.starts_with(char::is_uppercase) => name.to_string(),
            _ if name.starts_with(['a', 'e', 'i', 'o']) => format!("an {name}"),
            _ => format!("a {name}"),
        }
    }

    /// A range in words: "from 1 up", "above 0 and below 1".
    pub fn range_words(range: Limits) -> String {
        let low = match range.0 {
            Bound::Included(x) => format!("from {x}"),
            Bound::Excluded(x) => format!("above {x}"),
            Bound::Unbounded => String::new(),
        };
        let high = match range.1 {
            Bound::Included(x) => format!("to {x}"),
            Bound::Excluded(x) => format!("below {x}"),
            Bound::Unbounded => String::new(),
        };
        match (low.is_empty(), high.is_empty()) {
            (false, false) => format!("{low} {high}"),
            (false, true) if low.starts_with("from") => format!("{low} up"),
            (false, true) => low,
            (true, false) => high.replace("to ", "up to "),
            (true, true) => "of any size".into(),
        }
    }
}
