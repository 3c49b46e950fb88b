//! An NVIDIA GPU, through CUDA's driver and cuBLAS.
//!
//! All work goes to one stream, which candle's tensors share. Copies to the device go through pinned memory and
//! a stream of their own, so that a batch is on its way while the step before it computes.

mod blas;
mod copies;
pub(super) mod errors;

use std::collections::HashMap;
use std::ffi::{c_uint, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::cuda_backend::{CudaDevice, CudaStorage, CudaStorageSlice};
use candle_core::{DType, Device};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, DevicePtr, result, sys};
use cudarc::nvrtc::Ptx;

use super::graph::{Graph, Kept};
use super::{Gemm, Grid, Machine};
use crate::error::{Error, Result};
use blas::Blas;
use copies::Copies;
use errors::Failed;

/// The kernels, as machine code and assembly.
const KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));
/// Blocks may have so many bytes of dynamic shared memory without being allowed more.
const SHARED: usize = 48 << 10;

/// A GPU.
pub(super) struct Cuda {
    device: Device,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    blas: Blas,
    copies: Copies,
    name: String,
    /// The last kernel that was queued, for messages.
    last: Mutex<String>,
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda({})", self.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cuda {
    /// GPU `number` of those that the process sees.
    pub fn open(number: usize) -> Result<Self> {
        errors::check(number)?;
        let cuda = CudaDevice::new_with_stream(number).map_err(errors::opening)?;
        // SAFETY: every tensor is used on this one stream
        unsafe { cuda.disable_event_tracking() };
        let stream = cuda.cuda_stream();
        let context = stream.context().clone();
        keep_memory(&context).failed("keeping freed memory")?;
        let module = context
            .load_module(Ptx::from_binary(KERNELS.to_vec()))
            .map_err(|e| errors::loading(e, &context))?;
        Ok(Self {
            name: format!(
                "cuda:{number} ({})",
                context.name().failed("asking its name")?
            ),
            blas: Blas::new(&stream)?,
            copies: Copies::new(&context, &stream)?,
            device: Device::Cuda(cuda),
            functions: Mutex::default(),
            last: Mutex::default(),
            context,
            stream,
            module,
        })
    }

    fn function(&self, symbol: &str) -> Result<CudaFunction> {
        let mut functions = lock(&self.functions);
        if let Some(function) = functions.get(symbol) {
            return Ok(function.clone());
        }
        let function = self.module.load_function(symbol);
        let function = function.failed(&format!("finding the kernel {symbol}"))?;
        functions.insert(symbol.to_string(), function.clone());
        Ok(function)
    }

    fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().failed("using the GPU")
    }

    fn last(&self) -> String {
        format!("running work, the last of which was {}", lock(&self.last))
    }
}

/// Memory that tensors give back stays with the process, for the next ones.
fn keep_memory(context: &CudaContext) -> std::result::Result<(), result::DriverError> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let (mut pool, mut most) = (std::ptr::null_mut(), u64::MAX);
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device is open, and the driver copies the number
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()).result()?;
        sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut most).cast()).result()
    }
}

