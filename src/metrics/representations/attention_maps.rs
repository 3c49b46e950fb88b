//! The probabilities with which positions attend to each other.

use candle_core::{Device, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{self, Need};
use crate::model::{Model, no_path};
use crate::nn::Plan;
use crate::nn::layers::Attention;
use crate::tensor::attention::{Heads, Sizes, probabilities};
use crate::tensor::elem::{dispatch, read};

/// Which attention layer of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttentionLayer {
    /// By its path, or that of a block around it.
    Path(String),
    /// By its number among the attention layers, from 0.
    Number(usize),
}

/// Attention maps of each member at a layer, for `inputs [points, …]`:
/// `[members, points, heads, queries, keys]`, in `f64`; with `averaged`, their mean over heads,
/// `[members, points, queries, keys]`. They are computed from what the layer reads, so that
/// normalisation of queries and keys, rotary positions, causal mask and scale are the layer's own.
///
/// # Errors
/// If there is no such layer, the inputs do not fit, or the maps do not fit into memory.
pub fn attention_maps(
    model: &mut Model,
    layer: &AttentionLayer,
    inputs: &Tensor,
    averaged: bool,
) -> Result<Tensor> {
    let points = inputs.dims().first().copied().unwrap_or(0);
    let dtype = model.dtype();
    let mut maps: Option<Maps> = None;
    model.visit(inputs, ("", None), |start, plan| {
        let (path, attention) = find(plan, layer)?;
        let Some(x) = plan.source(path)? else {
            return Err(Error::other(format!("{path} has read nothing")));
        };
        let x = x.to_device(&Device::Cpu)?.to_dtype(dtype)?.contiguous()?;
        let (members, batch) = (x.dims()[0], x.dims()[1]);
        let sizes = attention.sizes_for(batch, &x.dims()[2..]);
        if maps.is_none() {
            maps = Some(Maps::new(members, points, sizes, averaged)?);
        }
        if let Some(maps) = &mut maps {
            maps.add(&x, sizes, start)?;
        }
        Ok(())
    })?;
    let Some(maps) = maps else {
        return Err(Error::other("attention_maps: no inputs"));
    };
    Ok(Tensor::from_vec(maps.all, maps.shape, &Device::Cpu)?)
}

/// The attention layer of a plan, with its path.
fn find<'p>(plan: &'p Plan, layer: &AttentionLayer) -> Result<(&'p str, &'p Attention)> {
    let all: Vec<(&str, &Attention)> = plan.attention_layers().collect();
    if all.is_empty() {
        return Err(
            Error::new(ErrorKind::Setting, "the network has no attention layer")
                .with_help("transformer(…) and vit(…) have one in each block"),
        );
    }
    match layer {
        AttentionLayer::Number(i) => all.get(*i).copied().ok_or_else(|| {
            Error::setting(format!(
                "there is no attention layer {i}; there are {}, from 0 on",
                all.len()
            ))
        }),
        AttentionLayer::Path(path) => {
            let around = format!("{path}.");
            let exact = all.iter().find(|(p, _)| p == path);
            let mut inside = all.iter().filter(|(p, _)| p.starts_with(&around));
            match (exact, inside.next(), inside.next()) {
                (Some(found), ..) | (None, Some(found), None) => Ok(*found),
                _ => {
                    let paths: Vec<&str> = all.iter().map(|(p, _)| *p).collect();
                    Err(no_path("attention layer", path, &paths))
                }
            }
        }
    }
}

/// Maps that are being filled.
struct Maps {
    all: Vec<f64>,
    shape: Vec<usize>,
    points: usize,
    averaged: bool,
    /// Of one minibatch and member.
    space: Vec<f64>,
}

impl Maps {
    fn new(members: usize, points: usize, s: Sizes, averaged: bool) -> Result<Self> {
        let heads = if averaged { None } else { Some(s.heads) };
        let shape = |points| {
            let mut shape = vec![members, points];
            shape.extend(heads);
            shape.extend([s.positions, s.positions]);
            shape
        };
        let space = [s.batch, s.heads, s.positions, s.positions];
        let needs = |points| {
            [
                ("attention maps", shape(points)),
                ("maps of a minibatch", space.to_vec()),
            ]
            .map(|(name, shape)| Need {
                name: name.into(),
                shape,
                number: size_of::<f64>(),
            })
        };
        memory::check("attention_maps", &needs(points), |available| {
            let fits = memory::largest(points, available, |n| Some(memory::total(&needs(n))));
            let help = match averaged {
                true => "",
                false => "; head_average: true needs less",
            };
            format!("maps of {fits} of {points} points would fit{help}")
        })?;
        Ok(Self {
            all: memory::numbers("attention maps", &shape(points))?,
            shape: shape(points),
            points,
            averaged,
            space: memory::numbers("maps of a minibatch", &space)?,
        })
    }

