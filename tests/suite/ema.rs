//! Averages of weights: against PyTorch, over members, and across a checkpoint.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::reference::{Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use widthwise::data::{MarkovTokens, MarkovTokensSettings, Teacher, TeacherSettings};
use widthwise::error::Result;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::{Blocks, Heads, Mlp, Transformer, mlp, transformer};
use widthwise::optim::{Adjust, Muon, PerMember, Sgd};
use widthwise::parametrization::{DepthMup, Mup};
use widthwise::tensor::elem::to_f64;
use widthwise::train::{CheckpointSettings, Ema, NoHooks, Trainer, TrainerSettings};

#[test]
fn averages_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("optimizers");
    let decays = fixture.numbers("/averages/decays");
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
        for path in ["weight", "bias", "kernel"] {
            let values = fixture.tensor(&format!("gradients.{path}"));
            let (steps, size) = (values.shape[0], values.index(0).values.len());
            let members = decays.len();
            let zeros = || Tensor::zeros((members, size), dtype, &Device::Cpu);
            let averages = vec![zeros()?, zeros()?];
            let ema = Ema::new(PerMember::Each(decays.clone()), averages);
            for step in 0..steps {
                let value = values.index(step).values.repeat(members);
                let value = Tensor::from_vec(value, (members, size), &Device::Cpu)?;
                let value = value.to_dtype(dtype)?;
                // the same tensor as a parameter, and as something that layers estimate
                let params = [(&value, true), (&value, false)];
                ema.update(params, &vec![true; members], step == 0)?;
                let found = to_f64(&ema.averages()[0])?;
                for (member, decay) in decays.iter().enumerate() {
                    let name = format!("ema_{decay}.{}.{path}", step + 1);
                    if fixture.names().contains(&name) {
                        let own = &found[member * size..(member + 1) * size];
                        assert_close(&name, own, &fixture.tensor(&name).values, tolerance);
                    }
                }
                assert_eq!(to_f64(&ema.averages()[1])?, to_f64(&value)?);
            }
        }
    }
    Ok(())
}

#[test]
fn a_member_that_has_stopped_keeps_its_average() -> Result<()> {
    let tensor = |x: f64| Tensor::full(x, (2, 3), &Device::Cpu);
    let ema = Ema::new(0.5.into(), vec![tensor(0.0)?]);
    ema.update([(&tensor(1.0)?, true)], &[true, true], true)?;
    ema.update([(&tensor(f64::NAN)?, true)], &[false, false], false)?;
    ema.update([(&tensor(2.0)?, true)], &[false, true], false)?;
    let found = to_f64(&ema.averages()[0])?;
    assert_eq!(found, [1.0, 1.0, 1.0, 1.5, 1.5, 1.5]);
    Ok(())
}

