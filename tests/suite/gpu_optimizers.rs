//! Updates of Adafactor, Shampoo and SOAP on a GPU, in the emulator, against the CPU; and on a real GPU where there is one.

use std::ops::RangeInclusive;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::stepping::{PLAIN, info, states};
use candle_core::{DType, Tensor};
use widthwise::data::{Teacher, TeacherSettings};
use widthwise::error::Result;
use widthwise::gpu::{Gpu, Name, Place, Stored, address, open};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::Activation;
use widthwise::nn::{Mlp, ParamInfo, Role, mlp};
use widthwise::optim::{
    Adafactor, GpuMembers, GpuUpdates, Graft, Limits, Muon, Optimizer, PerMember, Shampoo, Soap,
    TensorUpdate, Trained, update,
};
use widthwise::parametrization::{Mup, Scales};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::elementwise::copy;
use widthwise::tensor::rng::Key;
use widthwise::train::{CheckpointSettings, Clip, NoHooks, Trainer, TrainerSettings};

/// An optimizer with the learning rates of so many members.
type Make = fn(PerMember) -> Box<dyn Optimizer>;

const RATES: [f64; 3] = [0.01, 0.02, 0.03];
/// What gradients are multiplied by, and how large they are after that at most.
const FACTORS: [f64; 3] = [1.0, 0.5, 0.8];
const LARGEST: f64 = 1.5;
/// From this step on the second member is left as it is.
const STOPS: u64 = 5;

fn gpus() -> Vec<Arc<Gpu>> {
    let mut all = vec![Arc::new(Gpu::emulated())];
    if let Ok(Place::Gpu(gpu)) = open(Name::Cuda(0)) {
        all.push(gpu);
    }
    all
}

fn scales(info: &ParamInfo) -> Scales {
    Scales {
        lr: 0.7,
        weight_decay: 0.5,
        eps: 2.0,
        fans: [info.fan_in, info.fan_out],
        ..PLAIN
    }
}

fn params(shapes: &[(&[usize], Role)]) -> Vec<ParamInfo> {
    let all = shapes.iter().enumerate().map(|(i, (shape, role))| {
        let mut info = info(shape, *role);
        info.path = format!("{i}.weight");
        info
    });
    all.collect()
}

/// Matrices, vectors, filters, embeddings: smaller and larger than what a block takes.
fn shapes() -> Vec<ParamInfo> {
    params(&[
        (&[6, 6], Role::Hidden),
        (&[37, 45], Role::Hidden),
        (&[50, 3], Role::InputLike),
        (&[2500], Role::VectorLike),
        (&[2, 3, 2, 5], Role::Hidden),
        (&[1, 7], Role::Hidden),
        (&[7, 1], Role::Hidden),
        (&[1], Role::Fixed),
        (&[4, 9], Role::OutputLike),
    ])
}

/// Matrices whose second moments have at most one eigenvalue 0 after the first gradient: to more of them belong many
/// bases, all of them right.
fn nearly_square() -> Vec<ParamInfo> {
    params(&[
        (&[6, 6], Role::Hidden),
        (&[50, 3], Role::InputLike),
        (&[5, 6], Role::Hidden),
        (&[1, 2, 3, 5], Role::Hidden),
        (&[9], Role::VectorLike),
    ])
}

/// Parameters and their states on a device.
struct Numbers {
    params: Vec<Tensor>,
    states: Vec<Vec<Tensor>>,
}

/// Steps of some members.
struct Steps<'a> {
    make: Make,
    infos: &'a [ParamInfo],
    members: &'a [usize],
    dtype: DType,
}

