//! Normalisation of queries and keys.

use serde_json::{Value, json};

use super::attention::heads;
use crate::error::Result;
use crate::nn::{Forward, Layer, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::elem::Elem;
use crate::tensor::layer_norm;
use crate::tensor::linear::Scaled;
use crate::tensor::scratch;

/// RMS normalisation of each head's queries and keys in `[positions, 3 · heads · head_size]`, with a gain
/// of `head_size` numbers for all heads' queries and another for their keys; values are left
/// (query–key normalisation: Henry et al., arXiv 2010.04245; Dehghani et al., arXiv 2302.05442). It goes
/// before rotary positions, as in Qwen 3.
#[derive(Debug, Clone, Copy)]
pub struct QkNorm {
    /// Channels of each head.
    pub head_size: usize,
    /// Added to the mean square.
    pub eps: f64,
}

impl Layer for QkNorm {
    fn kind(&self) -> &'static str {
        "qk_norm"
    }

    fn settings(&self) -> Value {
        json!({ "head_size": self.head_size, "eps": self.eps })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        heads(self.kind(), input, self.head_size)?;
        Ok(input.to_vec())
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        let gain = |path: &str| ParamSpec {
            path: path.into(),
            shape: vec![self.head_size],
            kind: ParamKind::Gain,
            fan_in: 1,
            fan_out: self.head_size,
        };
        vec![gain("query.weight"), gain("key.weight")]
    }

    fn saved(&self, batch: usize, input: &[usize]) -> usize {
        let numbers: usize = input.iter().product();
        2 * batch * numbers / (3 * self.head_size).max(1) * layer_norm::saved_per_row(false)
    }
}

/// Queries (part 0), keys (1) or values (2) among the columns of rows.
#[derive(Clone, Copy)]
struct Part {
    index: usize,
    /// Parts side by side in a row.
    of: usize,
    /// Numbers of a part in a row.
    width: usize,
}

impl Part {
    fn take<T: Copy>(self, from: &[T], to: &mut [T]) {
        let rows = from.chunks_exact(self.of * self.width);
        for (to, from) in to.chunks_exact_mut(self.width).zip(rows) {
            to.copy_from_slice(&from[self.index * self.width..][..self.width]);
        }
    }

    fn put<T: Copy>(self, from: &[T], to: &mut [T]) {
        let rows = to.chunks_exact_mut(self.of * self.width);
        for (from, to) in from.chunks_exact(self.width).zip(rows) {
            to[self.index * self.width..][..self.width].copy_from_slice(from);
        }
    }
}

/// Sizes of a pass: rows (examples and positions), numbers of queries in a row, heads.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    width: usize,
    heads: usize,
}

impl Rows {
    fn part(self, index: usize) -> Part {
        Part {
            index,
            of: 3,
            width: self.width,
        }
    }

    /// Where what was saved of a part is.
    fn saved(self, index: usize) -> Part {
        Part {
            index,
            of: 2,
            width: self.heads,
        }
    }

    /// Numbers of a part, and those that are saved of it.
    fn sizes(self) -> (usize, usize) {
        (self.count * self.width, self.count * self.heads)
    }

    /// Values are what they were: copies them, or zeros.
    fn values<T: Elem>(self, from: Option<&[T]>, to: &mut [T]) {
        let part = self.part(2);
        let start = part.index * part.width;
        for (i, to) in to.chunks_exact_mut(3 * self.width).enumerate() {
            let to = &mut to[start..];
            match from {
                Some(from) => {
                    to.copy_from_slice(&from[i * 3 * self.width + start..][..self.width]);
                }
                None => to.fill(T::of(0.0)),
            }
        }
    }
}

impl QkNorm {
    fn rows<T>(&self, at: &Pass<'_, T>) -> Rows {
        let [positions, columns] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(0));
        Rows {
            count: at.batch * positions,
            width: columns / 3,
            heads: columns / (3 * self.head_size).max(1),
        }
    }
}

/// The `i`th gain.
fn gain<'a, T: Elem>(at: &Pass<'a, T>, i: usize) -> Scaled<'a, T> {
    Scaled {
        value: at.params.value(i),
        multiplier: at.params.multiplier(i),
    }
}

