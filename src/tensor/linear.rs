//! The linear layer over one member: `y = a · x W + c · b`.

use rayon::prelude::*;

use super::elem::Elem;
use super::matmul::{Into, Left, Matrix, matmul_into, matmul_parts, pack_left, panels_len};
use super::parallel::CHUNK;

/// Sizes of a linear layer's work.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Rows of the input: examples, times positions if there are any.
    pub rows: usize,
    /// Inputs.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
}

impl Sizes {
    /// For the shapes of one example's input `[positions…, inputs]` and output `[positions…, outputs]`.
    pub fn of(batch: usize, input: &[usize], output: &[usize]) -> Self {
        let positions = &input[..input.len().saturating_sub(1)];
        Self {
            rows: batch * positions.iter().product::<usize>(),
            inputs: input.last().copied().unwrap_or(1),
            outputs: output.last().copied().unwrap_or(1),
        }
    }
}

/// The input `x [rows, inputs]` in the order in which products read it, for members that share it.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a, T> {
    /// For the forward pass.
    pub rows: &'a [T],
    /// For the weight's gradient.
    pub columns: &'a [T],
}

/// Numbers of the two [`Panels`].
pub fn panels<T: Elem>(s: Sizes) -> (usize, usize) {
    (
        panels_len::<T>(s.rows, s.inputs),
        panels_len::<T>(s.inputs, s.rows),
    )
}

/// Writes [`Panels`]; those of columns may be left out.
pub fn pack<T: Elem>(s: Sizes, x: &[T], rows: &mut [T], columns: Option<&mut [T]>) {
    let x = Matrix::row_major(x, s.inputs);
    pack_left(rows, (s.rows, s.inputs), x);
    if let Some(columns) = columns {
        pack_left(columns, (s.inputs, s.rows), x.transposed());
    }
}

/// An input `x [rows, inputs]`, with its panels if there are any.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a, T> {
    /// The numbers.
    pub x: &'a [T],
    /// The same, packed.
    pub panels: Option<Panels<'a, T>>,
}

impl<'a, T> From<&'a [T]> for Input<'a, T> {
    fn from(x: &'a [T]) -> Self {
        Self { x, panels: None }
    }
}

impl<'a, T: Elem> Input<'a, T> {
    fn rows(self, s: Sizes) -> Left<'a, T> {
        Left {
            matrix: Matrix::row_major(self.x, s.inputs),
            panels: self.panels.map(|p| p.rows),
        }
    }

    fn columns(self, s: Sizes) -> Left<'a, T> {
        Left {
            matrix: Matrix::row_major(self.x, s.inputs).transposed(),
            panels: self.panels.map(|p| p.columns).filter(|p| !p.is_empty()),
        }
    }
}

/// A weight `[inputs, outputs]` or bias `[outputs]` with its forward multiplier.
#[derive(Debug, Clone, Copy)]
pub struct Scaled<'a, T> {
    /// The numbers.
    pub value: &'a [T],
    /// Their factor in the forward pass.
    pub multiplier: f64,
}

/// `y = x w` (or `y += x w`), with the multiplier of `w`: `x [rows, inputs]`, `y [rows, outputs]`.
pub fn product<T: Elem>(
    s: Sizes,
    x: Input<'_, T>,
    w: Scaled<'_, T>,
    y: &mut [T],
    accumulate: bool,
) {
    let into = Into {
        data: y,
        row_stride: s.outputs,
        accumulate,
    };
    matmul_into(
        into,
        (s.rows, s.outputs, s.inputs),
        T::of(w.multiplier),
        x.rows(s),
        Matrix::row_major(w.value, s.outputs),
    );
}

/// Adds `bias [outputs]`, with its multiplier, to every row of `y [rows, outputs]`.
pub fn add_bias<T: Elem>(s: Sizes, bias: Scaled<'_, T>, y: &mut [T]) {
    if s.outputs == 0 {
        return;
    }
    let multiplier = T::of(bias.multiplier);
    let add = |rows: &mut [T]| {
        for row in rows.chunks_exact_mut(s.outputs) {
            for (y, b) in row.iter_mut().zip(bias.value) {
                *y += multiplier * *b;
            }
        }
    };
    let rows_per_task = (4 * CHUNK / s.outputs).max(1);
    if s.rows <= rows_per_task {
        add(y);
    } else {
        y.par_chunks_mut(rows_per_task * s.outputs).for_each(add);
    }
}

/// Gradient of the weight, `[inputs, outputs]`: `multiplier · xᵀ gy` (or added to what is there).
pub fn weight_gradient<T: Elem>(
    s: Sizes,
    x: Input<'_, T>,
    gy: &[T],
    multiplier: f64,
    gw: &mut [T],
    accumulate: bool,
) {
    let into = Into {
        data: gw,
        row_stride: s.outputs,
        accumulate,
    };
    matmul_into(
        into,
        (s.inputs, s.outputs, s.rows),
        T::of(multiplier),
        x.columns(s),
        Matrix::row_major(gy, s.outputs),
    );
}

/// The gradient of the weight in parts, kept nowhere: calls `then(start, numbers)` with the numbers from
/// entry `start` on, for every part of it, from several threads at the same time.
pub fn weight_gradient_parts<T: Elem>(
    s: Sizes,
    x: Input<'_, T>,
    gy: &[T],
    multiplier: f64,
    then: &(impl Fn(usize, &[T]) + Sync),
) {
    matmul_parts(
        (s.inputs, s.outputs, s.rows),
        T::of(multiplier),
        x.columns(s),
        Matrix::row_major(gy, s.outputs),
        &|first, rows: &[T]| then(first * s.outputs, rows),
    );
}

/// Gradient of the bias, `[outputs]`: the multiplier times the sum of `gy` over rows, in row order
/// within blocks and over blocks.
pub fn bias_gradient<T: Elem>(s: Sizes, gy: &[T], multiplier: f64, gb: &mut [T]) {
    gb.fill(T::of(0.0));
    if s.outputs == 0 {
        return;
    }
    let sum = |rows: &[T], to: &mut [T]| {
        for row in rows.chunks_exact(s.outputs) {
            for (g, r) in to.iter_mut().zip(row) {
                *g += *r;
            }
        }
    };
    let rows_per_task = (4 * CHUNK / s.outputs).max(1);
    if s.rows <= rows_per_task {
        sum(gy, gb);
    } else {
        let tasks = s.rows.div_ceil(rows_per_task);
        super::scratch::with(tasks * s.outputs, |parts: &mut [T]| {
            parts
                .par_chunks_mut(s.outputs)
                .zip(gy.par_chunks(rows_per_task * s.outputs))
                .for_each(|(part, rows)| {
                    part.fill(T::of(0.0));
                    sum(rows, part);
                });
            sum(parts, gb);
        });
    }
    let multiplier = T::of(multiplier);
    gb.iter_mut().for_each(|g| *g *= multiplier);
}

/// Gradient of the input, `[rows, inputs]`: `multiplier · gy wᵀ` (or added to what is there).
pub fn input_gradient<T: Elem>(
    s: Sizes,
    gy: &[T],
    w: Scaled<'_, T>,
    gx: &mut [T],
    accumulate: bool,
) {
    let into = Into {
        data: gx,
        row_stride: s.inputs,
        accumulate,
    };
    matmul_into(
        into,
        (s.rows, s.inputs, s.outputs),
        T::of(w.multiplier),
        Matrix::row_major(gy, s.outputs),
        Matrix::row_major(w.value, s.outputs).transposed(),
    );
}