impl Steps<'_> {
    fn optimizer(&self) -> Box<dyn Optimizer> {
        let rates = self.members.iter().map(|&m| RATES[m]);
        (self.make)(PerMember::Each(rates.collect()))
    }

    fn tensor(&self, info: &ParamInfo, of: impl Fn(usize) -> Vec<f64>) -> Result<Tensor> {
        let all: Vec<f64> = self.members.iter().flat_map(|&m| of(m)).collect();
        let shape = [&[self.members.len()], info.shape.as_slice()].concat();
        let tensor = Tensor::from_vec(all, shape, &candle_core::Device::Cpu)?;
        Ok(tensor.to_dtype(self.dtype)?)
    }

    fn numbers(&self, what: &str, info: &ParamInfo, member: usize) -> Vec<f64> {
        let key = Key::new(member as u64).label(what).label(&info.path);
        let mut rng = key.rng();
        let size = info.shape.iter().product();
        (0..size).map(|_| rng.normal()).collect()
    }

    fn start(&self) -> Result<Numbers> {
        let param = |i: &ParamInfo| self.tensor(i, |m| self.numbers("start", i, m));
        let optimizer = self.optimizer();
        let state = |i: &ParamInfo| states(&*optimizer, i, self.members.len(), self.dtype);
        Ok(Numbers {
            params: self.infos.iter().map(param).collect::<Result<_>>()?,
            states: self.infos.iter().map(state).collect::<Result<_>>()?,
        })
    }

    fn active(&self, step: u64) -> Vec<bool> {
        let on = self.members.iter().map(|&m| m != 1 || step < STOPS);
        on.collect()
    }

    /// Gradients of a step, limited where `limited`. The first member has none in the first two.
    fn grads(&self, step: u64, limited: bool) -> Result<Vec<Tensor>> {
        let label = format!("gradient {step}");
        let grad = |i: &ParamInfo| {
            self.tensor(i, |m| {
                let mut all = self.numbers(&label, i, m);
                if m == 0 && step <= 2 {
                    all.fill(0.0);
                }
                if limited {
                    let limit = |g: &mut f64| *g = (*g * FACTORS[m]).clamp(-LARGEST, LARGEST);
                    all.iter_mut().for_each(limit);
                }
                all
            })
        };
        self.infos.iter().map(grad).collect()
    }

    fn on_cpu(&self, numbers: &Numbers, steps: RangeInclusive<u64>) -> Result<()> {
        let optimizer = self.optimizer();
        for step in steps {
            let grads = self.grads(step, true)?;
            for (i, info) in self.infos.iter().enumerate() {
                let all = TensorUpdate {
                    param: &numbers.params[i],
                    grad: &grads[i],
                    state: &numbers.states[i],
                    info,
                    scales: &scales(info),
                    factor: 0.9,
                    active: &self.active(step),
                    step,
                };
                update(&*optimizer, &all)?;
            }
        }
        Ok(())
    }

    /// The first of these steps is queued as it is, later ones are kept and repeated.
    fn on_gpu(&self, gpu: &Arc<Gpu>, numbers: &Numbers, steps: RangeInclusive<u64>) -> Result<()> {
        let (optimizer, device) = (self.optimizer(), gpu.device());
        let on = GpuMembers::new(gpu, Stored::of(self.dtype)?, self.members.len());
        // in the emulator too they are other tensors
        let moved = |t: &Tensor| Ok(t.to_device(device)?.copy()?);
        let all = |ts: &[Tensor]| ts.iter().map(moved).collect::<Result<Vec<_>>>();
        let (params, grads) = (all(&numbers.params)?, all(&self.grads(1, false)?)?);
        let states = numbers.states.iter().map(|s| all(s));
        let states = states.collect::<Result<Vec<_>>>()?;
        let trained: Vec<_> = (0..params.len())
            .map(|i| Trained {
                info: &self.infos[i],
                param: &params[i],
                grad: &grads[i],
                states: &states[i],
            })
            .collect();
        let updates = GpuUpdates::new(&*optimizer, &on, &trained)?;
        let scales: Vec<_> = self.infos.iter().map(scales).collect();
        let scaled: Vec<_> = self.infos.iter().zip(&scales).collect();
        let active = Tensor::zeros(self.members.len(), DType::U32, device)?;
        let factors: Vec<f64> = self.members.iter().map(|&m| FACTORS[m]).collect();
        let factors = Tensor::from_vec(factors, self.members.len(), device)?;
        let limits = Limits {
            active: address(&active)?,
            factors: address(&factors)?,
            largest: LARGEST,
        };
        let mut kept = None;
        for (i, step) in steps.enumerate() {
            for (to, from) in grads.iter().zip(self.grads(step, false)?) {
                copy(to, &from)?;
            }
            let on: Vec<u32> = self.active(step).into_iter().map(u32::from).collect();
            gpu.upload(&on, address(&active)?)?;
            updates.set_scalars(&*optimizer, &scaled, 0.9, step)?;
            if i == 1 {
                let begin = gpu.capture(|| updates.begin(limits))?;
                kept = Some((begin, gpu.capture(|| updates.queue(limits))?));
            }
            match &kept {
                Some((begin, _)) => gpu.replay(begin)?,
                None => updates.begin(limits)?,
            }
            updates.on_host(step, address(&active)?)?;
            match &kept {
                Some((_, rest)) => gpu.replay(rest)?,
                None => updates.queue(limits)?,
            }
        }
        gpu.synchronize()?;
        let back = numbers.states.iter().flatten().zip(states.iter().flatten());
        let back = back.chain(numbers.params.iter().zip(&params));
        for (to, from) in back {
            copy(to, from)?;
        }
        Ok(())
    }

    /// All numbers but those of bases, whose vectors may point either way.
    fn all(&self, numbers: &Numbers) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        let optimizer = self.optimizer();
        for (i, info) in self.infos.iter().enumerate() {
            all.extend(to_f64(&numbers.params[i])?);
            for (kept, state) in optimizer.states(info).iter().zip(&numbers.states[i]) {
                if !kept.name.starts_with("basis") {
                    all.extend(to_f64(state)?);
                }
            }
        }
        Ok(all)
    }
}

