//! GPUs: kernels, matrix products and memory of one device, whose work runs in the order in which it is
//! given.
//!
//! Kernels are in `kernels/`, sources that a GPU runs and, in tests, the CPU: the emulator
//! runs the same indices, barriers and sums thread by thread, so that everything but speed can be seen on a
//! machine without a GPU.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "emulator")]
mod emulated;
mod gemm;
mod graph;
#[cfg(all(test, feature = "emulator"))]
mod mma_tests;
mod open;
mod place;
mod stored;
mod word;
mod workspace;

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use candle_core::Device;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
pub(crate) use cuda::{errors::is_out_of_memory, fetch, store};
pub use gemm::{Gemm, Matrix};
pub use graph::Graph;
pub use open::{Name, open};
pub use place::{Place, address};
pub use stored::Stored;
pub use word::Word;
pub(crate) use word::words;
pub use workspace::Workspace;

/// Threads of a block where a kernel does not ask for another number.
pub const THREADS: usize = 256;
/// The longest grid along its second and third axis.
const LONGEST: usize = 65535;
/// Blocks along x, for kernels that go on where they end.
const MOST_BLOCKS: usize = 1 << 16;

/// How many blocks of how many threads run a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [usize; 3],
    /// Threads of a block, a multiple of 32 and at most [`THREADS`].
    pub threads: usize,
    /// Bytes of dynamic shared memory of a block.
    pub shared: usize,
}

impl Grid {
    /// Threads for `n` numbers of each member, in kernels that go on where the grid ends.
    pub fn each(n: usize, members: usize) -> Self {
        Self::blocks(n.div_ceil(THREADS).clamp(1, MOST_BLOCKS), members)
    }

    /// Blocks of [`THREADS`] threads, along x, for each member.
    pub fn blocks(blocks: usize, members: usize) -> Self {
        Self {
            blocks: [blocks, members, 1],
            threads: THREADS,
            shared: 0,
        }
    }

    /// The same with other blocks.
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// The same with dynamic shared memory.
    pub fn with_shared(self, shared: usize) -> Self {
        Self { shared, ..self }
    }
}

/// What a GPU, or what stands for one, can do. Work is queued and runs in order; addresses are the device's.
trait Machine: Debug + Send + Sync {
    /// Its name for people.
    fn name(&self) -> String;
    /// Where candle keeps its tensors.
    fn device(&self) -> &Device;
    /// Runs a kernel by its symbol.
    fn launch(&self, symbol: &str, grid: Grid, words: &[u64]) -> Result<()>;
    /// A batch of matrix products.
    fn gemm(&self, gemm: &Gemm) -> Result<()>;
    /// Sets bytes to 0.
    fn zero(&self, at: u64, bytes: usize) -> Result<()>;
    /// Copies from one place of the device to another.
    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()>;
    /// Copies to the device; `from` may be changed afterwards.
    fn upload(&self, from: &[u8], to: u64) -> Result<()>;
    /// Waits for the work before it and copies to the host.
    fn download(&self, from: u64, to: &mut [u8]) -> Result<()>;
    /// Waits for all work.
    fn synchronize(&self) -> Result<()>;
    /// Free and all bytes of memory.
    fn memory(&self) -> Result<(u64, u64)>;
    /// From here on work is kept instead of run.
    fn begin(&self) -> Result<()>;
    /// What was kept since then.
    fn end(&self) -> Result<Graph>;
    /// Runs what was kept.
    fn replay(&self, graph: &Graph) -> Result<()>;
}

/// A GPU.
#[derive(Debug)]
pub struct Gpu {
    machine: Box<dyn Machine>,
    tf32: AtomicBool,
}

impl Gpu {
    /// The emulator: kernels run on the CPU, over tensors of the CPU.
    #[cfg(feature = "emulator")]
    pub fn emulated() -> Self {
        Self {
            machine: Box::new(emulated::Emulator::default()),
            tf32: AtomicBool::new(false),
        }
    }

