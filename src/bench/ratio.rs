//! How results compare with those of the other programs, and with what is wanted.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::rounds::Rounds;
use crate::error::{Error, Result};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The quantity that is reported.
    Speed,
    /// The largest resident size.
    Memory,
}

/// A row of the table of targets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The case.
    pub case: String,
    /// What is compared.
    pub measure: Measure,
    /// The programs that are looked at, with a space between them, each as `peer` or
    /// `peer:variant`; empty for all.
    pub peers: String,
    /// The least ratio that is acceptable.
    pub must: Option<f64>,
    /// The ratio that is aimed for.
    pub goal: Option<f64>,
}

impl Target {
    fn covers(&self, peer: &str, variant: &str) -> bool {
        let named = |word: &str| match word.split_once(':') {
            Some((p, v)) => p == peer && v == variant,
            None => word == peer,
        };
        let mut words = self.peers.split_whitespace().peekable();
        words.peek().is_none() || words.any(named)
    }
}

/// Reads a table of targets: CSV with the columns `case,measure,peers,must,goal`.
///
/// # Errors
/// If the file cannot be read, or a row is none.
pub fn read_targets(path: &Path) -> Result<Vec<Target>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, &e))?;
    csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_reader(file)
        .deserialize()
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::data(path, "rows of case,measure,peers,must,goal", e))
}

/// A result beside the best of the other programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// The case.
    pub case: String,
    /// What is compared.
    pub measure: Measure,
    /// What our result reports.
    pub metric: String,
    /// Ours.
    pub ours: f64,
    /// The best of the others.
    pub theirs: f64,
    /// Who that was: program and variant.
    pub who: String,
    /// How many times better ours is: above 1, we are faster or need less memory.
    pub ratio: f64,
    /// The row of the table of targets, where there is one.
    pub target: Option<Target>,
}

impl Ratio {
    /// The least ratio that is acceptable, where one is stated.
    pub fn must(&self) -> Option<f64> {
        self.target.as_ref()?.must
    }

    /// The ratio that is aimed for, where one is stated.
    pub fn goal(&self) -> Option<f64> {
        self.target.as_ref()?.goal
    }

    /// What it means beside what is wanted; nothing where nothing is.
    pub fn verdict(&self) -> Option<&'static str> {
        match (self.must(), self.goal()) {
            (Some(must), _) if self.ratio < must => Some("missed"),
            (_, Some(goal)) if self.ratio >= goal => Some("goal reached"),
            (Some(_), _) => Some("must reached"),
            _ => None,
        }
    }

    /// The same for other programs: `case`, `measure`, `metric`, `ours`, `theirs`, `by`, `ratio`, and `must`,
    /// `goal` and `verdict`, null where nothing is wanted.
    pub fn json(&self) -> Value {
        let measure = match self.measure {
            Measure::Speed => "speed",
            Measure::Memory => "memory",
        };
        json!({
            "case": self.case, "measure": measure, "metric": self.metric, "ours": self.ours, "theirs": self.theirs,
            "by": self.who, "ratio": self.ratio, "must": self.must(), "goal": self.goal(), "verdict": self.verdict(),
        })
    }
}

/// Compares our results with the best of the other programs, by the rows of `targets`; a result for
/// which there is no row is compared in speed with everyone.
pub fn ratios(ours: &[Rounds], theirs: &[Rounds], targets: &[Target]) -> Vec<Ratio> {
    let mut all = Vec::new();
    for own in ours {
        let case = own.first().case();
        let mut rows = targets.iter().filter(|t| t.case == case).peekable();
        if rows.peek().is_none() {
            all.extend(compare(own, theirs, None));
        }
        all.extend(rows.filter_map(|row| compare(own, theirs, Some(row))));
    }
    all
}

