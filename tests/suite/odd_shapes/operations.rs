//! The table of operations.

use candle_core::{D, Device, Tensor, Var};
use widthwise::error::Result;
use widthwise::tensor::activation::{self, Activation};
use widthwise::tensor::attention::{self, Heads, Was};
use widthwise::tensor::batch_norm::{BatchNorm, Moments};
use widthwise::tensor::elem::{Elem, to_f64};
use widthwise::tensor::group_norm::{self, GroupNorm};
use widthwise::tensor::linear::{self, Scaled};
use widthwise::tensor::loss::{cross_entropy, mse};
use widthwise::tensor::matmul::{Matrix, matmul};
use widthwise::tensor::rope::{Angles, Pairs, rotate};
use widthwise::tensor::update::{Adam, Sgd};
use widthwise::tensor::{channel_bias, conv, elementwise, embedding, gram, layer_norm, pool};

use super::{Lengths, Operation};

const EPS: f64 = 1e-2;

/// A line of the table.
macro_rules! operation {
    ($name:literal, $least:literal, $inputs:expr, $run:ident, $plain:ident) => {
        Operation {
            name: $name,
            least: $least,
            inputs: $inputs,
            single: $run::<f32>,
            double: $run::<f64>,
            plain: $plain,
        }
    };
}

/// Every operation.
pub fn all() -> Vec<Operation> {
    vec![
        operation!(
            "matmul",
            0,
            |l| vec![vec![l.n, l.a], vec![l.b, l.a]],
            product,
            plain_product
        ),
        operation!(
            "linear",
            0,
            |l| vec![vec![l.n, l.a], vec![l.a, l.b], vec![l.b], vec![l.n, l.b]],
            linear_layer,
            plain_linear
        ),
        operation!(
            "activation",
            0,
            |l| vec![vec![l.n, l.a]; 2],
            activations,
            plain_activations
        ),
        operation!(
            "cross_entropy",
            1,
            |l| vec![vec![l.n, l.a]],
            entropy,
            plain_entropy
        ),
        operation!(
            "mse",
            1,
            |l| vec![vec![l.n, l.a]; 2],
            squares,
            plain_squares
        ),
        operation!(
            "layer_norm",
            0,
            |l| vec![vec![l.n, l.a], vec![l.a], vec![l.a], vec![l.n, l.a]],
            layer,
            plain_layer
        ),
        operation!("group_norm", 0, grouped_inputs, group, plain_group),
        operation!("batch_norm", 0, channel_inputs, batch, plain_batch),
        operation!("channel_bias", 0, channel_inputs, bias, plain_bias),
        operation!(
            "embedding",
            0,
            |l| vec![vec![l.b, l.a], vec![l.n, l.a]],
            rows,
            plain_rows
        ),
        operation!(
            "positions",
            0,
            |l| vec![vec![l.n, l.c, l.a], vec![l.c + 1, l.a], vec![l.n, l.c, l.a]],
            positions,
            plain_positions
        ),
        operation!(
            "rope",
            0,
            |l| vec![vec![l.n, l.b, 3, l.c, 2 * half(l)]],
            turned,
            plain_turned
        ),
        operation!("attention", 0, attention_inputs, attend, plain_attend),
        operation!("conv", 0, conv_inputs, convolve, plain_convolve),
        operation!("pool", 0, pool_inputs, pooled, plain_pooled),
        operation!("gram", 0, |l| vec![vec![l.n, l.a]], kernel, plain_kernel),
        operation!(
            "elementwise",
            0,
            |l| vec![vec![l.n, l.a]; 2],
            simple,
            plain_simple
        ),
        operation!(
            "update",
            0,
            |l| vec![vec![l.n, l.a]; 4],
            updated,
            plain_updated
        ),
    ]
}

fn blank<T: Elem>(count: usize) -> Vec<T> {
    vec![T::of(f64::NAN); count]
}

fn scaled<T>(value: &[T], multiplier: f64) -> Scaled<'_, T> {
    Scaled { value, multiplier }
}

fn vars(inputs: &[Tensor]) -> Result<Vec<Var>> {
    inputs.iter().map(|t| Ok(Var::from_tensor(t)?)).collect()
}

