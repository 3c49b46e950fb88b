//! The page that holds the tables: what stands between two marks is made anew from results.

use std::path::Path;

use serde_json::Value;

use super::tables::{comparison, megabytes, number, results, surroundings, unit};
use crate::atomic_file;
use crate::bench::ratio::Ratio;
use crate::bench::{Line, Rounds};
use crate::error::{Error, Result};
use crate::script::table::{Cell, Table};

const BEGIN: &str = "<!-- results -->";
const END: &str = "<!-- /results -->";

/// The text before and behind the tables, with the marks.
fn parts(path: &Path) -> Result<(String, String)> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
    let found = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((format!("{before}{BEGIN}\n"), format!("\n{END}{after}")))
    });
    found.ok_or_else(|| {
        Error::data(
            path,
            format!("a line {BEGIN} and a line {END} after it"),
            "none",
        )
    })
}

/// Finds out whether a page has its marks.
///
/// # Errors
/// If it cannot be read, or has none.
pub(super) fn check(path: &Path) -> Result<()> {
    parts(path).map(drop)
}

/// Writes the tables between the marks of a page.
///
/// # Errors
/// If it cannot be read or written, or has no marks.
pub(super) fn write(
    path: &Path,
    ours: &[Rounds],
    theirs: &[Rounds],
    ratios: &[Ratio],
) -> Result<()> {
    let (before, after) = parts(path)?;
    let tables = markdown(ours, theirs, ratios)?;
    atomic_file::write(path, format!("{before}\n{tables}{after}").as_bytes())
}

/// The tables: ratios first, then the results of each script, then everyone's.
fn markdown(ours: &[Rounds], theirs: &[Rounds], ratios: &[Ratio]) -> Result<String> {
    let firsts: Vec<Line> = ours.iter().map(|r| r.first().clone()).collect();
    let version = firsts
        .iter()
        .find_map(|l| l.version.clone())
        .unwrap_or_default();
    let mut page = format!(
        "widthwise {version} on {}.\n",
        surroundings(&firsts).join(": ")
    );
    if !ratios.is_empty() {
        page += "\n### Ratios\n\nAbove 1, widthwise is faster or needs less memory (MB) than the best of the others.\n\n";
        page += &comparison(ratios)?.markdown();
    }
    let mut scripts: Vec<&str> = Vec::new();
    for script in firsts.iter().filter_map(|l| l.script.as_deref()) {
        if !scripts.contains(&script) {
            scripts.push(script);
        }
    }
    for script in scripts {
        let own = ours
            .iter()
            .filter(|r| r.first().script.as_deref() == Some(script));
        let own: Vec<Rounds> = own.cloned().collect();
        page += &format!("\n### {script}\n\n{}", with_settings(&own)?.markdown());
    }
    if !theirs.is_empty() {
        page += "\n### All programs\n\n";
        page += &everyone(ours, theirs)?.markdown();
    }
    Ok(page)
}

/// Results with a column for each setting that the cases' names do not tell.
fn with_settings(rounds: &[Rounds]) -> Result<Table> {
    let plain = results(rounds)?;
    let mut keys: Vec<&String> = Vec::new();
    for key in rounds.iter().flat_map(|r| r.first().settings.keys()) {
        if !keys.contains(&key) && !plain.columns().contains(key) {
            keys.push(key);
        }
    }
    let mut columns = plain.columns().to_vec();
    columns.splice(1..1, keys.iter().map(|k| k.to_string()));
    let mut all = Table::new(columns)?;
    for (row, r) in plain.rows().iter().zip(rounds) {
        let settings = &r.first().settings;
        let cells = keys.iter().map(|key| match settings.get(*key) {
            None => Cell::Empty,
            Some(Value::String(text)) => Cell::Text(text.clone()),
            Some(other) => match other.as_i64() {
                Some(i) => Cell::Int(i),
                None => Cell::Text(other.to_string()),
            },
        });
        let mut row = row.clone();
        row.splice(1..1, cells);
        all.push(row)?;
    }
    Ok(all)
}

/// Every program's results for the cases that we have too.
fn everyone(ours: &[Rounds], theirs: &[Rounds]) -> Result<Table> {
    let columns = [
        "work", "program", "median", "unit", "spread %", "rounds", "peak MB",
    ];
    let mut all = Table::new(columns.map(str::to_string).to_vec())?;
    for own in ours {
        let same = |r: &&Rounds| r.first().case() == own.first().case();
        for r in theirs.iter().filter(same).chain([own]) {
            let first = r.first();
            all.push(vec![
                Cell::Text(first.case().into()),
                Cell::Text(format!("{} {}", first.peer, first.variant)),
                Cell::Float(r.median()),
                Cell::Text(unit(&first.metric)),
                number(r.spread(), 100.0),
                Cell::Int(r.count() as i64),
                megabytes(r.memory_mb()),
            ])?;
        }
    }
    Ok(all)
}
