//! Shampoo on GPUs. The powers are the host's, at the steps where they are due.

use rayon::prelude::*;

use super::host::{Fetched, pairs};
use super::matrices::{Kind, Matrices, MatrixScalars, OneMatrix, correction, parts};
use super::{GpuMembers, GpuRule, GpuUpdate, GpuWork, HostPart, Limits, Scalars, Tables, Trained};
use crate::error::Result;
use crate::gpu::Stored;
use crate::nn::ParamInfo;
use crate::optim::{Adam, Graft, Optimizer, Shampoo};
use crate::tensor::elem::Elem;
use crate::tensor::update::ShampooState;

impl Shampoo {
    fn kind(&self) -> Kind {
        Kind {
            own_states: 1,
            sides: self.sides(),
            block: self.block,
            graft: self.graft,
        }
    }
}

impl GpuRule for Shampoo {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        Ok(Box::new(Work {
            rule: self.clone(),
            matrices: Matrices::new(members, params, self.kind())?,
        }))
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let lr = self.lr_of(u.info, u.member) * u.scales.lr * u.factor;
        let weight_decay = self.weight_decay.of(u.member) * u.scales.weight_decay;
        let [beta1, beta2] = [self.beta1.of(u.member), self.beta2.of(u.member)];
        let corrections = [correction(beta1, u.step), correction(beta2, u.step)];
        let all = MatrixScalars {
            first: parts(beta1),
            first_factor: 1.0 / corrections[0],
            moments: parts(beta2),
            second: [1.0, 0.0],
            second_eps: 0.0,
            rate: -lr,
            kept: [1.0 - lr * weight_decay, 1.0],
            graft: parts(beta2),
            graft_corrections: corrections,
            graft_size: match self.graft {
                Graft::Spectral => Graft::norm(u.scales),
                Graft::None | Graft::Adam => self.adam_eps.of(u.member) * u.scales.eps,
            },
        };
        all.numbers()
    }

    fn adamw(&self) -> Option<Adam> {
        let betas = [&self.beta1, &self.beta2];
        Some(Adam::adamw(
            &self.lr,
            betas,
            &self.adam_eps,
            &self.weight_decay,
        ))
    }

    fn room(&self, info: &ParamInfo) -> usize {
        self.kind().room(info)
    }
}

#[derive(Debug)]
struct Work {
    rule: Shampoo,
    matrices: Matrices,
}

impl GpuWork for Work {
    fn tables(&self) -> &Tables {
        &self.matrices.tables
    }

    fn begin(&self, limits: Limits) -> Result<()> {
        let [x, _] = self.matrices.rooms()?;
        (0..self.matrices.all.len()).try_for_each(|i| {
            self.matrices.launch(i, "matrix_gradient", limits, x, &[])?;
            self.matrices.take_moments(i, limits, x)
        })
    }

    fn on_host(&self) -> Option<&dyn HostPart> {
        Some(self)
    }

    fn queue(&self, limits: Limits) -> Result<()> {
        let matrices = &self.matrices;
        for i in 0..matrices.all.len() {
            let rooms = matrices.rooms()?;
            matrices.launch(i, "shampoo_first", limits, rooms[0], &[])?;
            let [direction, _] = matrices.between(i, [false; 2], rooms)?;
            matrices.step(i, limits, direction)?;
        }
        Ok(())
    }
}

impl HostPart for Work {
    fn is_due(&self, step: u64) -> bool {
        self.rule.refreshes(step)
    }

    fn run(&self, step: u64, active: &[bool]) -> Result<()> {
        self.matrices.all.iter().try_for_each(|matrix| {
            let taken = match self.matrices.members.stored {
                Stored::F64 => self.take_powers::<f64>(matrix, step, active),
                Stored::F32 | Stored::Bf16 => self.take_powers::<f32>(matrix, step, active),
            };
            taken.map_err(|e| e.at(&matrix.path))
        })
    }
}

impl Work {
    fn take_powers<T: Elem>(&self, matrix: &OneMatrix, step: u64, active: &[bool]) -> Result<()> {
        let (members, sides) = (&self.matrices.members, &matrix.sides);
        let mut moments = Fetched::<T>::both(members, sides, |s| &s.moments)?;
        let mut powers = Fetched::<T>::both(members, sides, |s| &s.factor)?;
        let states = pairs(&mut moments).zip(pairs(&mut powers));
        let states: Vec<_> = states.zip(active).enumerate().collect();
        let on = states.into_par_iter().filter(|(_, (_, on))| **on);
        on.try_for_each(|(member, ((moments, powers), _))| {
            let mut state = ShampooState { moments, powers };
            let scalars = self.rule.at(member, step);
            scalars.take_powers(matrix.blocked.blocks(), &mut state)
        })?;
        for (side, powers) in sides.iter().zip(&powers) {
            powers.put_back(members, side.as_ref().map(|s| &s.factor))?;
        }
        Ok(())
    }
}
