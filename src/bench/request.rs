//! Which cases of benchmark scripts are wanted, and what has come of them.

use std::path::PathBuf;

use super::Measurement;

/// What a run of benchmark scripts was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Seconds of each measurement, where a script does not say.
    pub seconds: Option<f64>,
    /// Names of the cases to measure; `None` is all of them. With an empty list scripts only tell
    /// what they have.
    pub only: Option<Vec<String>>,
    /// Print every result as a line of JSON as soon as it is there.
    pub json: bool,
    /// Tell on stderr how far it is.
    pub progress: bool,
    /// The program to start for measurements of a whole process.
    pub program: Option<PathBuf>,
}

impl Request {
    /// Whether only the names of the cases are wanted; scripts then print nothing.
    pub fn is_survey(&self) -> bool {
        self.only.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether a case is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|names| names.iter().any(|n| n == name))
    }
}

/// The cases of a script in the order in which they came, with their results.
#[derive(Debug, Clone, Default)]
pub struct Cases(Vec<(String, Option<Measurement>)>);

impl Cases {
    /// Notes a case; `false` if there was one of this name.
    pub fn add(&mut self, name: &str) -> bool {
        let new = self.0.iter().all(|(known, _)| known != name);
        if new {
            self.0.push((name.to_string(), None));
        }
        new
    }

    /// Keeps the result of the case that it is named after.
    pub fn finish(&mut self, measurement: Measurement) {
        let case = self
            .0
            .iter_mut()
            .find(|(name, _)| *name == measurement.name);
        if let Some((_, slot)) = case {
            *slot = Some(measurement);
        }
    }

    /// The names of all cases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The results.
    pub fn results(&self) -> impl Iterator<Item = &Measurement> {
        self.0.iter().filter_map(|(_, result)| result.as_ref())
    }
}
