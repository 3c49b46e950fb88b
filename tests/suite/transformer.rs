//! The decoder transformer and its layers: against PyTorch, against differences in f64, alone and in
//! an ensemble, on any number of threads.

use std::sync::Arc;

use crate::derivatives::{direction, gradients, slopes, step};
use crate::reference::{Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use widthwise::data::{Batch, Labels};
use widthwise::error::Result;
use widthwise::metrics::{Hessian, Loss};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{AttentionScale, Pairs};
use widthwise::nn::{self, Blocks, Positions, Transformer, transformer};
use widthwise::parametrization::{Mup, Sp};
use widthwise::tensor::attention::{self, Heads, Sizes, Was};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::rng::Key;
use widthwise::tensor::rope::{Angles, rotate};

const CPU: Device = Device::Cpu;

#[test]
fn attention_follows_pytorch() {
    let fixture = Fixture::load("transformer");
    let mut checked = 0;
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        if !name.starts_with("attention") {
            continue;
        }
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let (x, gy) = (get("x"), get("g"));
        let size = |key: &str| case[key].as_u64().unwrap() as usize;
        let s = Sizes {
            batch: x.shape[0],
            positions: x.shape[1],
            heads: size("heads"),
            head_size: size("head_size"),
            causal: case["causal"].as_bool().unwrap(),
            scale: case["scale"].as_f64().unwrap(),
        };
        let heads = Heads::fused(&s, &x.values);
        let (mut y, mut saved) = (vec![0.0; s.numbers()], vec![0.0; s.saved()]);
        attention::forward(s, heads, &mut y, &mut saved);
        assert_close(name, &y, &get("output").values, 1e-13);
        let mut gx = vec![0.0; x.values.len()];
        let was = Was {
            y: &y,
            saved: &saved,
            gy: &gy.values,
        };
        attention::backward(s, heads, was, &mut gx);
        assert_close(name, &gx, &get("grad").values, 1e-12);
        checked += 1;
    }
    assert_eq!(checked, 12);
}

#[test]
fn rotary_positions_follow_pytorch() {
    let fixture = Fixture::load("transformer");
    let mut checked = 0;
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        if !name.starts_with("rope") {
            continue;
        }
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let x = get("x");
        let size = case["head_size"].as_u64().unwrap() as usize;
        let angles = Angles::new(x.shape[1], size, case["base"].as_f64().unwrap());
        let pairs = match case["pairs"].as_str().unwrap() {
            "adjacent" => Pairs::Adjacent,
            _ => Pairs::Halves,
        };
        let sizes = (x.shape[1], x.shape[2] / 3);
        let mut y = vec![0.0; x.values.len()];
        rotate(&x.values, &angles, pairs, sizes, false, &mut y);
        assert_close(name, &y, &get("output").values, 1e-13);
        rotate(&get("g").values, &angles, pairs, sizes, true, &mut y);
        assert_close(name, &y, &get("grad").values, 1e-13);
        checked += 1;
    }
    assert_eq!(checked, 6);
}

fn small(positions: Positions, dropout: f64) -> Transformer {
    Transformer {
        width: 12,
        context: Some(7),
        vocab: Some(11),
        blocks: Blocks {
            depth: 2,
            heads: nn::Heads::Size(4),
            positions,
            dropout,
            ..Blocks::default()
        },
        ..Transformer::default()
    }
}

fn model(settings: Transformer, seeds: &[u64], dtype: DType) -> Result<Model> {
    let made = ModelSettings {
        seeds: seeds.to_vec(),
        dtype,
        place: widthwise::gpu::Place::Cpu,
    };
    let rule = Mup {
        base_width: 4,
        output_mult: 1.5,
        input_mult: 0.7,
        ..Mup::default()
    };
    Model::new(transformer(settings), Arc::new(rule), made)
}

fn batch(size: usize) -> Result<Batch> {
    let mut rng = Key::new(2).rng();
    let mut draw = || {
        (0..size * 7)
            .map(|_| rng.below(11) as u32)
            .collect::<Vec<_>>()
    };
    Ok(Batch {
        inputs: Tensor::from_vec(draw(), (size, 7), &CPU)?.to_dtype(DType::F32)?,
        labels: Labels::Classes(Tensor::from_vec(draw(), (size, 7), &CPU)?),
    })
}

