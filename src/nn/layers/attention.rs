//! Attention over queries, keys and values that a linear layer has made.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::attention::{self, Heads, Sizes, Was};
use crate::tensor::elem::Elem;

/// Factor of the products of queries and keys, for heads of size d.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionScale {
    /// 1/√d, as in *Attention Is All You Need*.
    InverseSqrt,
    /// 1/d, for heads that grow with width (*Tensor Programs V*, arXiv 2203.03466).
    Inverse,
    /// This number.
    Number(f64),
}

impl AttentionScale {
    /// The factor for heads of this size.
    pub fn factor(self, head_size: usize) -> f64 {
        let size = head_size.max(1) as f64;
        match self {
            Self::InverseSqrt => size.sqrt().recip(),
            Self::Inverse => size.recip(),
            Self::Number(factor) => factor,
        }
    }
}

/// Multi-head attention without parameters: from `[positions, 3 · heads · head_size]` (queries, keys
/// and values side by side, each head after head) to `[positions, heads · head_size]`. The layers
/// before and after it are linear.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Channels of each head.
    pub head_size: usize,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
    /// Factor of the products of queries and keys.
    pub scale: AttentionScale,
}

/// The number of heads in `[positions, 3 · heads · head_size]`.
pub(super) fn heads(kind: &str, input: &[usize], head_size: usize) -> Result<usize> {
    match input {
        [_, width] if head_size > 0 && width % (3 * head_size) == 0 => Ok(width / (3 * head_size)),
        _ => Err(Error::shape(format!(
            "{kind} with heads of {head_size} takes inputs of shape [positions, 3 · heads · {head_size}], got {input:?}"
        ))
        .with_help("a linear layer before it makes queries, keys and values: linear(3 * width)")),
    }
}

impl Layer for Attention {
    fn kind(&self) -> &'static str {
        "attention"
    }

    fn settings(&self) -> Value {
        json!({ "head_size": self.head_size, "causal": self.causal, "scale": self.scale })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let heads = heads(self.kind(), input, self.head_size)?;
        Ok(vec![input[0], heads * self.head_size])
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn multiply_adds(&self, input: &[usize]) -> u64 {
        let [positions, width] = [0, 1].map(|i| input.get(i).copied().unwrap_or(0) as u64);
        let seen = if self.causal {
            positions * (positions + 1) / 2
        } else {
            positions * positions
        };
        2 * seen * (width / 3)
    }

    fn saved(&self, batch: usize, input: &[usize]) -> usize {
        let width: usize = input.iter().product();
        batch * width / (3 * self.head_size).max(1)
    }

    fn attention(&self) -> Option<&Attention> {
        Some(self)
    }
}

impl Attention {
    fn sizes<T>(&self, at: &Pass<'_, T>) -> Sizes {
        self.sizes_for(at.batch, at.input)
    }

    /// Sizes for a batch of inputs `[positions, 3 · heads · head_size]`.
    pub fn sizes_for(&self, batch: usize, input: &[usize]) -> Sizes {
        let [positions, width] = [0, 1].map(|i| input.get(i).copied().unwrap_or(0));
        Sizes {
            batch,
            positions,
            heads: width / (3 * self.head_size).max(1),
            head_size: self.head_size,
            causal: self.causal,
            scale: self.scale.factor(self.head_size),
        }
    }
}

impl<T: Elem> Passes<T> for Attention {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        let s = self.sizes(&at);
        attention::forward(s, Heads::fused(&s, at.x), y, saved);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        _grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let s = self.sizes(&at);
        let (y, saved) = (was.y, was.saved);
        if let Some(gx) = gx {
            attention::backward(s, Heads::fused(&s, at.x), Was { y, saved, gy }, gx);
        }
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let s = self.sizes(&at);
        match tangents.x.map(|dx| Heads::fused(&s, dx)) {
            Some(dx) => attention::tangent(s, Heads::fused(&s, at.x), dx, was.saved, dy),
            None => dy.fill(T::of(0.0)),
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        (gy, dgy): (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        let s = self.sizes(&at);
        let Some(dx) = tangents.x else {
            return self.backward(at, was, dgy, dgrads, dgx);
        };
        let (y, saved) = (was.y, was.saved);
        if let Some(dgx) = dgx {
            let [x, dx] = [at.x, dx].map(|data| Heads::fused(&s, data));
            attention::backward_tangent(s, x, dx, Was { y, saved, gy }, dgy, dgx);
        }
        Ok(())
    }
}