    /// Adds the maps of a minibatch, from queries, keys and values `x [members, batch, positions, …]`.
    fn add(&mut self, x: &Tensor, s: Sizes, start: usize) -> Result<()> {
        let map = s.positions * s.positions;
        let each = if self.averaged { map } else { s.heads * map };
        let space = &mut self.space[..s.batch * s.heads * map];
        dispatch!(x, T => read(x, |x: &[T]| {
            let members = x.chunks_exact((3 * s.numbers()).max(1));
            for (x, all) in members.zip(self.all.chunks_exact_mut(self.points * each)) {
                let [q, k, _] = Heads::fused(&s, x);
                probabilities(s, q, k, space);
                let to = &mut all[start * each..][..s.batch * each];
                if !self.averaged {
                    to.copy_from_slice(space);
                    continue;
                }
                for (to, heads) in to.chunks_exact_mut(map).zip(space.chunks_exact(s.heads * map)) {
                    for (i, to) in to.iter_mut().enumerate() {
                        let sum: f64 = heads.iter().skip(i).step_by(map).sum();
                        *to = sum / s.heads as f64;
                    }
                }
            }
            Ok(())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::model::ModelSettings;
    use crate::nn::layers::{Activation, AttentionScale};
    use crate::nn::{
        Blocks, Heads as HeadsOf, Mlp, NormPosition, Positions, RowNorm, Transformer, Vit, VitPool,
        mlp, transformer, vit,
    };
    use crate::parametrization::Sp;
    use crate::reference::{Fixture, assert_close};
    use crate::tensor::elem::to_f64;
    use candle_core::DType;
    use std::sync::Arc;

    fn made(network: crate::nn::Network, members: u64) -> Model {
        let settings = ModelSettings {
            seeds: (0..members).collect(),
            dtype: DType::F64,
            ..ModelSettings::default()
        };
        Model::new(network, Arc::new(Sp::default()), settings).unwrap()
    }

    fn case(name: &str) -> Model {
        let blocks = Blocks {
            depth: 2,
            heads: HeadsOf::Count(3),
            ..Blocks::default()
        };
        let decoder = |blocks| {
            let network = transformer(Transformer {
                width: 12,
                context: Some(5),
                vocab: Some(11),
                blocks,
                ..Transformer::default()
            });
            made(network, 1)
        };
        match name {
            "learned" => decoder(blocks),
            "rope" => decoder(Blocks {
                heads: HeadsOf::Count(2),
                positions: Positions::Rope,
                norm: RowNorm::Rms,
                bias: false,
                activation: Activation::Silu,
                qk_norm: true,
                scale: AttentionScale::Inverse,
                ..blocks
            }),
            "vit" => {
                let mut network = vit(Vit {
                    width: 12,
                    patch: [4, 4],
                    pool: VitPool::ClassToken,
                    outputs: Some(3),
                    blocks: Blocks {
                        activation: Activation::Gelu,
                        causal: false,
                        norm_position: NormPosition::Pre,
                        ..blocks
                    },
                });
                network.input = Some(vec![3, 8, 12]);
                made(network, 1)
            }
            other => panic!("no case {other}"),
        }
    }

    #[test]
    fn maps_are_those_of_pytorch() {
        let fixture = Fixture::load("representations");
        for name in ["learned", "rope", "vit"] {
            let mut model = case(name);
            let get = |part: &str| fixture.tensor(&format!("attention.{name}.{part}"));
            let paths: Vec<String> = model.params().iter().map(|p| p.info.path.clone()).collect();
            for path in &paths {
                let value = get(&format!("params.{path}"));
                let table = ["positions.weight", "class_token.weight"].contains(&path.as_str())
                    || (path == "embedding.weight" && name != "vit");
                let value = match value.shape.len() == 2 && !table {
                    true => value.transposed(),
                    false => value,
                };
                model
                    .set_param(path, &value.with_member_axis().to_tensor())
                    .unwrap();
            }
            let x = get("x").to_tensor();
            for layer in 0..2 {
                let expected = get(&format!("maps.{layer}"));
                let found =
                    attention_maps(&mut model, &AttentionLayer::Number(layer), &x, false).unwrap();
                assert_eq!(found.dims()[1..], expected.shape, "{name}");
                assert_close(name, &to_f64(&found).unwrap(), &expected.values, 1e-11);
                let path = AttentionLayer::Path(format!("blocks.{layer}"));
                let mean = attention_maps(&mut model, &path, &x, true).unwrap();
                let expected = found.mean(2).unwrap();
                assert_close(
                    name,
                    &to_f64(&mean).unwrap(),
                    &to_f64(&expected).unwrap(),
                    1e-14,
                );
            }
        }
    }

    #[test]
    fn layers_are_found_by_path_and_number() {
        let mut model = case("learned");
        let x = Tensor::new(&[[1_u32, 2, 3, 4, 5]], &Device::Cpu).unwrap();
        let path = |p: &str| AttentionLayer::Path(p.into());
        for p in ["blocks.1.attention.heads", "blocks.1.attention", "blocks.1"] {
            assert!(
                attention_maps(&mut model, &path(p), &x, false).is_ok(),
                "{p}"
            );
        }
        for (layer, text) in [
            (
                path("blocks.7.attention"),
                "there is no attention layer `blocks.7.attention`",
            ),
            (
                path("blocks"),
                "blocks.0.attention.heads, blocks.1.attention.heads",
            ),
            (
                AttentionLayer::Number(2),
                "there is no attention layer 2; there are 2",
            ),
        ] {
            let error = attention_maps(&mut model, &layer, &x, false).unwrap_err();
            assert!(error.message.contains(text), "{error}");
        }
        let mut plain = made(
            mlp(Mlp {
                inputs: Some(4),
                outputs: Some(2),
                ..Mlp::default()
            }),
            2,
        );
        let x = testing::normal(1, &[3, 4], 1.0);
        let error = attention_maps(&mut plain, &AttentionLayer::Number(0), &x, false).unwrap_err();
        assert!(error.message.contains("no attention layer"), "{error}");
    }
}
