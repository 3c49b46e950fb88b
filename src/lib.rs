//! `widthwise`: a scripting host for research on wide neural networks.
//!
//! Networks of many widths are trained on the same data, as ensembles, and compared: do loss curves
//! and predictions agree? The core is an ordinary library; [`script`] makes it a language.
//!
//! # Layers
//! Each module uses only those above it in this list; nothing above [`script`] knows that the Rhai
//! language exists.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`error`], [`interrupt`], [`atomic_file`], [`memory`] | the error type; the flag that Ctrl-C raises; files written wholly or not at all; what fits into memory |
//! | [`gpu`] | GPUs: kernels, matrix products, memory; the emulator that tests run kernels in |
//! | [`tensor`] | fused operations over members, on candle tensors; keyed random numbers |
//! | [`nn`] | layers, network descriptions, roles, plans |
//! | [`parametrization`] | one table of scales per file |
//! | [`model`] | a network with parameters: initial values, prediction, explanation |
//! | [`optim`] | optimizers and schedules |
//! | [`data`] | streams |
//! | [`metrics`] | losses, agreement, bias and variance, curvature, kernels, statistics |
//! | [`train`] | trainer, probes, record |
//! | [`mod@bench`] | measuring speed and comparing it |
//! | [`plot`] | figures |
//! | [`script`] | the host: engine, settings, modules, messages; `script::api` binds, it does not compute |
//! | [`repl`], [`cli`] | the ways in |
//!
//! `model` is a folder of its own because trainers, metrics and probes all look at models; `metrics`
//! stands before `train` because probes are metrics taken during training.
//!
//! # Decisions
//! **Layers own their passes.** A network is compiled into a [`nn::Plan`]: operations in order over
//! buffers made once, each with a hand-written forward, backward and tangent pass ([`nn::Passes`]). The
//! alternative was fused candle custom ops under candle's autograd. Both were built as prototypes over
//! the same kernels, so that the frame alone differs, and measured in turns in one process (two AVX2
//! cores, 2026-11-25; training steps per second, in brackets the MB allocated by a step):
//!
//! | work | custom ops | custom ops that write gradients into kept buffers | plan | plain candle |
//! | --- | --: | --: | --: | --: |
//! | MLP 3072-64-64-64-10, batch 128, SGD with momentum | 454 (2.9) | 662 (0.4) | 650 (0.01) | 175 (16) |
//! | the same, 256 wide | 117 (13) | 162 (1.6) | 157 (0.01) | 56 (47) |
//! | the same, 1024 wide | 21.0 (69) | 24.6 (6.3) | 25.5 (0.01) | 9.4 (221) |
//! | pre-norm transformer block, width 128, 8 × 128 positions, Adam | 45.7 (34) | 46.9 (32) | 62.2 (0.005) | 10.5 (224) |
//! | the same, width 256 | 16.0 (73) | 16.5 (64) | 18.4 (0.005) | 4.6 (479) |
//!
//! On MLPs the frame hardly matters once gradients have kept buffers; on a block, whose many activations
//! autograd makes anew every step, the plan is 12 to 33 % faster. What decided is the rest: custom ops
//! whose backward pass is a kernel have no second derivative under candle's autograd (none of the
//! eight parameters of the MLP got one), kernels of width need the inputs and output gradients of every
//! layer by path, addresses that stay the same from step to step can be captured as a CUDA graph, an
//! update can run while its gradient is in the caches ([`nn::Parts::claim`]), and several of candle's own
//! fused operations pass no gradient and say nothing. Its price is that residual joins and the order
//! of operations are ours to keep, some 1,500 lines. Candle holds the tensors, devices and files; its
//! autograd is a reference in the tests, beside PyTorch and differences. Product, bias and activation are
//! operations of their own, since preactivations and activations are both read by path; the prototype's
//! custom op for all three gained nothing (its columns above have it).
//!
//! **Passes are over one member.** A CPU pass gets slices of one member, and members run at the same
//! time, each from its first operation to its update, so that its numbers stay in the caches; an
//! operation splits further only where threads are idle. On a GPU a layer has
//! passes over all members at once ([`nn::GpuPasses`]) beside [`nn::Passes`]; network, plan and the tables of
//! parametrizations and optimizers are the same.
//!
//! **Products are our own** ([`tensor::matmul`]): about as fast as the `gemm` crate on large matrices and
//! faster where an operand is read transposed, and its tiles serve convolution and attention, which
//! read their operands where they are. A shared input needs no "wide" product over members: it is packed
//! once for all of them (16 members of width 64: a fifth faster than packing it for each).
//!
//! **Second derivatives are tangents of the two passes** (forward over reverse): a Hessian–vector
//! product is exact up to rounding, in f32 as in f64; forward and backward pass are run once and serve
//! every product. Where the gradient of the outputs is zero the same tangents are Gauss–Newton products.
//! Eigenvalues ([`metrics::hessian_eigenvalues`]) are measured in units of the learning rates. Neural tangent kernels are contracted layer by layer ([`nn::Passes::gram`]), for each
//! parameter by itself where wanted ([`nn::Plan::ntk_blocks`]).
//!
//! **Work is split by shape.** A task's borders depend on one member's shapes alone, and sums run in
//! a fixed order, so numbers depend neither on threads nor on the other members of an ensemble.
//!
//! **Weights are `[members, fan_in, fan_out]`**, the transpose of PyTorch's, since `x W` needs no
//! transposed copies in either pass.

#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

pub mod atomic_file;
pub mod error;
pub mod fingerprint;
pub mod interrupt;
pub mod memory;

pub mod gpu;
pub mod tensor;

pub mod nn;
pub mod parametrization;

pub mod model;

pub mod optim;

pub mod data;

pub mod metrics;

pub mod train;

pub mod bench;

pub mod plot;

pub mod script;

pub mod repl;

pub mod cli;

#[cfg(test)]
#[path = "../tests/reference/mod.rs"]
mod reference;
