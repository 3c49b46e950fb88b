//! The fully connected layer on GPUs: products of the library, over members.

use crate::error::Result;
use crate::gpu::{Gemm, Grid, words};
use crate::nn::layers::Linear;
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};
use crate::tensor::linear::Sizes;

/// The products of a linear layer, of which each adds to what is there times `keep`.
pub(super) struct Products<'a> {
    pub at: GpuPass<'a>,
    pub sizes: Sizes,
}

impl<'a> Products<'a> {
    pub fn new(at: GpuPass<'a>) -> Self {
        let sizes = Sizes::of(at.batch, at.input, at.output);
        Self { at, sizes }
    }

    /// `y = x w`; `part` is where a copy of the weight goes.
    pub fn forward(&self, x: Span, w: GpuParam, y: Span, keep: f64, part: usize) -> Result<()> {
        let (at, s) = (self.at, self.sizes);
        let weight = at.factor(w, part, s.inputs * s.outputs)?;
        let (x, weight) = (
            x.matrix(at.stored, s.inputs),
            weight.matrix(at.stored, s.outputs),
        );
        let y = y.matrix(at.stored, s.outputs);
        let product = Gemm::new([s.rows, s.outputs, s.inputs], at.members, x, weight, y);
        at.gpu.gemm(&product.times(w.multiplier).plus(keep))
    }

    /// `gw = xᵀ gy`.
    pub fn weight(&self, x: Span, gy: Span, multiplier: f64, gw: Span, keep: f64) -> Result<()> {
        let (at, s) = (self.at, self.sizes);
        let (x, gy) = (
            x.matrix(at.stored, s.inputs),
            gy.matrix(at.stored, s.outputs),
        );
        let gw = gw.matrix(at.stored.arith(), s.outputs);
        let product = Gemm::new([s.inputs, s.outputs, s.rows], at.members, x.t(), gy, gw);
        at.gpu.gemm(&product.times(multiplier).plus(keep))
    }

    /// `gx = gy wᵀ`.
    pub fn input(&self, gy: Span, w: GpuParam, gx: Span, keep: f64, part: usize) -> Result<()> {
        let (at, s) = (self.at, self.sizes);
        let weight = at.factor(w, part, s.inputs * s.outputs)?;
        let (gy, weight) = (
            gy.matrix(at.stored, s.outputs),
            weight.matrix(at.stored, s.outputs),
        );
        let gx = gx.matrix(at.stored, s.inputs);
        let product = Gemm::new(
            [s.rows, s.inputs, s.outputs],
            at.members,
            gy,
            weight.t(),
            gx,
        );
        at.gpu.gemm(&product.times(w.multiplier).plus(keep))
    }

    /// `y += bias`.
    pub fn add_bias(&self, bias: GpuParam, y: Span) -> Result<()> {
        let (at, s) = (self.at, self.sizes);
        let b = bias.value;
        let words = words![
            b.at,
            b.stride,
            y.at,
            y.stride,
            s.rows,
            s.outputs,
            bias.multiplier
        ];
        let grid = Grid::blocks(s.rows.min(1 << 16), at.members);
        at.gpu.launch("bias_add", at.stored, grid, words)
    }

    /// `gb`, the sum of `gy` over rows.
    pub fn bias(&self, gy: Span, multiplier: f64, gb: Span) -> Result<()> {
        let (at, s) = (self.at, self.sizes);
        column_sums(at, [s.rows, s.outputs], gy, multiplier, gb)
    }
}

/// `sums [columns] = multiplier` times the sum over rows of `x [rows, columns]`, for every member.
pub(super) fn column_sums(
    at: GpuPass<'_>,
    [rows, columns]: [usize; 2],
    x: Span,
    multiplier: f64,
    sums: Span,
) -> Result<()> {
    let words = words![
        x.at,
        x.stride,
        sums.at,
        sums.stride,
        rows,
        columns,
        multiplier,
        0.0
    ];
    let grid = Grid::blocks(columns.div_ceil(32), at.members);
    at.gpu.launch("column_sums", at.stored, grid, words)
}

impl GpuPasses for Linear {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        let products = Products::new(at);
        products.forward(at.x, gpu_param(self, at.params, 0)?, y, 0.0, 0)?;
        if self.bias {
            products.add_bias(gpu_param(self, at.params, 1)?, y)?;
        }
        Ok(())
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let products = Products::new(at);
        let weight = gpu_param(self, at.params, 0)?;
        if let Some(gw) = grads.first() {
            products.weight(at.x, gy, weight.multiplier, *gw, 0.0)?;
        }
        if let Some(gb) = grads.get(1) {
            products.bias(gy, gpu_param(self, at.params, 1)?.multiplier, *gb)?;
        }
        match gx {
            Some(gx) => products.input(gy, weight, gx, 0.0, 0),
            None => Ok(()),
        }
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let products = Products::new(at);
        products.forward(at.x, gpu_param(self, tangents.params, 0)?, dy, 0.0, 0)?;
        if let Some(dx) = tangents.x {
            products.forward(dx, gpu_param(self, at.params, 0)?, dy, 1.0, 0)?;
        }
        if self.bias {
            products.add_bias(gpu_param(self, tangents.params, 1)?, dy)?;
        }
        Ok(())
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        (gy, dgy): (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        let products = Products::new(at);
        let weight = gpu_param(self, at.params, 0)?;
        if let Some(dgw) = dgrads.first() {
            products.weight(at.x, dgy, weight.multiplier, *dgw, 0.0)?;
            if let Some(dx) = tangents.x {
                products.weight(dx, gy, weight.multiplier, *dgw, 1.0)?;
            }
        }
        if let Some(dgb) = dgrads.get(1) {
            products.bias(dgy, gpu_param(self, at.params, 1)?.multiplier, *dgb)?;
        }
        if let Some(dgx) = dgx {
            products.input(dgy, weight, dgx, 0.0, 0)?;
            products.input(gy, gpu_param(self, tangents.params, 0)?, dgx, 1.0, 0)?;
        }
        Ok(())
    }
}
