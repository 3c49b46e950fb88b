//! What a pass writes gradients to, and what becomes of them at once.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::buffer::Buffer;
use crate::error::{Error, Result};
use crate::tensor::elem::Elem;

/// One member's part of several tensors, to be written: gradients of a layer's parameters, or an
/// optimizer's state.
#[derive(Debug)]
pub struct Parts<'a, T> {
    buffers: &'a [Buffer<T>],
    member: usize,
    /// Some entries of each, all if there is none.
    range: Option<Range<usize>>,
    updates: Option<&'a Updates<'a, T>>,
}

impl<'a, T: Elem> Parts<'a, T> {
    /// A member's part of `buffers`.
    ///
    /// # Safety
    /// There is such a member, and nobody else uses its numbers while the parts are used.
    pub unsafe fn new(buffers: &'a [Buffer<T>], member: usize) -> Self {
        Self {
            buffers,
            member,
            range: None,
            updates: None,
        }
    }

    /// Some entries of each.
    pub fn narrow(self, range: Range<usize>) -> Self {
        Self {
            range: Some(range),
            ..self
        }
    }

    /// The same, for a layer that may update its parameters.
    pub(super) fn with(self, updates: Option<&'a Updates<'a, T>>) -> Self {
        Self { updates, ..self }
    }

    /// The same, for what reads them when a pass has written them.
    pub(super) fn again(&self) -> Self {
        Self {
            range: self.range.clone(),
            updates: None,
            ..*self
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// If parameters are updated during this pass: the update of parameter `i`, which the layer then
    /// applies itself, to every part of the gradient once, when the pass no longer needs the
    /// parameter's present value. The gradient need then not be written.
    pub fn claim(&self, i: usize) -> Option<UpdatePart<'a, T>> {
        let updates = self.updates?;
        updates.claimed.fetch_or(1 << i, Relaxed);
        Some(UpdatePart { updates, i })
    }

    /// All of them.
    pub fn all(self) -> Vec<&'a mut [T]> {
        self.buffers.iter().map(|b| self.part(b)).collect()
    }

    /// Its part of one of them, to be taken once.
    fn part(&self, buffer: &Buffer<T>) -> &'a mut [T] {
        // SAFETY: as `new` was promised, and whoever calls this has used `self` up
        let all = unsafe { buffer.of_mut(self.member) };
        match self.range.clone() {
            Some(range) => &mut all[range],
            None => all,
        }
    }

    /// The first `N` of them.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take<const N: usize>(self) -> Result<[&'a mut [T]; N]> {
        let Some(buffers) = self.buffers.first_chunk::<N>() else {
            let found = self.buffers.len();
            return Err(Error::other(format!(
                "{N} tensors were asked for, there are {found}"
            )));
        };
        Ok(buffers.each_ref().map(|b| self.part(b)))
    }
}

/// Takes numbers of a parameter's gradient: which parameter, the first entry, the numbers.
type Apply<'a, T> = dyn Fn(usize, usize, &[T]) + Sync + 'a;

/// How a layer's parameters are updated during the backward pass.
pub(super) struct Updates<'a, T> {
    apply: &'a Apply<'a, T>,
    claimed: AtomicU64,
}

impl<T> std::fmt::Debug for Updates<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Updates(claimed {:b})", self.claimed.load(Relaxed))
    }
}

impl<'a, T> Updates<'a, T> {
    pub fn new(apply: &'a Apply<'a, T>) -> Self {
        Self {
            apply,
            claimed: AtomicU64::new(0),
        }
    }

    /// Whether the layer has updated parameter `i` itself.
    pub fn claimed(&self, i: usize) -> bool {
        self.claimed.load(Relaxed) & (1 << i) != 0
    }
}

/// The update of one parameter, from parts of its gradient.
#[derive(Debug, Clone, Copy)]
pub struct UpdatePart<'a, T> {
    updates: &'a Updates<'a, T>,
    i: usize,
}

impl<T> UpdatePart<'_, T> {
    /// Updates the entries from `start` on by these numbers of the gradient.
    pub fn apply(&self, start: usize, gradient: &[T]) {
        (self.updates.apply)(self.i, start, gradient);
    }
}
