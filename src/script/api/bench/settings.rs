//! What scripts can set of measurements.

use rhai::Map;

use crate::bench::{Labels, Protocol};
use crate::error::Result;
use crate::script::Session;
use crate::script::api::optim::OptimizerValue;
use crate::script::convert::to_json;
use crate::script::options::{NON_NEGATIVE, POSITIVE};

/// What a call is reported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Units of work per second.
    Rate,
    /// Seconds per call.
    Time,
}

/// What is counted of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Steps of the whole ensemble.
    Steps,
    /// Steps of its members.
    MemberSteps,
}

crate::choice! { Report { "rate" => Report::Rate, "time" => Report::Time } }
crate::choice! { Count { "steps" => Count::Steps, "member_steps" => Count::MemberSteps } }

crate::options! {
    /// Settings of a measurement.
    pub struct MeasureOptions for "bench::measure" {
        /// Seconds of measuring; absent means those of `widthwise bench --seconds`, or 3.
        seconds: Option<f64> = None, where POSITIVE;
        /// Seconds of warm-up at most, and three calls at least.
        warmup: f64 = 1.0, where NON_NEGATIVE;
        /// Whether the rate or the seconds per call are reported.
        report: Report = Report::Rate;
        /// What is counted, in the plural.
        unit: String = "calls".into();
        /// How many of them one call does.
        per: f64 = 1.0, where POSITIVE;
        /// Floating-point operations of one call.
        flops: Option<f64> = None, where POSITIVE;
        /// Bytes that one call must read and write.
        bytes: Option<f64> = None, where POSITIVE;
        /// The work, under the name that other programs' results have it; absent means the case's.
        work: Option<String> = None;
        /// Which of several ways of doing it.
        variant: String = "script".into();
        /// Sizes and other settings of the work, for tables and result lines.
        settings: Map = Map::new();
    }
}

crate::options! {
    /// Settings of a measured training.
    pub struct TrainingOptions for "bench::training" {
        /// Seconds of measuring; absent means those of `widthwise bench --seconds`, or 3.
        seconds: Option<f64> = None, where POSITIVE;
        /// Seconds of warm-up at most, and three steps at least.
        warmup: f64 = 1.0, where NON_NEGATIVE;
        /// What is counted; absent means steps for one member, members' steps for more.
        unit: Option<Count> = None;
        /// The work, under the name that other programs' results have it; absent means the case's.
        work: Option<String> = None;
        /// Which of several ways of doing it.
        variant: String = "trainer".into();
        /// Sizes and other settings of the work, for tables and result lines.
        settings: Map = Map::new();
    }
}

crate::options! {
    /// Settings of a measured process.
    pub struct StartupOptions for "bench::startup" {
        /// How often it is started, besides once before.
        repetitions: usize = 5, where (1..);
        /// What its script reads with `param`, as `--set` would give it.
        set: Map = Map::new();
        /// The work, under the name that other programs' results have it; absent means the case's.
        work: Option<String> = None;
        /// Which of several ways of doing it.
        variant: String = "run".into();
        /// Name of the reported seconds.
        metric: String = "start_to_first_step_s".into();
        /// Sizes and other settings of the work, for tables and result lines.
        settings: Map = Map::new();
    }
}

crate::options! {
    /// What is trained how.
    pub struct CostOptions for "bench::cost" {
        /// Examples per step.
        batch: usize = 128, where (1..);
        /// Members.
        members: usize = 1, where (1..);
        /// The optimizer, whose state is counted; absent means one without.
        optimizer: Option<OptimizerValue> = None;
        /// Shape of an input; absent means the network's, or 3×32×32.
        input: Option<Vec<usize>> = None;
        /// Number of outputs; absent means the network's, or 10.
        outputs: Option<usize> = None, where (1..);
    }
}

/// How long to measure, where `--seconds` decides what the script leaves open. A short measurement
/// has no long warm-up.
pub(super) fn protocol(session: &Session, seconds: Option<f64>, warmup: f64) -> Protocol {
    let usual = Protocol::default().seconds;
    let seconds = seconds.or(session.settings.bench.seconds).unwrap_or(usual);
    Protocol {
        seconds,
        warmup: warmup.min(seconds),
    }
}

/// What a measurement is filed under; without a name of the work, the case gives it one.
pub(super) fn labels(work: Option<String>, variant: String, settings: &Map) -> Result<Labels> {
    let settings = settings.iter().map(|(key, value)| {
        let value = to_json(value).map_err(|e| e.at(format_args!("settings: {key}")))?;
        Ok((key.to_string(), value))
    });
    Ok(Labels {
        work: work.unwrap_or_default(),
        variant,
        settings: settings.collect::<Result<_>>()?,
    })
}
