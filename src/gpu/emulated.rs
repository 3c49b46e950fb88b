//! A GPU that is the CPU: kernels compiled for it, thread by thread. Slow, for tests.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use half::bf16;

use super::graph::{Graph, Kept};
use super::{Gemm, Grid, Machine, Matrix, Stored};
use crate::error::{Error, Result};

unsafe extern "C" {
    fn widthwise_emulate(
        name: *const c_char,
        grid: *const c_uint,
        threads: c_uint,
        shared: c_uint,
        words: *const c_void,
        count: c_uint,
    ) -> c_int;
}

/// Something to do.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Launch(CString, Grid, Vec<u64>),
    Gemm(Gemm),
    Zero(u64, usize),
    Copy(u64, u64, usize),
}

/// The emulator.
#[derive(Debug, Default)]
pub(super) struct Emulator {
    /// While work is kept: what was kept.
    kept: Mutex<Option<Vec<Work>>>,
}

impl Emulator {
    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Vec<Work>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, work: Work) -> Result<()> {
        if let Some(kept) = &mut *self.kept() {
            kept.push(work);
            return Ok(());
        }
        run(&work)
    }

    /// What a GPU cannot do while work is kept.
    fn not_kept(&self, what: &str) -> Result<()> {
        match &*self.kept() {
            None => Ok(()),
            Some(_) => Err(Error::other(format!("{what} while work is kept"))),
        }
    }
}

fn run(work: &Work) -> Result<()> {
    match work {
        Work::Launch(symbol, grid, words) => {
            let blocks = grid.blocks.map(|n| n as c_uint);
            // SAFETY: the words are the kernel's arguments, whose addresses callers have from tensors
            let code = unsafe {
                widthwise_emulate(
                    symbol.as_ptr(),
                    blocks.as_ptr(),
                    grid.threads as c_uint,
                    grid.shared as c_uint,
                    words.as_ptr().cast(),
                    words.len() as c_uint,
                )
            };
            let why = match code {
                0 => return Ok(()),
                1 => "there is no such kernel".to_string(),
                2 => format!("it does not take {} arguments", words.len()),
                _ => format!("no GPU takes {grid:?}"),
            };
            Err(Error::other(format!("kernel {symbol:?}: {why}")))
        }
        Work::Gemm(gemm) => {
            product(gemm);
            Ok(())
        }
        // SAFETY: callers have addresses and sizes from tensors
        Work::Zero(at, bytes) => unsafe {
            std::ptr::write_bytes(*at as *mut u8, 0, *bytes);
            Ok(())
        },
        // SAFETY: as above
        Work::Copy(from, to, bytes) => unsafe {
            std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes);
            Ok(())
        },
    }
}

/// The number at row `i` and column `j` of a matrix of the batch.
fn place(m: &Matrix, batch: usize, i: usize, j: usize) -> usize {
    let (i, j) = if m.transposed { (j, i) } else { (i, j) };
    batch * m.stride + i * m.row + j
}

fn get(m: &Matrix, batch: usize, i: usize, j: usize) -> f64 {
    let place = place(m, batch, i, j);
    // SAFETY: callers have addresses and sizes from tensors
    unsafe {
        match m.stored {
            Stored::F32 => f64::from(*(m.at as *const f32).add(place)),
            Stored::F64 => *(m.at as *const f64).add(place),
            Stored::Bf16 => (*(m.at as *const bf16).add(place)).to_f64(),
        }
    }
}

fn product(g: &Gemm) {
    for batch in 0..g.batch {
        for i in 0..g.m {
            for j in 0..g.n {
                let terms = (0..g.k).map(|k| get(&g.a, batch, i, k) * get(&g.b, batch, k, j));
                let mut sum = g.alpha * terms.sum::<f64>();
                if g.beta != 0.0 {
                    sum += g.beta * get(&g.c, batch, i, j);
                }
                let place = place(&g.c, batch, i, j);
                // SAFETY: as above
                unsafe {
                    match g.c.stored {
                        Stored::F32 => *(g.c.at as *mut f32).add(place) = sum as f32,
                        Stored::F64 => *(g.c.at as *mut f64).add(place) = sum,
                        Stored::Bf16 => *(g.c.at as *mut bf16).add(place) = bf16::from_f64(sum),
                    }
                }
            }
        }
    }
}

impl Machine for Emulator {
    fn name(&self) -> String {
        "emulated GPU".into()
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn launch(&self, symbol: &str, grid: Grid, words: &[u64]) -> Result<()> {
        let symbol = CString::new(symbol).map_err(|e| Error::other(e.to_string()))?;
        self.queue(Work::Launch(symbol, grid, words.to_vec()))
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.queue(Work::Gemm(*gemm))
    }

    fn zero(&self, at: u64, bytes: usize) -> Result<()> {
        self.queue(Work::Zero(at, bytes))
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.queue(Work::Copy(from, to, bytes))
    }

    fn upload(&self, from: &[u8], to: u64) -> Result<()> {
        self.not_kept("a copy to the device")?;
        // SAFETY: callers have addresses and sizes from tensors
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.not_kept("a copy to the host")?;
        // SAFETY: as above
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.not_kept("waiting for the device")
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let bytes = crate::memory::available().unwrap_or(0) as u64;
        Ok((bytes, bytes))
    }

    fn begin(&self) -> Result<()> {
        *self.kept() = Some(Vec::new());
        Ok(())
    }

    fn end(&self) -> Result<Graph> {
        let kept = self.kept().take().unwrap_or_default();
        Ok(Graph(Kept::Emulated(kept)))
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        match &graph.0 {
            Kept::Emulated(all) => all.iter().try_for_each(run),
            _ => Err(Error::other("this work was kept by another device")),
        }
    }
}
