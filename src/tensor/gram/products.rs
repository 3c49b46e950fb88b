//! Gram matrices of gradients `G_i = X_iᵀ S_i` that are sums over positions: of inputs
//! `X_i [positions, inputs]` and signals `S_i [positions, columns]`, one column for each output of a
//! layer and each output of the network that the signal comes from.
//!
//! There are two ways to their inner products, with costs in multiply-adds that follow from the shapes;
//! the cheaper one is taken:
//! - gradients: every `G_i` is made, then their Gram matrix,
//!   `examples · positions · inputs · columns + pairs · inputs · columns`;
//! - positions: `⟨G_i, G_j⟩ = Σ_{p, q} (X_i X_jᵀ)[p, q] (S_i S_jᵀ)[p, q]`,
//!   `pairs · positions² · (inputs + columns)`, which is less for one position or few of them.
//!
//! Both go over blocks, so that memory is bounded however large examples and networks are.

use std::ops::Range;

use rayon::prelude::*;

use super::{add_gram, mirror};
use crate::tensor::elem::Elem;
use crate::tensor::matmul::{Into, Matrix, matmul_into};

/// Numbers of the gradients, or of the rows, that are made at a time.
const BLOCK: usize = 1 << 23;
/// Positions of all examples whose products with others are made at a time.
const ROWS: usize = 1024;

/// Sizes of the gradients.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Examples.
    pub examples: usize,
    /// Positions that each gradient sums over.
    pub positions: usize,
    /// Inputs at a position.
    pub inputs: usize,
    /// Signals at a position.
    pub columns: usize,
}

impl Shape {
    /// Whether going over pairs of positions costs less than making the gradients.
    fn by_positions(&self) -> bool {
        let [n, p, inputs, columns] =
            [self.examples, self.positions, self.inputs, self.columns].map(|n| n as f64);
        let pairs = n * (n + 1.0) / 2.0;
        let gradients = (n * p + pairs) * inputs * columns;
        pairs * p * p * (inputs + columns) < gradients
    }
}

/// The factors of the gradients.
pub trait Products<T>: Sync {
    /// Sizes.
    fn shape(&self) -> Shape;

    /// The inputs `[examples · positions, inputs]` of some examples: where they are, or written into
    /// `space`. In which order inputs and positions stand is up to the layer.
    fn inputs<'a>(&'a self, examples: Range<usize>, space: &'a mut Vec<T>) -> &'a [T];

    /// Some columns of the signals of some examples, `[examples · positions, columns]`, with positions
    /// in the order of the inputs.
    fn signals<'a>(
        &'a self,
        examples: Range<usize>,
        columns: Range<usize>,
        space: &'a mut Vec<T>,
    ) -> &'a [T];

    /// Writes the sums of an example's signals over positions, `[columns]`; `space` is for the signals.
    fn sums(&self, example: usize, to: &mut [T], space: &mut Vec<T>)
    where
        T: Elem,
    {
        let columns = to.len();
        let signals = self.signals(example..example + 1, 0..columns, space);
        to.fill(T::of(0.0));
        for signals in signals.chunks_exact(columns.max(1)) {
            to.iter_mut().zip(signals).for_each(|(sum, s)| *sum += *s);
        }
    }

    /// Writes some columns of an example's gradient, `inputs · columns` numbers in the same order for
    /// every example.
    fn gradient(&self, example: usize, columns: Range<usize>, to: &mut [T]);
}

/// Adds the inner products of the gradients to the lower triangle of `kernel [examples, examples]`,
/// `scale` times, and to that of `sums` those of the signals' sums over positions (the gradients of
/// a bias).
pub fn add_product_gram<T: Elem>(
    products: &impl Products<T>,
    scale: f64,
    kernel: &mut [T],
    sums: Option<&mut [T]>,
) {
    let shape = products.shape();
    if shape.examples == 0 {
        return;
    }
    if shape.by_positions() {
        return by_positions(products, (BLOCK, ROWS), scale, kernel, sums);
    }
    by_gradients(products, BLOCK, scale, kernel);
    if let Some(sums) = sums {
        add_sums(products, sums);
    }
}

