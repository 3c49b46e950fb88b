//! Matrix products by cuBLAS.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use cudarc::cublas::{CudaBlas, result, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};

use super::errors::Failed;
use crate::error::{Error, Result};
use crate::gpu::{Gemm, Matrix, Stored};

/// Bytes that cuBLAS may use while it works, as its documentation says for Hopper. Given to it before, since
/// it must not ask for any while work is kept.
const WORKSPACE: usize = 32 << 20;

/// A handle of cuBLAS on a stream, with its memory.
pub(super) struct Blas {
    handle: CudaBlas,
    _workspace: CudaSlice<u8>,
}

impl Blas {
    pub fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = CudaBlas::new(stream.clone()).failed("starting")?;
        let workspace = stream
            .alloc_zeros::<u8>(WORKSPACE)
            .failed("cuBLAS's memory")?;
        // sums of bf16 stay in f32 also where a product is split
        let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle is open, and the memory lives as long as it
        unsafe {
            let at = workspace.device_ptr(stream).0 as *mut c_void;
            sys::cublasSetWorkspace_v2(*handle.handle(), at, WORKSPACE)
                .result()
                .failed("taking memory")?;
            sys::cublasSetMathMode(*handle.handle(), mode)
                .result()
                .failed("setting its precision")?;
        }
        Ok(Self {
            handle,
            _workspace: workspace,
        })
    }

    /// Products by rows: cuBLAS counts by columns, so that it is given `cᵀ = bᵀ aᵀ`.
    pub fn gemm(&self, g: &Gemm) -> Result<()> {
        use sys::cublasComputeType_t as Compute;
        let compute = match g.a.stored {
            Stored::F64 => Compute::CUBLAS_COMPUTE_64F,
            Stored::F32 if g.tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            Stored::F32 | Stored::Bf16 => Compute::CUBLAS_COMPUTE_32F,
        };
        let doubles = [g.alpha, g.beta];
        let floats = doubles.map(|x| x as f32);
        let factor = |i: usize| -> *const c_void {
            match g.a.stored {
                Stored::F64 => (&raw const doubles[i]).cast(),
                Stored::F32 | Stored::Bf16 => (&raw const floats[i]).cast(),
            }
        };
        let (m, n, k) = (size(g.m)?, size(g.n)?, size(g.k)?);
        // SAFETY: callers have addresses and sizes from tensors
        let queued = unsafe {
            result::gemm_strided_batched_ex(
                *self.handle.handle(),
                operation(&g.b),
                operation(&g.a),
                n,
                m,
                k,
                factor(0),
                g.b.at as *const c_void,
                kind(g.b.stored),
                size(g.b.row.max(1))?,
                g.b.stride as i64,
                g.a.at as *const c_void,
                kind(g.a.stored),
                size(g.a.row.max(1))?,
                g.a.stride as i64,
                factor(1),
                g.c.at as *mut c_void,
                kind(g.c.stored),
                size(g.c.row.max(1))?,
                g.c.stride as i64,
                size(g.batch)?,
                compute,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        queued.failed(&format!(
            "{} products of {}×{} and {}×{}",
            g.batch, g.m, g.k, g.k, g.n
        ))
    }
}

fn operation(matrix: &Matrix) -> sys::cublasOperation_t {
    match matrix.transposed {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    }
}

fn kind(stored: Stored) -> sys::cudaDataType {
    match stored {
        Stored::F32 => sys::cudaDataType::CUDA_R_32F,
        Stored::F64 => sys::cudaDataType::CUDA_R_64F,
        Stored::Bf16 => sys::cudaDataType::CUDA_R_16BF,
    }
}

fn size(n: usize) -> Result<c_int> {
    c_int::try_from(n)
        .map_err(|_| Error::shape(format!("a product of size {n} is too large for cuBLAS")))
}
