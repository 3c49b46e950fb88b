//! Layers for images.

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use super::nn::{LayerValue, plain};
use crate::error::{Error, Result};
use crate::nn::layers::{BatchNorm, Conv2d, GlobalAvgPool, GroupNorm, Patches, Pool2d, Pooling};
use crate::script::options::{FromScript, Numbers, POSITIVE, Values};
use crate::script::{RhaiResultOf, raise};

/// Height and width: one number for both, or an array of two.
#[derive(Debug, Clone, Copy)]
pub struct Sides(pub [usize; 2]);

impl FromScript for Sides {
    fn words() -> String {
        "integer from 0 up, or an array of two: height and width".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        let mismatch = |_| Values::mismatch::<Self>(value);
        if !value.is_array() {
            let side = usize::from_script(value).map_err(mismatch)?;
            return Ok(Self([side; 2]));
        }
        let sides = Vec::<usize>::from_script(value).map_err(mismatch)?;
        let sides = <[usize; 2]>::try_from(sides);
        sides.map(Self).map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        match self.0 {
            [height, width] if height == width => height.to_string(),
            [height, width] => format!("[{height}, {width}]"),
        }
    }
}

impl Numbers for Sides {
    fn numbers(&self) -> Vec<f64> {
        self.0.map(|side| side as f64).to_vec()
    }
}

crate::options! {
    /// Settings of a convolution. Where a setting is a pair, one number stands for both of height and
    /// width.
    pub struct ConvOptions for "conv2d" {
        /// Height and width of the filters.
        kernel: Sides = Sides([3; 2]), where (1..);
        /// Distance between the filter's places.
        stride: Sides = Sides([1; 2]), where (1..);
        /// Rows and columns of zeros at each border; half the kernel keeps the image's size.
        padding: Sides = Sides([0; 2]);
        /// Groups of channels that do not see each other.
        groups: usize = 1, where (1..);
        /// Whether there is a bias per output channel.
        bias: bool = true;
    }
}

crate::options! {
    /// Settings of pooling by the maximum.
    pub struct MaxPoolOptions for "max_pool2d" {
        /// Distance between windows; left out, they lie side by side.
        stride: Option<Sides> = None, where (1..);
        /// Rows and columns at each border that no maximum comes from; at most half the window.
        padding: Sides = Sides([0; 2]);
    }
}

crate::options! {
    /// Settings of pooling by the mean.
    pub struct AvgPoolOptions for "avg_pool2d" {
        /// Distance between windows; left out, they lie side by side.
        stride: Option<Sides> = None, where (1..);
        /// Rows and columns of zeros at each border; at most half the window.
        padding: Sides = Sides([0; 2]);
        /// Whether the border's zeros count in the mean.
        count_include_pad: bool = true;
    }
}

crate::options! {
    /// Settings of group normalisation.
    pub struct GroupNormOptions for "group_norm" {
        /// Added to the variance.
        eps: f64 = 1e-5, where POSITIVE;
        /// Whether a relu follows; faster than `relu()` as a layer of its own.
        relu: bool = false;
    }
}

crate::options! {
    /// Settings of batch normalisation.
    pub struct BatchNormOptions for "batch_norm" {
        /// Added to the variance.
        eps: f64 = 1e-5, where POSITIVE;
        /// Share of the batch's moments in the new running estimates.
        momentum: f64 = 0.1, where (0.0..=1.0);
        /// Whether a relu follows; faster than `relu()` as a layer of its own.
        relu: bool = false;
    }
}

