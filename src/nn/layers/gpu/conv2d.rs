//! Convolution on GPUs, over members: on tensor cores where they pay, else products of patches.

mod products;
mod tensor_cores;
#[cfg(all(test, feature = "emulator"))]
mod tests;
mod tiles;

use crate::error::Result;
use crate::nn::layers::Conv2d;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};
use products::{Conv, DWEIGHT, MORE_ROWS, ROWS, WEIGHT};

impl GpuPasses for Conv2d {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        let conv = Conv::new(self, at)?;
        let weight = gpu_param(self, at.params, 0)?;
        let bias = conv.bias(at.params)?;
        if conv.try_forward(weight, bias, y)? {
            return Ok(());
        }
        let w = conv.weight(weight, WEIGHT)?;
        let rows = conv.rows(ROWS)?;
        for examples in conv.examples() {
            let patches = conv.patches(at.x, examples)?;
            conv.forward((patches, examples), (w, weight.multiplier), rows, 0.0)?;
            conv.outputs(rows, examples, bias, y)?;
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
        if grads.is_empty() && gx.is_none() {
            return Ok(());
        }
        let conv = Conv::new(self, at)?;
        let weight = gpu_param(self, at.params, 0)?;
        let by = weight.multiplier;
        conv.bias_gradient(gy, grads)?;
        // what tensor cores do is not wanted from the products of patches
        let (mut gw, mut gx) = (grads.first().copied(), gx);
        if let Some(to) = gw
            && conv.try_weight(gy, (to, by))?
        {
            gw = None;
        }
        if let Some(to) = gx
            && conv.try_input(gy, weight, to)?
        {
            gx = None;
        }
        if gw.is_none() && gx.is_none() {
            return Ok(());
        }
        let w = gx.map(|_| conv.weight(weight, WEIGHT)).transpose()?;
        for examples in conv.examples() {
            let rows = conv.pixel_rows(gy, examples, ROWS)?;
            if let Some(gw) = gw {
                let patches = conv.patches(at.x, examples)?;
                conv.weight_gradient((patches, examples), rows, (gw, by), examples.keep())?;
            }
            if let (Some(gx), Some(w)) = (gx, w) {
                let patches = conv.input((rows, examples), (w, by), 0.0)?;
                conv.images(patches, examples, gx)?;
            }
        }
        Ok(())
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let conv = Conv::new(self, at)?;
        let weight = gpu_param(self, at.params, 0)?;
        let dweight = gpu_param(self, tangents.params, 0)?;
        let dw = conv.weight(dweight, DWEIGHT)?;
        let w = tangents
            .x
            .map(|_| conv.weight(weight, WEIGHT))
            .transpose()?;
        let (dbias, rows) = (conv.bias(tangents.params)?, conv.rows(ROWS)?);
        for examples in conv.examples() {
            let patches = conv.patches(at.x, examples)?;
            conv.forward((patches, examples), (dw, dweight.multiplier), rows, 0.0)?;
            if let (Some(dx), Some(w)) = (tangents.x, w) {
                let patches = conv.patches(dx, examples)?;
                conv.forward((patches, examples), (w, weight.multiplier), rows, 1.0)?;
            }
            conv.outputs(rows, examples, dbias, dy)?;
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
        if dgrads.is_empty() && dgx.is_none() {
            return Ok(());
        }
        let conv = Conv::new(self, at)?;
        let weight = gpu_param(self, at.params, 0)?;
        let dweight = gpu_param(self, tangents.params, 0)?;
        let by = weight.multiplier;
        conv.bias_gradient(dgy, dgrads)?;
        let factors = match dgx {
            Some(_) => Some((conv.weight(weight, WEIGHT)?, conv.weight(dweight, DWEIGHT)?)),
            None => None,
        };
        for examples in conv.examples() {
            let drows = conv.pixel_rows(dgy, examples, MORE_ROWS)?;
            let rows = match (tangents.x, dgx) {
                (None, None) => None,
                _ => Some(conv.pixel_rows(gy, examples, ROWS)?),
            };
            if let Some(&dgw) = dgrads.first() {
                let patches = conv.patches(at.x, examples)?;
                conv.weight_gradient((patches, examples), drows, (dgw, by), examples.keep())?;
                if let (Some(dx), Some(rows)) = (tangents.x, rows) {
                    let patches = conv.patches(dx, examples)?;
                    conv.weight_gradient((patches, examples), rows, (dgw, by), 1.0)?;
                }
            }
            if let (Some(dgx), Some((w, dw)), Some(rows)) = (dgx, factors, rows) {
                conv.input((drows, examples), (w, by), 0.0)?;
                let patches = conv.input((rows, examples), (dw, dweight.multiplier), 1.0)?;
                conv.images(patches, examples, dgx)?;
            }
        }
        Ok(())
    }
}
