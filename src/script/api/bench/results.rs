//! What scripts read of a measurement.

use rhai::Array;
use rhai::plugin::*;

use crate::bench::Measurement;

fn optional(value: Option<f64>) -> Dynamic {
    value.map_or(Dynamic::UNIT, Dynamic::from)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod functions {
    use super::*;

    /// Name of the case that it belongs to; empty outside of one.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01 }).name      // → ""
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn name(m: &mut Measurement) -> String {
        m.name.clone()
    }

    /// What is reported: `steps_per_s` for a unit `steps`, or `seconds`.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01, unit: "sums" }).metric      // → "sums_per_s"
    /// ```
    #[rhai_fn(get = "metric", pure)]
    pub fn metric(m: &mut Measurement) -> String {
        m.quantity.metric()
    }

    /// The middle repetition.
    ///
    /// ```rhai
    /// let m = bench::measure(|| 1 + 1, #{ seconds: 0.01 });
    /// m.lo <= m.median && m.median <= m.hi        // → true
    /// ```
    #[rhai_fn(get = "median", pure)]
    pub fn median(m: &mut Measurement) -> f64 {
        m.median()
    }

    /// The smallest repetition.
    ///
    /// ```rhai
    /// let m = bench::measure(|| 1 + 1, #{ seconds: 0.01 });
    /// m.lo == m.values.min()        // → true
    /// ```
    #[rhai_fn(get = "lo", pure)]
    pub fn lo(m: &mut Measurement) -> f64 {
        m.quantile(0.0)
    }

    /// The largest repetition.
    ///
    /// ```rhai
    /// let m = bench::measure(|| 1 + 1, #{ seconds: 0.01 });
    /// m.hi == m.values.max()        // → true
    /// ```
    #[rhai_fn(get = "hi", pure)]
    pub fn hi(m: &mut Measurement) -> f64 {
        m.quantile(1.0)
    }

    /// Distance between the quartiles of the repetitions, as a share of the median.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01 }).spread >= 0      // → true
    /// ```
    #[rhai_fn(get = "spread", pure)]
    pub fn spread(m: &mut Measurement) -> f64 {
        m.spread()
    }

    /// How often it was timed; each repetition is many calls of a fast function.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01 }).repetitions >= 5      // → true
    /// ```
    #[rhai_fn(get = "repetitions", pure)]
    pub fn repetitions(m: &mut Measurement) -> i64 {
        m.seconds.len() as i64
    }

    /// What each repetition gave.
    ///
    /// ```rhai
    /// let m = bench::measure(|| 1 + 1, #{ seconds: 0.01 });
    /// m.values.len() == m.repetitions      // → true
    /// ```
    #[rhai_fn(get = "values", pure)]
    pub fn values(m: &mut Measurement) -> Array {
        m.values().into_iter().map(Dynamic::from).collect()
    }

    /// Seconds that a call (a training step) takes, in the middle repetition.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01 }).seconds_per_call < 1      // → true
    /// ```
    #[rhai_fn(get = "seconds_per_call", pure)]
    pub fn seconds_per_call(m: &mut Measurement) -> f64 {
        m.seconds_per_call()
    }

    /// Floating-point operations per second, in 10⁹; `()` where they are not known.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01 }).gflops      // → ()
    /// ```
    #[rhai_fn(get = "gflops", pure)]
    pub fn gflops(m: &mut Measurement) -> Dynamic {
        optional(m.flops_per_s().map(|x| x / 1e9))
    }

    /// Bytes per second, of those that must be moved, in 10⁹; `()` where they are not known.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01, bytes: 8 }).gb_per_s > 0      // → true
    /// ```
    #[rhai_fn(get = "gb_per_s", pure)]
    pub fn gb_per_s(m: &mut Measurement) -> Dynamic {
        optional(m.bytes_per_s().map(|x| x / 1e9))
    }

    /// Share of the machine's arithmetic, `peak_gflops` of `bench::machine()`; `()` where the operations
    /// are not known.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01, flops: 1 }).share_of_peak < 1      // → true
    /// ```
    #[rhai_fn(get = "share_of_peak", pure)]
    pub fn share_of_peak(m: &mut Measurement) -> Dynamic {
        optional(m.share_of_peak())
    }

    /// Time in units of the least that arithmetic at the machine's peak and traffic at its bandwidth, both
    /// at once, allow; `()` where operations or bytes are not known.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01, flops: 1, bytes: 8 }).over_floor > 1      // → true
    /// ```
    #[rhai_fn(get = "over_floor", pure)]
    pub fn over_floor(m: &mut Measurement) -> Dynamic {
        optional(m.over_floor())
    }

    /// The largest resident size of the process while it was measured, in 2²⁰ bytes; `()` where the
    /// system does not say.
    ///
    /// ```rhai
    /// let m = bench::measure(|| 1 + 1, #{ seconds: 0.01 });
    /// m.memory_mb == () || m.memory_mb > 1      // → true
    /// ```
    #[rhai_fn(get = "memory_mb", pure)]
    pub fn memory_mb(m: &mut Measurement) -> Dynamic {
        optional(m.peak_memory.map(|b| b as f64 / f64::from(1 << 20)))
    }

    /// Whether other processes took more than a twentieth of the machine meanwhile.
    ///
    /// ```rhai
    /// let told = bench::measure(|| 1 + 1, #{ seconds: 0.01 }).disturbed;
    /// type_of(told)      // → "bool"
    /// ```
    #[rhai_fn(get = "disturbed", pure)]
    pub fn disturbed(m: &mut Measurement) -> bool {
        m.disturbed()
    }

    /// A measurement in one line.
    ///
    /// ```rhai
    /// bench::measure(|| 1 + 1, #{ seconds: 0.01 }).to_string().contains("calls/s")      // → true
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn measurement_to_string(m: &mut Measurement) -> String {
        m.to_string()
    }
}
