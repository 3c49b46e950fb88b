//! Finding benchmark scripts and their cases, and running them.

use std::path::{Path, PathBuf};

use super::{BenchArgs, Failure};
use crate::bench::{Line, Request};
use crate::cli::run::unknown_setting;
use crate::error::{Error, ErrorKind, Result};
use crate::script::check::literal_params;
use crate::script::diagnostics::Report;
use crate::script::names::did_you_mean;
use crate::script::{Host, HostSettings};

/// Where scripts are looked for.
const FOLDER: &str = "scripts/bench";

/// A benchmark script.
pub(super) struct Script {
    /// Its name without folder and ending.
    pub name: String,
    pub path: PathBuf,
    /// Its first line.
    pub about: String,
    /// Its cases.
    pub cases: Vec<String>,
}

/// What is to be measured.
pub(super) struct Selection {
    pub scripts: Vec<Script>,
    /// The cases, unless all of them.
    only: Option<Vec<String>>,
}

impl Selection {
    pub fn wants(&self, case: &str) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|names| names.iter().any(|n| n == case))
    }
}

/// The scripts directly in a folder, in the order of their names.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, &e))?;
    let paths = entries.flatten().map(|e| e.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "rhai") && p.is_file())
        .collect();
    paths.sort();
    match paths.is_empty() {
        false => Ok(paths),
        true => Err(Error::new(
            ErrorKind::Data,
            format!("there are no scripts in {}", folder.display()),
        )),
    }
}

/// The usual scripts.
fn usual() -> Result<Vec<PathBuf>> {
    let folder = Path::new(FOLDER);
    match folder.is_dir() {
        true => in_folder(folder),
        false => Err(
            Error::new(ErrorKind::Io, format!("there is no folder {FOLDER} here"))
                .with_help("name scripts or folders: widthwise bench PATH…"),
        ),
    }
}

/// Whether a name is meant as a path.
fn is_path(name: &str) -> bool {
    name.contains(['/', '\\']) || name.ends_with(".rhai") || name == "."
}

/// The scripts that a path means.
fn at(name: &str) -> Result<Vec<PathBuf>> {
    let path = PathBuf::from(name);
    match path.is_dir() {
        true => in_folder(&path),
        false if path.is_file() => Ok(vec![path]),
        false => Err(Error::new(
            ErrorKind::Io,
            format!("there is no script {name}"),
        )),
    }
}

/// Finds what names mean: words are cases of the scripts named by path, else of the usual ones. Scripts are
/// run for this, but none of their cases.
pub(super) fn select(
    names: &[String],
    settings: &[(String, String)],
) -> std::result::Result<Selection, Failure> {
    let look = |path: PathBuf| look_at(path, settings);
    let cases = |scripts: &[Script]| -> Vec<String> {
        scripts.iter().flat_map(|s| s.cases.clone()).collect()
    };
    let (mut scripts, mut only): (Vec<Script>, Vec<String>) = Default::default();
    let mut words = Vec::new();
    for name in names {
        let paths = match is_path(name) {
            true => at(name).map_err(Failure::Usage)?,
            false => {
                let mut paths = usual().map_err(Failure::Usage)?;
                paths.retain(|p| p.file_stem().is_some_and(|s| s == name.as_str()));
                if paths.is_empty() {
                    words.push(name);
                }
                paths
            }
        };
        for path in paths {
            scripts.push(look(path)?);
        }
    }
    words.retain(|word| match meaning(word, &scripts) {
        Ok(cases) => {
            only.extend(cases);
            false
        }
        Err(_) => true,
    });
    if only.is_empty() {
        only = cases(&scripts);
    }
    if names.is_empty() {
        for path in usual().map_err(Failure::Usage)? {
            scripts.push(look(path)?);
        }
    }
    if !words.is_empty() {
        let found = usual().map_err(Failure::Usage)?.into_iter().map(look);
        // a script that cannot be run with these settings may have nothing to do with the words
        let (found, failed): (Vec<_>, Vec<_>) = found.partition(std::result::Result::is_ok);
        let found: Vec<Script> = found.into_iter().flatten().collect();
        let mut failed = failed.into_iter().filter_map(std::result::Result::err);
        let mut meant = Vec::new();
        for word in words {
            match meaning(word, &found) {
                Ok(cases) => meant.extend(cases),
                Err(e) => return Err(failed.next().unwrap_or(Failure::Usage(e))),
            }
        }
        scripts.extend(
            found
                .into_iter()
                .filter(|s| s.cases.iter().any(|c| meant.contains(c))),
        );
        only.extend(meant);
    }
    // each script once, where it was named first
    let mut seen = Vec::new();
    scripts.retain(|s| {
        let new = !seen.contains(&s.path);
        seen.push(s.path.clone());
        new
    });
    if cases(&scripts).is_empty() {
        let error = Error::new(ErrorKind::Data, "the scripts have no cases");
        let help = "a case is bench::run(\"name\", || bench::measure(|| …))";
        return Err(Failure::Usage(error.with_help(help)));
    }
    check_settings(&scripts, settings)?;
    let only = (!names.is_empty()).then_some(only);
    Ok(Selection { scripts, only })
}

