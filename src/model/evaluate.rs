//! A model's outputs and activations.

use candle_core::{Device, Tensor};

use super::Model;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::memory;
use crate::nn::{Gradients, PREACTIVATION, Plan};
use crate::tensor::elem::{dispatch, read, write};

/// Examples that the network is run on at a time outside training, where outputs have no positions.
const EVAL_BATCH: usize = 256;
/// The same with outputs at many positions, in positions.
const EVAL_POSITIONS: usize = 4096;
/// Bytes of outputs that are made at a time: of language models some windows, for each position has as
/// many outputs as there are tokens.
pub(crate) const EVAL_OUTPUTS: usize = 256 << 20;

impl Model {
    /// Shapes `inputs [points, …]` as the network takes them.
    pub(crate) fn shaped(&self, inputs: &Tensor) -> Result<Tensor> {
        let points = inputs.dims().first().copied().unwrap_or(0);
        let dims = [&[points], self.input.as_slice()].concat();
        if inputs.elem_count() != dims.iter().product::<usize>() {
            return Err(Error::shape(format!(
                "the {} takes inputs of shape [points, {}], got {:?}",
                self.network.name,
                self.input
                    .iter()
                    .map(usize::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                inputs.dims()
            )));
        }
        Ok(inputs.reshape(dims)?)
    }

    /// Outputs for `inputs [points, …]`: `[members, points, positions…, outputs]` in the model's element
    /// type; most networks have no positions.
    ///
    /// # Errors
    /// If the inputs do not fit the network.
    pub fn predict(&mut self, inputs: &Tensor) -> Result<Tensor> {
        let mut all = self.walk_all(inputs, "", |_, plan| Ok(vec![plan.output().clone()]))?;
        all.pop().ok_or_else(no_inputs)
    }

    /// The activation at `path` for `inputs [points, …]`: `[members, points, …]`, with one member where
    /// no parameter acts before it. Paths are those of layers: `layers.0` has what the layer's product
    /// and bias give, `layers.0.norm` that normalised where there is a normalisation, and
    /// `layers.0.relu` what comes behind the nonlinearity. Sums of residual branches have the path of
    /// their block. Where a normalisation and a relu are one layer, its path has what comes behind the
    /// relu, and with `.preactivation` behind it what the relu is given.
    ///
    /// # Errors
    /// If there is no such path, or the inputs do not fit.
    pub fn activation(&mut self, path: &str, inputs: &Tensor) -> Result<Tensor> {
        let mut all = self.walk_all(inputs, path, |_, plan| Ok(vec![activation(plan, path)?]))?;
        all.pop().ok_or_else(no_inputs)
    }

    /// The activations at all layers for `inputs [points, …]`, each `[members, points, …]`, with
    /// their paths in the order of the forward pass.
    ///
    /// # Errors
    /// If the inputs do not fit.
    pub fn activations(&mut self, inputs: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut paths = Vec::new();
        let tensors = self.walk_all(inputs, "", |_, plan| {
            paths = plan.paths().map(String::from).collect();
            let all = paths.iter().map(|path| plan.activation(path));
            let all: Vec<_> = all.collect::<Result<_>>()?;
            Ok(all.into_iter().flatten().collect())
        })?;
        Ok(paths.into_iter().zip(tensors).collect())
    }

    /// Runs the network on all inputs in pieces, as the activation at `path` needs it, and joins what
    /// `take` finds after each, told the number of its first example, along the axis of the points.
    pub(crate) fn walk_all(
        &mut self,
        inputs: &Tensor,
        path: &str,
        mut take: impl FnMut(usize, &Plan) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        let mut all: Vec<Tensor> = Vec::new();
        let points = inputs.dims().first().copied().unwrap_or(0);
        let dtype = self.dtype();
        self.visit(inputs, (path, None), |start, plan| {
            let host = |part: Tensor| part.to_device(&Device::Cpu)?.to_dtype(dtype);
            let parts = take(start, plan)?.into_iter().map(host);
            let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
            if all.is_empty() {
                let whole = parts.iter().map(|part| joined(part, points));
                all = whole.collect::<Result<_>>()?;
            }
            for (whole, part) in all.iter().zip(&parts) {
                place(whole, start, part)?;
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Bytes of all members' outputs for an example.
    pub(crate) fn bytes_of_outputs(&self) -> usize {
        self.members() * self.rows(1) * self.outputs() * self.dtype().size_in_bytes()
    }

    /// Examples that the network is run on at a time outside training.
    fn evaluation_batch(&self) -> usize {
        let positions = EVAL_POSITIONS / self.rows(1).max(1);
        let outputs = EVAL_OUTPUTS / self.bytes_of_outputs().max(1);
        positions.min(outputs).clamp(1, EVAL_BATCH)
    }

    /// Runs the network on all inputs in pieces, of `minibatch` examples if that is given, so that there
    /// is an activation at `path`, and calls `see` after each with the number of its first example and
    /// the plan.
    ///
    /// # Errors
    /// If the inputs do not fit the network, there are none, or the user asks to stop; and those of
    /// `see`.
    pub(crate) fn visit(
        &mut self,
        inputs: &Tensor,
        (path, minibatch): (&str, Option<usize>),
        mut see: impl FnMut(usize, &Plan) -> Result<()>,
    ) -> Result<()> {
        let inputs = self.shaped(inputs)?;
        let points = inputs.dims()[0];
        if points == 0 {
            return Err(Error::shape("a model cannot be run on no inputs at all"));
        }
        let usual = self.evaluation_batch();
        // pieces of one size, where that can be, so that one plan serves all of them
        let batch = minibatch
            .unwrap_or(points.div_ceil(points.div_ceil(usual)))
            .max(1);
        let is_apart = path.rsplit('.').next() == Some(PREACTIVATION);
        let mut apart: Option<Plan> = None;
        if is_apart {
            // of other operations than what follows needs
            self.eval = None;
        }
        for start in (0..points).step_by(batch) {
            if interrupt::requested() {
                return Err(Error::interrupted());
            }
            let size = batch.min(points - start);
            let plan = match apart.take().or_else(|| self.eval.take()) {
                Some(plan) if plan.batch() == size => plan,
                _ if is_apart => self.plan_apart(size)?,
                _ => self.plan(size, Gradients::None)?,
            };
            plan.forward(&self.values(), &inputs.narrow(0, start, size)?)?;
            see(start, &plan)?;
            match is_apart {
                true => apart = Some(plan),
                false => self.eval = Some(plan),
            }
        }
        Ok(())
    }
}

fn no_inputs() -> Error {
    Error::other("a model was run on no inputs")
}

/// Activations that an error names.
const NAMED: usize = 8;

/// The activation that a plan's last forward pass left at `path`.
///
/// # Errors
/// If there is none: the paths nearest to it.
pub(crate) fn activation(plan: &Plan, path: &str) -> Result<Tensor> {
    match plan.activation(path)? {
        Some(tensor) => Ok(tensor),
        None => Err(no_path(
            "activation",
            path,
            &plan.paths().collect::<Vec<_>>(),
        )),
    }
}

/// The error where there is no `what` at `path`: all paths, or of many those nearest to it.
pub(crate) fn no_path(what: &str, path: &str, paths: &[&str]) -> Error {
    if paths.len() <= NAMED {
        return Error::setting(format!(
            "there is no {what} `{path}`; there are {}",
            paths.join(", ")
        ));
    }
    let mut nearest = paths.to_vec();
    nearest.sort_by_key(|p| strsim::osa_distance(path, p));
    nearest.truncate(NAMED);
    Error::setting(format!(
        "there is no {what} `{path}`; the nearest of {} are {}",
        paths.len(),
        nearest.join(", ")
    ))
    .with_help("model.activations(inputs).map(|a| a.path) lists all")
}

/// Room for what `part [members, points, …]` is of, at all points.
fn joined(part: &Tensor, points: usize) -> Result<Tensor> {
    let mut shape = part.dims().to_vec();
    shape[1] = points;
    let name = "outputs";
    memory::room(name, &shape, part.dtype().size_in_bytes())?;
    memory::zeros(name, &shape, part.dtype(), &Device::Cpu)
}

/// Writes `part` at the points from `start` on.
fn place(all: &Tensor, start: usize, part: &Tensor) -> Result<()> {
    let (points, size) = (all.dims()[1], part.dims()[1]);
    let each: usize = part.dims()[2..].iter().product();
    dispatch!(all, T => read(part, |from: &[T]| write(all, |to: &mut [T]| {
        let members = to.chunks_exact_mut((points * each).max(1));
        for (to, from) in members.zip(from.chunks_exact((size * each).max(1))) {
            to[start * each..][..size * each].copy_from_slice(from);
        }
        Ok(())
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelSettings;
    use crate::nn::{
        Blocks, Cnn, Heads, ImageNorm, Mlp, Network, Resnet, Transformer, Vit, cnn, mlp, resnet,
        transformer, vit,
    };
    use crate::parametrization::Sp;
    use crate::tensor::elem::to_f64;
    use crate::tensor::rng::Key;
    use std::sync::Arc;

    fn model(mut network: Network, input: &[usize]) -> Model {
        network.input = Some(input.to_vec());
        network.outputs = Some(3);
        let settings = ModelSettings {
            seeds: vec![1, 2],
            ..ModelSettings::default()
        };
        Model::new(network, Arc::new(Sp::default()), settings).unwrap()
    }

    fn normal(shape: &[usize]) -> Tensor {
        let mut rng = Key::new(3).rng();
        let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    /// Whether the features at one path are the relu of the preactivations at another.
    fn check_relu(model: &mut Model, inputs: &Tensor, preactivation: &str, features: &str) {
        let [before, after] = [preactivation, features]
            .map(|p| to_f64(&model.activation(p, inputs).unwrap()).unwrap());
        assert!(before.iter().any(|x| *x < 0.0), "{preactivation}");
        for (x, y) in before.iter().zip(&after) {
            assert!((x.max(0.0) - y).abs() < 1e-6, "{preactivation}: {x} {y}");
        }
        assert_eq!(before.len(), after.len());
    }

    #[test]
    fn preactivations_and_features_are_read_by_path() {
        let plain = Mlp {
            width: 7,
            ..Mlp::default()
        };
        let mut dense = model(mlp(plain.clone()), &[5]);
        check_relu(&mut dense, &normal(&[4, 5]), "layers.1", "layers.1.relu");
        let normed = Mlp {
            layer_norm: true,
            ..plain
        };
        let mut dense = model(mlp(normed), &[5]);
        check_relu(
            &mut dense,
            &normal(&[4, 5]),
            "layers.1.norm",
            "layers.1.relu",
        );

        let (image, inputs) = ([3, 8, 8], normal(&[4, 3, 8, 8]));
        for norm in [ImageNorm::None, ImageNorm::Layer, ImageNorm::Batch] {
            let (before, after) = match norm {
                ImageNorm::None => ("layers.0", "layers.0.norm.relu"),
                _ => ("layers.0.norm.preactivation", "layers.0.norm"),
            };
            let settings = Cnn {
                width: 2,
                norm,
                ..Cnn::default()
            };
            let mut net = model(cnn(settings), &image);
            check_relu(&mut net, &inputs, before, after);
            let mut net = model(
                resnet(Resnet {
                    width: 2,
                    norm,
                    blocks: vec![1, 1],
                    ..Resnet::default()
                }),
                &image,
            );
            check_relu(&mut net, &inputs, "stages.1.0", "stages.1.0.relu");
            if norm != ImageNorm::None {
                let path = "stages.1.0.norm1";
                check_relu(&mut net, &inputs, &format!("{path}.preactivation"), path);
                // the same outputs before and after
                let outputs = to_f64(&net.predict(&inputs).unwrap()).unwrap();
                net.activation("stem.norm.preactivation", &inputs).unwrap();
                assert_eq!(to_f64(&net.predict(&inputs).unwrap()).unwrap(), outputs);
            }
        }

        let blocks = Blocks {
            depth: 1,
            heads: Heads::Count(2),
            activation: crate::nn::layers::Activation::Relu,
            ..Blocks::default()
        };
        let (before, after) = ("blocks.0.mlp.up", "blocks.0.mlp.relu");
        let settings = Vit {
            width: 8,
            blocks: Blocks {
                causal: false,
                ..blocks.clone()
            },
            ..Vit::default()
        };
        check_relu(&mut model(vit(settings), &image), &inputs, before, after);
        let settings = Transformer {
            width: 8,
            context: Some(5),
            vocab: Some(3),
            blocks,
            ..Transformer::default()
        };
        let tokens = Tensor::new(&[[0_u32, 1, 2, 2, 1]], &Device::Cpu).unwrap();
        check_relu(
            &mut model(transformer(settings), &[5]),
            &tokens,
            before,
            after,
        );
    }

    #[test]
    fn wrong_paths_name_the_nearest() {
        let mut dense = model(mlp(Mlp::default()), &[5]);
        let error = dense
            .activation("layers.0.rleu", &normal(&[4, 5]))
            .unwrap_err();
        assert_eq!(
            error.message,
            "there is no activation `layers.0.rleu`; there are flatten, layers.0, layers.0.relu, \
             layers.1, layers.1.relu, readout"
        );
        let deep = Mlp {
            depth: 20,
            ..Mlp::default()
        };
        let error = model(mlp(deep), &[5])
            .activation("layer.17.relu", &normal(&[4, 5]))
            .unwrap_err();
        assert!(
            error
                .message
                .contains("the nearest of 40 are layers.17.relu, "),
            "{error}"
        );
        assert!(error.message.split(", ").count() == 8, "{error}");
    }
}
