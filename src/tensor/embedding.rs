//! Rows of a table by token, and learned positions.
//!
//! Tokens are numbers of the network's element type that must be whole: f32 holds them exactly up to
//! 2²⁴.

use rayon::prelude::*;

use super::elem::Elem;
use super::gram;
use super::linear::Scaled;
use super::parallel::{CHUNK, PARALLEL};
use super::scratch;
use crate::error::{Error, ErrorKind, Result};

fn token<T: Elem>(x: T, vocab: usize) -> Option<usize> {
    let x = x.f64();
    (x >= 0.0 && x < vocab as f64 && x.fract() == 0.0).then_some(x as usize)
}

/// Whether every token is a row of a table of `vocab` rows.
///
/// # Errors
/// If one is not: its place (example and position, given `positions` per example) and value.
pub fn check<T: Elem>(tokens: &[T], positions: usize, vocab: usize) -> Result<()> {
    if let Some(i) = tokens.iter().position(|&x| token(x, vocab).is_none()) {
        let positions = positions.max(1);
        return Err(Error::new(
            ErrorKind::Data,
            format!(
                "tokens must be whole numbers from 0 to {}, got {} at position {} of example {} (counted from 0)",
                vocab as i64 - 1,
                tokens[i],
                i % positions,
                i / positions
            ),
        ));
    }
    Ok(())
}

/// `y[i] = multiplier · table[tokens[i]]` for a table `[vocab, width]`.
///
/// # Errors
/// If a token is not a whole number below `vocab`: its place (example and position, given
/// `positions` per example) and value.
pub fn forward<T: Elem>(
    tokens: &[T],
    positions: usize,
    table: Scaled<'_, T>,
    width: usize,
    y: &mut [T],
) -> Result<()> {
    let width = width.max(1);
    let vocab = table.value.len() / width;
    let multiplier = T::of(table.multiplier);
    check(tokens, positions, vocab)?;
    let copy = |(y, &x): (&mut [T], &T)| {
        let row = &table.value[token(x, vocab).unwrap_or(0) * width..][..width];
        for (y, w) in y.iter_mut().zip(row) {
            *y = multiplier * *w;
        }
    };
    if y.len() < PARALLEL {
        y.chunks_exact_mut(width).zip(tokens).for_each(copy);
    } else {
        let rows = (CHUNK / width).max(1);
        y.par_chunks_mut(rows * width)
            .zip(tokens.par_chunks(rows))
            .for_each(|(y, tokens)| y.chunks_exact_mut(width).zip(tokens).for_each(copy));
    }
    Ok(())
}

/// Gradient of the table, `[vocab, width]`: each row is the multiplier times the sum, in the order of
/// the tokens, of `gy` where its token stands. Tokens are those of a forward pass.
pub fn gradient<T: Elem>(tokens: &[T], gy: &[T], width: usize, multiplier: f64, table: &mut [T]) {
    let width = width.max(1);
    let (vocab, multiplier) = (table.len() / width, T::of(multiplier));
    scratch::with(vocab + 1 + tokens.len(), |index: &mut [u32]| {
        let (starts, order) = index.split_at_mut(vocab + 1);
        sort(tokens, starts, order);
        let (starts, order) = (&*starts, &*order);
        let add = |first: usize, rows: &mut [T]| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                row.fill(T::of(0.0));
                let places = starts[first + i] as usize..starts[first + i + 1] as usize;
                for &place in &order[places] {
                    let from = &gy[place as usize * width..][..width];
                    row.iter_mut().zip(from).for_each(|(g, x)| *g += *x);
                }
                row.iter_mut().for_each(|g| *g *= multiplier);
            }
        };
        if gy.len() + table.len() < PARALLEL {
            add(0, table);
        } else {
            let rows = (CHUNK / width).max(1);
            table
                .par_chunks_mut(rows * width)
                .enumerate()
                .for_each(|(i, part)| add(i * rows, part));
        }
    });
}

/// Sizes of the signals behind a table.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Examples.
    pub examples: usize,
    /// Outputs of the network.
    pub outputs: usize,
    /// Numbers of each token's row.
    pub width: usize,
}

/// Adds `scale` times the inner products of the examples' gradients of a table to the lower triangle of
/// `kernel [examples, examples]`: `tokens [examples, positions]`, and gradients
/// `signals [examples, outputs, positions, width]` of the outputs of the network.
///
/// One token after the other: of the examples that have it, the signals at its places are summed and
/// multiplied with each other, so that a large table costs nothing.
pub fn add_gram<T: Elem>(s: Sizes, tokens: &[T], signals: &[T], scale: f64, kernel: &mut [T]) {
    let (n, positions) = (s.examples, tokens.len() / s.examples.max(1));
    let mut places: Vec<(u64, usize)> = (tokens.iter().map(|t| t.f64() as u64))
        .enumerate()
        .map(|(place, token)| (token, place))
        .collect();
    places.sort_unstable();
    let (mut examples, mut rows, mut products) = (Vec::new(), Vec::new(), Vec::new());
    for same in places.chunk_by(|a, b| a.0 == b.0) {
        examples.clear();
        rows.clear();
        let size = s.outputs * s.width;
        for &(_, place) in same {
            let (example, position) = (place / positions, place % positions);
            if examples.last() != Some(&example) {
                examples.push(example);
                rows.resize(examples.len() * size, T::of(0.0));
            }
            let first = rows.len() - size;
            for (o, row) in rows[first..].chunks_exact_mut(s.width.max(1)).enumerate() {
                let at = ((example * s.outputs + o) * positions + position) * s.width;
                let signal = &signals[at..at + s.width];
                row.iter_mut().zip(signal).for_each(|(r, s)| *r += *s);
            }
        }
        let count = examples.len();
        products.clear();
        products.resize(count * count, T::of(0.0));
        gram::add_gram(&mut products, count, &rows, scale);
        for (i, &row) in examples.iter().enumerate() {
            for (j, &column) in examples[..=i].iter().enumerate() {
                kernel[row * n + column] += products[i * count + j];
            }
        }
    }
}

