//! Several rounds of one measurement.

use serde_json::Value;

use super::line::Line;
use crate::metrics::stats::quantile;

/// The rounds of one program, case and variant that count, in the order in which they came.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounds {
    lines: Vec<Line>,
    /// Whether even those that count were disturbed by other processes.
    pub disturbed: bool,
}

impl Rounds {
    /// Puts lines together, in the order in which their measurements first came. Disturbed rounds
    /// count only where fewer than two others are there, or none beside a single one.
    pub fn of(lines: &[Line]) -> Vec<Self> {
        let key = |l: &Line| {
            let names = [l.case(), &l.peer, &l.variant, &l.metric].map(str::to_string);
            (names, Value::Object(l.settings.clone()).to_string())
        };
        let mut groups: Vec<(_, Vec<&Line>)> = Vec::new();
        for line in lines {
            let own = key(line);
            match groups.iter_mut().find(|(key, _)| *key == own) {
                Some((_, group)) => group.push(line),
                None => groups.push((own, vec![line])),
            }
        }
        let rounds = groups.into_iter().map(|(_, all)| {
            let dirty = |l: &Line| l.dirty.unwrap_or(false);
            let clean: Vec<&Line> = all.iter().filter(|l| !dirty(l)).copied().collect();
            let disturbed = clean.len() < all.len().min(2);
            let counted = if disturbed { all } else { clean };
            Self {
                lines: counted.into_iter().cloned().collect(),
                disturbed,
            }
        });
        rounds.collect()
    }

    /// The first round, for everything that is the same in all of them.
    pub fn first(&self) -> &Line {
        &self.lines[0]
    }

    /// How many rounds count.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// The median over rounds of a number, if all of them have it.
    pub fn median_of(&self, get: impl Fn(&Line) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> = self.lines.iter().map(get).collect();
        quantile(&values?, 0.5).ok()
    }

    /// The median over rounds of what is reported.
    pub fn median(&self) -> f64 {
        self.median_of(|l| Some(l.median)).unwrap_or(f64::NAN)
    }

    /// The smallest and the largest median of a round.
    pub fn range(&self) -> (f64, f64) {
        let medians = || self.lines.iter().map(|l| l.median);
        let low = medians().fold(f64::INFINITY, f64::min);
        (low, medians().fold(f64::NEG_INFINITY, f64::max))
    }

    /// How far results lie apart, as a share of the median: the range over rounds, or the quartiles
    /// of a single one.
    pub fn spread(&self) -> Option<f64> {
        match self.lines.as_slice() {
            [one] => one.spread,
            _ => Some((self.range().1 - self.range().0) / self.median()),
        }
    }

    /// The median over rounds of the largest resident size, in MB.
    pub fn memory_mb(&self) -> Option<f64> {
        self.median_of(|l| l.maxrss_mb)
    }

    /// Whether less of the quantity is better.
    pub fn less_is_better(&self) -> bool {
        let metric = &self.first().metric;
        !["_per_s", "gflops"].iter().any(|end| metric.ends_with(end))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A line with the given case, program, variant, median and memory.
    pub(in crate::bench) fn line(case: &str, peer: &str, variant: &str, median: f64) -> Line {
        let metric = match case {
            "START" => "start_to_first_step_s",
            _ => "steps_per_s",
        };
        let json = json!({
            "peer": peer, "work": "W", "variant": variant, "metric": metric,
            "median": median, "lo": median, "hi": median, "n": 5, "group": case,
            "maxrss_mb": 10.0 * median, "spread": 0.5,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn rounds_of_one_thing_become_one() {
        let lines: Vec<Line> = [3.0, 1.0, 2.0].map(|x| line("a", "torch", "x", x)).into();
        let other = [line("a", "torch", "y", 7.0), line("b", "torch", "x", 8.0)];
        let rounds = Rounds::of(&[lines, other.into()].concat());
        assert_eq!(rounds.len(), 3);
        assert_eq!((rounds[0].count(), rounds[0].median()), (3, 2.0));
        assert_eq!(rounds[0].range(), (1.0, 3.0));
        assert_eq!(rounds[0].spread(), Some(1.0));
        assert_eq!(rounds[0].memory_mb(), Some(20.0));
        assert_eq!(rounds[1].spread(), Some(0.5));
        assert_eq!(rounds[0].median_of(|l| l.gflops), None);
    }

    #[test]
    fn disturbed_rounds_count_only_where_there_is_nothing_better() {
        let mut lines: Vec<Line> = [1.0, 2.0, 3.0, 9.0]
            .map(|x| line("a", "torch", "x", x))
            .into();
        lines[3].dirty = Some(true);
        let rounds = &Rounds::of(&lines)[0];
        assert_eq!((rounds.median(), rounds.disturbed), (2.0, false));
        lines[1].dirty = Some(true);
        lines[2].dirty = Some(true);
        let rounds = &Rounds::of(&lines)[0];
        assert_eq!((rounds.count(), rounds.disturbed), (4, true));
        assert!(!Rounds::of(&lines[..1])[0].disturbed);
        assert!(Rounds::of(&lines[3..])[0].disturbed);
    }
}
