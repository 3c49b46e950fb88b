//! `plot::…`: figures.

mod figure;
mod functions;
mod grids;
mod histogram;
mod series;
mod settings;

use std::sync::Arc;

use rhai::{Map, NativeCallContext};

use super::Registry;
use crate::error::Result;
use crate::plot::Figure;
use crate::script::options::OptionsSpec;
use crate::script::{OrRaise, RhaiResultOf};

/// A figure in a script.
#[derive(Debug, Clone)]
pub struct FigureValue(pub Arc<Figure>);

crate::script_type!(FigureValue, "figure", "plot::line([1.0, 0.5, 0.25])");

/// Registers figures and the functions that make them.
pub fn register(registry: &mut Registry) {
    registry.name_type::<FigureValue>("Figure");
    // the name in signatures of the reference
    registry
        .engine()
        .register_type_with_name_raw("FigureValue", "Figure");
    functions::register(registry);
    histogram::register(registry);
    grids::register(registry);
    figure::register(registry);
}

/// The figure as a script value, if it can be drawn.
fn drawable(ctx: &NativeCallContext, figure: Result<Figure>) -> RhaiResultOf<FigureValue> {
    figure
        .and_then(|figure| figure.check().map(|()| figure))
        .map(|figure| FigureValue(Arc::new(figure)))
        .or_raise(ctx)
}

/// Two descriptions of settings as one, for functions that take both in one map.
fn both(
    functions: Vec<&'static str>,
    doc: &str,
    a: &OptionsSpec,
    b: &OptionsSpec,
    without: &[&str],
) -> OptionsSpec {
    let kept = a.fields.iter().chain(&b.fields);
    OptionsSpec {
        functions,
        doc: doc.into(),
        fields: kept
            .filter(|f| !without.contains(&f.key))
            .cloned()
            .collect(),
    }
}

/// The settings of a map that belong to `first`, and the others; every key must be one of `all`.
fn split(function: &str, map: &Map, all: &OptionsSpec, first: &OptionsSpec) -> Result<(Map, Map)> {
    for key in map.keys() {
        all.check_key(function, key)?;
    }
    let own = first.keys();
    Ok(map
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .partition(|(k, _)| own.contains(&k.as_str())))
}
