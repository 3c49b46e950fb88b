//! The linear layer over members: `y = a · x W + c · b`.

use candle_core::Tensor;
use rayon::prelude::*;

use super::elem::{dispatch, read, write};
use super::matmul::{Matrices, matmul};
use crate::error::{Error, Result};

/// Sizes of one linear layer's work.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    members: usize,
    shared_input: bool,
    rows: usize,
    inputs: usize,
    outputs: usize,
}

/// Checks `x [members or 1, …, inputs]` against `w [members, inputs, outputs]`.
fn sizes(x: &Tensor, w: &Tensor) -> Result<Sizes> {
    let (members, inputs, outputs) = w.dims3()?;
    let lead = x.dims()[0];
    let features = x.dims().last().copied().unwrap_or(0);
    if features != inputs || (lead != 1 && lead != members) {
        return Err(Error::shape(format!(
            "linear: input {:?} does not fit weight {:?}",
            x.dims(),
            w.dims()
        )));
    }
    Ok(Sizes {
        members,
        shared_input: lead == 1,
        rows: x.elem_count() / (lead * inputs).max(1),
        inputs,
        outputs,
    })
}

/// `y = scale · x w + bias_scale · bias`: `x [members or 1, rows…, inputs]`, `w [members, inputs,
/// outputs]`, `bias [members, outputs]`, `y [members, rows…, outputs]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn forward(
    y: &Tensor,
    x: &Tensor,
    w: &Tensor,
    scale: f64,
    bias: Option<(&Tensor, f64)>,
) -> Result<()> {
    let s = sizes(x, w)?;
    dispatch!(w, T => {
        read(x, |xs: &[T]| read(w, |ws: &[T]| write(y, |ys: &mut [T]| {
            matmul(
                ys,
                (s.members, s.rows, s.outputs, s.inputs),
                <T as super::elem::Elem>::of(scale),
                Matrices::row_major(xs, s.rows, s.inputs, s.shared_input),
                Matrices::row_major(ws, s.inputs, s.outputs, false),
            );
            let Some((bias, bias_scale)) = bias else { return Ok(()) };
            let bias_scale = <T as super::elem::Elem>::of(bias_scale);
            read(bias, |bs: &[T]| {
                ys.par_chunks_mut((s.rows * s.outputs).max(1))
                    .zip(bs.par_chunks(s.outputs.max(1)))
                    .for_each(|(y, b)| {
                        for row in y.chunks_exact_mut(s.outputs) {
                            for (y, b) in row.iter_mut().zip(b) {
                                *y += bias_scale * *b;
                            }
                        }
                    });
                Ok(())
            })
        })))
    })
}

/// Where the backward pass of [`forward`] writes to.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// Gradient of the weight, `[members, inputs, outputs]`.
    pub weight: &'a Tensor,
    /// Gradient of the bias, `[members, outputs]`, with the scale of the forward pass.
    pub bias: Option<(&'a Tensor, f64)>,
    /// Gradient of the input, `[members, rows…, inputs]`; `None` if nothing needs it.
    pub input: Option<&'a Tensor>,
}

/// The backward pass of [`forward`] from `gy`, the gradient of `y`.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(
    gy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    scale: f64,
    gradients: Gradients<'_>,
) -> Result<()> {
    let s = sizes(x, w)?;
    dispatch!(w, T => {
        let scale = <T as super::elem::Elem>::of(scale);
        read(gy, |gys: &[T]| {
            let gy_view = Matrices::row_major(gys, s.rows, s.outputs, false);
            read(x, |xs: &[T]| write(gradients.weight, |gw: &mut [T]| {
                let x_view = Matrices::row_major(xs, s.rows, s.inputs, s.shared_input);
                matmul(gw, (s.members, s.inputs, s.outputs, s.rows), scale, x_view.transposed(), gy_view);
                Ok(())
            }))?;
            if let Some((bias, bias_scale)) = gradients.bias {
                let bias_scale = <T as super::elem::Elem>::of(bias_scale);
                write(bias, |gb: &mut [T]| {
                    gb.par_chunks_mut(s.outputs.max(1))
                        .zip(gys.par_chunks((s.rows * s.outputs).max(1)))
                        .for_each(|(gb, gy)| {
                            gb.fill(<T as super::elem::Elem>::of(0.0));
                            for row in gy.chunks_exact(s.outputs) {
                                for (gb, gy) in gb.iter_mut().zip(row) {
                                    *gb += *gy;
                                }
                            }
                            gb.iter_mut().for_each(|g| *g *= bias_scale);
                        });
                    Ok(())
                })?;
            }
            let Some(gx) = gradients.input else { return Ok(()) };
            read(w, |ws: &[T]| write(gx, |gxs: &mut [T]| {
                let w_view = Matrices::row_major(ws, s.inputs, s.outputs, false);
                matmul(gxs, (s.members, s.rows, s.inputs, s.outputs), scale, gy_view, w_view.transposed());
                Ok(())
            }))
        })
    })
}
