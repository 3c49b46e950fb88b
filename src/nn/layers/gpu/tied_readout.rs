//! The readout that is an embedding's table, on GPUs.

use crate::error::Result;
use crate::gpu::Gemm;
use crate::nn::layers::TiedReadout;
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

impl TiedReadout {
    /// Rows and width.
    fn gpu_sizes(&self, at: &GpuPass<'_>) -> [usize; 2] {
        let width = at.input.last().copied().unwrap_or(1);
        [at.batch * at.inputs() / width.max(1), width]
    }

    /// `y = x Eᵀ + keep · y`.
    fn gpu_outputs(
        &self,
        at: GpuPass<'_>,
        x: Span,
        table: GpuParam,
        y: Span,
        keep: f64,
    ) -> Result<()> {
        let [rows, width] = self.gpu_sizes(&at);
        let table = at.factor(table, 0, self.vocab * width)?;
        let (x, table) = (x.matrix(at.stored, width), table.matrix(at.stored, width));
        let y = y.matrix(at.stored, self.vocab);
        let product = Gemm::new([rows, self.vocab, width], at.members, x, table.t(), y);
        at.gpu.gemm(&product.times(self.multiplier).plus(keep))
    }

    /// `gx = gy E + keep · gx`.
    fn gpu_inputs(
        &self,
        at: GpuPass<'_>,
        gy: Span,
        table: GpuParam,
        gx: Span,
        keep: f64,
    ) -> Result<()> {
        let [rows, width] = self.gpu_sizes(&at);
        let table = at.factor(table, 0, self.vocab * width)?;
        let (gy, table) = (
            gy.matrix(at.stored, self.vocab),
            table.matrix(at.stored, width),
        );
        let gx = gx.matrix(at.stored, width);
        let product = Gemm::new([rows, width, self.vocab], at.members, gy, table, gx);
        at.gpu.gemm(&product.times(self.multiplier).plus(keep))
    }

    /// `ge = gyᵀ x + keep · ge`.
    fn gpu_table(&self, at: GpuPass<'_>, gy: Span, x: Span, ge: Span, keep: f64) -> Result<()> {
        let [rows, width] = self.gpu_sizes(&at);
        let (gy, x) = (gy.matrix(at.stored, self.vocab), x.matrix(at.stored, width));
        let ge = ge.matrix(at.stored.arith(), width);
        let product = Gemm::new([self.vocab, width, rows], at.members, gy.t(), x, ge);
        at.gpu.gemm(&product.times(self.multiplier).plus(keep))
    }
}

impl GpuPasses for TiedReadout {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        self.gpu_outputs(at, at.x, gpu_param(self, at.params, 0)?, y, 0.0)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        if let Some(ge) = grads.first() {
            self.gpu_table(at, gy, at.x, *ge, 0.0)?;
        }
        match gx {
            Some(gx) => self.gpu_inputs(at, gy, gpu_param(self, at.params, 0)?, gx, 0.0),
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
        self.gpu_outputs(at, at.x, gpu_param(self, tangents.params, 0)?, dy, 0.0)?;
        match tangents.x {
            Some(dx) => self.gpu_outputs(at, dx, gpu_param(self, at.params, 0)?, dy, 1.0),
            None => Ok(()),
        }
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
        if let Some(dge) = dgrads.first() {
            self.gpu_table(at, dgy, at.x, *dge, 0.0)?;
            if let Some(dx) = tangents.x {
                self.gpu_table(at, gy, dx, *dge, 1.0)?;
            }
        }
        if let Some(dgx) = dgx {
            self.gpu_inputs(at, dgy, gpu_param(self, at.params, 0)?, dgx, 0.0)?;
            self.gpu_inputs(at, gy, gpu_param(self, tangents.params, 0)?, dgx, 1.0)?;
        }
        Ok(())
    }
}
