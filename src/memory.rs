//! Whether tensors fit into memory, asked before they are made, and what happens where they do not.
//!
//! Three nets, one behind the other. What a model, a pass or a script's operation will need is
//! estimated first ([`check`], [`room`]), against the memory that is free and against limits of the
//! process: the error names the largest tensors and what would fit. Tensors of our own are made by
//! [`zeros`], which gives an error where the allocator refuses. What is left, memory that candle or
//! Rhai ask for, ends the program with one line and status 1, see [`Guard`].

mod guard;
mod limit;
mod zeros;

pub use guard::Guard;
pub use zeros::{Number, numbers, room, zeros, zeros_like};

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Place;

/// A tensor that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What it is, for instance a parameter's path.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Bytes of one number.
    pub number: usize,
}

impl Need {
    /// Bytes of the whole tensor.
    pub fn bytes(&self) -> u128 {
        let numbers = self.shape.iter().map(|&n| n as u128);
        numbers.fold(self.number as u128, u128::saturating_mul)
    }
}

/// Tensors named in the message.
const NAMED: usize = 4;

/// Memory that can be had without pushing anything out, in bytes; in a container with a limit, or a
/// process with a limit of its addresses (`ulimit -v`), what the limit leaves. `None` where the
/// system does not say.
pub fn available() -> Option<u128> {
    let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(what);
    let free = match system.cgroup_limits() {
        Some(limits) => limits.free_memory.min(system.available_memory()),
        None => system.available_memory(),
    };
    let free = (free > 0).then_some(u128::from(free));
    match (free, limit::addresses_left()) {
        (Some(free), Some(left)) => Some(free.min(left)),
        (free, left) => free.or(left),
    }
}

/// Checks that all of `needs` fit into the memory that is available; `fits` says what would fit into
/// a number of bytes, see [`largest`].
///
/// # Errors
/// If they do not: what is needed and available, the largest tensors, and what would fit.
pub fn check(what: &str, needs: &[Need], fits: impl FnOnce(u128) -> String) -> Result<()> {
    check_on(&Place::Cpu, what, needs, fits)
}

/// The same for memory of another place.
///
/// # Errors
/// As for [`check`].
pub fn check_on(
    place: &Place,
    what: &str,
    needs: &[Need],
    fits: impl FnOnce(u128) -> String,
) -> Result<()> {
    match place.available() {
        Some(available) => compare(what, needs, available, fits),
        None => Ok(()),
    }
}

/// Bytes of all tensors together.
pub fn total(needs: &[Need]) -> u128 {
    let bytes = needs.iter().map(Need::bytes);
    bytes.fold(0, u128::saturating_add)
}

/// The largest number up to `most` for which `bytes` leave a twentieth of `available`, and 128 MB (a
/// quarter where there is little), 0 if there is none; `bytes` must grow with the number, and give
/// `None` where it cannot be. What is left is for records, what an operation needs for a moment, and
/// the addresses that the allocator keeps for each thread.
pub fn largest(most: usize, available: u128, bytes: impl Fn(usize) -> Option<u128>) -> usize {
    let room = available - (available / 20).max((available / 4).min(128 << 20));
    let fits = |n: usize| bytes(n).is_some_and(|bytes| bytes <= room);
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

fn compare(
    what: &str,
    needs: &[Need],
    available: u128,
    fits: impl FnOnce(u128) -> String,
) -> Result<()> {
    let wanted = total(needs);
    if wanted <= available {
        return Ok(());
    }
    let (wanted, available_text) = (readable(wanted), readable(available));
    let refuse = |text: String| {
        let message = format!("not enough memory: {what} needs {text}");
        Err(Error::new(ErrorKind::Memory, message).with_help(fits(available)))
    };
    if let [one] = needs {
        let shape = &one.shape;
        return refuse(format!(
            "{wanted} for {shape:?}, {available_text} are available"
        ));
    }
    let mut largest: Vec<&Need> = needs.iter().collect();
    largest.sort_by_key(|need| std::cmp::Reverse(need.bytes()));
    let named: Vec<_> = largest
        .iter()
        .take(NAMED)
        .map(|n| format!("{} {:?} {}", n.name, n.shape, readable(n.bytes())))
        .collect();
    let others = largest.len().saturating_sub(NAMED);
    let rest = match others {
        0 => String::new(),
        n => format!(", and {n} smaller"),
    };
    refuse(format!(
        "{wanted}, {available_text} are available; the largest tensors: {}{rest}",
        named.join(", ")
    ))
}

/// Bytes for people: `805 MB`, `1.2 GB`.
pub fn readable(bytes: u128) -> String {
    let mut text = Vec::new();
    // a vector takes everything, and what is written is text
    let _ = readable_in(&mut text, bytes);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes [`readable`] without asking for memory.
fn readable_in(to: &mut impl std::io::Write, bytes: u128) -> std::io::Result<()> {
    let bytes = bytes as f64;
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) if bytes / size < 10.0 => write!(to, "{:.1} {unit}", bytes / size),
        Some((unit, size)) => write!(to, "{:.0} {unit}", bytes / size),
        None => write!(to, "{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(name: &str, shape: &[usize]) -> Need {
        Need {
            name: name.into(),
            shape: shape.to_vec(),
            number: 4,
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_the_largest_tensors() {
        let needs = [
            need("small", &[10]),
            need("layers.1.weight", &[16, 4096, 4096]),
            need("a", &[100, 100]),
            need("b", &[200, 100]),
            need("c", &[1]),
        ];
        let bytes = |members: usize| Some(members as u128 * total(&needs) / 16);
        let fits = |available| format!("{} of 16 members would fit", largest(16, available, bytes));
        let error = compare("the model", &needs, 500_000_000, fits).unwrap_err();
        assert_eq!(
            error.message,
            "not enough memory: the model needs 1.1 GB, 500 MB are available; the largest tensors: \
             layers.1.weight [16, 4096, 4096] 1.1 GB, b [200, 100] 80 kB, a [100, 100] 40 kB, \
             small [10] 40 bytes, and 1 smaller"
        );
        assert_eq!(error.help.as_deref(), Some("5 of 16 members would fit"));
        let fits = |_| String::new();
        assert!(compare("the model", &needs, 2_000_000_000, fits).is_ok());
    }

    #[test]
    fn the_largest_that_fits_leaves_something() {
        let bytes = |n: usize| Some(10 * n as u128);
        assert_eq!(largest(50, 1000, bytes), 50);
        assert_eq!(largest(500, 1000, bytes), 75);
        let huge = |n: usize| Some((n as u128) << 30);
        assert_eq!(largest(500, 100 << 30, huge), 95);
        assert_eq!(largest(500, 2 << 30, huge), 1);
        assert_eq!(largest(500, 10, bytes), 0);
        assert_eq!(largest(0, 10, bytes), 0);
        assert_eq!(largest(500, 1000, |n| (n < 7).then_some(0)), 6);
    }

    #[test]
    fn sizes_do_not_overflow_and_this_machine_has_memory() {
        let huge = need("huge", &[usize::MAX, 8]);
        assert!(huge.bytes() > u128::from(u64::MAX));
        assert!(check("nothing", &[], |_| String::new()).is_ok());
        if let Some(bytes) = available() {
            assert!(bytes > 1_000_000);
        }
    }
}
