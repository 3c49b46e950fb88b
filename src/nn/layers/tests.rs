//! Every pass of layers against central differences.

use candle_core::{Device, Tensor};

use super::*;
use crate::error::Result;
use crate::nn::{
    Buffer, Forward, Layer, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents, Weights,
};
use crate::tensor::rng::Key;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Key::new(seed).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn buffers(values: &[Vec<f64>]) -> Result<Vec<Buffer<f64>>> {
    let buffer = |v: &Vec<f64>| Buffer::new(&Tensor::from_slice(v, (1, v.len()), &Device::Cpu)?);
    values.iter().map(buffer).collect()
}

/// Parameters and input, or their tangents or gradients.
#[derive(Clone)]
struct Point {
    params: Vec<Vec<f64>>,
    x: Vec<f64>,
}

impl Point {
    fn moved(&self, by: &Self, h: f64) -> Self {
        let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + h * b).collect();
        Self {
            params: self
                .params
                .iter()
                .zip(&by.params)
                .map(|(a, b)| add(a, b))
                .collect(),
            x: add(&self.x, &by.x),
        }
    }

    fn all(&self) -> Vec<f64> {
        [self.params.concat(), self.x.clone()].concat()
    }
}

struct Case<'a> {
    layer: &'a dyn Layer,
    batch: usize,
    input: &'a [usize],
    output: Vec<usize>,
    multipliers: Vec<f64>,
    training: bool,
}

impl Case<'_> {
    fn passes(&self) -> &dyn Passes<f64> {
        self.layer
    }

    fn run<R>(
        &self,
        at: &Point,
        f: impl FnOnce(Pass<'_, f64>, Forward<'_, f64>) -> Result<R>,
    ) -> Result<R> {
        let params = buffers(&at.params)?;
        let pass = Pass {
            batch: self.batch,
            input: self.input,
            output: &self.output,
            params: Weights {
                buffers: &params,
                multipliers: &self.multipliers,
                member: 0,
            },
            x: &at.x,
            panels: None,
            training: self.training,
            noise: None,
        };
        let mut y = vec![f64::NAN; self.batch * self.output.iter().product::<usize>()];
        let mut saved = vec![f64::NAN; self.layer.saved(self.batch, self.input)];
        self.passes().forward(pass, &mut y, &mut saved)?;
        f(
            pass,
            Forward {
                y: &y,
                saved: &saved,
            },
        )
    }

    fn forward(&self, at: &Point) -> Result<Vec<f64>> {
        self.run(at, |_, was| Ok(was.y.to_vec()))
    }

    /// Runs a pass that writes gradients.
    fn gradients(
        &self,
        at: &Point,
        f: impl FnOnce(Pass<'_, f64>, Forward<'_, f64>, Parts<'_, f64>, &mut [f64]) -> Result<()>,
    ) -> Result<Point> {
        self.run(at, |pass, was| {
            let nan = |v: &Vec<f64>| vec![f64::NAN; v.len()];
            let to = buffers(&at.params.iter().map(nan).collect::<Vec<_>>())?;
            let mut x = nan(&at.x);
            // SAFETY: nobody else uses them
            f(pass, was, unsafe { Parts::new(&to, 0) }, &mut x)?;
            // SAFETY: as above
            let params = to.iter().map(|b| unsafe { b.of(0) }.to_vec()).collect();
            Ok(Point { params, x })
        })
    }

    fn backward(&self, at: &Point, gy: &[f64]) -> Result<Point> {
        self.gradients(at, |pass, was, grads, gx| {
            self.passes().backward(pass, was, gy, grads, Some(gx))
        })
    }
}

fn close(name: &str, found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (a - b).abs() < 2e-7 * (1.0 + b.abs()),
            "{name} [{i}]: {a} {b}"
        );
    }
}

fn bound<'a>(
    params: &'a [Buffer<f64>],
    multipliers: &'a [f64],
    x: Option<&'a [f64]>,
) -> Tangents<'a, f64> {
    let params = Weights {
        buffers: params,
        multipliers,
        member: 0,
    };
    Tangents { params, x }
}

/// A value of a parameter.
fn start(param: &ParamSpec, seed: u64) -> Vec<f64> {
    let mut values = numbers(seed, param.shape.iter().product());
    if param.kind == ParamKind::RunningVar {
        values.iter_mut().for_each(|v| *v = v.exp());
    }
    values
}

/// A direction; what is not trained does not move.
fn direction(param: &ParamSpec, seed: u64) -> Vec<f64> {
    let moves = if param.kind.is_trained() { 1.0 } else { 0.0 };
    let values = numbers(seed, param.shape.iter().product());
    values.into_iter().map(|v| moves * v).collect()
}

