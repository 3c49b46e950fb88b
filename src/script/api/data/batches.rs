//! What streams and batches are asked for.

use std::sync::Arc;

use rhai::Array;
use rhai::plugin::*;

use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::{BatchValue, StreamValue};
use crate::data::{Labels, Targets, Vocabulary, describe};
use crate::error::{Error, Result};
use crate::script::{OrRaise, RhaiResultOf, raise};

pub(super) fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

fn labels(batch: &BatchValue) -> &candle_core::Tensor {
    match &batch.0.labels {
        Labels::Classes(t) | Labels::Values(t) => t,
    }
}

fn vocabulary(stream: &StreamValue) -> Result<&Vocabulary> {
    stream.0.vocabulary().ok_or_else(|| {
        let name = stream.0.name();
        Error::setting(format!("the tokens of a {name} stream stand for no text"))
            .with_help("data::text makes streams of text")
    })
}

fn whole(ctx: &NativeCallContext, name: &str, value: i64) -> RhaiResultOf<u64> {
    u64::try_from(value).map_err(|_| {
        let message = format!("batch: {name} must be an integer from 0 up, found {value}");
        raise(ctx, Error::setting(message))
    })
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The name of the function that made the stream.
    ///
    /// ```rhai
    /// data::sparse_parity().name      // → "sparse_parity"
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn name(stream: &mut StreamValue) -> String {
        stream.0.name().into()
    }

    /// Shape of one input, without the batch axis.
    ///
    /// ```rhai
    /// data::synthetic_images().input_shape        // → [3, 32, 32]
    /// ```
    #[rhai_fn(get = "input_shape", pure)]
    pub fn input_shape(stream: &mut StreamValue) -> Array {
        let shape = stream.0.input_shape().iter();
        shape.map(|&n| Dynamic::from(n as i64)).collect()
    }

    /// How many classes there are; `()` for a stream of real targets.
    ///
    /// ```rhai
    /// data::synthetic_images(#{ classes: 4 }).classes     // → 4
    /// ```
    #[rhai_fn(get = "classes", pure)]
    pub fn classes(stream: &mut StreamValue) -> Dynamic {
        match stream.0.targets() {
            Targets::Classes(n) => Dynamic::from(n as i64),
            Targets::Values(_) => Dynamic::UNIT,
        }
    }

    /// How many outputs a network for this stream has: its classes, or its real targets.
    ///
    /// ```rhai
    /// data::teacher(#{ outputs: 3 }).outputs      // → 3
    /// ```
    #[rhai_fn(get = "outputs", pure)]
    pub fn outputs(stream: &mut StreamValue) -> i64 {
        stream.0.targets().outputs() as i64
    }

    /// Number of distinct training examples; `()` for an endless stream. Of a batch, its number of
    /// examples.
    ///
    /// ```rhai
    /// data::from_tensors([[0, 1], [1, 1], [1, 0]], [0, 1, 1], #{ test_size: 1 }).len      // → 2
    /// ```
    #[rhai_fn(get = "len", name = "len", pure)]
    pub fn stream_len(stream: &mut StreamValue) -> Dynamic {
        let len = stream.0.len();
        len.map_or(Dynamic::UNIT, |n| Dynamic::from(n as i64))
    }

    /// The settings that the stream was made with, as a map; also those left at their defaults.
    ///
    /// ```rhai
    /// data::synthetic_images(#{ seed: 7 }).settings.seed      // → 7
    /// ```
    #[rhai_fn(get = "settings", pure, return_raw)]
    pub fn settings(ctx: NativeCallContext, stream: &mut StreamValue) -> RhaiResultOf<rhai::Map> {
        values::map(&stream.0.settings()).or_raise(&ctx)
    }

    /// The first `size` training examples.
    ///
    /// ```rhai
    /// data::synthetic_images().batch(16).inputs.shape     // → [16, 3, 32, 32]
    /// ```
    #[rhai_fn(name = "batch", pure, return_raw)]
    pub fn batch(
        ctx: NativeCallContext,
        stream: &mut StreamValue,
        size: i64,
    ) -> RhaiResultOf<BatchValue> {
        batch_from(ctx, stream, 0, size)
    }

    /// With two numbers, the training examples at positions `start` to `start + size`: a function of
    /// the stream's seed and the position alone.
    ///
    /// ```rhai
    /// let s = data::sparse_parity();
    /// s.batch(8, 4).inputs == s.batch(12).inputs[8..12]       // → true
    /// ```
    #[rhai_fn(name = "batch", pure, return_raw)]
    pub fn batch_from(
        ctx: NativeCallContext,
        stream: &mut StreamValue,
        start: i64,
        size: i64,
    ) -> RhaiResultOf<BatchValue> {
        let start = whole(&ctx, "start", start)?;
        let size = whole(&ctx, "size", size)? as usize;
        let batch = stream.0.batch(start, size).or_raise(&ctx)?;
        Ok(BatchValue(Arc::new(batch)))
    }

    /// The tokens of a text in the vocabulary of a `data::text` stream. Fails for a character that its
    /// text does not have, where tokens are characters.
    ///
    /// ```rhai
    /// write_text("ab.txt", "abracadabra, abracadabra! ");
    /// let s = data::text(output_folder() + "/ab.txt", #{ context: 1 });
    /// s.encode("cab")         // → [5, 3, 4]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn encode(
        ctx: NativeCallContext,
        stream: &mut StreamValue,
        text: &str,
    ) -> RhaiResultOf<Array> {
        let tokens = vocabulary(stream).and_then(|v| v.encode(text));
        let tokens = tokens.or_raise(&ctx)?.into_iter();
        Ok(tokens
            .map(|token| Dynamic::from(i64::from(token)))
            .collect())
    }

    /// The text of tokens, an array or a tensor of any shape read in order, of a `data::text` stream.
    /// Bytes that are no UTF-8 become `�`.
    ///
    /// ```rhai
    /// write_text("ab.txt", "abracadabra, abracadabra! ");
    /// let s = data::text(output_folder() + "/ab.txt", #{ context: 1 });
    /// s.decode([5, 3, 4])     // → "cab"
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn decode(
        ctx: NativeCallContext,
        stream: &mut StreamValue,
        tokens: Dynamic,
    ) -> RhaiResultOf<String> {
        let tokens = values::steps("decode", "tokens", &tokens).or_raise(&ctx)?;
        let text = vocabulary(stream).and_then(|v| v.decode(&tokens));
        text.or_raise(&ctx)
    }

    /// The fixed test set as one batch; it shares no example with the training positions.
    ///
    /// ```rhai
    /// data::sparse_parity(#{ test_size: 100 }).test_set().len     // → 100
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn test_set(ctx: NativeCallContext, stream: &mut StreamValue) -> RhaiResultOf<BatchValue> {
        stream.0.test_set().map(BatchValue).or_raise(&ctx)
    }

    /// The stream as the prompt shows it.
    ///
    /// ```rhai
    /// display(data::sparse_parity())      // → "sparse_parity: endless, 30 → 2 classes, seed 0"
    /// ```
    #[rhai_fn(name = "display", pure)]
    pub fn display_stream(stream: &mut StreamValue) -> String {
        describe(stream.0.as_ref())
    }

    /// The stream in one line: its source, length, shapes and seed.
    ///
    /// ```rhai
    /// data::sparse_parity().to_string()       // → "sparse_parity: endless, 30 → 2 classes, seed 0"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn stream_to_string(stream: &mut StreamValue) -> String {
        describe(stream.0.as_ref())
    }

    /// The batch's inputs, `[batch, …]`, `f32`.
    ///
    /// ```rhai
    /// data::teacher(#{ inputs: 5 }).batch(2).inputs.shape     // → [2, 5]
    /// ```
    #[rhai_fn(get = "inputs", pure)]
    pub fn inputs(batch: &mut BatchValue) -> TensorValue {
        TensorValue(batch.0.inputs.clone())
    }

    /// The batch's labels: classes, `[batch]`, `u32`, or real targets, `[batch, outputs]`, `f32`.
    ///
    /// ```rhai
    /// data::sparse_parity().batch(3).labels.dtype     // → "u32"
    /// ```
    #[rhai_fn(get = "labels", pure)]
    pub fn batch_labels(batch: &mut BatchValue) -> TensorValue {
        TensorValue(labels(batch).clone())
    }

    /// The number of examples in the batch.
    ///
    /// ```rhai
    /// data::sparse_parity().batch(3).len      // → 3
    /// ```
    #[rhai_fn(get = "len", name = "len", pure)]
    pub fn batch_len(batch: &mut BatchValue) -> i64 {
        batch.0.inputs.dims().first().map_or(0, |&n| n as i64)
    }

    /// A smaller batch: the examples from `start` on.
    ///
    /// ```rhai
    /// data::sparse_parity().batch(8).narrow(2, 4).len     // → 4
    /// ```
    #[rhai_fn(name = "narrow", pure, return_raw)]
    pub fn narrow(
        ctx: NativeCallContext,
        batch: &mut BatchValue,
        start: i64,
        size: i64,
    ) -> RhaiResultOf<BatchValue> {
        let len = batch_len(batch);
        if start < 0 || size < 1 || start.checked_add(size).is_none_or(|end| end > len) {
            let message =
                format!("narrow: {size} examples from {start} on are not in a batch of {len}");
            return Err(raise(&ctx, Error::shape(message)));
        }
        let part = batch.0.narrow(start as usize, size as usize);
        Ok(BatchValue(Arc::new(part.or_raise(&ctx)?)))
    }

    /// A batch as the prompt shows it.
    ///
    /// ```rhai
    /// display(data::sparse_parity().batch(4))      // → "Batch of 4: inputs [4, 30] f32, labels [4] u32"
    /// ```
    #[rhai_fn(name = "display", pure)]
    pub fn display_batch(batch: &mut BatchValue) -> String {
        batch_to_string(batch)
    }

    /// The batch in one line: its size and shapes.
    ///
    /// ```rhai
    /// `${data::teacher().batch(4)}`      // → "Batch of 4: inputs [4, 32] f32, labels [4, 1] f32"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn batch_to_string(batch: &mut BatchValue) -> String {
        use crate::tensor::array::show::shape_and_type;
        format!(
            "Batch of {}: inputs {}, labels {}",
            batch_len(batch),
            shape_and_type(&batch.0.inputs),
            shape_and_type(labels(batch))
        )
    }
}
