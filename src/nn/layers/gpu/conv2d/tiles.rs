//! How blocks share the pixels of a convolution on tensor cores, see `kernels/conv_tile.cuh`.

use crate::gpu::{Word, words};

/// Bytes of shared memory of a block, at most: two blocks are at work on a multiprocessor at once.
const MOST_SHARED: usize = 80 << 10;
/// Kernels keep rows and columns of a tile in 10 bits, and examples in 12.
const MOST_ROWS: usize = 1 << 10;
const MOST_EXAMPLES: usize = 1 << 12;
/// What a tile costs beside the products, in products of a pixel and a tap.
const OVERHEAD: usize = 64;

/// One axis of images, and of the grid of pixels whose windows a kernel goes over.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// Pixels of an image.
    pub size: usize,
    /// Pixels of the grid.
    pub pixels: usize,
    /// How far a window is from the next one.
    pub step: usize,
    /// Where the first window begins.
    pub first: isize,
    /// Pixels of a window.
    pub taps: usize,
}

impl Axis {
    /// How far staged pixels are from each other: those between the windows of single pixels are left out.
    fn grain(self) -> usize {
        if self.taps > 1 { 1 } else { self.step }
    }

    /// Pixels that so many neighbouring windows see.
    fn staged(self, windows: usize) -> usize {
        ((windows - 1) * self.step + self.taps.max(1) - 1) / self.grain() + 1
    }

    /// Lengths of a tile that share the pixels about equally.
    fn lengths(self) -> Vec<usize> {
        let mut all: Vec<usize> = (1..=self.pixels).map(|n| self.pixels.div_ceil(n)).collect();
        all.dedup();
        all
    }
}

/// What a kernel does with a tile.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Pixels of a tile, at most.
    pub pixels: usize,
    /// Pixels that are multiplied at once: the others of a tile cost as much.
    pub at_once: usize,
    /// Bytes of shared memory for a staged pixel, in both stages together.
    pub staged: usize,
    /// Bytes for each pixel of the tile, those that fill it up included.
    pub pixel: usize,
    /// Bytes for all else.
    pub other: usize,
}

/// Images that are staged and how: `ConvView` of the kernels.
#[derive(Debug, Clone, Copy)]
pub struct View {
    examples: usize,
    channels: usize,
    groups: usize,
    axes: [Axis; 2],
    /// Examples, rows and columns of a tile.
    pub tile: [usize; 3],
    /// Rows and columns of an example that are staged.
    staged: [usize; 2],
    /// Whether they are staged two columns at a time.
    pairs: bool,
    /// Bytes of shared memory of a block.
    pub shared: usize,
}

impl View {
    /// The tile that costs least; `None` if no tile fits. `even` says whether images lie at even places.
    pub fn new(
        (examples, channels, groups): (usize, usize, usize),
        axes: [Axis; 2],
        even: bool,
        room: Room,
    ) -> Option<Self> {
        let [down, across] = axes;
        let pairs = even && across.size.is_multiple_of(2) && across.grain() == 1;
        // kernels count the numbers of a tile in 31 bits
        let numbers = channels * down.size * across.size;
        let counted = (i32::MAX as usize / numbers.max(1)).min(MOST_EXAMPLES - 1);
        let mut best: Option<(usize, Self)> = None;
        for columns in across.lengths() {
            // pairs of pixels do not lie across tiles
            let columns = match across.pixels.is_multiple_of(2) {
                true => columns.next_multiple_of(2),
                false => columns,
            };
            for rows in down.lengths() {
                let all = rows == down.pixels && columns == across.pixels;
                let most = match all {
                    true => (room.pixels / (rows * columns)).min(examples).min(counted),
                    false => counted.min(1),
                };
                for count in (1..=most).filter(|n| n * rows * columns <= room.pixels) {
                    let view = Self {
                        examples,
                        channels,
                        groups,
                        axes,
                        tile: [count, rows, columns],
                        staged: [down.staged(rows), across.staged(columns)],
                        pairs,
                        shared: 0,
                    };
                    let Some(view) = view.with_shared(room) else {
                        continue;
                    };
                    let cost = view.cost(room);
                    if best.is_none_or(|(least, _)| cost < least) {
                        best = Some((cost, view));
                    }
                }
            }
        }
        best.map(|(_, view)| view)
    }

    fn with_shared(mut self, room: Room) -> Option<Self> {
        let columns = &mut self.staged[1];
        if self.pairs {
            // one before the first where that is odd
            *columns = (*columns + 1).next_multiple_of(2);
        }
        if self.tile[2] == 4 && self.axes[1].step == 1 {
            // eight pixels that are read at once are two rows, which lie in different banks then
            *columns = (*columns + 4).next_multiple_of(8) - 4;
        }
        // a word says where each staged pixel or pair is
        let words = self.runs() * size_of::<u32>();
        let pixels = self.pixels(room) * room.pixel;
        self.shared = self.all_staged() * room.staged + words + pixels + room.other;
        let small = self.staged.iter().all(|&n| n < MOST_ROWS) && self.shared <= MOST_SHARED;
        small.then_some(self)
    }