/// `y`, and the gradients of `Σ y · gy` with respect to `vars`.
fn with_gradients(y: &Tensor, gy: &Tensor, vars: &[&Var]) -> Result<Vec<Tensor>> {
    let gradients = (y * gy)?.sum_all()?.backward()?;
    let of = |v: &&Var| match gradients.get(v) {
        Some(gradient) => Ok(gradient.clone()),
        None => Ok(v.zeros_like()?),
    };
    let found = vars.iter().map(of).collect::<Result<Vec<_>>>()?;
    Ok([vec![y.clone()], found].concat())
}

fn product<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut y = blank(l.n * l.b);
    let (left, right) = (Matrix::row_major(&x[0], l.a), Matrix::row_major(&x[1], l.a));
    matmul(
        &mut y,
        (l.n, l.b, l.a),
        T::of(0.5),
        left,
        right.transposed(),
    );
    vec![y]
}

fn plain_product(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(vec![(x[0].matmul(&x[1].t()?)? * 0.5)?])
}

fn linear_layer<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let s = linear::Sizes {
        rows: l.n,
        inputs: l.a,
        outputs: l.b,
    };
    let [x, w, b, gy] = [0, 1, 2, 3].map(|i| &x[i][..]);
    let [mut y, mut gx, mut gw, mut gb] = [l.n * l.b, l.n * l.a, l.a * l.b, l.b].map(blank);
    linear::product(s, x.into(), scaled(w, 0.5), &mut y, false);
    linear::add_bias(s, scaled(b, 2.0), &mut y);
    linear::input_gradient(s, gy, scaled(w, 0.5), &mut gx, false);
    linear::weight_gradient(s, x.into(), gy, 0.5, &mut gw, false);
    linear::bias_gradient(s, gy, 2.0, &mut gb);
    vec![y, gx, gw, gb]
}

fn plain_linear(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[..3])?;
    let y = (v[0].matmul(&v[1])? * 0.5)?.broadcast_add(&(v[2].as_tensor() * 2.0)?)?;
    with_gradients(&y, &x[3], &[&v[0], &v[1], &v[2]])
}

fn activations<T: Elem>(_: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let both = |a: Activation| {
        let [mut y, mut gx] = [x[0].len(); 2].map(blank);
        activation::forward(a, &x[0], &mut y);
        activation::backward(a, &x[0], &x[1], &mut gx);
        [y, gx]
    };
    Activation::ALL.into_iter().flat_map(both).collect()
}

fn plain_activations(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut found = Vec::new();
    for a in Activation::ALL {
        let var = Var::from_tensor(&x[0])?;
        let t = var.as_tensor();
        let gate = |z: Tensor| -> Result<Tensor> { Ok(((z + 1.0)? * 0.5)?.mul(t)?) };
        let y = match a {
            Activation::Relu => t.relu()?,
            Activation::Gelu => gate((t * 0.5f64.sqrt())?.erf()?)?,
            Activation::GeluTanh => {
                let inner = (t + (t.powf(3.0)? * 0.044715)?)?;
                gate((inner * (2.0 / std::f64::consts::PI).sqrt())?.tanh()?)?
            }
            Activation::Tanh => t.tanh()?,
            Activation::Erf => t.erf()?,
            Activation::Silu => (t / (t.neg()?.exp()? + 1.0)?)?,
            Activation::Identity => t.affine(1.0, 0.0)?,
            Activation::Quadratic => t.sqr()?,
        };
        found.extend(with_gradients(&y, &x[1], &[&var])?);
    }
    Ok(found)
}

/// A class for every row.
fn class(l: Lengths, row: usize) -> u32 {
    ((7 * row + 3) % l.a) as u32
}

fn entropy<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let classes: Vec<u32> = (0..l.n).map(|i| class(l, i)).collect();
    let mut gradient = blank(l.n * l.a);
    let loss = cross_entropy::forward(&x[0], l.a, &classes, Some(&mut gradient));
    vec![vec![T::of(loss)], gradient]
}

