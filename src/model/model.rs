//! The model: parameters with a leading member axis.

use std::sync::{Arc, RwLock};

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::gpu::{Place, Stored};
use crate::memory::{self, Need};
use crate::nn::{Gradients, Network, Node, Param, ParamInfo, Plan, Sizes, reads_by_product};
use crate::parametrization::{OptimizerFamily, Parametrization, Scales};
use crate::tensor::elementwise::copy;

/// A model that a script, a trainer and probes look at together.
pub type SharedModel = Arc<RwLock<Model>>;

/// One parameter of a model.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Path, shape, role and fans.
    pub info: ParamInfo,
    /// Value, `[members, shape…]`.
    pub value: Tensor,
    /// Forward multiplier.
    pub multiplier: f64,
}

impl Parameter {
    /// Zeros of the parameter's shape; `what` says what they are for.
    ///
    /// # Errors
    /// If memory for them cannot be had.
    pub(crate) fn zeros(&self, what: &str) -> Result<Tensor> {
        memory::zeros_like(&format!("{} ({what})", self.info.path), &self.value)
    }

    /// Zeros for all members, each of this shape.
    ///
    /// # Errors
    /// If memory for them cannot be had.
    pub(crate) fn room(&self, what: &str, shape: &[usize]) -> Result<Tensor> {
        let name = format!("{} ({what})", self.info.path);
        let shape = [&self.value.dims()[..1], shape].concat();
        memory::zeros(&name, &shape, self.value.dtype(), self.value.device())
    }
}

/// Parameters, and those of other layers that layers compute with, at another width.
type Wider = (Vec<ParamInfo>, Vec<(String, ParamInfo)>);

/// How a model is made.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// Seeds of the members.
    pub seeds: Vec<u64>,
    /// Type of activations: `F32`, `F64`, or on a GPU `BF16`, whose parameters are `F32`.
    pub dtype: DType,
    /// Where it lives.
    pub place: Place,
}

impl ModelSettings {
    /// Element type of the parameters.
    ///
    /// # Errors
    /// If models do not compute in the type of activations.
    pub fn arith(&self) -> Result<DType> {
        Ok(Stored::of(self.dtype)?.arith().dtype())
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            seeds: vec![0],
            dtype: DType::F32,
            place: Place::Cpu,
        }
    }
}

/// A network with parameters, on a device: an ensemble of one or more members.
#[derive(Debug)]
pub struct Model {
    pub(super) network: Network,
    pub(super) parametrization: Arc<dyn Parametrization>,
    pub(super) settings: ModelSettings,
    pub(super) input: Vec<usize>,
    pub(super) sizes: Sizes,
    pub(super) positions: Vec<usize>,
    pub(super) nodes: Vec<Node>,
    pub(super) params: Vec<Parameter>,
    pub(super) tied: Vec<(String, ParamInfo)>,
    pub(super) eval: Option<Plan>,
    /// Whether a stream has been met: sizes then stay, since training may have begun.
    pub(super) fitted: bool,
}

impl Model {
    /// The network that the model is made of.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parametrization.
    pub fn parametrization(&self) -> &Arc<dyn Parametrization> {
        &self.parametrization
    }

    /// Parameters of other layers that layers compute with: their paths, and what they are there.
    pub fn tied(&self) -> &[(String, ParamInfo)] {
        &self.tied
    }

    /// What [`Model::params`] and [`Model::tied`] are at twice the width.
    ///
    /// # Errors
    /// If the network cannot be built there.
    pub(super) fn wider(&self) -> Result<Wider> {
        let width = 2 * self.network.width.unwrap_or(1);
        let (doubled, outputs) = (self.network.at(width), self.outputs());
        let base = self.parametrization.base_width();
        let (infos, _) = doubled.infos(outputs, &self.input, base)?;
        let tied = doubled.tied(Sizes { width, outputs }, &self.input, &infos)?;
        Ok((infos, tied))
    }

    /// What branches are multiplied by, and how many residual blocks there are.
    ///
    /// # Errors
    /// As for [`Parametrization::branch_multiplier`].
    pub(super) fn branches(&self) -> Result<(f64, usize)> {
        let blocks = self.params.first().map_or(0, |p| p.info.blocks);
        Ok((self.parametrization.branch_multiplier(blocks)?, blocks))
    }

    /// The parameters in the order of the forward pass.
    pub fn params(&self) -> &[Parameter] {
        &self.params
    }

    /// Replaces the values of one parameter, `[members, shape…]` of any float type.
    ///
    /// # Errors
    /// If there is no such parameter (the paths there are), or the shape differs (both shapes).
    pub fn set_param(&mut self, path: &str, value: &Tensor) -> Result<()> {
        let Some(param) = self.params.iter().find(|p| p.info.path == path) else {
            let paths: Vec<_> = self.params.iter().map(|p| p.info.path.as_str()).collect();
            return Err(Error::setting(format!(
                "there is no parameter `{path}`; there are {}",
                paths.join(", ")
            )));
        };
        if param.value.dims() != value.dims() {
            return Err(Error::shape(format!(
                "{path} has shape {:?}, the given value {:?}",
                param.value.dims(),
                value.dims()
            )));
        }
        let value = value.to_dtype(self.settings.dtype)?.contiguous()?;
        copy(&param.value, &value)
    }

