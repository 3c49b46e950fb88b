//! What goes wrong with GPUs, said so that one knows what to do.

use candle_core::cuda_backend::CudaError;
use cudarc::cublas::result::CublasError;
use cudarc::driver::{CudaContext, DriverError, sys};

use crate::error::{Error, ErrorKind, Result};

/// The oldest GPUs that the kernels are made for.
const OLDEST: (i32, i32) = (8, 0);

/// A result of the driver or a library, as one of ours.
pub(super) trait Failed<T> {
    /// The error names what was being done.
    fn failed(self, what: &str) -> Result<T>;
}

impl<T> Failed<T> for std::result::Result<T, DriverError> {
    fn failed(self, what: &str) -> Result<T> {
        self.map_err(|e| driver(what, e))
    }
}

impl<T> Failed<T> for std::result::Result<T, CublasError> {
    fn failed(self, what: &str) -> Result<T> {
        self.map_err(|e| {
            Error::new(
                ErrorKind::Device,
                format!("cuBLAS failed at {what}: {:?}", e.0),
            )
        })
    }
}

/// The driver's error at something.
pub(super) fn driver(what: &str, error: DriverError) -> Error {
    let kind = match error.0 {
        sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => ErrorKind::Memory,
        _ => ErrorKind::Device,
    };
    Error::new(kind, format!("the GPU failed at {what}: {}", said(error)))
}

/// The driver's name for an error; a driver that is missing has none.
fn said(error: DriverError) -> String {
    let name = error
        .error_name()
        .ok()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| format!("{:?}", error.0))
}

/// Whether there is GPU `number` and the kernels are made for it.
pub(super) fn check(number: usize) -> Result<()> {
    let device = |message: String| Error::new(ErrorKind::Device, message);
    let count = CudaContext::device_count().map_err(|e| {
        device(format!("no NVIDIA driver, or no GPU, was found ({})", said(e))).with_help(
            "this needs a GPU of compute capability 8.0 or newer and driver 580 or newer (libcuda.so.1)",
        )
    })?;
    if number >= count.unsigned_abs() as usize {
        return Err(
            device(format!("there is no GPU {number}: {count} are visible"))
                .with_help("GPUs count from 0, among those that CUDA_VISIBLE_DEVICES leaves"),
        );
    }
    let context = CudaContext::new(number).failed("opening it")?;
    let found = context.compute_capability().failed("asking what it is")?;
    if found < OLDEST {
        let name = context.name().unwrap_or_default();
        return Err(device(format!(
            "{name} has compute capability {}.{}; {}.{} or newer is needed",
            found.0, found.1, OLDEST.0, OLDEST.1
        )));
    }
    Ok(())
}

/// What candle says when it opens a device.
pub(super) fn opening(error: candle_core::Error) -> Error {
    let library = error.to_string().to_lowercase();
    let missing = ["cublas", "curand"]
        .into_iter()
        .find(|name| library.contains(name));
    let told = Error::new(
        ErrorKind::Device,
        format!("the GPU cannot be opened: {error}"),
    );
    match missing {
        Some(name) => told.with_help(format!(
            "is {name} there? CUDA_LIBRARY_PATH may name its folder; CUDA_CALL_THROUGH_LOG=1 says what was found"
        )),
        None => told,
    }
}

/// Why the kernels cannot be loaded.
pub(super) fn loading(error: DriverError, context: &CudaContext) -> Error {
    let version = version().map_or("unknown".into(), |(a, b)| format!("{a}.{b}"));
    let capability = context
        .compute_capability()
        .map_or("unknown".into(), |(a, b)| format!("{a}.{b}"));
    Error::new(
        ErrorKind::Device,
        format!(
            "the driver (for CUDA {version}) does not take the kernels for compute capability {capability}: {}",
            said(error)
        ),
    )
    .with_help("a driver of release 580 or newer does (CUDA 13)")
}

/// The newest CUDA that the driver knows.
fn version() -> Option<(i32, i32)> {
    let mut version = 0;
    // SAFETY: writes one number
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) };
    asked.result().ok()?;
    Some((version / 1000, version % 1000 / 10))
}

/// Whether candle was refused memory.
pub(crate) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string();
    matches!(error, candle_core::Error::Cuda(_)) && text.contains("OUT_OF_MEMORY")
        || matches!(
            error.root(),
            Some(CudaError::Cuda(DriverError(
                sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY
            )))
        )
}

/// The CUDA error inside candle's.
trait Root {
    fn root(&self) -> Option<&CudaError>;
}

impl Root for candle_core::Error {
    fn root(&self) -> Option<&CudaError> {
        match self {
            Self::Cuda(inner) => inner.downcast_ref(),
            Self::WithBacktrace { inner, .. } | Self::Context { inner, .. } => inner.root(),
            _ => None,
        }
    }
}
