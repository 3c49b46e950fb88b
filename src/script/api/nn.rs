//! Networks and layers.

use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};
use serde_json::json;

use super::Registry;
use crate::error::{Error, Result};
use crate::nn::layers::{Activation, Flatten, LayerNorm, Linear, RmsNorm};
use crate::nn::{Layer, Mlp, Network, Node, Sizes, mlp};
use crate::script::options::POSITIVE;
use crate::script::{OrRaise, RhaiResultOf, StoredFn, raise};

/// A layer, or a residual block of layers, before it has its place in a network.
#[derive(Debug, Clone)]
pub struct LayerValue(pub(super) Node);

crate::script_type!(Network, "network", "mlp(#{ width: 256 })");
crate::script_type!(LayerValue, "layer", "linear(64)");
crate::choice! { Activation {
    "relu" => Activation::Relu, "gelu" => Activation::Gelu, "gelu_tanh" => Activation::GeluTanh,
    "tanh" => Activation::Tanh, "erf" => Activation::Erf, "silu" => Activation::Silu,
    "identity" => Activation::Identity, "quadratic" => Activation::Quadratic,
} }

crate::options! {
    /// Settings of a multilayer perceptron.
    pub struct MlpOptions for "mlp" {
        /// Units of each hidden layer.
        width: usize = 256, where (1..);
        /// Number of weight matrices: `depth - 1` hidden layers and the readout.
        depth: usize = 3, where (1..=1000);
        /// Nonlinearity after each hidden layer.
        activation: Activation = Activation::Relu;
        /// Whether layers have biases.
        bias: bool = true;
        /// Whether each hidden layer's preactivations are normalised.
        layer_norm: bool = false;
        /// Number of inputs; left out, the stream decides.
        inputs: Option<usize> = None, where (1..);
        /// Number of outputs; left out, the stream decides.
        outputs: Option<usize> = None, where (1..);
    }
}

crate::options! {
    /// Settings of a fully connected layer.
    pub struct LinearOptions for "linear" {
        /// Whether there is a bias.
        bias: bool = true;
    }
}

crate::options! {
    /// Settings of layer normalisation.
    pub struct LayerNormOptions for "layer_norm" {
        /// Added to the variance.
        eps: f64 = 1e-5, where POSITIVE;
    }
}

crate::options! {
    /// Settings of RMS normalisation.
    pub struct RmsNormOptions for "rms_norm" {
        /// Added to the mean square.
        eps: f64 = 1e-5, where POSITIVE;
    }
}

crate::options! {
    /// Settings of a residual block.
    pub struct ResidualOptions for "residual" {
        /// Factor of the branch.
        multiplier: f64 = 1.0;
        /// Layers that take the place of x in the sum, where the branch changes the shape.
        shortcut: Vec<Dynamic> = Vec::new();
    }
}

