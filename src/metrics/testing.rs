//! What the tests of this module share.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use crate::data::Labels;
use crate::reference::Fixture;
use crate::tensor::rng::Key;

/// Standard normal numbers times `scale`, `f64`.
pub fn normal(seed: u64, shape: &[usize], scale: f64) -> Tensor {
    let mut rng = Key::new(seed).rng();
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| scale * rng.normal())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Random classes below `classes`.
pub fn classes(seed: u64, points: usize, classes: usize) -> Labels {
    let mut rng = Key::new(seed).label("classes").rng();
    let values: Vec<u32> = (0..points)
        .map(|_| rng.below(classes as u64) as u32)
        .collect();
    Labels::Classes(Tensor::new(values, &Device::Cpu).unwrap())
}

/// Random target values.
pub fn values(seed: u64, points: usize, outputs: usize) -> Labels {
    Labels::Values(normal(seed ^ 1, &[points, outputs], 1.0))
}

/// The tensor with one logit of a member replaced.
pub fn spoil(logits: &Tensor, member: usize, bad: f64) -> Tensor {
    let dims = logits.dims().to_vec();
    let mut numbers: Vec<f64> = logits.flatten_all().unwrap().to_vec1().unwrap();
    numbers[member * dims[1] * dims[2] + dims[1] * dims[2] / 2] = bad;
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
}

/// The tensor in `f32`.
pub fn single(logits: &Tensor) -> Tensor {
    logits.to_dtype(DType::F32).unwrap()
}

/// (members, points, outputs, seed): small and odd.
pub fn shapes(
    least_members: usize,
    least_outputs: usize,
) -> impl Strategy<Value = (usize, usize, usize, u64)> {
    (least_members..6, 1..9usize, least_outputs..7, any::<u64>())
}

/// Logits and labels of the fixture.
pub fn fixture(set: &str) -> (Fixture, Tensor, Labels, Labels) {
    let fixture = Fixture::load("metrics");
    let logits = fixture.tensor(set).to_tensor();
    let classes = Labels::Classes(fixture.tensor("classes").to_classes());
    let values = Labels::Values(fixture.tensor("values").to_tensor());
    (fixture, logits, classes, values)
}