fn plain_entropy(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(x)?;
    let classes: Vec<u32> = (0..l.n).map(|i| class(l, i)).collect();
    let classes = Tensor::from_vec(classes, (l.n, 1), &Device::Cpu)?;
    let logs = candle_nn::ops::log_softmax(&v[0], D::Minus1)?;
    let loss = logs.gather(&classes, 1)?.mean_all()?.neg()?;
    with_gradients(&loss, &loss.ones_like()?, &[&v[0]])
}

fn squares<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let targets: Vec<f64> = x[1].iter().map(|x| x.f64()).collect();
    let mut gradient = blank(l.n * l.a);
    let loss = mse::forward(&x[0], &targets, Some(&mut gradient));
    vec![vec![T::of(loss)], gradient]
}

fn plain_squares(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[..1])?;
    let loss = (v[0].as_tensor() - &x[1])?.sqr()?.mean_all()?;
    with_gradients(&loss, &loss.ones_like()?, &[&v[0]])
}

fn layer<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let [mut y, mut gx] = [l.n * l.a; 2].map(blank);
    let ([mut gain, mut bias], mut saved) = ([l.a; 2].map(blank), blank(2 * l.n));
    let (by, to) = (scaled(&x[1], 0.5), scaled(&x[2], 2.0));
    layer_norm::forward::<T, true>(&x[0], by, to, EPS, &mut y, &mut saved);
    let gradients = layer_norm::Gradients {
        gain: &mut gain,
        bias: &mut bias,
        input: Some(&mut gx),
    };
    layer_norm::backward::<T, true>(&x[0], by, 2.0, &saved, &x[3], gradients);
    vec![y, gx, gain, bias]
}

/// `(x − mean) / √(var + eps)` over the last axis.
fn normalised(x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(centred.broadcast_div(&(var + EPS)?.sqrt()?)?)
}

fn plain_layer(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[..3])?;
    let y = normalised(&v[0])?
        .broadcast_mul(&(v[1].as_tensor() * 0.5)?)?
        .broadcast_add(&(v[2].as_tensor() * 2.0)?)?;
    with_gradients(&y, &x[3], &[&v[0], &v[1], &v[2]])
}

fn channels(l: Lengths) -> usize {
    l.c * (l.b % 3 + 1)
}

fn grouped_inputs(l: Lengths) -> Vec<Vec<usize>> {
    let x = vec![l.n, channels(l), l.a];
    vec![x.clone(), vec![channels(l)], vec![channels(l)], x]
}

fn group<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let sizes = group_norm::Sizes {
        batch: l.n,
        channels: channels(l),
        pixels: l.a,
        groups: l.c,
    };
    let one = |relu: bool| {
        let norm = GroupNorm {
            sizes,
            gain: scaled(&x[1], 0.5),
            shift: scaled(&x[2], 2.0),
            eps: EPS,
            relu,
        };
        let [mut y, mut gx] = [x[0].len(); 2].map(blank);
        let ([mut gain, mut shift], mut saved) =
            ([sizes.channels; 2].map(blank), blank(sizes.saved()));
        norm.forward(&x[0], &mut y, &mut saved);
        let to = group_norm::Gradients {
            gain: &mut gain,
            shift: &mut shift,
            input: Some(&mut gx),
        };
        norm.backward(&x[0], &saved, &x[3], to);
        [y, gx, gain, shift]
    };
    [false, true].into_iter().flat_map(one).collect()
}

fn plain_group(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut found = Vec::new();
    for relu in [false, true] {
        let v = vars(&x[..3])?;
        let blocks = v[0].reshape((l.n, l.c, ()))?;
        let normalised = normalised(&blocks)?.reshape(v[0].shape())?;
        let column = |v: &Var, by: f64| v.unsqueeze(1)? * by;
        let y = normalised
            .broadcast_mul(&column(&v[1], 0.5)?)?
            .broadcast_add(&column(&v[2], 2.0)?)?;
        let y = if relu { y.relu()? } else { y };
        found.extend(with_gradients(&y, &x[3], &[&v[0], &v[1], &v[2]])?);
    }
    Ok(found)
}

fn channel_inputs(l: Lengths) -> Vec<Vec<usize>> {
    let x = vec![l.n, l.b, l.a];
    vec![x.clone(), vec![l.b], vec![l.b], x]
}

