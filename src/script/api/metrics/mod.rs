//! `metrics::…`: what is measured on the outputs of trained networks.

mod agreement;
mod curvature;
mod curves;
mod derivatives;
mod dynamics;
mod ensembles;
mod infinite_kernels;
mod kernel_regression;
mod kernel_spectra;
mod losses;
mod representations;
mod tangent_kernels;

use candle_core::{Device, Tensor};
use rhai::{Dynamic, Map, NativeCallContext};

use super::tensor::TensorValue;
use super::{Registry, values};
use crate::data::Labels;
use crate::error::Result;
use crate::script::{OrRaise, RhaiResultOf};

/// Registers the metrics.
pub fn register(registry: &mut Registry) {
    losses::register(registry);
    ensembles::register(registry);
    agreement::register(registry);
    curves::register(registry);
    curvature::register(registry);
    derivatives::register(registry);
    dynamics::register(registry);
    representations::register(registry);
    tangent_kernels::register(registry);
    kernel_spectra::register(registry);
    kernel_regression::register(registry);
    infinite_kernels::register(registry);
}

/// Logits and labels as a metric takes them.
fn arguments(
    ctx: &NativeCallContext,
    logits: &Dynamic,
    labels: &Dynamic,
) -> RhaiResultOf<(Tensor, Labels)> {
    let what = ctx.fn_name();
    let logits = values::tensor(what, "logits", logits).or_raise(ctx)?;
    Ok((logits, values::labels(what, labels).or_raise(ctx)?))
}

/// Numbers per member and point, `[members, points]`, `f64`.
fn per_point(rows: &[Vec<f64>]) -> Result<TensorValue> {
    let points = rows.first().map_or(0, Vec::len);
    let flat: Vec<f64> = rows.iter().flatten().copied().collect();
    let tensor = Tensor::from_vec(flat, (rows.len(), points), &Device::Cpu)?;
    Ok(TensorValue(tensor))
}

/// Entries of a map.
fn entries(entries: impl IntoIterator<Item = (&'static str, Dynamic)>) -> Map {
    let entries = entries.into_iter();
    entries.map(|(name, value)| (name.into(), value)).collect()
}
