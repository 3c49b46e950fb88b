//! A readout that shares the table of an embedding.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Jacobian, Layer, ParamSpec, Parts, Pass, Passes, Tangents, Tied};
use crate::tensor::elem::Elem;
use crate::tensor::matmul::{Into, Matrix, matmul_into};

/// `y = multiplier · x Eᵀ` for the table `E [vocab, width]` of an embedding elsewhere in the network, whose
/// parameter it shares (Press, Wolf 2017, arXiv 1608.05859): from `[…, width]` to `[…, vocab]`. The
/// multiplier is that of the readout alone; the embedding's own does not act here.
#[derive(Debug, Clone)]
pub struct TiedReadout {
    /// Path of the embedding.
    pub to: String,
    /// Rows of its table.
    pub vocab: usize,
    /// Forward multiplier.
    pub multiplier: f64,
}

impl Layer for TiedReadout {
    fn kind(&self) -> &'static str {
        "tied_readout"
    }

    fn settings(&self) -> Value {
        json!({ "to": self.to, "vocab": self.vocab })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.split_last() {
            Some((_, rest)) => Ok([rest, &[self.vocab]].concat()),
            None => Err(Error::shape(
                "tied_readout needs an input with at least one axis",
            )),
        }
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    /// None of its own.
    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn tied(&self, input: &[usize]) -> Option<Tied> {
        Some(Tied {
            to: self.to.clone(),
            shape: vec![self.vocab, input.last().copied().unwrap_or(1)],
        })
    }

    fn with_multiplier(&self, multiplier: f64) -> Option<Arc<dyn Layer>> {
        Some(Arc::new(Self {
            multiplier,
            ..self.clone()
        }))
    }

    fn multiply_adds(&self, input: &[usize]) -> u64 {
        (input.iter().product::<usize>() * self.vocab) as u64
    }
}

/// Sizes of a pass, and its table.
struct Sizes {
    rows: usize,
    width: usize,
    vocab: usize,
}

impl Sizes {
    /// `y (+)= alpha · x Eᵀ`.
    fn outputs<T: Elem>(&self, alpha: f64, x: &[T], table: &[T], y: &mut [T], add: bool) {
        let (x, table) = (
            Matrix::row_major(x, self.width),
            Matrix::row_major(table, self.width).transposed(),
        );
        let shape = (self.rows, self.vocab, self.width);
        matmul_into(into(y, self.vocab, add), shape, T::of(alpha), x, table);
    }

    /// `gx (+)= alpha · gy E`.
    fn inputs<T: Elem>(&self, alpha: f64, gy: &[T], table: &[T], gx: &mut [T], add: bool) {
        let (gy, table) = (
            Matrix::row_major(gy, self.vocab),
            Matrix::row_major(table, self.width),
        );
        let shape = (self.rows, self.width, self.vocab);
        matmul_into(into(gx, self.width, add), shape, T::of(alpha), gy, table);
    }

    /// `ge (+)= alpha · gyᵀ x`.
    fn table<T: Elem>(&self, alpha: f64, gy: &[T], x: &[T], ge: &mut [T], add: bool) {
        let (gy, x) = (
            Matrix::row_major(gy, self.vocab).transposed(),
            Matrix::row_major(x, self.width),
        );
        let shape = (self.vocab, self.width, self.rows);
        matmul_into(into(ge, self.width, add), shape, T::of(alpha), gy, x);
    }
}

fn into<T>(data: &mut [T], row_stride: usize, accumulate: bool) -> Into<'_, T> {
    Into {
        data,
        row_stride,
        accumulate,
    }
}

impl TiedReadout {
    fn sizes<T>(&self, at: &Pass<'_, T>) -> Sizes {
        let width = at.input.last().copied().unwrap_or(1);
        let positions: usize = at.input[..at.input.len().saturating_sub(1)]
            .iter()
            .product();
        Sizes {
            rows: at.batch * positions,
            width,
            vocab: self.vocab,
        }
    }
}

impl<T: Elem> Passes<T> for TiedReadout {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        let s = self.sizes(&at);
        s.outputs(self.multiplier, at.x, at.params.value(0), y, false);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let s = self.sizes(&at);
        let [ge] = grads.take()?;
        s.table(self.multiplier, gy, at.x, ge, false);
        if let Some(gx) = gx {
            s.inputs(self.multiplier, gy, at.params.value(0), gx, false);
        }
        Ok(())
    }

    fn input_gradient(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        gx: &mut [T],
    ) -> Result<()> {
        let s = self.sizes(&at);
        s.inputs(self.multiplier, gy, at.params.value(0), gx, false);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let s = self.sizes(&at);
        s.outputs(self.multiplier, at.x, tangents.params.value(0), dy, false);
        if let Some(dx) = tangents.x {
            s.outputs(self.multiplier, dx, at.params.value(0), dy, true);
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        (gy, dgy): (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        let s = self.sizes(&at);
        let [dge] = dgrads.take()?;
        s.table(self.multiplier, dgy, at.x, dge, false);
        if let Some(dx) = tangents.x {
            s.table(self.multiplier, gy, dx, dge, true);
        }
        if let Some(dgx) = dgx {
            s.inputs(self.multiplier, dgy, at.params.value(0), dgx, false);
            s.inputs(self.multiplier, gy, tangents.params.value(0), dgx, true);
        }
        Ok(())
    }
}
