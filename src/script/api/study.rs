//! Studies: results that library modules give methods to.

use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map};

use super::Registry;
use crate::error::Error;
use crate::script::names::did_you_mean;
use crate::script::{RhaiResultOf, raise};

/// The same experiment over widths, parametrizations or hyperparameters: a map of results whose
/// methods a library module defines, `fn Study.table() { … this.widths … }`.
#[derive(Debug, Clone, Default)]
pub struct Study(Arc<Map>);

impl Study {
    /// The results by name.
    pub fn results(&self) -> &Map {
        &self.0
    }
}

crate::script_type!(Study, "study");

/// Registers studies.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Study>("Study");
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

    /// A study with these results, to be returned by a library module. Its entries are read as
    /// properties, and the module gives it methods with `fn Study.name() { … }`, in which the study
    /// is `this`. They can be called wherever the module, or a module that imports it, is imported.
    ///
    /// ```rhai
    /// let s = new_study(#{ widths: [64, 128], losses: [0.5, 0.25] });
    /// s.widths        // → [64, 128]
    /// ```
    pub fn new_study(results: Map) -> Study {
        Study(Arc::new(results))
    }

    /// The names of the results, in alphabetical order.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64], losses: [0.5] }).keys()   // → ["losses", "widths"]
    /// ```
    #[rhai_fn(pure)]
    pub fn keys(study: &mut Study) -> Array {
        study.0.keys().map(|k| k.as_str().into()).collect()
    }

    /// A copy of the results as a map.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64] }).to_map()      // → #{ widths: [64] }
    /// ```
    #[rhai_fn(pure)]
    pub fn to_map(study: &mut Study) -> Map {
        study.0.as_ref().clone()
    }

    /// A result by name; `study.name` is the same as `study["name"]`.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64] })["widths"]      // → [64]
    /// ```
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn get_result(
        ctx: NativeCallContext,
        study: &mut Study,
        name: &str,
    ) -> RhaiResultOf<Dynamic> {
        study.0.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = study.0.keys().map(|k| k.as_str()).collect();
            let error = Error::setting(format!(
                "the study has no result `{name}`; it has {}",
                names.join(", ")
            ));
            raise(
                &ctx,
                match did_you_mean(name, names) {
                    Some(help) => error.with_help(help),
                    None => error,
                },
            )
        })
    }

    /// Sets a result, for methods that keep something: `this.cache = …`.
    ///
    /// ```rhai
    /// let s = new_study(#{ widths: [64] });
    /// s.note = "first try";
    /// s.note          // → "first try"
    /// ```
    #[rhai_fn(index_set)]
    pub fn set_result(study: &mut Study, name: &str, value: Dynamic) {
        Arc::make_mut(&mut study.0).insert(name.into(), value);
    }

    /// `Study(losses, widths)`: the names of the results.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64] }).to_string()      // → "Study(widths)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(study: &mut Study) -> String {
        let names: Vec<&str> = study.0.keys().map(|k| k.as_str()).collect();
        format!("Study({})", names.join(", "))
    }
}
