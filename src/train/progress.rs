//! What a person sees during a long run.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::memory::readable;

/// Where a run stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done in this run.
    pub done: u64,
    /// Steps that this run shall do.
    pub total: u64,
    /// Mean loss of the members that have not diverged.
    pub loss: f64,
}

/// Shows progress on stderr: a bar with rate, time left and loss on a terminal, otherwise a line
/// at the end and every ten seconds before it.
#[derive(Debug)]
pub struct Reporter {
    name: String,
    bar: Option<ProgressBar>,
    start: Instant,
    last_line: Instant,
}

const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl Reporter {
    /// A reporter for a run of `total` steps under a name.
    pub fn new(name: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            let template = "{prefix} {bar:24} {pos}/{len} {per_sec} {eta} left, loss {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸ "));
            }
            bar.set_prefix(name.to_string());
            bar
        });
        let now = Instant::now();
        Self {
            name: name.to_string(),
            bar,
            start: now,
            last_line: now,
        }
    }

    /// Shows where the run stands.
    pub fn update(&mut self, progress: Progress) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{:.4}", progress.loss));
                bar.set_position(progress.done);
            }
            None if self.last_line.elapsed() >= BETWEEN_LINES => {
                self.last_line = Instant::now();
                self.line(progress);
            }
            None => {}
        }
    }

    fn line(&self, p: Progress) {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = p.done as f64 / seconds.max(1e-9);
        let left = (p.total - p.done) as f64 / rate.max(1e-9);
        let Self { name, .. } = self;
        eprintln!(
            "{name}: step {}/{}, {rate:.1} steps/s, {left:.0} s left, loss {:.4}",
            p.done, p.total, p.loss
        );
    }

    /// Prints a message without disturbing the bar.
    pub fn message(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Ends the display with a line about the whole run; `memory` is a GPU's in use, and all of it.
    pub fn finish(&self, p: Progress, memory: Option<(u64, u64)>) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let Self { name, .. } = self;
        eprintln!(
            "{name}: {} steps in {seconds:.1} s ({:.1} steps/s), loss {:.4}{}",
            p.done,
            p.done as f64 / seconds.max(1e-9),
            p.loss,
            memory.map_or_else(String::new, |(used, all)| format!(
                ", {} of the GPU's {} in use",
                readable(used.into()),
                readable(all.into())
            ))
        );
    }
}