fn batch<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let norm = BatchNorm {
        sizes: group_norm::Sizes {
            batch: l.n,
            channels: l.b,
            pixels: l.a,
            groups: 1,
        },
        gain: scaled(&x[1], 0.5),
        shift: scaled(&x[2], 2.0),
        eps: EPS,
        relu: false,
    };
    let [mut y, mut gx] = [x[0].len(); 2].map(blank);
    let [mut gain, mut shift, mut mean, mut var] = [l.b; 4].map(blank);
    norm.moments(&x[0], &mut mean, &mut var);
    let moments = Moments {
        mean: &mean,
        var: &var,
        own: true,
    };
    norm.forward(&x[0], moments, &mut y);
    let to = group_norm::Gradients {
        gain: &mut gain,
        shift: &mut shift,
        input: Some(&mut gx),
    };
    norm.backward(&x[0], moments, &x[3], to);
    vec![y, gx, gain, shift]
}

fn plain_batch(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[..3])?;
    let rows = v[0].transpose(0, 1)?.reshape((l.b, l.n * l.a))?;
    let column = |v: &Var, by: f64| v.unsqueeze(1)? * by;
    let y = normalised(&rows)?
        .broadcast_mul(&column(&v[1], 0.5)?)?
        .broadcast_add(&column(&v[2], 2.0)?)?;
    let y = y.reshape((l.b, l.n, l.a))?.transpose(0, 1)?;
    with_gradients(&y.contiguous()?, &x[3], &[&v[0], &v[1], &v[2]])
}

fn bias<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let (mut y, mut gb) = (x[0].clone(), blank(l.b));
    channel_bias::add_bias(l.a, scaled(&x[1], 2.0), &mut y);
    channel_bias::bias_gradient(l.a, &x[3], 2.0, &mut gb);
    vec![y, gb]
}

fn plain_bias(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[1..2])?;
    let y = x[0].broadcast_add(&(v[0].unsqueeze(1)? * 2.0)?)?;
    with_gradients(&y, &x[3], &[&v[0]])
}

/// A token for every row.
fn token(l: Lengths, row: usize) -> usize {
    (5 * row + 2) % l.b
}

fn rows<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let tokens: Vec<T> = (0..l.n).map(|i| T::of(token(l, i) as f64)).collect();
    let (mut y, mut table) = (blank(l.n * l.a), blank(l.b * l.a));
    embedding::forward(&tokens, 1, scaled(&x[0], 0.5), l.a, &mut y).unwrap();
    embedding::gradient(&tokens, &x[1], l.a, 0.5, &mut table);
    vec![y, table]
}

fn plain_rows(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[..1])?;
    let tokens: Vec<u32> = (0..l.n).map(|i| token(l, i) as u32).collect();
    let tokens = Tensor::from_vec(tokens, l.n, &Device::Cpu)?;
    let y = (v[0].index_select(&tokens, 0)? * 0.5)?;
    with_gradients(&y, &x[1], &[&v[0]])
}

fn positions<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let (mut y, mut table) = (blank(x[0].len()), blank(x[1].len()));
    embedding::add_positions(&x[0], scaled(&x[1], 0.5), l.c * l.a, &mut y);
    embedding::positions_gradient(&x[2], 0.5, l.c * l.a, &mut table);
    vec![y, table]
}

fn plain_positions(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let v = vars(&x[1..2])?;
    let y = x[0].broadcast_add(&(v[0].narrow(0, 0, l.c)? * 0.5)?)?;
    with_gradients(&y, &x[2], &[&v[0]])
}

/// Pairs of channels of a head.
fn half(l: Lengths) -> usize {
    l.a % 5 + 1
}

fn turned<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let size = 2 * half(l);
    let angles = Angles::new(l.b, size, 50.0);
    let mut found = Vec::new();
    for pairs in [Pairs::Adjacent, Pairs::Halves] {
        for back in [false, true] {
            let mut y = blank(x[0].len());
            rotate(&x[0], &angles, pairs, (l.b, l.c * size), back, &mut y);
            found.push(y);
        }
    }
    found
}