/// The places of each token in order, one token after the other: those of token `t` are
/// `order[starts[t]..starts[t + 1]]`.
fn sort<T: Elem>(tokens: &[T], starts: &mut [u32], order: &mut [u32]) {
    let vocab = starts.len() - 1;
    starts.fill(0);
    let ids = || tokens.iter().map(|&x| token(x, vocab));
    for id in ids().flatten() {
        starts[id + 1] += 1;
    }
    for t in 0..vocab {
        starts[t + 1] += starts[t];
    }
    for (place, id) in ids().enumerate() {
        if let Some(id) = id {
            order[starts[id] as usize] = place as u32;
            starts[id] += 1;
        }
    }
    // each start now is the next one's
    for t in (0..vocab).rev() {
        starts[t + 1] = starts[t];
    }
    starts[0] = 0;
}

/// `y = x + multiplier · table` for each example `[positions, width]`; the table may have more rows.
pub fn add_positions<T: Elem>(x: &[T], table: Scaled<'_, T>, example: usize, y: &mut [T]) {
    let multiplier = T::of(table.multiplier);
    let add = |(y, x): (&mut [T], &[T])| {
        for ((y, x), p) in y.iter_mut().zip(x).zip(table.value) {
            *y = *x + multiplier * *p;
        }
    };
    let example = example.max(1);
    if y.len() < PARALLEL {
        y.chunks_exact_mut(example)
            .zip(x.chunks_exact(example))
            .for_each(add);
    } else {
        y.par_chunks_exact_mut(example)
            .zip(x.par_chunks_exact(example))
            .for_each(add);
    }
}

/// Gradient of the table of positions: the multiplier times the sum of `gy` over examples, in their
/// order; 0 for rows that no example reaches.
pub fn positions_gradient<T: Elem>(gy: &[T], multiplier: f64, example: usize, table: &mut [T]) {
    let (used, rest) = table.split_at_mut(example.min(table.len()));
    used.fill(T::of(0.0));
    rest.fill(T::of(0.0));
    for gy in gy.chunks_exact(example.max(1)) {
        used.iter_mut().zip(gy).for_each(|(g, x)| *g += *x);
    }
    let multiplier = T::of(multiplier);
    used.iter_mut().for_each(|g| *g *= multiplier);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::rng::Key;
    use proptest::prelude::*;

    fn scaled(value: &[f64]) -> Scaled<'_, f64> {
        Scaled {
            value,
            multiplier: 0.5,
        }
    }

    fn check(n: usize, vocab: usize, width: usize) {
        let mut rng = Key::new(1).rng();
        let tokens: Vec<f64> = (0..n).map(|_| rng.below(vocab as u64) as f64).collect();
        let table: Vec<f64> = (0..vocab * width).map(|_| rng.normal()).collect();
        let gy: Vec<f64> = (0..n * width).map(|_| rng.normal()).collect();
        let mut y = vec![f64::NAN; n * width];
        forward(&tokens, 1, scaled(&table), width, &mut y).unwrap();
        let mut wanted = vec![0.0; vocab * width];
        for i in 0..n {
            let row = tokens[i] as usize * width;
            for c in 0..width {
                assert_eq!(y[i * width + c], 0.5 * table[row + c]);
                wanted[row + c] += gy[i * width + c];
            }
        }
        let mut gradient_of = vec![f64::NAN; vocab * width];
        gradient(&tokens, &gy, width, 0.5, &mut gradient_of);
        // the same order of the sum, so the same bits
        for (g, w) in gradient_of.iter().zip(&wanted) {
            assert_eq!(*g, 0.5 * w);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn agrees_with_the_definition(n in 0usize..40, vocab in 1usize..20, width in 1usize..10) {
            check(n, vocab, width);
        }
    }

    #[test]
    fn agrees_with_the_definition_where_it_is_split() {
        check(1000, 300, 129);
        check(3, 1, 70_000);
    }

    #[test]
    fn other_numbers_are_named_with_their_place() {
        let table = [0.0; 6];
        for bad in [3.0, -1.0, 0.5, f64::NAN, f64::INFINITY] {
            let tokens = [0.0, 1.0, 2.0, bad];
            let error = forward(&tokens, 2, scaled(&table), 2, &mut [0.0; 8]).unwrap_err();
            assert_eq!(
                error.message,
                format!(
                    "tokens must be whole numbers from 0 to 2, got {bad} at position 1 of example 1 \
                     (counted from 0)"
                )
            );
        }
    }

    #[test]
    fn positions_are_added_to_every_example() {
        let (x, table) = ([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0]);
        let mut y = [0.0; 4];
        add_positions(&x, scaled(&table), 2, &mut y);
        assert_eq!(y, [6.0, 12.0, 8.0, 14.0]);
        let mut g = [f64::NAN; 3];
        positions_gradient(&x, 0.5, 2, &mut g);
        assert_eq!(g, [2.0, 3.0, 0.0]);
    }
}
