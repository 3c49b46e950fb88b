//! Tables: named columns of numbers and words, aligned for people, CSV and JSON for programs.

use std::fmt;

use serde_json::{Map, Number, Value};

use super::names::did_you_mean;
use crate::error::{Error, ErrorKind, Result};

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing known.
    Empty,
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Words.
    Text(String),
}

impl Cell {
    /// The entry that a text stands for.
    fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Self::Empty;
        }
        if let Ok(i) = trimmed.parse() {
            return Self::Int(i);
        }
        match (trimmed.parse(), trimmed) {
            (Ok(x), _) => Self::Float(x),
            (_, "true" | "True") => Self::Bool(true),
            (_, "false" | "False") => Self::Bool(false),
            _ => Self::Text(text.to_string()),
        }
    }

    /// The entry with all its digits, as CSV has it.
    fn exact(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Int(i) => i.to_string(),
            Self::Float(x) => format!("{x:?}"),
            Self::Bool(b) => b.to_string(),
            Self::Text(t) => t.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Int(i) => (*i).into(),
            Self::Float(x) => Number::from_f64(*x).map_or(Value::Null, Value::Number),
            Self::Bool(b) => (*b).into(),
            Self::Text(t) => t.as_str().into(),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_) | Self::Empty)
    }
}

