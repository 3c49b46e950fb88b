//! All updates of a trainer's parameters.

use super::each::Each;
use super::{GpuMembers, GpuRule, GpuUpdate, GpuWork, Limits, Trained};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::optim::Optimizer;
use crate::parametrization::Scales;

/// The updates of a trainer's parameters on a GPU.
#[derive(Debug)]
pub struct GpuUpdates {
    members: GpuMembers,
    parts: Vec<Part>,
}

/// Parameters that are updated together.
#[derive(Debug)]
struct Part {
    work: Box<dyn GpuWork>,
    /// Their places among the trained parameters.
    params: Vec<usize>,
    /// Whether they follow AdamW where others do not.
    adamw: bool,
}

impl GpuUpdates {
    /// Of these parameters.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn new(
        optimizer: &dyn Optimizer,
        members: &GpuMembers,
        trained: &[Trained<'_>],
    ) -> Result<Self> {
        let rule = optimizer.on_gpu();
        let apart = rule.adamw().is_some();
        let mut parts = Vec::new();
        for adamw in [false, true] {
            let is = |p: &Trained<'_>| (apart && !p.info.is_hidden_matrix()) == adamw;
            let own = trained.iter().copied().enumerate().filter(|(_, p)| is(p));
            let (params, own): (Vec<usize>, Vec<Trained<'_>>) = own.unzip();
            if params.is_empty() {
                continue;
            }
            parts.push(Part {
                work: match adamw {
                    true => Each::work("adam", members, &own)?,
                    false => rule.work(members, &own)?,
                },
                params,
                adamw,
            });
        }
        Ok(Self {
            members: members.clone(),
            parts,
        })
    }

    /// Copies the scalars of a step, from 1, to the device; `trained` are all parameters with their scales.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn set_scalars(
        &self,
        optimizer: &dyn Optimizer,
        trained: &[(&ParamInfo, &Scales)],
        factor: f64,
        step: u64,
    ) -> Result<()> {
        let rule = optimizer.on_gpu();
        let adamw = rule.adamw();
        let of = |part: &Part, (info, scales): (&ParamInfo, &Scales), member: usize| {
            let update = |factor| GpuUpdate {
                info,
                scales,
                factor,
                member,
                step,
                epsilon: self.members.epsilon(),
            };
            match &adamw {
                Some(adamw) if part.adamw => {
                    let more = optimizer.adam_factor().map_or(1.0, |f| f.of(member));
                    adamw.scalars(update(factor * more))
                }
                _ => rule.scalars(update(factor)),
            }
        };
        for part in &self.parts {
            let each = part.params.iter().flat_map(|&i| {
                let members = 0..self.members.count;
                members.map(move |member| of(part, trained[i], member))
            });
            let all: Vec<_> = each.collect();
            part.work.tables().set_scalars(&all)?;
        }
        Ok(())
    }

    /// Whether the host has a part in some steps.
    pub fn have_host_part(&self) -> bool {
        self.parts.iter().any(|p| p.work.on_host().is_some())
    }

    /// Queues what comes before the host's part.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn begin(&self, limits: Limits) -> Result<()> {
        self.parts.iter().try_for_each(|p| p.work.begin(limits))
    }

    /// The host's part of a step, from 1, if there is one: it waits for what is queued. `active` is the address of a
    /// word for each member, 0 for one that is left as it is.
    ///
    /// # Errors
    /// If the device or a decomposition fails.
    pub fn on_host(&self, step: u64, active: u64) -> Result<()> {
        let parts = self.parts.iter().filter_map(|p| p.work.on_host());
        let due: Vec<_> = parts.filter(|host| host.is_due(step)).collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut on = vec![0u32; self.members.count];
        self.members.gpu.download(active, &mut on)?;
        let on: Vec<bool> = on.into_iter().map(|on| on != 0).collect();
        due.into_iter().try_for_each(|host| host.run(step, &on))
    }

    /// Queues the rest of the update.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn queue(&self, limits: Limits) -> Result<()> {
        self.parts.iter().try_for_each(|p| p.work.queue(limits))
    }
}
