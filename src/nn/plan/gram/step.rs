//! Signals on their way back through one layer.

use rayon::prelude::*;

use super::super::signal::Signal;
use crate::error::{Error, Result};
use crate::memory::numbers;
use crate::nn::kernel::{Jacobian, of_example};
use crate::nn::layer::{Forward, LayerElem, Pass, Passes};

/// Numbers of signals that an affine layer is given at a time, so that it stays in the caches.
const CALL: usize = 1 << 22;

/// One layer's way back.
pub(super) struct Step<'a, T> {
    pub passes: &'a dyn Passes<T>,
    pub pass: Pass<'a, T>,
    pub was: Forward<'a, T>,
    pub jacobian: Jacobian,
}

impl<T: LayerElem> Step<'_, T> {
    /// Whether the signals are not expanded.
    pub fn keeps_form(&self, signal: &Signal<T>) -> bool {
        match signal {
            Signal::Shared(_) => self.jacobian != Jacobian::General,
            Signal::Scaled(..) => self.jacobian == Jacobian::Diagonal,
            Signal::Each(_) => false,
        }
    }

    /// The signals at the layer's input, with `size` numbers for an example and output.
    pub fn back(&self, signal: Signal<T>, outputs: usize, size: usize) -> Result<Signal<T>> {
        let batch = self.pass.batch;
        let of_factors = |factors: &[T]| {
            let mut gx = vec![T::of(0.0); factors.len()];
            self.passes
                .input_gradient(self.pass, self.was, factors, &mut gx)?;
            Ok::<_, Error>(gx)
        };
        match (signal, self.jacobian) {
            (Signal::Shared(shared), Jacobian::Constant) => {
                let mut gx = vec![T::of(0.0); outputs * size];
                self.constant(&shared, &mut gx, outputs)?;
                Ok(Signal::Shared(gx))
            }
            (Signal::Shared(shared), Jacobian::Diagonal) => {
                let factors = of_factors(&vec![T::of(1.0); batch * size])?;
                Ok(Signal::Scaled(shared, factors))
            }
            (Signal::Scaled(shared, factors), Jacobian::Diagonal) => {
                Ok(Signal::Scaled(shared, of_factors(&factors)?))
            }
            (signal, jacobian) => {
                let gy = signal.expand(batch, outputs);
                let mut gx = numbers::<T>("gradients of outputs", &[outputs, batch, size])?;
                if jacobian == Jacobian::Constant {
                    self.constant(&gy, &mut gx, batch * outputs)?;
                } else {
                    self.by_examples(&gy, &mut gx, outputs)?;
                }
                Ok(Signal::Each(gx))
            }
        }
    }

    /// All gradients at once, as if there were so many examples.
    fn constant(&self, gy: &[T], gx: &mut [T], rows: usize) -> Result<()> {
        const LANES: usize = 32;
        let (from, to) = (gy.len() / rows.max(1), gx.len() / rows.max(1));
        let per = (CALL / (from + to).max(1)).max(1);
        let per = if per < LANES {
            per
        } else {
            per / LANES * LANES
        };
        let parts = gx
            .chunks_mut((per * to).max(1))
            .zip(gy.chunks((per * from).max(1)));
        for (gx, gy) in parts {
            let pass = Pass {
                batch: gy.len() / from.max(1),
                x: &[],
                panels: None,
                ..self.pass
            };
            let none = Forward { y: &[], saved: &[] };
            self.passes.input_gradient(pass, none, gy, gx)?;
        }
        Ok(())
    }

    fn by_examples(&self, gy: &[T], gx: &mut [T], outputs: usize) -> Result<()> {
        let batch = self.pass.batch.max(1);
        let (from, to) = (gy.len() / batch, gx.len() / batch);
        gx.par_chunks_mut(to.max(1))
            .zip(gy.par_chunks(from.max(1)))
            .enumerate()
            .try_for_each(|(i, (gx, gy))| {
                let (pass, was) = of_example(self.pass, self.was, i);
                let gx = gx.chunks_mut((to / outputs).max(1));
                let gy = gy.chunks((from / outputs).max(1));
                gx.zip(gy)
                    .try_for_each(|(gx, gy)| self.passes.input_gradient(pass, was, gy, gx))
            })
    }
}
