//! The texts that positions in errors refer to.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Name under which all prompt cells are compiled. Their lines are numbered through, so that a
/// function made in one cell and called in another shows its own text.
pub const PROMPT: &str = "repl";

/// Source texts by name: script files, modules, and the prompt.
#[derive(Debug, Default)]
pub struct Sources {
    texts: RwLock<BTreeMap<String, String>>,
    /// First line (from 0) of each prompt cell.
    cells: RwLock<Vec<usize>>,
    /// Names of cells that came from files, by number from 1.
    labels: RwLock<BTreeMap<usize, String>>,
}

/// A place as users know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// File, module, or `repl[3]`.
    pub source: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1, or 0 when only the line is known.
    pub column: usize,
    /// Text of the line, if the source is known.
    pub text: Option<String>,
}

impl Sources {
    /// Remembers a text.
    pub fn insert(&self, name: &str, text: &str) {
        self.texts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_string(), text.to_string());
    }

    /// A text by name.
    pub fn get(&self, name: &str) -> Option<String> {
        self.texts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// The names of all texts.
    pub fn names(&self) -> Vec<String> {
        let texts = self.texts.read().unwrap_or_else(PoisonError::into_inner);
        texts.keys().cloned().collect()
    }

    /// Adds a prompt cell and gives the blank lines that must precede it when it is compiled.
    pub fn add_cell(&self, text: &str) -> String {
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let all = texts.entry(PROMPT.to_string()).or_default();
        let first = all.lines().count();
        all.push_str(text);
        if !all.ends_with('\n') {
            all.push('\n');
        }
        cells.push(first);
        "\n".repeat(first)
    }

    /// Gives the cell that is added next the name of the file it comes from.
    pub fn label_next_cell(&self, name: &str) {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let mut labels = self.labels.write().unwrap_or_else(PoisonError::into_inner);
        labels.insert(cells.len() + 1, name.to_string());
    }

    /// Whether another cell of this many lines can still be told apart (Rhai counts 65,535 lines).
    pub fn has_room(&self, lines: usize) -> bool {
        let used = self.get(PROMPT).map_or(0, |t| t.lines().count());
        used + lines < usize::from(u16::MAX)
    }

    /// Forgets all prompt cells' texts; numbering of cells goes on.
    pub fn forget_cells(&self) {
        self.texts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(PROMPT);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        cells.iter_mut().for_each(|first| *first = 0);
    }

    /// The place of a Rhai position.
    pub fn place(&self, source: &str, position: rhai::Position) -> Option<Place> {
        let line = position.line()?;
        let column = position.position().unwrap_or(0);
        let text = self
            .get(source)
            .and_then(|t| t.lines().nth(line - 1).map(str::to_string));
        let (source, line) = if source == PROMPT {
            let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
            let cell = cells.partition_point(|first| *first < line);
            let first = cell.checked_sub(1).and_then(|c| cells.get(c)).copied();
            let labels = self.labels.read().unwrap_or_else(PoisonError::into_inner);
            let label = labels.get(&cell).cloned();
            let name = label.unwrap_or_else(|| format!("repl[{cell}]"));
            (name, line - first.unwrap_or(0))
        } else {
            (source.to_string(), line)
        };
        Some(Place {
            source,
            line,
            column,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rhai::Position;

    #[test]
    fn prompt_lines_map_to_cells() {
        let sources = Sources::default();
        assert_eq!(sources.add_cell("let x = 1;"), "");
        assert_eq!(sources.add_cell("fn f() {\n  1\n}\n"), "\n");
        assert_eq!(sources.add_cell("f()"), "\n\n\n\n");
        let place = |line| {
            let p = sources.place(PROMPT, Position::new(line, 3)).unwrap();
            (p.source, p.line, p.text.unwrap())
        };
        assert_eq!(place(1), ("repl[1]".into(), 1, "let x = 1;".into()));
        assert_eq!(place(3), ("repl[2]".into(), 2, "  1".into()));
        assert_eq!(place(5), ("repl[3]".into(), 1, "f()".into()));
        sources.label_next_cell("a.rhai");
        sources.add_cell("1\n2");
        assert_eq!(place(7), ("a.rhai".into(), 2, "2".into()));
    }
}
