//! Tiles of attention's kernels: how many rows a block takes and what memory it needs. The numbers are those of
//! `kernels/attention.cuh` and, for bf16, `kernels/attention_bf16.cuh`.

use crate::error::{Error, Result};
use crate::gpu::Stored;

/// Threads of a block.
pub const THREADS: usize = 128;
/// Sizes of heads that kernels are made for, and those that kernels of tangents are made for.
const SIZES: [usize; 4] = [32, 64, 128, 256];
const TANGENT_SIZES: [usize; 2] = [64, 256];

/// A kernel over tiles.
#[derive(Debug, Clone, Copy)]
pub struct Tiled {
    name: &'static str,
    sizes: &'static [usize],
    /// Sums that a block has of each row.
    outputs: usize,
    /// Its tiles on tensor cores, where bf16 uses them.
    fragments: Option<Fragments>,
}

/// Tiles on tensor cores, for each of [`SIZES`].
#[derive(Debug, Clone, Copy)]
struct Fragments {
    rows: [usize; 4],
    columns: [usize; 4],
    /// Tiles of rows in shared memory.
    tiles: usize,
    /// Numbers of f32 that come with each column.
    numbers: usize,
}

/// A block's tile in one of a kernel's versions.
#[derive(Debug, Clone)]
pub struct Tile {
    /// The version's name.
    pub kernel: String,
    /// Rows of a block.
    pub rows: usize,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
}

/// Outputs.
pub const FORWARD: Tiled = Tiled {
    name: "attention_forward",
    sizes: &SIZES,
    outputs: 1,
    fragments: Some(Fragments {
        rows: [128, 128, 128, 64],
        columns: [64, 64, 32, 32],
        tiles: 1,
        numbers: 0,
    }),
};

/// Gradients of queries.
pub const QUERIES: Tiled = Tiled {
    name: "attention_queries",
    sizes: &SIZES,
    outputs: 1,
    fragments: Some(Fragments {
        rows: [128, 128, 64, 64],
        columns: [32, 32, 32, 16],
        tiles: 2,
        numbers: 0,
    }),
};

/// Gradients of keys and values.
pub const KEYS: Tiled = Tiled {
    name: "attention_keys",
    sizes: &SIZES,
    outputs: 2,
    fragments: Some(Fragments {
        rows: [128, 128, 64, 32],
        columns: [32, 32, 32, 16],
        tiles: 2,
        numbers: 2,
    }),
};

impl Tiled {
    /// A kernel of tangents, with so many sums of each row.
    pub const fn tangent(name: &'static str, outputs: usize) -> Self {
        Self {
            name,
            sizes: &TANGENT_SIZES,
            outputs,
            fragments: None,
        }
    }

    /// The version for a type and a size of heads.
    ///
    /// # Errors
    /// If heads are larger than any version takes.
    pub fn version(&self, stored: Stored, head_size: usize) -> Result<Tile> {
        let found = self.sizes.iter().position(|size| head_size <= *size);
        let (i, size) = found.map(|i| (i, self.sizes[i])).ok_or_else(|| {
            Error::setting(format!(
                "attention on GPUs takes heads of at most 256 channels, got {head_size}"
            ))
        })?;
        let (rows, shared) = match self.fragments {
            Some(fragments) if stored == Stored::Bf16 => fragments.version(i, size),
            _ => (self.rows(stored, size), 0),
        };
        Ok(Tile {
            kernel: format!("{}_{size}", self.name),
            rows,
            shared,
        })
    }

    /// Rows of a block without tensor cores.
    fn rows(&self, stored: Stored, size: usize) -> usize {
        let rows = if self.outputs * size <= 128 { 64 } else { 32 };
        rows * 4 / stored.arith().size()
    }
}

impl Fragments {
    /// Rows and bytes of shared memory: tiles of rows, and two stages of two tiles of columns.
    fn version(&self, i: usize, size: usize) -> (usize, usize) {
        let (rows, columns) = (self.rows[i], self.columns[i]);
        let numbers = (self.tiles * rows + 2 * 2 * columns) * (size + 8);
        let shared = numbers * Stored::Bf16.size() + 2 * self.numbers * columns * size_of::<f32>();
        (rows, shared)
    }
}
