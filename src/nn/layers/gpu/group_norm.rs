//! Group normalisation on GPUs.

use super::layer_norm::{part_sums, span};
use crate::error::Result;
use crate::gpu::{Grid, Word, words};
use crate::nn::layers::GroupNorm;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

/// The layer in a pass, see `kernels/group_norm.cuh`.
struct Norm<'a> {
    at: GpuPass<'a>,
    channels: usize,
    pixels: usize,
    groups: usize,
    relu: bool,
    gain: Option<Span>,
    shift: Option<Span>,
    multipliers: [f64; 2],
}

impl<'a> Norm<'a> {
    fn new(layer: &GroupNorm, at: GpuPass<'a>) -> Result<Self> {
        let (&channels, rest) = at.input.split_first().unwrap_or((&1, &[]));
        let (gain, shift) = (
            gpu_param(layer, at.params, 0)?,
            gpu_param(layer, at.params, 1)?,
        );
        Ok(Self {
            at,
            channels,
            pixels: rest.iter().product(),
            groups: layer.groups.max(1),
            relu: layer.relu,
            gain: Some(gain.value),
            shift: Some(shift.value),
            multipliers: [gain.multiplier, shift.multiplier],
        })
    }

    /// Threads of a channel, and blocks.
    fn lanes(&self) -> (usize, Grid) {
        let channels = self.channels / self.groups;
        // few large channels keep no block busy with a warp each
        let (lanes, threads) = if channels < 8 && self.pixels >= 1024 {
            (256, 256)
        } else {
            let lanes = 1 << self.pixels.max(1).ilog2().min(5);
            (
                lanes,
                (channels * lanes).next_multiple_of(32).clamp(32, 256),
            )
        };
        let blocks = if self.pixels == 0 {
            0
        } else {
            self.at.batch * self.groups
        };
        (
            lanes,
            Grid::blocks(blocks, self.at.members).with_threads(threads),
        )
    }

    /// A pass, with the spans that its kernel has.
    fn launch(&self, pass: &str, spans: &[Option<Span>], eps: Option<f64>) -> Result<()> {
        let (lanes, grid) = self.lanes();
        let mut words: Vec<Word> = spans.iter().flat_map(|s| span(*s)).collect();
        let [gain_by, shift_by] = self.multipliers;
        words.extend_from_slice(words![
            self.channels,
            self.pixels,
            self.groups,
            lanes,
            self.relu,
            gain_by,
            shift_by
        ]);
        words.extend(eps.map(Word::from));
        self.at
            .gpu
            .launch(&format!("group_norm_{pass}"), self.at.stored, grid, &words)
    }

    /// A pass that leaves examples' parts of the gradients of gain and shift.
    fn with_sums(
        &self,
        pass: &str,
        spans: &[Option<Span>],
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        if grads.is_empty() {
            return match gx {
                Some(_) => self.launch(pass, &[spans, &[gx, None]].concat(), None),
                None => Ok(()),
            };
        }
        let width = 2 * self.channels;
        let parts = self
            .at
            .part(0, self.at.batch * width, self.at.stored.arith())?;
        self.launch(pass, &[spans, &[gx, Some(parts)]].concat(), None)?;
        // without numbers nothing was written
        let rows = if self.pixels == 0 { 0 } else { self.at.batch };
        part_sums(self.at, (parts, rows, width), grads, self.multipliers)
    }
}

impl GpuPasses for GroupNorm {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        let norm = Norm::new(self, at)?;
        let spans = [Some(at.x), norm.gain, norm.shift, Some(y), Some(saved)];
        norm.launch("forward", &spans, Some(self.eps))
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let norm = Norm::new(self, at)?;
        let spans = [Some(at.x), norm.gain, norm.shift, Some(was.saved), Some(gy)];
        norm.with_sums("backward", &spans, grads, gx)
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let norm = Norm::new(self, at)?;
        let dgain = Some(gpu_param(self, tangents.params, 0)?.value);
        let dshift = Some(gpu_param(self, tangents.params, 1)?.value);
        let (dx, saved) = (tangents.x, Some(was.saved));
        let spans = [
            Some(at.x),
            dx,
            norm.gain,
            norm.shift,
            dgain,
            dshift,
            saved,
            Some(dy),
        ];
        norm.launch("tangent", &spans, None)
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        (gy, dgy): (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        let norm = Norm::new(self, at)?;
        let dgain = Some(gpu_param(self, tangents.params, 0)?.value);
        let (dx, saved) = (tangents.x, Some(was.saved));
        let spans = [
            Some(at.x),
            dx,
            norm.gain,
            norm.shift,
            dgain,
            saved,
            Some(gy),
            Some(dgy),
        ];
        norm.with_sums("backward_tangent", &spans, dgrads, dgx)
    }
}
