//! What a measurement gave.

use std::fmt;

use serde_json::{Map, Value};

use super::line::{Line, PEER};
use super::machine::Machine;
use super::process::{self, Watch};
use super::protocol::{Protocol, Samples, sample};
use crate::error::Result;
use crate::metrics::stats::quantile;

/// Share of the machine taken by other processes above which a measurement is called disturbed.
pub const DISTURBED: f64 = 0.05;

/// What is reported of the time that a call takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    /// Units of work per second; more is better.
    Rate {
        /// The unit in the plural, for instance `steps`.
        unit: String,
        /// Units that one call does.
        per_call: f64,
    },
    /// Seconds per call, under a name such as `seconds`; less is better.
    Seconds(String),
}

impl Quantity {
    /// Its name in result lines, for instance `steps_per_s`.
    pub fn metric(&self) -> String {
        match self {
            Self::Rate { unit, .. } => format!("{unit}_per_s"),
            Self::Seconds(name) => name.clone(),
        }
    }

    fn value(&self, seconds: f64) -> f64 {
        match self {
            Self::Rate { per_call, .. } => per_call / seconds,
            Self::Seconds(_) => seconds,
        }
    }
}

/// What a measurement is filed under.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// The work, as the lines of other programs call it.
    pub work: String,
    /// Which of several ways of doing it.
    pub variant: String,
    /// Sizes and other settings of the work.
    pub settings: Map<String, Value>,
}

/// What a call does, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Floating-point operations.
    pub flops: Option<f64>,
    /// Bytes that must be read and written.
    pub bytes: Option<f64>,
}

/// A finished measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Name of the case; empty outside of one.
    pub name: String,
    /// What it is filed under.
    pub labels: Labels,
    /// What is reported.
    pub quantity: Quantity,
    /// Seconds per call in each repetition.
    pub seconds: Vec<f64>,
    /// What a call does.
    pub work: Work,
    /// The machine, with what it gave when it was first asked for.
    pub machine: Machine,
    /// The largest resident size of the process meanwhile, in bytes.
    pub peak_memory: Option<u64>,
    /// Share of the machine that other processes took meanwhile.
    pub others: Option<f64>,
}

impl Measurement {
    /// Times `run`, which does its work as often as it is told, and watches memory and other
    /// processes meanwhile.
    ///
    /// # Errors
    /// Those of `run`, and an interruption.
    pub fn take(
        labels: Labels,
        quantity: Quantity,
        work: Work,
        protocol: Protocol,
        run: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Self> {
        let machine = Machine::here();
        process::reset_peak_memory();
        let watch = Watch::start();
        let Samples { seconds, .. } = sample(protocol, run)?;
        Ok(Self {
            name: String::new(),
            labels,
            quantity,
            seconds,
            work,
            machine,
            peak_memory: process::peak_memory(),
            others: watch.others(),
        })
    }

    /// The value of the reported quantity in each repetition.
    pub fn values(&self) -> Vec<f64> {
        let seconds = self.seconds.iter();
        seconds.map(|&s| self.quantity.value(s)).collect()
    }

    /// The value below which a share `level` of the repetitions lies; NaN without repetitions.
    pub fn quantile(&self, level: f64) -> f64 {
        quantile(&self.values(), level).unwrap_or(f64::NAN)
    }

    /// The middle repetition.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Distance between the quartiles, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / self.median()
    }

    /// Seconds per call in the middle repetition.
    pub fn seconds_per_call(&self) -> f64 {
        quantile(&self.seconds, 0.5).unwrap_or(f64::NAN)
    }

    /// Floating-point operations per second.
    pub fn flops_per_s(&self) -> Option<f64> {
        self.work.flops.map(|n| n / self.seconds_per_call())
    }

    /// Bytes per second, of those that must be moved.
    pub fn bytes_per_s(&self) -> Option<f64> {
        self.work.bytes.map(|n| n / self.seconds_per_call())
    }

    /// Share of the machine's arithmetic.
    pub fn share_of_peak(&self) -> Option<f64> {
        self.flops_per_s().map(|rate| rate / self.machine.peak)
    }

    /// The time in units of the least possible, which arithmetic at the machine's peak and traffic at
    /// its bandwidth, both at once, allow.
    pub fn over_floor(&self) -> Option<f64> {
        let (flops, bytes) = (self.work.flops?, self.work.bytes?);
        let floor = (flops / self.machine.peak).max(bytes / self.machine.bandwidth);
        Some(self.seconds_per_call() / floor)
    }

    /// Whether other processes took so much of the machine that the result means little.
    pub fn disturbed(&self) -> bool {
        self.others.is_some_and(|share| share > DISTURBED)
    }

