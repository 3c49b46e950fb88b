//! The products of patches that a convolution is.

use super::super::layer_norm::{ENOUGH_BLOCKS, span};
use crate::error::{Error, Result};
use crate::gpu::{Gemm, Grid, THREADS, Word, words};
use crate::nn::layers::Conv2d;
use crate::nn::{GpuParam, GpuPass, Span, gpu_param};

/// Bytes of memory that a pass takes, about; examples are worked on in parts that fit.
const MOST_BYTES: usize = 512 << 20;
/// Numbers that a block sums for the bias, at least.
const BLOCK: usize = 4096;
/// Width of the squares that kernels turn, see `kernels/conv.cuh`.
const SQUARE: usize = 32;

/// Where a pass has what it makes.
const PATCHES: usize = 0;
pub const ROWS: usize = 1;
pub const MORE_ROWS: usize = 2;
pub const WEIGHT: usize = 3;
pub const DWEIGHT: usize = 4;
pub const SUMS: usize = 5;

/// Examples that are worked on together, one after another.
#[derive(Clone, Copy)]
pub struct Examples {
    first: usize,
    count: usize,
}

impl Examples {
    /// How much of what earlier ones gave is kept.
    pub fn keep(self) -> f64 {
        if self.first > 0 { 1.0 } else { 0.0 }
    }
}

/// The layer in a pass.
pub struct Conv<'a> {
    pub at: GpuPass<'a>,
    pub layer: &'a Conv2d,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    pub output: [usize; 3],
    /// Inputs of an output pixel.
    fan_in: usize,
    /// Numbers from one patch to the next: rows of whole 16 bytes make products faster.
    distance: usize,
    /// Examples that are worked on together, at most.
    most: usize,
}

impl<'a> Conv<'a> {
    pub fn new(layer: &'a Conv2d, at: GpuPass<'a>) -> Result<Self> {
        let (&[channels, height, width], &[outputs, out_height, out_width]) = (at.input, at.output)
        else {
            return Err(Error::shape(format!(
                "conv2d takes [channels, height, width], not {:?}",
                at.input
            )));
        };
        let fan_in = layer.kernel[0] * layer.kernel[1] * channels / layer.groups;
        let distance = (layer.groups * fan_in).next_multiple_of(8);
        let pixels = out_height * out_width;
        let bytes = at.members * pixels * (distance + 2 * outputs) * at.stored.size();
        // kernels count pixels in 31 bits
        let counted = i32::MAX as usize / (height * width).max(pixels);
        let most = (MOST_BYTES / bytes.max(1))
            .min(counted)
            .clamp(1, at.batch.max(1));
        Ok(Self {
            at,
            layer,
            input: [channels, height, width],
            output: [outputs, out_height, out_width],
            fan_in,
            distance,
            // parts of about equal size
            most: at.batch.div_ceil(at.batch.div_ceil(most).max(1)).max(1),
        })
    }

    /// Pixels of an output.
    pub fn pixels(&self) -> usize {
        self.output[1] * self.output[2]
    }

    /// The batch in parts: one of no example if it is empty.
    pub fn examples(&self) -> impl Iterator<Item = Examples> + use<> {
        let (batch, most) = (self.at.batch, self.most);
        (0..batch.max(1)).step_by(most).map(move |first| Examples {
            first,
            count: most.min(batch - first),
        })
    }

    /// Blocks for so many rows of so many numbers, in squares.
    fn squares(&self, rows: usize, width: usize) -> Grid {
        Grid {
            // some squares for a block, one after another
            blocks: [
                rows.div_ceil(SQUARE),
                self.at.members,
                width.div_ceil(4 * SQUARE),
            ],
            threads: THREADS,
            shared: 0,
        }
    }

    /// `ConvSizes`.
    fn sizes(&self, examples: Examples) -> Vec<Word> {
        let ([channels, height, width], [_, out_height, out_width]) = (self.input, self.output);
        let layer = self.layer;
        words![
            examples.count,
            channels,
            height,
            width,
            out_height,
            out_width,
            layer.kernel[0],
            layer.kernel[1],
            layer.stride[0],
            layer.stride[1],
            layer.padding[0],
            layer.padding[1],
            layer.groups
        ]
        .to_vec()
    }

