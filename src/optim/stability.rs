//! How far from instability an optimizer's steps are: its stability threshold on a quadratic loss, and
//! the learning rate that each number of a parameter effectively has.

use candle_core::Tensor;

use super::{Adam, Optimizer, PerMember, Sgd};
use crate::error::{Error, Result};
use crate::nn::ParamInfo;
use crate::parametrization::Scales;
use crate::tensor::elem::to_f64;

/// The learning rates of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamRates {
    /// One for each member.
    PerMember(Vec<f64>),
    /// One for each number, `[members · size]`.
    PerNumber(Vec<f64>),
}

/// What the effective learning rates of a parameter depend on.
#[derive(Debug)]
pub struct RatesOf<'a> {
    /// What is known of the parameter.
    pub info: &'a ParamInfo,
    /// Its scales.
    pub scales: &'a Scales,
    /// The schedule's factor of the learning rate.
    pub factor: f64,
    /// How many members there are.
    pub members: usize,
    /// Updates that the state has seen.
    pub updates: u64,
    /// Its state, one tensor for each of [`Optimizer::states`], with the member axis in front.
    pub state: &'a [Tensor],
}

/// An optimizer whose steps near a minimum are a linear recurrence, stable where
/// `D^(1/2) H D^(1/2)` has no eigenvalue above a threshold: `H` is the Hessian, `D` the diagonal matrix of
/// [effective learning rates](LinearStability::rates).
pub trait LinearStability {
    /// The threshold of one member, in units of the learning rate: see [`Optimizer::stability`].
    fn threshold(&self, member: usize) -> f64;

    /// Whether there are effective learning rates only after the first update.
    fn needs_updates(&self) -> bool {
        false
    }

    /// The learning rates that the numbers of a parameter effectively have.
    ///
    /// # Errors
    /// If there is no state yet that they depend on, or it cannot be read.
    fn rates(&self, of: &RatesOf<'_>) -> Result<ParamRates>;
}

impl LinearStability for Sgd {
    fn threshold(&self, member: usize) -> f64 {
        let momentum = self.momentum.of(member);
        match self.nesterov {
            true => (2.0 + 2.0 * momentum) / (1.0 + 2.0 * momentum),
            false => 2.0 * (1.0 + momentum),
        }
    }

    fn rates(&self, of: &RatesOf<'_>) -> Result<ParamRates> {
        let rate = |member| self.at(of.scales, of.factor, member).lr;
        Ok(ParamRates::PerMember((0..of.members).map(rate).collect()))
    }
}

impl LinearStability for Adam {
    fn threshold(&self, member: usize) -> f64 {
        let beta1 = self.beta1.of(member);
        (2.0 + 2.0 * beta1) / (1.0 - beta1)
    }

    fn needs_updates(&self) -> bool {
        true
    }

    fn rates(&self, of: &RatesOf<'_>) -> Result<ParamRates> {
        let [_, second_moments] = of.state else {
            return Err(Error::other("Adam's state is two tensors"));
        };
        if of.updates == 0 {
            return Err(Error::setting(format!(
                "{} has no second moments before its first step, so its effective learning rates are not known",
                self.name()
            ))
            .with_help("take a step first"));
        }
        let mut numbers = to_f64(second_moments)?;
        let size = (numbers.len() / of.members.max(1)).max(1);
        for (member, part) in numbers.chunks_mut(size).enumerate() {
            let s = self.at(of.scales, of.factor, member, of.updates);
            let updates = s.step.min(i32::MAX as u64) as i32;
            let [first, second] = [s.beta1, s.beta2].map(|beta| 1.0 - beta.powi(updates));
            for v in part {
                *v = s.lr / first / ((*v / second).sqrt() + s.eps);
            }
        }
        Ok(ParamRates::PerNumber(numbers))
    }
}

impl dyn Optimizer {
    /// The stability thresholds of an optimizer whose settings are one value or one for each member.
    ///
    /// # Errors
    /// If the optimizer has none.
    pub fn stability_threshold(&self) -> Result<PerMember> {
        let stability = self.stability().ok_or_else(|| self.no_threshold())?;
        let members = self.momentum().map_or(1, |m| m.values().len());
        Ok(match members {
            1 => PerMember::Same(stability.threshold(0)),
            _ => PerMember::Each((0..members).map(|m| stability.threshold(m)).collect()),
        })
    }

