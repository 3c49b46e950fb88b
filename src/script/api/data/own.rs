//! Streams over the script's own numbers.

use std::sync::Arc;

use candle_core::Tensor;
use rhai::Map;
use rhai::plugin::*;

use super::super::{Registry, values};
use super::StreamValue;
use crate::data::{FromTensors, FromTensorsSettings};
use crate::error::{Error, Result};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};
use crate::tensor::array::index::narrow;

pub(super) fn register(registry: &mut Registry) {
    registry.options(FromTensorsOptions::spec());
    registry.module("data", rhai::exported_module!(functions));
}

options! {
    /// Settings of a stream over own numbers.
    pub struct FromTensorsOptions for "data::from_tensors" {
        /// Inputs of the test set, with `test_labels`; absent means that the last examples are it.
        test_inputs: Option<Dynamic> = None;
        /// Labels of the test set.
        test_labels: Option<Dynamic> = None;
        /// How many examples, the last ones, are kept as test set; absent means a fifth.
        test_size: Option<usize> = None, where (1.0..);
        /// Number of classes; absent means that integers are classes, one more than the largest,
        /// and other numbers real targets.
        classes: Option<usize> = None, where (1.0..);
        /// How often to go through the examples; absent means endlessly.
        epochs: Option<u64> = None, where (1.0..);
        /// Whether each epoch has an order of its own, drawn from (seed, epoch); otherwise examples
        /// come in the order given.
        shuffle: bool = false;
        /// Seed of the order.
        seed: u64 = 0;
    }
}

fn make(inputs: &Dynamic, labels: &Dynamic, o: &FromTensorsOptions) -> Result<FromTensors> {
    let what = "from_tensors";
    let settings = FromTensorsSettings {
        classes: o.classes,
        epochs: o.epochs,
        shuffle: o.shuffle,
        seed: o.seed,
    };
    let inputs = values::tensor(what, "inputs", inputs)?;
    let labels = values::tensor(what, "labels", labels)?;
    match (&o.test_inputs, &o.test_labels) {
        (Some(x), Some(y)) => {
            if o.test_size.is_some() {
                return Err(Error::setting(format!(
                    "{what}: give either test_size or a test set of its own"
                )));
            }
            let x = values::tensor(what, "test_inputs", x)?;
            let y = values::tensor(what, "test_labels", y)?;
            FromTensors::new(&inputs, &labels, &x, &y, settings)
        }
        (None, None) => {
            let examples = inputs.dims().first().copied().unwrap_or(0);
            let test = o.test_size.unwrap_or((examples / 5).max(1));
            if let Some(&given) = labels.dims().first()
                && given != examples
            {
                return Err(
                    Error::shape(format!("{what}: {examples} inputs, labels for {given}"))
                        .with_help(
                            "each input needs its label; the first axis of both counts examples",
                        ),
                );
            }
            if examples < 2 || test >= examples || labels.rank() == 0 {
                return Err(Error::shape(format!(
                    "{what}: cannot keep {test} as test set of inputs of shape {:?} with labels of \
                     shape {:?}",
                    inputs.dims(),
                    labels.dims()
                ))
                .with_help("set test_size, or test_inputs and test_labels"));
            }
            let cut = (examples - test) as i64;
            let parts = |t: &Tensor| -> Result<(Tensor, Tensor)> {
                let end = examples as i64;
                Ok((narrow(what, t, 0, 0..cut)?, narrow(what, t, 0, cut..end)?))
            };
            let ((x, test_x), (y, test_y)) = (parts(&inputs)?, parts(&labels)?);
            FromTensors::new(&x, &y, &test_x, &test_y, settings)
        }
        _ => Err(Error::setting(format!(
            "{what}: test_inputs and test_labels go together"
        ))),
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// A stream over own numbers: inputs `[examples, …]` and labels, which are classes, `[examples]`
    /// (integers), or real targets, `[examples]` or `[examples, outputs]`. Both are arrays or
    /// tensors. Without a test set of its own, the last fifth of the examples is kept as one and not
    /// trained on.
    ///
    /// ```rhai
    /// let s = data::from_tensors(
    ///     [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0],
    ///     #{ test_inputs: [[0, 0]], test_labels: [0] });
    /// s.batch(4).labels.to_array()        // → [0, 1, 1, 0]
    /// ```
    #[rhai_fn(name = "from_tensors", return_raw)]
    pub fn from_tensors_with(
        ctx: NativeCallContext,
        inputs: Dynamic,
        labels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let o = FromTensorsOptions::from_map(&ctx, &settings)?;
        let stream = make(&inputs, &labels, &o).or_raise(&ctx)?;
        Ok(StreamValue(Arc::new(stream)))
    }

    // every setting has a default
    #[rhai_fn(name = "from_tensors", return_raw)]
    pub fn from_tensors(
        ctx: NativeCallContext,
        inputs: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<StreamValue> {
        from_tensors_with(ctx, inputs, labels, Map::new())
    }
}
