//! Layer normalisation on GPUs, and what it shares with other normalisations of rows.

use crate::error::Result;
use crate::gpu::{Grid, Word, words};
use crate::nn::layers::LayerNorm;
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

/// Threads of a block, at most.
const MOST: usize = 256;
/// Bytes of shared memory that a block keeps sums in, at most.
const MOST_SHARED: usize = 96 << 10;
/// Blocks that a pass with sums over rows is given, about; enough to keep a GPU busy.
pub(super) const ENOUGH_BLOCKS: usize = 1024;

/// Nothing: a null pointer.
pub(super) const NONE: Span = Span { at: 0, stride: 0 };

/// The words of a span.
pub(super) fn span(span: Option<Span>) -> [Word; 2] {
    let span = span.unwrap_or(NONE);
    [span.at.into(), span.stride.into()]
}

/// How threads share rows of numbers, see `kernels/row_norm.cuh`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub count: usize,
    pub size: usize,
    /// Threads of a row.
    pub lanes: usize,
    threads: usize,
}

impl Rows {
    pub fn new(count: usize, size: usize) -> Self {
        let quarter = size.div_ceil(4);
        let lanes = if size > 512 {
            quarter.next_multiple_of(32).min(MOST)
        } else {
            quarter.next_power_of_two().min(32)
        };
        let threads = if lanes > 32 {
            lanes
        } else {
            (count * lanes).next_multiple_of(32).clamp(32, MOST)
        };
        Self {
            count,
            size,
            lanes,
            threads,
        }
    }

    /// Rows that a block takes at once.
    fn sets(&self) -> usize {
        self.threads / self.lanes
    }

    /// Blocks that take all rows at once.
    pub fn grid(&self, members: usize) -> Grid {
        Grid::blocks(self.count.div_ceil(self.sets()), members).with_threads(self.threads)
    }
}

/// Sums over the rows that blocks take, a part for each block.
pub(super) struct Parts {
    span: Option<Span>,
    width: usize,
    /// Shared memory for the sums, in numbers for each row that a block takes at once; 0 if the sums are too
    /// long for it.
    pub pitch: usize,
    pub grid: Grid,
}

impl Parts {
    /// Parts of `width` sums for a pass over rows, or none.
    pub fn new(at: GpuPass<'_>, rows: Rows, width: usize, wanted: bool) -> Result<Self> {
        let grid = rows.grid(at.members);
        if !wanted {
            return Ok(Self {
                span: None,
                width,
                pitch: 0,
                grid,
            });
        }
        let arith = at.stored.arith();
        // the threads of a warp that belong to different rows add in different banks
        let pitch = width + if rows.lanes < 32 { rows.lanes } else { 0 };
        let shared = rows.sets() * pitch * arith.size();
        let (pitch, shared) = if shared > MOST_SHARED {
            (0, 0)
        } else {
            (pitch, shared)
        };
        let turns = grid.blocks[0];
        let blocks = turns
            .div_ceil(8)
            .min(ENOUGH_BLOCKS.div_ceil(at.members))
            .max(1);
        let threads = grid.threads;
        Ok(Self {
            span: Some(at.part(0, blocks * width, arith)?),
            width,
            pitch,
            grid: Grid::blocks(blocks, at.members)
                .with_threads(threads)
                .with_shared(shared),
        })
    }

    /// The parts, for kernels.
    pub fn words(&self) -> Vec<Word> {
        let mut words = span(self.span).to_vec();
        words.push(self.pitch.into());
        words
    }

    /// Writes the sums over blocks, each parameter's times its multiplier.
    pub fn total(&self, at: GpuPass<'_>, grads: &[Span], multipliers: [f64; 2]) -> Result<()> {
        let Some(parts) = self.span else {
            return Ok(());
        };
        let blocks = self.grid.blocks[0];
        part_sums(at, (parts, blocks, self.width), grads, multipliers)
    }
}

/// Sums of `parts [rows, width]` over rows, into one or two gradients side by side.
pub(super) fn part_sums(
    at: GpuPass<'_>,
    (parts, rows, width): (Span, usize, usize),
    grads: &[Span],
    multipliers: [f64; 2],
) -> Result<()> {
    let size = width / grads.len().max(1);
    let (first, second) = (grads.first().copied(), grads.get(1).copied());
    let mut words = [Some(parts), first, second].map(span).concat();
    words.extend_from_slice(words![
        rows,
        size,
        width - size,
        multipliers[0],
        multipliers[1]
    ]);
    let grid = Grid::blocks(width.div_ceil(32), at.members);
    at.gpu
        .launch("norm_part_sums", at.stored.arith(), grid, &words)
}

