//! Layers that are linear maps without parameters: they say what the map and its transpose do, and
//! all of their passes follow.

use crate::tensor::elem::Elem;

/// A linear map of every example of a batch.
pub(super) trait LinearMap {
    /// Writes `y [batch, output…]` for `x [batch, input…]`.
    fn apply<T: Elem>(&self, shapes: Shapes<'_>, x: &[T], y: &mut [T]);

    /// Writes what the transposed map makes of `gy [batch, output…]`, `gx [batch, input…]`.
    fn transpose<T: Elem>(&self, shapes: Shapes<'_>, gy: &[T], gx: &mut [T]);
}

/// Shapes of one example's input and output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shapes<'a> {
    pub input: &'a [usize],
    pub output: &'a [usize],
}

/// The passes of a layer that is a [`LinearMap`].
macro_rules! linear_map {
    ($layer:ty) => {
        impl<T: $crate::tensor::elem::Elem> $crate::nn::Passes<T> for $layer {
            fn forward(
                &self,
                at: $crate::nn::Pass<'_, T>,
                y: &mut [T],
                _saved: &mut [T],
            ) -> $crate::error::Result<()> {
                let shapes = $crate::nn::layers::linear_map::shapes(&at);
                $crate::nn::layers::linear_map::LinearMap::apply(self, shapes, at.x, y);
                Ok(())
            }

            fn backward(
                &self,
                at: $crate::nn::Pass<'_, T>,
                _was: $crate::nn::Forward<'_, T>,
                gy: &[T],
                _grads: $crate::nn::Parts<'_, T>,
                gx: Option<&mut [T]>,
            ) -> $crate::error::Result<()> {
                if let Some(gx) = gx {
                    let shapes = $crate::nn::layers::linear_map::shapes(&at);
                    $crate::nn::layers::linear_map::LinearMap::transpose(self, shapes, gy, gx);
                }
                Ok(())
            }

            fn tangent(
                &self,
                at: $crate::nn::Pass<'_, T>,
                _was: $crate::nn::Forward<'_, T>,
                tangents: $crate::nn::Tangents<'_, T>,
                dy: &mut [T],
            ) -> $crate::error::Result<()> {
                match tangents.x {
                    Some(dx) => {
                        let shapes = $crate::nn::layers::linear_map::shapes(&at);
                        $crate::nn::layers::linear_map::LinearMap::apply(self, shapes, dx, dy);
                    }
                    None => dy.fill(T::of(0.0)),
                }
                Ok(())
            }

            fn backward_tangent(
                &self,
                at: $crate::nn::Pass<'_, T>,
                was: $crate::nn::Forward<'_, T>,
                _tangents: $crate::nn::Tangents<'_, T>,
                (_gy, dgy): (&[T], &[T]),
                dgrads: $crate::nn::Parts<'_, T>,
                dgx: Option<&mut [T]>,
            ) -> $crate::error::Result<()> {
                self.backward(at, was, dgy, dgrads, dgx)
            }
        }
    };
}
pub(super) use linear_map;

/// The shapes of a pass.
pub(super) fn shapes<'a, T>(at: &crate::nn::Pass<'a, T>) -> Shapes<'a> {
    Shapes {
        input: at.input,
        output: at.output,
    }
}
