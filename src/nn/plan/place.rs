//! Where gradients of activations, and of shared parameters, are kept meanwhile.

use candle_core::Tensor;

use super::build::{Built, Gradients};
use super::{Op, OpKind};
use crate::error::Result;

impl Built {
    /// Makes places for the gradients of operations that share their parameter with a later one.
    pub(super) fn place_seconds(
        &mut self,
        members: usize,
        zeros: &impl Fn(&[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        let second = |op: &Op| match &op.kind {
            OpKind::Layer {
                layer,
                input,
                shared: true,
                ..
            } => {
                let params = layer.params(input);
                let numbers = params.iter().map(|p| p.shape.iter().product::<usize>());
                zeros(&[members, numbers.sum()]).map(Some)
            }
            _ => Ok(None),
        };
        self.seconds = self.ops.iter().map(second).collect::<Result<_>>()?;
        Ok(())
    }

    /// Gives every trained activation's gradient a place. A place is used again as soon as the
    /// backward pass has used up what is in it.
    pub(super) fn place_gradients(
        &mut self,
        members: usize,
        zeros: &impl Fn(&[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        let size = |slot: usize| self.values[slot].elem_count() / members;
        let mut sizes: Vec<usize> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        let mut place = vec![None; self.values.len()];
        let mut spare = 0;
        let take = |slot: usize, sizes: &mut Vec<usize>, free: &mut Vec<usize>| {
            let wanted = size(slot);
            // the smallest that is large enough, else the largest made larger
            let best = (0..free.len()).min_by_key(|&i| {
                let has = sizes[free[i]];
                (has < wanted, has.abs_diff(wanted))
            });
            let chosen = match best {
                Some(i) => free.swap_remove(i),
                None => {
                    sizes.push(0);
                    sizes.len() - 1
                }
            };
            sizes[chosen] = sizes[chosen].max(wanted);
            chosen
        };
        // the output's gradient is written by the loss and keeps its place
        place[self.last] = Some(take(self.last, &mut sizes, &mut free));
        for op in self.ops.iter().rev() {
            let Some(used) = place[op.y] else { continue };
            // a branch's gradient is its block's, and is read where that is
            let passed_on = match op.kind {
                OpKind::Join {
                    skip,
                    branch,
                    multiplier,
                } if multiplier == 1.0
                    && op.y != self.last
                    && self.trained[branch]
                    && branch != skip
                    && place[branch].is_none() =>
                {
                    place[branch] = Some(used);
                    Some(branch)
                }
                _ => None,
            };
            let sources = match op.kind {
                OpKind::Layer { x, .. } => [Some(x), None],
                OpKind::Join { skip, branch, .. } => [Some(skip), Some(branch)],
            };
            let sources = sources.into_iter().flatten();
            for x in sources.filter(|&x| self.trained[x] && Some(x) != passed_on) {
                if place[x].is_some() {
                    spare = spare.max(size(x));
                } else {
                    place[x] = Some(take(x, &mut sizes, &mut free));
                }
            }
            let kept = self.gradients == Gradients::Kept;
            if op.y != self.last && passed_on.is_none() && !kept {
                free.push(used);
            }
        }
        let pool = sizes.into_iter().map(|numbers| zeros(&[members, numbers]));
        self.pool = pool.collect::<Result<_>>()?;
        self.place = place;
        if spare > 0 {
            self.spare = Some(zeros(&[members, spare])?);
        }
        Ok(())
    }
}
