//! Settings from the command line.

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use crate::error::Error;
use crate::script::convert::to_json;
use crate::script::names::did_you_mean;
use crate::script::options::{FromScript, Values};
use crate::script::{OrRaise, RhaiResultOf, raise, session};

/// Registers `param`.
pub fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "for scripts; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// Ends the script with an error, which `try … catch` can take; unlike `throw`, the error has
    /// a kind (`other`) and a message like those of the host's functions.
    ///
    /// ```rhai
    /// let said = "";
    /// try { fail("widths must grow"); } catch (e) { said = e.message; }
    /// said        // → "widths must grow"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn fail(ctx: NativeCallContext, message: &str) -> RhaiResultOf<()> {
        Err(raise(&ctx, Error::other(message)))
    }

    /// The settings of a library function: `given` checked against `defaults`, and completed by them.
    ///
    /// An unknown key is an error that lists the keys and names the nearest; a value must have the
    /// type of its default (an integer is taken where the default is a float, and becomes one);
    /// `()` as default takes any value. `function` is the name in messages.
    ///
    /// ```rhai
    /// study_settings("study", #{ steps: 10 }, #{ steps: 1000, lr: 0.1 })   // → #{ lr: 0.1, steps: 10 }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn study_settings(
        ctx: NativeCallContext,
        function: &str,
        given: Map,
        defaults: Map,
    ) -> RhaiResultOf<Map> {
        let mut all = defaults;
        for (key, value) in given {
            let Some(default) = all.get_mut(&key) else {
                return Err(raise(&ctx, unknown_key(function, &key, &all)));
            };
            if value.is_unit() {
                continue;
            }
            *default = with_type_of(value, default)
                .map_err(|e| raise(&ctx, e.at(format_args!("{function}: setting `{key}`"))))?;
        }
        Ok(all)
    }

    /// The setting given on the command line as `--set name=value`, or `default` when it is not
    /// given.
    ///
    /// The value has the type of the default: integer, float (an integer is taken), bool, string,
    /// or an array of these, written `[32, 64]` or `32,64`. A value of another type is an error, and
    /// so is a `--set` of a name that the script never asks for.
    ///
    /// ```rhai
    /// param("widths", [64, 128])     // → [64, 128]
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn param(ctx: NativeCallContext, name: &str, default: Dynamic) -> RhaiResultOf<Dynamic> {
        let session = session(&ctx).or_raise(&ctx)?;
        let value = match session.setting(name) {
            None => default,
            Some(text) => parse_as(text, &default)
                .map_err(|e| raise(&ctx, e.at(format_args!("--set {name}={text}"))))?,
        };
        let noted = to_json(&value).unwrap_or_else(|_| Values::type_name(&value).into());
        session.note_asked(name, noted);
        Ok(value)
    }
}

/// Reads `text` as a value of the type that `default` has.
fn parse_as(text: &str, default: &Dynamic) -> Result<Dynamic, Error> {
    let text = text.trim();
    let wrong = |words: &str| Error::setting(format!("expected {words}, found `{text}`"));
    if default.is_int() {
        text.parse::<i64>()
            .map(Dynamic::from)
            .map_err(|_| wrong(&i64::words()))
    } else if default.is_float() {
        text.parse::<f64>()
            .map(Dynamic::from)
            .map_err(|_| wrong(&f64::words()))
    } else if default.is_bool() {
        text.parse::<bool>()
            .map(Dynamic::from)
            .map_err(|_| wrong(&bool::words()))
    } else if default.is_string() {
        Ok(unquote(text).to_string().into())
    } else if let Ok(array) = default.as_array_ref() {
        let inner = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        // a float among the defaults makes all of them floats
        let model = array
            .iter()
            .find(|v| v.is_float())
            .or_else(|| array.first())
            .cloned();
        let items = inner.split(',').map(str::trim).filter(|t| !t.is_empty());
        let items: Result<Vec<Dynamic>, Error> = items
            .map(|item| match &model {
                Some(model) => parse_as(item, model),
                None => Ok(guess(item)),
            })
            .collect();
        Ok(items?.into())
    } else if default.is_unit() {
        Ok(guess(text))
    } else {
        Err(Error::setting(format!(
            "a default of type {} cannot be set from the command line",
            Values::type_name(default)
        )))
    }
}

/// A value without a default to say its type.
fn guess(text: &str) -> Dynamic {
    if let Ok(i) = text.parse::<i64>() {
        i.into()
    } else if let Ok(x) = text.parse::<f64>() {
        x.into()
    } else if let Ok(b) = text.parse::<bool>() {
        b.into()
    } else {
        unquote(text).to_string().into()
    }
}

/// A value, if it can stand where `default` stood.
fn with_type_of(value: Dynamic, default: &Dynamic) -> Result<Dynamic, Error> {
    if default.is_unit() || value.type_name() == default.type_name() {
        return Ok(value);
    }
    match value.as_int() {
        Ok(i) if default.is_float() => Ok((i as f64).into()),
        _ => Err(Error::setting(format!(
            "expected {}, found {}",
            Values::type_name(default),
            Values::describe(&value)
        ))),
    }
}

fn unknown_key(function: &str, key: &str, known: &Map) -> Error {
    let keys: Vec<&str> = known.keys().map(|k| k.as_str()).collect();
    let error = Error::setting(format!(
        "{function} has no setting `{key}`; it accepts {}",
        keys.join(", ")
    ));
    match did_you_mean(key, keys) {
        Some(help) => error.with_help(help),
        None => error,
    }
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text)
}