/// Layer or RMS normalisation of rows.
pub(super) struct RowNorm<'a> {
    pub at: GpuPass<'a>,
    pub kind: &'static str,
    pub gain: GpuParam,
    /// What is added in the end, or its tangent; RMS normalisation has none.
    pub bias: Option<GpuParam>,
}

impl RowNorm<'_> {
    fn rows(&self) -> Rows {
        let size = self.at.input.last().copied().unwrap_or(1);
        Rows::new(self.at.batch * self.at.inputs() / size.max(1), size)
    }

    fn multipliers(&self) -> [f64; 2] {
        [
            self.gain.multiplier,
            self.bias.map_or(1.0, |b| b.multiplier),
        ]
    }

    fn launch(&self, pass: &str, grid: Grid, spans: &[Option<Span>], rest: &[Word]) -> Result<()> {
        let words = [
            &spans.iter().flat_map(|s| span(*s)).collect::<Vec<_>>(),
            rest,
        ]
        .concat();
        self.at.gpu.launch(
            &format!("{}_{pass}", self.kind),
            self.at.stored,
            grid,
            &words,
        )
    }

    pub fn forward(&self, eps: f64, y: Span, saved: Span) -> Result<()> {
        let (rows, [gain_by, bias_by]) = (self.rows(), self.multipliers());
        let bias = self.bias.map(|b| b.value);
        let spans = [
            Some(self.at.x),
            Some(self.gain.value),
            bias,
            Some(y),
            Some(saved),
        ];
        let rest = words![rows.count, rows.size, rows.lanes, gain_by, bias_by, eps];
        self.launch("forward", rows.grid(self.at.members), &spans, rest)
    }

    pub fn backward(&self, saved: Span, gy: Span, grads: &[Span], gx: Option<Span>) -> Result<()> {
        let spans = [
            Some(self.at.x),
            Some(self.gain.value),
            Some(saved),
            Some(gy),
            gx,
        ];
        self.with_sums("backward", &spans, grads, gx)
    }

    pub fn tangent(&self, saved: Span, dgain: GpuParam, dx: Option<Span>, dy: Span) -> Result<()> {
        let (rows, [gain_by, bias_by]) = (self.rows(), self.multipliers());
        let (gain, dgain) = (Some(self.gain.value), Some(dgain.value));
        let dbias = self.bias.map(|b| b.value);
        let spans = [
            Some(self.at.x),
            dx,
            gain,
            dgain,
            dbias,
            Some(saved),
            Some(dy),
        ];
        let rest = words![rows.count, rows.size, rows.lanes, gain_by, bias_by];
        self.launch("tangent", rows.grid(self.at.members), &spans, rest)
    }

    pub fn backward_tangent(
        &self,
        saved: Span,
        (dgain, dx): (GpuParam, Option<Span>),
        (gy, dgy): (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        let (gain, dgain) = (Some(self.gain.value), Some(dgain.value));
        let spans = [
            Some(self.at.x),
            dx,
            gain,
            dgain,
            Some(saved),
            Some(gy),
            Some(dgy),
            dgx,
        ];
        self.with_sums("backward_tangent", &spans, dgrads, dgx)
    }

    /// A pass that sums the parameters' gradients over rows.
    fn with_sums(
        &self,
        pass: &str,
        spans: &[Option<Span>],
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let (rows, wanted) = (self.rows(), !grads.is_empty());
        if !wanted && gx.is_none() {
            return Ok(());
        }
        let parts = Parts::new(self.at, rows, grads.len() * rows.size, wanted)?;
        let mut rest = parts.words();
        rest.extend_from_slice(words![
            rows.count,
            rows.size,
            rows.lanes,
            self.gain.multiplier
        ]);
        self.launch(pass, parts.grid, spans, &rest)?;
        parts.total(self.at, grads, self.multipliers())
    }
}

fn norm<'a>(layer: &LayerNorm, at: GpuPass<'a>, bias: GpuParam) -> Result<RowNorm<'a>> {
    Ok(RowNorm {
        at,
        kind: "layer_norm",
        gain: gpu_param(layer, at.params, 0)?,
        bias: Some(bias),
    })
}

impl GpuPasses for LayerNorm {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        norm(self, at, gpu_param(self, at.params, 1)?)?.forward(self.eps, y, saved)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        norm(self, at, gpu_param(self, at.params, 1)?)?.backward(was.saved, gy, grads, gx)
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let [dgain, dbias] = [0, 1].map(|i| gpu_param(self, tangents.params, i));
        norm(self, at, dbias?)?.tangent(was.saved, dgain?, tangents.x, dy)
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        gradient: (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        let norm = norm(self, at, gpu_param(self, at.params, 1)?)?;
        let moved = (gpu_param(self, tangents.params, 0)?, tangents.x);
        norm.backward_tangent(was.saved, moved, gradient, dgrads, dgx)
    }
}
