//! Batch normalisation on GPUs.

use super::layer_norm::{ENOUGH_BLOCKS, span};
use crate::error::{Error, Result};
use crate::gpu::{Grid, Word, words};
use crate::nn::layers::BatchNorm;
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

/// Numbers of a channel that a block sums, at least.
const BLOCK: usize = 4096;

/// The layer in a pass, see `kernels/batch_norm.cuh`.
struct Norm<'a> {
    at: GpuPass<'a>,
    channels: usize,
    pixels: usize,
    /// Examples that a block sums over.
    run: usize,
    /// Whether a block sums one channel, else 32 columns of `[channels, pixels]`.
    wide: bool,
    /// Means, and variances, of the batch or the running estimates.
    moments: [Span; 2],
    gain: GpuParam,
    shift: GpuParam,
    relu: bool,
    eps: f64,
}

/// What a pass is from and where it goes to.
#[derive(Clone, Copy, Default)]
struct Ends<'a> {
    gy: Option<Span>,
    dgy: Option<Span>,
    dx: Option<Span>,
    dparams: &'a [GpuParam],
    grads: &'a [Span],
    to: Option<Span>,
}

impl<'a> Norm<'a> {
    fn new(layer: &BatchNorm, at: GpuPass<'a>, saved: Span) -> Result<Self> {
        let (&channels, rest) = at.input.split_first().unwrap_or((&1, &[]));
        let pixels: usize = rest.iter().product();
        let moments = if at.training {
            [saved, saved.from(channels, at.stored.arith())]
        } else {
            [
                gpu_param(layer, at.params, 2)?.value,
                gpu_param(layer, at.params, 3)?.value,
            ]
        };
        // a warp's width
        let wide = pixels >= 32;
        let tiles = if wide {
            channels
        } else {
            (channels * pixels).div_ceil(32)
        };
        let enough = ENOUGH_BLOCKS.div_ceil((tiles * at.members).max(1));
        let most = if wide {
            at.batch * pixels / BLOCK
        } else {
            at.batch * 32 / BLOCK
        };
        let runs = enough.min(most).clamp(1, at.batch.max(1));
        Ok(Self {
            at,
            channels,
            pixels,
            run: at.batch.div_ceil(runs).max(1),
            wide,
            moments,
            gain: gpu_param(layer, at.params, 0)?,
            shift: gpu_param(layer, at.params, 1)?,
            relu: layer.relu,
            eps: layer.eps,
        })
    }

    /// `BatchNormRuns`.
    fn runs(&self) -> Vec<Word> {
        let lanes = if self.pixels >= 1024 { 256usize } else { 32 };
        words![
            self.at.batch,
            self.channels,
            self.pixels,
            self.run,
            self.wide,
            lanes
        ]
        .to_vec()
    }

    /// `BatchNormChannels`.
    fn norm(&self) -> Vec<Word> {
        let [mean, var] = self.moments.map(Some);
        let spans = [mean, var, Some(self.gain.value), Some(self.shift.value)];
        let mut words = spans.map(span).concat();
        let [gain_by, shift_by] = [self.gain, self.shift].map(|p| p.multiplier);
        words.extend_from_slice(words![gain_by, shift_by, self.eps, self.relu]);
        words
    }

    fn numbers(&self) -> usize {
        self.at.batch * self.channels * self.pixels
    }

    /// Memory for parts of so many sums, and the blocks that fill it.
    fn parts(&self, sums: usize) -> Result<(Span, Grid)> {
        let columns = self.channels * if self.wide { 1 } else { self.pixels };
        let runs = self.at.batch.div_ceil(self.run);
        let tiles = if self.wide {
            columns
        } else {
            columns.div_ceil(32)
        };
        let parts = self
            .at
            .part(0, sums * runs * columns, self.at.stored.arith())?;
        Ok((parts, Grid::blocks(runs * tiles, self.at.members)))
    }

    /// A warp for each channel.
    fn warps(&self) -> Grid {
        Grid::blocks(self.channels.div_ceil(8), self.at.members)
    }

    /// Threads of a plane, and blocks for all planes.
    fn planes(&self) -> (usize, Grid) {
        let lanes = 1usize << self.pixels.max(1).ilog2().min(5);
        let sets = 256 / lanes;
        let all = if self.pixels == 0 {
            0
        } else {
            (self.at.batch * self.channels).div_ceil(sets)
        };
        // about eight planes for a thread, if it can be of one channel, since it computes with the channel first
        let some = all
            .div_ceil(8)
            .max(all.min(ENOUGH_BLOCKS.div_ceil(self.at.members)));
        let whole = self.channels >> self.channels.trailing_zeros().min(sets.ilog2());
        let blocks = some.next_multiple_of(whole.max(1)).min(all);
        (lanes, Grid::blocks(blocks, self.at.members))
    }

