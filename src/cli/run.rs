//! `widthwise run`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{FAILED, HostArgs, INTERRUPTED, USAGE, default_out, show, show_report};
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt;
use crate::script::check::literal_params;
use crate::script::convert::to_json;
use crate::script::diagnostics::Report;
use crate::script::names::did_you_mean;
use crate::script::{Host, output};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The script
    script: PathBuf,
    #[command(flatten)]
    host: HostArgs,
    /// Answer in JSON on stdout; what the script prints goes to stderr
    #[arg(long)]
    json: bool,
}

/// Runs the script.
pub(super) fn execute(args: RunArgs) -> u8 {
    let json = args.json;
    let mut host = match prepare(args.host, &args.script, json) {
        Ok(host) => host,
        Err(e) => {
            show(&e, json);
            return USAGE;
        }
    };
    let result = host.run_file(&args.script);
    let finished = host.session().finish_run();
    match result {
        Err(error) => {
            let report = Report::new(&host, &error);
            show_report(&report, json);
            if report.is_interruption() {
                INTERRUPTED
            } else {
                FAILED
            }
        }
        Ok(value) => {
            if let Err(e) = finished.and_then(|()| all_asked(&host)) {
                show(&e, json);
                return FAILED;
            }
            // a finished script needs no state to go on from
            let _ = std::fs::remove_dir_all(host.session().checkpoint_folder());
            if json {
                let session = host.session();
                let answer = json!({
                    "ok": true,
                    "result": to_json(&value).unwrap_or_else(|_| host.show(&value).into()),
                    "settings": session.asked_values(),
                    "output": session.has_written().then(|| session.output_folder()),
                });
                output::line(&answer.to_string(), false);
            }
            if interrupt::requested() {
                // nothing is missing, but nobody who waits for the status should go on
                output::message("interrupted at the end of the script; its results are complete");
                return INTERRUPTED;
            }
            0
        }
    }
}

/// Everything that can be wrong before the script starts.
fn prepare(args: HostArgs, script: &std::path::Path, json: bool) -> Result<Host> {
    if !script.is_file() {
        return Err(Error::new(
            ErrorKind::Io,
            format!("there is no script {}", script.display()),
        ));
    }
    if let Some(missing) = args.data.iter().find(|folder| !folder.exists()) {
        return Err(Error::new(
            ErrorKind::Io,
            format!(
                "--data {}: there is no such file or folder",
                missing.display()
            ),
        ));
    }
    args.threads.apply()?;
    let mut settings = args.settings(default_out(script));
    settings.print_to_stderr = json;
    let host = Host::new(settings)?;
    host.session().check_output_folder(script)?;
    if let Some(known) = literal_params(script) {
        for name in host.session().unasked() {
            unknown_setting(&name, &known)?;
        }
    }
    Ok(host)
}

/// After the run: settings that the script never asked for.
fn all_asked(host: &Host) -> Result<()> {
    let asked = host.session().asked_values();
    let known: Vec<String> = asked
        .as_object()
        .map(|o| o.keys().cloned().collect())
        .unwrap_or_default();
    let unasked = host.session().unasked();
    unasked
        .iter()
        .try_for_each(|name| unknown_setting(name, &known))
}

pub(super) fn unknown_setting(name: &str, known: &[String]) -> Result<()> {
    if known.iter().any(|k| k == name) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let error = Error::setting(match known.as_slice() {
        [] => format!("--set {name}: the script has no settings"),
        known => format!(
            "--set {name}: the script has no setting `{name}`; it has {}",
            known.join(", ")
        ),
    });
    Err(match did_you_mean(name, known) {
        Some(help) => error.with_help(help),
        None => error,
    })
}
