//! Files that scripts read.

use std::path::{Path, PathBuf};

use rhai::plugin::*;

use super::Registry;
use super::tensor::TensorValue;
use crate::data::read_numpy;
use crate::error::{Error, Result};
use crate::script::table::Table;
use crate::script::{OrRaise, RhaiResultOf, session};

/// Registers the readers.
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

    /// The text of a file. Scripts may read below their own folder and the output folder, and what is
    /// named with `--data` or given to `--set`.
    ///
    /// ```rhai
    /// write_text("notes.txt", "wider is better");
    /// read_text(output_folder() + "/notes.txt")      // → "wider is better"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_text(ctx: NativeCallContext, path: &str) -> RhaiResultOf<String> {
        let path = readable(&ctx, path)?;
        text(&path).or_raise(&ctx)
    }

    /// The value of a JSON file: maps, arrays, strings, numbers, bools, and `()` for `null`. A study's
    /// `NAME.json` is one. Which files may be read is as for `read_text`.
    ///
    /// ```rhai
    /// write_json("losses.json", #{ widths: [64, 128], losses: [0.5, 0.25] });
    /// read_json(output_folder() + "/losses.json").widths      // → [64, 128]
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_json(ctx: NativeCallContext, path: &str) -> RhaiResultOf<Dynamic> {
        let path = readable(&ctx, path)?;
        let value = text(&path).and_then(|text| {
            serde_json::from_str(&text).map_err(|e| Error::data(&path, "JSON", e))
        });
        value.or_raise(&ctx)
    }

    /// The table of a CSV file, whose first line names the columns. Entries that look like integers, floats
    /// or bools become these; empty ones become `()`. Which files may be read is as for `read_text`.
    ///
    /// ```rhai
    /// table(["width", "loss"], [[64, 0.5], [128, ()]]).save("losses.csv");
    /// read_csv(output_folder() + "/losses.csv").rows[1]      // → #{ width: 128, loss: () }
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_csv(ctx: NativeCallContext, path: &str) -> RhaiResultOf<Table> {
        let path = readable(&ctx, path)?;
        let table =
            text(&path).and_then(|text| Table::from_csv(&text).map_err(|e| e.at(path.display())));
        table.or_raise(&ctx)
    }

    /// The tensor of a `.npy` file, as `numpy.save` and `Tensor.save` write it, or of a `.npz` archive with
    /// one array. Types that tensors lack become the next larger one, f16 f32. Which files may be read is as
    /// for `read_text`; `data::from_tensors` makes a stream of tensors.
    ///
    /// ```rhai
    /// tensor([[1.0, 2.0], [3.0, 4.0]]).save("outputs.npy");
    /// read_tensor(output_folder() + "/outputs.npy").shape      // → [2, 2]
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_tensor(ctx: NativeCallContext, path: &str) -> RhaiResultOf<TensorValue> {
        let path = readable(&ctx, path)?;
        read_numpy(&path, None).map(TensorValue).or_raise(&ctx)
    }

    /// The tensor called `name` of an archive that `numpy.savez` wrote.
    ///
    /// ```rhai
    /// let images = |archive| read_tensor(archive, "images");
    /// ```
    #[rhai_fn(name = "read_tensor", return_raw, volatile)]
    pub fn read_tensor_of(
        ctx: NativeCallContext,
        path: &str,
        name: &str,
    ) -> RhaiResultOf<TensorValue> {
        let path = readable(&ctx, path)?;
        read_numpy(&path, Some(name))
            .map(TensorValue)
            .or_raise(&ctx)
    }
}

/// A file that the script may read.
fn readable(ctx: &NativeCallContext, path: &str) -> RhaiResultOf<PathBuf> {
    session(ctx).and_then(|s| s.input_path(path)).or_raise(ctx)
}

fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::data(path, "a text in UTF-8", format!("another byte at {at}"))
    })
}
