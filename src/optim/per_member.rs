//! A scalar setting that may have one value per member.

use serde::Serialize;

use crate::error::{Error, Result};

/// One value for all members, or one for each.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PerMember {
    /// The same for all.
    Same(f64),
    /// One for each member.
    Each(Vec<f64>),
}

impl PerMember {
    /// The value of a member.
    pub fn of(&self, member: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values.get(member).copied().unwrap_or(f64::NAN),
        }
    }

    /// Every value given.
    pub fn values(&self) -> &[f64] {
        match self {
            Self::Same(value) => std::slice::from_ref(value),
            Self::Each(values) => values,
        }
    }

    /// Checks that there is one value, or one for each of `members`.
    ///
    /// # Errors
    /// If there is another number of values.
    pub fn check(&self, name: &str, members: usize) -> Result<()> {
        match self {
            Self::Each(values) if values.len() != members => Err(Error::setting(format!(
                "{name} has {} values, but the model has {members} members",
                values.len()
            ))
            .with_help("give one number for all members, or one for each")),
            _ => Ok(()),
        }
    }
}

impl From<f64> for PerMember {
    fn from(value: f64) -> Self {
        Self::Same(value)
    }
}
