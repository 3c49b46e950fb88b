//! From a figure to files.

use std::path::Path;

use super::figure::Figure;
use super::layout::layout;
use super::{bitmap, svg};
use crate::atomic_file;
use crate::error::{Error, Result};

impl Figure {
    /// Whether the figure can be drawn.
    ///
    /// # Errors
    /// If there is no panel, axis limits are impossible, a heat map shares its panel, shared axes
    /// have different scales, a logarithmic axis leaves nothing of a panel's data, or the size is
    /// out of bounds or too small for the texts.
    pub fn check(&self) -> Result<()> {
        layout(&self.resolve()?).map(|_| ())
    }

    /// The picture as an SVG document.
    ///
    /// # Errors
    /// As [`Figure::check`].
    pub fn to_svg(&self) -> Result<String> {
        svg::write(&self.scene()?.0)
    }

    /// The picture as a PNG file of `size × pixel_ratio` pixels.
    ///
    /// # Errors
    /// As [`Figure::check`].
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let ratio = self.pixel_ratio.unwrap_or(2.0);
        bitmap::encode(&bitmap::paint(&self.scene()?.0, ratio)?, ratio)
    }

    /// Writes the picture as SVG or PNG, by the path's extension. The file appears whole or not at
    /// all; an existing one is replaced.
    ///
    /// # Errors
    /// Another extension, a missing folder, what the system refuses, and as [`Figure::check`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = match extension(path).as_str() {
            "svg" => self.to_svg()?.into_bytes(),
            "png" => self.to_png()?,
            _ => return Err(wrong_extension(path, "a picture", ".svg or .png")),
        };
        atomic_file::write(path, &bytes)
    }

    /// Writes the figure's data as CSV or JSON, by the path's extension, as [`Figure::save`] does.
    ///
    /// # Errors
    /// Another extension, a missing folder, and what the system refuses.
    pub fn save_data(&self, path: &Path) -> Result<()> {
        let text = match extension(path).as_str() {
            "csv" => self.data_csv()?,
            "json" => self.to_json()?,
            _ => return Err(wrong_extension(path, "a figure's data", ".csv or .json")),
        };
        atomic_file::write(path, text.as_bytes())
    }
}

fn extension(path: &Path) -> String {
    let found = path.extension().unwrap_or_default();
    found.to_string_lossy().to_ascii_lowercase()
}

fn wrong_extension(path: &Path, what: &str, accepted: &str) -> Error {
    Error::setting(format!(
        "{}: {what} is saved as {accepted}, chosen by the file's extension",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Axis, Panel, Series};

    fn figure() -> Figure {
        let line = Series::line(vec![1.0, 2.0], vec![3.0, 4.0]).unwrap();
        Figure::new().with(Panel::new(Axis::new("x"), Axis::new("y")).with(line.label("a")))
    }

    #[test]
    fn files_by_extension() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        figure().save(&path("a.svg")).unwrap();
        figure().save(&path("b.PNG")).unwrap();
        figure().save(&path("b.PNG")).unwrap();
        figure().save_data(&path("a.csv")).unwrap();
        figure().save_data(&path("a.json")).unwrap();
        let start = |name| std::fs::read(path(name)).unwrap()[..4].to_vec();
        assert_eq!(start("a.svg"), b"<svg");
        assert_eq!(start("b.PNG"), b"\x89PNG");
        assert_eq!(start("a.json")[..1], *b"{");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            4,
            "nothing else is left"
        );
    }

    #[test]
    fn wrong_paths_are_explained() {
        let folder = tempfile::tempdir().unwrap();
        let failure = |name: &str| {
            figure()
                .save(&folder.path().join(name))
                .unwrap_err()
                .to_string()
        };
        assert!(failure("a.pdf").contains(".svg or .png"));
        assert!(failure("a").contains(".svg or .png"));
        assert!(failure("no/such/a.svg").contains("does not exist"));
        std::fs::create_dir(folder.path().join("b.svg")).unwrap();
        assert!(failure("b.svg").contains("is a folder"));
        let data = figure()
            .save_data(&folder.path().join("a.png"))
            .unwrap_err();
        assert!(data.to_string().contains(".csv or .json"));
    }
}
