//! The lower triangle of `a aᵀ`, for long rows.

use pulp::Arch;
use rayon::prelude::*;

use super::block::{Operand, PackAll, Packed, STEPS};
use super::kernel::Target;
use super::pack::Source;
use super::{MAX_TASKS, Shared, TASK, Vector, panel_sizes, run};
use crate::tensor::scratch;

/// Rows that are multiplied at a time, with all rows up to the last of them: what is computed beyond
/// the triangle is half a block a row.
const ROWS: usize = 32;

/// Adds `alpha · a aᵀ` to the lower triangle of `c [n, n]`, for `a [n, k]`. What is above the diagonal
/// is left undefined.
///
/// Each task sums over some of the steps. It packs a block of steps of all rows once, in panels that
/// serve every row; the partial sums are added in order. That suits rows much longer than their
/// number.
///
/// # Panics
/// If a slice is too short.
pub fn gram<T: Vector>(c: &mut [T], (n, k): (usize, usize), alpha: T, a: &[T]) {
    assert!(
        c.len() >= n * n && a.len() >= n * k,
        "a Gram matrix of {n} × {k} numbers reaches outside its slices"
    );
    if n == 0 || k == 0 {
        return;
    }
    let tasks = (n * n / 2 * k / TASK).clamp(1, MAX_TASKS);
    let per = k.div_ceil(STEPS).div_ceil(tasks) * STEPS;
    let tasks = k.div_ceil(per);
    let source = Source {
        ptr: a.as_ptr(),
        row: k,
        step: 1,
    };
    scratch::with((tasks - 1) * n * n, |parts: &mut [T]| {
        let (first, others) = (Shared::new(c), Shared::new(parts));
        (0..tasks).into_par_iter().for_each(|task| {
            let c = match task.checked_sub(1) {
                None => first,
                Some(part) => others.offset(part * n * n),
            };
            let steps = task * per..((task + 1) * per).min(k);
            for step in steps.clone().step_by(STEPS) {
                let kc = STEPS.min(steps.end - step);
                let c = Target {
                    ptr: c.ptr(),
                    row: n,
                    alpha,
                    accumulate: task == 0 || step > steps.start,
                };
                // SAFETY: a step of `a`, whose slice is long enough
                some_steps(n, kc, unsafe { source.from(0, step) }, c);
            }
        });
        for part in parts.chunks_exact(n * n) {
            for (i, (to, from)) in c.chunks_exact_mut(n).zip(part.chunks_exact(n)).enumerate() {
                let pairs = to[..=i].iter_mut().zip(from);
                pairs.for_each(|(to, &from)| *to = *to + from);
            }
        }
    });
}

/// The products of a block of steps.
fn some_steps<T: Vector>(n: usize, kc: usize, source: Source<T>, c: Target<T>) {
    let (_, nr) = panel_sizes::<T>();
    let padded = n.next_multiple_of(nr);
    scratch::with(padded * kc, |packed: &mut [T]| {
        let dst = packed.as_mut_ptr();
        Arch::new().dispatch(PackAll {
            dst,
            padded,
            source,
            rows: 0..n,
            steps: kc,
            width: nr,
        });
        let ptr = dst.cast_const();
        for row in (0..n).step_by(ROWS) {
            let end = (row + ROWS).min(n);
            let all = Operand::Packed(Packed {
                ptr,
                padded,
                first: 0,
            });
            run((row..end, 0..end, 0..kc), Operand::View(source), all, c);
        }
    });
}