fn close(what: &str, a: &[f64], b: &[f64], bound: f64) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let apart = (a - b).abs() / (1.0 + b.abs());
        assert!(apart < bound, "{what}: number {i}: {a} {b}");
    }
}

/// Seven steps on the CPU and on every GPU, in f64 and in f32.
fn same(
    what: &str,
    make: Make,
    infos: &[ParamInfo],
    [f64_bound, f32_bound]: [f64; 2],
) -> Result<()> {
    let steps = |dtype| Steps {
        make,
        infos,
        members: &[0, 1, 2],
        dtype,
    };
    let exact = steps(DType::F64);
    let cpu = exact.start()?;
    exact.on_cpu(&cpu, 1..=7)?;
    let cpu = exact.all(&cpu)?;
    for gpu in gpus() {
        for (dtype, bound) in [(DType::F64, f64_bound), (DType::F32, f32_bound)] {
            let steps = steps(dtype);
            let found = steps.start()?;
            steps.on_gpu(&gpu, &found, 1..=7)?;
            close(
                &format!("{what} in {dtype:?}"),
                &steps.all(&found)?,
                &cpu,
                bound,
            );
        }
    }
    Ok(())
}

fn adafactor(lr: PerMember) -> Adafactor {
    Adafactor {
        lr,
        beta2_decay: (-0.8).into(),
        eps1: None,
        eps2: 1e-3.into(),
        clip: PerMember::Same(1.0),
        weight_decay: 0.1.into(),
    }
}

fn shampoo(lr: PerMember) -> Shampoo {
    Shampoo {
        lr,
        beta1: 0.9.into(),
        beta2: 0.95.into(),
        eps: 1e-3.into(),
        exponent_in: 0.25,
        exponent_out: 0.25,
        block: None,
        frequency: 2,
        graft: Graft::None,
        weight_decay: 0.1.into(),
        adam_factor: 0.5.into(),
        adam_eps: 1e-6.into(),
    }
}

fn soap(lr: PerMember) -> Soap {
    Soap {
        lr,
        beta1: 0.9.into(),
        beta2: 0.95.into(),
        shampoo_beta: Some(0.8.into()),
        eps: 1e-3.into(),
        basis_in: true,
        basis_out: true,
        block: None,
        frequency: 3,
        graft: Graft::None,
        weight_decay: 0.1.into(),
        adam_factor: 0.5.into(),
    }
}

fn muon(lr: PerMember) -> Muon {
    Muon {
        lr,
        momentum: 0.95.into(),
        nesterov: true,
        ns_steps: 5,
        eps: 1e-7.into(),
        adjust: widthwise::optim::Adjust::Original,
        weight_decay: 0.1.into(),
        adam_factor: 0.1.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        adam_eps: 1e-8.into(),
    }
}

#[test]
fn adafactor_and_muon_do_the_same() -> Result<()> {
    same(
        "adafactor",
        |lr| Box::new(adafactor(lr)),
        &shapes(),
        [1e-12, 1e-4],
    )?;
    let floors = |lr| -> Box<dyn Optimizer> {
        Box::new(Adafactor {
            eps1: Some(0.5),
            eps2: 3.0.into(),
            clip: 1.2.into(),
            ..adafactor(lr)
        })
    };
    same("floors of adafactor", floors, &shapes(), [1e-12, 1e-4])?;
    same("muon", |lr| Box::new(muon(lr)), &shapes(), [1e-10, 1e-3])
}

