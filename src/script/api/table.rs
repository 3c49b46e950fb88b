//! Tables.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::Registry;
use super::files::save;
use crate::error::Error;
use crate::script::convert::{json, to_data};
use crate::script::names::did_you_mean;
use crate::script::options::Values;
use crate::script::table::{Cell, Table};
use crate::script::{OrRaise, RhaiResultOf, raise};

/// Registers tables.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Table>("Table");
    registry.global(rhai::exported_module!(functions));
}

crate::script_type!(Table, "table");

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "for scripts; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// A table with named columns. Rows are arrays, one entry per column: numbers, strings, bools,
    /// or `()` for what is not known; arrays and tensors become texts. `print` shows it aligned;
    /// numbers there have about four digits, in CSV and JSON all of them.
    ///
    /// ```rhai
    /// let t = table(["width", "loss"], [[64, 0.5], [128, 0.25]]);
    /// t.len()         // → 2
    /// ```
    #[rhai_fn(name = "table", return_raw)]
    pub fn table_with_rows(
        ctx: NativeCallContext,
        columns: Array,
        rows: Array,
    ) -> RhaiResultOf<Table> {
        let names = columns.iter().map(|c| match c.as_immutable_string_ref() {
            Ok(name) => Ok(name.to_string()),
            Err(_) => Err(Error::setting(format!(
                "a column's name must be a string, found {}",
                Values::describe(c)
            ))),
        });
        let names = names.collect::<Result<Vec<_>, _>>().or_raise(&ctx)?;
        let mut table = Table::new(names).or_raise(&ctx)?;
        for row in rows {
            add_row(&mut table, row).or_raise(&ctx)?;
        }
        Ok(table)
    }

    /// A table without rows yet; `row` adds them.
    ///
    /// ```rhai
    /// let t = table(["width", "loss"]);
    /// t.row([64, 0.5]);
    /// t.column("width")      // → [64]
    /// ```
    #[rhai_fn(name = "table", return_raw)]
    pub fn table_without_rows(ctx: NativeCallContext, columns: Array) -> RhaiResultOf<Table> {
        table_with_rows(ctx, columns, Array::new())
    }

    /// Adds a row at the end: an array with one entry per column.
    ///
    /// ```rhai
    /// let t = table(["width", "loss"]);
    /// t.row([64, 0.5]);
    /// t.row([128, ()]);
    /// t.len()         // → 2
    /// ```
    #[rhai_fn(return_raw)]
    pub fn row(ctx: NativeCallContext, table: &mut Table, entries: Dynamic) -> RhaiResultOf<()> {
        add_row(table, entries).or_raise(&ctx)
    }

    /// The number of rows.
    ///
    /// ```rhai
    /// table(["width"], [[64], [128]]).len()     // → 2
    /// ```
    #[rhai_fn(pure)]
    pub fn len(table: &mut Table) -> i64 {
        table.rows().len() as i64
    }

    /// The names of the columns.
    ///
    /// ```rhai
    /// table(["width", "loss"]).columns    // → ["width", "loss"]
    /// ```
    #[rhai_fn(get = "columns", pure)]
    pub fn columns(table: &mut Table) -> Array {
        table.columns().iter().map(|c| c.as_str().into()).collect()
    }

    /// The entries of a column as an array.
    ///
    /// ```rhai
    /// table(["width", "loss"], [[64, 0.5], [128, 0.25]]).column("loss")    // → [0.5, 0.25]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn column(ctx: NativeCallContext, table: &mut Table, name: &str) -> RhaiResultOf<Array> {
        let cells = table.column(name).or_raise(&ctx)?;
        Ok(cells.into_iter().map(value).collect())
    }

    /// The rows as an array of maps.
    ///
    /// ```rhai
    /// table(["width"], [[64]]).rows    // → [#{ width: 64 }]
    /// ```
    #[rhai_fn(get = "rows", pure)]
    pub fn table_rows(table: &mut Table) -> Array {
        rows(table)
    }

    /// The table as comma-separated values, with a first line of names.
    ///
    /// ```rhai
    /// table(["width", "loss"], [[64, 0.5]]).csv()     // → "width,loss\n64,0.5\n"
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn csv(ctx: NativeCallContext, table: &mut Table) -> RhaiResultOf<String> {
        table.csv().or_raise(&ctx)
    }

    /// The table as JSON: an array with one object per row.
    ///
    /// ```rhai
    /// table(["width"], [[64]]).json()     // → "[{\"width\":64}]"
    /// ```
    #[rhai_fn(pure)]
    pub fn json(table: &mut Table) -> String {
        table.json().to_string()
    }

    /// The table as Markdown.
    ///
    /// ```rhai
    /// table(["width"], [[64]]).markdown().contains("| 64 |")      // → true
    /// ```
    #[rhai_fn(pure)]
    pub fn markdown(table: &mut Table) -> String {
        table.markdown()
    }

    /// Writes the table below the output folder; the name's ending says how: `.csv`, `.json`, `.txt`
    /// for the aligned text, or `.md` for Markdown.
    ///
    /// ```rhai
    /// table(["width", "loss"], [[64, 0.5]]).save("losses.csv");
    /// ```
    #[rhai_fn(name = "save", pure, return_raw, volatile)]
    pub fn save_table(ctx: NativeCallContext, table: &mut Table, name: &str) -> RhaiResultOf<()> {
        let text = match name.rsplit_once('.') {
            Some((_, "csv")) => table.csv().or_raise(&ctx)?,
            Some((_, "json")) => format!("{:#}\n", table.json()),
            Some((_, "txt")) => format!("{table}\n"),
            Some((_, "md")) => table.markdown(),
            _ => {
                let error = Error::setting(format!("a table cannot be saved as `{name}`"));
                let help = "the name must end in .csv, .json, .txt or .md";
                return Err(raise(&ctx, error.with_help(help)));
            }
        };
        save(&ctx, name, text.as_bytes())
    }

    /// The table as aligned text, as `print` shows it.
    ///
    /// ```rhai
    /// let text = table(["width"], [[64]]).to_string();
    /// text.contains("width")     // → true
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(table: &mut Table) -> String {
        format!("{table}")
    }

    /// Writes an array of maps with the same keys as CSV below the output folder. The columns come
    /// in alphabetical order; for another order make a `table`.
    ///
    /// ```rhai
    /// write_csv("losses.csv", [#{ width: 64, loss: 0.5 }, #{ width: 128, loss: 0.25 }]);
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn write_csv(ctx: NativeCallContext, name: &str, rows: Array) -> RhaiResultOf<()> {
        let text = of_maps(&rows).and_then(|t| t.csv()).or_raise(&ctx)?;
        save(&ctx, name, text.as_bytes())
    }
}

