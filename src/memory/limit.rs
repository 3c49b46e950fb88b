//! The limit of a process's addresses, which `ulimit -v` and some clusters set.

/// Bytes of addresses that the process may still ask for; `None` where there is no limit, or the
/// system does not say.
pub(super) fn addresses_left() -> Option<u128> {
    // a file that is read per process, not kept: limits and use change
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = limit_in(&limits)?;
    let used = used_in(&std::fs::read_to_string("/proc/self/status").ok()?)?;
    Some(limit.saturating_sub(used))
}

/// The soft limit in the text of `/proc/self/limits`, in bytes.
fn limit_in(limits: &str) -> Option<u128> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max address space"))?;
    // `unlimited` is no number
    line.split_whitespace().next()?.parse().ok()
}

/// Addresses in use in the text of `/proc/self/status`, in bytes.
fn used_in(status: &str) -> Option<u128> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmSize:"))?;
    let kilobytes: u128 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max cpu time              unlimited            unlimited            seconds   \n\
                      Max address space         2097152000           unlimited            bytes     \n";
        assert_eq!(limit_in(limits), Some(2_097_152_000));
        assert_eq!(limit_in(&limits.replace("2097152000", "unlimited ")), None);
        assert_eq!(limit_in(""), None);
        let status = "Name:\tcat\nVmPeak:\t    3000 kB\nVmSize:\t    2500 kB\n";
        assert_eq!(used_in(status), Some(2_560_000));
        assert_eq!(used_in("Name:\tcat\n"), None);
    }
}
