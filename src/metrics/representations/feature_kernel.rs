//! Kernels of features.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::interrupt;
use crate::memory::{self, Need};
use crate::model::{Model, activation};
use crate::tensor::elem::to_f64;
use crate::tensor::gram::{add_gram, mirror};

/// Bytes of features that are held at a time.
const HELD: usize = 1 << 28;

/// How a kernel of features is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelSettings {
    /// Whether the mean over points is subtracted from the features.
    pub centred: bool,
    /// Examples that the network is run on at a time; `None` for a usual number.
    pub minibatch: Option<usize>,
}

/// The kernel `Φ Φᵀ / N` of the N features that each member has at `path`, on `inputs [points, …]`:
/// `[members, points, points]`, in `f64`. Channels at positions all count as features. With `centred` it
/// is `H K H`. The kernel of a member that has diverged is NaN.
///
/// The network is run in minibatches, and only a part of the features of all points is held at a time
/// (256 MB); where they are more, the network is run several times.
///
/// # Errors
/// If there is no such path, the inputs do not fit, or kernels and features do not fit into memory.
pub fn feature_kernel(
    model: &mut Model,
    path: &str,
    inputs: &Tensor,
    settings: KernelSettings,
) -> Result<Tensor> {
    let inputs = model.shaped(inputs)?;
    let points = inputs.dims()[0];
    if points == 0 {
        return Err(no_points());
    }
    let first = model.activation(path, &inputs.narrow(0, 0, 1)?)?;
    let (members, features) = (first.dims()[0], first.elem_count() / first.dims()[0].max(1));
    let room = Room {
        members,
        points,
        features,
        held: HELD,
    };
    room.check()?;
    let at_once = room.at_once(points);
    let mut kernels = memory::numbers::<f64>("feature kernels", &[members, points, points])?;
    let mut held = memory::numbers::<f64>("features", &[members, points, at_once])?;
    let mut finite = vec![true; members];
    for start in (0..features).step_by(at_once) {
        let size = at_once.min(features - start);
        model.visit(&inputs, (path, settings.minibatch), |point, plan| {
            let part = activation(plan, path)?;
            let rows = part.dims()[1];
            let part = to_f64(&part)?;
            for (i, row) in part.chunks_exact(features).enumerate() {
                let (member, point) = (i / rows, point + i % rows);
                let row = &row[start..start + size];
                finite[member] &= row.iter().all(|x| x.is_finite());
                held[(member * points + point) * size..][..size].copy_from_slice(row);
            }
            Ok(())
        })?;
        let each = kernels.chunks_exact_mut(points * points);
        for (kernel, held) in each.zip(held.chunks_exact(points * size)) {
            if interrupt::requested() {
                return Err(Error::interrupted());
            }
            add_gram(kernel, points, held, 1.0 / features as f64);
        }
    }
    drop(held);
    finish(kernels, [members, points], &finite, settings.centred)
}

/// The same of features `[members, points, …]` that are at hand.
///
/// # Errors
/// If there are fewer than three axes, or no number, or kernels do not fit into memory.
pub fn feature_kernel_of(features: &Tensor, centred: bool) -> Result<Tensor> {
    let &[members, points, ref axes @ ..] = features.dims() else {
        return Err(no_features(features));
    };
    let size: usize = axes.iter().product();
    if axes.is_empty() || members * size == 0 {
        return Err(no_features(features));
    }
    if points == 0 {
        return Err(no_points());
    }
    let room = Room {
        members,
        points,
        features: size,
        held: usize::MAX,
    };
    room.check()?;
    let mut kernels = memory::numbers::<f64>("feature kernels", &[members, points, points])?;
    let mut finite = vec![true; members];
    let each = kernels.chunks_exact_mut(points * points);
    for (member, kernel) in each.enumerate() {
        let own = to_f64(&features.narrow(0, member, 1)?)?;
        finite[member] = own.iter().all(|x| x.is_finite());
        add_gram(kernel, points, &own, 1.0 / size as f64);
    }
    finish(kernels, [members, points], &finite, centred)
}

/// Sizes of kernels, and how many bytes of features may be held.
#[derive(Clone, Copy)]
struct Room {
    members: usize,
    points: usize,
    features: usize,
    held: usize,
}

impl Room {
    /// Features that are held at a time, on so many points.
    fn at_once(&self, points: usize) -> usize {
        let each = self.members * points * size_of::<f64>();
        (self.held / each.max(1)).clamp(1, self.features.max(1))
    }

    fn needs(&self, points: usize) -> Vec<Need> {
        let need = |name: &str, shape: &[usize]| Need {
            name: name.to_string(),
            shape: shape.to_vec(),
            number: size_of::<f64>(),
        };
        let at_once = self.at_once(points);
        // those at hand are converted member by member
        let members = if self.held == usize::MAX {
            1
        } else {
            self.members
        };
        vec![
            need("feature kernels", &[self.members, points, points]),
            need("features", &[members, points, at_once]),
            need("features in panels", &[points, at_once]),
        ]
    }

