//! `markov_tokens`: sequences of a random Markov chain.

use std::sync::Arc;

use serde::Serialize;

use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use super::{checks, generate};
use crate::error::Result;
use crate::memory;
use crate::tensor::rng::{Key, Rng};

const NAME: &str = "markov_tokens";

/// Settings of [`MarkovTokens`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MarkovTokensSettings {
    /// Seed of the chain and of all sequences (default 0).
    pub seed: u64,
    /// Number of tokens (default 256).
    pub vocab: usize,
    /// Tokens of an example (default 128).
    pub context: usize,
    /// Likely successors of each token, drawn with the chain (default 4).
    pub successors: usize,
    /// Probability that the next token is any token instead (default 0.1).
    pub noise: f64,
    /// Number of examples in the test set (default 200).
    pub test_size: usize,
}

impl Default for MarkovTokensSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            vocab: 256,
            context: 128,
            successors: 4,
            noise: 0.1,
            test_size: 200,
        }
    }
}

/// An endless stream of token sequences, each labelled with the next token at every position. The
/// next token is, with probability 1 − `noise`, one of its predecessor's `successors`, equally likely,
/// and any token otherwise: a language that needs one position of context, whose entropy
/// ([`MarkovTokens::entropy`]) is the least loss there can be. The first token is any token.
#[derive(Debug)]
pub struct MarkovTokens {
    settings: MarkovTokensSettings,
    shape: [usize; 1],
    /// `[vocab, successors]`, different ones for each token.
    successors: Vec<u32>,
    test: TestSet,
}

impl MarkovTokens {
    /// The stream of these settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(settings: MarkovTokensSettings) -> Result<Self> {
        let s = &settings;
        checks::count(NAME, "vocab", s.vocab as u64, 1, 1 << 20)?;
        checks::count(NAME, "context", s.context as u64, 1, 1 << 20)?;
        checks::count(NAME, "successors", s.successors as u64, 1, s.vocab as u64)?;
        checks::number(NAME, "noise", s.noise, 0.0, 1.0)?;
        checks::count(NAME, "test_size", s.test_size as u64, 1, checks::MOST)?;
        let key = Key::new(s.seed).label(NAME).label("chain");
        let (name, shape) = ("successors of the tokens", [s.vocab, s.successors]);
        memory::room(name, &shape, size_of::<u32>())?;
        let mut successors = memory::numbers::<u32>(name, &shape)?;
        for (token, all) in successors.chunks_exact_mut(s.successors).enumerate() {
            let mut rng = key.fold(token as u64).rng();
            let mut found = 0;
            while found < all.len() {
                let next = rng.below(s.vocab as u64) as u32;
                if !all[..found].contains(&next) {
                    all[found] = next;
                    found += 1;
                }
            }
        }
        Ok(Self {
            shape: [s.context],
            successors,
            settings,
            test: TestSet::default(),
        })
    }

    /// Entropy of the next token given the one before it, in nats: the loss of a model that knows the
    /// chain.
    pub fn entropy(&self) -> f64 {
        let (vocab, k) = (self.settings.vocab as f64, self.settings.successors as f64);
        let any = self.settings.noise / vocab;
        let likely = any + (1.0 - self.settings.noise) / k;
        let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        k * term(likely) + (vocab - k) * term(any)
    }

    fn next(&self, token: u32, rng: &mut Rng) -> u32 {
        let s = &self.settings;
        if rng.uniform() < s.noise {
            return rng.below(s.vocab as u64) as u32;
        }
        let which = rng.below(s.successors as u64) as usize;
        self.successors[token as usize * s.successors + which]
    }

    fn examples(&self, purpose: &str, start: u64, size: usize) -> Result<Batch> {
        let key = Key::new(self.settings.seed).label(NAME).label(purpose);
        generate::classes_at(size, &self.shape, &self.shape, |i, input, classes| {
            let mut rng = key.fold(start + i as u64).rng();
            let mut token = rng.below(self.settings.vocab as u64) as u32;
            for (x, class) in input.iter_mut().zip(classes) {
                *x = token as f32;
                token = self.next(token, &mut rng);
                *class = token;
            }
        })
    }
}

impl Stream for MarkovTokens {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn targets(&self) -> Targets {
        Targets::Classes(self.settings.vocab)
    }

    fn target_positions(&self) -> &[usize] {
        &self.shape
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

    fn stream(vocab: usize, context: usize, noise: f64) -> MarkovTokens {
        let settings = MarkovTokensSettings {
            vocab,
            context,
            noise,
            successors: 2,
            test_size: 5,
            ..Default::default()
        };
        MarkovTokens::new(settings).unwrap()
    }

    #[test]
    fn keeps_the_promises_of_a_stream() {
        let stream = stream(11, 9, 0.1);
        check_promises(&stream, 30);
        assert_eq!(
            describe(&stream),
            "markov_tokens: endless, 9 → 11 classes at 9 positions, seed 0"
        );
        assert_eq!(stream.target_positions(), [9]);
    }

    #[test]
    fn labels_are_the_next_tokens_of_the_chain() {
        let stream = stream(11, 400, 0.25);
        let (x, labels) = bits(&stream.batch(3, 20).unwrap());
        let mut likely = 0;
        for (x, labels) in x.chunks(400).zip(labels.chunks(400)) {
            for t in 0..400 {
                let token = f32::from_bits(x[t]) as usize;
                if t > 0 {
                    assert_eq!(token, labels[t - 1] as usize);
                }
                assert!(labels[t] < 11);
                likely += usize::from(stream.successors[2 * token..][..2].contains(&labels[t]));
            }
        }
        let share = likely as f64 / 8000.0;
        let wanted = 0.75 + 0.25 * 2.0 / 11.0;
        assert!((share - wanted).abs() < 0.025, "{share} {wanted}");
    }

    #[test]
    fn the_entropy_is_that_of_the_chain() {
        assert!((stream(8, 1, 1.0).entropy() - 8f64.ln()).abs() < 1e-12);
        assert!((stream(8, 1, 0.0).entropy() - 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        let settings = MarkovTokensSettings {
            vocab: 3,
            ..Default::default()
        };
        assert_eq!(
            MarkovTokens::new(settings).unwrap_err().message,
            "`successors` of markov_tokens must be between 1 and 3, got 4"
        );
    }
}
