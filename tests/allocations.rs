//! A training step allocates nothing that grows with the network, since buffers are made once, and
//! keeps nothing but what the record stores.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use candle_core::{DType, Device, Tensor};
use widthwise::data::{FromTensors, FromTensorsSettings};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::{Mlp, mlp};
use widthwise::optim::{Adam, Optimizer, Sgd};
use widthwise::parametrization::Sp;
use widthwise::train::{NoHooks, Trainer, TrainerSettings};

struct Counting;

static BYTES: AtomicU64 = AtomicU64::new(0);
/// Bytes that have not been given back.
static HELD: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is passed on to the system's allocator
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        HELD.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(size as u64, Relaxed);
        HELD.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: as the caller promises
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A small perceptron with layer norm, two members, on 64 examples in memory.
fn trainer(width: usize, optimizer: Arc<dyn Optimizer>) -> Result<Trainer> {
    let network = mlp(Mlp {
        width,
        layer_norm: true,
        ..Mlp::default()
    });
    let settings = ModelSettings {
        seeds: vec![1, 2],
        dtype: DType::F32,
        place: Place::Cpu,
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
    Trainer::new(model, optimizer, Arc::new(stream), settings)
}

/// Bytes that a step asks for, after some steps, in the mean over some more.
fn bytes_per_step(width: usize, optimizer: Arc<dyn Optimizer>) -> Result<u64> {
    let mut trainer = trainer(width, optimizer)?;
    trainer.run(20, &mut NoHooks)?;
    let before = BYTES.load(Relaxed);
    let steps = 100;
    trainer.run(steps, &mut NoHooks)?;
    Ok((BYTES.load(Relaxed) - before) / steps)
}

/// Bytes that 10,000 steps keep, with the record in memory alone or in a file too.
fn bytes_kept(in_file: bool) -> Result<i64> {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trainer(4, sgd())?;
    if in_file {
        let path = folder.path().join("run.jsonl");
        trainer.record_mut().write_to(&path)?;
    }
    trainer.run(STEPS, &mut NoHooks)?;
    let before = HELD.load(Relaxed);
    trainer.run(STEPS, &mut NoHooks)?;
    Ok(HELD.load(Relaxed) - before)
}

const STEPS: u64 = 10_000;

fn sgd() -> Arc<dyn Optimizer> {
    Arc::new(Sgd {
        lr: 0.1.into(),
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    })
}

fn what_a_step_allocates_does_not_grow_with_the_network() -> Result<()> {
    let adam: Arc<dyn Optimizer> = Arc::new(Adam {
        lr: 0.001.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        eps: 1e-8.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
    });
    for optimizer in [sgd(), adam] {
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

fn a_step_keeps_only_what_the_record_stores() -> Result<()> {
    for in_file in [false, true] {
        let kept = bytes_kept(in_file)? as f64 / STEPS as f64;
        // two series, a row each: step, handle, and two numbers or one; vectors grow by doubling
        let stored = 2.0 * (8.0 + 24.0) + 8.0 * 3.0;
        assert!(
            kept < 2.0 * stored,
            "{kept} bytes a step, in a file: {in_file}"
        );
    }
    Ok(())
}

/// One test, since what is counted is the whole program's.
#[test]
fn steps_ask_for_little_and_keep_less() -> Result<()> {
    what_a_step_allocates_does_not_grow_with_the_network()?;
    a_step_keeps_only_what_the_record_stores()
}
