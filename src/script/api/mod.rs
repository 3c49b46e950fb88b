//! The functions that scripts can call: one thin file per area.
//!
//! # The pattern
//! A binding converts arguments, calls one core function and converts back. A file has an
//! `#[export_module]` with the functions, the settings structs, and a `register`:
//!
//! ```
//! # mod binding {
//! use rhai::plugin::*;
//! use rhai::Map;
//! use widthwise::error::{Error, Result};
//! use widthwise::options;
//! use widthwise::script::api::Registry;
//! use widthwise::script::options::POSITIVE;
//! use widthwise::script::{OrRaise, RhaiResultOf};
//!
//! /// A core type; scripts hold it by value, so big ones wrap an `Arc`. It must be
//! /// `Clone + Send + Sync`.
//! #[derive(Debug, Clone)]
//! pub struct Spring { stiffness: f64 }
//!
//! impl Spring {
//!     fn new(stiffness: f64) -> Self { Self { stiffness } }
//!     fn force(&self, x: f64) -> Result<f64> {
//!         if x.abs() > 10.0 {
//!             return Err(Error::setting(format!("a stretch of {x} breaks the spring"))
//!                 .with_help("stay within -10 and 10"));
//!         }
//!         Ok(-self.stiffness * x)
//!     }
//! }
//!
//! options! {
//!     /// Settings of a spring.
//!     pub struct SpringOptions for "spring" {
//!         /// Force per stretch.
//!         stiffness: f64 = 1.0, where POSITIVE;
//!     }
//! }
//!
//! // the comments are the script reference; the macro writes `unwrap`s that cannot fail
//! #[allow(missing_docs, clippy::unwrap_used, reason = "for scripts; the macro unwraps")]
//! #[export_module]
//! mod functions {
//!     use super::*;
//!
//!     /// A spring that pulls back in proportion to its stretch (Hooke's law).
//!     ///
//!     /// ```rhai
//!     /// let s = spring(#{ stiffness: 2 });
//!     /// s.force(0.5)        // → -1.0
//!     /// ```
//!     //  The first overload with a comment documents the name; the settings are added to it.
//!     #[rhai_fn(name = "spring", return_raw)]
//!     pub fn spring_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Spring> {
//!         let o = SpringOptions::from_map(&ctx, &settings)?;
//!         Ok(Spring::new(o.stiffness))
//!     }
//!
//!     // every setting has a default here, so the map may be left out
//!     #[rhai_fn(name = "spring", return_raw)]
//!     pub fn spring(ctx: NativeCallContext) -> RhaiResultOf<Spring> {
//!         spring_with(ctx, Map::new())
//!     }
//!
//!     /// The force at a stretch `x`, in newtons. Fails when the spring breaks.
//!     ///
//!     /// ```rhai
//!     /// spring().force(3)   // → -3.0
//!     /// ```
//!     // `pure` lets constants be used; a method that changes its receiver leaves it out
//!     #[rhai_fn(pure, return_raw)]
//!     pub fn force(ctx: NativeCallContext, spring: &mut Spring, x: f64) -> RhaiResultOf<f64> {
//!         spring.force(x).or_raise(&ctx)
//!     }
//!     // Rhai does not widen integers in native calls: take them too
//!     #[rhai_fn(name = "force", pure, return_raw)]
//!     pub fn force_int(ctx: NativeCallContext, spring: &mut Spring, x: i64) -> RhaiResultOf<f64> {
//!         spring.force(x as f64).or_raise(&ctx)
//!     }
//!
//!     /// Force per stretch.
//!     ///
//!     /// ```rhai
//!     /// spring().stiffness  // → 1.0
//!     /// ```
//!     #[rhai_fn(get = "stiffness", pure)]
//!     pub fn stiffness(spring: &mut Spring) -> f64 { spring.stiffness }
//! }
//!
//! // what makes it a setting of other functions (`attach: spring()`)
//! widthwise::script_type!(Spring, "spring", "spring()");
//!
//! pub fn register(registry: &mut Registry) {
//!     registry.name_type::<Spring>("Spring");           // the name in messages and `fn Spring.…`
//!     registry.options(SpringOptions::spec());
//!     registry.global(rhai::exported_module!(functions));
//!     // or: registry.module("physics", …) for `physics::spring(..)`
//! }
//!
//! # }
//! # let host = widthwise::script::Host::with(Default::default(), binding::register).unwrap();
//! # assert_eq!(host.docs().get("spring")[0].options.unwrap().fields[0].key, "stiffness");
//! # let mut host = host;
//! # let value = host.eval_cell("spring(#{ stiffness: 2 }).force(0.5)").unwrap();
//! # assert_eq!(value.as_float().unwrap(), -1.0);
//! # assert!(host.eval_cell("spring().force(30)").unwrap_err().to_string().contains("breaks"));
//! ```
//!
//! Rules:
//! - `return_raw` and the return type `RhaiResultOf<T>`, written so, on everything that can fail;
//!   take `ctx: NativeCallContext` first and convert core errors with
//!   [`or_raise`](super::OrRaise::or_raise) or [`raise`](super::raise): calls through a module path
//!   carry a position only that way. A script catches them and reads `e.kind`, `e.message`,
//!   `e.help`.
//! - Never return Rhai's own errors made by hand, nor results of `rhai::serde`.
//! - Functions with effects (training, files, random numbers) are `#[rhai_fn(volatile)]`.
//! - A script function that is called before the binding returns: [`callback::call`]. One that is
//!   kept: [`StoredFn`](super::StoredFn), which is `Send + Sync` and callable without a context.
//! - Files to write: `session(&ctx).or_raise(&ctx)?.output_path(name)`; the device, `--set` values
//!   and folders are on the [`Session`](super::Session) too.
//! - Files to read: `session(&ctx).or_raise(&ctx)?.input_path(name)`, which refuses what the user has
//!   not named.
//! - Long computations poll `crate::interrupt::requested()` and return `Error::interrupted()`.
//! - Every registered function has a doc comment with shapes, units, errors, source, and an example
//!   in a ` ```rhai ` block, which the tests run; `// → value` behind a line says what it gives.
//!
//! [`callback::call`]: super::callback::call

