//! `from_tensors`: a stream over the caller's own arrays.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::order::Order;
use super::stream::{Batch, Labels, Stream, Targets};
use super::test_set::TestSet;
use super::{checks, generate};
use crate::error::{Error, Result};
use crate::memory;
use crate::tensor::elem;

const NAME: &str = "from_tensors";

/// Settings of [`FromTensors`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FromTensorsSettings {
    /// Number of classes. `None` (the default): labels of a whole-number type are classes, one more
    /// than the largest; labels of a floating-point type are real targets.
    pub classes: Option<usize>,
    /// How often to go through the examples; `None` (the default) is endlessly.
    pub epochs: Option<u64>,
    /// Whether each epoch has an order of its own, drawn from (seed, epoch); otherwise (default)
    /// examples come in the order given.
    pub shuffle: bool,
    /// Seed of the order (default 0).
    pub seed: u64,
}

#[derive(Debug)]
enum Column {
    Classes(Vec<u32>),
    Values(Vec<f32>),
}

#[derive(Debug)]
struct Examples {
    /// `[examples, …]`, `f32`, contiguous.
    inputs: Tensor,
    labels: Column,
}

/// A stream over arrays in memory.
#[derive(Debug)]
pub struct FromTensors {
    settings: FromTensorsSettings,
    shape: Vec<usize>,
    targets: Targets,
    /// Axes of the classes of one example.
    target_positions: Vec<usize>,
    order: Order,
    train: Examples,
    test_examples: Examples,
    test_len: usize,
    test: TestSet,
}

