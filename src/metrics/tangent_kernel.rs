//! Empirical neural tangent kernels of all pairs of outputs, of random combinations of them, and in the
//! units of the learning rates; in blocks of points where one pass does not fit into memory.

use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::memory::{self, Need};
use crate::model::Model;
use crate::nn::{Combinations, Gradients};
use crate::parametrization::OptimizerFamily;
use crate::tensor::elem::{dispatch, read, write};
use crate::tensor::elementwise::{accumulate, scale};
use crate::tensor::rng::Key;

/// Blocks that a kernel is made of at most, where their size is not given: each is run once with every
/// other, so that more of them take longer than anybody means to wait.
const BLOCKS: usize = 16;

fn least_block(points: usize) -> usize {
    points.div_ceil(BLOCKS)
}

/// What a kernel says about the outputs of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NtkOutputs {
    /// Their sum, `Σ_o ⟨∂f_o(x_i), ∂f_o(x_j)⟩`.
    #[default]
    Trace,
    /// Every pair of them.
    Full,
    /// The mean over random directions `v` with entries ±1 of `⟨∂(v·f)(x_i), ∂(v·f)(x_j)⟩`, an unbiased
    /// estimate of the trace (Hutchinson 1989).
    Projected {
        /// How many directions.
        projections: usize,
        /// Seed of the directions, which members share.
        seed: u64,
    },
}

/// Settings of [`tangent_kernel`].
#[derive(Debug, Clone, Copy, Default)]
pub struct NtkSettings {
    /// What is measured of the outputs.
    pub outputs: NtkOutputs,
    /// Whether each parameter's part is multiplied with the factor that the parametrization gives the
    /// learning rate of gradient descent there.
    pub learning_rates: bool,
    /// Points of a block; `None` takes as many as fit into memory, a sixteenth of all at
    /// least.
    pub block: Option<usize>,
}

/// Memory that a kernel needs, before it is made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NtkMemory {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of the kernel that is given back.
    pub kernel: u64,
    /// Bytes that are there now; `None` where the system does not say.
    pub available: Option<u64>,
    /// Points of a block: all of them where one pass fits.
    pub block: usize,
    /// The same in words.
    pub text: String,
}

/// Each member's neural tangent kernel on `inputs [points, …]`, or between `inputs` and `others`, on the
/// CPU in the model's element type: `[members, points, points]` or `[members, points, others]`; with
/// [`NtkOutputs::Full`] each point has a row and a column for every output, `point · outputs + output`
/// (outputs of a network with positions count position by position).
///
/// With [`NtkSettings::learning_rates`] it is `Σ_p (η_p/η) ⟨∂f/∂p, ∂f/∂p⟩` for the learning rates `η_p` that
/// the parametrization makes of `η` under SGD, so that a step of gradient flow changes the outputs by
/// `df/dt = −η K ∂L/∂f` whatever the form of the parametrization. The network is that of evaluation.
///
/// Layers contract inputs and back-propagated signals as for [`ntk`](super::ntk()); for all pairs of
/// outputs every point takes part once for each output. Where all points do not fit into memory, or
/// [`NtkSettings::block`] is given, the kernel is made of blocks of points: two at a time, four times the
/// arithmetic.
///
/// # Errors
/// If the inputs do not fit the network, there are none, a setting is 0, or the
/// kernel and blocks of a sixteenth of its points, or of those of the settings, do not fit into memory.
pub fn tangent_kernel(
    model: &Model,
    inputs: &Tensor,
    others: Option<&Tensor>,
    settings: NtkSettings,
) -> Result<Tensor> {
    let job = Job::new(model, settings)?;
    let inputs = job.shaped(inputs)?;
    let others = others.map(|o| job.shaped(o)).transpose()?;
    let sizes = (inputs.dims()[0], others.as_ref().map(|o| o.dims()[0]));
    let block = job.block(sizes)?;
    job.check(sizes, block)?;
    match others {
        None if block >= sizes.0 => job.tile(&inputs),
        None => job.square(&inputs, block),
        Some(others) => job.between(&inputs, &others, block),
    }
}

