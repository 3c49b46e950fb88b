//! `widthwise check`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{FAILED, USAGE, color, show};
use crate::script::{check, output};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Scripts, or folders of scripts
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Checks and reports.
pub(super) fn execute(args: &CheckArgs) -> u8 {
    let findings = match check::check(&args.paths) {
        Ok(findings) => findings,
        Err(e) => {
            show(&e, args.json);
            return USAGE;
        }
    };
    if args.json {
        let all: Vec<_> = findings.iter().map(|f| f.json()).collect();
        let answer = json!({ "ok": all.is_empty(), "findings": all });
        output::line(&answer.to_string(), false);
    } else {
        for finding in &findings {
            output::message(&finding.render(color()));
        }
        match findings.len() {
            0 => {}
            1 => output::message("1 mistake found"),
            n => output::message(&format!("{n} mistakes found")),
        }
    }
    if findings.is_empty() { 0 } else { FAILED }
}