const fn bias<'a, T>() -> Scaled<'a, T> {
    Scaled {
        value: &[],
        multiplier: 1.0,
    }
}

impl<T: Elem> Passes<T> for QkNorm {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        let rows = self.rows(&at);
        let (n, s) = rows.sizes();
        scratch::with(2 * n + s, |space: &mut [T]| {
            let (x, rest) = space.split_at_mut(n);
            let (out, kept) = rest.split_at_mut(n);
            for i in 0..2 {
                rows.part(i).take(at.x, x);
                layer_norm::forward::<T, false>(x, gain(&at, i), bias(), self.eps, out, kept);
                rows.part(i).put(out, y);
                rows.saved(i).put(kept, saved);
            }
        });
        rows.values(Some(at.x), y);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        mut gx: Option<&mut [T]>,
    ) -> Result<()> {
        let rows = self.rows(&at);
        let (n, s) = rows.sizes();
        let gains: [&mut [T]; 2] = grads.take()?;
        scratch::with(3 * n + s, |space: &mut [T]| {
            let (x, rest) = space.split_at_mut(n);
            let (g, rest) = rest.split_at_mut(n);
            let (out, kept) = rest.split_at_mut(n);
            for (i, to) in gains.into_iter().enumerate() {
                rows.part(i).take(at.x, x);
                rows.part(i).take(gy, g);
                rows.saved(i).take(was.saved, kept);
                let to = layer_norm::Gradients {
                    gain: to,
                    bias: &mut [],
                    input: gx.is_some().then_some(&mut *out),
                };
                layer_norm::backward::<T, false>(x, gain(&at, i), 1.0, kept, g, to);
                if let Some(gx) = gx.as_deref_mut() {
                    rows.part(i).put(out, gx);
                }
            }
        });
        if let Some(gx) = gx {
            rows.values(Some(gy), gx);
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
        let rows = self.rows(&at);
        let (n, s) = rows.sizes();
        scratch::with(3 * n + s, |space: &mut [T]| {
            let (x, rest) = space.split_at_mut(n);
            let (dx, rest) = rest.split_at_mut(n);
            let (out, kept) = rest.split_at_mut(n);
            for i in 0..2 {
                rows.part(i).take(at.x, x);
                rows.saved(i).take(was.saved, kept);
                let dx = tangents.x.map(|all| {
                    rows.part(i).take(all, dx);
                    &*dx
                });
                let gains = (gain(&at, i), tangents.params.value(i));
                layer_norm::tangent::<T, false>((x, dx), gains, bias(), kept, out);
                rows.part(i).put(out, dy);
            }
        });
        rows.values(tangents.x, dy);
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        (gy, dgy): (&[T], &[T]),
        dgrads: Parts<'_, T>,
        mut dgx: Option<&mut [T]>,
    ) -> Result<()> {
        let rows = self.rows(&at);
        let (n, s) = rows.sizes();
        let gains: [&mut [T]; 2] = dgrads.take()?;
        scratch::with(5 * n + s, |space: &mut [T]| {
            let (x, rest) = space.split_at_mut(n);
            let (dx, rest) = rest.split_at_mut(n);
            let (g, rest) = rest.split_at_mut(n);
            let (dg, rest) = rest.split_at_mut(n);
            let (out, kept) = rest.split_at_mut(n);
            for (i, to) in gains.into_iter().enumerate() {
                rows.part(i).take(at.x, x);
                rows.part(i).take(gy, g);
                rows.part(i).take(dgy, dg);
                rows.saved(i).take(was.saved, kept);
                let dx = tangents.x.map(|all| {
                    rows.part(i).take(all, dx);
                    &*dx
                });
                let to = layer_norm::Gradients {
                    gain: to,
                    bias: &mut [],
                    input: dgx.is_some().then_some(&mut *out),
                };
                let both = (gain(&at, i), tangents.params.value(i));
                layer_norm::backward_tangent::<T, false>((x, dx), both, 1.0, kept, (g, dg), to);
                if let Some(dgx) = dgx.as_deref_mut() {
                    rows.part(i).put(out, dgx);
                }
            }
        });
        if let Some(dgx) = dgx {
            rows.values(Some(dgy), dgx);
        }
        Ok(())
    }
}
