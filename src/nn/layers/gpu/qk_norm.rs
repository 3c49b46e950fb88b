//! Normalisation of queries and keys on GPUs.

use super::layer_norm::{Parts, Rows, span};
use crate::error::Result;
use crate::gpu::{Grid, Word, words};
use crate::nn::layers::QkNorm;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

/// The layer in a pass. A position's segments of `head_size` numbers are rows.
struct Norm<'a> {
    at: GpuPass<'a>,
    positions: usize,
    heads: usize,
    size: usize,
    /// Queries', keys'.
    gains: [Option<Span>; 2],
    multipliers: [f64; 2],
}

impl<'a> Norm<'a> {
    fn new(layer: &QkNorm, at: GpuPass<'a>) -> Result<Self> {
        let [positions, columns] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(0));
        let (query, key) = (
            gpu_param(layer, at.params, 0)?,
            gpu_param(layer, at.params, 1)?,
        );
        Ok(Self {
            at,
            positions: at.batch * positions,
            heads: columns / (3 * layer.head_size).max(1),
            size: layer.head_size,
            gains: [Some(query.value), Some(key.value)],
            multipliers: [query.multiplier, key.multiplier],
        })
    }

    fn rows(&self) -> Rows {
        Rows::new(self.positions * 3 * self.heads, self.size)
    }

    fn launch(&self, pass: &str, grid: Grid, spans: &[Option<Span>], rest: &[Word]) -> Result<()> {
        let mut words: Vec<Word> = spans.iter().flat_map(|s| span(*s)).collect();
        words.extend_from_slice(rest);
        self.at
            .gpu
            .launch(&format!("qk_norm_{pass}"), self.at.stored, grid, &words)
    }

    /// Sizes and multipliers, as all passes have them in the end.
    fn sizes(&self) -> Vec<Word> {
        let [query_by, key_by] = self.multipliers;
        let lanes = self.rows().lanes;
        words![
            self.positions,
            self.heads,
            self.size,
            lanes,
            query_by,
            key_by
        ]
        .to_vec()
    }

    /// A pass that sums the gradients of the gains over rows.
    fn with_sums(
        &self,
        pass: &str,
        spans: &[Option<Span>],
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        if grads.is_empty() && gx.is_none() {
            return Ok(());
        }
        let parts = Parts::new(self.at, self.rows(), 2 * self.size, !grads.is_empty())?;
        let rest = [parts.words(), self.sizes()].concat();
        self.launch(pass, parts.grid, spans, &rest)?;
        parts.total(self.at, grads, self.multipliers)
    }
}

/// Tangents of both gains.
fn dgains(layer: &QkNorm, tangents: GpuTangents<'_>) -> Result<[Option<Span>; 2]> {
    let tangent = |i| gpu_param(layer, tangents.params, i).map(|d| Some(d.value));
    Ok([tangent(0)?, tangent(1)?])
}

impl GpuPasses for QkNorm {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        let norm = Norm::new(self, at)?;
        let [query, key] = norm.gains;
        let mut rest = norm.sizes();
        rest.push(self.eps.into());
        let grid = norm.rows().grid(at.members);
        norm.launch(
            "forward",
            grid,
            &[Some(at.x), query, key, Some(y), Some(saved)],
            &rest,
        )
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
        let [query, key] = norm.gains;
        let spans = [Some(at.x), query, key, Some(was.saved), Some(gy), gx];
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
        let ([query, key], [dquery, dkey]) = (norm.gains, dgains(self, tangents)?);
        let (dx, saved) = (tangents.x, Some(was.saved));
        let spans = [Some(at.x), dx, query, key, dquery, dkey, saved, Some(dy)];
        norm.launch(
            "tangent",
            norm.rows().grid(at.members),
            &spans,
            &norm.sizes(),
        )
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
        let ([query, key], [dquery, dkey]) = (norm.gains, dgains(self, tangents)?);
        let (dx, saved) = (tangents.x, Some(was.saved));
        let (gy, dgy) = (Some(gy), Some(dgy));
        let spans = [
            Some(at.x),
            dx,
            query,
            key,
            dquery,
            dkey,
            saved,
            gy,
            dgy,
            dgx,
        ];
        norm.with_sums("backward_tangent", &spans, dgrads, dgx)
    }
}