    fn check(&self) -> Result<()> {
        let needs = self.needs(self.points);
        memory::check("a feature kernel", &needs, |available| {
            let bytes = |points| Some(memory::total(&self.needs(points)));
            let fits = memory::largest(self.points, available, bytes);
            let fewer = memory::largest(self.members, available, |members| {
                let room = Self { members, ..*self };
                Some(memory::total(&room.needs(self.points)))
            });
            let points = format!("a kernel on {fits} of {} points would fit", self.points);
            match fewer {
                0 => points,
                fewer => format!("{points}, or one of {fewer} of {} members", self.members),
            }
        })
    }
}

/// Fills the upper triangles, centres, and marks those who have diverged.
fn finish(
    mut kernels: Vec<f64>,
    [members, points]: [usize; 2],
    finite: &[bool],
    centred: bool,
) -> Result<Tensor> {
    for (kernel, finite) in kernels.chunks_exact_mut(points * points).zip(finite) {
        if !finite {
            kernel.fill(f64::NAN);
            continue;
        }
        mirror(kernel, points);
        if centred {
            centre(kernel, points);
        }
    }
    let shape = (members, points, points);
    Ok(Tensor::from_vec(kernels, shape, &Device::Cpu)?)
}

/// `H K H` in place.
fn centre(kernel: &mut [f64], points: usize) {
    let n = points as f64;
    let rows = kernel.chunks_exact(points);
    let means: Vec<f64> = rows.map(|row| row.iter().sum::<f64>() / n).collect();
    let mean = means.iter().sum::<f64>() / n;
    for (row, own) in kernel.chunks_exact_mut(points).zip(&means) {
        for (x, other) in row.iter_mut().zip(&means) {
            *x += mean - own - other;
        }
    }
}

fn no_points() -> Error {
    Error::shape("a feature kernel needs at least one input")
}

fn no_features(features: &Tensor) -> Error {
    Error::shape(format!(
        "feature_kernel: expected features of shape [members, points, …], found {:?}",
        features.dims()
    ))
    .with_help("model.activation(path, inputs) gives features of this shape")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::model::ModelSettings;
    use crate::nn::{Mlp, mlp};
    use crate::parametrization::Sp;
    use crate::reference::{Fixture, assert_close};
    use candle_core::DType;
    use std::sync::Arc;

    fn model(members: u64, dtype: DType) -> Model {
        let network = mlp(Mlp {
            width: 6,
            depth: 3,
            inputs: Some(4),
            outputs: Some(2),
            ..Mlp::default()
        });
        let settings = ModelSettings {
            seeds: (0..members).collect(),
            dtype,
            ..ModelSettings::default()
        };
        Model::new(network, Arc::new(Sp::default()), settings).unwrap()
    }

    #[test]
    fn kernels_are_those_of_numpy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("kernels.{name}"));
        let features = of("features").to_tensor();
        for (name, centred) in [("a", false), ("a_centred", true)] {
            let found = feature_kernel_of(&features, centred).unwrap();
            assert_close(name, &to_f64(&found).unwrap(), &of(name).values, 1e-13);
        }
    }

    #[test]
    fn a_streamed_kernel_is_that_of_the_activation() {
        let mut model = model(3, DType::F32);
        let inputs = testing::normal(1, &[11, 4], 1.0);
        for path in ["layers.0", "layers.1.relu", "flatten"] {
            let features = model.activation(path, &inputs).unwrap();
            for centred in [false, true] {
                let settings = KernelSettings {
                    centred,
                    minibatch: Some(4),
                };
                let found = feature_kernel(&mut model, path, &inputs, settings).unwrap();
                let expected = feature_kernel_of(&features, centred).unwrap();
                let [found, expected] = [found, expected].map(|k| to_f64(&k).unwrap());
                assert_close(path, &found, &expected, 1e-6);
            }
        }
        let error = feature_kernel(
            &mut model,
            "layers.1.rleu",
            &inputs,
            KernelSettings::default(),
        );
        assert!(error.unwrap_err().message.contains("layers.1.relu"));
    }

    #[test]
    fn features_are_held_in_parts() {
        let room = Room {
            members: 1,
            points: 10_000,
            features: 4096,
            held: HELD,
        };
        assert!(room.at_once(10_000) < 4096);
        assert!(memory::total(&room.needs(10_000)) < 1_500_000_000);
        let small = Room { points: 3, ..room };
        assert_eq!(small.at_once(3), 4096);
    }

    #[test]
    fn what_is_too_large_says_what_would_fit() {
        let room = Room {
            members: 2,
            points: 100_000_000,
            features: 8,
            held: HELD,
        };
        let error = room.check().unwrap_err();
        assert!(
            error
                .message
                .starts_with("not enough memory: a feature kernel"),
            "{error}"
        );
        assert!(
            error
                .help
                .unwrap()
                .contains("of 100000000 points would fit")
        );
    }

    #[test]
    fn a_diverged_member_is_nan_alone() {
        let features = testing::spoil(&testing::normal(1, &[2, 3, 4], 1.0), 1, f64::INFINITY);
        let found = to_f64(&feature_kernel_of(&features, true).unwrap()).unwrap();
        assert!(found[..9].iter().all(|x| x.is_finite()));
        assert!(found[9..].iter().all(|x| x.is_nan()));
        let flat = testing::normal(1, &[3, 4], 1.0);
        assert!(feature_kernel_of(&flat, false).is_err());
    }
}
