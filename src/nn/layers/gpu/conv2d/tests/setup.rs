//! Numbers of a convolution, and what the CPU makes of them in f64.

use half::bf16;

use crate::gpu::{Gpu, Stored, Workspace};
use crate::nn::layers::Conv2d;
use crate::nn::{GpuParam, GpuPass, Span};
use crate::tensor::conv::{self, Sizes};
use crate::tensor::rng::Key;

pub const WEIGHT: f64 = 0.75;
const BIAS: f64 = 1.25;

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub members: usize,
    pub batch: usize,
    /// Channels, height and width.
    pub input: [usize; 3],
    pub layer: Conv2d,
    /// Whether members share the input, and the filters.
    pub shared: bool,
}

/// Numbers that bf16 has.
fn numbers(name: &str, n: usize) -> Vec<f64> {
    let mut rng = Key::new(5).label(name).rng();
    let rounded = |x: f64| bf16::from_f64(x).to_f64();
    (0..n).map(|_| rounded(rng.normal())).collect()
}

fn narrow(numbers: &[f64]) -> Vec<bf16> {
    numbers.iter().map(|&x| bf16::from_f64(x)).collect()
}

fn single(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

fn absolute(numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|x| x.abs()).collect()
}

pub fn span<T>(numbers: &[T], stride: usize) -> Span {
    let at = numbers.as_ptr() as u64;
    Span { at, stride }
}

/// Numbers of a result with those of the same sums over absolute values, which bound what rounding does.
pub struct Wanted {
    pub numbers: Vec<f64>,
    pub sizes: Vec<f64>,
}

pub struct Setup {
    pub case: Case,
    output: [usize; 3],
    x: Vec<f64>,
    gy: Vec<f64>,
    w: Vec<f64>,
    bias: Vec<f64>,
    narrow_x: Vec<bf16>,
    pub narrow_gy: Vec<bf16>,
    single_w: Vec<f32>,
    single_bias: Vec<f32>,
    gpu: Gpu,
    pub workspace: Workspace,
}

impl Setup {
    pub fn new(case: Case) -> Self {
        let [height, width] = Self::sizes(&case).checked_output().unwrap();
        let (layer, output) = (case.layer, [case.layer.outputs, height, width]);
        let own = if case.shared { 1 } else { case.members };
        let [channels, ..] = case.input;
        let fan_in = layer.kernel[0] * layer.kernel[1] * channels / layer.groups;
        let x = numbers("x", own * case.batch * case.input.iter().product::<usize>());
        let gy = numbers(
            "gy",
            case.members * case.batch * output.iter().product::<usize>(),
        );
        let w = numbers("w", own * fan_in * layer.outputs);
        let bias = numbers("bias", case.members * layer.outputs);
        Self {
            narrow_x: narrow(&x),
            narrow_gy: narrow(&gy),
            single_w: single(&w),
            single_bias: single(&bias),
            gpu: Gpu::emulated(),
            workspace: Workspace::default(),
            case,
            output,
            x,
            gy,
            w,
            bias,
        }
    }

    fn sizes(case: &Case) -> Sizes {
        let ([inputs, height, width], layer) = (case.input, case.layer);
        Sizes {
            batch: case.batch,
            inputs,
            outputs: layer.outputs,
            image: [height, width],
            kernel: layer.kernel,
            stride: layer.stride,
            padding: layer.padding,
            groups: layer.groups,
        }
    }

    fn stride(&self, numbers: usize) -> usize {
        if self.case.shared { 0 } else { numbers }
    }

    pub fn params(&self) -> [GpuParam; 2] {
        let outputs = self.case.layer.outputs;
        let w = self.stride(
            self.w.len()
                / if self.case.shared {
                    1
                } else {
                    self.case.members
                },
        );
        [
            GpuParam {
                value: span(&self.single_w, w),
                multiplier: WEIGHT,
            },
            GpuParam {
                value: span(&self.single_bias, outputs),
                multiplier: BIAS,
            },
        ]
    }

    pub fn pass<'a>(&'a self, params: &'a [GpuParam]) -> GpuPass<'a> {
        let inputs = self.case.batch * self.case.input.iter().product::<usize>();
        GpuPass {
            gpu: &self.gpu,
            workspace: &self.workspace,
            stored: Stored::Bf16,
            members: self.case.members,
            batch: self.case.batch,
            input: &self.case.input,
            output: &self.output,
            params,
            x: span(&self.narrow_x, self.stride(inputs)),
            raw: None,
            training: true,
            noise: None,
        }
    }

    /// A member's part of numbers that may be shared.
    fn of<'a>(&self, all: &'a [f64], member: usize) -> &'a [f64] {
        if self.case.shared {
            return all;
        }
        let n = all.len() / self.case.members;
        &all[member * n..][..n]
    }

    /// What `f` makes for each member of `[x, gy, w]`, and of their absolute values.
    fn wanted(&self, n: usize, f: impl Fn(&[f64], &[f64], &[f64], &mut [f64])) -> Wanted {
        let sums = |[x, gy, w]: [&Vec<f64>; 3]| {
            let mut all = vec![0.0; self.case.members * n];
            for (member, to) in all.chunks_mut(n).enumerate() {
                let m = gy.len() / self.case.members;
                let gy = &gy[member * m..][..m];
                f(self.of(x, member), gy, self.of(w, member), to);
            }
            all
        };
        let [x, gy, w] = [&self.x, &self.gy, &self.w].map(|v| absolute(v));
        Wanted {
            numbers: sums([&self.x, &self.gy, &self.w]),
            sizes: sums([&x, &gy, &w]),
        }
    }

    pub fn wanted_output(&self) -> Wanted {
        let sizes = Self::sizes(&self.case);
        let [outputs, height, width] = self.output;
        let pixels = height * width;
        let mut wanted = self.wanted(self.case.batch * outputs * pixels, |x, _, w, y| {
            conv::forward(&sizes, x, (w, WEIGHT), y, false);
        });
        if self.case.layer.bias {
            for (i, (y, size)) in (wanted.numbers.iter_mut())
                .zip(&mut wanted.sizes)
                .enumerate()
            {
                let member = i / (self.case.batch * outputs * pixels);
                let bias = BIAS * self.bias[member * outputs + i / pixels % outputs];
                *y += bias;
                *size += bias.abs();
            }
        }
        wanted
    }

    pub fn wanted_input(&self) -> Wanted {
        let sizes = Self::sizes(&self.case);
        let n = self.case.batch * self.case.input.iter().product::<usize>();
        self.wanted(n, |_, gy, w, gx| {
            conv::input_gradient(&sizes, gy, (w, WEIGHT), gx, false);
        })
    }

    pub fn wanted_weight(&self) -> Wanted {
        let sizes = Self::sizes(&self.case);
        let n = self.weights();
        self.wanted(n, |x, gy, _, gw| {
            conv::weight_gradient(&sizes, x, gy, (gw, WEIGHT), false);
        })
    }

    /// Numbers of a member's filters.
    pub fn weights(&self) -> usize {
        let own = if self.case.shared {
            1
        } else {
            self.case.members
        };
        self.w.len() / own
    }

    pub fn wanted_bias(&self) -> Wanted {
        let [outputs, height, width] = self.output;
        self.wanted(outputs, |_, gy, _, gb| {
            for (i, gy) in gy.chunks(height * width).enumerate() {
                gb[i % outputs] += BIAS * gy.iter().sum::<f64>();
            }
        })
    }
}
