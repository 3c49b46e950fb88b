//! The layers' passes on GPUs.

mod activation;
mod batch_norm;
mod class_token;
mod conv2d;
mod dropout;
mod embedding;
mod flatten;
mod global_avg_pool;
mod glu;
mod group_norm;
mod layer_norm;
mod linear;
mod linear_map;
mod patches;
mod pool;
mod positions;
mod qk_norm;
mod rms_norm;
mod rope;
#[cfg(all(test, feature = "emulator"))]
mod tests;
mod tied_readout;

/// TEMPORARY: layers whose passes are still to come; take yours off this list.
macro_rules! pending {
    ($($layer:ident),*) => {$(
        impl crate::nn::GpuPasses for crate::nn::layers::$layer {
            fn gpu_forward(&self, _: crate::nn::GpuPass<'_>, _: crate::nn::Span, _: crate::nn::Span) -> crate::error::Result<()> { todo() }
            fn gpu_backward(&self, _: crate::nn::GpuPass<'_>, _: crate::nn::GpuForward, _: crate::nn::Span, _: &[crate::nn::Span], _: Option<crate::nn::Span>) -> crate::error::Result<()> { todo() }
            fn gpu_tangent(&self, _: crate::nn::GpuPass<'_>, _: crate::nn::GpuForward, _: crate::nn::GpuTangents<'_>, _: crate::nn::Span) -> crate::error::Result<()> { todo() }
            fn gpu_backward_tangent(&self, _: crate::nn::GpuPass<'_>, _: crate::nn::GpuForward, _: crate::nn::GpuTangents<'_>, _: (crate::nn::Span, crate::nn::Span), _: &[crate::nn::Span], _: Option<crate::nn::Span>) -> crate::error::Result<()> { todo() }
        }
    )*};
}
fn todo() -> crate::error::Result<()> {
    Err(crate::error::Error::other("not on GPUs yet"))
}
pending!(Attention);