/// The memory that [`tangent_kernel`] needs for so many points, and the blocks it takes.
///
/// # Errors
/// As for [`tangent_kernel`]; not if it does not fit.
pub fn tangent_kernel_memory(
    model: &Model,
    points: usize,
    others: Option<usize>,
    settings: NtkSettings,
) -> Result<NtkMemory> {
    let job = Job::new(model, settings)?;
    if points == 0 || others == Some(0) {
        return Err(empty());
    }
    let block = job.block((points, others))?;
    let needs = job.needs((points, others), block)?;
    let (bytes, kernel) = (memory::total(&needs), job.result(points, others).bytes());
    let available = model.place().available();
    let there = available.map_or(String::new(), |a| {
        format!(", {} are available", memory::readable(a))
    });
    let way = match block >= points {
        true => "in one pass".to_owned(),
        false => format!("in blocks of {block} points"),
    };
    let [bytes_u64, kernel_u64] = [bytes, kernel].map(|b| u64::try_from(b).unwrap_or(u64::MAX));
    Ok(NtkMemory {
        bytes: bytes_u64,
        kernel: kernel_u64,
        available: available.map(|a| u64::try_from(a).unwrap_or(u64::MAX)),
        block,
        text: format!(
            "a kernel on {points} points needs {} {way}{there}",
            memory::readable(bytes)
        ),
    })
}

/// The factors of the learning rates of gradient descent, one for each parameter; 0 for what is not
/// trained.
pub(super) fn learning_rates(model: &Model) -> Result<Vec<f64>> {
    let params = model
        .params()
        .iter()
        .zip(model.scales(OptimizerFamily::Sgd)?);
    let factor = params.map(|(p, scales)| match p.info.kind.is_trained() {
        true => scales.lr,
        false => 0.0,
    });
    Ok(factor.collect())
}

/// A kernel that is to be made.
struct Job<'a> {
    model: &'a Model,
    settings: NtkSettings,
    /// Outputs of one point.
    outputs: usize,
    /// Rows of one point.
    rows: usize,
    /// For every parameter the number of its factor.
    slots: Vec<usize>,
    /// The factors that there are, each with a kernel of its own.
    factors: Vec<f64>,
}

impl<'a> Job<'a> {
    fn new(model: &'a Model, settings: NtkSettings) -> Result<Self> {
        if settings.block == Some(0) {
            return Err(Error::setting("block must be at least 1"));
        }
        if let NtkOutputs::Projected { projections: 0, .. } = settings.outputs {
            return Err(Error::setting("projections must be at least 1"));
        }
        let outputs = model.rows(1) * model.outputs();
        let (mut slots, mut factors) = (vec![0; model.params().len()], vec![1.0]);
        if settings.learning_rates {
            factors.clear();
            for (slot, rate) in slots.iter_mut().zip(learning_rates(model)?) {
                let known = factors.iter().position(|f| *f == rate);
                *slot = known.unwrap_or_else(|| {
                    factors.push(rate);
                    factors.len() - 1
                });
            }
        }
        Ok(Self {
            model,
            settings,
            outputs,
            rows: match settings.outputs {
                NtkOutputs::Full => outputs,
                NtkOutputs::Trace | NtkOutputs::Projected { .. } => 1,
            },
            slots,
            factors,
        })
    }

    fn shaped(&self, inputs: &Tensor) -> Result<Tensor> {
        let inputs = self.model.shaped(inputs)?;
        if inputs.dims()[0] == 0 {
            return Err(empty());
        }
        Ok(inputs.to_device(&Device::Cpu)?)
    }

    fn result(&self, points: usize, others: Option<usize>) -> Need {
        Need {
            name: "the kernel".into(),
            shape: vec![
                self.model.members(),
                points * self.rows,
                others.unwrap_or(points) * self.rows,
            ],
            number: self.model.dtype().size_in_bytes(),
        }
    }