fn plain_turned(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let size = half(l);
    let angle = |t: usize, i: usize| t as f64 * 50f64.powf(-(i as f64) / size as f64);
    let angles: Vec<f64> = (0..l.b)
        .flat_map(|t| (0..size).map(move |i| angle(t, i)))
        .collect();
    let angles = Tensor::from_vec(angles, (l.b, 1, 1, size), &Device::Cpu)?;
    let mut found = Vec::new();
    for adjacent in [true, false] {
        for back in [false, true] {
            let (cos, mut sin) = (angles.cos()?, angles.sin()?);
            if back {
                sin = sin.neg()?;
            }
            let shape = (l.n, l.b, 3, l.c);
            let (first, second, axis) = if adjacent { (size, 2, 5) } else { (2, size, 4) };
            let pairs = x[0].reshape((shape.0, shape.1, shape.2, shape.3, first, second))?;
            let (a, b) = (
                pairs.narrow(axis, 0, 1)?.squeeze(axis)?,
                pairs.narrow(axis, 1, 1)?.squeeze(axis)?,
            );
            let y = Tensor::stack(
                &[
                    (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?,
                    (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?,
                ],
                axis,
            )?;
            let y = y.reshape(x[0].shape())?;
            let kept = x[0].narrow(2, 2, 1)?;
            found.push(Tensor::cat(&[y.narrow(2, 0, 2)?, kept], 2)?);
        }
    }
    Ok(found)
}

fn attention_sizes(l: Lengths) -> attention::Sizes {
    let head_size = l.a % 9 + 1;
    attention::Sizes {
        batch: l.n,
        positions: l.b,
        heads: l.c,
        head_size,
        causal: l.b % 2 == 1,
        scale: 0.7 / (head_size as f64).sqrt(),
    }
}

fn attention_inputs(l: Lengths) -> Vec<Vec<usize>> {
    let s = attention_sizes(l);
    vec![
        vec![s.batch, s.positions, 3, s.heads, s.head_size],
        vec![s.batch, s.positions, s.heads, s.head_size],
    ]
}

fn attend<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let s = attention_sizes(l);
    let (mut y, mut saved, mut gx) = (blank(s.numbers()), blank(s.saved()), blank(x[0].len()));
    attention::forward(s, Heads::fused(&s, &x[0]), &mut y, &mut saved);
    let was = Was {
        y: &y,
        saved: &saved,
        gy: &x[1],
    };
    attention::backward(s, Heads::fused(&s, &x[0]), was, &mut gx);
    vec![y, gx]
}

fn plain_attend(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let s = attention_sizes(l);
    let v = vars(&x[..1])?;
    let part = |i: usize| -> Result<Tensor> {
        let part = v[0].narrow(2, i, 1)?.squeeze(2)?;
        Ok(part.transpose(1, 2)?.contiguous()?)
    };
    let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
    let mut scores = (queries.matmul(&keys.transpose(2, 3)?.contiguous()?)? * s.scale)?;
    if s.causal {
        let hidden = |i: usize| (0..l.b).map(move |j| if j > i { -1e30 } else { 0.0 });
        let mask: Vec<f64> = (0..l.b).flat_map(hidden).collect();
        scores = scores.broadcast_add(&Tensor::from_vec(mask, (l.b, l.b), &Device::Cpu)?)?;
    }
    let y = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&values)?;
    with_gradients(&y.transpose(1, 2)?.contiguous()?, &x[1], &[&v[0]])
}

fn conv_sizes(l: Lengths) -> conv::Sizes {
    let side = l.a % 9 + 3;
    let step = l.b % 2 + 1;
    conv::Sizes {
        batch: l.n,
        inputs: l.c,
        outputs: l.b % 6 + 1,
        image: [side, side],
        kernel: [3, 3],
        stride: [step, step],
        padding: [1, 1],
        groups: 1,
    }
}

fn conv_inputs(l: Lengths) -> Vec<Vec<usize>> {
    let s = conv_sizes(l);
    // sizes do not depend on the number of examples
    let [height, width] = conv::Sizes { batch: 1, ..s }.output();
    vec![
        vec![s.batch, s.inputs, s.image[0], s.image[1]],
        vec![3, 3, s.inputs, s.outputs],
        vec![s.batch, s.outputs, height, width],
    ]
}