    /// The result as a line to keep.
    pub fn line(&self, script: Option<&str>) -> Line {
        Line {
            peer: PEER.into(),
            work: self.labels.work.clone(),
            variant: self.labels.variant.clone(),
            metric: self.quantity.metric(),
            median: self.median(),
            lo: self.quantile(0.0),
            hi: self.quantile(1.0),
            n: self.seconds.len(),
            maxrss_mb: self.peak_memory.map(|b| b as f64 / f64::from(1 << 20)),
            group: Some(self.name.clone()),
            threads: Some(self.machine.threads),
            spread: Some(self.spread()),
            gflops: self.flops_per_s().map(|x| x / 1e9),
            gb_per_s: self.bytes_per_s().map(|x| x / 1e9),
            share_of_peak: self.share_of_peak(),
            over_floor: self.over_floor(),
            foreign_cpu: self.others,
            dirty: self.others.map(|_| self.disturbed()),
            script: script.map(str::to_string),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            date: Some(super::today()),
            machine: Some(self.machine.clone()),
            settings: self.labels.settings.clone(),
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        let unit = match &self.quantity {
            Quantity::Rate { unit, .. } => format!("{}/s", unit.replace('_', "-")),
            Quantity::Seconds(_) => "s".into(),
        };
        let (median, spread) = (digits(self.median()), 100.0 * self.spread());
        write!(f, "{median} {unit} ± {spread:.1} %")?;
        if let (Some(rate), Some(share)) = (self.flops_per_s(), self.share_of_peak()) {
            let (rate, share) = (digits(rate / 1e9), 100.0 * share);
            write!(f, ", {rate} GFLOP/s ({share:.0} % of peak)")?;
        }
        if let Some(bytes) = self.peak_memory {
            write!(f, ", {:.0} MB", bytes as f64 / f64::from(1 << 20))?;
        }
        match self.disturbed() {
            true => write!(f, ", disturbed by other processes"),
            false => Ok(()),
        }
    }
}

/// A number with four digits, as far as it has them.
pub fn digits(x: f64) -> String {
    let whole = if x == 0.0 {
        1
    } else {
        x.abs().log10().floor() as i32 + 1
    };
    let decimals = (4 - whole).clamp(0, 9) as usize;
    format!("{x:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(quantity: Quantity) -> Measurement {
        Measurement {
            name: "W1-64".into(),
            labels: Labels {
                work: "W1".into(),
                ..Labels::default()
            },
            quantity,
            seconds: vec![0.5, 0.1, 0.2, 0.25, 0.125],
            work: Work {
                flops: Some(2e9),
                bytes: Some(1e9),
            },
            machine: Machine {
                cpu: "x".into(),
                cores: 2,
                threads: 2,
                instructions: "AVX2".into(),
                peak: 1e11,
                matmul: 9e10,
                bandwidth: 1e10,
            },
            peak_memory: Some(3 << 20),
            others: Some(0.01),
        }
    }

    #[test]
    fn rates_and_shares_follow_from_the_median() {
        let m = measurement(Quantity::Rate {
            unit: "steps".into(),
            per_call: 2.0,
        });
        assert_eq!(m.median(), 10.0);
        assert_eq!((m.quantile(0.0), m.quantile(1.0)), (4.0, 20.0));
        assert_eq!(m.spread(), (16.0 - 8.0) / 10.0);
        assert_eq!(m.flops_per_s(), Some(1e10));
        assert_eq!(m.bytes_per_s(), Some(5e9));
        assert_eq!(m.share_of_peak(), Some(0.1));
        // bytes take 0.1 s, arithmetic a fifth of that
        assert_eq!(m.over_floor(), Some(2.0));
        assert_eq!(
            m.to_string(),
            "W1-64: 10.00 steps/s ± 80.0 %, 10.00 GFLOP/s (10 % of peak), 3 MB"
        );
        let line = m.line(Some("mlp"));
        assert_eq!((line.metric.as_str(), line.n), ("steps_per_s", 5));
        assert_eq!(line.maxrss_mb, Some(3.0));
        assert_eq!(line.dirty, Some(false));
    }

    #[test]
    fn numbers_have_four_digits() {
        let shown = [0.0, 1.0, 0.001_234_56, 123.456, 99_999.9, -2.5].map(digits);
        assert_eq!(
            shown,
            ["0.000", "1.000", "0.001235", "123.5", "100000", "-2.500"]
        );
    }

    #[test]
    fn times_are_reported_as_they_are() {
        let m = measurement(Quantity::Seconds("seconds".into()));
        assert_eq!((m.median(), m.quantile(0.0)), (0.2, 0.1));
        assert_eq!(m.line(None).metric, "seconds");
    }
}
