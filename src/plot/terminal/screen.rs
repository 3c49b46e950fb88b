//! A screen of characters, each of which may be text or a braille pattern of 2 × 4 dots.

use crate::plot::colour::{Rgb, WHITE};

/// One character of the screen.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    text: Option<char>,
    dots: u8,
    colour: Option<Rgb>,
    back: Option<Rgb>,
}

/// A screen; positions are (column, row) from the upper left.
pub(crate) struct Screen {
    pub columns: usize,
    pub rows: usize,
    places: Vec<Place>,
}

/// A rectangle of a screen's characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub column: usize,
    pub row: usize,
    pub columns: usize,
    pub rows: usize,
}

impl Screen {
    /// An empty screen.
    pub fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns,
            rows,
            places: vec![Place::default(); columns * rows],
        }
    }

    fn place(&mut self, column: usize, row: usize) -> Option<&mut Place> {
        (column < self.columns && row < self.rows)
            .then(|| &mut self.places[row * self.columns + column])
    }

    /// Writes text from (column, row) to the right; what does not fit is lost.
    pub fn write(&mut self, column: usize, row: usize, text: &str, colour: Option<Rgb>) {
        for (i, c) in text.chars().enumerate() {
            if let Some(place) = self.place(column + i, row) {
                let c = if c.is_control() { ' ' } else { c };
                (place.text, place.colour) = (Some(c), colour);
            }
        }
    }

    /// Whether text stands there.
    pub fn is_written(&mut self, column: usize, row: usize) -> bool {
        self.place(column, row).is_some_and(|p| p.text.is_some())
    }

    /// Colours the ground of a character.
    pub fn ground(&mut self, column: usize, row: usize, colour: Rgb) {
        if let Some(place) = self.place(column, row) {
            place.back = Some(colour);
        }
    }

    /// Sets the dot (x, y) of a window, counted from its upper left corner; others are ignored.
    pub fn dot(&mut self, window: &Window, x: i64, y: i64, colour: Rgb) {
        let (w, h) = (2 * window.columns as i64, 4 * window.rows as i64);
        if !(0..w).contains(&x) || !(0..h).contains(&y) {
            return;
        }
        // Unicode numbers the dots down the left column, down the right one, then the last row.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let bit = BITS[(y % 4) as usize][(x % 2) as usize];
        let (column, row) = (window.column + x as usize / 2, window.row + y as usize / 4);
        if let Some(place) = self.place(column, row) {
            place.dots |= bit;
            if place.text.is_none() {
                place.colour = Some(colour);
            }
        }
    }

    /// The screen as lines without trailing blanks and blank lines at the end, with ANSI colours if wanted.
    pub fn text(&self, coloured: bool) -> String {
        let mut out = String::new();
        for row in self.places.chunks(self.columns.max(1)) {
            let used = row
                .iter()
                .rposition(|p| {
                    p.text.is_some_and(|c| c != ' ') || p.dots > 0 || (coloured && p.back.is_some())
                })
                .map_or(0, |i| i + 1);
            let mut now = (None, None);
            for place in &row[..used] {
                let c = match (place.text, place.dots) {
                    (Some(c), _) => c,
                    (None, 0) => ' ',
                    (None, dots) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
                };
                let ink = if place.back.is_some() {
                    place.colour
                } else {
                    place.colour.map(legible)
                };
                let wanted = (ink, place.back);
                if coloured && wanted != now && (c != ' ' || wanted.1 != now.1) {
                    out.push_str("\x1b[0m");
                    if let Some(Rgb(r, g, b)) = wanted.0 {
                        out.push_str(&format!("\x1b[38;2;{r};{g};{b}m"));
                    }
                    if let Some(Rgb(r, g, b)) = wanted.1 {
                        out.push_str(&format!("\x1b[48;2;{r};{g};{b}m"));
                    }
                    now = wanted;
                }
                out.push(c);
            }
            if now != (None, None) {
                out.push_str("\x1b[0m");
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

/// The colour made light enough for dark terminals, and left dark enough for light ones.
fn legible(colour: Rgb) -> Rgb {
    let mut t: f64 = 0.0;
    while colour.mix(WHITE, t).luminance() < 0.16 && t < 1.0 {
        t += 0.05;
    }
    colour.mix(WHITE, t.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_text_share_the_screen() {
        let mut screen = Screen::new(5, 2);
        let window = Window {
            column: 1,
            row: 0,
            columns: 3,
            rows: 2,
        };
        for (x, y) in [(0, 0), (1, 7), (-1, 0), (6, 0), (0, 8)] {
            screen.dot(&window, x, y, Rgb(0, 0, 0));
        }
        screen.write(3, 1, "abc", None);
        assert_eq!(screen.text(false), " ⠁\n ⢀ ab\n");
        assert!(screen.is_written(4, 1) && !screen.is_written(1, 0));
        let coloured = screen.text(true);
        assert!(coloured.contains("\x1b[38;2;") && coloured.ends_with("ab\n"));
    }

    #[test]
    fn colours_are_made_legible() {
        for i in 0..=10 {
            let colour = crate::plot::colour_map(f64::from(i) / 10.0);
            assert!(legible(colour).luminance() >= 0.16);
        }
    }
}