#[test]
fn the_whole_network_follows_pytorch() -> Result<()> {
    let fixture = Fixture::load("transformer");
    for (name, positions) in [("learned", Positions::Learned), ("rope", Positions::Rope)] {
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let made = ModelSettings {
            dtype: DType::F64,
            ..ModelSettings::default()
        };
        let network = transformer(small(positions, 0.0));
        let mut model = Model::new(network, Arc::new(Sp::default()), made)?;
        let layout = |path: &str, part: &str| {
            let array = get(&format!("{part}{path}"));
            let table = path.starts_with("embedding") || path.starts_with("positions");
            match array.shape.len() {
                2 if !table => array.transposed(),
                _ => array,
            }
        };
        let paths: Vec<String> = model.params().iter().map(|p| p.info.path.clone()).collect();
        for path in &paths {
            model.set_param(path, &layout(path, "").with_member_axis().to_tensor())?;
        }
        let batch = Batch {
            inputs: get("tokens").to_tensor(),
            labels: Labels::Classes(get("classes").to_classes()),
        };
        assert_close(
            name,
            &to_f64(&model.predict(&batch.inputs)?)?,
            &get("outputs").values,
            1e-12,
        );
        let (losses, grads) = gradients(&model, &batch, false)?;
        let wanted = fixture.number(&format!("/models/{name}/loss"));
        assert_close(name, &losses, &[wanted], 1e-13);
        for (path, grad) in paths.iter().zip(&grads) {
            assert_close(path, &to_f64(grad)?, &layout(path, "grad.").values, 1e-12);
        }
        let all = fixture.names();
        let there = all
            .iter()
            .filter(|n| n.starts_with(&format!("{name}.grad.")));
        assert_eq!(there.count(), paths.len());
    }
    Ok(())
}

/// Gradients against differences of losses (with dropout's mask held), and Hessian–vector products
/// against differences of gradients.
#[test]
fn derivatives_equal_differences() -> Result<()> {
    let batch = batch(3)?;
    for positions in [Positions::Learned, Positions::Rope, Positions::None] {
        for dropout in [0.0, 0.3] {
            let mut settings = small(positions, dropout);
            settings.blocks.scale = AttentionScale::Inverse;
            let model = model(settings, &[3, 8], DType::F64)?;
            let (direction, h) = (direction(&model, "along")?, 1e-5);
            let (_, grads) = gradients(&model, &batch, true)?;
            let slopes = slopes(&grads, &direction, 2)?;
            let image = direction.iter().map(Tensor::zeros_like);
            let image = image.collect::<candle_core::Result<Vec<_>>>()?;
            if dropout == 0.0 {
                let (hessian, _) = Hessian::new(&model, &batch, Loss::CrossEntropy)?;
                hessian.product(&direction, &image)?;
            }
            step(&model, &direction, h)?;
            let (up, grads_up) = gradients(&model, &batch, true)?;
            step(&model, &direction, -2.0 * h)?;
            let (down, grads_down) = gradients(&model, &batch, true)?;
            for member in 0..2 {
                let wanted = (up[member] - down[member]) / (2.0 * h);
                assert_close("slope", &[slopes[member]], &[wanted], 1e-6);
            }
            if dropout == 0.0 {
                for ((image, up), down) in image.iter().zip(&grads_up).zip(&grads_down) {
                    let wanted = to_f64(&((up - down)? / (2.0 * h))?)?;
                    assert_close("product", &to_f64(image)?, &wanted, 1e-5);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_member_alone_is_the_member_in_an_ensemble_on_any_number_of_threads() -> Result<()> {
    let batch = batch(4)?;
    let settings = || small(Positions::Rope, 0.2);
    let bits = |seeds: &[u64], threads: usize| -> Result<Vec<Vec<f64>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let model = model(settings(), seeds, DType::F32)?;
            let (losses, grads) = gradients(&model, &batch, true)?;
            let mut all = losses.into_iter().map(|l| vec![l]).collect::<Vec<_>>();
            for grad in &grads {
                let numbers = to_f64(grad)?;
                let size = numbers.len() / seeds.len();
                for (member, part) in all.iter_mut().zip(numbers.chunks(size)) {
                    member.extend(part);
                }
            }
            Ok(all)
        })
    };
    let all = bits(&[5, 9, 7], 1)?;
    assert_eq!(bits(&[5, 9, 7], 3)?, all);
    assert_eq!(bits(&[9], 3)?[0], all[1]);
    assert_ne!(all[0], all[1]);
    Ok(())
}

#[test]
fn wrong_sizes_and_tokens_are_named() -> Result<()> {
    let settings = Transformer {
        width: 10,
        ..small(Positions::Learned, 0.0)
    };
    let error = model(settings, &[1], DType::F32).unwrap_err();
    assert!(
        error.message.contains("multiple of head_size 4, got 10"),
        "{}",
        error.message
    );
    let mut model = model(small(Positions::Learned, 0.0), &[1], DType::F32)?;
    let mut tokens = vec![0f32; 14];
    tokens[9] = 11.0;
    let error = model
        .predict(&Tensor::from_vec(tokens, (2, 7), &CPU)?)
        .unwrap_err();
    let wanted = "tokens must be whole numbers from 0 to 10, got 11 at position 2 of example 1";
    assert!(error.message.contains(wanted), "{}", error.message);
    Ok(())
}
