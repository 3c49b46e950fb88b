//! Tokens in memory, two bytes each where the vocabulary allows it.

use crate::error::Result;
use crate::memory;

/// A growing list of tokens.
#[derive(Debug)]
pub(super) enum Tokens {
    Short(Vec<u16>),
    Long(Vec<u32>),
}

impl Tokens {
    /// None, of a vocabulary of this size.
    pub(super) fn of(vocabulary: usize) -> Self {
        match vocabulary <= 1 << 16 {
            true => Self::Short(Vec::new()),
            false => Self::Long(Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Short(all) => all.len(),
            Self::Long(all) => all.len(),
        }
    }

    /// Appends tokens, each below the vocabulary's size.
    ///
    /// # Errors
    /// If they do not fit into memory; `name` says what they are.
    pub(super) fn extend(
        &mut self,
        name: &str,
        more: impl ExactSizeIterator<Item = u32>,
    ) -> Result<()> {
        match self {
            Self::Short(all) => append(name, all, more.map(|token| token as u16)),
            Self::Long(all) => append(name, all, more),
        }
    }

    /// Keeps the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            Self::Short(all) => all.truncate(len),
            Self::Long(all) => all.truncate(len),
        }
    }

    /// Those from `start` on.
    pub(super) fn from(&self, start: usize) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Short(all) => Box::new(all[start..].iter().map(|&token| token.into())),
            Self::Long(all) => Box::new(all[start..].iter().copied()),
        }
    }
}

/// Appends; asks for memory before it grows, by half at a time.
fn append<T: memory::Number>(
    name: &str,
    all: &mut Vec<T>,
    more: impl ExactSizeIterator<Item = T>,
) -> Result<()> {
    let wanted = all.len() + more.len();
    if wanted > all.capacity() {
        let room = wanted.max(all.len() + all.len() / 2);
        memory::room(name, &[room], size_of::<T>())?;
        let mut larger = memory::numbers(name, &[room])?;
        larger[..all.len()].copy_from_slice(all);
        larger.truncate(all.len());
        *all = larger;
    }
    all.extend(more);
    Ok(())
}