    /// What a pass over so many points needs.
    fn pass_needs(&self, points: usize) -> Result<Vec<Need>> {
        let signals = match self.settings.outputs {
            NtkOutputs::Trace => None,
            NtkOutputs::Full => Some(1),
            NtkOutputs::Projected { projections, .. } => Some(projections),
        };
        let (batch, count) = (points * self.rows, self.factors.len());
        let mut needs = self.model.kernel_needs(batch, count, signals)?;
        if self.rows > 1 {
            let input: usize = self.model.input().iter().product();
            needs.push(Need {
                name: "inputs and combinations of outputs".into(),
                shape: vec![batch, input + self.outputs],
                number: 8,
            });
        }
        Ok(needs)
    }

    /// Points of a pass over blocks of so many.
    fn at_once(&self, (points, others): (usize, Option<usize>), block: usize) -> usize {
        match others {
            Some(others) => block.min(points) + block.min(others),
            None if block >= points => points,
            None => (2 * block).min(points),
        }
    }

    fn needs(&self, sizes: (usize, Option<usize>), block: usize) -> Result<Vec<Need>> {
        let mut needs = self.pass_needs(self.at_once(sizes, block))?;
        if block < sizes.0 || sizes.1.is_some() {
            needs.push(self.result(sizes.0, sizes.1));
        }
        Ok(needs)
    }

    /// Points of a block: those of the settings, or as many as fit.
    fn block(&self, sizes: (usize, Option<usize>)) -> Result<usize> {
        let all = sizes.0.max(sizes.1.unwrap_or(0));
        if let Some(block) = self.settings.block {
            return Ok(block.min(all));
        }
        let Some(available) = self.model.place().available() else {
            return Ok(all);
        };
        if memory::total(&self.needs(sizes, all)?) <= available {
            return Ok(all);
        }
        let bytes = |block| Some(memory::total(&self.needs(sizes, block).ok()?));
        let most = match sizes.1 {
            Some(_) => all,
            None => all.div_ceil(2),
        };
        Ok(memory::largest(most, available, bytes).max(least_block(all)))
    }

    fn check(&self, sizes: (usize, Option<usize>), block: usize) -> Result<()> {
        let needs = self.needs(sizes, block)?;
        memory::check_on(self.model.place(), "a kernel", &needs, |available| {
            let bytes = |n: usize| {
                let sizes = (n, sizes.1.map(|o| o.min(n)));
                let block = self.settings.block.unwrap_or(least_block(n)).min(n);
                Some(memory::total(&self.needs(sizes, block).ok()?))
            };
            let points = sizes.0;
            let fits = memory::largest(points, available, bytes);
            match self.rows > 1 {
                true => format!(
                    "a kernel on {fits} of {points} points would fit; outputs: \"trace\" needs less"
                ),
                false => format!("a kernel on {fits} of {points} points would fit"),
            }
        })
    }

    /// The combinations of outputs of a pass over `batch` rows.
    fn combinations(&self, batch: usize) -> Option<Vec<f64>> {
        match self.settings.outputs {
            NtkOutputs::Trace => None,
            NtkOutputs::Full => {
                let mut all = vec![0.0; batch * self.outputs];
                for (row, numbers) in all.chunks_exact_mut(self.outputs.max(1)).enumerate() {
                    numbers[row % self.outputs] = 1.0;
                }
                Some(all)
            }
            NtkOutputs::Projected { projections, seed } => {
                let mut rng = Key::new(seed).label("output directions").rng();
                let size = 1.0 / (projections as f64).sqrt();
                let sign = |bit: u64| if bit == 0 { -size } else { size };
                let all = (0..projections * self.outputs).map(|_| sign(rng.below(2)));
                Some(all.collect())
            }
        }
    }