fn compare(own: &Rounds, theirs: &[Rounds], target: Option<&Target>) -> Option<Ratio> {
    let measure = target.map_or(Measure::Speed, |t| t.measure);
    let (value, less): (fn(&Rounds) -> Option<f64>, bool) = match measure {
        Measure::Speed => (|r| Some(r.median()), own.less_is_better()),
        Measure::Memory => (Rounds::memory_mb, true),
    };
    let ours = value(own)?;
    let candidates = theirs.iter().filter(|r| {
        let (a, b) = (r.first(), own.first());
        a.case() == b.case()
            && (measure == Measure::Memory || a.metric == b.metric)
            && target.is_none_or(|t| t.covers(&a.peer, &a.variant))
    });
    let valued = candidates.filter_map(|r| Some((value(r)?, r.first())));
    let (best, line) = valued.reduce(|a, b| match (b.0 < a.0) == less {
        true => b,
        false => a,
    })?;
    Some(Ratio {
        case: own.first().case().to_string(),
        measure,
        metric: own.first().metric.clone(),
        ours,
        theirs: best,
        who: format!("{} {}", line.peer, line.variant),
        ratio: if less { best / ours } else { ours / best },
        target: target.cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::rounds::tests::line;
    use super::*;

    fn target(case: &str, measure: Measure, peers: &str) -> Target {
        Target {
            case: case.into(),
            measure,
            peers: peers.into(),
            must: Some(1.0),
            goal: None,
        }
    }

    #[test]
    fn verdicts_follow_the_targets() {
        let verdict = |ratio: f64, must: Option<f64>, goal: Option<f64>| {
            let target = Target {
                must,
                goal,
                ..target("W1", Measure::Speed, "")
            };
            let r = Ratio {
                case: "W1".into(),
                measure: Measure::Speed,
                metric: "steps_per_s".into(),
                ours: ratio,
                theirs: 1.0,
                who: "torch eager".into(),
                ratio,
                target: Some(target),
            };
            assert_eq!(r.json()["verdict"], json!(r.verdict()));
            r.verdict()
        };
        assert_eq!(verdict(0.9, Some(1.0), Some(1.5)), Some("missed"));
        assert_eq!(verdict(1.0, Some(1.0), Some(1.5)), Some("must reached"));
        assert_eq!(verdict(1.5, Some(1.0), Some(1.5)), Some("goal reached"));
        assert_eq!(verdict(0.5, None, Some(1.0)), None);
        assert_eq!(verdict(0.5, None, None), None);
    }

    #[test]
    fn the_fastest_peer_decides() {
        let ours = Rounds::of(&[
            line("W1", "widthwise", "trainer", 30.0),
            line("START", "widthwise", "run", 0.1),
            line("own", "widthwise", "x", 1.0),
        ]);
        let theirs = Rounds::of(&[
            line("W1", "torch", "eager", 20.0),
            line("W1", "torch", "compile", 24.0),
            line("W1", "jax", "jit", 10.0),
            line("START", "torch", "eager", 2.0),
            line("START", "candle", "plain", 0.3),
        ]);
        let found = ratios(&ours, &theirs, &[]);
        let short: Vec<_> = found.iter().map(|r| (r.who.as_str(), r.ratio)).collect();
        assert_eq!(short[0], ("torch compile", 1.25));
        assert_eq!(short[1].0, "candle plain");
        assert!((short[1].1 - 3.0).abs() < 1e-12);
        assert_eq!(short.len(), 2, "nobody else did `own`");
        let targets = [
            target("W1", Measure::Speed, "jax torch:eager"),
            target("START", Measure::Speed, "torch"),
            target("START", Measure::Memory, ""),
        ];
        let found = ratios(&ours, &theirs, &targets);
        let who: Vec<_> = found.iter().map(|r| r.who.as_str()).collect();
        assert_eq!(who, ["torch eager", "torch eager", "candle plain"]);
        assert_eq!(found[0].ratio, 1.5);
        assert!((found[2].ratio - 3.0).abs() < 1e-12, "3 MB against 1 MB");
    }

    #[test]
    fn tables_of_targets_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.csv");
        let head = "# ratios\ncase,measure,peers,must,goal\n";
        std::fs::write(
            &path,
            format!("{head}W1-64,speed,torch jax,1,1.5\nSTART,memory,,,\n"),
        )
        .unwrap();
        let targets = read_targets(&path).unwrap();
        assert_eq!((targets[0].must, targets[0].goal), (Some(1.0), Some(1.5)));
        assert!(targets[1].must.is_none() && targets[1].covers("any", "one"));
        std::fs::write(&path, format!("{head}W1-64,sped,torch,1,1.5\n")).unwrap();
        let e = read_targets(&path).unwrap_err();
        assert!(
            e.message.contains("sped") && e.message.contains("case,measure"),
            "{e}"
        );
    }
}
