//! Rotary positions as a layer between the projection to queries, keys, values and attention.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::attention::heads;
use crate::error::{Error, Result};
use crate::nn::{Forward, Jacobian, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::elem::Elem;
use crate::tensor::rope::{Angles, Pairs, rotate};

/// Turns queries and keys of `[positions, 3 · heads · head_size]` by their positions, and leaves the
/// values (Su et al., arXiv 2104.09864).
#[derive(Debug)]
pub struct Rope {
    head_size: usize,
    base: f64,
    pairs: Pairs,
    /// Made for the most positions seen so far.
    angles: Mutex<Arc<Angles>>,
}

impl Rope {
    /// Heads of an even size; pair `i` of position `t` turns by `t · base^(−2 i / head_size)`.
    ///
    /// # Errors
    /// If the size is odd or 0.
    pub fn new(head_size: usize, base: f64, pairs: Pairs) -> Result<Self> {
        if head_size == 0 || head_size % 2 == 1 {
            return Err(Error::setting(format!(
                "rope needs heads of an even size, got {head_size}"
            )));
        }
        Ok(Self {
            head_size,
            base,
            pairs,
            angles: Mutex::new(Arc::new(Angles::new(0, head_size, base))),
        })
    }

    /// Channels of a head.
    pub(super) fn head_size(&self) -> usize {
        self.head_size
    }

    /// Base of the wavelengths.
    pub(super) fn base(&self) -> f64 {
        self.base
    }

    /// Which channels turn together.
    pub(super) fn pairs(&self) -> Pairs {
        self.pairs
    }

    fn turn<T: Elem>(&self, at: &Pass<'_, T>, x: &[T], back: bool, y: &mut [T]) {
        let [positions, width] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(0));
        let angles = {
            let mut angles = self.angles.lock().unwrap_or_else(PoisonError::into_inner);
            if angles.positions() < positions {
                *angles = Arc::new(Angles::new(positions, self.head_size, self.base));
            }
            angles.clone()
        };
        rotate(x, &angles, self.pairs, (positions, width / 3), back, y);
    }
}

impl Layer for Rope {
    fn kind(&self) -> &'static str {
        "rope"
    }

    fn settings(&self) -> Value {
        json!({ "head_size": self.head_size, "base": self.base, "pairs": self.pairs })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        heads(self.kind(), input, self.head_size)?;
        Ok(input.to_vec())
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }
}

impl<T: Elem> Passes<T> for Rope {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        self.turn(&at, at.x, false, y);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        _grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        if let Some(gx) = gx {
            self.turn(&at, gy, true, gx);
        }
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        match tangents.x {
            Some(dx) => self.turn(&at, dx, false, dy),
            None => dy.fill(T::of(0.0)),
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        (_gy, dgy): (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        self.backward(at, was, dgy, dgrads, dgx)
    }
}