    /// The kernel of some points with themselves.
    fn tile(&self, inputs: &Tensor) -> Result<Tensor> {
        let (model, points) = (self.model, inputs.dims()[0]);
        let batch = points * self.rows;
        let inputs = match self.rows {
            1 => inputs.clone(),
            rows => {
                let each = &inputs.dims()[1..];
                let repeated = [&[points, rows], each].concat();
                let inputs = inputs.unsqueeze(1)?.broadcast_as(repeated)?.contiguous()?;
                inputs.reshape([&[batch], each].concat())?
            }
        };
        let plan = model.plan(batch, Gradients::None)?;
        plan.forward(&model.values(), &inputs)?;
        let dims = [model.members(), batch, batch];
        let zeros = || memory::zeros("kernels", &dims, model.dtype(), model.place().device());
        let kernels = (self.factors.iter().map(|_| zeros())).collect::<Result<Vec<_>>>()?;
        let numbers = self.combinations(batch);
        let combinations = match (&numbers, self.settings.outputs) {
            (Some(all), NtkOutputs::Full) => Combinations::OfExamples(all),
            (Some(all), _) => Combinations::Directions(all),
            (None, _) => Combinations::Each,
        };
        plan.ntk_of(&model.values(), &kernels, &self.slots, combinations)?;
        let mut parts = kernels.iter().zip(&self.factors);
        let Some((first, factor)) = parts.next() else {
            return zeros();
        };
        let sum = first.to_device(&Device::Cpu)?;
        dispatch!(sum, T => write(&sum, |sum: &mut [T]| {
            scale(sum, *factor);
            parts.try_for_each(|(part, factor)| {
                let part = part.to_device(&Device::Cpu)?;
                read(&part, |part: &[T]| {
                    accumulate(sum, part, *factor);
                    Ok(())
                })
            })
        }))?;
        Ok(sum)
    }

    fn square(&self, inputs: &Tensor, block: usize) -> Result<Tensor> {
        let points = inputs.dims()[0];
        let result = self.zeros(points, None)?;
        let blocks: Vec<_> = (0..points).step_by(block).collect();
        let of = |start: usize| inputs.narrow(0, start, block.min(points - start));
        for (i, &a) in blocks.iter().enumerate() {
            let xa = of(a)?;
            for &b in &blocks[i + 1..] {
                let xb = of(b)?;
                let part = self.corner(&xa, &xb)?;
                self.place(&result, &part, (a, b))?;
                self.place(&result, &part.transpose(1, 2)?.contiguous()?, (b, a))?;
            }
            self.place(&result, &self.tile(&xa)?, (a, a))?;
        }
        Ok(result)
    }

    fn between(&self, inputs: &Tensor, others: &Tensor, block: usize) -> Result<Tensor> {
        let (n, m) = (inputs.dims()[0], others.dims()[0]);
        if block >= n.max(m) {
            return self.corner(inputs, others);
        }
        let result = self.zeros(n, Some(m))?;
        for a in (0..n).step_by(block) {
            let xa = inputs.narrow(0, a, block.min(n - a))?;
            for b in (0..m).step_by(block) {
                let xb = others.narrow(0, b, block.min(m - b))?;
                self.place(&result, &self.corner(&xa, &xb)?, (a, b))?;
            }
        }
        Ok(result)
    }

    /// The kernel between two sets of points, out of that of both together.
    fn corner(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (n, m) = (a.dims()[0] * self.rows, b.dims()[0] * self.rows);
        let dtype = self.model.dtype();
        let both = Tensor::cat(&[a.to_dtype(dtype)?, b.to_dtype(dtype)?], 0)?;
        let whole = self.tile(&both)?;
        Ok(whole.narrow(1, 0, n)?.narrow(2, n, m)?.contiguous()?)
    }

    fn zeros(&self, points: usize, others: Option<usize>) -> Result<Tensor> {
        let need = self.result(points, others);
        memory::zeros(&need.name, &need.shape, self.model.dtype(), &Device::Cpu)
    }

    /// Writes a block of the kernel that starts at these points.
    fn place(&self, result: &Tensor, part: &Tensor, at: (usize, usize)) -> Result<()> {
        let (rows, columns) = (result.dims()[1], result.dims()[2]);
        let (height, width) = (part.dims()[1], part.dims()[2]);
        let (top, left) = (at.0 * self.rows, at.1 * self.rows);
        dispatch!(result, T => write(result, |to: &mut [T]| read(part, |from: &[T]| {
            let members = to
                .chunks_exact_mut(rows * columns)
                .zip(from.chunks_exact(height * width));
            for (to, from) in members {
                let to = to[top * columns..].chunks_mut(columns);
                for (to, from) in to.zip(from.chunks_exact(width)) {
                    to[left..left + width].copy_from_slice(from);
                }
            }
            Ok(())
        })))
    }
}

fn empty() -> Error {
    Error::shape("a kernel needs at least one input")
}
