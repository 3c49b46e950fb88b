//! The machine, and what a training step costs on any.

use rhai::Map;
use rhai::plugin::*;

use super::settings::CostOptions;
use crate::bench::machine::Machine;
use crate::bench::process::total_memory;
use crate::nn::{Cost, Network, Workload};
use crate::script::{OrRaise, RhaiResultOf};

fn megabytes(bytes: Option<u64>) -> Dynamic {
    bytes.map_or(Dynamic::UNIT, |b| (b as f64 / f64::from(1 << 20)).into())
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod functions {
    use super::*;

    /// The machine, and what it gives at this moment with the present number of threads. Measured
    /// once, which takes half a second.
    ///
    /// Gives a map: `cpu`; `cores`; `threads`; `instructions`, the widest vector instructions in use;
    /// `peak_gflops`, multiply-adds of single precision in registers, the limit of all arithmetic, in
    /// 10⁹ operations per second; `matmul_gflops`, the same for a product of 1024 × 1024 matrices;
    /// `bandwidth_gb`, reads and writes of memory in 10⁹ bytes per second; `memory_mb` and
    /// `free_memory_mb`, in 2²⁰ bytes (`()` where the system does not say).
    ///
    /// ```rhai
    /// let m = bench::machine();
    /// m.peak_gflops > 0 && m.cores > 0        // → true
    /// ```
    #[rhai_fn(volatile)]
    pub fn machine() -> Map {
        let m = Machine::here();
        let entries: [(&str, Dynamic); 9] = [
            ("cpu", m.cpu.into()),
            ("cores", (m.cores as i64).into()),
            ("threads", (m.threads as i64).into()),
            ("instructions", m.instructions.into()),
            ("peak_gflops", (m.peak / 1e9).into()),
            ("matmul_gflops", (m.matmul / 1e9).into()),
            ("bandwidth_gb", (m.bandwidth / 1e9).into()),
            ("memory_mb", megabytes(total_memory())),
            (
                "free_memory_mb",
                megabytes(crate::memory::available().and_then(|b| u64::try_from(b).ok())),
            ),
        ];
        entries.map(|(k, v)| (k.into(), v)).into_iter().collect()
    }

    /// What a training step of a network costs at least, from its description alone; no model is made.
    ///
    /// Gives a map: `parameters` of one member; `flops`, floating-point operations of a step, two for
    /// each multiply-add of the matrix products, forward and backward; `bytes` that a step moves at
    /// least, with parameters and optimizer states read and written once and the batch read once;
    /// `memory_mb` that training holds. For single precision.
    ///
    /// ```rhai
    /// let net = mlp(#{ width: 100, depth: 2, inputs: 10, outputs: 1, bias: false });
    /// let c = bench::cost(net, #{ batch: 1, optimizer: sgd() });
    /// c.parameters        // → 1100
    /// c.flops             // → 4600.0
    /// ```
    #[rhai_fn(name = "cost", return_raw)]
    pub fn cost_with(ctx: NativeCallContext, network: Network, settings: Map) -> RhaiResultOf<Map> {
        let o = CostOptions::from_map(&ctx, &settings)?;
        let input = o.input.unwrap_or_else(|| network.input_or_assumed());
        let outputs = o.outputs.or(network.outputs).unwrap_or(10);
        let cost = Cost::of(&network, outputs, &input).or_raise(&ctx)?;
        let workload = Workload {
            members: o.members,
            batch: o.batch,
            states: o.optimizer.map_or(0, |o| o.0.hidden_states()),
            bytes: 4,
        };
        let entries: [(&str, Dynamic); 4] = [
            ("parameters", (cost.parameters as i64).into()),
            ("flops", cost.flops(workload).into()),
            ("bytes", cost.traffic(workload).into()),
            (
                "memory_mb",
                (cost.memory(workload) / f64::from(1 << 20)).into(),
            ),
        ];
        Ok(entries.map(|(k, v)| (k.into(), v)).into_iter().collect())
    }

    // every setting has a default
    #[rhai_fn(name = "cost", return_raw)]
    pub fn cost(ctx: NativeCallContext, network: Network) -> RhaiResultOf<Map> {
        cost_with(ctx, network, Map::new())
    }
}
