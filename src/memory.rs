//! Whether tensors fit into memory, asked before they are made.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::error::{Error, ErrorKind, Result};

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
        numbers.product::<u128>() * self.number as u128
    }
}

/// Tensors named in the message.
const NAMED: usize = 4;

/// Memory that can be had without pushing anything out, in bytes; in a container with a limit, what
/// the limit leaves. `None` where the system does not say.
pub fn available() -> Option<u128> {
    let what = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(what);
    let free = match system.cgroup_limits() {
        Some(limits) => limits.free_memory.min(system.available_memory()),
        None => system.available_memory(),
    };
    (free > 0).then_some(u128::from(free))
}

/// Checks that all of `needs` fit into the memory that is available; `fits` says, for the share of
/// them that does, what would fit.
///
/// # Errors
/// If they do not: what is needed and available, the largest tensors, and what would fit.
pub fn check(what: &str, needs: &[Need], fits: impl FnOnce(f64) -> String) -> Result<()> {
    match available() {
        Some(available) => compare(what, needs, available, fits),
        None => Ok(()),
    }
}

fn compare(
    what: &str,
    needs: &[Need],
    available: u128,
    fits: impl FnOnce(f64) -> String,
) -> Result<()> {
    let wanted: u128 = needs.iter().map(Need::bytes).sum();
    if wanted <= available {
        return Ok(());
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
    Err(Error::new(
        ErrorKind::Memory,
        format!(
            "not enough memory: {what} needs {}, {} are available; the largest tensors: {}{rest}",
            readable(wanted),
            readable(available),
            named.join(", ")
        ),
    )
    .with_help(fits(available as f64 / wanted as f64)))
}

/// Bytes for people: `805 MB`, `1.2 GB`.
pub fn readable(bytes: u128) -> String {
    let bytes = bytes as f64;
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) if bytes / size < 10.0 => format!("{:.1} {unit}", bytes / size),
        Some((unit, size)) => format!("{:.0} {unit}", bytes / size),
        None => format!("{bytes} bytes"),
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
        let fits = |share: f64| format!("{:.0} of 16 members would fit", (16.0 * share).floor());
        let error = compare("the model", &needs, 500_000_000, fits).unwrap_err();
        assert_eq!(
            error.message,
            "not enough memory: the model needs 1.1 GB, 500 MB are available; the largest tensors: \
             layers.1.weight [16, 4096, 4096] 1.1 GB, b [200, 100] 80 kB, a [100, 100] 40 kB, \
             small [10] 40 bytes, and 1 smaller"
        );
        assert_eq!(error.help.as_deref(), Some("7 of 16 members would fit"));
        assert!(compare("the model", &needs, 2_000_000_000, fits).is_ok());
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