    /// Means and variances of the batch.
    fn save_moments(&self) -> Result<()> {
        let (at, (parts, grid)) = (self.at, self.parts(2)?);
        let words = [[Some(at.x), Some(parts)].map(span).concat(), self.runs()].concat();
        at.gpu
            .launch("batch_norm_moments", at.stored, grid, &words)?;
        let [mean, var] = self.moments;
        let spans = [parts, mean, var].map(|s| span(Some(s))).concat();
        let words = [spans, self.runs()].concat();
        at.gpu
            .launch("batch_norm_joined", at.stored.arith(), self.warps(), &words)
    }

    fn forward(&self, y: Span) -> Result<()> {
        let (lanes, grid) = self.planes();
        let spans = [Some(self.at.x), Some(y)].map(span).concat();
        let words = [self.norm(), spans, self.runs(), vec![lanes.into()]].concat();
        self.at
            .gpu
            .launch("batch_norm_forward", self.at.stored, grid, &words)
    }

    /// A pass after the forward pass: sums of every channel, if any are needed, what follows from them for
    /// the channel, and what follows from that for its numbers.
    fn pass(&self, pass: &str, sums: usize, needed: bool, ends: Ends<'_>) -> Result<()> {
        if ends.grads.is_empty() && ends.to.is_none() {
            return Ok(());
        }
        let (at, arith) = (self.at, self.at.stored.arith());
        let from = [Some(at.x), ends.gy, ends.dgy, ends.dx];
        let mut parts = None;
        if needed && self.numbers() > 0 {
            let (span_of, grid) = self.parts(sums)?;
            parts = Some(span_of);
            let spans = [&from[..], &[parts]].concat();
            let words = [
                self.norm(),
                spans.iter().flat_map(|s| span(*s)).collect(),
                self.runs(),
            ];
            at.gpu.launch(
                &format!("batch_norm_{pass}_sums"),
                at.stored,
                grid,
                &words.concat(),
            )?;
        }
        let lines = Some(at.part(1, 5 * self.channels, arith)?);
        let dparam = |i: usize| ends.dparams.get(i).map(|d: &GpuParam| d.value);
        let mut spans = vec![dparam(0), dparam(1), parts, lines];
        spans.extend((0..4).map(|i| ends.grads.get(i).copied()));
        let spans: Vec<Word> = spans.into_iter().flat_map(span).collect();
        let words = [self.norm(), spans, self.runs(), vec![at.training.into()]].concat();
        at.gpu.launch(
            &format!("batch_norm_{pass}_lines"),
            arith,
            self.warps(),
            &words,
        )?;
        if ends.to.is_none() {
            return Ok(());
        }
        let (lanes, grid) = self.planes();
        let spans = [&from[..], &[lines, ends.to]].concat();
        let spans: Vec<Word> = spans.into_iter().flat_map(span).collect();
        let words = [self.norm(), spans, self.runs(), vec![lanes.into()]].concat();
        at.gpu
            .launch(&format!("batch_norm_{pass}"), at.stored, grid, &words)
    }
}

impl GpuPasses for BatchNorm {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        let norm = Norm::new(self, at, saved)?;
        if at.training {
            if at.batch * norm.pixels < 2 {
                return Err(Error::shape(format!(
                    "batch_norm cannot train on one example of shape {:?}: one number per channel has no variance",
                    at.input
                ))
                .with_help("train on batches of at least 2 examples"));
            }
            norm.save_moments()?;
        }
        norm.forward(y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let needed = at.training || !grads.is_empty();
        let ends = Ends {
            gy: Some(gy),
            grads,
            to: gx,
            ..Ends::default()
        };
        Norm::new(self, at, was.saved)?.pass("backward", 2, needed, ends)
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let needed = at.training && tangents.x.is_some();
        let ends = Ends {
            dx: tangents.x,
            dparams: tangents.params,
            to: Some(dy),
            ..Ends::default()
        };
        Norm::new(self, at, was.saved)?.pass("tangent", 2, needed, ends)
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
        let needed = at.training || !dgrads.is_empty();
        let ends = Ends {
            gy: Some(gy),
            dgy: Some(dgy),
            dx: tangents.x,
            dparams: tangents.params,
            grads: dgrads,
            to: dgx,
        };
        Norm::new(self, at, was.saved)?.pass("backward_tangent", 7, needed, ends)
    }

    fn gpu_update_estimates(&self, at: GpuPass<'_>, was: GpuForward, active: u64) -> Result<()> {
        if !at.training {
            return Ok(());
        }
        let norm = Norm::new(self, at, was.saved)?;
        let [mean, var] = norm.moments;
        let running = [
            gpu_param(self, at.params, 2)?.value,
            gpu_param(self, at.params, 3)?.value,
        ];
        let count = at.batch * norm.pixels;
        let unbiased = count as f64 / (count.max(2) - 1) as f64;
        let mut words = [mean, var, running[0], running[1]]
            .map(|s| span(Some(s)))
            .concat();
        words.extend_from_slice(words![active, norm.channels, self.momentum, unbiased]);
        let grid = Grid::each(norm.channels, at.members);
        at.gpu
            .launch("batch_norm_update", at.stored.arith(), grid, &words)
    }
}
