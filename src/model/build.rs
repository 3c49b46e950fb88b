//! Making models: from a network and a parametrization, for a stream, with other values.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::init::initial;
use super::model::{Model, ModelSettings, Parameter};
use super::needs::{held, need};
use crate::error::{Error, Result};
use crate::gpu::Place;
use crate::memory::{self, Need};
use crate::nn::{Network, ParamInfo, Sizes};
use crate::parametrization::{Init, OptimizerFamily, Parametrization};
use crate::tensor::elementwise::copy;

/// Number of outputs that a network is given until a stream says otherwise.
const ASSUMED_OUTPUTS: usize = 10;

impl Model {
    /// A model with fresh parameters. Where the network leaves input shape or number of outputs to
    /// the stream, [`Network::assumed_input`] and 10 are assumed until [`Model::fit`] is told better.
    ///
    /// # Errors
    /// If the network cannot be built, or the parametrization needs a function of width and the
    /// network is none.
    pub fn new(
        network: Network,
        parametrization: Arc<dyn Parametrization>,
        settings: ModelSettings,
    ) -> Result<Self> {
        let input = network.input_or_assumed();
        let outputs = network.outputs.unwrap_or(ASSUMED_OUTPUTS);
        Self::build(network, parametrization, settings, (input, outputs), &[])
    }