    /// Pixels of a tile, filled up.
    fn pixels(&self, room: Room) -> usize {
        let pixels: usize = self.tile.iter().product();
        pixels.next_multiple_of(room.at_once)
    }

    fn all_staged(&self) -> usize {
        self.tile[0] * self.staged[0] * self.staged[1]
    }

    fn runs(&self) -> usize {
        self.all_staged() / if self.pairs { 2 } else { 1 }
    }

    /// Tiles in all.
    pub fn tiles(&self) -> usize {
        let [examples, rows, columns] = self.tile;
        let [down, across] = self.axes;
        let of_image = down.pixels.div_ceil(rows) * across.pixels.div_ceil(columns);
        self.examples.div_ceil(examples) * of_image
    }

    /// Products of a pixel and a tap, where staging a pixel costs about as much as one.
    fn cost(&self, room: Room) -> usize {
        let taps = self.axes.iter().map(|a| a.taps.max(1)).product::<usize>();
        self.tiles() * (self.pixels(room) * taps + self.all_staged() + OVERHEAD)
    }

    /// `ConvView`.
    pub fn words(&self) -> Vec<Word> {
        let [down, across] = self.axes;
        let signed = |n: isize| n as i64 as u64;
        let [examples, rows, columns] = self.tile;
        words![
            self.examples,
            self.channels,
            down.size,
            across.size,
            self.groups,
            down.pixels,
            across.pixels,
            down.step,
            across.step,
            signed(down.first),
            signed(across.first),
            down.taps,
            across.taps,
            examples,
            rows,
            columns,
            down.grain(),
            across.grain(),
            self.staged[0],
            self.staged[1],
            self.pairs
        ]
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(size: usize, step: usize, first: isize, taps: usize) -> Axis {
        let seen = size as isize - 2 * first - taps as isize;
        Axis {
            size,
            pixels: seen as usize / step + 1,
            step,
            first,
            taps,
        }
    }

    /// `conv_multiply` with 256 and with 128 pixels, and `conv_weights` with 32 channels.
    const ROOMS: [Room; 3] = [
        Room {
            pixels: 256,
            at_once: 256,
            staged: 96,
            pixel: 4,
            other: 0,
        },
        Room {
            pixels: 128,
            at_once: 128,
            staged: 96,
            pixel: 4,
            other: 0,
        },
        Room {
            pixels: 128,
            at_once: 32,
            staged: 160,
            pixel: 288,
            other: 1024,
        },
    ];

    /// The stages of a residual network of 32 × 32 images fill their tiles.
    #[test]
    fn tiles_of_a_residual_network() {
        for (size, room, tile) in [
            (32, ROOMS[0], [1, 8, 32]),
            (16, ROOMS[1], [1, 8, 16]),
            (8, ROOMS[1], [2, 8, 8]),
            (4, ROOMS[1], [8, 4, 4]),
            (32, ROOMS[2], [1, 8, 16]),
            (16, ROOMS[2], [1, 8, 16]),
            (8, ROOMS[2], [2, 8, 8]),
            (4, ROOMS[2], [4, 4, 4]),
        ] {
            let axes = [axis(size, 1, -1, 3); 2];
            let view = View::new((512, 64, 1), axes, true, room).unwrap();
            assert_eq!(view.tile, tile, "{size}, {room:?}");
        }
    }

    #[test]
    fn tiles_fit_at_any_shape() {
        for room in ROOMS {
            for (height, width) in [(1, 1), (7, 6), (5, 301), (224, 224), (600, 3)] {
                for (taps, step, padding) in [(1, 1, 0), (1, 3, 2), (3, 1, 1), (3, 2, 1), (7, 2, 3)]
                {
                    let axes = [height, width].map(|size| axis(size, step, -padding, taps));
                    if axes.iter().any(|a| a.size + 2 * padding as usize <= taps) {
                        continue;
                    }
                    let view = View::new((5, 8, 1), axes, true, room).unwrap();
                    let pixels: usize = view.tile.iter().product();
                    assert!(pixels > 0 && pixels <= room.pixels && view.shared <= MOST_SHARED);
                }
            }
        }
    }

    /// A window that no shared memory holds.
    #[test]
    fn windows_that_are_too_large() {
        let axes = [axis(64, 1, 0, 41); 2];
        assert!(View::new((1, 8, 1), axes, true, ROOMS[0]).is_none());
    }
}
