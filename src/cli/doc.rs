//! `widthwise doc`.

use clap::Args;
use serde_json::json;

use super::{FAILED, USAGE, show};
use crate::error::Error;
use crate::script::docs::FunctionDoc;
use crate::script::names::did_you_mean;
use crate::script::{Host, HostSettings, output};

/// Arguments of `doc`.
#[derive(Debug, Args)]
pub(super) struct DocArgs {
    /// A function, `Type.method`, type or module (without one: everything there is)
    name: Option<String>,
    /// List what mentions a word
    #[arg(long, value_name = "WORD", conflicts_with = "name")]
    search: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Prints the reference.
pub(super) fn execute(args: &DocArgs) -> u8 {
    let host = match Host::new(HostSettings::default()) {
        Ok(host) => host,
        Err(e) => {
            show(&e, args.json);
            return USAGE;
        }
    };
    let docs = host.docs();
    let (found, whole) = match (&args.name, &args.search) {
        (Some(name), _) => {
            let found = docs.get(name);
            match found.is_empty() {
                true => (docs.group(name), false),
                false => (found, true),
            }
        }
        (None, Some(word)) => (docs.search(word), false),
        (None, None) => (docs.functions().iter().collect(), false),
    };
    if found.is_empty() {
        let wanted = args.name.as_ref().or(args.search.as_ref());
        let wanted = wanted.map_or("", String::as_str);
        let error = Error::setting(format!("nothing is documented as `{wanted}`"));
        let names: Vec<String> = docs.functions().iter().map(FunctionDoc::path).collect();
        let near = did_you_mean(wanted, names.iter().map(String::as_str));
        let help = near.unwrap_or_else(|| "search with: widthwise doc --search WORD".into());
        show(&error.with_help(help), args.json);
        return FAILED;
    }
    if args.json {
        let all: Vec<_> = found.iter().map(|f| f.json()).collect();
        output::line(&json!({ "ok": true, "functions": all }).to_string(), false);
    } else if whole {
        let pages: Vec<String> = found.iter().map(|f| f.page()).collect();
        output::line(pages.join("\n\n").trim_end(), false);
    } else {
        // what every type has is no news
        let told = |f: &&&FunctionDoc| !matches!(f.name.as_str(), "to_string" | "to_debug");
        let found: Vec<&FunctionDoc> = found.iter().filter(told).copied().collect();
        let names: Vec<String> = found.iter().map(|f| f.label()).collect();
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        for (name, f) in names.iter().zip(&found) {
            output::line(
                &format!("{name:width$}  {}", first_sentence(&f.summary)),
                false,
            );
        }
    }
    0
}

/// The start of a summary, short enough for a line of a list.
fn first_sentence(summary: &str) -> String {
    let end = summary.find(". ").map_or(summary.len(), |i| i + 1);
    let sentence = &summary[..end];
    if sentence.chars().count() <= 90 {
        return sentence.to_string();
    }
    let short: String = sentence.chars().take(89).collect();
    let whole_words = short
        .rsplit_once(' ')
        .map_or(short.as_str(), |(start, _)| start);
    format!("{whole_words} …")
}
