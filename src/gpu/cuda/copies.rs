//! Copies to the device that do not wait for its work.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result, sys};

use super::errors::Failed;
use super::lock;
use crate::error::Result;

/// Copies that may be on their way at the same time.
const SLOTS: usize = 4;
/// Fewer bytes go to the device in the order of its work, without a stop on the way.
const SMALL: usize = 16 << 10;

/// Memory that a copy goes through: pinned on the host, then on the device.
struct Slot {
    host: *mut c_void,
    device: sys::CUdeviceptr,
    bytes: usize,
    /// The bytes are on the device.
    arrived: CudaEvent,
    /// The bytes are where they shall be.
    taken: CudaEvent,
}

/// Slots in turn.
pub(super) struct Copies {
    context: Arc<CudaContext>,
    /// The stream that work is queued on.
    work: Arc<CudaStream>,
    copies: Arc<CudaStream>,
    slots: Mutex<(usize, Vec<Slot>)>,
}

// SAFETY: the pointers are used under the lock alone
unsafe impl Send for Copies {}
// SAFETY: as above
unsafe impl Sync for Copies {}

impl Copies {
    pub fn new(context: &Arc<CudaContext>, work: &Arc<CudaStream>) -> Result<Self> {
        let slot = || -> Result<Slot> {
            Ok(Slot {
                host: std::ptr::null_mut(),
                device: 0,
                bytes: 0,
                arrived: context.new_event(None).failed("making an event")?,
                taken: context.new_event(None).failed("making an event")?,
            })
        };
        let slots = (0..SLOTS).map(|_| slot()).collect::<Result<_>>()?;
        Ok(Self {
            context: context.clone(),
            work: work.clone(),
            copies: context.new_stream().failed("making a stream")?,
            slots: Mutex::new((0, slots)),
        })
    }

    /// Copies to the device, in order with its work; `from` may be changed when this returns.
    pub fn upload(&self, from: &[u8], to: sys::CUdeviceptr) -> Result<()> {
        let what = "copying to the GPU";
        if from.is_empty() {
            return Ok(());
        }
        let mut slots = lock(&self.slots);
        let (next, slots) = &mut *slots;
        let slot = &mut slots[*next];
        *next = (*next + 1) % SLOTS;
        slot.taken.synchronize().failed(what)?;
        // SAFETY: the slot's memory is not in use, as its event says, and is as large as it is made
        unsafe {
            slot.grow(from.len())?;
            std::ptr::copy_nonoverlapping(from.as_ptr(), slot.host.cast(), from.len());
            let host = std::slice::from_raw_parts(slot.host.cast::<u8>(), from.len());
            if from.len() <= SMALL {
                result::memcpy_htod_async(to, host, self.work.cu_stream()).failed(what)?;
            } else {
                result::memcpy_htod_async(slot.device, host, self.copies.cu_stream())
                    .failed(what)?;
                slot.arrived.record(&self.copies).failed(what)?;
                self.work.wait(&slot.arrived).failed(what)?;
                result::memcpy_dtod_async(to, slot.device, from.len(), self.work.cu_stream())
                    .failed(what)?;
            }
        }
        slot.taken.record(&self.work).failed(what)
    }
}

impl Slot {
    /// # Safety
    /// Nothing uses the slot's memory.
    unsafe fn grow(&mut self, bytes: usize) -> Result<()> {
        if self.bytes >= bytes {
            return Ok(());
        }
        // SAFETY: as the caller promises
        unsafe {
            self.free()?;
            self.host = result::malloc_host(bytes, 0).failed("pinned memory for copies")?;
            self.device = result::malloc_sync(bytes).failed("memory for copies")?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// # Safety
    /// Nothing uses the slot's memory.
    unsafe fn free(&mut self) -> Result<()> {
        self.bytes = 0;
        // SAFETY: as the caller promises; what is null or 0 was never made
        unsafe {
            if !self.host.is_null() {
                let host = std::mem::replace(&mut self.host, std::ptr::null_mut());
                result::free_host(host).failed("freeing memory")?;
            }
            if self.device != 0 {
                result::free_sync(std::mem::take(&mut self.device)).failed("freeing memory")?;
            }
        }
        Ok(())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let bound = self.context.bind_to_thread().is_ok() && self.work.synchronize().is_ok();
        let (_, slots) = &mut *lock(&self.slots);
        for slot in slots.iter_mut().filter(|_| bound) {
            // SAFETY: all work is done; what cannot be freed now goes with the process
            let _ = unsafe { slot.free() };
        }
    }
}
