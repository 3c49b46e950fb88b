//! Adafactor: second moments as an outer product, and steps in proportion to the parameter.

use crate::tensor::elem::Elem;
use crate::tensor::elementwise::squared_norm;
use crate::tensor::parallel::chunks;
use crate::tensor::scratch;

/// Scalars of one member's Adafactor update of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Adafactor {
    /// Learning rate, relative to the parameter's root mean square.
    pub lr: f64,
    /// Largest relative step, and what the parametrization multiplies both by.
    pub scale: f64,
    /// The second moment's decay is `1 − step^beta2_decay`.
    pub beta2_decay: f64,
    /// Least size of the root of the second moment.
    pub eps1: f64,
    /// Least root mean square that a step is relative to.
    pub eps2: f64,
    /// Largest root mean square of the normalised gradient.
    pub clip: f64,
    /// What is left of the parameter after its decay.
    pub keep: f64,
    /// Number of this update, from 1.
    pub step: u64,
}

/// What Adafactor keeps for a parameter.
#[derive(Debug)]
pub enum AdafactorState<'a, T> {
    /// Of a matrix: means of the squared gradient over its columns and over its rows.
    Factored {
        /// One number for each row.
        rows: &'a mut [T],
        /// One for each column.
        columns: &'a mut [T],
    },
    /// Of a vector: its mean square.
    Full(&'a mut [T]),
}

impl Adafactor {
    /// Weight of a new square in its moving average.
    pub fn weight(&self) -> f64 {
        (self.step.max(1) as f64).powf(self.beta2_decay)
    }

    /// The learning rate relative to the parameter's root mean square.
    pub fn relative_lr(&self) -> f64 {
        self.scale * self.lr.min((self.step.max(1) as f64).sqrt().recip())
    }

    /// Updates one member's numbers (Shazeer & Stern 2018, arXiv 1804.04235) with PyTorch's conventions.
    pub fn update<T: Elem>(&self, param: &mut [T], grad: &[T], state: AdafactorState<'_, T>) {
        let n = param.len().max(1) as f64;
        let weight = self.weight();
        let size = (squared_norm(param) / n).sqrt().max(self.eps2);
        let lr = self.relative_lr() * size;
        let least = self.eps1 * self.eps1;
        scratch::with(param.len(), |update: &mut [T]| {
            match state {
                AdafactorState::Full(variance) => {
                    for ((u, v), g) in update.iter_mut().zip(variance).zip(grad) {
                        let new = v.f64() + weight * (g.f64() * g.f64() - v.f64());
                        *v = T::of(new);
                        *u = T::of(g.f64() / new.max(least).sqrt());
                    }
                }
                AdafactorState::Factored { rows, columns } => {
                    let wide = columns.len();
                    average_squares(grad, rows, columns, weight);
                    let mean = rows.iter().map(|r| r.f64()).sum::<f64>() / rows.len().max(1) as f64;
                    let mean = mean.max(self.eps1);
                    let (rows, columns) = (&*rows, &*columns);
                    chunks(update, |start, part| {
                        for (i, u) in part.iter_mut().enumerate() {
                            let at = start + i;
                            let variance = rows[at / wide].f64() * columns[at % wide].f64() / mean;
                            *u = T::of(grad[at].f64() / variance.max(least).sqrt());
                        }
                    });
                }
            }
            let excess = (squared_norm(update) / n).sqrt() / self.clip;
            let (keep, lr) = (T::of(self.keep), T::of(-lr / excess.max(1.0)));
            let update = &*update;
            chunks(param, |start, p| {
                for (p, u) in p.iter_mut().zip(&update[start..]) {
                    *p = keep.mul_add(*p, lr * *u);
                }
            });
        });
    }
}

/// Takes the means of the squared gradient over columns and rows into their moving averages.
fn average_squares<T: Elem>(grad: &[T], rows: &mut [T], columns: &mut [T], weight: f64) {
    let (tall, wide) = (rows.len(), columns.len());
    let mut of_columns = vec![0.0; wide];
    for (row, g) in rows.iter_mut().zip(grad.chunks_exact(wide)) {
        let mut sum = 0.0;
        for (c, g) in of_columns.iter_mut().zip(g) {
            let square = g.f64() * g.f64();
            sum += square;
            *c += square;
        }
        let mean = sum / wide as f64;
        *row = T::of(row.f64() + weight * (mean - row.f64()));
    }
    for (column, sum) in columns.iter_mut().zip(of_columns) {
        let mean = sum / tall as f64;
        *column = T::of(column.f64() + weight * (mean - column.f64()));
    }
}