/// The rows of a table as maps.
pub fn rows(table: &Table) -> Array {
    let row = |row: &Vec<Cell>| {
        let names = table.columns().iter().map(|c| c.as_str().into());
        let map: Map = names.zip(row.iter().cloned().map(value)).collect();
        map.into()
    };
    table.rows().iter().map(row).collect()
}

fn add_row(table: &mut Table, row: Dynamic) -> Result<(), Error> {
    let Ok(array) = row.as_array_ref() else {
        return Err(Error::setting(format!(
            "a row must be an array, found {}",
            Values::describe(&row)
        )));
    };
    let names = table
        .columns()
        .iter()
        .map(Some)
        .chain(std::iter::repeat(None));
    let cells = array
        .iter()
        .zip(names)
        .map(|(value, name)| entry(value, name));
    table.push(cells.collect::<Result<_, _>>()?)
}

fn of_maps(rows: &Array) -> Result<Table, Error> {
    let wrong = |row: &Dynamic| {
        Error::setting(format!(
            "a row must be a map, found {}",
            Values::describe(row)
        ))
    };
    let Some(first) = rows.first() else {
        return Table::new(Vec::new());
    };
    let keys = |row: &Dynamic| match row.as_map_ref() {
        Ok(map) => Ok(map.keys().map(ToString::to_string).collect::<Vec<_>>()),
        Err(_) => Err(wrong(row)),
    };
    let columns = keys(first)?;
    let mut table = Table::new(columns.clone())?;
    for (i, row) in rows.iter().enumerate() {
        let has = keys(row)?;
        if let Some(extra) = has.iter().find(|k| !columns.contains(k)) {
            let error = Error::setting(format!("row {i} has `{extra}`, which row 0 has not"));
            let near = did_you_mean(extra, columns.iter().map(String::as_str));
            return Err(near.map_or(error.clone(), |help| error.with_help(help)));
        }
        let map = row.as_map_ref().map_err(|_| wrong(row))?;
        let cells = columns.iter().map(|c| match map.get(c.as_str()) {
            Some(value) => entry(value, Some(c)).map_err(|e| e.at(format_args!("row {i}"))),
            None => Ok(Cell::Empty),
        });
        table.push(cells.collect::<Result<_, _>>()?)?;
    }
    Ok(table)
}

/// An entry of the column called `name`.
fn entry(value: &Dynamic, name: Option<&String>) -> Result<Cell, Error> {
    cell(value).map_err(|e| match name {
        Some(name) => e.at(format_args!("column `{name}`")),
        None => e,
    })
}

/// An entry: arrays and tensors with axes become their text, as JSON has it.
fn cell(value: &Dynamic) -> Result<Cell, Error> {
    let value = to_data(value)?;
    Ok(if value.is_unit() {
        Cell::Empty
    } else if let Ok(i) = value.as_int() {
        Cell::Int(i)
    } else if let Ok(x) = value.as_float() {
        Cell::Float(x)
    } else if let Ok(b) = value.as_bool() {
        Cell::Bool(b)
    } else {
        match json(&value) {
            serde_json::Value::String(text) => Cell::Text(text),
            other => Cell::Text(other.to_string()),
        }
    })
}

fn value(cell: Cell) -> Dynamic {
    match cell {
        Cell::Empty => Dynamic::UNIT,
        Cell::Int(i) => i.into(),
        Cell::Float(x) => x.into(),
        Cell::Bool(b) => b.into(),
        Cell::Text(t) => t.into(),
    }
}
