//! SOAP on GPUs. The bases are the host's, at the steps where they are due.

use candle_core::Tensor;
use rayon::prelude::*;

use super::host::{Fetched, pairs};
use super::matrices::{Kind, Matrices, MatrixScalars, OneMatrix, correction, parts};
use super::{GpuMembers, GpuRule, GpuUpdate, GpuWork, HostPart, Limits, Scalars, Tables, Trained};
use crate::error::Result;
use crate::gpu::Stored;
use crate::nn::ParamInfo;
use crate::optim::{Adam, Graft, Optimizer, Soap};
use crate::tensor::elem::Elem;
use crate::tensor::update::SoapState;

impl Soap {
    fn kind(&self) -> Kind {
        Kind {
            own_states: 2,
            sides: [self.basis_in, self.basis_out],
            block: self.block,
            graft: self.graft,
        }
    }
}

impl GpuRule for Soap {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        let second = params.iter().map(|p| p.states.get(1).cloned());
        Ok(Box::new(Work {
            rule: self.clone(),
            second: second.collect(),
            matrices: Matrices::new(members, params, self.kind())?,
        }))
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let s = self.at(u.member, u.step);
        let moments = parts(s.shampoo_beta);
        let graft_size = match self.graft {
            Graft::Spectral => Graft::norm(u.scales),
            Graft::None | Graft::Adam => self.eps.of(u.member) * u.scales.eps,
        };
        // the first step only finds the bases, and leaves all else as it is
        let still = MatrixScalars {
            first: [1.0, 0.0],
            first_factor: 0.0,
            moments,
            second: [1.0, 0.0],
            second_eps: self.eps_of(u.scales, u.member),
            rate: 0.0,
            kept: [1.0, 1.0],
            graft: [1.0, 0.0],
            graft_corrections: [1.0, 1.0],
            graft_size,
        };
        if u.step <= 1 {
            return still.numbers();
        }
        let lr = self.lr_of(u.info, u.member) * u.scales.lr * u.factor;
        let weight_decay = self.weight_decay.of(u.member) * u.scales.weight_decay;
        // the first step counted for nothing
        let corrections = [s.beta1, s.beta2].map(|beta| correction(beta, u.step - 1));
        let all = MatrixScalars {
            first: parts(s.beta1),
            first_factor: corrections[1].sqrt() / corrections[0],
            second: parts(s.beta2),
            rate: -lr,
            kept: [1.0, 1.0 - lr * weight_decay],
            graft: parts(s.beta2),
            graft_corrections: corrections,
            ..still
        };
        all.numbers()
    }

    fn adamw(&self) -> Option<Adam> {
        let betas = [&self.beta1, &self.beta2];
        Some(Adam::adamw(&self.lr, betas, &self.eps, &self.weight_decay))
    }

    fn room(&self, info: &ParamInfo) -> usize {
        self.kind().room(info)
    }
}

#[derive(Debug)]
struct Work {
    rule: Soap,
    matrices: Matrices,
    /// Second moments in the bases.
    second: Vec<Option<Tensor>>,
}

impl GpuWork for Work {
    fn tables(&self) -> &Tables {
        &self.matrices.tables
    }

    /// The whole step: the bases that the host makes of its second moments are for the next one.
    fn begin(&self, limits: Limits) -> Result<()> {
        let matrices = &self.matrices;
        for i in 0..matrices.all.len() {
            let rooms = matrices.rooms()?;
            matrices.launch(i, "matrix_gradient", limits, rooms[0], &[])?;
            matrices.take_moments(i, limits, rooms[0])?;
            // Qᵀ x Q
            let into = [true, false];
            let rooms = matrices.between(i, into, rooms)?;
            matrices.launch(i, "soap_second", limits, rooms[0], &[])?;
            let rooms = matrices.between(i, into, rooms)?;
            matrices.launch(i, "soap_direction", limits, rooms[0], &[])?;
            let [direction, _] = matrices.between(i, [false, true], rooms)?;
            matrices.step(i, limits, direction)?;
        }
        Ok(())
    }

    fn on_host(&self) -> Option<&dyn HostPart> {
        Some(self)
    }

    fn queue(&self, _limits: Limits) -> Result<()> {
        Ok(())
    }
}

impl HostPart for Work {
    fn is_due(&self, step: u64) -> bool {
        self.rule.refreshes(step)
    }

    fn run(&self, step: u64, active: &[bool]) -> Result<()> {
        for (matrix, second) in self.matrices.all.iter().zip(&self.second) {
            let second = second.as_ref();
            let turned = match self.matrices.members.stored {
                Stored::F64 => self.turn::<f64>(matrix, second, step, active),
                Stored::F32 | Stored::Bf16 => self.turn::<f32>(matrix, second, step, active),
            };
            turned.map_err(|e| e.at(&matrix.path))?;
        }
        Ok(())
    }
}

impl Work {
    fn turn<T: Elem>(
        &self,
        matrix: &OneMatrix,
        second: Option<&Tensor>,
        step: u64,
        active: &[bool],
    ) -> Result<()> {
        let (members, sides) = (&self.matrices.members, &matrix.sides);
        let mut moments = Fetched::<T>::both(members, sides, |s| &s.moments)?;
        let mut bases = Fetched::<T>::both(members, sides, |s| &s.factor)?;
        let mut squares = Fetched::<T>::new(members, second)?;
        let states = pairs(&mut moments)
            .zip(pairs(&mut bases))
            .zip(squares.each());
        let states: Vec<_> = states.zip(active).enumerate().collect();
        let on = states.into_par_iter().filter(|(_, (_, on))| **on);
        on.try_for_each(|(member, (((moments, bases), exp_avg_sq), _))| {
            let mut state = SoapState {
                exp_avg: Default::default(),
                exp_avg_sq,
                moments,
                bases,
            };
            let scalars = self.rule.at(member, step);
            scalars.turn_bases(matrix.blocked.blocks(), &mut state)
        })?;
        squares.put_back(members, second)?;
        for (side, bases) in sides.iter().zip(&bases) {
            bases.put_back(members, side.as_ref().map(|s| &s.factor))?;
        }
        Ok(())
    }
}
