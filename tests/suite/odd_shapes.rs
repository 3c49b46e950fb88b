//! Every operation of `tensor` at odd sizes, with no example, one and several, in both element types,
//! against plain candle operations and their gradients, or plain loops where candle is wrong.
//!
//! Dropout, whose numbers are its own, and the second derivatives are tested where they are.

mod operations;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use widthwise::error::Result;
use widthwise::tensor::elem::{Elem, to_f64, write};
use widthwise::tensor::elementwise;
use widthwise::tensor::rng::Key;

/// What an operation's sizes are made of: examples, and three lengths.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    n: usize,
    a: usize,
    b: usize,
    c: usize,
}

/// An operation: the results from its inputs.
type Run<T> = fn(Lengths, &[Vec<T>]) -> Vec<Vec<T>>;

/// An operation in both element types, and the same by other means.
struct Operation {
    name: &'static str,
    /// Fewest examples that it is defined for.
    least: usize,
    /// Shapes of its inputs; where it has a backward pass, the output's gradient is the last.
    inputs: fn(Lengths) -> Vec<Vec<usize>>,
    single: Run<f32>,
    double: Run<f64>,
    /// The same results from f64 tensors.
    plain: fn(Lengths, &[Tensor]) -> Result<Vec<Tensor>>,
}

fn numbers<T: Elem>(inputs: &[Vec<usize>], seed: u64) -> Vec<Vec<T>> {
    let draw = |(i, shape): (usize, &Vec<usize>)| {
        let mut rng = Key::new(seed).fold(i as u64).rng();
        let count = shape.iter().product::<usize>();
        (0..count).map(|_| T::of(rng.normal())).collect()
    };
    inputs.iter().enumerate().map(draw).collect()
}

fn check<T: Elem>(op: &Operation, run: Run<T>, l: Lengths, bound: f64) -> Result<()> {
    let shapes = (op.inputs)(l);
    let inputs = numbers::<T>(&shapes, (l.n + 31 * l.a + 1000 * l.b) as u64);
    let found = run(l, &inputs);
    let name = format!("{} {:?} {l:?}", op.name, T::DTYPE);
    if l.n == 0 {
        // nothing comes out, and parameters have no gradient
        let zero = |x: &T| x.f64() == 0.0;
        assert!(found.iter().flatten().all(zero), "{name}");
        return Ok(());
    }
    let tensors = inputs.iter().zip(&shapes).map(|(x, shape)| {
        let wide: Vec<f64> = x.iter().map(|x| x.f64()).collect();
        Ok(Tensor::from_vec(wide, shape.as_slice(), &Device::Cpu)?)
    });
    let wanted = (op.plain)(l, &tensors.collect::<Result<Vec<_>>>()?)?;
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let wanted = to_f64(&wanted.to_dtype(DType::F64)?)?;
        assert_eq!(found.len(), wanted.len(), "{name}: result {i}");
        let largest = wanted.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (at, (x, y)) in found.iter().zip(&wanted).enumerate() {
            let near = (x.f64() - y).abs() <= bound * largest;
            assert!(near, "{name}: result {i} at {at}: {x}, {y} by other means");
        }
    }
    Ok(())
}

fn check_all(l: Lengths) -> Result<()> {
    for op in operations::all() {
        let l = Lengths {
            n: l.n.max(op.least),
            ..l
        };
        check(&op, op.double, l, 1e-10)?;
        check(&op, op.single, l, 2e-4)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn operations_at_odd_sizes(
        n in prop_oneof![Just(0usize), Just(1), 2usize..12], a in 1usize..40, b in 1usize..20,
        c in 1usize..6,
    ) {
        check_all(Lengths { n, a, b, c }).unwrap();
    }
}

#[test]
fn operations_where_they_are_split() {
    let l = Lengths {
        n: 600,
        a: 130,
        b: 33,
        c: 2,
    };
    check_all(l).unwrap();
}

#[test]
fn tensors_in_another_layout_are_refused_not_misread() -> Result<()> {
    let t = Tensor::arange(0f32, 12.0, &Device::Cpu)?.reshape((3, 4))?;
    let turned = t.t()?;
    let other = Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?;
    for error in [
        elementwise::copy(&other, &turned).unwrap_err(),
        elementwise::copy(&turned, &other).unwrap_err(),
        elementwise::squared_norms(&turned).unwrap_err(),
        write(&t.narrow(1, 1, 2)?, |_: &mut [f32]| Ok(())).unwrap_err(),
    ] {
        assert!(error.message.contains("contiguous"), "{error}");
    }
    // rows that follow each other are contiguous, and copied from where they start
    let rows = t.narrow(0, 1, 2)?;
    let to = Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?;
    elementwise::copy(&to, &rows)?;
    assert_eq!(to_f64(&to)?, (4..12).map(f64::from).collect::<Vec<_>>());
    let squares: Vec<f64> = (4..12).map(|x| f64::from(x * x)).collect();
    let wanted: [f64; 2] = [squares[..4].iter().sum(), squares[4..].iter().sum()];
    assert_eq!(elementwise::squared_norms(&rows)?, wanted);
    assert_eq!(to_f64(&turned)?[..4], [0.0, 4.0, 8.0, 1.0]);
    let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu)?;
    assert_eq!(elementwise::squared_norms(&none)?, [0.0; 0]);
    assert_eq!(to_f64(&none)?, [0.0; 0]);
    assert!(elementwise::copy(&none, &t).is_err());
    Ok(())
}