#[test]
fn shampoo_does_the_same() -> Result<()> {
    let cases: [(&str, Make); 6] = [
        ("shampoo", |lr| Box::new(shampoo(lr))),
        ("shampoo in blocks", |lr| {
            Box::new(Shampoo {
                block: Some(4),
                ..shampoo(lr)
            })
        }),
        // of 6, 6: four blocks of one size
        ("shampoo in equal blocks", |lr| {
            Box::new(Shampoo {
                block: Some(3),
                graft: Graft::Adam,
                ..shampoo(lr)
            })
        }),
        ("shampoo on the fan-in's side", |lr| {
            Box::new(Shampoo {
                exponent_in: 0.5,
                exponent_out: 0.0,
                ..shampoo(lr)
            })
        }),
        ("shampoo with Adam's size", |lr| {
            Box::new(Shampoo {
                graft: Graft::Adam,
                ..shampoo(lr)
            })
        }),
        ("shampoo with a spectral norm", |lr| {
            Box::new(Shampoo {
                graft: Graft::Spectral,
                block: Some(4),
                ..shampoo(lr)
            })
        }),
    ];
    for (what, make) in cases {
        same(what, make, &shapes(), [1e-9, 5e-3])?;
    }
    Ok(())
}

#[test]
fn soap_does_the_same() -> Result<()> {
    let cases: [(&str, Make); 4] = [
        ("soap", |lr| Box::new(soap(lr))),
        ("soap in blocks", |lr| {
            Box::new(Soap {
                block: Some(3),
                ..soap(lr)
            })
        }),
        ("soap with Adam's size", |lr| {
            Box::new(Soap {
                graft: Graft::Adam,
                ..soap(lr)
            })
        }),
        ("soap with a spectral norm", |lr| {
            Box::new(Soap {
                graft: Graft::Spectral,
                shampoo_beta: None,
                ..soap(lr)
            })
        }),
    ];
    for (what, make) in cases {
        same(what, make, &nearly_square(), [1e-8, 2e-2])?;
    }
    let rows: Make = |lr| {
        Box::new(Soap {
            basis_out: false,
            ..soap(lr)
        })
    };
    let wide = params(&[(&[1, 7], Role::Hidden), (&[4, 9], Role::Hidden)]);
    same("soap on the fan-in's side", rows, &wide, [1e-8, 2e-2])?;
    let columns: Make = |lr| {
        Box::new(Soap {
            basis_in: false,
            ..soap(lr)
        })
    };
    let tall = params(&[(&[7, 1], Role::Hidden), (&[9, 4], Role::Hidden)]);
    same("soap on the fan-out's side", columns, &tall, [1e-8, 2e-2])
}

