//! Softmax cross-entropy of one member.

use crate::error::{Error, Result};
use crate::tensor::elem::Elem;
use crate::tensor::number::{Number, Numbers, largest, sums};
use crate::tensor::parallel::{CHUNK, sum_of_parts};
use crate::tensor::simd::simd;

/// Logits that are worked on at once, as long as rows are shorter; narrow rows share the vectors.
const BLOCK: usize = 2048;

/// Rows shorter than this share vectors.
const NARROW: usize = 64;

/// Rows that are worked on at once.
const ROWS: usize = 128;

/// An error that names the first class which outputs of this width do not have.
///
/// # Errors
/// If a class is not below `width`.
pub fn check_classes(classes: &[u32], width: usize) -> Result<()> {
    match classes.iter().find(|&&class| class as usize >= width) {
        None => Ok(()),
        Some(bad) => Err(Error::shape(format!(
            "cross_entropy: class {bad} does not fit a network with {width} outputs"
        ))),
    }
}

/// Mean over rows of −log of the softmax at the class, for `logits [rows, width]` and one class per
/// row; with `gradient` (shape of the logits) also the gradient of that mean. A class that is out of
/// range makes the loss NaN; see [`check_classes`]. Sums are taken in f64.
pub fn forward<T: Elem>(
    logits: &[T],
    width: usize,
    classes: &[u32],
    gradient: Option<&mut [T]>,
) -> f64 {
    mean(logits, width, classes, gradient)
}

/// The derivative of [`forward`] along `dlogits`; with `dgradient` also that of the gradient.
pub fn tangent<T: Elem>(
    logits: &[T],
    dlogits: &[T],
    width: usize,
    classes: &[u32],
    dgradient: Option<&mut [T]>,
) -> f64 {
    mean((logits, dlogits), width, classes, dgradient)
}

fn mean<N: Number, A: Numbers<N>>(
    logits: A,
    width: usize,
    classes: &[u32],
    gradient: Option<&mut [N::Real]>,
) -> f64 {
    debug_assert_eq!(logits.count(), width * classes.len());
    if width == 0 {
        return f64::NAN;
    }
    let per_row = 1.0 / classes.len() as f64;
    let size = (CHUNK / width).max(1) * width;
    let total = sum_of_parts(classes.len() * width, size, gradient, |range, gradient| {
        let logits = logits.slice(range.start, range.len());
        let classes = &classes[range.start / width..range.end / width];
        simd(
            #[inline(always)]
            || {
                blocks(
                    logits,
                    width,
                    classes,
                    <N::Real as Elem>::of(per_row),
                    gradient,
                )
            },
        )
    });
    total * per_row
}

/// Sum of the losses of these rows, block by block.
#[inline(always)]
fn blocks<N: Number, A: Numbers<N>>(
    logits: A,
    width: usize,
    classes: &[u32],
    per_row: N::Real,
    mut gradient: Option<&mut [N::Real]>,
) -> f64 {
    let zero = N::constant(<N::Real as Elem>::of(0.0));
    let (mut short, mut long) = ([zero; BLOCK], Vec::new());
    let exps = if width <= BLOCK {
        &mut short[..]
    } else {
        long.resize(width, zero);
        &mut long[..]
    };
    let rows = (BLOCK / width).clamp(1, ROWS);
    let mut total = 0.0;
    for (i, classes) in classes.chunks(rows).enumerate() {
        let (start, len) = (i * rows * width, classes.len() * width);
        let logits = logits.slice(start, len);
        let exps = &mut exps[..len];
        let mut sums = [N::Wide::constant(1.0); ROWS];
        let loss = softmax(logits, width, classes, exps, &mut sums);
        total += loss;
        if let Some(gradient) = gradient.as_deref_mut() {
            let gradient = &mut gradient[start..][..len];
            differences(width, classes, per_row, exps, &sums, gradient);
        }
    }
    total
}

/// The sum of the losses of a block of rows, exp(logit − largest logit), and its sum over each row.
#[inline(always)]
fn softmax<N: Number, A: Numbers<N>>(
    logits: A,
    width: usize,
    classes: &[u32],
    exps: &mut [N],
    totals: &mut [N::Wide; ROWS],
) -> f64 {
    let narrow = width < NARROW;
    // logit of the class − largest logit
    let mut gaps = [N::Wide::constant(0.0); ROWS];
    for (row, (&class, gap)) in classes.iter().zip(&mut gaps).enumerate() {
        let z = logits.slice(row * width, width);
        let e = &mut exps[row * width..][..width];
        let max = N::constant(largest(z));
        *gap = if (class as usize) < width {
            (z.at(class as usize) - max).wide()
        } else {
            N::Wide::constant(f64::NAN)
        };
        if narrow {
            for (e, z) in e.iter_mut().zip(z.iter()) {
                *e = z - max;
            }
        } else {
            for (e, z) in e.iter_mut().zip(z.iter()) {
                *e = (z - max).exp();
            }
        }
    }
    if narrow {
        // rows too short to fill vectors: across their borders
        for e in exps.iter_mut() {
            *e = e.exp();
        }
    }
    for (row, total) in totals[..classes.len()].iter_mut().enumerate() {
        let e: &[N] = &exps[row * width..][..width];
        [*total] = sums(
            [e],
            #[inline(always)]
            |[e]| [e.wide()],
        );
    }
    let mut losses = [0.0; ROWS];
    let losses = &mut losses[..classes.len()];
    for ((loss, gap), total) in losses.iter_mut().zip(gaps).zip(totals.iter()) {
        *loss = (total.ln() - gap).part();
    }
    losses.iter().sum()
}

/// (softmax − 1 at the class) / rows, for a block of rows.
#[inline(always)]
fn differences<N: Number>(
    width: usize,
    classes: &[u32],
    per_row: N::Real,
    exps: &[N],
    totals: &[N::Wide; ROWS],
    gradient: &mut [N::Real],
) {
    let mut factors = [N::constant(per_row); ROWS];
    for (factor, total) in factors[..classes.len()].iter_mut().zip(totals) {
        *factor = *factor / N::narrow(*total);
    }
    // a constant has no tangent
    let at_class = N::constant(per_row).part();
    for (row, (&class, factor)) in classes.iter().zip(factors).enumerate() {
        let (start, end) = (row * width, (row + 1) * width);
        for (g, e) in gradient[start..end].iter_mut().zip(&exps[start..end]) {
            *g = (*e * factor).part();
        }
        if let Some(g) = gradient[start..end].get_mut(class as usize) {
            *g -= at_class;
        }
    }
}