pub mod bench;
pub mod compare;
pub mod comparison;
pub mod data;
pub mod errors;
pub mod explain;
pub mod files;
pub mod fits;
pub mod general;
pub mod images;
pub mod math;
pub mod matrix_optim;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod optim;
pub mod own_rule;
pub mod parametrization;
pub mod plot;
pub mod reading;
pub mod schedule;
pub mod stats;
pub mod study;
pub mod table;
pub mod tensor;
pub mod train;
pub mod transformer;
pub mod values;
pub mod vision;

use std::collections::BTreeMap;

use rhai::{Engine, Module};

use super::options::OptionsSpec;

/// Where bindings register themselves.
#[derive(Debug)]
pub struct Registry<'a> {
    engine: &'a mut Engine,
    modules: BTreeMap<String, Module>,
    options: Vec<&'static OptionsSpec>,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(engine: &'a mut Engine) -> Self {
        Self {
            engine,
            modules: BTreeMap::new(),
            options: Vec::new(),
        }
    }

    /// Gives a Rust type the name that scripts see in `type_of`, messages and `fn Name.method()`, and
    /// makes its comparison by `<` an error.
    pub fn name_type<T: Clone + Send + Sync + 'static>(&mut self, name: &str) {
        self.engine.register_type_with_name::<T>(name);
        // signatures hold the Rust name without its path
        let rust = std::any::type_name::<T>();
        let short = rust.rsplit("::").next().unwrap_or(rust);
        self.engine.register_type_with_name_raw(short, name);
        comparison::unordered::<T>(self.engine);
    }

    /// Registers functions and methods that are called without a module.
    pub fn global(&mut self, module: Module) {
        self.engine.register_global_module(module.into());
    }

    /// Registers functions of `name::…`; several files may add to one module.
    pub fn module(&mut self, name: &str, module: Module) {
        self.modules
            .entry(name.to_string())
            .or_default()
            .combine(module);
    }

    /// Makes settings known to the reference, to completion and to `check`.
    pub fn options(&mut self, spec: &'static OptionsSpec) {
        self.options.push(spec);
    }

    /// The engine, for what the methods above do not cover (operators, indexing, iterators).
    pub fn engine(&mut self) -> &mut Engine {
        self.engine
    }

    pub(crate) fn finish(self) -> Vec<&'static OptionsSpec> {
        for (name, module) in self.modules {
            self.engine.register_static_module(name, module.into());
        }
        self.options
    }
}

/// Registers every area. One line per file.
pub fn register(registry: &mut Registry) {
    files::register(registry);
    reading::register(registry);
    errors::register(registry);
    comparison::register(registry);
    general::register(registry);
    nn::register(registry);
    images::register(registry);
    vision::register(registry);
    compare::register(registry);
    explain::register(registry);
    transformer::register(registry);
    parametrization::register(registry);
    own_rule::register(registry);
    optim::register(registry);
    matrix_optim::register(registry);
    schedule::register(registry);
    model::register(registry);
    train::register(registry);
    bench::register(registry);
    math::register(registry);
    study::register(registry);
    table::register(registry);
    tensor::register(registry);
    data::register(registry);
    metrics::register(registry);
    plot::register(registry);
    fits::register(registry);
    stats::register(registry);
}

/// A value in one line: its name and settings.
fn one_line(name: &str, settings: &serde_json::Value) -> String {
    let settings = settings.as_object().into_iter().flatten();
    let settings: Vec<String> = settings
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!("{name}({})", settings.join(", "))
}
