//! How something is timed: warm-up, then chunks of calls for some seconds.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::interrupt;

/// Calls of the warm-up at least, and calls that the size of a chunk is estimated from.
const FIRST_CALLS: u64 = 3;
/// Chunks at least.
const MIN_CHUNKS: usize = 5;
/// Seconds per call from which on the calls of the estimate are the measurement.
const SLOW: f64 = 8.0;
/// Seconds after which warm-up and measurement each end in any case.
const CAP: f64 = 60.0;

/// How long to warm up and to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Protocol {
    /// Seconds of measuring.
    pub seconds: f64,
    /// Seconds of warm-up, and three calls at least.
    pub warmup: f64,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            seconds: 3.0,
            warmup: 1.0,
        }
    }
}

impl Protocol {
    /// Seconds of one chunk: a quarter, or less where there is time for fewer than five of them.
    fn chunk(self) -> f64 {
        (self.seconds / MIN_CHUNKS as f64).min(0.25)
    }
}

/// What was timed.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Seconds per call in each chunk.
    pub seconds: Vec<f64>,
    /// All calls, those of the warm-up too.
    pub calls: u64,
}

/// Times `run`, which does its work as often as it is told.
///
/// # Errors
/// Those of `run`, and an interruption.
pub fn sample(protocol: Protocol, run: &mut dyn FnMut(u64) -> Result<()>) -> Result<Samples> {
    let mut calls = 0;
    let mut timed = |n: u64| -> Result<f64> {
        if interrupt::requested() {
            return Err(Error::interrupted());
        }
        let start = Instant::now();
        run(n)?;
        calls += n;
        Ok(start.elapsed().as_secs_f64() / n as f64)
    };
    let start = Instant::now();
    for call in 1.. {
        timed(1)?;
        let passed = start.elapsed().as_secs_f64();
        if (call >= FIRST_CALLS && passed >= protocol.warmup) || passed > CAP {
            break;
        }
    }
    let first: Vec<f64> = (0..FIRST_CALLS).map(|_| timed(1)).collect::<Result<_>>()?;
    let per_call = first.iter().sum::<f64>() / FIRST_CALLS as f64;
    if per_call > SLOW {
        return Ok(Samples {
            seconds: first,
            calls,
        });
    }
    let n = ((protocol.chunk() / per_call.max(1e-9)) as u64).max(1);
    let mut seconds = Vec::new();
    let start = Instant::now();
    loop {
        seconds.push(timed(n)?);
        let passed = start.elapsed().as_secs_f64();
        if (passed >= protocol.seconds && seconds.len() >= MIN_CHUNKS) || passed > CAP {
            return Ok(Samples { seconds, calls });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn chunks_are_counted_and_last_as_long_as_asked() {
        let protocol = Protocol {
            seconds: 0.05,
            warmup: 0.02,
        };
        let mut done = 0;
        let start = Instant::now();
        let samples = sample(protocol, &mut |n| {
            done += n;
            std::thread::sleep(Duration::from_micros(500) * n as u32);
            Ok(())
        });
        let samples = samples.unwrap();
        assert!(start.elapsed().as_secs_f64() >= 0.07);
        assert_eq!(samples.calls, done);
        assert!(samples.seconds.len() >= MIN_CHUNKS);
        // sleeping never ends early
        assert!(samples.seconds.iter().all(|&s| s >= 5e-4), "{samples:?}");
    }

    #[test]
    fn errors_end_it() {
        let mut left = 4;
        let failed = sample(Protocol::default(), &mut |n| {
            left -= n;
            match left {
                0 => Err(Error::other("enough")),
                _ => Ok(()),
            }
        });
        assert_eq!(failed.unwrap_err().message, "enough");
    }
}