/// Rows of entries under named columns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    ///
    /// # Errors
    /// When a column's name comes twice.
    pub fn new(columns: Vec<String>) -> Result<Self> {
        for (i, name) in columns.iter().enumerate() {
            if columns[..i].contains(name) {
                return Err(Error::setting(format!("two columns are called `{name}`")));
            }
        }
        Ok(Self {
            columns,
            rows: Vec::new(),
        })
    }

    /// The table of comma-separated values, of which the first line has the names. Entries that look
    /// like integers, floats or bools become these.
    ///
    /// # Errors
    /// When there is no first line, a name comes twice, or a line has another number of entries.
    pub fn from_csv(text: &str) -> Result<Self> {
        // numpy and spreadsheets begin files with a mark of their encoding
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let wrong = |e: csv::Error| Error::new(ErrorKind::Data, e.to_string());
        let names = reader.headers().map_err(wrong)?;
        let mut table = Self::new(names.iter().map(String::from).collect())?;
        if table.columns.is_empty() {
            return Err(Error::new(
                ErrorKind::Data,
                "expected a line with the names of columns, found none",
            ));
        }
        for row in reader.records() {
            table.push(row.map_err(wrong)?.iter().map(Cell::parse).collect())?;
        }
        Ok(table)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it has another number of entries than there are columns.
    pub fn push(&mut self, row: Vec<Cell>) -> Result<()> {
        if row.len() != self.columns.len() {
            return Err(Error::shape(format!(
                "a row of {} entries does not fit the {} columns {}",
                row.len(),
                self.columns.len(),
                self.columns.join(", ")
            )));
        }
        self.rows.push(row);
        Ok(())
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// The entries of a column.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn column(&self, name: &str) -> Result<Vec<Cell>> {
        let Some(i) = self.columns.iter().position(|c| c == name) else {
            let error = Error::setting(format!(
                "the table has no column `{name}`; it has {}",
                self.columns.join(", ")
            ));
            let near = did_you_mean(name, self.columns.iter().map(String::as_str));
            return Err(match near {
                Some(help) => error.with_help(help),
                None => error,
            });
        };
        Ok(self.rows.iter().map(|r| r[i].clone()).collect())
    }

    /// Comma-separated values, with a first line of names; numbers keep all digits.
    ///
    /// # Errors
    /// Never for what a table can hold.
    pub fn csv(&self) -> Result<String> {
        let failed = |e: &dyn fmt::Display| Error::other(format!("writing CSV: {e}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(|e| failed(&e))?;
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(Cell::exact).collect();
            writer.write_record(&cells).map_err(|e| failed(&e))?;
        }
        let bytes = writer.into_inner().map_err(|e| failed(&e))?;
        String::from_utf8(bytes).map_err(|e| failed(&e))
    }

    /// The table in Markdown, with numbers as people read them.
    pub fn markdown(&self) -> String {
        let columns: Vec<Vec<String>> = (0..self.columns.len()).map(|i| self.shown(i)).collect();
        let line = |cells: Vec<String>| {
            let escaped = |c: &String| on_one_line(&c.replace('|', "\\|"), "<br>");
            let cells: Vec<String> = cells.iter().map(escaped).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = |i: usize| if self.is_right(i) { "--:" } else { "---" };
        let mut text = line(self.columns.clone());
        text += &line((0..self.columns.len()).map(|i| rule(i).into()).collect());
        for row in 0..self.rows.len() {
            text += &line(columns.iter().map(|cells| cells[row].clone()).collect());
        }
        text
    }

    /// Whether column `i` holds numbers, which stand to the right.
    fn is_right(&self, i: usize) -> bool {
        self.rows.iter().all(|r| r[i].is_number())
    }

    /// An array with one object per row.
    pub fn json(&self) -> Value {
        let row = |row: &Vec<Cell>| {
            let cells = self.columns.iter().cloned().zip(row.iter().map(Cell::json));
            Value::Object(cells.collect::<Map<_, _>>())
        };
        self.rows.iter().map(row).collect()
    }

    /// The entries of column `i` as people read them: floats with one number of digits.
    fn shown(&self, i: usize) -> Vec<String> {
        let style = Digits::of(self.rows.iter().map(|r| &r[i]));
        let show = |row: &Vec<Cell>| match &row[i] {
            Cell::Empty => "-".to_string(),
            Cell::Float(x) => style.show(*x),
            other => other.exact(),
        };
        self.rows.iter().map(show).collect()
    }
}

/// A text without its line breaks, which would end a table's row.
fn on_one_line(text: &str, between: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).filter(|l| !l.is_empty()).collect();
    lines.join(between)
}

/// How a column shows its floats: about four digits of the largest.
enum Digits {
    Fixed(usize),
    Scientific,
}

impl Digits {
    fn of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Self {
        let sizes = cells.filter_map(|c| match c {
            Cell::Float(x) if x.is_finite() && *x != 0.0 => Some(x.abs()),
            _ => None,
        });
        let (low, high) = sizes.fold((f64::INFINITY, 0.0_f64), |(l, h), x| (l.min(x), h.max(x)));
        if high >= 1e7 || low < 1e-5 || (high > 0.0 && high / low > 1e6) {
            return Self::Scientific;
        }
        // small values decide, so that each shows at least two digits
        let digits = match low.is_finite() {
            true => (1.0 - low.log10().floor()).max(3.0 - high.log10().floor()),
            false => 1.0,
        };
        Self::Fixed(digits.clamp(0.0, 7.0) as usize)
    }

    fn show(&self, x: f64) -> String {
        match self {
            _ if !x.is_finite() => format!("{x}"),
            Self::Fixed(digits) => format!("{x:.digits$}"),
            Self::Scientific => format!("{x:.3e}"),
        }
    }
}

impl fmt::Display for Table {
    /// Columns aligned, numbers to the right and words to the left, a rule below the names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = |cells: &[String]| -> Vec<String> {
            cells.iter().map(|cell| on_one_line(cell, " ")).collect()
        };
        let columns: Vec<Vec<String>> = (0..self.columns.len())
            .map(|i| one_line(&self.shown(i)))
            .collect();
        let names = one_line(&self.columns);
        let width = |s: &String| s.chars().count();
        let widths: Vec<usize> = columns
            .iter()
            .zip(&names)
            .map(|(cells, name)| cells.iter().chain([name]).map(width).max().unwrap_or(0))
            .collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().enumerate().map(|(i, cell)| {
                let n = widths[i];
                match self.is_right(i) {
                    true => format!("{cell:>n$}"),
                    false => format!("{cell:<n$}"),
                }
            });
            let padded: Vec<String> = padded.collect();
            padded.join("  ").trim_end().to_string()
        };
        let rule: Vec<String> = widths.iter().map(|n| "─".repeat(*n)).collect();
        writeln!(f, "{}", line(names.iter().map(String::as_str).collect()))?;
        write!(f, "{}", rule.join("  "))?;
        for i in 0..self.rows.len() {
            write!(
                f,
                "\n{}",
                line(columns.iter().map(|c| c[i].as_str()).collect())
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_read_as_it_was_written() {
        let mut table = Table::new(["a", "b", "c, d"].map(String::from).to_vec()).unwrap();
        let quoted = Cell::Text("one, \"two\"".into());
        table
            .push(vec![Cell::Int(-3), Cell::Float(1e-300), quoted])
            .unwrap();
        table
            .push(vec![
                Cell::Bool(true),
                Cell::Float(f64::INFINITY),
                Cell::Empty,
            ])
            .unwrap();
        let text = table.csv().unwrap();
        assert_eq!(Table::from_csv(&text).unwrap(), table);
        assert_eq!(Table::from_csv(&format!("\u{feff}{text}")).unwrap(), table);
        for (text, message) in [
            ("", "names of columns, found none"),
            ("a,a\n1,2", "two columns are called `a`"),
            ("a,b\n1,2\n3", "line: 3"),
        ] {
            let error = Table::from_csv(text).unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
    }

    fn table() -> Table {
        let names = ["width", "loss", "rule, name"];
        let mut t = Table::new(names.map(String::from).to_vec()).unwrap();
        t.push(vec![
            Cell::Int(64),
            Cell::Float(0.5),
            Cell::Text("mup".into()),
        ])
        .unwrap();
        t.push(vec![Cell::Int(1024), Cell::Float(0.031_25), Cell::Empty])
            .unwrap();
        t.push(vec![
            Cell::Empty,
            Cell::Float(f64::NAN),
            Cell::Text("a \"b\"".into()),
        ])
        .unwrap();
        t
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            table().to_string(),
            "width    loss  rule, name\n\
             ─────  ──────  ──────────\n\
             \u{20}  64  0.5000  mup\n\
             \u{20}1024  0.0312  -\n\
             \u{20}   -     NaN  a \"b\""
        );
    }

    #[test]
    fn csv_keeps_all_digits_and_quotes() {
        assert_eq!(
            table().csv().unwrap(),
            "width,loss,\"rule, name\"\n64,0.5,mup\n1024,0.03125,\n,NaN,\"a \"\"b\"\"\"\n"
        );
    }

    #[test]
    fn json_has_one_object_per_row() {
        assert_eq!(
            table().json().to_string(),
            r#"[{"width":64,"loss":0.5,"rule, name":"mup"},{"width":1024,"loss":0.03125,"rule, name":null},{"width":null,"loss":null,"rule, name":"a \"b\""}]"#
        );
    }

    #[test]
    fn markdown_escapes_bars() {
        let mut t = Table::new(vec!["a|b".into(), "loss".into()]).unwrap();
        t.push(vec![Cell::Text("x".into()), Cell::Float(0.5)])
            .unwrap();
        assert_eq!(
            t.markdown(),
            "| a\\|b | loss |\n| --- | --: |\n| x | 0.5000 |\n"
        );
    }

    #[test]
    fn line_breaks_end_no_row() {
        let mut t = Table::new(vec!["rule\nname".into(), "loss".into()]).unwrap();
        t.push(vec![Cell::Text("two\r\nlines\n".into()), Cell::Int(1)])
            .unwrap();
        assert_eq!(
            t.to_string(),
            "rule name  loss\n─────────  ────\ntwo lines     1"
        );
        assert_eq!(
            t.markdown(),
            "| rule<br>name | loss |\n| --- | --: |\n| two<br>lines | 1 |\n"
        );
        assert!(t.csv().unwrap().contains("\"two\r\nlines\n\""));
    }

    #[test]
    fn floats_of_very_different_size_are_scientific() {
        let mut t = Table::new(vec!["x".into()]).unwrap();
        for x in [1.0, 1e-9, 0.0] {
            t.push(vec![Cell::Float(x)]).unwrap();
        }
        assert_eq!(
            t.to_string(),
            "       x\n────────\n 1.000e0\n1.000e-9\n 0.000e0"
        );
    }

    #[test]
    fn mistakes_name_the_columns() {
        let mut t = table();
        let e = t.push(vec![Cell::Int(1)]).unwrap_err();
        assert_eq!(
            e.message,
            "a row of 1 entries does not fit the 3 columns width, loss, rule, name"
        );
        let e = t.column("los").unwrap_err();
        assert_eq!(e.help.as_deref(), Some("did you mean `loss`?"));
        assert!(Table::new(vec!["a".into(), "a".into()]).is_err());
    }
}
