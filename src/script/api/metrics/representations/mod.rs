//! What networks of different widths have inside.

mod attention;
mod densities;
mod kernels;
mod spectra;

use candle_core::Tensor;
use rhai::{Dynamic, Map};

use super::super::data::BatchValue;
use super::super::{Registry, values};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::representations::Pairwise;
use crate::script::options::Values;

pub(super) fn register(registry: &mut Registry) {
    densities::register(registry);
    kernels::register(registry);
    attention::register(registry);
    spectra::register(registry);
}

/// A number for every pair of members: the matrix, and its summary.
fn pairs(pairs: &Pairwise) -> Result<Map> {
    let mut map = match pairs.summary() {
        Ok(summary) => values::map(&summary)?,
        // no pair for which it is defined
        Err(e) if e.kind == ErrorKind::Diverged => {
            let mut map = Map::new();
            for key in ["mean", "min", "max"] {
                map.insert(key.into(), Dynamic::from(f64::NAN));
            }
            map.insert("std".into(), Dynamic::UNIT);
            map.insert("count".into(), Dynamic::from(0_i64));
            map.insert("excluded".into(), Dynamic::from(pairs.pairs() as i64));
            map
        }
        Err(e) => return Err(e),
    };
    map.insert("matrix".into(), values::table(&pairs.matrix).into());
    Ok(map)
}

/// The same, or `()`.
fn pairs_or_unit(found: Option<&Pairwise>) -> Result<Dynamic> {
    found.map_or(Ok(Dynamic::UNIT), |p| pairs(p).map(Dynamic::from))
}

/// Inputs of a model: those of a batch, or a tensor `[points, …]`.
fn inputs(what: &str, value: &Dynamic) -> Result<Tensor> {
    if let Some(batch) = value.clone().try_cast::<BatchValue>() {
        return Ok(batch.0.inputs.clone());
    }
    values::tensor_in(value).ok_or_else(|| {
        Error::setting(format!(
            "{what}: inputs: expected a tensor or a batch, found {}",
            Values::describe(value)
        ))
    })
}