/// Registers networks and layers.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Network>("Network");
    registry.name_type::<LayerValue>("Layer");
    registry.options(MlpOptions::spec());
    registry.options(LinearOptions::spec());
    registry.options(LayerNormOptions::spec());
    registry.options(RmsNormOptions::spec());
    registry.options(ResidualOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

/// A network whose layers a script function of the width returns.
pub fn network_of(function: StoredFn, width: usize) -> Result<Network> {
    let describe = move |width: usize| function.call::<Network>((width as i64,));
    let first = describe(width)?;
    let mut settings = first.settings.clone();
    if let Some(settings) = settings.as_object_mut() {
        settings.insert("width".into(), json!(width));
    }
    let mut network = Network::new(first.name.clone(), Some(width), settings, move |sizes| {
        let inner = describe(sizes.width)?;
        inner.nodes(Sizes {
            width: inner.width.unwrap_or(sizes.width),
            outputs: sizes.outputs,
        })
    });
    network.input = first.input;
    network.assumed_input = first.assumed_input;
    network.outputs = first.outputs;
    network.blocks = first.blocks;
    Ok(network.growing())
}

/// Layers under their numbers as names.
fn numbered(layers: Array) -> Result<Vec<Node>> {
    layers
        .into_iter()
        .enumerate()
        .map(|(i, layer)| {
            let found = layer.type_name().to_string();
            match layer.try_cast::<LayerValue>() {
                Some(LayerValue(node)) => Ok(node.named(i.to_string())),
                None => Err(Error::setting(format!(
                    "item {i} of the layers is a {found}, not a layer"
                ))
                .with_help(
                    "layers are made by linear(64), relu(), layer_norm(), flatten(), residual([…])",
                )),
            }
        })
        .collect()
}

/// A layer without a name yet.
pub(super) fn plain(layer: impl Layer + 'static) -> LayerValue {
    LayerValue(Node::layer("", layer))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A multilayer perceptron: `depth - 1` times linear, (layer norm,) activation, then a linear
    /// readout. Inputs of any shape are flattened. Parameters are called `layers.0.weight`,
    /// `layers.0.bias`, `layers.0.norm.weight`, …, `readout.weight`, `readout.bias`; weights have
    /// shape `[fan_in, fan_out]`.
    ///
    /// ```rhai
    /// mlp(#{ width: 128, depth: 2, activation: "tanh" }).width   // → 128
    /// ```
    #[rhai_fn(name = "mlp", return_raw)]
    pub fn mlp_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = MlpOptions::from_map(&ctx, &settings)?;
        Ok(mlp(Mlp {
            width: o.width,
            depth: o.depth,
            activation: o.activation,
            bias: o.bias,
            layer_norm: o.layer_norm,
            inputs: o.inputs,
            outputs: o.outputs,
        }))
    }
    #[rhai_fn(name = "mlp", return_raw)]
    pub fn mlp_default(ctx: NativeCallContext) -> RhaiResultOf<Network> {
        mlp_with(ctx, Map::new())
    }

    /// A network of these layers, one after the other. Parameters are called by the number of their
    /// layer: `0.weight`, `0.bias`, `2.weight`, …
    ///
    /// Rules that depend on width need a function of width, `|w| sequential([linear(w), relu(),
    /// linear(10)])`, which `init` describes at two widths to see what grows.
    ///
    /// ```rhai
    /// let net = sequential([flatten(), linear(64), relu(), linear(10)]);
    /// init(net, sp()).param("1.weight").shape     // → [1, 3072, 64]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sequential(ctx: NativeCallContext, layers: Array) -> RhaiResultOf<Network> {
        let nodes = numbered(layers).or_raise(&ctx)?;
        if nodes.is_empty() {
            return Err(raise(
                &ctx,
                Error::setting("sequential needs at least one layer"),
            ));
        }
        Ok(Network::new("sequential", None, json!({}), move |_| {
            Ok(nodes.clone())
        }))
    }

    /// The architecture that a function of width describes, at one width.
    ///
    /// ```rhai
    /// let net = network(|w| sequential([flatten(), linear(w), relu(), linear(10)]), 64);
    /// net.width        // → 64
    /// ```
    #[rhai_fn(return_raw)]
    pub fn network(ctx: NativeCallContext, describe: FnPtr, width: i64) -> RhaiResultOf<Network> {
        if width < 1 {
            return Err(raise(
                &ctx,
                Error::setting(format!("width must be at least 1, found {width}")),
            ));
        }
        StoredFn::new(&ctx, describe)
            .and_then(|f| network_of(f, width as usize))
            .or_raise(&ctx)
    }

    /// A fully connected layer `y = x W + b` on the last axis, with `W` of shape `[fan_in, outputs]`.
    ///
    /// ```rhai
    /// let layer = linear(64, #{ bias: false });
    /// type_of(layer)        // → "Layer"
    /// ```
    #[rhai_fn(name = "linear", return_raw)]
    pub fn linear_with(
        ctx: NativeCallContext,
        outputs: i64,
        settings: Map,
    ) -> RhaiResultOf<LayerValue> {
        let o = LinearOptions::from_map(&ctx, &settings)?;
        if outputs < 1 {
            let error = Error::setting(format!("linear needs at least 1 output, found {outputs}"));
            return Err(raise(&ctx, error));
        }
        Ok(plain(Linear {
            outputs: outputs as usize,
            bias: o.bias,
        }))
    }
    #[rhai_fn(name = "linear", return_raw)]
    pub fn linear(ctx: NativeCallContext, outputs: i64) -> RhaiResultOf<LayerValue> {
        linear_with(ctx, outputs, Map::new())
    }

    /// The layer max(x, 0).
    ///
    /// ```rhai
    /// type_of(relu())        // → "Layer"
    /// ```
    pub fn relu() -> LayerValue {
        plain(Activation::Relu)
    }

    /// The layer x Φ(x), with the exact normal distribution function (PyTorch's default `GELU`).
    ///
    /// ```rhai
    /// type_of(gelu())        // → "Layer"
    /// ```
    pub fn gelu() -> LayerValue {
        plain(Activation::Gelu)
    }

    /// The layer ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), an approximation of [`gelu`] (PyTorch's
    /// `GELU(approximate="tanh")`; Hendrycks & Gimpel 2016).
    ///
    /// ```rhai
    /// type_of(gelu_tanh())        // → "Layer"
    /// ```
    pub fn gelu_tanh() -> LayerValue {
        plain(Activation::GeluTanh)
    }

    /// The hyperbolic tangent as a layer; with a number, the tangent of the number.
    ///
    /// ```rhai
    /// type_of(tanh())        // → "Layer"
    /// ```
    pub fn tanh() -> LayerValue {
        plain(Activation::Tanh)
    }

    /// The error function as a layer.
    ///
    /// ```rhai
    /// type_of(erf())        // → "Layer"
    /// ```
    pub fn erf() -> LayerValue {
        plain(Activation::Erf)
    }

    /// The layer x σ(x) with the logistic function σ (PyTorch's `SiLU`, also called swish).
    ///
    /// ```rhai
    /// type_of(silu())        // → "Layer"
    /// ```
    pub fn silu() -> LayerValue {
        plain(Activation::Silu)
    }

    /// The layer that does nothing, for linear networks.
    ///
    /// ```rhai
    /// type_of(identity())        // → "Layer"
    /// ```
    pub fn identity() -> LayerValue {
        plain(Activation::Identity)
    }

    /// The layer x².
    ///
    /// ```rhai
    /// type_of(quadratic())        // → "Layer"
    /// ```
    pub fn quadratic() -> LayerValue {
        plain(Activation::Quadratic)
    }

    /// Layer normalisation over the last axis with gain and bias (Ba, Kiros, Hinton 2016), as
    /// PyTorch's `LayerNorm`.
    ///
    /// ```rhai
    /// type_of(layer_norm(#{ eps: 1e-6 }))        // → "Layer"
    /// ```
    #[rhai_fn(name = "layer_norm", return_raw)]
    pub fn layer_norm_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<LayerValue> {
        let o = LayerNormOptions::from_map(&ctx, &settings)?;
        Ok(plain(LayerNorm { eps: o.eps }))
    }
    #[rhai_fn(name = "layer_norm", return_raw)]
    pub fn layer_norm(ctx: NativeCallContext) -> RhaiResultOf<LayerValue> {
        layer_norm_with(ctx, Map::new())
    }

    /// RMS normalisation over the last axis (Zhang, Sennrich 2019), as PyTorch's `RMSNorm`:
    /// `gain · x / √(mean(x²) + eps)`. It has a gain and no bias, and takes no mean off.
    ///
    /// `eps` is Llama's. PyTorch's default is the machine epsilon of the element type, 1.2e-7 in f32 and
    /// 2.2e-16 in f64, with which the two types would compute different functions.
    ///
    /// ```rhai
    /// let net = sequential([flatten(), linear(8), rms_norm(#{ eps: 1e-6 }), linear(10)]);
    /// init(net, sp()).param("2.weight").shape        // → [1, 8]
    /// ```
    #[rhai_fn(name = "rms_norm", return_raw)]
    pub fn rms_norm_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<LayerValue> {
        let o = RmsNormOptions::from_map(&ctx, &settings)?;
        Ok(plain(RmsNorm { eps: o.eps }))
    }
    #[rhai_fn(name = "rms_norm", return_raw)]
    pub fn rms_norm(ctx: NativeCallContext) -> RhaiResultOf<LayerValue> {
        rms_norm_with(ctx, Map::new())
    }

    /// The layer that makes every example a vector.
    ///
    /// ```rhai
    /// type_of(flatten())        // → "Layer"
    /// ```
    pub fn flatten() -> LayerValue {
        plain(Flatten)
    }

    /// The block `x + multiplier · layers(x)`, whose layers must keep the shape; or, with a shortcut,
    /// `shortcut(x) + multiplier · layers(x)`. Parameters of the shortcut are called by
    /// `shortcut.0.weight`, ….
    ///
    /// ```rhai
    /// let block = residual([linear(64), relu(), linear(64)], #{ multiplier: 0.5 });
    /// type_of(block)        // → "Layer"
    /// let wider = residual([linear(64), relu(), linear(64)], #{ shortcut: [linear(64, #{ bias: false })] });
    /// init(sequential([flatten(), wider]), sp()).param("1.shortcut.0.weight").shape     // → [1, 3072, 64]
    /// ```
    #[rhai_fn(name = "residual", return_raw)]
    pub fn residual_with(
        ctx: NativeCallContext,
        layers: Array,
        settings: Map,
    ) -> RhaiResultOf<LayerValue> {
        let o = ResidualOptions::from_map(&ctx, &settings)?;
        let body = numbered(layers).or_raise(&ctx)?;
        if body.is_empty() {
            return Err(raise(
                &ctx,
                Error::setting("residual needs at least one layer"),
            ));
        }
        Ok(LayerValue(Node::Residual {
            name: String::new(),
            body,
            shortcut: numbered(o.shortcut).or_raise(&ctx)?,
            multiplier: o.multiplier,
        }))
    }
    #[rhai_fn(name = "residual", return_raw)]
    pub fn residual(ctx: NativeCallContext, layers: Array) -> RhaiResultOf<LayerValue> {
        residual_with(ctx, layers, Map::new())
    }

    /// The sum of what each of several lists of layers makes of x; an empty list is x itself. Parameters are called
    /// by the numbers of branch and layer: `0.0.weight`, `1.0.weight`, … after the block's own.
    ///
    /// ```rhai
    /// let block = parallel([[linear(64), relu()], [linear(64), tanh()], []]);
    /// block.to_string()        // → "parallel of 3 branches"
    /// let net = sequential([flatten(), linear(64), block, linear(10)]);
    /// init(net, sp()).param("2.1.0.weight").shape     // → [1, 64, 64]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn parallel(ctx: NativeCallContext, branches: Array) -> RhaiResultOf<LayerValue> {
        let branches: Result<Vec<_>> = (branches.into_iter().enumerate())
            .map(|(i, branch)| {
                let found = branch.type_name().to_string();
                match branch.try_cast::<Array>() {
                    Some(layers) => numbered(layers),
                    None => Err(Error::setting(format!(
                        "branch {i} of parallel must be a list of layers, found {found}"
                    ))
                    .with_help("for instance parallel([[linear(64), relu()], [linear(64)]])")),
                }
            })
            .collect();
        let branches = branches.or_raise(&ctx)?;
        if branches.is_empty() {
            let error = Error::setting("parallel needs at least one branch");
            return Err(raise(&ctx, error));
        }
        Ok(LayerValue(Node::Parallel {
            name: String::new(),
            branches,
        }))
    }

    /// Width of a network, `()` if it is not a function of width.
    ///
    /// ```rhai
    /// mlp(#{ width: 64 }).width      // → 64
    /// ```
    #[rhai_fn(get = "width", pure)]
    pub fn width(network: &mut Network) -> Dynamic {
        network.width.map_or(Dynamic::UNIT, |w| (w as i64).into())
    }

    /// The same architecture at another width.
    ///
    /// ```rhai
    /// mlp(#{ width: 64 }).at(512).width      // → 512
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn at(ctx: NativeCallContext, network: &mut Network, width: i64) -> RhaiResultOf<Network> {
        match network.width {
            Some(_) if width > 0 => Ok(network.at(width as usize)),
            Some(_) => {
                let error = Error::setting(format!("width must be at least 1, found {width}"));
                Err(raise(&ctx, error))
            }
            None => Err(raise(
                &ctx,
                Error::setting("this network is not a function of width")
                    .with_help("use network(|w| sequential([…]), width)"),
            )),
        }
    }

    /// A network in one line.
    ///
    /// ```rhai
    /// mlp(#{ width: 64 }).to_string()      // → "mlp(width 64)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn network_to_string(network: &mut Network) -> String {
        match network.width {
            Some(width) => format!("{}(width {width})", network.name),
            None => network.name.clone(),
        }
    }

    /// A layer in one line.
    ///
    /// ```rhai
    /// relu().to_string()      // → "relu"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn layer_to_string(layer: &mut LayerValue) -> String {
        match &layer.0 {
            Node::Layer { layer, .. } => layer.kind().to_string(),
            Node::Parallel { branches, .. } => format!("parallel of {} branches", branches.len()),
            Node::Residual { body, .. } => format!("residual of {} layers", body.len()),
        }
    }
}
