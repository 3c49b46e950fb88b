//! The device that a user asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, Place};
use crate::error::{Error, ErrorKind, Result};

/// A device by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// The best there is: the first GPU, or the CPU.
    Best,
    /// `cpu`.
    Cpu,
    /// `cuda` (0) or `cuda:N`, among the GPUs that `CUDA_VISIBLE_DEVICES` leaves.
    Cuda(usize),
    /// `emulated`, in builds with the emulator.
    Emulated,
}

impl Name {
    /// The device that a text names; an empty one the best there is.
    ///
    /// # Errors
    /// For another name, or one that this build cannot have.
    pub fn parse(text: &str) -> Result<Self> {
        let name = match text {
            "" => return Ok(Self::Best),
            "cpu" => return Ok(Self::Cpu),
            "emulated" if cfg!(feature = "emulator") => return Ok(Self::Emulated),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        let Some(number) = name else {
            return Err(
                Error::new(ErrorKind::Device, format!("there is no device `{text}`"))
                    .with_help("devices are cpu, cuda and cuda:N, where N counts from 0"),
            );
        };
        if !cfg!(feature = "cuda") {
            let message = format!(
                "this build of widthwise has no CUDA, so `--device {text}` is not possible"
            );
            return Err(Error::new(ErrorKind::Device, message)
                .with_help("use --device cpu, or build with scripts/cuda/build"));
        }
        Ok(Self::Cuda(number))
    }
}

/// Devices that are open: one of each for a process.
static OPEN: Mutex<Option<HashMap<Name, Arc<Gpu>>>> = Mutex::new(None);

/// The place that is named; the same one every time.
///
/// # Errors
/// If there is no such GPU, its driver is missing or too old, or it is of a kind that the kernels are not
/// made for.
pub fn open(name: Name) -> Result<Place> {
    match name {
        Name::Cpu => return Ok(Place::Cpu),
        Name::Best => return Ok(open(Name::Cuda(0)).unwrap_or(Place::Cpu)),
        Name::Cuda(_) | Name::Emulated => {}
    }
    let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    if let Some(gpu) = all.get(&name) {
        return Ok(Place::Gpu(gpu.clone()));
    }
    let gpu = Arc::new(make(name)?);
    all.insert(name, gpu.clone());
    Ok(Place::Gpu(gpu))
}

fn make(name: Name) -> Result<Gpu> {
    match name {
        #[cfg(feature = "cuda")]
        Name::Cuda(number) => Gpu::cuda(number),
        #[cfg(feature = "emulator")]
        Name::Emulated => Ok(Gpu::emulated()),
        _ => Err(Error::new(
            ErrorKind::Device,
            "this build of widthwise has no such device",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(Name::parse("").unwrap(), Name::Best);
        assert_eq!(Name::parse("cpu").unwrap(), Name::Cpu);
        for wrong in ["tpu", "cuda:", "cuda:x", "cuda0", "cuda:-1"] {
            let error = Name::parse(wrong).unwrap_err();
            assert_eq!(error.message, format!("there is no device `{wrong}`"));
        }
        if cfg!(feature = "cuda") {
            assert_eq!(Name::parse("cuda").unwrap(), Name::Cuda(0));
            assert_eq!(Name::parse("cuda:3").unwrap(), Name::Cuda(3));
        } else {
            let error = Name::parse("cuda:1").unwrap_err();
            assert_eq!(
                error.message,
                "this build of widthwise has no CUDA, so `--device cuda:1` is not possible"
            );
            assert!(matches!(open(Name::Best).unwrap(), Place::Cpu));
        }
    }

    #[test]
    fn a_device_is_opened_once() {
        let gpu = || open(Name::Emulated).unwrap().gpu().unwrap().clone();
        assert!(Arc::ptr_eq(&gpu(), &gpu()));
    }
}