impl FromTensors {
    /// The stream over `inputs`, `[examples, …]`, and `labels`: classes, `[examples]` or, one at each
    /// position, `[examples, positions]`; or real targets, `[examples, outputs]` or `[examples]`. The test set is given in the same form.
    ///
    /// # Errors
    /// Shapes that do not fit, labels out of range, numbers that are not finite, no examples.
    pub fn new(
        inputs: &Tensor,
        labels: &Tensor,
        test_inputs: &Tensor,
        test_labels: &Tensor,
        settings: FromTensorsSettings,
    ) -> Result<Self> {
        checks::count(NAME, "epochs", settings.epochs.unwrap_or(1), 1, u64::MAX)?;
        checks::count(
            NAME,
            "classes",
            settings.classes.unwrap_or(1) as u64,
            1,
            u32::MAX.into(),
        )?;
        let shape = check_shapes("", inputs, labels)?;
        let test_shape = check_shapes("test ", test_inputs, test_labels)?;
        if shape != test_shape {
            return Err(Error::shape(format!(
                "{NAME}: test inputs must have the shape of the inputs, [examples, {}], got {:?}",
                shape
                    .iter()
                    .map(usize::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                test_inputs.dims()
            )));
        }
        let classified = settings.classes.is_some() || labels.dtype().is_int();
        let read = |what, inputs, labels| read(what, inputs, labels, classified);
        let train = read("", inputs, labels)?;
        let test_examples = read("test ", test_inputs, test_labels)?;
        let (len, test_len) = (inputs.dims()[0], test_inputs.dims()[0]);
        let target_positions = match classified {
            true => labels.dims()[1..].to_vec(),
            false => Vec::new(),
        };
        if classified && test_labels.dims()[1..] != target_positions {
            return Err(Error::shape(format!(
                "{NAME}: test labels must have shape [examples, …] as the labels {:?}, got {:?}",
                labels.dims(),
                test_labels.dims()
            )));
        }
        let targets = match (&train.labels, &test_examples.labels) {
            (Column::Classes(a), Column::Classes(b)) => {
                let largest = a.iter().chain(b).max().copied().unwrap_or(0) as usize;
                let classes = settings.classes.unwrap_or(largest + 1);
                check_classes("", a, classes, a.len() / len)?;
                check_classes("test ", b, classes, b.len() / test_len)?;
                Targets::Classes(classes)
            }
            (Column::Values(a), Column::Values(b)) => {
                let (outputs, test_outputs) = (a.len() / len, b.len() / test_len);
                if outputs != test_outputs {
                    return Err(Error::shape(format!(
                        "{NAME}: test labels must have {outputs} targets each, like the labels, \
                         got {test_outputs}"
                    )));
                }
                Targets::Values(outputs)
            }
            // `classified` is the same for both
            _ => return Err(Error::other(format!("{NAME}: labels of two kinds"))),
        };
        Ok(Self {
            order: Order::new(len, settings.epochs, settings.shuffle, settings.seed),
            settings,
            shape,
            targets,
            target_positions,
            train,
            test_examples,
            test_len,
            test: TestSet::default(),
        })
    }

    fn batch_of(
        &self,
        examples: &Examples,
        size: usize,
        index: impl Fn(usize) -> usize + Sync,
    ) -> Result<Batch> {
        let width: usize = self.shape.iter().product();
        elem::read(&examples.inputs, |inputs: &[f32]| {
            let input = |example: usize| &inputs[example * width..][..width];
            match &examples.labels {
                Column::Classes(labels) => {
                    let positions = self.target_positions.as_slice();
                    generate::classes_at(size, &self.shape, positions, |i, x, y| {
                        let example = index(i);
                        x.copy_from_slice(input(example));
                        y.copy_from_slice(&labels[example * y.len()..][..y.len()]);
                    })
                }
                Column::Values(values) => {
                    let outputs = self.targets.outputs();
                    generate::values(size, &self.shape, outputs, |i, x, y| {
                        let example = index(i);
                        x.copy_from_slice(input(example));
                        y.copy_from_slice(&values[example * outputs..][..outputs]);
                    })
                }
            }
        })
    }

    /// Examples that lie side by side, without a copy of their inputs.
    fn run_of(&self, examples: &Examples, start: usize, size: usize) -> Result<Batch> {
        let labels = match &examples.labels {
            Column::Classes(labels) => {
                let each: usize = self.target_positions.iter().product();
                let part = &labels[start * each..(start + size) * each];
                let dims = [&[size], self.target_positions.as_slice()].concat();
                Labels::Classes(Tensor::from_slice(part, dims, &Device::Cpu)?)
            }
            Column::Values(values) => {
                let outputs = self.targets.outputs();
                let part = &values[start * outputs..(start + size) * outputs];
                Labels::Values(Tensor::from_slice(part, (size, outputs), &Device::Cpu)?)
            }
        };
        Ok(Batch {
            inputs: examples.inputs.narrow(0, start, size)?,
            labels,
        })
    }
}

/// The shape of one input.
fn check_shapes(what: &str, inputs: &Tensor, labels: &Tensor) -> Result<Vec<usize>> {
    let wrong = |text: String| Err(Error::shape(format!("{NAME}: {what}{text}")));
    let (x, y) = (inputs.dims(), labels.dims());
    match x {
        [_, shape @ ..] if !shape.is_empty() && inputs.elem_count() > 0 => {
            if y.is_empty() || y[0] != x[0] || y.len() > 2 || labels.elem_count() == 0 {
                let n = x[0];
                return wrong(format!(
                    "labels must have shape [{n}] or [{n}, outputs] for inputs of shape {x:?}, got \
                     {y:?}"
                ));
            }
            Ok(shape.to_vec())
        }
        _ => wrong(format!(
            "inputs must have shape [examples, …] with at least one example and one number each, \
             got {x:?}"
        )),
    }
}

/// The numbers of a tensor, all of them finite.
fn numbers(what: &str, tensor: &Tensor) -> Result<Vec<f64>> {
    let values = elem::to_f64(tensor)?;
    finite(what, tensor, &values)?;
    Ok(values)
}

/// The same as `f32`, without a detour where they are.
fn narrowed(what: &str, tensor: &Tensor) -> Result<Vec<f32>> {
    if tensor.dtype() != DType::F32 || !tensor.is_contiguous() {
        let wide = numbers(what, tensor)?;
        let mut values = memory::numbers::<f32>(what, tensor.dims())?;
        (values.iter_mut().zip(wide)).for_each(|(to, x)| *to = x as f32);
        return Ok(values);
    }
    let mut values = memory::numbers::<f32>(what, tensor.dims())?;
    elem::read(&tensor.to_device(&Device::Cpu)?, |from: &[f32]| {
        values.copy_from_slice(from);
        Ok(())
    })?;
    finite(what, tensor, &values)?;
    Ok(values)
}

fn finite<T: elem::Elem>(what: &str, tensor: &Tensor, values: &[T]) -> Result<()> {
    match values.iter().position(|x| !x.f64().is_finite()) {
        None => Ok(()),
        Some(i) => Err(Error::new(
            crate::error::ErrorKind::Data,
            format!(
                "{NAME}: {what} must be finite, got {} in example {} (counted from 0)",
                values[i],
                i / (values.len() / tensor.dims()[0])
            ),
        )),
    }
}

fn read(what: &str, inputs: &Tensor, labels: &Tensor, classified: bool) -> Result<Examples> {
    let name = format!("{what}labels");
    let labels = if classified {
        let values = numbers(&name, labels)?;
        let positions = values.len() / inputs.dims()[0];
        let mut classes = Vec::with_capacity(values.len());
        for (i, &value) in values.iter().enumerate() {
            if value.fract() != 0.0 || !(0.0..f64::from(u32::MAX)).contains(&value) {
                return Err(Error::new(
                    crate::error::ErrorKind::Data,
                    format!(
                        "{NAME}: {what}labels must be whole numbers from 0, got {value} in \
                         example {} (counted from 0)",
                        i / positions
                    ),
                ));
            }
            classes.push(value as u32);
        }
        Column::Classes(classes)
    } else {
        Column::Values(narrowed(&name, labels)?)
    };
    let values = narrowed(&format!("{what}inputs"), inputs)?;
    Ok(Examples {
        inputs: Tensor::from_vec(values, inputs.shape(), &Device::Cpu)?,
        labels,
    })
}

fn check_classes(what: &str, labels: &[u32], classes: usize, positions: usize) -> Result<()> {
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(()),
        Some(i) => Err(Error::new(
            crate::error::ErrorKind::Data,
            format!(
                "{NAME}: {what}labels must be between 0 and {} (`classes` is {classes}), got {} in \
                 example {} (counted from 0)",
                classes - 1,
                labels[i],
                i / positions
            ),
        )),
    }
}

