//! What the machine is, and what its arithmetic and memory give at this moment.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::tensor::matmul::{Matrix, matmul};

/// The processor and what it was measured to do with a number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Processors that this program may use.
    pub cores: usize,
    /// Threads that compute.
    pub threads: usize,
    /// The widest vector instructions that are used.
    pub instructions: String,
    /// Multiply-adds in registers, in FLOP/s of single precision: the limit of all arithmetic.
    pub peak: f64,
    /// The same for a product of 1024 × 1024 matrices.
    pub matmul: f64,
    /// Bytes per second of `a = b + s · c` over arrays that no cache holds: 12 for each number, as
    /// the STREAM benchmark counts its triad.
    pub bandwidth: f64,
}

impl Machine {
    /// This machine with the threads of the present pool. Measured once for each number of threads,
    /// which takes about half a second.
    pub fn here() -> Self {
        static KNOWN: Mutex<BTreeMap<usize, Machine>> = Mutex::new(BTreeMap::new());
        let threads = rayon::current_num_threads();
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = known().get(&threads) {
            return machine.clone();
        }
        // not under the lock: a thread that waits for its part may take up other work
        let machine = Self {
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            instructions: instructions().into(),
            peak: peak(),
            matmul: matmul_rate(),
            bandwidth: bandwidth(),
        };
        known().entry(threads).or_insert(machine).clone()
    }
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name"));
    name.map(|n| n.trim_start_matches([' ', '\t', ':']).to_string())
        .unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
    {
        "AVX2"
    } else {
        "SSE2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "NEON"
    } else {
        "scalar"
    }
}

/// The best of several rates, taken for `time`: other processes and slow clocks only take away.
fn best(time: Duration, mut rate: impl FnMut() -> f64) -> f64 {
    let start = Instant::now();
    let mut best = rate();
    while start.elapsed() < time {
        best = best.max(rate());
    }
    best
}

/// Independent chains of multiply-adds: enough to fill the pipelines, few enough for the registers.
const CHAINS: usize = 12;

/// Rounds of multiply-adds in registers; gives a number so that nothing is optimised away, and how
/// many numbers a register holds.
struct MultiplyAdds(u64);

impl pulp::WithSimd for MultiplyAdds {
    type Output = (f32, usize);

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> Self::Output {
        let factor = simd.splat_f32s(black_box(0.999));
        let term = simd.splat_f32s(black_box(1e-3));
        let mut chains = [simd.splat_f32s(black_box(0.5)); CHAINS];
        for _ in 0..self.0 {
            for x in &mut chains {
                *x = simd.mul_add_f32s(*x, factor, term);
            }
        }
        let sum = chains.into_iter().map(|x| simd.reduce_sum_f32s(x)).sum();
        (sum, S::F32_LANES)
    }
}

/// FLOP/s of all threads of the pool, each for itself.
fn peak() -> f64 {
    let arch = pulp::Arch::new();
    let rates = rayon::broadcast(|_| {
        let rounds = 100_000;
        best(Duration::from_millis(100), || {
            let start = Instant::now();
            let (sum, lanes) = arch.dispatch(MultiplyAdds(rounds));
            black_box(sum);
            let flops = rounds * 2 * (CHAINS * lanes) as u64;
            flops as f64 / start.elapsed().as_secs_f64()
        })
    });
    rates.into_iter().sum()
}

fn matmul_rate() -> f64 {
    let n = 1024;
    let a: Vec<f32> = (0..n * n).map(|i| (i % 7) as f32 - 3.0).collect();
    let mut c = vec![0f32; n * n];
    let view = Matrix::row_major(&a, n);
    best(Duration::from_millis(150), || {
        let start = Instant::now();
        matmul(&mut c, (n, n, n), 1.0, view, view);
        black_box(c[n]);
        (2 * n * n * n) as f64 / start.elapsed().as_secs_f64()
    })
}

fn bandwidth() -> f64 {
    const N: usize = 16 << 20;
    const PIECE: usize = 1 << 16;
    let (b, c) = (vec![1f32; N], vec![2f32; N]);
    let mut a = vec![0f32; N];
    let arch = pulp::Arch::new();
    best(Duration::from_millis(200), || {
        let start = Instant::now();
        a.par_chunks_mut(PIECE)
            .zip(b.par_chunks(PIECE).zip(c.par_chunks(PIECE)))
            .for_each(|(a, (b, c))| {
                arch.dispatch(|| {
                    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                        *a = b + 3.0 * c;
                    }
                });
            });
        black_box(a[N / 2]);
        (12 * N) as f64 / start.elapsed().as_secs_f64()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_measured_once_for_each_number_of_threads() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let one = pool.unwrap().install(Machine::here);
        assert_eq!(one.threads, 1);
        for rate in [one.peak, one.matmul, one.bandwidth] {
            assert!(rate > 1e7 && rate < 1e15, "{one:?}");
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        assert_eq!(pool.unwrap().install(Machine::here), one);
    }
}
