//! The end of a program that asks for more memory than there is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use super::readable_in;

thread_local! {
    /// Whether this thread asks for memory that it can do without. Needs neither memory nor a
    /// destructor, so that the allocator may use it.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Lets `ask` ask for memory that it can do without: where there is none, it sees that.
pub(super) fn may_fail<R>(ask: impl FnOnce() -> R) -> R {
    let before = MAY_FAIL.replace(true);
    let found = ask();
    MAY_FAIL.set(before);
    found
}

/// The system's allocator for a program whose end, when memory runs out, is one line on stderr and
/// exit status 1, where Rust would abort. Files are whole up to what was last written.
///
/// `try_reserve` of a foreign crate ends the program too: it cannot be told from a request that its
/// asker cannot do without.
#[derive(Debug)]
pub struct Guard;

impl Guard {
    fn checked(found: *mut u8, bytes: usize) -> *mut u8 {
        if found.is_null() {
            if !MAY_FAIL.try_with(Cell::get).unwrap_or(false) {
                end(bytes);
            }
        } else if bytes >= LARGE {
            prefer_huge_pages(found, bytes);
        }
        found
    }
}

/// From so many bytes on, memory is asked for in huge pages.
const LARGE: usize = 4 << 20;

/// Lets Linux back memory by pages of 2 MB. What is asked for, filled and given back again, such as the
/// signals of a kernel, otherwise spends a third of the time in faults of small pages.
#[cfg(target_os = "linux")]
fn prefer_huge_pages(found: *mut u8, bytes: usize) {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn madvise(from: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }
    const HUGE_PAGES: c_int = 14;
    const PAGE: usize = 4096;
    let skipped = found.align_offset(PAGE);
    if skipped < bytes {
        // SAFETY: advice about pages of this memory, which changes no number; a refusal changes nothing
        unsafe {
            madvise(
                found.wrapping_add(skipped).cast(),
                bytes - skipped,
                HUGE_PAGES,
            )
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_found: *mut u8, _bytes: usize) {}

// SAFETY: everything is passed on to the system's allocator
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises
        Self::checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises
        Self::checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises
        Self::checked(unsafe { System.realloc(ptr, layout, size) }, size)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Ends the program, without asking for memory.
#[cold]
fn end(bytes: usize) -> ! {
    let mut text = [0_u8; 160];
    let length = line(&mut text, bytes);
    say(&text[..length]);
    leave()
}

/// Writes the last line into `text`: its length.
fn line(text: &mut [u8], bytes: usize) -> usize {
    let whole = text.len();
    let mut rest = text;
    // a line that is too long is cut
    let _ = rest.write_all(b"error: not enough memory: ");
    let _ = readable_in(&mut rest, bytes as u128);
    let _ = rest.write_all(b" could not be had; what was written to files before is whole\n");
    whole - rest.len()
}

/// Writes to stderr past its lock, which this thread may hold.
#[cfg(unix)]
fn say(text: &[u8]) {
    use std::fs::File;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;
    // SAFETY: never dropped, so that the descriptor stays open
    let stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    // there is nobody left to tell
    let _ = (&*stderr).write_all(text);
}

#[cfg(not(unix))]
fn say(text: &[u8]) {
    let _ = std::io::stderr().write_all(text);
}

/// Leaves at once: no destructor and no exit handler, which might ask for memory, or wait for a lock
/// that this thread holds.
#[cfg(unix)]
fn leave() -> ! {
    unsafe extern "C" {
        safe fn _exit(status: i32) -> !;
    }
    _exit(1)
}

#[cfg(not(unix))]
fn leave() -> ! {
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_how_much_and_fits() {
        for (bytes, size) in [
            (12_300_000_000, "12 GB"),
            (7, "7 bytes"),
            (usize::MAX, "18446744 TB"),
        ] {
            let mut text = [0; 160];
            let length = line(&mut text, bytes);
            assert_eq!(
                std::str::from_utf8(&text[..length]).unwrap(),
                format!(
                    "error: not enough memory: {size} could not be had; what was written to files \
                     before is whole\n"
                )
            );
        }
        let mut short = [0; 10];
        assert_eq!(line(&mut short, 1), 10);
    }

    #[test]
    fn who_may_fail_is_told_and_others_get_memory() {
        let huge = Layout::from_size_align(1 << 60, 8).unwrap();
        // SAFETY: the layout has a size, and what is null is not used
        let found = may_fail(|| unsafe { Guard.alloc(huge) });
        // otherwise the compiler may leave out an allocation that nobody looks at
        assert!(std::hint::black_box(found).is_null());
        assert!(!MAY_FAIL.get());
        let small = Layout::new::<u64>();
        // SAFETY: freed with the layout that it was made with
        unsafe {
            let found = Guard.alloc_zeroed(small);
            assert_eq!(*found.cast::<u64>(), 0);
            Guard.dealloc(found, small);
        }
    }
}