impl Stream for FromTensors {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn targets(&self) -> Targets {
        self.targets
    }

    fn target_positions(&self) -> &[usize] {
        &self.target_positions
    }

    fn len(&self) -> Option<u64> {
        Some(self.order.len())
    }

    fn positions(&self) -> Option<u64> {
        self.order.positions()
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        let examples = self.order.examples(NAME, start, size)?;
        match (examples.first(), examples.last()) {
            (Some(&first), Some(&last)) if last + 1 == first + size && self.order.in_order() => {
                self.run_of(&self.train, first, size)
            }
            _ => self.batch_of(&self.train, size, |i| examples[i]),
        }
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        self.test
            .get(|| self.batch_of(&self.test_examples, self.test_len, |i| i))
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::describe;
    use super::super::testing::{bits, check_promises};
    use super::*;

    fn tensor(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| i as f32 * 0.25 - 1.0).collect::<Vec<_>>();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn classes(n: u32) -> Tensor {
        Tensor::from_vec((0..n).map(|i| i % 3).collect(), n as usize, &Device::Cpu).unwrap()
    }

    fn stream(settings: FromTensorsSettings) -> FromTensors {
        let (x, y) = (tensor(&[10, 2, 3]), classes(10));
        FromTensors::new(&x, &y, &tensor(&[4, 2, 3]), &classes(4), settings).unwrap()
    }

    #[test]
    fn keeps_the_promises_of_a_stream() {
        let shuffled = stream(FromTensorsSettings {
            shuffle: true,
            ..Default::default()
        });
        check_promises(&shuffled, 35);
        assert_eq!(
            describe(&shuffled),
            "from_tensors: 10 examples, endless epochs, 2×3 → 3 classes, seed 0"
        );
        let values = FromTensors::new(
            &tensor(&[10, 3]),
            &tensor(&[10, 2]),
            &tensor(&[4, 3]),
            &tensor(&[4, 2]),
            FromTensorsSettings {
                shuffle: true,
                epochs: Some(4),
                ..Default::default()
            },
        )
        .unwrap();
        check_promises(&values, 40);
        assert_eq!(values.targets(), Targets::Values(2));
    }

    #[test]
    fn gives_the_arrays_back_in_their_order() {
        let stream = stream(FromTensorsSettings {
            epochs: Some(2),
            ..Default::default()
        });
        let (x, y) = bits(&stream.batch(0, 20).unwrap());
        let given = tensor(&[10, 2, 3]).flatten_all().unwrap();
        let given: Vec<u32> = given
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(x[..60], given);
        assert_eq!(x[60..], given);
        assert_eq!(y[..10], [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(bits(&stream.test_set().unwrap()).1, [0, 1, 2, 0]);
        assert!(stream.batch(15, 6).is_err());
    }

    #[test]
    fn labels_of_other_types_are_understood() {
        let x = tensor(&[4, 3]);
        let make = |labels: &Tensor, classes| {
            let settings = FromTensorsSettings {
                classes,
                ..Default::default()
            };
            FromTensors::new(&x, labels, &x, labels, settings)
        };
        let whole = Tensor::new(&[0i64, 5, 1, 2], &Device::Cpu).unwrap();
        assert_eq!(make(&whole, None).unwrap().targets(), Targets::Classes(6));
        let real = whole.to_dtype(DType::F64).unwrap();
        assert_eq!(make(&real, None).unwrap().targets(), Targets::Values(1));
        let stream = make(&real, Some(8)).unwrap();
        assert_eq!(stream.targets(), Targets::Classes(8));
        assert_eq!(bits(&stream.batch(0, 4).unwrap()).1, [0, 5, 1, 2]);
        assert_eq!(
            make(&whole, Some(5)).unwrap_err().message,
            "from_tensors: labels must be between 0 and 4 (`classes` is 5), got 5 in example 1 \
             (counted from 0)"
        );
        let half = Tensor::new(&[0f32, 0.5, 1.0, 2.0], &Device::Cpu).unwrap();
        assert_eq!(
            make(&half, Some(3)).unwrap_err().message,
            "from_tensors: labels must be whole numbers from 0, got 0.5 in example 1 (counted \
             from 0)"
        );
        let nan = Tensor::new(&[0f32, f32::NAN, 1.0, 2.0], &Device::Cpu).unwrap();
        assert_eq!(
            make(&nan, None).unwrap_err().message,
            "from_tensors: labels must be finite, got NaN in example 1 (counted from 0)"
        );
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let make = |x: &[usize], y: &[usize], tx: &[usize], ty: &[usize]| {
            let [x, y, tx, ty] = [x, y, tx, ty].map(tensor);
            let settings = FromTensorsSettings::default();
            FromTensors::new(&x, &y, &tx, &ty, settings)
                .unwrap_err()
                .message
        };
        assert_eq!(
            make(&[10, 3], &[9, 2], &[4, 3], &[4, 2]),
            "from_tensors: labels must have shape [10] or [10, outputs] for inputs of shape \
             [10, 3], got [9, 2]"
        );
        assert_eq!(
            make(&[10, 3], &[10, 2], &[4, 2], &[4, 2]),
            "from_tensors: test inputs must have the shape of the inputs, [examples, 3], got \
             [4, 2]"
        );
        assert_eq!(
            make(&[10, 3], &[10, 2], &[4, 3], &[4]),
            "from_tensors: test labels must have 2 targets each, like the labels, got 1"
        );
        assert_eq!(
            make(&[10], &[10], &[4], &[4]),
            "from_tensors: inputs must have shape [examples, …] with at least one example and one \
             number each, got [10]"
        );
    }
}