fn by_gradients<T: Elem>(products: &impl Products<T>, block: usize, scale: f64, kernel: &mut [T]) {
    let shape = products.shape();
    let (n, inputs) = (shape.examples, shape.inputs);
    let most = (block / (n * inputs).max(1)).max(1);
    let mut space = Vec::new();
    for columns in blocks(shape.columns, most) {
        let size = inputs * columns.len();
        space.resize(n * size, T::of(0.0));
        space
            .par_chunks_exact_mut(size.max(1))
            .enumerate()
            .for_each(|(i, gradient)| products.gradient(i, columns.clone(), gradient));
        add_gram(kernel, n, &space, scale);
    }
}

/// Parts of `0..n` that are not larger than `most`, nearly equal, and where that is possible of whole
/// vectors.
fn blocks(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    const LANES: usize = 32;
    let equal = n.div_ceil(n.div_ceil(most).max(1)).max(1);
    let whole = equal.next_multiple_of(LANES);
    let size = if whole <= most { whole } else { equal };
    (0..n)
        .step_by(size)
        .map(move |start| start..(start + size).min(n))
}

fn by_positions<T: Elem>(
    products: &impl Products<T>,
    (block, rows): (usize, usize),
    scale: f64,
    kernel: &mut [T],
    mut sums: Option<&mut [T]>,
) {
    let Shape {
        examples: n,
        positions,
        ..
    } = products.shape();
    let per = (rows / positions.max(1)).max(1);
    let tiles: Vec<_> = blocks(n, per).collect();
    for (t, left) in tiles.iter().enumerate() {
        for right in &tiles[..=t] {
            let tile = Tile {
                left: left.clone(),
                right: right.clone(),
                positions,
            };
            let inputs = tile.inner(products, Factor::Inputs, block);
            let signals = tile.inner(products, Factor::Signals, block);
            tile.contract(n, kernel, scale, |at| inputs[at] * signals[at]);
            if let Some(sums) = sums.as_deref_mut() {
                tile.contract(n, sums, 1.0, |at| signals[at]);
            }
        }
    }
}

/// One of the two factors of a gradient.
#[derive(Clone, Copy)]
enum Factor {
    Inputs,
    Signals,
}

/// Two blocks of examples, equal ones or `left` after `right`.
struct Tile {
    left: Range<usize>,
    right: Range<usize>,
    positions: usize,
}

impl Tile {
    /// The inner products of the rows of a factor, `[left · positions, right · positions]`.
    fn inner<T: Elem>(&self, products: &impl Products<T>, factor: Factor, block: usize) -> Vec<T> {
        let shape = products.shape();
        let rows = [&self.left, &self.right].map(|examples| examples.len() * self.positions);
        let (all, most) = match factor {
            Factor::Inputs => (shape.inputs, shape.inputs.max(1)),
            Factor::Signals => (shape.columns, (block / rows[0].max(1)).max(1)),
        };
        let mut to = vec![T::of(0.0); rows[0] * rows[1]];
        let [mut left_space, mut right_space] = [Vec::new(), Vec::new()];
        for columns in blocks(all, most) {
            let width = columns.len();
            let left = of(products, factor, &self.left, &columns, &mut left_space);
            if self.left == self.right {
                add_gram(&mut to, rows[0], left, 1.0);
                continue;
            }
            let right = of(products, factor, &self.right, &columns, &mut right_space);
            let into = Into {
                data: &mut to,
                row_stride: rows[1],
                accumulate: true,
            };
            let (left, right) = (
                Matrix::row_major(left, width),
                Matrix::row_major(right, width).transposed(),
            );
            matmul_into(into, (rows[0], rows[1], width), T::of(1.0), left, right);
        }
        if self.left == self.right && self.positions > 1 {
            mirror(&mut to, rows[0]);
        }
        to
    }

