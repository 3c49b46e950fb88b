//! Results and ratios as tables.

use crate::bench::machine::Machine;
use crate::bench::ratio::{Measure, Ratio};
use crate::bench::{Line, Rounds, digits};
use crate::error::Result;
use crate::script::table::{Cell, Table};

/// The machine and the days of the results.
pub(super) fn surroundings(lines: &[Line]) -> Vec<String> {
    let mut days: Vec<&str> = lines.iter().filter_map(|l| l.date.as_deref()).collect();
    days.sort_unstable();
    let day = match (days.first(), days.last()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (Some(day), _) => (*day).to_string(),
        _ => "day not known".into(),
    };
    // one with the most threads, which the whole machine is
    let machines = lines.iter().filter_map(|l| l.machine.as_ref());
    let Some(m) = machines.max_by_key(|m| m.threads) else {
        return vec![day];
    };
    vec![format!("{}, {day}", machine(m)), rates(m)]
}

fn machine(m: &Machine) -> String {
    let plural = |n: usize, word: &str| match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    };
    let (cores, threads) = (plural(m.cores, "core"), plural(m.threads, "thread"));
    format!("{}, {cores}, {threads}, {}", m.cpu, m.instructions)
}

fn rates(m: &Machine) -> String {
    let [peak, product, memory] = [m.peak, m.matmul, m.bandwidth].map(|x| digits(x / 1e9));
    format!("{peak} GFLOP/s in registers, {product} in a matrix product, {memory} GB/s of memory")
}

/// What is reported, as people write it: `member-steps/s`, `s`.
pub(super) fn unit(metric: &str) -> String {
    let unit = match metric.strip_suffix("_per_s") {
        Some(unit) => format!("{unit}/s"),
        None if metric == "seconds" || metric.ends_with("_s") => "s".into(),
        None => metric.to_string(),
    };
    unit.replace('_', "-")
}

/// A number, as a part of 1 or in percent for instance.
pub(super) fn number(x: Option<f64>, factor: f64) -> Cell {
    x.map_or(Cell::Empty, |x| Cell::Float(factor * x))
}

/// Whole megabytes.
pub(super) fn megabytes(x: Option<f64>) -> Cell {
    x.map_or(Cell::Empty, |x| Cell::Int(x.round() as i64))
}

/// One row per result. Columns that would be empty are left out.
pub(super) fn results(results: &[Rounds]) -> Result<Table> {
    let row = |r: &Rounds| {
        let first = r.first();
        let disturbed = match r.disturbed {
            true => Cell::Text("yes".into()),
            false => Cell::Empty,
        };
        [
            ("work", Cell::Text(first.case().into())),
            ("median", Cell::Float(r.median())),
            ("unit", Cell::Text(unit(&first.metric))),
            ("spread %", number(r.spread(), 100.0)),
            ("rounds", Cell::Int(r.count() as i64)),
            ("GFLOP/s", number(r.median_of(|l| l.gflops), 1.0)),
            ("% of peak", number(r.median_of(|l| l.share_of_peak), 100.0)),
            ("× floor", number(r.median_of(|l| l.over_floor), 1.0)),
            ("GB/s", number(r.median_of(|l| l.gb_per_s), 1.0)),
            ("peak MB", megabytes(r.memory_mb())),
            ("disturbed", disturbed),
        ]
    };
    filled_columns(results.iter().map(row).collect())
}

/// A table of rows with the same columns, without those in which nothing stands; rounds are
/// nothing where each result has only one.
fn filled_columns<const N: usize>(rows: Vec<[(&str, Cell); N]>) -> Result<Table> {
    let one = |name: &str, cell: &Cell| name == "rounds" && *cell == Cell::Int(1);
    let kept: Vec<usize> = (0..N)
        .filter(|&i| {
            let mut cells = rows.iter().map(|r| &r[i]);
            cells.any(|(name, cell)| *cell != Cell::Empty && !one(name, cell))
        })
        .collect();
    let names = rows
        .first()
        .into_iter()
        .flat_map(|r| kept.iter().map(|&i| r[i].0.to_string()));
    let mut table = Table::new(names.collect())?;
    for row in &rows {
        table.push(kept.iter().map(|&i| row[i].1.clone()).collect())?;
    }
    Ok(table)
}

/// One row per ratio.
pub(super) fn comparison(ratios: &[Ratio]) -> Result<Table> {
    let row = |r: &Ratio| {
        let what = match r.measure {
            Measure::Speed => unit(&r.metric),
            Measure::Memory => "MB".into(),
        };
        let verdict = r.verdict();
        [
            ("work", Cell::Text(r.case.clone())),
            ("widthwise", Cell::Float(r.ours)),
            ("best other", Cell::Float(r.theirs)),
            ("unit", Cell::Text(what)),
            ("by", Cell::Text(r.who.clone())),
            ("ratio", Cell::Float(r.ratio)),
            ("must", number(r.must(), 1.0)),
            ("goal", number(r.goal(), 1.0)),
            (
                "verdict",
                verdict.map_or(Cell::Empty, |v| Cell::Text(v.into())),
            ),
        ]
    };
    filled_columns(ratios.iter().map(row).collect())
}

/// Words in lines of at most 90 letters.
pub(super) fn filled<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < 88 => {
                line.push_str(", ");
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_words() {
        let shown = ["member_steps_per_s", "seconds", "start_to_first_step_s"].map(unit);
        assert_eq!(shown, ["member-steps/s", "s", "s"]);
    }

    #[test]
    fn words_fill_lines() {
        let words = vec!["twelve-chars"; 8];
        let lines = filled(words.into_iter());
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() <= 90, "{}", lines[0]);
    }
}
