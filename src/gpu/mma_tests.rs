//! The emulator's products and loads of fragments against the layouts that the PTX ISA states ("Matrix Fragments for
//! mma.m16n8k16 with floating point type", "ldmatrix"): the lane and register of each number, written down from there
//! and not from the kernels.

use half::bf16;

use super::{Gpu, Grid, words};

/// Lanes of a warp.
const LANES: usize = 32;

fn warp() -> Grid {
    Grid::blocks(1, 1).with_threads(LANES)
}

fn at<T>(numbers: &[T]) -> u64 {
    numbers.as_ptr() as u64
}

/// Small numbers, of which products and sums are exact, and which no two places near each other share.
fn number(row: usize, column: usize) -> f32 {
    (row * 37 + column * 11) as f32 % 23.0 - 9.0
}

/// A register with two numbers, the first in its lower half.
fn register(pair: [f32; 2]) -> u32 {
    let [low, high] = pair.map(|x| u32::from(bf16::from_f32(x).to_bits()));
    low | high << 16
}

/// Fragments of a matrix in registers of two numbers: `place` is the row and column of a lane's i-th number.
fn fragments(registers: usize, place: impl Fn(usize, usize) -> (usize, usize)) -> Vec<u32> {
    let mut all = Vec::new();
    for lane in 0..LANES {
        for r in 0..registers {
            all.push(register([2 * r, 2 * r + 1].map(|i| {
                let (row, column) = place(lane, i);
                number(row, column)
            })));
        }
    }
    all
}

#[test]
fn products_are_those_of_m16n8k16() {
    // groupID and threadID_in_group
    let (group, thread) = (|lane: usize| lane >> 2, |lane: usize| lane % 4);
    let a = fragments(4, |lane, i| {
        let upper = i < 2 || (4..6).contains(&i);
        let row = group(lane) + if upper { 0 } else { 8 };
        let column = thread(lane) * 2 + (i & 1) + if i < 4 { 0 } else { 8 };
        (row, column)
    });
    let b = fragments(2, |lane, i| {
        let row = thread(lane) * 2 + (i & 1) + if i < 2 { 0 } else { 8 };
        (row, group(lane))
    });
    let place = |lane: usize, i: usize| {
        let row = group(lane) + if i < 2 { 0 } else { 8 };
        (row, thread(lane) * 2 + (i & 1))
    };
    let start = |row: usize, column: usize| (100 * row + column) as f32;
    let mut c: Vec<f32> = (0..LANES * 4)
        .map(|n| place(n / 4, n % 4))
        .map(|(row, column)| start(row, column))
        .collect();
    let words = words![at(&a), at(&b), c.as_mut_ptr() as u64];
    Gpu::emulated()
        .launch_plain("mma_probe", warp(), words)
        .unwrap();
    for (n, found) in c.iter().enumerate() {
        let (row, column) = place(n / 4, n % 4);
        let products = (0..16).map(|k| number(row, k) * number(k, column));
        let wanted = start(row, column) + products.sum::<f32>();
        assert_eq!(*found, wanted, "row {row}, column {column}");
    }
}

#[test]
fn loads_are_those_of_ldmatrix() {
    // rows of eight numbers at distance 24, that of matrix m's row r at m + 4 r
    const PITCH: usize = 24;
    let numbers: Vec<bf16> = (0..LANES * PITCH)
        .map(|n| bf16::from_f32(number(n / PITCH, n % PITCH)))
        .collect();
    let row = |matrix: usize, r: usize| matrix + 4 * r;
    // eight lanes after eight give the rows of the four matrices
    let rows: Vec<i64> = (0..LANES)
        .map(|lane| (row(lane / 8, lane % 8) * PITCH) as i64)
        .collect();
    let (mut plain, mut transposed) = (vec![0u32; 4 * LANES], vec![0u32; 4 * LANES]);
    let words = words![
        at(&numbers),
        at(&rows),
        plain.as_mut_ptr() as u64,
        transposed.as_mut_ptr() as u64,
    ];
    Gpu::emulated()
        .launch_plain("load_probe", warp(), words)
        .unwrap();
    for lane in 0..LANES {
        for matrix in 0..4 {
            // four lanes after four have a row, two numbers each; with .trans, a column
            let of = [0, 1].map(|i| (lane / 4, lane % 4 * 2 + i));
            let straight = of.map(|(r, c)| number(row(matrix, r), c));
            let turned = of.map(|(c, r)| number(row(matrix, r), c));
            let i = 4 * lane + matrix;
            assert_eq!(plain[i], register(straight), "lane {lane}, {matrix}");
            assert_eq!(transposed[i], register(turned), "lane {lane}, {matrix}");
        }
    }
}