    /// A model for these sizes, which takes from `others` the parameters that are the same in both.
    fn build(
        network: Network,
        parametrization: Arc<dyn Parametrization>,
        settings: ModelSettings,
        (input, outputs): (Vec<usize>, usize),
        others: &[Parameter],
    ) -> Result<Self> {
        if settings.seeds.is_empty() {
            return Err(Error::setting("a model needs at least one member"));
        }
        if matches!(settings.place, Place::Cpu) && settings.dtype == DType::BF16 {
            return Err(Error::setting(
                "models of bf16 are for GPUs: on the CPU there are f32 and f64",
            )
            .with_help("leave dtype out, or use --device cuda"));
        }
        let base = parametrization.base_width();
        if network.width.is_none() && parametrization.name() != "sp" {
            return Err(Error::setting(format!(
                "{} needs to know which sizes grow with width, but the network is not a function of width",
                parametrization.name()
            ))
            .with_help("write |w| sequential([linear(w), relu(), linear(10)]) and give init the width"));
        }
        let (infos, output) = network.infos(outputs, &input, base)?;
        let Some((&outputs_made, positions)) = output.split_last() else {
            return Err(Error::shape(format!(
                "the network's output for an input of shape {input:?} has no axis"
            ))
            .with_help("end with flatten() or a linear layer"));
        };
        let positions = positions.to_vec();
        if network.outputs.is_some_and(|wanted| wanted != outputs_made) {
            return Err(Error::shape(format!(
                "the network has {outputs_made} outputs, {outputs} were asked for"
            )));
        }
        let sizes = Sizes {
            width: network.width.unwrap_or(1),
            outputs,
        };
        let blocks = infos.first().map_or(0, |info| info.blocks);
        let factor = parametrization.branch_multiplier(blocks)?;
        let mut nodes = network.nodes(sizes)?;
        nodes = nodes
            .into_iter()
            .map(|node| node.with_branches(factor))
            .collect();
        let tied = network.tied(sizes, &input, &infos)?;
        for (owner, info) in &tied {
            let scales = parametrization.scales(info, OptimizerFamily::Sgd)?;
            if scales.init == Init::Constant(0.0) {
                return Err(Error::setting(format!(
                    "{} cannot start at zero, for it is also {owner}",
                    info.path
                ))
                .with_help("use zero_readout: false, or a transformer with tied: false"));
            }
            let multiplier = scales.multiplier;
            nodes = nodes
                .into_iter()
                .map(|node| node.with_tied(owner, multiplier))
                .collect();
        }
        let other = |info: &ParamInfo| others.iter().find(|p| p.info == *info);
        check_room(&infos, others, &settings, settings.seeds.len())?;
        let params = infos
            .into_iter()
            .map(|info| {
                if let Some(same) = other(&info) {
                    return Ok(same.clone());
                }
                let scales = parametrization.scales(&info, OptimizerFamily::Sgd)?;
                let place = (settings.arith()?, settings.place.device());
                let value = initial(scales.init, &info.path, &info.shape, &settings.seeds, place)?;
                Ok(Parameter {
                    info,
                    value,
                    multiplier: scales.multiplier,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            network,
            parametrization,
            settings,
            input,
            sizes: Sizes {
                outputs: outputs_made,
                ..sizes
            },
            positions,
            nodes,
            params,
            tied,
            eval: None,
            fitted: false,
        })
    }

    /// Checks that so many members fit into memory, before even their seeds are listed.
    ///
    /// # Errors
    /// If they do not; if the network cannot be built.
    pub fn check_members(
        network: &Network,
        parametrization: &dyn Parametrization,
        settings: &ModelSettings,
        members: usize,
    ) -> Result<()> {
        let outputs = network.outputs.unwrap_or(ASSUMED_OUTPUTS);
        let input = network.input_or_assumed();
        let (infos, _) = network.infos(outputs, &input, parametrization.base_width())?;
        check_room(&infos, &[], settings, members)
    }

    /// Fits the model to a stream's input shape and number of outputs. What the network leaves to
    /// the stream is taken from the first stream, and parameters that have another shape for it are
    /// made afresh (they depend on seed and path alone); the others keep their values. Later streams
    /// must have the same sizes.
    ///
    /// # Errors
    /// If the network or an earlier stream says otherwise: both shapes. If memory for the new
    /// parameters cannot be had. The model is then unchanged.
    pub fn fit(&mut self, input: &[usize], outputs: usize) -> Result<()> {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let given = self.network.input.is_some();
        if (given || self.fitted) && count(&self.input) != count(input) {
            let why = if given { "takes" } else { "was made for" };
            return Err(Error::shape(format!(
                "the {} {why} inputs of shape {:?}, but the stream gives {input:?}",
                self.network.name, self.input
            ))
            .with_help(if given {
                "leave the network's inputs to the stream, or give the same number"
            } else {
                "make a new model with init for this stream"
            }));
        }
        let own_outputs = self.network.outputs.unwrap_or(self.sizes.outputs);
        if (self.network.outputs.is_some() || self.fitted) && own_outputs != outputs {
            return Err(Error::shape(format!(
                "the {} has {own_outputs} outputs, but the stream's targets need {outputs}",
                self.network.name
            )));
        }
        if !self.fitted {
            let new_input = if given {
                self.input.clone()
            } else {
                input.to_vec()
            };
            let mut made = Self::build(
                self.network.clone(),
                self.parametrization.clone(),
                self.settings.clone(),
                (new_input, outputs),
                &self.params,
            )?;
            if made.sizes.outputs != outputs {
                return Err(Error::shape(format!(
                    "the {} has {} outputs, but the stream's targets need {outputs}",
                    self.network.name, made.sizes.outputs
                )));
            }
            made.fitted = true;
            *self = made;
        }
        Ok(())
    }

    /// The same model with other values of its parameters, copied from tensors of the same shapes.
    ///
    /// # Errors
    /// If a tensor is of another shape, or memory for the copy cannot be had.
    pub fn with_values(&self, values: &[Tensor]) -> Result<Self> {
        let params = self.params.iter().zip(values).map(|(param, value)| {
            let own = param.zeros("copy")?;
            copy(&own, value)?;
            Ok(Parameter {
                value: own,
                ..param.clone()
            })
        });
        Ok(Self {
            network: self.network.clone(),
            parametrization: self.parametrization.clone(),
            settings: self.settings.clone(),
            input: self.input.clone(),
            sizes: self.sizes,
            positions: self.positions.clone(),
            // not the network's own: these have the parametrization's multipliers
            nodes: self.nodes.clone(),
            tied: self.tied.clone(),
            params: params.collect::<Result<_>>()?,
            eval: None,
            fitted: self.fitted,
        })
    }
}

/// Checks that the parameters of so many members, without those that `others` have, fit into memory.
fn check_room(
    infos: &[ParamInfo],
    others: &[Parameter],
    settings: &ModelSettings,
    members: usize,
) -> Result<()> {
    let need = |info| need(info, settings, members);
    let new = infos
        .iter()
        .filter(|i| !others.iter().any(|p| p.info == **i));
    let needs: Vec<Need> = new.map(need).collect();
    memory::check_on(&settings.place, "the model", &needs, |available| {
        let all: Vec<Need> = infos.iter().map(need).collect();
        let each = memory::total(&all) / members as u128;
        // what others have comes free with them
        let available = available + held(others);
        let bytes = |n: usize| Some(each * n as u128);
        match memory::largest(members, available, bytes) {
            0 => "not even one member would fit: use a smaller width".to_string(),
            fits => format!("{fits} of {members} members would fit"),
        }
    })
}
