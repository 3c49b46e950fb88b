//! Steps at which a probe is measured.

use serde::Serialize;

/// At which steps, counted from 0 before the first update, a probe is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At multiples of this.
    Every(u64),
    /// At 0 and the whole numbers nearest to 2^(i / n), i = 0, 1, …: `n` per doubling.
    Log(u64),
    /// At these.
    At(Vec<u64>),
}

impl When {
    /// Whether the probe is measured at `step`.
    pub fn due(&self, step: u64) -> bool {
        match self {
            Self::Every(n) => step.is_multiple_of((*n).max(1)),
            Self::At(steps) => steps.contains(&step),
            Self::Log(_) if step == 0 => true,
            Self::Log(n) => {
                let n = (*n).max(1) as f64;
                let near = ((step as f64).log2() * n).floor();
                [near - 1.0, near, near + 1.0, near + 2.0]
                    .into_iter()
                    .any(|i| i >= 0.0 && (i / n).exp2().round() as u64 == step)
            }
        }
    }

    /// How many steps from `first` to `last`, both included, it is measured at.
    pub fn count(&self, first: u64, last: u64) -> usize {
        let inside = |step: &u64| (first..=last).contains(step);
        match self {
            Self::Every(n) => {
                let n = (*n).max(1);
                let until = |end: u64| end.div_ceil(n) as usize;
                until(last + 1).saturating_sub(until(first))
            }
            Self::At(steps) => {
                let mut steps: Vec<u64> = steps.iter().copied().filter(inside).collect();
                steps.sort_unstable();
                steps.dedup();
                steps.len()
            }
            Self::Log(n) => {
                let n = (*n).max(1) as f64;
                let mut steps: Vec<u64> = (0..)
                    .map(|i| (f64::from(i) / n).exp2().round() as u64)
                    .take_while(|step| *step <= last)
                    .collect();
                steps.dedup();
                steps.push(0);
                steps.iter().filter(|step| inside(step)).count()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(when: &When, end: u64) -> Vec<u64> {
        (0..=end).filter(|&s| when.due(s)).collect()
    }

    #[test]
    fn steps_are_those_documented() {
        assert_eq!(steps(&When::Every(4), 12), [0, 4, 8, 12]);
        assert_eq!(steps(&When::Log(1), 40), [0, 1, 2, 4, 8, 16, 32]);
        assert_eq!(steps(&When::Log(2), 23), [0, 1, 2, 3, 4, 6, 8, 11, 16, 23]);
        assert_eq!(steps(&When::At(vec![5, 2]), 9), [2, 5]);
        assert_eq!(steps(&When::Every(0), 2), [0, 1, 2]);
    }

    #[test]
    fn steps_are_counted() {
        let all = [
            When::Every(4),
            When::Every(0),
            When::Log(1),
            When::Log(4),
            When::Log(6),
            When::At(vec![5, 2, 5, 40]),
        ];
        for when in all {
            for (first, last) in [(0, 0), (0, 40), (1, 3), (4, 4), (5, 64), (17, 100), (9, 3)] {
                let expected = (first..=last).filter(|&s| when.due(s)).count();
                assert_eq!(when.count(first, last), expected, "{when:?} {first} {last}");
            }
        }
    }
}
