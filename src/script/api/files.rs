//! Files in the output folder.

use rhai::plugin::*;

use super::Registry;
use crate::atomic_file;
use crate::script::convert::to_json;
use crate::script::{OrRaise, RhaiResultOf, session};

/// Registers the writers.
pub fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "for scripts; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// Writes a text to the file `name` below the output folder. The file appears wholly or not at
    /// all; folders are made as needed. Fails for absolute names and names with `..`.
    ///
    /// ```rhai
    /// write_text("notes/first.txt", "wider is better");
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn write_text(ctx: NativeCallContext, name: &str, text: &str) -> RhaiResultOf<()> {
        save(&ctx, name, text.as_bytes())
    }

    /// Writes a value as JSON to the file `name` below the output folder. Tensors become nested
    /// arrays, tables arrays of objects; numbers that JSON lacks (NaN, infinities) become `null`.
    /// Fails for what is no data, such as a model or a function.
    ///
    /// ```rhai
    /// write_json("losses.json", #{ widths: [64, 128], losses: [0.5, 0.25] });
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn write_json(ctx: NativeCallContext, name: &str, value: Dynamic) -> RhaiResultOf<()> {
        let json = to_json(&value).map_err(|e| e.at(format_args!("write_json: {name}")));
        let text = format!("{:#}\n", json.or_raise(&ctx)?);
        save(&ctx, name, text.as_bytes())
    }

    /// The folder that files are written below: `--out`, or `runs/` and the script's name.
    ///
    /// ```rhai
    /// let folder = output_folder();
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn output_folder(ctx: NativeCallContext) -> RhaiResultOf<String> {
        let session = session(&ctx).or_raise(&ctx)?;
        Ok(session.output_folder().display().to_string())
    }
}

/// Writes a file below the output folder of the running script.
pub(crate) fn save(ctx: &NativeCallContext, name: &str, bytes: &[u8]) -> RhaiResultOf<()> {
    let session = session(ctx).or_raise(ctx)?;
    let path = session.output_path(name).or_raise(ctx)?;
    atomic_file::write(&path, bytes).or_raise(ctx)
}
