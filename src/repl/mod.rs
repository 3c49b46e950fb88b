//! The prompt.

use std::io::BufRead;

use crate::script::diagnostics::Report;
use crate::script::{Host, output};

/// Evaluates lines from stdin until it ends; gives the exit status.
pub fn run(mut host: Host) -> u8 {
    let mut status = 0;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match host.eval_cell(&line) {
            Ok(value) if value.is_unit() => {}
            Ok(value) => output::line(&host.show(&value), false),
            Err(error) => {
                output::message(Report::new(&host, &error).render(false).trim_end());
                status = 1;
            }
        }
    }
    status
}
