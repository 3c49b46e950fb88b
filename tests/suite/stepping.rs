//! Parameters, their state and updates outside of a training step.

use std::borrow::Cow;

use candle_core::{DType, Device, Tensor};
use widthwise::error::Result;
use widthwise::nn::{ParamInfo, ParamKind, Role};
use widthwise::optim::{Optimizer, TensorUpdate, update as update_all};
use widthwise::parametrization::{Init, Scales};
use widthwise::tensor::elem::to_f64;

/// A parameter of this shape, a matrix if it has two sides or more.
pub fn info(shape: &[usize], role: Role) -> ParamInfo {
    let (outputs, inputs) = shape.split_last().unwrap();
    let (fan_in, fan_out) = (inputs.iter().product(), *outputs);
    ParamInfo {
        path: "parameter".into(),
        shape: shape.to_vec(),
        kind: ParamKind::Weight,
        role,
        fan_in,
        fan_out,
        base_fan_in: fan_in,
        base_fan_out: fan_out,
        width: fan_out,
        base_width: fan_out,
        depth: 3,
        readout: false,
        in_branch: false,
        blocks: 0,
    }
}

/// `copies` members with the same numbers.
pub fn members(values: &[f64], copies: usize, dtype: DType) -> Result<Tensor> {
    shaped(values, &[values.len()], copies, dtype)
}

pub fn shaped(values: &[f64], shape: &[usize], copies: usize, dtype: DType) -> Result<Tensor> {
    let all = Tensor::from_slice(
        &values.repeat(copies),
        [&[copies], shape].concat(),
        &Device::Cpu,
    )?;
    Ok(all.to_dtype(dtype)?)
}

pub const PLAIN: Scales = Scales {
    init: Init::Constant(0.0),
    multiplier: 1.0,
    lr: 1.0,
    weight_decay: 1.0,
    eps: 1.0,
    fans: [1, 1],
    source: Cow::Borrowed(""),
};

/// States of `members` at 0.
pub fn states(
    optimizer: &dyn Optimizer,
    info: &ParamInfo,
    members: usize,
    dtype: DType,
) -> Result<Vec<Tensor>> {
    let states = optimizer.states(info).into_iter();
    let zeros = |shape: Vec<usize>| {
        Ok(Tensor::zeros(
            [&[members], shape.as_slice()].concat(),
            dtype,
            &Device::Cpu,
        )?)
    };
    states.map(|s| zeros(s.shape)).collect()
}

/// A parameter after some updates with made-up gradients.
pub fn updated(optimizer: &dyn Optimizer, info: &ParamInfo, scales: &Scales) -> Result<Vec<f64>> {
    let size: usize = info.shape.iter().product();
    let numbers = |seed: usize| -> Vec<f64> {
        (0..size)
            .map(|i| ((i * i + 7 * seed) as f64 * 0.7).sin())
            .collect()
    };
    let param = shaped(&numbers(0), &info.shape, 1, DType::F64)?;
    let state = states(optimizer, info, 1, DType::F64)?;
    for step in 1..=3 {
        update_all(
            optimizer,
            &TensorUpdate {
                param: &param,
                grad: &shaped(&numbers(step), &info.shape, 1, DType::F64)?,
                state: &state,
                info,
                scales,
                factor: 1.0,
                active: &[true],
                step: step as u64,
            },
        )?;
    }
    to_f64(&param)
}
