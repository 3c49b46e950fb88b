//! A training step allocates nothing that grows with the network: buffers are made once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use candle_core::{DType, Device, Tensor};
use widthwise::data::{FromTensors, FromTensorsSettings};
use widthwise::error::Result;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::{Mlp, mlp};
use widthwise::optim::{Adam, Optimizer, Sgd};
use widthwise::parametrization::Sp;
use widthwise::train::{NoHooks, Trainer, TrainerSettings};

struct Counting;

static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as the caller promises
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(size as u64, Relaxed);
        // SAFETY: as the caller promises
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that a step asks for, after some steps, in the mean over some more.
fn bytes_per_step(width: usize, optimizer: Arc<dyn Optimizer>) -> Result<u64> {
    let network = mlp(Mlp {
        width,
        layer_norm: true,
        ..Mlp::default()
    });
    let settings = ModelSettings {
        seeds: vec![1, 2],
        dtype: DType::F32,
        device: Device::Cpu,
    };
    let model = Model::new(network, Arc::new(Sp::default()), settings)?;
    let examples = 64;
    let inputs = Tensor::zeros((examples, 100), DType::F32, &Device::Cpu)?;
    let classes: Vec<u32> = (0..examples as u32).map(|i| i % 10).collect();
    let labels = Tensor::from_vec(classes, examples, &Device::Cpu)?;
    let stream = FromTensors::new(
        &inputs,
        &labels,
        &inputs,
        &labels,
        FromTensorsSettings::default(),
    )?;
    let settings = TrainerSettings {
        batch: 16,
        ..TrainerSettings::default()
    };
    let model = Arc::new(std::sync::RwLock::new(model));
    let mut trainer = Trainer::new(model, optimizer, Arc::new(stream), settings)?;
    trainer.run(20, &mut NoHooks)?;
    let before = BYTES.load(Relaxed);
    let steps = 100;
    trainer.run(steps, &mut NoHooks)?;
    Ok((BYTES.load(Relaxed) - before) / steps)
}

#[test]
fn what_a_step_allocates_does_not_grow_with_the_network() -> Result<()> {
    let sgd: Arc<dyn Optimizer> = Arc::new(Sgd {
        lr: 0.1.into(),
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    });
    let adam: Arc<dyn Optimizer> = Arc::new(Adam {
        lr: 0.001.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        eps: 1e-8.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
    });
    for optimizer in [sgd, adam] {
        let (narrow, wide) = (
            bytes_per_step(16, optimizer.clone())?,
            bytes_per_step(256, optimizer.clone())?,
        );
        // the batch, the record's numbers and handles; a copy of one hidden activation has 16 kB more
        assert!(
            wide < narrow + 4096,
            "{}: {narrow} bytes at width 16, {wide} at width 256",
            optimizer.name()
        );
        assert!(narrow < 65536, "{narrow} bytes at width 16");
    }
    Ok(())
}