    /// Adds `scale` times the sum of `entry` over the positions of every pair of examples, from the
    /// diagonal down, to `kernel [n, n]`.
    fn contract<T: Elem>(
        &self,
        n: usize,
        kernel: &mut [T],
        scale: f64,
        entry: impl Fn(usize) -> T + Sync,
    ) {
        let (p, stride) = (self.positions, self.right.len() * self.positions);
        let scale = T::of(scale);
        kernel[self.left.start * n..self.left.end * n]
            .par_chunks_exact_mut(n)
            .enumerate()
            .for_each(|(i, row)| {
                let last = self.right.end.min(self.left.start + i + 1);
                for (j, k) in row[self.right.start..last].iter_mut().enumerate() {
                    let mut sum = T::of(0.0);
                    for q in 0..p {
                        let first = (i * p + q) * stride + j * p;
                        for at in first..first + p {
                            sum += entry(at);
                        }
                    }
                    *k += scale * sum;
                }
            });
    }
}

/// Some columns of a factor of some examples.
fn of<'a, T: Elem>(
    products: &'a impl Products<T>,
    factor: Factor,
    examples: &Range<usize>,
    columns: &Range<usize>,
    space: &'a mut Vec<T>,
) -> &'a [T] {
    match factor {
        Factor::Inputs => products.inputs(examples.clone(), space),
        Factor::Signals => products.signals(examples.clone(), columns.clone(), space),
    }
}

/// The Gram matrix of the signals' sums over positions.
fn add_sums<T: Elem>(products: &impl Products<T>, sums: &mut [T]) {
    let shape = products.shape();
    let (n, columns) = (shape.examples, shape.columns);
    let mut rows = vec![T::of(0.0); n * columns];
    rows.par_chunks_exact_mut(columns.max(1))
        .enumerate()
        .for_each_init(Vec::new, |space, (i, row)| products.sums(i, row, space));
    add_gram(sums, n, &rows, 1.0);
}

