//! Checks of settings and of what is asked of a stream, with messages in the user's words.

use crate::error::{Error, Result};

/// The most examples in a batch or a made-up test set: enough for any use, and few enough that
/// indices to them fit in memory.
pub(crate) const MOST: u64 = 1 << 24;

/// Refuses a number outside `low ..= high` (`high` may be infinite) and everything not finite.
pub(crate) fn number(stream: &str, key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(());
    }
    let range = if high.is_finite() {
        format!("between {low} and {high}")
    } else {
        format!("a finite number, at least {low}")
    };
    Err(Error::setting(format!(
        "`{key}` of {stream} must be {range}, got {value}"
    )))
}

/// Refuses a whole number outside `low ..= high`.
pub(crate) fn count(stream: &str, key: &str, value: u64, low: u64, high: u64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let range = if high == u64::MAX {
        format!("at least {low}")
    } else {
        format!("between {low} and {high}")
    };
    Err(Error::setting(format!(
        "`{key}` of {stream} must be {range}, got {value}"
    )))
}

/// Refuses an empty batch and positions past the end of a stream of `len` examples.
pub(crate) fn positions(
    stream: &str,
    start: u64,
    size: usize,
    len: Option<u64>,
    positions: Option<u64>,
) -> Result<()> {
    if !(1..=MOST).contains(&(size as u64)) {
        return Err(Error::setting(format!(
            "{stream}: a batch must hold between 1 and {MOST} examples, got {size}"
        )));
    }
    let end = start.checked_add(size as u64).ok_or_else(|| {
        Error::setting(format!(
            "{stream}: a batch of {size} at position {start} goes past the last whole number"
        ))
    })?;
    match (len, positions) {
        (Some(len), Some(last)) if end > last => Err(Error::setting(format!(
            "{stream} ends after {last} examples ({len} × {} {}), but {size} more were asked for \
             at position {start}",
            last / len.max(1),
            if last == len { "epoch" } else { "epochs" },
        ))
        .with_help("take fewer steps or a smaller batch, or set more `epochs`")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_key_range_and_value() {
        assert_eq!(
            number("s", "noise", -0.1, 0.0, 1.0).unwrap_err().message,
            "`noise` of s must be between 0 and 1, got -0.1"
        );
        assert_eq!(
            number("s", "noise", f64::NAN, 0.0, f64::INFINITY)
                .unwrap_err()
                .message,
            "`noise` of s must be a finite number, at least 0, got NaN"
        );
        assert!(number("s", "noise", f64::INFINITY, 0.0, f64::INFINITY).is_err());
        assert!(number("s", "noise", 0.0, 0.0, 1.0).is_ok());
        assert_eq!(
            count("s", "classes", 11, 2, 10).unwrap_err().message,
            "`classes` of s must be between 2 and 10, got 11"
        );
        assert_eq!(
            count("s", "test_size", 0, 1, u64::MAX).unwrap_err().message,
            "`test_size` of s must be at least 1, got 0"
        );
    }

    #[test]
    fn the_last_position_is_the_last() {
        assert!(positions("s", 16, 4, Some(10), Some(20)).is_ok());
        assert_eq!(
            positions("s", 17, 4, Some(10), Some(20))
                .unwrap_err()
                .message,
            "s ends after 20 examples (10 × 2 epochs), but 4 more were asked for at position 17"
        );
        assert!(positions("s", u64::MAX, 4, None, None).is_err());
        assert_eq!(
            positions("s", 0, 0, None, None).unwrap_err().message,
            "s: a batch must hold between 1 and 16777216 examples, got 0"
        );
        assert!(positions("s", 0, usize::MAX, None, None).is_err());
        assert!(positions("s", 1 << 60, 4, None, None).is_ok());
    }
}