fn convolve<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let s = conv_sizes(l);
    let [mut gx, mut gw, mut y] = [0, 1, 2].map(|i| blank(x[i].len()));
    let by = T::of(0.5);
    conv::forward(&s, &x[0], (&x[1], by), &mut y, false);
    conv::input_gradient(&s, &x[2], (&x[1], by), &mut gx, false);
    conv::weight_gradient(&s, &x[0], &x[2], (&mut gw, by), false);
    vec![y, gx, gw]
}

fn plain_convolve(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let s = conv_sizes(l);
    let v = vars(&x[..2])?;
    let filters = (v[1].permute((3, 2, 0, 1))?.contiguous()? * 0.5)?;
    let y = v[0].conv2d(&filters, s.padding[0], s.stride[0], 1, 1)?;
    with_gradients(&y, &x[2], &[&v[0], &v[1]])
}

fn pool_sizes(l: Lengths) -> pool::Sizes {
    pool::Sizes {
        planes: l.n,
        image: [l.a + 1, l.b + 1],
        kernel: [2, 2 + l.c % 2],
        stride: [l.c % 2 + 1, l.b % 3 + 1],
        padding: [l.a % 2, 1],
    }
}

fn pool_inputs(l: Lengths) -> Vec<Vec<usize>> {
    let s = pool_sizes(l);
    let [height, width] = s.checked_output().unwrap();
    vec![
        vec![s.planes, s.image[0], s.image[1]],
        vec![s.planes, height, width],
        vec![s.planes],
    ]
}

fn pooled<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let s = pool_sizes(l);
    let mut found = Vec::new();
    let [mut y, mut places] = [x[1].len(); 2].map(blank);
    let mut gx = blank(x[0].len());
    pool::max(&s, &x[0], &mut y, &mut places);
    pool::max_gradient(&s, &places, &x[1], &mut gx);
    found.extend([y.clone(), gx.clone()]);
    for border in [false, true] {
        pool::average(&s, border, &x[0], &mut y);
        pool::average_gradient(&s, border, &x[1], &mut gx);
        found.extend([y.clone(), gx.clone()]);
    }
    let (pixels, mut means) = (s.image[0] * s.image[1], blank(l.n));
    pool::mean(pixels, &x[0], &mut means);
    pool::mean_gradient(pixels, &x[2], &mut gx);
    found.extend([means, gx]);
    found
}

/// By loops: candle has no padding here, and its gradients are wrong.
fn plain_pooled(l: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let s = pool_sizes(l);
    let [oh, ow] = s.checked_output().unwrap();
    let [h, w] = s.image;
    let (image, gradient, means) = (to_f64(&x[0])?, to_f64(&x[1])?, to_f64(&x[2])?);
    let mut ys = vec![Vec::new(); 3];
    let mut gxs = vec![vec![0.0; image.len()]; 3];
    for plane in 0..s.planes {
        for o in 0..oh * ow {
            // the window's pixels, and how many places it has with the border
            let (mut pixels, mut all) = (Vec::new(), 0);
            for ky in 0..s.kernel[0] {
                for kx in 0..s.kernel[1] {
                    let row = o / ow * s.stride[0] + ky;
                    let col = o % ow * s.stride[1] + kx;
                    if row < h + 2 * s.padding[0] && col < w + 2 * s.padding[1] {
                        all += 1;
                    }
                    let row = row.checked_sub(s.padding[0]).filter(|&r| r < h);
                    let col = col.checked_sub(s.padding[1]).filter(|&c| c < w);
                    if let (Some(row), Some(col)) = (row, col) {
                        pixels.push((plane * h + row) * w + col);
                    }
                }
            }
            let gy = gradient[plane * oh * ow + o];
            let mut best = pixels[0];
            for &p in &pixels {
                if image[p] > image[best] {
                    best = p;
                }
            }
            ys[0].push(image[best]);
            gxs[0][best] += gy;
            for (i, count) in [(1, pixels.len()), (2, all)] {
                let sum: f64 = pixels.iter().map(|&p| image[p]).sum();
                ys[i].push(sum / count as f64);
                pixels.iter().for_each(|&p| gxs[i][p] += gy / count as f64);
            }
        }
    }
    let tensor = |v: Vec<f64>| -> Result<Tensor> {
        let count = v.len();
        Ok(Tensor::from_vec(v, count, &Device::Cpu)?)
    };
    let mut found = Vec::new();
    for (y, gx) in ys.into_iter().zip(gxs) {
        found.extend([tensor(y)?, tensor(gx)?]);
    }
    found.push(x[0].flatten_from(1)?.mean(1)?);
    let share = |i: usize| means[i / (h * w)] / (h * w) as f64;
    found.push(tensor((0..image.len()).map(share).collect())?);
    Ok(found)
}