fn each() -> [(&'static str, Make, Vec<ParamInfo>); 4] {
    [
        ("adafactor", |lr| Box::new(adafactor(lr)), shapes()),
        ("shampoo", |lr| Box::new(shampoo(lr)), shapes()),
        (
            "shampoo with a spectral norm",
            |lr| {
                Box::new(Shampoo {
                    graft: Graft::Spectral,
                    ..shampoo(lr)
                })
            },
            shapes(),
        ),
        ("soap", |lr| Box::new(soap(lr)), nearly_square()),
    ]
}

#[test]
fn a_member_alone_is_that_member_in_an_ensemble() -> Result<()> {
    for gpu in gpus() {
        for (what, make, infos) in each() {
            let run = |members: &[usize]| -> Result<Vec<Vec<f64>>> {
                let steps = Steps {
                    make,
                    infos: &infos,
                    members,
                    dtype: DType::F64,
                };
                let numbers = steps.start()?;
                steps.on_gpu(&gpu, &numbers, 1..=6)?;
                let own = members.iter().position(|&m| m == 2).unwrap();
                let all = numbers.params.iter().chain(numbers.states.iter().flatten());
                all.map(|t| to_f64(&t.get(own)?.contiguous()?)).collect()
            };
            for (alone, among) in run(&[2])?.iter().zip(run(&[0, 1, 2])?) {
                close(what, alone, &among, 1e-12);
            }
        }
    }
    Ok(())
}

/// The states of the CPU and of a GPU are the same: each goes on from the other's.
#[test]
fn steps_go_on_from_the_states_of_the_other_device() -> Result<()> {
    for gpu in gpus() {
        for (what, make, infos) in each() {
            let steps = Steps {
                make,
                infos: &infos,
                members: &[0, 1, 2],
                dtype: DType::F64,
            };
            let whole = steps.start()?;
            steps.on_cpu(&whole, 1..=7)?;
            let there = steps.start()?;
            steps.on_cpu(&there, 1..=2)?;
            steps.on_gpu(&gpu, &there, 3..=5)?;
            steps.on_cpu(&there, 6..=7)?;
            close(what, &steps.all(&there)?, &steps.all(&whole)?, 1e-8);
        }
    }
    Ok(())
}

fn trainer(
    (place, dtype): (&Place, DType),
    optimizer: Box<dyn Optimizer>,
    change: impl Fn(&mut TrainerSettings),
    checkpoint: Option<(&std::path::Path, bool)>,
) -> Result<Trainer> {
    let network = mlp(Mlp {
        width: 8,
        depth: 4,
        activation: Activation::Tanh,
        ..Mlp::default()
    });
    let settings = ModelSettings {
        seeds: vec![3, 1, 4],
        dtype,
        place: place.clone(),
    };
    let mut training = TrainerSettings {
        batch: 24,
        ..TrainerSettings::default()
    };
    change(&mut training);
    let mut trainer = Trainer::new(
        Arc::new(RwLock::new(Model::new(
            network,
            Arc::new(Mup::default()),
            settings,
        )?)),
        optimizer.into(),
        Arc::new(Teacher::new(TeacherSettings {
            inputs: 12,
            ..TeacherSettings::default()
        })?),
        training,
    )?;
    if let Some((folder, resume)) = checkpoint {
        trainer.checkpoint_to(CheckpointSettings {
            path: folder.join("run.safetensors"),
            every: Duration::ZERO,
            resume,
        });
    }
    Ok(trainer)
}

/// Losses, then the numbers of all parameters.
fn result(trainer: &Trainer) -> Result<Vec<f64>> {
    let series = &trainer.record().series["train_loss"];
    let mut all: Vec<f64> = series.values.iter().flatten().copied().collect();
    let model = trainer.model().read().unwrap();
    for param in model.params() {
        all.extend(to_f64(&param.value)?);
    }
    Ok(all)
}

#[test]
fn trainings_are_those_of_the_cpu_and_resume_in_the_middle() -> Result<()> {
    for gpu in gpus() {
        let place = Place::Gpu(gpu);
        for (what, make, _) in each() {
            let optimizer = || make(PerMember::Each(RATES.to_vec()));
            let clip = |s: &mut TrainerSettings| {
                s.clip = Clip::Norm(0.3);
                s.ema = Some(0.9.into());
            };
            let run = |place: &Place, checkpoint, steps| -> Result<Vec<f64>> {
                let on = (place, DType::F64);
                let mut trainer = trainer(on, optimizer(), clip, checkpoint)?;
                trainer.run(steps, &mut NoHooks)?;
                result(&trainer)
            };
            let whole = run(&place, None, 11)?;
            close(what, &whole, &run(&Place::Cpu, None, 11)?, 1e-7);
            let folder = tempfile::tempdir().unwrap();
            run(&place, Some((folder.path(), false)), 5)?;
            let resumed = run(&place, Some((folder.path(), true)), 11)?;
            assert_eq!(resumed, whole, "{what}");
        }
    }
    Ok(())
}

/// Activations in 16 bits; parameters and states have 32.
#[test]
fn trainings_in_bf16_are_near_those_of_the_cpu() -> Result<()> {
    for gpu in gpus() {
        let place = Place::Gpu(gpu);
        for (what, make, _) in each() {
            let run = |on: (&Place, DType)| -> Result<Vec<f64>> {
                let optimizer = make(PerMember::Each(RATES.to_vec()));
                let mut trainer = trainer(on, optimizer, |_| {}, None)?;
                trainer.run(6, &mut NoHooks)?;
                let rows = trainer.record().series["train_loss"].values.iter();
                Ok(rows.flatten().copied().collect())
            };
            let found = run((&place, DType::BF16))?;
            close(what, &found, &run((&Place::Cpu, DType::F32))?, 0.05);
        }
    }
    Ok(())
}

/// A gradient that is not finite stays with its member.
#[test]
fn a_member_that_diverges_leaves_the_others_alone() -> Result<()> {
    for gpu in gpus() {
        for (what, make, _) in each() {
            let run = |place: &Place| -> Result<Trainer> {
                let lr = PerMember::Each(vec![0.01, 1e200, 0.02]);
                let on = (place, DType::F64);
                let mut trainer = trainer(on, make(lr), |_| {}, None)?;
                trainer.run(12, &mut NoHooks)?;
                Ok(trainer)
            };
            let (there, here) = (run(&Place::Gpu(gpu.clone()))?, run(&Place::Cpu)?);
            assert_eq!(there.active(), here.active(), "{what}");
            let finite = |t: &Trainer| -> Vec<f64> {
                let rows = t.record().series["train_loss"].values.iter();
                rows.flat_map(|row| [row[0], row[2]]).collect()
            };
            close(what, &finite(&there), &finite(&here), 1e-7);
        }
    }
    Ok(())
}
