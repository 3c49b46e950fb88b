//! What the system knows about this process: memory, and processor time beside that of others.
//!
//! Read from `/proc`, so on Linux only; elsewhere the answers are `None`.

use std::fs;

/// A number of kilobytes in a file of lines `Name:  123 kB`, in bytes.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let number = line.trim_start_matches(':').split_whitespace().next()?;
    Some(number.parse::<u64>().ok()? * 1024)
}

/// The largest resident size of this process so far, or since [`reset_peak_memory`], in bytes.
pub fn peak_memory() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM")
}

/// Lets [`peak_memory`] begin anew at the present size, where the system can.
pub fn reset_peak_memory() {
    // where it cannot, the peak is that of the whole process
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Memory of the machine in bytes.
pub fn total_memory() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemTotal")
}

/// Ticks of all processors: busy, in all, and those of this process with its finished children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
    own: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let numbers = |text: &str| -> Vec<u64> {
            let words = text.split_whitespace();
            words.filter_map(|w| w.parse().ok()).collect()
        };
        // user, nice, system, idle, waiting, interrupts, soft interrupts, stolen
        let all = numbers(stat.lines().next()?.strip_prefix("cpu ")?);
        let all: &[u64] = all.get(..8)?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // the name, in brackets, may hold spaces
        let own: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let own = own
            .get(11..15)?
            .iter()
            .filter_map(|w| w.parse::<u64>().ok());
        let total: u64 = all.iter().sum();
        Some(Self {
            busy: total - all[3] - all[4],
            all: total,
            own: own.sum(),
        })
    }
}

/// Watches which share of the machine other processes take.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Option<Ticks>);

impl Watch {
    /// Starts to watch.
    pub fn start() -> Self {
        Self(Ticks::now())
    }

    /// Share of all processors that other processes have taken since, 0 to 1. Times are known to
    /// a hundredth of a second, so the answer for short spans is rough.
    pub fn others(self) -> Option<f64> {
        let (before, now) = (self.0?, Ticks::now()?);
        let all = now.all.checked_sub(before.all).filter(|&all| all > 0)?;
        let busy = now.busy.saturating_sub(before.busy);
        let own = now.own.saturating_sub(before.own);
        Some(busy.saturating_sub(own) as f64 / all as f64)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers() {
        assert!(peak_memory().unwrap() > 1 << 20);
        let watch = Watch::start();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 100 {}
        let others = watch.others().unwrap();
        assert!((0.0..=1.0).contains(&others), "{others}");
    }
}
