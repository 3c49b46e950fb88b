//! Earlier input, kept in the user's data folder.

use std::path::{Path, PathBuf};

use rustyline::history::FileHistory;
use rustyline::{Editor, Helper};

use crate::script::output;

/// Entries that are kept.
pub(super) const ENTRIES: usize = 10_000;

/// The history's file, as long as it can be written.
#[derive(Debug)]
pub(super) struct HistoryFile(Option<PathBuf>);

impl HistoryFile {
    /// The file in the user's data folder (`XDG_DATA_HOME`, or the system's own place), which is
    /// made if it is missing.
    pub fn open<H: Helper>(editor: &mut Editor<H, FileHistory>) -> Self {
        let Some(folders) = directories::ProjectDirs::from("", "", "widthwise") else {
            // no home folder: nothing to warn about
            return Self(None);
        };
        let file = folders.data_dir().join("history");
        let mut history = Self(Some(file.clone()));
        if let Err(e) = std::fs::create_dir_all(folders.data_dir()) {
            history.give_up(folders.data_dir(), &e);
        } else if file.exists()
            && let Err(e) = editor.load_history(&file)
        {
            history.give_up(&file, &e);
        }
        history
    }

    /// Writes what is new, so that nothing is lost however the program ends.
    pub fn save<H: Helper>(&mut self, editor: &mut Editor<H, FileHistory>) {
        if let Some(file) = self.0.clone()
            && let Err(e) = editor.append_history(&file)
        {
            self.give_up(&file, &e);
        }
    }

    fn give_up(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        output::message(&format!(
            "warning: the history is not kept: {}: {error}",
            path.display()
        ));
        self.0 = None;
    }
}