/// Registers layers for images.
pub fn register(registry: &mut Registry) {
    registry.options(ConvOptions::spec());
    registry.options(MaxPoolOptions::spec());
    registry.options(AvgPoolOptions::spec());
    registry.options(GroupNormOptions::spec());
    registry.options(BatchNormOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

/// A count that a script gave as an argument.
fn at_least_one(ctx: &NativeCallContext, what: &str, found: i64) -> RhaiResultOf<usize> {
    if found < 1 {
        let error = Error::setting(format!("{what} must be at least 1, found {found}"));
        return Err(raise(ctx, error));
    }
    Ok(found as usize)
}

fn window(ctx: &NativeCallContext, kernel: &Dynamic) -> RhaiResultOf<[usize; 2]> {
    match Sides::from_script(kernel) {
        Ok(Sides(sides)) if sides.iter().all(|&side| side > 0) => Ok(sides),
        _ => {
            let message =
                "a window must be an integer from 1 up, or an array of two: height and width";
            Err(raise(ctx, Error::setting(message)))
        }
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A convolution of images `[channels, height, width]`, as PyTorch's `Conv2d`. The weight has shape
    /// `[kernel height, kernel width, channels / groups, outputs]` as in JAX, so that its last axis is the
    /// fan-out and the others the fan-in; PyTorch's weight is `weight.permute(3, 2, 0, 1)`.
    ///
    /// ```rhai
    /// let net = sequential([conv2d(16, #{ kernel: 3, stride: 2, padding: 1 }), relu(), flatten(), linear(10)]);
    /// init(net, sp()).param("0.weight").shape     // → [1, 3, 3, 3, 16]
    /// ```
    #[rhai_fn(name = "conv2d", return_raw)]
    pub fn conv2d_with(
        ctx: NativeCallContext,
        outputs: i64,
        settings: Map,
    ) -> RhaiResultOf<LayerValue> {
        let o = ConvOptions::from_map(&ctx, &settings)?;
        let outputs = at_least_one(&ctx, "the number of outputs", outputs)?;
        if outputs % o.groups != 0 {
            let error = Error::setting(format!(
                "groups must divide the outputs, found {} groups of {outputs} outputs",
                o.groups
            ));
            return Err(raise(&ctx, error));
        }
        Ok(plain(Conv2d {
            outputs,
            kernel: o.kernel.0,
            stride: o.stride.0,
            padding: o.padding.0,
            groups: o.groups,
            bias: o.bias,
        }))
    }
    #[rhai_fn(name = "conv2d", return_raw)]
    pub fn conv2d(ctx: NativeCallContext, outputs: i64) -> RhaiResultOf<LayerValue> {
        conv2d_with(ctx, outputs, Map::new())
    }

    /// The largest number of each window of an image, as PyTorch's `MaxPool2d`. The window is its side,
    /// or height and width.
    ///
    /// ```rhai
    /// let layer = max_pool2d(3, #{ stride: 2, padding: 1 });
    /// layer.to_string()        // → "max_pool2d"
    /// ```
    #[rhai_fn(name = "max_pool2d", return_raw)]
    pub fn max_pool2d_with(
        ctx: NativeCallContext,
        kernel: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<LayerValue> {
        let o = MaxPoolOptions::from_map(&ctx, &settings)?;
        let kernel = window(&ctx, &kernel)?;
        Ok(plain(Pool2d {
            pooling: Pooling::Max,
            kernel,
            stride: o.stride.map_or(kernel, |s| s.0),
            padding: o.padding.0,
        }))
    }
    #[rhai_fn(name = "max_pool2d", return_raw)]
    pub fn max_pool2d(ctx: NativeCallContext, kernel: Dynamic) -> RhaiResultOf<LayerValue> {
        max_pool2d_with(ctx, kernel, Map::new())
    }

    /// The mean of each window of an image, as PyTorch's `AvgPool2d`. The window is its side, or height
    /// and width.
    ///
    /// ```rhai
    /// let layer = avg_pool2d([2, 3], #{ padding: 1, count_include_pad: false });
    /// layer.to_string()        // → "avg_pool2d"
    /// ```
    #[rhai_fn(name = "avg_pool2d", return_raw)]
    pub fn avg_pool2d_with(
        ctx: NativeCallContext,
        kernel: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<LayerValue> {
        let o = AvgPoolOptions::from_map(&ctx, &settings)?;
        let kernel = window(&ctx, &kernel)?;
        Ok(plain(Pool2d {
            pooling: Pooling::Average {
                count_border: o.count_include_pad,
            },
            kernel,
            stride: o.stride.map_or(kernel, |s| s.0),
            padding: o.padding.0,
        }))
    }
    #[rhai_fn(name = "avg_pool2d", return_raw)]
    pub fn avg_pool2d(ctx: NativeCallContext, kernel: Dynamic) -> RhaiResultOf<LayerValue> {
        avg_pool2d_with(ctx, kernel, Map::new())
    }

    /// The mean of every channel over all pixels: `[channels, height, width]` to `[channels]`.
    ///
    /// ```rhai
    /// global_avg_pool().to_string()        // → "global_avg_pool"
    /// ```
    pub fn global_avg_pool() -> LayerValue {
        plain(GlobalAvgPool)
    }

    /// Group normalisation (Wu, He 2018) of inputs `[channels, …]`, as PyTorch's `GroupNorm`: the
    /// channels of an example are divided into groups, each normalised by its own mean and variance; gain
    /// and shift are per channel.
    ///
    /// ```rhai
    /// let net = sequential([conv2d(16), group_norm(8, #{ relu: true }), flatten(), linear(10)]);
    /// init(net, sp()).param("1.weight").shape     // → [1, 16]
    /// ```
    #[rhai_fn(name = "group_norm", return_raw)]
    pub fn group_norm_with(
        ctx: NativeCallContext,
        groups: i64,
        settings: Map,
    ) -> RhaiResultOf<LayerValue> {
        let o = GroupNormOptions::from_map(&ctx, &settings)?;
        Ok(plain(GroupNorm {
            groups: at_least_one(&ctx, "the number of groups", groups)?,
            eps: o.eps,
            relu: o.relu,
        }))
    }
    #[rhai_fn(name = "group_norm", return_raw)]
    pub fn group_norm(ctx: NativeCallContext, groups: i64) -> RhaiResultOf<LayerValue> {
        group_norm_with(ctx, groups, Map::new())
    }

    /// Batch normalisation (Ioffe, Szegedy 2015) of inputs `[channels, …]`, as PyTorch's `BatchNorm`, with
    /// gain and shift per channel. In training each channel is normalised by its mean and variance over
    /// the batch's examples and positions, and the running estimates follow them by the share `momentum`
    /// (unbiased variance). Everywhere else, in `predict`, probes and metrics, the running estimates are
    /// used, and examples do not depend on each other.
    ///
    /// The estimates are called `running_mean` and `running_var`. They are parameters of the model, each
    /// member's own, but not trained: optimizers, `param_count` and derivatives pass them over.
    ///
    /// ```rhai
    /// let net = sequential([conv2d(16, #{ bias: false }), batch_norm(#{ relu: true }), flatten(), linear(10)]);
    /// let m = init(net, sp());
    /// m.params.extract(3..5)     // → ["1.running_mean", "1.running_var"]
    /// m.param("1.running_var").to_array()[0][15]     // → 1.0
    /// batch_norm(#{ momentum: 0.01, eps: 1e-3 }).to_string()     // → "batch_norm"
    /// ```
    #[rhai_fn(name = "batch_norm", return_raw)]
    pub fn batch_norm_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<LayerValue> {
        let o = BatchNormOptions::from_map(&ctx, &settings)?;
        Ok(plain(BatchNorm {
            eps: o.eps,
            momentum: o.momentum,
            relu: o.relu,
        }))
    }
    #[rhai_fn(name = "batch_norm", return_raw)]
    pub fn batch_norm(ctx: NativeCallContext) -> RhaiResultOf<LayerValue> {
        batch_norm_with(ctx, Map::new())
    }

    /// Cuts images `[channels, height, width]` into patches side by side, row after row: `[patches, channels ·
    /// patch height · patch width]`, each as PyTorch's `unfold` lays it out. The patch is its side, or height and
    /// width, which must divide the image's. With a linear layer behind it, it is the patch embedding
    /// of a vision transformer.
    ///
    /// ```rhai
    /// let net = sequential([patches(4), linear(64), mean_over_positions(), linear(10)]);
    /// init(net, sp()).param("1.weight").shape     // → [1, 48, 64]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn patches(ctx: NativeCallContext, size: Dynamic) -> RhaiResultOf<LayerValue> {
        let size = window(&ctx, &size)?;
        Ok(plain(Patches { size }))
    }
}
