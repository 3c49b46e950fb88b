//! `widthwise repl`.

use std::path::PathBuf;

use clap::Args;

use super::{HostArgs, USAGE, show};
use crate::script::Host;

/// Arguments of `repl`.
#[derive(Debug, Args, Default)]
pub(super) struct ReplArgs {
    #[command(flatten)]
    host: HostArgs,
}

/// Starts the prompt.
pub(super) fn execute(args: ReplArgs) -> u8 {
    if let Err(e) = args.host.threads.apply() {
        show(&e, false);
        return USAGE;
    }
    // at the prompt, files go where the user stands, and a second save replaces the first
    let mut settings = args.host.settings(PathBuf::from("."));
    settings.interactive = true;
    settings.force = true;
    match Host::new(settings) {
        Ok(host) => crate::repl::run(host),
        Err(e) => {
            show(&e, false);
            USAGE
        }
    }
}