    /// The error for an optimizer without a threshold.
    pub(crate) fn no_threshold(&self) -> Error {
        Error::setting(format!(
            "{} has no stability threshold: its step is no linear function of the gradient near a minimum",
            self.name()
        ))
        .with_help("sgd, with and without momentum, adam and adamw have one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{ParamKind, Role};
    use crate::optim::{Lion, TensorUpdate, update};
    use crate::parametrization::Init;
    use candle_core::{DType, Device};

    fn info() -> ParamInfo {
        ParamInfo {
            path: "x".into(),
            shape: vec![1],
            kind: ParamKind::Bias,
            role: Role::Fixed,
            fan_in: 1,
            fan_out: 1,
            base_fan_in: 1,
            base_fan_out: 1,
            width: 1,
            base_width: 1,
            depth: 1,
            readout: false,
            in_branch: false,
            blocks: 0,
        }
    }

    fn scales() -> Scales {
        Scales {
            init: Init::Constant(0.0),
            multiplier: 1.0,
            lr: 0.5,
            weight_decay: 1.0,
            eps: 1.0,
            fans: [1, 1],
            source: "".into(),
        }
    }

    /// By what factor `steps` updates on the loss `curvature / 2 · x²` change |x|.
    fn growth(optimizer: &dyn Optimizer, curvature: f64, steps: u64) -> f64 {
        let cpu = Device::Cpu;
        let start = 1e-20;
        let param = Tensor::full(start, (1, 1), &cpu).unwrap();
        let (info, scales) = (info(), scales());
        let states = optimizer.states(&info);
        let state: Vec<_> = states
            .iter()
            .map(|_| Tensor::zeros((1, 1), DType::F64, &cpu).unwrap())
            .collect();
        let mut largest: f64 = 0.0;
        for step in 1..=steps {
            let grad = (&param * curvature).unwrap();
            let u = TensorUpdate {
                param: &param,
                grad: &grad,
                state: &state,
                info: &info,
                scales: &scales,
                factor: 1.0,
                active: &[true],
                // past Adam's bias correction, whose first steps are larger
                step: step + 1_000_000,
            };
            update(optimizer, &u).unwrap();
            // the last tenth, since the iteration oscillates
            if step > steps - steps / 10 {
                largest =
                    largest.max(param.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0].abs());
            }
        }
        largest / start
    }

    fn sgd(momentum: f64, nesterov: bool) -> Sgd {
        Sgd {
            lr: 0.3.into(),
            momentum: momentum.into(),
            nesterov,
            weight_decay: 0.0.into(),
        }
    }

    fn adam() -> Adam {
        Adam {
            lr: 0.3.into(),
            beta1: 0.9.into(),
            beta2: 0.999.into(),
            // the gradients of the test are tiny beside it, so that the preconditioner stands still
            eps: 0.25.into(),
            weight_decay: 0.0.into(),
            decoupled: false,
        }
    }

    #[test]
    fn steps_shrink_below_the_threshold_and_grow_above_it() {
        let cases: [(&dyn Optimizer, f64); 5] = [
            (&sgd(0.0, false), 2.0),
            (&sgd(0.9, false), 3.8),
            (&sgd(0.5, false), 3.0),
            (&sgd(0.9, true), 3.8 / 2.8),
            (&adam(), 38.0),
        ];
        for (optimizer, expected) in cases {
            let stability = optimizer.stability().unwrap();
            let threshold = stability.threshold(0);
            assert!((threshold - expected).abs() < 1e-12, "{threshold}");
            let moment = Tensor::zeros((1, 1), DType::F64, &Device::Cpu).unwrap();
            let of = RatesOf {
                info: &info(),
                scales: &scales(),
                factor: 1.0,
                members: 1,
                // bias correction over
                updates: 1_000_000,
                state: &[moment.clone(), moment],
            };
            let (ParamRates::PerMember(rates) | ParamRates::PerNumber(rates)) =
                stability.rates(&of).unwrap();
            let rate = rates[0];
            let at_edge = threshold / rate;
            let below = growth(optimizer, 0.99 * at_edge, 500);
            let above = growth(optimizer, 1.01 * at_edge, 500);
            assert!(below < 1e-3 && above > 1e3, "{expected}: {below} {above}");
        }
    }

    #[test]
    fn adams_rates_are_those_of_its_update() {
        let tensor = |numbers: [f64; 2]| Tensor::new(&[numbers], &Device::Cpu).unwrap();
        let state = [tensor([0.1, 0.04]), tensor([0.2, 0.09])];
        let (info, scales) = (info(), scales());
        let rates = |updates, factor| {
            adam().rates(&RatesOf {
                info: &info,
                scales: &scales,
                factor,
                members: 1,
                updates,
                state: &state,
            })
        };
        let (first, second) = (1.0 - 0.9f64.powi(3), 1.0 - 0.999f64.powi(3));
        let expected = |v: f64| 0.5 * 0.3 * 0.5 / first / ((v / second).sqrt() + 0.25);
        let ParamRates::PerNumber(found) = rates(3, 0.5).unwrap() else {
            panic!("one rate for each number");
        };
        assert_eq!(found, [expected(0.2), expected(0.09)]);
        let error = rates(0, 1.0).unwrap_err();
        assert!(error.message.contains("before its first step"), "{error}");
    }

    #[test]
    fn members_have_thresholds_of_their_own_and_lion_has_none() {
        let optimizer = Sgd {
            momentum: PerMember::Each(vec![0.0, 0.5]),
            ..sgd(0.0, false)
        };
        let optimizer: &dyn Optimizer = &optimizer;
        let found = optimizer.stability_threshold().unwrap();
        assert_eq!(found, PerMember::Each(vec![2.0, 3.0]));
        let lion: &dyn Optimizer = &Lion {
            lr: 0.1.into(),
            beta1: 0.9.into(),
            beta2: 0.99.into(),
            weight_decay: 0.0.into(),
        };
        let error = lion.stability_threshold().unwrap_err();
        assert!(error.message.contains("lion has no stability threshold"));
    }
}
