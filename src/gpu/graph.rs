//! Work that is queued as a whole.

/// Work of a GPU that was kept, see [`Gpu::capture`](super::Gpu::capture).
#[derive(Debug)]
pub struct Graph(pub(super) Kept);

/// How a machine keeps it.
#[allow(dead_code, reason = "depends on the features of the build")]
pub(super) enum Kept {
    /// As a CUDA graph.
    #[cfg(feature = "cuda")]
    Cuda(cudarc::driver::CudaGraph),
    /// As a list.
    #[cfg(feature = "emulator")]
    Emulated(Vec<super::emulated::Work>),
    /// Not at all: a build without GPUs has no work.
    Nothing,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

// SAFETY: a graph is launched under the lock of its trainer, never from two threads at the same time
#[cfg(feature = "cuda")]
unsafe impl Send for Kept {}
// SAFETY: as above
#[cfg(feature = "cuda")]
unsafe impl Sync for Kept {}