    /// GPU `number` of those that the process sees.
    ///
    /// # Errors
    /// If there is none, or it cannot be used: what is missing.
    #[cfg(feature = "cuda")]
    pub fn cuda(number: usize) -> Result<Self> {
        Ok(Self {
            machine: Box::new(cuda::Cuda::open(number)?),
            tf32: AtomicBool::new(false),
        })
    }

    /// Says whether products of f32 may round their factors to 10 bits (TF32); at first they may not.
    pub fn set_tf32(&self, tf32: bool) {
        self.tf32.store(tf32, Relaxed);
    }

    /// Whether products of f32 may round their factors to 10 bits.
    pub fn tf32(&self) -> bool {
        self.tf32.load(Relaxed)
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        self.machine.name()
    }

    /// Where candle keeps its tensors.
    pub fn device(&self) -> &Device {
        self.machine.device()
    }

    /// Queues a kernel of a stored type, by the name that its source has.
    ///
    /// # Errors
    /// If there is no such kernel, or the device refuses it.
    pub fn launch(&self, kernel: &str, stored: Stored, grid: Grid, words: &[Word]) -> Result<()> {
        self.launch_symbol(&format!("{kernel}_{}", stored.suffix()), grid, words)
    }

    /// The same for a kernel of no type.
    ///
    /// # Errors
    /// As for [`Gpu::launch`].
    pub fn launch_plain(&self, kernel: &str, grid: Grid, words: &[Word]) -> Result<()> {
        self.launch_symbol(&format!("{kernel}_plain"), grid, words)
    }

    fn launch_symbol(&self, symbol: &str, grid: Grid, words: &[Word]) -> Result<()> {
        let [x, y, z] = grid.blocks;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        if y > LONGEST || z > LONGEST {
            return Err(Error::shape(format!(
                "{symbol}: {} members or outputs are more than a GPU takes at once ({LONGEST})",
                y.max(z)
            )));
        }
        let words: Vec<u64> = words.iter().map(|w| w.bits()).collect();
        self.machine.launch(symbol, grid, &words)
    }

    /// Queues a batch of matrix products.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn gemm(&self, gemm: &Gemm) -> Result<()> {
        if gemm.m == 0 || gemm.n == 0 || gemm.batch == 0 {
            return Ok(());
        }
        self.machine.gemm(&Gemm {
            tf32: self.tf32(),
            ..*gemm
        })
    }

    /// Queues setting bytes to 0.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn zero(&self, at: u64, bytes: usize) -> Result<()> {
        self.machine.zero(at, bytes)
    }

    /// Queues a copy on the device.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.machine.copy(from, to, bytes)
    }

    /// Copies to the device, in order with the other work.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn upload<T: Copy>(&self, from: &[T], to: u64) -> Result<()> {
        self.machine.upload(bytes(from), to)
    }

    /// Waits for the work so far and copies to the host.
    ///
    /// # Errors
    /// If the device refuses it, or work before it failed.
    pub fn download<T: candle_core::WithDType>(&self, from: u64, to: &mut [T]) -> Result<()> {
        // SAFETY: numbers without padding, of which any bits are one
        let to = unsafe {
            std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), size_of_val(to))
        };
        self.machine.download(from, to)
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// If work failed.
    pub fn synchronize(&self) -> Result<()> {
        self.machine.synchronize()
    }

    /// Free and all bytes of the device's memory.
    ///
    /// # Errors
    /// If the device does not say.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.machine.memory()
    }

    /// Keeps the work that `queue` queues instead of running it, to be run by [`Gpu::replay`] any number of
    /// times: with the same addresses and scalars, but whatever numbers are there then.
    ///
    /// # Errors
    /// If `queue` fails or the work cannot be kept.
    pub fn capture(&self, queue: impl FnOnce() -> Result<()>) -> Result<Graph> {
        self.machine.begin()?;
        let queued = queue();
        let graph = self.machine.end();
        queued?;
        graph
    }

    /// Queues work that was kept.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn replay(&self, graph: &Graph) -> Result<()> {
        self.machine.replay(graph)
    }
}

fn bytes<T: Copy>(numbers: &[T]) -> &[u8] {
    // SAFETY: as many bytes as the numbers have
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