/// The cases that a word stands for: one of this name, or all that begin so.
fn meaning(word: &str, scripts: &[Script]) -> Result<Vec<String>> {
    let all: Vec<&String> = scripts.iter().flat_map(|s| &s.cases).collect();
    let start = format!("{word}-");
    let cases = all.iter().filter(|c| **c == word || c.starts_with(&start));
    let cases: Vec<String> = cases.map(|c| (*c).clone()).collect();
    if !cases.is_empty() {
        return Ok(cases);
    }
    let names: Vec<&str> = scripts.iter().map(|s| s.name.as_str()).collect();
    let error = Error::setting(format!(
        "there is no script and no case `{word}` in {FOLDER}; the scripts are {}",
        names.join(", ")
    ));
    let near = did_you_mean(
        word,
        names.into_iter().chain(all.iter().map(|c| c.as_str())),
    );
    let help = near.unwrap_or_else(|| "see all cases with: widthwise bench --list".into());
    Err(error.with_help(help))
}

/// Refuses settings that none of the scripts asks for, as far as their texts tell.
fn check_settings(
    scripts: &[Script],
    settings: &[(String, String)],
) -> std::result::Result<(), Failure> {
    let known: Option<Vec<Vec<String>>> = scripts.iter().map(|s| literal_params(&s.path)).collect();
    let Some(known) = known.map(|k| k.concat()) else {
        return Ok(());
    };
    let mut names = settings.iter().map(|(name, _)| name);
    names
        .try_for_each(|name| unknown_setting(name, &known))
        .map_err(Failure::Usage)
}

fn host(
    script: &str,
    settings: &[(String, String)],
    (device, tf32): (&str, bool),
    bench: Request,
    quiet: bool,
) -> Result<Host> {
    Host::new(HostSettings {
        device: device.to_string(),
        tf32,
        settings: settings.to_vec(),
        out_dir: Path::new("runs/bench").join(script),
        force: true,
        print_to_stderr: quiet,
        bench,
        ..HostSettings::default()
    })
}

/// Runs a script without its cases, to learn their names.
fn look_at(path: PathBuf, settings: &[(String, String)]) -> std::result::Result<Script, Failure> {
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(&path).map_err(|e| Failure::Usage(Error::io(&path, &e)))?;
    let first = text.lines().find_map(|l| l.trim().strip_prefix("//"));
    let request = Request {
        only: Some(Vec::new()),
        ..Request::default()
    };
    let mut host = host(&name, settings, ("cpu", false), request, true)?;
    let _ = host
        .run_file(&path)
        .map_err(|e| Failure::Script(Box::new(Report::new(&host, &e))))?;
    let cases = host.session().cases().names().map(str::to_string).collect();
    Ok(Script {
        name,
        path,
        about: first.unwrap_or_default().trim().to_string(),
        cases,
    })
}

/// Runs the scripts with the wanted cases: their result lines.
pub(super) fn run(
    selection: &Selection,
    args: &BenchArgs,
) -> std::result::Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for script in &selection.scripts {
        let request = Request {
            seconds: args.seconds,
            only: selection.only.clone(),
            json: args.json,
            progress: true,
            program: std::env::current_exe().ok(),
        };
        let device = (args.device.as_deref().unwrap_or_default(), args.tf32);
        let mut host = host(&script.name, &args.settings, device, request, args.json)?;
        let _ = host
            .run_file(&script.path)
            .map_err(|e| Failure::Script(Box::new(Report::new(&host, &e))))?;
        let session = host.session();
        let asked = session.asked_values();
        known.extend(
            asked
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, _)| k.clone()),
        );
        let cases = session.cases();
        lines.extend(cases.results().map(|m| m.line(Some(&script.name))));
    }
    for (name, _) in &args.settings {
        unknown_setting(name, &known)?;
    }
    Ok(lines)
}
