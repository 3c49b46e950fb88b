//! `teacher`: regression on the outputs of a random fixed network.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use super::{checks, generate};
use crate::error::{Error, Result};
use crate::memory;
use crate::tensor::activation::{self, Activation};
use crate::tensor::rng::{Key, Rng};

const NAME: &str = "teacher";
/// How many inputs the mean and the variance of the teacher's outputs are estimated from.
const SAMPLE: usize = 4_096;

/// Settings of [`Teacher`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TeacherSettings {
    /// Seed of all examples (default 0).
    pub seed: u64,
    /// Seed of the teacher's weights; `None` (the default) is `seed`.
    pub teacher_seed: Option<u64>,
    /// Number of input coordinates (default 32).
    pub inputs: usize,
    /// Number of real targets (default 1).
    pub outputs: usize,
    /// Width of the teacher's hidden layers (default 64).
    pub width: usize,
    /// The teacher's number of weight layers, 1 to 8 (default 2: one hidden layer).
    pub depth: usize,
    /// The teacher's nonlinearity (default relu).
    pub activation: Activation,
    /// Standard deviation of the normal noise on training targets, which have variance 1 without it
    /// (default 0). The test set has none.
    pub noise: f64,
    /// Number of examples in the test set (default 2,000).
    pub test_size: usize,
}

impl Default for TeacherSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            teacher_seed: None,
            inputs: 32,
            outputs: 1,
            width: 64,
            depth: 2,
            activation: Activation::Relu,
            noise: 0.0,
            test_size: 2_000,
        }
    }
}

/// An endless regression stream: standard normal inputs `[batch, inputs]`, targets
/// `[batch, outputs]` from a random network without biases, whose weights are normal with variance
/// 1 / fan-in. Each output is shifted and scaled to mean 0 and variance 1, as estimated once from
/// 4,096 inputs of their own.
#[derive(Debug)]
pub struct Teacher {
    settings: TeacherSettings,
    shape: [usize; 1],
    /// Per layer, rows of fan-out weights, one row for each input of the layer.
    layers: Vec<(usize, Vec<f32>)>,
    mean: Vec<f32>,
    scale: Vec<f32>,
    test: TestSet,
}

impl Teacher {
    /// The stream of these settings.
    ///
    /// # Errors
    /// A setting outside its range, weights that do not fit into memory, or a teacher with an output that does not depend on its input.
    pub fn new(settings: TeacherSettings) -> Result<Self> {
        let s = &settings;
        for (key, value) in [
            ("inputs", s.inputs),
            ("outputs", s.outputs),
            ("width", s.width),
        ] {
            checks::count(NAME, key, value as u64, 1, 1 << 16)?;
        }
        checks::count(NAME, "depth", s.depth as u64, 1, 8)?;
        checks::count(NAME, "test_size", s.test_size as u64, 1, checks::MOST)?;
        checks::number(NAME, "noise", s.noise, 0.0, f64::INFINITY)?;

        let key = Key::new(s.teacher_seed.unwrap_or(s.seed)).label(NAME);
        let layer = |layer: usize| -> Result<(usize, Vec<f32>)> {
            let fan_in = if layer == 0 { s.inputs } else { s.width };
            let fan_out = if layer + 1 == s.depth {
                s.outputs
            } else {
                s.width
            };
            let mut rng = key.label("weights").fold(layer as u64).rng();
            let std = 1.0 / (fan_in as f64).sqrt();
            let name = format!("weights of layer {layer} of the teacher");
            memory::room(&name, &[fan_in, fan_out], size_of::<f32>())?;
            let mut weights = memory::numbers::<f32>(&name, &[fan_in, fan_out])?;
            weights.fill_with(|| (std * rng.normal()) as f32);
            Ok((fan_out, weights))
        };
        let mut teacher = Self {
            shape: [s.inputs],
            layers: (0..s.depth).map(layer).collect::<Result<_>>()?,
            mean: vec![0.0; s.outputs],
            scale: vec![1.0; s.outputs],
            settings,
            test: TestSet::default(),
        };
        teacher.normalise(key.label("scale"))?;
        Ok(teacher)
    }

    fn normalise(&mut self, key: Key) -> Result<()> {
        let outputs: Vec<Vec<f32>> = (0..SAMPLE)
            .into_par_iter()
            .map(|i| {
                let mut x = vec![0.0; self.settings.inputs];
                draw(&mut key.fold(i as u64).rng(), &mut x);
                self.outputs(&x)
            })
            .collect();
        for output in 0..self.settings.outputs {
            let values = outputs.iter().map(|y| f64::from(y[output]));
            let mean = values.clone().sum::<f64>() / SAMPLE as f64;
            let variance = values.map(|y| (y - mean).powi(2)).sum::<f64>() / SAMPLE as f64;
            if !(variance.sqrt() > 1e-6 * mean.abs() && variance.is_finite()) {
                return Err(Error::setting(format!(
                    "output {output} of the teacher does not vary with its input (variance \
                     {variance})"
                ))
                .with_help("a larger `width` or another `seed` gives a teacher that does"));
            }
            self.mean[output] = mean as f32;
            self.scale[output] = (1.0 / variance.sqrt()) as f32;
        }
        Ok(())
    }

    /// The teacher's outputs for one input, not noisy. One example at a time: a matrix product over
    /// a batch may round differently for another batch size.
    fn outputs(&self, input: &[f32]) -> Vec<f32> {
        let mut x = input.to_vec();
        for (i, (fan_out, weights)) in self.layers.iter().enumerate() {
            let mut y = vec![0f32; *fan_out];
            for (x, row) in x.iter().zip(weights.chunks_exact(*fan_out)) {
                for (y, w) in y.iter_mut().zip(row) {
                    *y += x * w;
                }
            }
            x = y;
            if i + 1 < self.layers.len() {
                let mut activated = vec![0f32; x.len()];
                activation::forward(self.settings.activation, &x, &mut activated);
                x = activated;
            }
        }
        for ((y, mean), scale) in x.iter_mut().zip(&self.mean).zip(&self.scale) {
            *y = (*y - mean) * scale;
        }
        x
    }

    fn examples(&self, purpose: &str, start: u64, size: usize, noise: f64) -> Result<Batch> {
        let key = Key::new(self.settings.seed).label(NAME).label(purpose);
        generate::values(
            size,
            &self.shape,
            self.settings.outputs,
            |i, input, target| {
                let mut rng = key.fold(start + i as u64).rng();
                draw(&mut rng, input);
                for (target, y) in target.iter_mut().zip(self.outputs(input)) {
                    // drawn even without noise costs little, and keeps inputs the same with it
                    *target = y + (noise * rng.normal()) as f32;
                }
            },
        )
    }
}

fn draw(rng: &mut Rng, input: &mut [f32]) {
    for x in input {
        *x = rng.normal() as f32;
    }
}

impl Stream for Teacher {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn targets(&self) -> Targets {
        Targets::Values(self.settings.outputs)
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn positions(&self) -> Option<u64> {
        None
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        checks::positions(NAME, start, size, None, None)?;
        self.examples("train", start, size, self.settings.noise)
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        self.test
            .get(|| self.examples("test", 0, self.settings.test_size, 0.0))
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.settings)
    }
}

#[cfg(test)]
mod tests;