/// Compares every pass of a layer, in training and outside, with differences.
fn check(layer: &dyn Layer, batch: usize, input: &[usize]) -> Result<()> {
    [true, false]
        .into_iter()
        .try_for_each(|training| check_in(training, layer, batch, input))
}

fn check_in(training: bool, layer: &dyn Layer, batch: usize, input: &[usize]) -> Result<()> {
    let name = format!(
        "{} {:?} {input:?}, training: {training}",
        layer.kind(),
        layer.settings()
    );
    let output = layer.output_shape(input)?;
    let params = layer.params(input);
    let outputs = batch * output.iter().product::<usize>();
    let point = |seed: u64, of: fn(&ParamSpec, u64) -> Vec<f64>| Point {
        params: params
            .iter()
            .zip(seed..)
            .map(|(p, seed)| of(p, seed))
            .collect(),
        x: numbers(seed + 10, batch * input.iter().product::<usize>()),
    };
    let multiplier = |(i, p): (usize, &ParamSpec)| match p.kind.is_trained() {
        true => 0.7 - 0.4 * i as f64,
        false => 1.0,
    };
    let case = Case {
        layer,
        batch,
        input,
        output,
        multipliers: params.iter().enumerate().map(multiplier).collect(),
        training,
    };
    let (at, d) = (point(100, start), point(200, direction));
    let (gy, dgy) = (numbers(1, outputs), numbers(2, outputs));
    let h = 1e-6;
    let (up, down) = (at.moved(&d, h), at.moved(&d, -h));
    let slope = |up: Vec<f64>, down: Vec<f64>| -> Vec<f64> {
        up.iter()
            .zip(&down)
            .map(|(u, d)| (u - d) / (2.0 * h))
            .collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();

    let wanted = slope(case.forward(&up)?, case.forward(&down)?);
    let tangents = buffers(&d.params)?;
    let tangent = |x: Option<&[f64]>| {
        case.run(&at, |pass, was| {
            let mut dy = vec![f64::NAN; outputs];
            case.passes()
                .tangent(pass, was, bound(&tangents, &case.multipliers, x), &mut dy)?;
            Ok(dy)
        })
    };
    close(&format!("{name} tangent"), &tangent(Some(&d.x))?, &wanted);
    let grads = case.backward(&at, &gy)?;
    let found = dot(&grads.all(), &d.all());
    close(&format!("{name} backward"), &[found], &[dot(&gy, &wanted)]);

    let moved =
        |sign: f64| -> Vec<f64> { gy.iter().zip(&dgy).map(|(g, d)| g + sign * h * d).collect() };
    let wanted = slope(
        case.backward(&up, &moved(1.0))?.all(),
        case.backward(&down, &moved(-1.0))?.all(),
    );
    let second = |x: Option<&[f64]>| {
        case.gradients(&at, |pass, was, to, gx| {
            case.passes().backward_tangent(
                pass,
                was,
                bound(&tangents, &case.multipliers, x),
                (&gy, &dgy),
                to,
                Some(gx),
            )
        })
    };
    close(
        &format!("{name} backward tangent"),
        &second(Some(&d.x))?.all(),
        &wanted,
    );
    // an input that does not move is one that moves by 0
    let still = vec![0.0; d.x.len()];
    close(&name, &tangent(None)?, &tangent(Some(&still))?);
    close(&name, &second(None)?.all(), &second(Some(&still))?.all());
    Ok(())
}

#[test]
fn passes_equal_central_differences() -> Result<()> {
    let conv = Conv2d {
        bias: true,
        ..Conv2d::square(4, 3, 1)
    };
    check(&conv, 2, &[3, 5, 4])?;
    check(&conv, 9, &[8, 3, 3])?;
    check(
        &Conv2d {
            bias: false,
            ..conv
        },
        1,
        &[2, 1, 1],
    )?;
    check(
        &Conv2d {
            stride: [2, 3],
            kernel: [3, 2],
            padding: [2, 0],
            ..conv
        },
        3,
        &[2, 6, 7],
    )?;
    check(&Conv2d { groups: 2, ..conv }, 2, &[6, 4, 3])?;
    check(
        &Conv2d {
            kernel: [1, 1],
            padding: [0, 0],
            ..conv
        },
        3,
        &[5, 2, 3],
    )?;
    for relu in [false, true] {
        for (groups, input) in [(2, &[4, 3, 5][..]), (1, &[3, 2, 2]), (3, &[6])] {
            check(
                &GroupNorm {
                    relu,
                    eps: 1e-2,
                    ..GroupNorm::new(groups)
                },
                3,
                input,
            )?;
        }
    }
    for pooling in [
        Pooling::Max,
        Pooling::Average { count_border: true },
        Pooling::Average {
            count_border: false,
        },
    ] {
        let pool = Pool2d {
            pooling,
            kernel: [3, 2],
            stride: [2, 1],
            padding: [1, 1],
        };
        check(&pool, 2, &[2, 7, 5])?;
        check(
            &Pool2d {
                stride: [3, 2],
                padding: [0, 0],
                ..pool
            },
            2,
            &[3, 7, 5],
        )?;
    }
    check(&GlobalAvgPool, 2, &[3, 4, 5])?;
    for activation in Activation::ALL {
        check(&Glu { activation }, 3, &[4, 6])?;
    }
    check(&Patches { size: [2, 3] }, 2, &[3, 4, 6])?;
    for (batch, input) in [(3, [4, 5]), (1, [1, 1]), (2, [7, 2])] {
        check(&ClassToken, batch, &input)?;
        check(&PositionPool::First, batch, &input)?;
        check(&PositionPool::Mean, batch, &input)?;
    }
    for (head_size, input) in [(4, [5, 24]), (3, [1, 9]), (1, [2, 12])] {
        let eps = 1e-2;
        check(&QkNorm { head_size, eps }, 3, &input)?;
    }
    for (batch, input) in [(3, &[5][..]), (1, &[2, 1]), (2, &[3, 40]), (4, &[1])] {
        check(&LayerNorm { eps: 1e-2 }, batch, input)?;
        check(&RmsNorm { eps: 1e-2 }, batch, input)?;
    }
    for relu in [false, true] {
        let norm = BatchNorm {
            eps: 1e-2,
            relu,
            ..BatchNorm::default()
        };
        for (batch, input) in [
            (3, &[4, 3, 5][..]),
            (5, &[3]),
            (1, &[2, 7]),
            (2, &[1, 9, 5]),
        ] {
            check(&norm, batch, input)?;
        }
    }
    Ok(())
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let refused = |layer: &dyn Layer, input: &[usize]| {
        assert!(layer.output_shape(input).is_err(), "{input:?}")
    };
    let conv = Conv2d::square(4, 3, 1);
    refused(&conv, &[3, 5]);
    refused(
        &Conv2d {
            padding: [0, 0],
            ..conv
        },
        &[3, 2, 5],
    );
    refused(&Conv2d { groups: 2, ..conv }, &[3, 5, 5]);
    refused(&GroupNorm::new(3), &[4, 2, 2]);
    refused(&GroupNorm::new(0), &[4, 2, 2]);
    refused(&GlobalAvgPool, &[]);
    let activation = Activation::Silu;
    refused(&Glu { activation }, &[4, 5]);
    refused(&Glu { activation }, &[]);
    refused(&Patches { size: [4, 4] }, &[3, 6, 8]);
    refused(&Patches { size: [0, 4] }, &[3, 8, 8]);
    refused(&Patches { size: [4, 4] }, &[8, 8]);
    refused(&ClassToken, &[5]);
    refused(&PositionPool::First, &[0, 5]);
    refused(&PositionPool::Mean, &[5]);
    let (head_size, eps) = (4, 1e-6);
    refused(&QkNorm { head_size, eps }, &[5, 16]);
    refused(&LayerNorm::default(), &[]);
    refused(&RmsNorm::default(), &[]);
    refused(&BatchNorm::default(), &[]);
    refused(&BatchNorm::default(), &[0, 3]);
    let pool = Pool2d {
        pooling: Pooling::Max,
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
    };
    refused(&pool, &[1, 1, 4]);
    refused(
        &Pool2d {
            padding: [2, 0],
            ..pool
        },
        &[1, 4, 4],
    );
    refused(
        &Pool2d {
            stride: [0, 1],
            ..pool
        },
        &[1, 4, 4],
    );
}

#[test]
fn a_maximum_of_nan_is_nan() {
    let s = crate::tensor::pool::Sizes {
        planes: 1,
        image: [1, 4],
        kernel: [1, 2],
        stride: [1, 2],
        padding: [0, 0],
    };
    let (mut y, mut places) = ([0.0; 2], [0.0; 2]);
    crate::tensor::pool::max(&s, &[1.0, f64::NAN, 3.0, 2.0], &mut y, &mut places);
    assert!(y[0].is_nan() && y[1] == 3.0 && places == [1.0, 2.0]);
}