fn kernel<T: Elem>(l: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut k = vec![T::of(1.0); l.n * l.n];
    gram::add_gram(&mut k, l.n, &x[0], 0.5);
    gram::mirror(&mut k, l.n);
    vec![k]
}

fn plain_kernel(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(vec![x[0].matmul(&x[0].t()?)?.affine(0.5, 1.0)?])
}

fn simple<T: Elem>(_: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let (a, b) = (&x[0][..], &x[1][..]);
    let mut sum = blank(a.len());
    elementwise::add_scaled(&mut sum, a, b, 0.5);
    let mut copy = blank(a.len());
    elementwise::copy_scaled(&mut copy, a, -0.5);
    let [mut added, mut limited, mut large] = [0; 3].map(|_| a.to_vec());
    elementwise::accumulate(&mut added, b, 2.0);
    elementwise::clamp(&mut limited, 0.5);
    elementwise::scale(&mut large, 3.0);
    let dots = vec![
        T::of(elementwise::dot(a, b)),
        T::of(elementwise::squared_norm(a)),
    ];
    vec![sum, copy, added, limited, large, dots]
}

fn plain_simple(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (a, b) = (&x[0], &x[1]);
    let dots = [(a * b)?.sum_all()?, a.sqr()?.sum_all()?];
    Ok(vec![
        (a + (b * 0.5)?)?,
        (a * -0.5)?,
        (a + (b * 2.0)?)?,
        a.clamp(-0.5, 0.5)?,
        (a * 3.0)?,
        Tensor::stack(&dots, 0)?,
    ])
}

fn updated<T: Elem>(_: Lengths, x: &[Vec<T>]) -> Vec<Vec<T>> {
    let sgd = Sgd {
        lr: 0.3,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 0.1,
    };
    let (mut p, mut v) = (x[0].clone(), x[2].clone());
    sgd.update(&mut p, &x[1], Some(&mut v));
    let mut found = vec![p, v];
    for decoupled in [false, true] {
        let adam = Adam {
            lr: 0.01,
            beta1: 0.8,
            beta2: 0.95,
            eps: 1e-3,
            weight_decay: 0.1,
            decoupled,
            step: 3,
        };
        let (mut p, mut m) = (x[0].clone(), x[2].clone());
        let mut v: Vec<T> = x[3].iter().map(|&x| x * x).collect();
        adam.update(&mut p, &x[1], &mut m, &mut v);
        found.extend([p, m, v]);
    }
    found
}

fn plain_updated(_: Lengths, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let decayed = (&x[1] + (&x[0] * 0.1)?)?;
    let velocity = ((&x[2] * 0.9)? + &decayed)?;
    let moved = (&decayed + (&velocity * 0.9)?)?;
    let mut found = vec![(&x[0] - (moved * 0.3)?)?, velocity];
    for decoupled in [false, true] {
        let g = if decoupled { &x[1] } else { &decayed };
        let m = ((&x[2] * 0.8)? + (g * 0.2)?)?;
        let v = ((x[3].sqr()? * 0.95)? + (g.sqr()? * 0.05)?)?;
        let root = ((&v / (1.0 - 0.95f64.powi(3)))?.sqrt()? + 1e-3)?;
        let step = ((&m / (1.0 - 0.8f64.powi(3)))? / root)?;
        let keep = if decoupled { 1.0 - 0.01 * 0.1 } else { 1.0 };
        found.extend([((&x[0] * keep)? - (step * 0.01)?)?, m, v]);
    }
    Ok(found)
}