/// The parts of a range of columns that belong to one output of the network: its number, and which of
/// its `per` columns.
pub fn pieces(columns: Range<usize>, per: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let per = per.max(1);
    (columns.start / per..columns.end.div_ceil(per)).map(move |output| {
        let first = output * per;
        let end = (columns.end - first).min(per);
        (output, columns.start.saturating_sub(first)..end)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Rows;
    use super::*;
    use crate::tensor::conv::{Patches, Sizes};
    use crate::tensor::rng::Key;

    fn numbers(seed: u64, n: usize) -> Vec<f64> {
        let mut rng = Key::new(seed).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    /// Both ways against gradients that the test makes, `[examples][numbers]`, and their bias's.
    fn check(
        products: &impl Products<f64>,
        gradients: &[Vec<f64>],
        sums: &[Vec<f64>],
        block: usize,
    ) {
        let n = gradients.len();
        let inner = |rows: &[Vec<f64>], i: usize, j: usize| {
            let pairs = rows[i].iter().zip(&rows[j]);
            pairs.map(|(a, b)| a * b).sum::<f64>()
        };
        let compare = |way: &str, kernel: &[f64], rows: &[Vec<f64>], scale: f64| {
            for i in 0..n {
                for j in 0..=i {
                    let (found, wanted) = (kernel[i * n + j], 1.0 + scale * inner(rows, i, j));
                    assert!(
                        (found - wanted).abs() < 1e-10 * (1.0 + wanted.abs()),
                        "{way} {block} ({i}, {j}) of {n}: {found} {wanted}"
                    );
                }
            }
        };
        let mut kernel = vec![1.0; n * n];
        by_gradients(products, block, 0.5, &mut kernel);
        compare("gradients", &kernel, gradients, 0.5);
        let mut bias = vec![1.0; n * n];
        add_sums(products, &mut bias);
        compare("sums", &bias, sums, 1.0);
        let (mut kernel, mut bias) = (vec![1.0; n * n], vec![1.0; n * n]);
        let sizes = (block, block / 8 + 1);
        by_positions(products, sizes, 0.5, &mut kernel, Some(&mut bias));
        compare("positions", &kernel, gradients, 0.5);
        compare("sums by positions", &bias, sums, 1.0);
    }

    fn check_rows([n, p, inputs, outputs, channels]: [usize; 5], block: usize) {
        let (x, signals) = (
            numbers(1, n * p * inputs),
            numbers(2, n * outputs * p * channels),
        );
        let (mut gradients, mut sums) = (Vec::new(), Vec::new());
        for i in 0..n {
            let mut gradient = vec![0.0; outputs * inputs * channels];
            let mut sum = vec![0.0; outputs * channels];
            for (o, q) in (0..outputs).flat_map(|o| (0..p).map(move |q| (o, q))) {
                for c in 0..channels {
                    let signal = signals[((i * outputs + o) * p + q) * channels + c];
                    sum[o * channels + c] += signal;
                    for k in 0..inputs {
                        gradient[(o * inputs + k) * channels + c] +=
                            x[(i * p + q) * inputs + k] * signal;
                    }
                }
            }
            gradients.push(gradient);
            sums.push(sum);
        }
        let rows = Rows {
            examples: n,
            positions: p,
            x: &x,
            signals: &signals,
            channels,
        };
        check(&rows, &gradients, &sums, block);
    }

    fn check_patches(sizes: Sizes, outputs: usize, block: usize) {
        let Some([oh, ow]) = sizes.checked_output() else {
            return;
        };
        let s = Sizes { batch: 1, ..sizes };
        let image = s.inputs * s.image[0] * s.image[1];
        let signal = s.outputs * oh * ow;
        let x = numbers(1, sizes.batch * image);
        let signals = numbers(2, sizes.batch * outputs * signal);
        let per = s.outputs / s.groups;
        for group in 0..s.groups {
            let (mut gradients, mut sums) = (Vec::new(), Vec::new());
            for i in 0..sizes.batch {
                let (mut gradient, mut sum) = (Vec::new(), Vec::new());
                for o in 0..outputs {
                    let gy = &signals[(i * outputs + o) * signal..][..signal];
                    let mut gw = vec![0.0; s.fan_in() * s.outputs];
                    let x = &x[i * image..][..image];
                    crate::tensor::conv::weight_gradient(&s, x, gy, (&mut gw, 1.0), false);
                    for row in gw.chunks(s.outputs) {
                        gradient.extend_from_slice(&row[group * per..][..per]);
                    }
                    let planes = gy.chunks(oh * ow).skip(group * per).take(per);
                    sum.extend(planes.map(|plane| plane.iter().sum::<f64>()));
                }
                gradients.push(gradient);
                sums.push(sum);
            }
            let patches = Patches {
                sizes: &sizes,
                group,
                x: &x,
                signals: &signals,
            };
            check(&patches, &gradients, &sums, block);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rows_agree_with_the_definition(
            sizes in [1usize..7, 1usize..5, 1usize..6, 1usize..4, 1usize..40], block in 1usize..300,
        ) {
            check_rows(sizes, block);
        }

        #[test]
        fn patches_agree_with_the_definition(
            batch in 1usize..5, channels in [1usize..4, 1usize..4], groups in 1usize..4,
            image in [1usize..8, 1usize..8], kernel in [1usize..4, 1usize..4],
            stride in [1usize..3, 1usize..3], padding in [0usize..3, 0usize..3],
            outputs in 1usize..4, block in 1usize..300,
        ) {
            let [inputs, filters] = channels.map(|c| c * groups);
            let sizes = Sizes {
                batch, inputs, outputs: filters, image, kernel, stride, padding, groups,
            };
            check_patches(sizes, outputs, block);
        }
    }

    #[test]
    fn large_rows_agree_with_the_definition() {
        check_rows([70, 3, 40, 2, 33], BLOCK);
        check_rows([140, 1, 600, 3, 70], BLOCK);
    }

    #[test]
    fn columns_are_cut_where_outputs_end() {
        let found: Vec<_> = pieces(5..13, 4).collect();
        assert_eq!(found, [(1, 1..4), (2, 0..4), (3, 0..1)]);
        assert_eq!(pieces(4..4, 4).count(), 0);
    }
}