/// Bytes that the process keeps and no tensor has.
fn unused(context: &CudaContext) -> std::result::Result<u64, result::DriverError> {
    use sys::CUmemPool_attribute as Attribute;
    if !context.has_async_alloc() {
        return Ok(0);
    }
    let mut pool = std::ptr::null_mut();
    // SAFETY: the device is open
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()).result()? };
    let bytes = |attribute| {
        let mut bytes = 0u64;
        // SAFETY: the pool is open, and these attributes are numbers of 64 bits
        let asked = unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) };
        asked.result().map(|()| bytes)
    };
    let kept = bytes(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = bytes(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(kept.saturating_sub(used))
}

impl Machine for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn launch(&self, symbol: &str, grid: Grid, words: &[u64]) -> Result<()> {
        self.bind()?;
        let function = self.function(symbol)?;
        let [x, y, z] = grid.blocks.map(|n| n as c_uint);
        let what = || format!("queueing {symbol} with {grid:?}");
        if grid.shared > SHARED {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let allowed = function.set_attribute(most, grid.shared as i32);
            allowed.failed(&what())?;
        }
        let mut arguments = [words.as_ptr().cast::<c_void>().cast_mut()];
        // SAFETY: kernels take one argument, a struct of as many words of eight bytes; that they are as many is
        // seen by the tests, in which the emulator counts them
        let queued = unsafe {
            result::launch_kernel(
                function.cu_function(),
                (x, y, z),
                (grid.threads as c_uint, 1, 1),
                grid.shared as c_uint,
                self.stream.cu_stream(),
                &mut arguments,
            )
        };
        queued.failed(&what())?;
        *lock(&self.last) = format!("{symbol} with {grid:?}");
        Ok(())
    }

    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.bind()?;
        self.blas.gemm(gemm)?;
        let Gemm { m, n, k, batch, .. } = gemm;
        *lock(&self.last) = format!("{batch} products of {m}×{k} and {k}×{n}");
        Ok(())
    }

    fn zero(&self, at: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: callers have addresses and sizes from tensors
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream.cu_stream()) }
            .failed("setting memory to 0")
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: as above
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .failed("copying on the GPU")
    }

    fn upload(&self, from: &[u8], to: u64) -> Result<()> {
        self.bind()?;
        self.copies.upload(from, to)
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: as above, and the copy is over before `to` is used
        unsafe { result::memcpy_dtoh_async(to, from, self.stream.cu_stream()) }
            .map_err(|e| errors::driver(&self.last(), e))?;
        self.synchronize()
    }

    fn synchronize(&self) -> Result<()> {
        self.bind()?;
        let done = self.stream.synchronize();
        done.map_err(|e| errors::driver(&self.last(), e))
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.bind()?;
        let what = "asking for its memory";
        let (free, all) = self.context.mem_get_info().failed(what)?;
        let unused = unused(&self.context).failed(what)?;
        Ok((free as u64 + unused, all as u64))
    }

    fn begin(&self) -> Result<()> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).failed("keeping work")
    }

    fn end(&self) -> Result<Graph> {
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags).failed("keeping work")?;
        let graph = graph.ok_or_else(|| Error::other("there was no work to keep"))?;
        graph.upload().failed("keeping work")?;
        Ok(Graph(Kept::Cuda(graph)))
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        match &graph.0 {
            Kept::Cuda(graph) => graph.launch().failed("running work that was kept"),
            _ => Err(Error::other("this work was kept by another device")),
        }
    }
}

/// Where the numbers of a tensor's storage begin.
pub(super) fn address(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    let address = match &storage.slice {
        CudaStorageSlice::F32(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::F64(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::BF16(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::U32(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::I64(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::U8(s) => s.device_ptr(&stream).0,
        _ => return Err(crate::tensor::elem::unsupported(dtype(storage))),
    };
    Ok(address)
}

fn dtype(storage: &CudaStorage) -> DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// Copies bytes of a tensor to the host when the work before is done.
pub(crate) fn fetch(storage: &CudaStorage, start: usize, to: &mut [u8]) -> Result<()> {
    let stream = storage.device.cuda_stream();
    let from = address(storage)? + start as u64;
    stream.context().bind_to_thread().failed("using the GPU")?;
    // SAFETY: callers stay inside the storage; the copy is over when this returns
    unsafe { result::memcpy_dtoh_async(to, from, stream.cu_stream()) }
        .failed("copying to the host")?;
    stream.synchronize().failed("copying to the host")
}

/// Copies bytes of the host into a tensor.
pub(crate) fn store(storage: &CudaStorage, start: usize, from: &[u8]) -> Result<()> {
    let stream = storage.device.cuda_stream();
    let to = address(storage)? + start as u64;
    stream.context().bind_to_thread().failed("using the GPU")?;
    // SAFETY: as above
    unsafe { result::memcpy_htod_async(to, from, stream.cu_stream()) }
        .failed("copying to the GPU")?;
    stream.synchronize().failed("copying to the GPU")
}