    /// Seeds of the members.
    pub fn seeds(&self) -> &[u64] {
        &self.settings.seeds
    }

    /// Number of members.
    pub fn members(&self) -> usize {
        self.settings.seeds.len()
    }

    /// Shape of one input.
    pub fn input(&self) -> &[usize] {
        &self.input
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.sizes.outputs
    }

    /// Axes of the positions at which there are outputs: none for one output vector per example,
    /// `[context]` for a language model.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Output vectors of a batch: examples times positions.
    pub fn rows(&self, batch: usize) -> usize {
        batch * self.positions.iter().product::<usize>()
    }

    /// Element type of the parameters.
    pub fn dtype(&self) -> DType {
        self.settings.arith().unwrap_or(self.settings.dtype)
    }

    /// Element type of activations.
    pub fn stored(&self) -> DType {
        self.settings.dtype
    }

    /// Where the parameters are.
    pub fn place(&self) -> &Place {
        &self.settings.place
    }

    /// Number of trained parameters of one member.
    pub fn param_count(&self) -> usize {
        self.params
            .iter()
            .filter(|p| p.info.kind.is_trained())
            .map(|p| p.info.shape.iter().product::<usize>())
            .sum()
    }

    /// The scales of every parameter for an optimizer family.
    ///
    /// # Errors
    /// As for [`Parametrization::scales`].
    pub fn scales(&self, family: OptimizerFamily) -> Result<Vec<Scales>> {
        let scales = |p: &Parameter| self.parametrization.scales(&p.info, family);
        self.params.iter().map(scales).collect()
    }

    /// The parameters as a pass receives them.
    pub fn values(&self) -> Vec<Param<'_>> {
        self.params
            .iter()
            .map(|p| Param {
                value: &p.value,
                multiplier: p.multiplier,
            })
            .collect()
    }

    /// Zeros of every parameter's shape; `what` says what they are for.
    ///
    /// # Errors
    /// If memory for them cannot be had.
    pub(crate) fn like_params(&self, what: &str) -> Result<Vec<Tensor>> {
        self.params.iter().map(|p| p.zeros(what)).collect()
    }

    /// What `count` neural tangent kernels of so many points need beside the parameters; an example
    /// has so many combinations of outputs, see [`Plan::ntk_needs`].
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub fn kernel_needs(
        &self,
        points: usize,
        count: usize,
        combinations: Option<usize>,
    ) -> Result<Vec<Need>> {
        let place = (self.settings.dtype, &self.settings.place);
        let sizes = (self.members(), points);
        let kernels = (count, combinations);
        Plan::ntk_needs(&self.nodes, &self.input, sizes, place, kernels)
    }

    /// A plan for batches of the given size; `gradients` says which passes are available.
    ///
    /// # Errors
    /// If its buffers cannot be made.
    pub fn plan(&self, batch: usize, gradients: Gradients) -> Result<Plan> {
        self.plan_for(&self.input, batch, gradients)
    }

    /// A plan for forward passes with layers and the nonlinearities that they pass through at once apart.
    ///
    /// # Errors
    /// If its buffers cannot be made.
    pub(super) fn plan_apart(&self, batch: usize) -> Result<Plan> {
        Plan::new(
            &Node::apart(&self.nodes),
            &self.input,
            (self.members(), batch),
            (self.settings.dtype, &self.settings.place),
            Gradients::None,
        )
    }

    /// The same for inputs of another shape.
    pub(crate) fn plan_for(
        &self,
        input: &[usize],
        batch: usize,
        gradients: Gradients,
    ) -> Result<Plan> {
        Plan::new(
            &self.nodes,
            input,
            (self.members(), batch),
            (self.settings.dtype, &self.settings.place),
            gradients,
        )
    }

    /// Whether the inputs act only by their product with the first parameter, `[inputs, outputs]`.
    pub(crate) fn reads_by_product(&self) -> bool {
        reads_by_product(&self.nodes, &self.input)
    }

    /// The model for the record: network, parametrization, members, sizes.
    pub fn record(&self) -> Value {
        json!({
            "network": self.network.record(self.sizes),
            "width": self.network.width,
            "input": self.input,
            "outputs": self.sizes.outputs,
            "parameters": self.param_count(),
            "parametrization": {
                "name": self.parametrization.name(),
                "settings": self.parametrization.settings(),
            },
            "seeds": self.settings.seeds,
            "dtype": self.settings.dtype.as_str(),
            "device": self.settings.place.name(),
        })
    }
}
