//! `widthwise bench`.

mod page;
mod scripts;
mod tables;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    FAILED, INTERRUPTED, ThreadArgs, USAGE, parse_device, parse_setting, show, show_report,
};
use crate::bench::line::read;
use crate::bench::ratio::{Ratio, Target, ratios, read_targets};
use crate::bench::{Line, Rounds};
use crate::error::{Error, ErrorKind, Result};
use crate::script::diagnostics::Report;
use crate::script::output;
use scripts::{Script, Selection};

/// Where targets stand, beside the scripts.
const TARGETS: &str = "scripts/bench/targets.csv";

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// What to measure: scripts (mlp, or a path), folders of scripts, cases (W1-64), or cases that
    /// begin so (W1), of the scripts that are named or else of those in scripts/bench; without any, all
    /// scripts there
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Seconds of each measurement (default 3)
    #[arg(long, value_name = "S", value_parser = parse_positive)]
    seconds: Option<f64>,
    /// Set what the scripts read with `param("NAME", default)`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Where to compute: cpu, cuda or cuda:N (default: the best there is)
    #[arg(long, value_parser = parse_device)]
    device: Option<String>,
    /// Let a GPU's matrix products of f32 round their factors to 10 bits (TF32)
    #[arg(long)]
    tf32: bool,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Say which scripts and cases there are; measures nothing
    #[arg(long)]
    list: bool,
    /// Print a line of JSON for each result as soon as it is there
    #[arg(long, conflicts_with = "page")]
    json: bool,
    /// Show the result lines of a file instead of measuring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "seconds", "settings", "list"])]
    from: Option<PathBuf>,
    /// Compare with the result lines of other programs; with --json, a line for each ratio
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Ratios that are wanted (default: scripts/bench/targets.csv, if it is there)
    #[arg(long, value_name = "FILE", requires = "peers")]
    targets: Option<PathBuf>,
    /// Write the tables into a page, between its lines <!-- results --> and <!-- /results -->
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    page: Option<PathBuf>,
}

fn parse_positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x < 1e6 => Ok(x),
        _ => Err("give a number of seconds above 0".to_string()),
    }
}

/// Why there are no results.
pub(super) enum Failure {
    /// Wrong usage.
    Usage(Error),
    /// A script failed.
    Script(Box<Report>),
    /// Something else failed.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Measures, or shows what was measured.
pub(super) fn execute(args: &BenchArgs) -> u8 {
    let Err(failure) = measure_or_show(args) else {
        return 0;
    };
    match failure {
        Failure::Usage(e) => {
            show(&e, args.json);
            USAGE
        }
        Failure::Script(report) => {
            show_report(&report, args.json);
            match report.is_interruption() {
                true => INTERRUPTED,
                false => FAILED,
            }
        }
        Failure::Other(e) => {
            show(&e, args.json);
            FAILED
        }
    }
}

fn measure_or_show(args: &BenchArgs) -> std::result::Result<(), Failure> {
    // what may be wrong with the files is known before anything is measured
    let peers = args
        .peers
        .as_deref()
        .map(read)
        .transpose()
        .map_err(Failure::Usage)?;
    let targets = targets(args).map_err(Failure::Usage)?;
    if let Some(page) = &args.page {
        page::check(page).map_err(Failure::Usage)?;
    }
    let lines = match &args.from {
        Some(file) => read(file).map_err(Failure::Usage)?,
        None => {
            args.threads.apply()?;
            let selection = scripts::select(&args.names, &args.settings)?;
            if args.list {
                list(&selection, args.json);
                return Ok(());
            }
            scripts::run(&selection, args)?
        }
    };
    let ours = Rounds::of(&lines);
    let theirs = peers.map(|lines| Rounds::of(&lines));
    let compared = theirs
        .as_ref()
        .map(|theirs| ratios(&ours, theirs, &targets));
    if args.json {
        match &compared {
            Some(ratios) => ratios
                .iter()
                .for_each(|r| output::line(&r.json().to_string(), false)),
            // what is measured was printed as soon as it was there
            None if args.from.is_some() => lines
                .iter()
                .for_each(|l| output::line(&l.json().to_string(), false)),
            None => {}
        }
        return Ok(());
    }
    show_tables(&lines, &ours, compared.as_deref())?;
    if let Some(path) = &args.page {
        let theirs = theirs.as_deref().unwrap_or_default();
        page::write(path, &ours, theirs, compared.as_deref().unwrap_or_default())?;
        output::message(&format!("the tables are in {}", path.display()));
    }
    Ok(())
}

/// The wanted ratios, where there is something to compare.
fn targets(args: &BenchArgs) -> Result<Vec<Target>> {
    let usual = PathBuf::from(TARGETS);
    match &args.targets {
        Some(path) => read_targets(path),
        None if args.peers.is_some() && usual.is_file() => read_targets(&usual),
        None => Ok(Vec::new()),
    }
}

fn show_tables(lines: &[Line], ours: &[Rounds], compared: Option<&[Ratio]>) -> Result<()> {
    if lines.is_empty() {
        return Err(Error::new(ErrorKind::Data, "there are no results to show"));
    }
    for line in tables::surroundings(lines) {
        output::line(&line, false);
    }
    output::line(&tables::results(ours)?.to_string(), false);
    match compared {
        None => {}
        Some([]) => output::message("warning: the peers' results have none of these cases"),
        Some(ratios) => {
            output::line(&format!("\n{}", tables::comparison(ratios)?), false);
        }
    }
    Ok(())
}

/// The scripts and cases that were found.
fn list(selection: &Selection, as_json: bool) {
    if as_json {
        let script = |s: &Script| json!({ "script": s.name, "path": s.path, "about": s.about, "cases": s.cases });
        let scripts: Vec<_> = selection.scripts.iter().map(script).collect();
        output::line(
            &json!({ "ok": true, "scripts": scripts }).to_string(),
            false,
        );
        return;
    }
    for script in &selection.scripts {
        output::line(&format!("{}: {}", script.name, script.about), false);
        let cases = script.cases.iter().filter(|c| selection.wants(c));
        for line in tables::filled(cases.map(String::as_str)) {
            output::line(&format!("    {line}"), false);
        }
    }
}