    /// The patches of these examples of `x`, `[examples · pixels, groups · fan in]` at [`Conv::distance`].
    pub fn patches(&self, x: Span, examples: Examples) -> Result<Span> {
        let at = self.at;
        let numbers = self.most * self.pixels() * self.distance;
        let patches = at.part(PATCHES, numbers, at.stored)?;
        let x = x.from(examples.first * at.inputs(), at.stored);
        let mut words = [x, patches].map(|s| span(Some(s))).concat();
        words.push(self.distance.into());
        words.extend(self.sizes(examples));
        let grid = self.squares(
            examples.count * self.pixels(),
            self.layer.groups * self.fan_in,
        );
        at.gpu.launch("conv_patches", at.stored, grid, &words)?;
        Ok(patches)
    }

    /// Memory for outputs by pixels, `[examples · pixels, outputs]`.
    pub fn rows(&self, part: usize) -> Result<Span> {
        let numbers = self.most * self.pixels() * self.output[0];
        self.at.part(part, numbers, self.at.stored)
    }

    /// These examples of `y` by pixels: patches of one pixel.
    pub fn pixel_rows(&self, y: Span, examples: Examples, part: usize) -> Result<Span> {
        let (at, [outputs, height, width]) = (self.at, self.output);
        let rows = self.rows(part)?;
        let y = y.from(examples.first * at.outputs(), at.stored);
        let mut words = [y, rows].map(|s| span(Some(s))).concat();
        words.extend_from_slice(words![
            outputs,
            examples.count,
            outputs,
            height,
            width,
            height,
            width,
            1usize,
            1usize,
            1usize,
            1usize,
            0usize,
            0usize,
            1usize
        ]);
        let grid = self.squares(examples.count * self.pixels(), outputs);
        at.gpu.launch("conv_patches", at.stored, grid, &words)?;
        Ok(rows)
    }

    /// The filters as products read them; `part` is where a copy goes.
    pub fn weight(&self, w: GpuParam, part: usize) -> Result<Span> {
        let numbers = self.fan_in * self.output[0];
        self.at.factor(w, part, numbers)
    }

    /// The parts of patches, outputs by pixels and filters that belong to a group, and the outputs of it.
    fn group(&self, group: usize, patches: Span, rows: Span) -> (Span, Span, usize) {
        let outputs = self.output[0] / self.layer.groups;
        let stored = self.at.stored;
        (
            patches.from(group * self.fan_in, stored),
            rows.from(group * outputs, stored),
            outputs,
        )
    }

    /// `rows = patches · filters`, plus `keep` times what is there.
    pub fn forward(
        &self,
        (patches, examples): (Span, Examples),
        (w, by): (Span, f64),
        rows: Span,
        keep: f64,
    ) -> Result<()> {
        let (at, width) = (self.at, self.output[0]);
        for group in 0..self.layer.groups {
            let (patches, rows, outputs) = self.group(group, patches, rows);
            let w = w.from(group * outputs, at.stored).matrix(at.stored, width);
            let size = [examples.count * self.pixels(), outputs, self.fan_in];
            let (from, to) = (
                patches.matrix(at.stored, self.distance),
                rows.matrix(at.stored, width),
            );
            let product = Gemm::new(size, at.members, from, w, to);
            at.gpu.gemm(&product.times(by).plus(keep))?;
        }
        Ok(())
    }

    /// `gw = patchesᵀ · rows`, plus `keep` times what is there.
    pub fn weight_gradient(
        &self,
        (patches, examples): (Span, Examples),
        rows: Span,
        (gw, by): (Span, f64),
        keep: f64,
    ) -> Result<()> {
        let (at, width, arith) = (self.at, self.output[0], self.at.stored.arith());
        for group in 0..self.layer.groups {
            let (patches, rows, outputs) = self.group(group, patches, rows);
            let gw = gw.from(group * outputs, arith).matrix(arith, width);
            let size = [self.fan_in, outputs, examples.count * self.pixels()];
            let (from, rows) = (
                patches.matrix(at.stored, self.distance),
                rows.matrix(at.stored, width),
            );
            let product = Gemm::new(size, at.members, from.t(), rows, gw);
            at.gpu.gemm(&product.times(by).plus(keep))?;
        }
        Ok(())
    }