fn trainer(seeds: &[u64], ema: PerMember, checkpoint: Option<(&Path, bool)>) -> Result<Trainer> {
    let network = mlp(Mlp {
        width: 24,
        ..Mlp::default()
    });
    let settings = ModelSettings {
        seeds: seeds.to_vec(),
        ..ModelSettings::default()
    };
    let model = Model::new(network, Arc::new(Mup::default()), settings)?;
    // its states differ in number from parameter to parameter
    let optimizer = Muon {
        lr: 0.02.into(),
        momentum: 0.95.into(),
        nesterov: true,
        ns_steps: 5,
        eps: 1e-7.into(),
        adjust: Adjust::Original,
        weight_decay: 0.1.into(),
        adam_factor: 0.1.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        adam_eps: 1e-8.into(),
    };
    let settings = TrainerSettings {
        batch: 16,
        ema: Some(ema),
        ..TrainerSettings::default()
    };
    let mut trainer = Trainer::new(
        Arc::new(RwLock::new(model)),
        Arc::new(optimizer),
        Arc::new(Teacher::new(TeacherSettings::default())?),
        settings,
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

fn values(model: &Model) -> Result<Vec<Vec<f64>>> {
    model.params().iter().map(|p| to_f64(&p.value)).collect()
}

fn averages(trainer: &Trainer) -> Result<Vec<Vec<f64>>> {
    values(&trainer.ema_model()?.unwrap())
}

#[test]
fn the_averaged_model_is_apart_and_starts_at_the_first_step() -> Result<()> {
    let mut t = trainer(&[3], 0.9.into(), None)?;
    let now = |t: &Trainer| values(&t.model().read().unwrap());
    assert_eq!(averages(&t)?, now(&t)?);
    t.run(1, &mut NoHooks)?;
    let first = now(&t)?;
    assert_eq!(averages(&t)?, first);
    let kept = t.ema_model()?.unwrap();
    t.run(1, &mut NoHooks)?;
    assert_eq!(values(&kept)?, first);
    for ((average, first), second) in averages(&t)?.iter().zip(&first).zip(now(&t)?) {
        let expected: Vec<f64> = first
            .iter()
            .zip(&second)
            .map(|(a, b)| 0.9 * a + 0.1 * b)
            .collect();
        assert_close("average", average, &expected, 1e-6);
    }
    // it gives outputs of its own
    let inputs = t.test_batch()?.narrow(0, 5)?.inputs;
    let (mut averaged, model) = (t.ema_model()?.unwrap(), t.model().clone());
    let own = to_f64(&averaged.predict(&inputs)?)?;
    assert_eq!(own, to_f64(&t.ema_model()?.unwrap().predict(&inputs)?)?);
    assert_ne!(own, to_f64(&model.write().unwrap().predict(&inputs)?)?);
    Ok(())
}

#[test]
fn members_have_the_averages_they_have_alone() -> Result<()> {
    let mut both = trainer(&[3, 8], PerMember::Each(vec![0.5, 0.99]), None)?;
    both.run(6, &mut NoHooks)?;
    for (member, (seed, decay)) in [(3, 0.5), (8, 0.99)].into_iter().enumerate() {
        let mut alone = trainer(&[seed], decay.into(), None)?;
        alone.run(6, &mut NoHooks)?;
        for (all, own) in averages(&both)?.iter().zip(averages(&alone)?) {
            assert_eq!(all[member * own.len()..(member + 1) * own.len()], own);
        }
    }
    Ok(())
}

#[test]
fn a_resumed_run_has_the_same_averages() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = trainer(&[3, 8], 0.9.into(), None)?;
    whole.run(9, &mut NoHooks)?;
    let mut first = trainer(&[3, 8], 0.9.into(), Some((folder.path(), false)))?;
    first.run(4, &mut NoHooks)?;
    drop(first);
    let mut second = trainer(&[3, 8], 0.9.into(), Some((folder.path(), true)))?;
    second.run(9, &mut NoHooks)?;
    assert_eq!(second.record().series["train_loss"].values.len(), 9);
    assert_eq!(averages(&second)?, averages(&whole)?);
    Ok(())
}

#[test]
fn wrong_decays_are_named() {
    let error = trainer(&[1, 2, 3], PerMember::Each(vec![0.9, 0.99]), None).unwrap_err();
    for part in ["ema has 2 values", "3 members"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// The averaged model computes as the trained one does, with the factors that a parametrization gives
/// residual branches and a readout that shares the embedding: after one step its weights are the
/// trained ones, and so are its outputs.
#[test]
fn the_averaged_model_keeps_what_is_not_a_weight() -> Result<()> {
    let network = transformer(Transformer {
        width: 12,
        context: Some(6),
        vocab: Some(9),
        tied: true,
        blocks: Blocks {
            depth: 4,
            heads: Heads::Size(4),
            ..Blocks::default()
        },
    });
    let width = Mup {
        base_width: 4,
        ..Mup::default()
    };
    let rule = DepthMup::complete_p(width, 1);
    let model = Model::new(network, Arc::new(rule), ModelSettings::default())?;
    let stream = MarkovTokens::new(MarkovTokensSettings {
        vocab: 9,
        context: 6,
        ..MarkovTokensSettings::default()
    })?;
    let settings = TrainerSettings {
        batch: 4,
        ema: Some(0.9.into()),
        ..TrainerSettings::default()
    };
    let optimizer = Sgd {
        lr: 0.1.into(),
        momentum: 0.0.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    };
    let model = Arc::new(RwLock::new(model));
    let stream = Arc::new(stream);
    let mut trainer = Trainer::new(model.clone(), Arc::new(optimizer), stream, settings)?;
    trainer.run(1, &mut NoHooks)?;
    let mut average = trainer.ema_model()?.unwrap();
    let tokens = Tensor::from_vec(vec![0f32, 3.0, 8.0, 1.0, 1.0, 5.0], (1, 6), &Device::Cpu)?;
    let outputs = |m: &mut Model| to_f64(&m.predict(&tokens)?);
    assert_eq!(
        outputs(&mut average)?,
        outputs(&mut model.write().unwrap())?
    );
    Ok(())
}
