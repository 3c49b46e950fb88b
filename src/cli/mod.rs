//! The command line: one file per subcommand.
//!
//! Exit status: 0 done; 1 the script failed; 2 wrong usage; 130 interrupted. Messages go to stderr,
//! results to stdout.

mod bench;
mod check;
mod doc;
mod repl;
mod run;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bench::Request;
use crate::error::{Error, Result};
use crate::script::diagnostics::Report;
use crate::script::{HostSettings, output};

/// Status of a script that failed.
pub const FAILED: u8 = 1;
/// Status of wrong usage.
pub const USAGE: u8 = 2;
/// Status of an interrupted run.
pub const INTERRUPTED: u8 = 130;

/// Research on wide neural networks, in scripts and at a prompt.
///
/// Without a command it starts the prompt.
#[derive(Debug, Parser)]
#[command(name = "widthwise", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a script
    Run(run::RunArgs),
    /// Explore at the prompt (also without a command)
    Repl(repl::ReplArgs),
    /// Measure speed with benchmark scripts
    Bench(bench::BenchArgs),
    /// Parse scripts, resolve their imports, find unknown functions and settings; runs nothing
    Check(check::CheckArgs),
    /// Read about a function
    Doc(doc::DocArgs),
}

/// Options of everything that evaluates scripts.
#[derive(Debug, Args, Default)]
struct HostArgs {
    /// Set what the script reads with `param("NAME", default)`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Where to compute: cpu, cuda or cuda:N (default: the best there is)
    #[arg(long, value_parser = parse_device)]
    device: Option<String>,
    /// Let a GPU's matrix products of f32 round their factors to 10 bits (TF32): faster, less precise
    #[arg(long)]
    tf32: bool,
    /// A folder that the script may read, besides its own and those given with --set
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// Folder for results
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into an output folder that is not empty
    #[arg(long)]
    force: bool,
    /// Go on with an earlier run of the script in the output folder, from the checkpoints of each trainer's first call of `step`; the rest is computed again
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Seconds between two checkpoints of a trainer's first call of `step` (default 30)
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    checkpoint_every: Option<f64>,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// The option of everything that computes.
#[derive(Debug, Args, Default)]
struct ThreadArgs {
    /// Threads that compute (default: one per processor); results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ThreadArgs {
    /// Sets the number of threads, before anything computes.
    fn apply(&self) -> Result<()> {
        let Some(threads) = self.threads else {
            return Ok(());
        };
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global()
            .map_err(|e| Error::other(format!("--threads {threads}: {e}")))
    }
}

impl HostArgs {
    fn settings(self, default_out: PathBuf) -> HostSettings {
        HostSettings {
            settings: self.settings,
            out_dir: self.out.unwrap_or(default_out),
            force: self.force,
            resume: self.resume,
            checkpoint_every: self.checkpoint_every,
            data_dirs: self.data,
            device: self.device.unwrap_or_default(),
            tf32: self.tf32,
            bench: Request {
                program: std::env::current_exe().ok(),
                ..Request::default()
            },
            ..HostSettings::default()
        }
    }
}

fn parse_setting(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_string(), value.to_string()))
        }
        _ => Err("write it as NAME=VALUE".to_string()),
    }
}

fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..1e9).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds from 0 up".to_string()),
    }
}

fn parse_device(text: &str) -> std::result::Result<String, String> {
    match crate::gpu::Name::parse(text) {
        Ok(_) => Ok(text.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    catch_interrupts();
    let cli = Cli::parse();
    let status = match cli.command {
        Some(Command::Run(args)) => run::execute(args),
        Some(Command::Repl(args)) => repl::execute(args),
        Some(Command::Bench(args)) => bench::execute(&args),
        Some(Command::Check(args)) => check::execute(&args),
        Some(Command::Doc(args)) => doc::execute(&args),
        None => repl::execute(repl::ReplArgs::default()),
    };
    ExitCode::from(match status {
        0 if output::failed() => FAILED,
        status => status,
    })
}

/// The first Ctrl-C asks computations to stop; a second one before they have ends the program. Where they
/// do not stop at once, the user is told.
fn catch_interrupts() {
    let handler = || {
        if crate::interrupt::requested() {
            if !crate::repl::keeps_running() {
                std::process::exit(i32::from(INTERRUPTED));
            }
            return;
        }
        crate::interrupt::request();
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            if crate::interrupt::requested() && !crate::repl::keeps_running() {
                output::message(
                    "\nstopping after the current operation; Ctrl-C again ends the program at once",
                );
            }
        });
    };
    if let Err(e) = ctrlc::set_handler(handler) {
        output::message(&format!(
            "warning: Ctrl-C will end the program at once: {e}"
        ));
    }
}

/// Whether stderr takes colour.
fn color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Shows an error that has no place in a script.
fn show(error: &Error, json: bool) {
    let help = error.help.clone().into_iter().collect();
    let report = Report::finding(error.kind.name(), error.message.clone(), None, help);
    show_report(&report, json);
}

/// Shows an error on stderr, or as the JSON answer on stdout.
fn show_report(report: &Report, json: bool) {
    if json {
        let answer = serde_json::json!({ "ok": false, "error": report.json() });
        output::line(&answer.to_string(), false);
    } else {
        output::message(report.render(color()).trim_end());
    }
}

/// The output folder of a script that is given none: `runs/NAME`.
fn default_out(script: &Path) -> PathBuf {
    let name = script.file_stem().unwrap_or(script.as_os_str());
    Path::new("runs").join(name)
}