    /// `patches = rows · filtersᵀ`, plus `keep` times what is there; returns the patches.
    pub fn input(
        &self,
        (rows, examples): (Span, Examples),
        (w, by): (Span, f64),
        keep: f64,
    ) -> Result<Span> {
        let (at, width) = (self.at, self.output[0]);
        let numbers = self.most * self.pixels() * self.distance;
        let all = at.part(PATCHES, numbers, at.stored)?;
        for group in 0..self.layer.groups {
            let (patches, rows, outputs) = self.group(group, all, rows);
            let w = w.from(group * outputs, at.stored).matrix(at.stored, width);
            let size = [examples.count * self.pixels(), self.fan_in, outputs];
            let (rows, to) = (
                rows.matrix(at.stored, width),
                patches.matrix(at.stored, self.distance),
            );
            let product = Gemm::new(size, at.members, rows, w.t(), to);
            at.gpu.gemm(&product.times(by).plus(keep))?;
        }
        Ok(all)
    }

    /// What patches make of these examples of `x`.
    pub fn images(&self, patches: Span, examples: Examples, x: Span) -> Result<()> {
        let (at, [channels, height, width]) = (self.at, self.input);
        let x = x.from(examples.first * at.inputs(), at.stored);
        let mut words = [patches, x].map(|s| span(Some(s))).concat();
        words.push(self.distance.into());
        words.extend(self.sizes(examples));
        let grid = self.squares(examples.count * height * width, channels);
        at.gpu.launch("conv_images", at.stored, grid, &words)
    }

    /// These examples of `y` from outputs by pixels, with the bias.
    pub fn outputs(
        &self,
        rows: Span,
        examples: Examples,
        bias: Option<GpuParam>,
        y: Span,
    ) -> Result<()> {
        let at = self.at;
        let y = y.from(examples.first * at.outputs(), at.stored);
        let mut words = [Some(rows), bias.map(|b| b.value), Some(y)]
            .map(span)
            .concat();
        let multiplier = bias.map_or(1.0, |b| b.multiplier);
        let width = self.output[0];
        words.extend_from_slice(words![examples.count, width, self.pixels(), multiplier]);
        let grid = self.squares(examples.count * self.pixels(), width);
        at.gpu.launch("conv_outputs", at.stored, grid, &words)
    }

    /// The gradient of the bias, if it is wanted, from that of the outputs.
    pub fn bias_gradient(&self, gy: Span, grads: &[Span]) -> Result<()> {
        let Some(&gb) = grads.get(1) else {
            return Ok(());
        };
        let (at, channels, pixels) = (self.at, self.output[0], self.pixels());
        let arith = at.stored.arith();
        let enough = ENOUGH_BLOCKS.div_ceil((channels * at.members).max(1));
        let runs = enough
            .min(at.batch * pixels / BLOCK)
            .clamp(1, at.batch.max(1));
        let run = at.batch.div_ceil(runs).max(1);
        let runs = at.batch.div_ceil(run);
        let parts = at.part(SUMS, runs * channels, arith)?;
        let mut words = [gy, parts].map(|s| span(Some(s))).concat();
        words.extend_from_slice(words![at.batch, channels, pixels, run]);
        let grid = Grid::blocks(runs * channels, at.members);
        at.gpu
            .launch("conv_channel_parts", at.stored, grid, &words)?;
        let at = GpuPass {
            stored: arith,
            ..at
        };
        let multiplier = gpu_param(self.layer, at.params, 1)?.multiplier;
        super::super::linear::column_sums(at, [runs, channels], parts, multiplier, gb)
    }

    /// The bias among the parameters or their tangents, if the layer has one.
    pub fn bias(&self, params: &[GpuParam]) -> Result<Option<GpuParam>> {
        (self.layer.bias)
            .then(|| gpu_param(self.layer, params, 1))
            .transpose()
    }
}
