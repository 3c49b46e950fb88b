//! Optimizers whose whole update of a number is one kernel's: SGD, Adam, Lion.

use super::scalars;
use super::{GpuMembers, GpuRule, GpuUpdate, GpuWork, Limits, Scalars, Tables, Trained, Updated};
use crate::error::Result;
use crate::optim::{Adam, Lion, Sgd};

/// One kernel for all parameters.
#[derive(Debug)]
pub(super) struct Each {
    kernel: &'static str,
    tables: Tables,
}

impl Each {
    /// For these parameters.
    pub fn work(
        kernel: &'static str,
        members: &GpuMembers,
        params: &[Trained<'_>],
    ) -> Result<Box<dyn GpuWork>> {
        let updated = params
            .iter()
            .map(|p| Updated::new(p.param, p.grad, p.states.iter().collect()));
        let tables = Tables::new(members, &updated.collect::<Vec<_>>())?;
        Ok(Box::new(Self { kernel, tables }))
    }
}

impl GpuWork for Each {
    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn queue(&self, limits: Limits) -> Result<()> {
        self.tables.launch(self.kernel, limits, &[])
    }
}

impl GpuRule for Sgd {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        Each::work("sgd", members, params)
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let s = self.at(u.scales, u.factor, u.member);
        scalars([
            -s.lr,
            s.momentum,
            s.weight_decay,
            f64::from(u8::from(s.nesterov)),
        ])
    }
}

impl GpuRule for Adam {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        Each::work("adam", members, params)
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        scalars(self.at(u.scales, u.factor, u.member, u.step).numbers())
    }
}

impl GpuRule for Lion {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        Each::work("lion", members, params)
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let s = self.at(u.scales, u.factor, u.member);
        scalars([
            s.beta1,
            1.0 - s.beta1,
            s.beta2,
            1.0 - s.beta2,
            -s.lr,
            1.0 - s.lr * s.weight_decay,
        ])
    }
}
