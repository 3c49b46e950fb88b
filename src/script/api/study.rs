//! Studies: results that library modules give methods to.

use std::fmt;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{AST, Array, Engine, GlobalRuntimeState, Map, Module, Position};

use super::Registry;
use crate::error::Error;
use crate::script::names::did_you_mean;
use crate::script::{RhaiResultOf, raise};

/// The same experiment over widths, parametrizations or hyperparameters: a map of results whose
/// methods a library module defines, `fn Study.table() { … this.widths … }`.
#[derive(Debug, Clone)]
pub struct Study {
    results: Arc<Map>,
    home: Arc<Home>,
}

impl Study {
    /// The results by name.
    pub fn results(&self) -> &Map {
        &self.results
    }
}

/// Where a study was made: the functions, imports and constants that its methods see.
struct Home(GlobalRuntimeState);

impl Home {
    /// The script or module.
    fn name(&self) -> &str {
        self.0.source().unwrap_or_default()
    }

    /// Whether there is a method of this name with so many parameters.
    fn has(&self, name: &str, parameters: usize) -> bool {
        let mut functions = self.0.lib.iter().flat_map(|m| m.iter_script_fn_info());
        functions.any(|(_, _, n, count, f)| {
            n == name && count == parameters && f.this_type.as_deref() == Some(STUDY)
        })
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({})", self.name())
    }
}

/// Name of studies in scripts.
const STUDY: &str = "Study";

/// A second name for each method of studies in a module, under which importers reach it whatever
/// other modules they import: see [`share_methods`].
pub fn name_methods(ast: &mut AST) {
    let mut again = Module::new();
    for (.., method) in ast.shared_lib().iter_script_fn_info() {
        if method.this_type.as_deref() == Some(STUDY) {
            let mut method = method.as_ref().clone();
            method.name = second_name(&method.name, ast.source()).into();
            let _hash = again.set_script_fn(method);
        }
    }
    ast.combine(AST::new(Vec::new(), again));
}

fn second_name(method: &str, module: Option<&str>) -> String {
    let module = module.unwrap_or_default();
    format!(
        "{method}__of_{}",
        module.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    )
}

/// Several modules may each have a `fn Study.table()`. So that a study gets the one of the module
/// that made it, importers of a module see methods that look for that one first, and call the
/// module's own where the study's has none.
///
/// # Errors
/// None that a module which has been compiled can cause.
pub fn share_methods(
    engine: &Engine,
    ast: &AST,
    module: &mut Module,
) -> std::result::Result<(), Box<EvalAltResult>> {
    let methods = ast.iter_functions().filter(|f| f.this_type == Some(STUDY));
    let text: String = methods
        .filter(|f| !f.name.contains("__of_"))
        .map(|f| {
            let (name, parameters) = (f.name, f.params.join(", "));
            let own = second_name(name, ast.source());
            format!(
                "fn {STUDY}.{name}({parameters}) {{ \
                 this.call_method(\"{name}\", [{parameters}], \"{own}\") }}\n"
            )
        })
        .collect();
    for (.., function) in engine.compile(text)?.shared_lib().iter_script_fn_info() {
        let _hash = module.set_script_fn(function.clone());
    }
    Ok(())
}

/// Calls the method that the module which made the study has, or else the one called `other`.
fn call(
    ctx: &NativeCallContext,
    study: &mut Study,
    name: &str,
    mut args: Array,
    other: Option<&str>,
) -> RhaiResultOf<Dynamic> {
    let home = study.home.clone();
    let made_here = home.has(name, args.len());
    if !made_here && other.is_none() {
        let error = Error::setting(format!(
            "a study of {} has no method `{name}` with {} arguments",
            home.name(),
            args.len()
        ));
        return Err(raise(ctx, error));
    }
    // taken and not copied, so that a method which changes the study is the only one to hold it
    let taken = Study {
        results: Arc::default(),
        home: home.clone(),
    };
    let mut this = Dynamic::from(std::mem::replace(study, taken));
    let mut all: Vec<&mut Dynamic> = vec![&mut this];
    all.extend(args.iter_mut());
    let result = match other {
        Some(other) if !made_here => ctx.call_fn_raw(other, true, true, &mut all),
        _ => {
            // no position of its own: errors are to point at the script's call
            let (engine, place) = (ctx.engine(), Position::NONE);
            let source = home.0.source();
            NativeCallContext::new_with_all_fields(engine, name, source, &home.0, place)
                .call_fn_raw(name, true, true, &mut all)
        }
    };
    if let Some(changed) = this.try_cast::<Study>() {
        *study = changed;
    }
    // one call in the script is one in the chain of calls that an error shows
    result.map_err(|e| match *e {
        EvalAltResult::ErrorInFunctionCall(_, source, inner, _)
            if Some(source.as_str()) == ctx.call_source() =>
        {
            inner
        }
        e => e.into(),
    })
}

crate::script_type!(Study, "study");

/// Registers studies.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Study>(STUDY);
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
    /// is `this`. They can be called wherever the module, or a module that imports it, is imported;
    /// where several modules have methods of one name, a study gets that of the module that made it.
    ///
    /// ```rhai
    /// let s = new_study(#{ widths: [64, 128], losses: [0.5, 0.25] });
    /// s.widths        // → [64, 128]
    /// ```
    pub fn new_study(ctx: NativeCallContext, results: Map) -> Study {
        Study {
            results: Arc::new(results),
            home: Arc::new(Home(ctx.global_runtime_state().clone())),
        }
    }

    /// Calls a method by name with an array of arguments: the one that the module which made the
    /// study has. With a third argument, the name of the method to call where that module has none.
    ///
    /// ```rhai
    /// import "std/width" as width;
    /// let study = width::study(#{
    ///     network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 8, test_size: 50 }),
    ///     widths: [8, 16], members: 2, steps: 4, batch: 16,
    /// });
    /// study.call_method("run", ["mup", 8]).width      // → 8
    /// ```
    #[rhai_fn(return_raw)]
    pub fn call_method(
        ctx: NativeCallContext,
        study: &mut Study,
        name: &str,
        arguments: Array,
    ) -> RhaiResultOf<Dynamic> {
        call(&ctx, study, name, arguments, None)
    }
    #[rhai_fn(name = "call_method", return_raw)]
    pub fn call_method_or(
        ctx: NativeCallContext,
        study: &mut Study,
        name: &str,
        arguments: Array,
        other: &str,
    ) -> RhaiResultOf<Dynamic> {
        call(&ctx, study, name, arguments, Some(other))
    }

    /// The names of the results, in alphabetical order.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64], losses: [0.5] }).keys()   // → ["losses", "widths"]
    /// ```
    #[rhai_fn(pure)]
    pub fn keys(study: &mut Study) -> Array {
        study.results.keys().map(|k| k.as_str().into()).collect()
    }

    /// A copy of the results as a map.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64] }).to_map()      // → #{ widths: [64] }
    /// ```
    #[rhai_fn(pure)]
    pub fn to_map(study: &mut Study) -> Map {
        study.results.as_ref().clone()
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
        study.results.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = study.results.keys().map(|k| k.as_str()).collect();
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
        Arc::make_mut(&mut study.results).insert(name.into(), value);
    }

    /// `Study(losses, widths)`: the names of the results.
    ///
    /// ```rhai
    /// new_study(#{ widths: [64] }).to_string()      // → "Study(widths)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(study: &mut Study) -> String {
        let names: Vec<&str> = study.results.keys().map(|k| k.as_str()).collect();
        format!("Study({})", names.join(", "))
    }
}
