//! `sparse_parity`: the parity of a few hidden coordinates.

use std::sync::Arc;

use serde::Serialize;

use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use super::{checks, generate};
use crate::error::Result;
use crate::tensor::rng::Key;

const NAME: &str = "sparse_parity";

/// Settings of [`SparseParity`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SparseParitySettings {
    /// Seed of the hidden coordinates and of all examples (default 0).
    pub seed: u64,
    /// Number of input coordinates (default 30).
    pub inputs: usize,
    /// Number of hidden coordinates, 1 to `inputs` (default 4).
    pub k: usize,
    /// Whether the target is the product of the hidden coordinates as a number, -1 or 1, instead
    /// of a class, 0 (even number of -1) or 1 (default false).
    pub regression: bool,
    /// Number of examples in the test set (default 2,000).
    pub test_size: usize,
}

impl Default for SparseParitySettings {
    fn default() -> Self {
        Self {
            seed: 0,
            inputs: 30,
            k: 4,
            regression: false,
            test_size: 2_000,
        }
    }
}

/// An endless stream of inputs that are uniform on {-1, 1}ⁿ, labelled with the parity of `k` hidden
/// coordinates: a target that no linear model and no small kernel predicts, while networks find the
/// coordinates (Barak, Edelman, Goel, Kakade, Malach and Zhang, arXiv 2207.08799). The test set is
/// drawn independently of the training positions; with few inputs the same points occur in both,
/// as there are only 2ⁿ. At the default settings a ReLU MLP of width 256 (SGD, momentum 0.9, lr 0.1,
/// batch 128) guesses until about step 250 and knows the parity at step 500.
#[derive(Debug)]
pub struct SparseParity {
    settings: SparseParitySettings,
    shape: [usize; 1],
    coordinates: Vec<usize>,
    test: TestSet,
}

impl SparseParity {
    /// The stream of these settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(settings: SparseParitySettings) -> Result<Self> {
        let s = &settings;
        checks::count(NAME, "inputs", s.inputs as u64, 1, 1 << 24)?;
        checks::count(NAME, "k", s.k as u64, 1, s.inputs as u64)?;
        checks::count(NAME, "test_size", s.test_size as u64, 1, checks::MOST)?;
        let key = Key::new(s.seed).label(NAME).label("coordinates");
        let chosen = &key.rng().permutation(s.inputs)[..s.k];
        let mut coordinates: Vec<usize> = chosen.iter().map(|&i| i as usize).collect();
        coordinates.sort_unstable();
        Ok(Self {
            shape: [s.inputs],
            coordinates,
            settings,
            test: TestSet::default(),
        })
    }

    /// The hidden coordinates, counted from 0, in ascending order.
    pub fn coordinates(&self) -> &[usize] {
        &self.coordinates
    }

    fn examples(&self, purpose: &str, start: u64, size: usize) -> Result<Batch> {
        let key = Key::new(self.settings.seed).label(NAME).label(purpose);
        let draw = |i: usize, input: &mut [f32]| -> bool {
            let mut rng = key.fold(start + i as u64).rng();
            for part in input.chunks_mut(64) {
                let bits = rng.bits();
                for (j, x) in part.iter_mut().enumerate() {
                    *x = if bits >> j & 1 == 1 { -1.0 } else { 1.0 };
                }
            }
            let negative = self.coordinates.iter().filter(|&&c| input[c] < 0.0);
            negative.count() % 2 == 1
        };
        if self.settings.regression {
            generate::values(size, &self.shape, 1, |i, input, target| {
                target[0] = if draw(i, input) { -1.0 } else { 1.0 };
            })
        } else {
            generate::classes(size, &self.shape, |i, input| u32::from(draw(i, input)))
        }
    }
}

impl Stream for SparseParity {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn targets(&self) -> Targets {
        if self.settings.regression {
            Targets::Values(1)
        } else {
            Targets::Classes(2)
        }
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn positions(&self) -> Option<u64> {
        None
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        checks::positions(NAME, start, size, None, None)?;
        self.examples("train", start, size)
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        self.test
            .get(|| self.examples("test", 0, self.settings.test_size))
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

    fn stream(settings: SparseParitySettings) -> SparseParity {
        SparseParity::new(settings).unwrap()
    }

    #[test]
    fn keeps_the_promises_of_a_stream() {
        for regression in [false, true] {
            let stream = stream(SparseParitySettings {
                inputs: 70,
                regression,
                test_size: 10,
                ..Default::default()
            });
            check_promises(&stream, 30);
            let targets = if regression { "1 value" } else { "2 classes" };
            assert_eq!(
                describe(&stream),
                format!("sparse_parity: endless, 70 → {targets}, seed 0")
            );
        }
    }

    #[test]
    fn the_target_is_the_product_of_the_hidden_coordinates() {
        let settings = SparseParitySettings {
            seed: 4,
            inputs: 100,
            k: 5,
            ..Default::default()
        };
        let classes = stream(settings.clone());
        let values = stream(SparseParitySettings {
            regression: true,
            ..settings
        });
        assert_eq!(classes.coordinates().len(), 5);
        assert!(classes.coordinates().windows(2).all(|w| w[0] < w[1]));
        let ((x, labels), (_, targets)) = (
            bits(&classes.batch(0, 500).unwrap()),
            bits(&values.batch(0, 500).unwrap()),
        );
        let mut odd = 0;
        for (i, x) in x.chunks(100).enumerate() {
            let x: Vec<f32> = x.iter().map(|&b| f32::from_bits(b)).collect();
            assert!(x.iter().all(|x| x.abs() == 1.0));
            let product: f32 = classes.coordinates().iter().map(|&c| x[c]).product();
            assert_eq!(f32::from_bits(targets[i]), product);
            assert_eq!(labels[i], if product < 0.0 { 1 } else { 0 });
            odd += labels[i];
        }
        // five standard deviations around one half
        assert!((194..=306).contains(&odd), "{odd}");
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        let base = SparseParitySettings::default();
        for (settings, message) in [
            (
                SparseParitySettings {
                    k: 31,
                    ..base.clone()
                },
                "`k` of sparse_parity must be between 1 and 30, got 31",
            ),
            (
                SparseParitySettings {
                    k: 0,
                    ..base.clone()
                },
                "`k` of sparse_parity must be between 1 and 30, got 0",
            ),
            (
                SparseParitySettings {
                    inputs: 0,
                    ..base.clone()
                },
                "`inputs` of sparse_parity must be between 1 and 16777216, got 0",
            ),
        ] {
            assert_eq!(SparseParity::new(settings).unwrap_err().message, message);
        }
    }
}
