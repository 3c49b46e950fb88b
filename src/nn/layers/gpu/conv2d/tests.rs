//! Convolutions of bf16 in the emulator against the CPU's in f64, of the same rounded numbers.

mod setup;

use half::bf16;

use super::products::Conv;
use crate::gpu::Stored;
use crate::nn::layers::Conv2d;
use crate::nn::{GpuForward, GpuPass, GpuPasses, Span};
use setup::{Case, Setup, WEIGHT, Wanted, span};

/// Half the distance of two neighbouring numbers of bf16, which have 8 bits, relative to them.
const HALF_ULP: f64 = 1.0 / 256.0;

/// Checks numbers against those wanted: they may be apart by `once` times the number, where it is rounded to bf16, by
/// `often` times the sum of its terms, where those are too, and by what sums of f32 lose.
fn check(what: &str, found: &[f64], wanted: &Wanted, once: f64, often: f64) {
    assert_eq!(found.len(), wanted.numbers.len(), "{what}");
    for (i, (found, (want, size))) in
        (found.iter().zip(wanted.numbers.iter().zip(&wanted.sizes))).enumerate()
    {
        // a few hundred additions in f32, each wrong by 2^-24 of what is summed at most
        let bound = once * want.abs() + (often + 2f64.powi(-15)) * size + 1e-30;
        let apart = (found - want).abs();
        assert!(
            apart <= bound,
            "{what} {i}: {found} for {want}, {apart} > {bound}"
        );
    }
}

fn wide(numbers: &[bf16]) -> Vec<f64> {
    numbers.iter().map(|x| x.to_f64()).collect()
}

fn double(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// Runs all passes of a case twice and checks them; says whether tensor cores did the forward pass, the filters'
/// gradient and the inputs'.
fn run(case: Case) -> [bool; 3] {
    let setup = Setup::new(case);
    let what = format!("{case:?}");
    let params = setup.params();
    let params = &params[..1 + usize::from(case.layer.bias)];
    let at = setup.pass(params);
    let conv = Conv::new(&case.layer, at).unwrap();
    let inputs = at.inputs() * case.batch;
    let outputs = at.outputs() * case.batch;
    // what is there before is not read
    let fresh = |n: usize| vec![bf16::NAN; case.members * n];
    let fresh_arith = |n: usize| vec![f32::NAN; case.members * n];
    let mut before = None;
    let mut direct = [false; 3];
    for _ in 0..2 {
        let (y, gx) = (fresh(outputs), fresh(inputs));
        let (gw, gb) = (
            fresh_arith(setup.weights()),
            fresh_arith(case.layer.outputs),
        );
        let (to_y, to_gx) = (span(&y, outputs), span(&gx, inputs));
        let grads = [span(&gw, setup.weights()), span(&gb, case.layer.outputs)];
        let gy = span(&setup.narrow_gy, outputs);
        let bias = conv.bias(params).unwrap();
        direct = [
            conv.try_forward(params[0], bias, to_y).unwrap(),
            conv.try_weight(gy, (grads[0], WEIGHT)).unwrap(),
            conv.try_input(gy, params[0], to_gx).unwrap(),
        ];
        let none = Span { at: 0, stride: 0 };
        case.layer.gpu_forward(at, to_y, none).unwrap();
        let was = GpuForward {
            y: to_y,
            saved: none,
        };
        (case.layer)
            .gpu_backward(at, was, gy, &grads[..params.len()], Some(to_gx))
            .unwrap();
        // products of patches are rounded before the bias is added, and before they become images
        let rounded = |direct: bool| if direct { 0.0 } else { 2.0 * HALF_ULP };
        let ulp = 1.01 * HALF_ULP;
        check(
            &format!("{what} output"),
            &wide(&y),
            &setup.wanted_output(),
            ulp,
            rounded(direct[0]),
        );
        check(
            &format!("{what} filters"),
            &double(&gw),
            &setup.wanted_weight(),
            0.0,
            0.0,
        );
        check(
            &format!("{what} inputs"),
            &wide(&gx),
            &setup.wanted_input(),
            ulp,
            rounded(direct[2]),
        );
        if case.layer.bias {
            check(
                &format!("{what} bias"),
                &double(&gb),
                &setup.wanted_bias(),
                0.0,
                0.0,
            );
        }
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let now = (
            y.iter().chain(&gx).map(|x| x.to_bits()).collect::<Vec<_>>(),
            bits(&gw),
        );
        if let Some(before) = before.replace(now.clone()) {
            assert!(before == now, "{what}: other bits the second time");
        }
    }
    direct
}

fn layer(
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
) -> Conv2d {
    Conv2d {
        outputs,
        kernel,
        stride,
        padding,
        groups,
        bias: true,
    }
}

fn case(members: usize, batch: usize, input: [usize; 3], layer: Conv2d) -> Case {
    Case {
        members,
        batch,
        input,
        layer,
        shared: false,
    }
}

#[test]
fn convolutions_at_odd_shapes() {
    for (members, batch, input, outputs, kernel, stride, padding, groups) in [
        (1, 1, [8, 7, 6], 24, [3, 3], [1, 1], [1, 1], 1),
        (3, 3, [17, 7, 6], 24, [3, 3], [1, 1], [1, 1], 1),
        (1, 3, [17, 6, 5], 72, [3, 3], [2, 2], [1, 1], 1),
        (1, 1, [64, 9, 8], 72, [3, 3], [2, 1], [1, 2], 2),
        (2, 3, [8, 9, 7], 24, [5, 5], [2, 3], [2, 2], 1),
        (1, 3, [8, 10, 12], 24, [2, 3], [3, 3], [0, 1], 1),
        (1, 1, [64, 5, 6], 24, [2, 3], [1, 2], [1, 0], 2),
        (3, 1, [17, 8, 8], 24, [1, 1], [2, 2], [0, 0], 1),
        (1, 3, [64, 5, 5], 72, [1, 1], [1, 1], [0, 0], 1),
        (1, 1, [17, 4, 6], 24, [1, 1], [3, 3], [2, 2], 1),
        // several tiles of an image
        (1, 1, [8, 20, 18], 24, [3, 3], [1, 1], [1, 1], 1),
        (1, 1, [17, 3, 301], 24, [3, 3], [1, 1], [1, 1], 1),
        // larger tiles of outputs
        (1, 3, [8, 6, 6], 128, [3, 3], [1, 1], [1, 1], 1),
    ] {
        let case = case(
            members,
            batch,
            input,
            layer(outputs, kernel, stride, padding, groups),
        );
        assert_eq!(run(case), [true, true, true], "{case:?}");
    }
}

#[test]
fn what_fills_tiles_too_little_is_products_of_patches() {
    // three channels may be enough, but three inputs' gradients are not
    let few = layer(64, [3, 3], [1, 1], [1, 1], 1);
    assert_eq!(run(case(1, 3, [3, 6, 6], few)), [true, true, false]);
    let fewer = layer(24, [3, 3], [1, 1], [1, 1], 1);
    assert_eq!(run(case(1, 3, [3, 6, 6], fewer)), [true, false, false]);
    let narrow = layer(5, [3, 3], [1, 1], [1, 1], 1);
    assert_eq!(run(case(2, 1, [64, 5, 6], narrow)), [true, true, true]);
    let depthwise = layer(8, [3, 3], [2, 1], [1, 1], 8);
    assert_eq!(run(case(2, 3, [8, 6, 5], depthwise)), [false; 3]);
}

#[test]
fn members_that_share_inputs_and_filters() {
    let case = Case {
        shared: true,
        ..case(3, 2, [8, 6, 6], layer(24, [3, 3], [1, 1], [1, 1], 1))
    };
    assert_eq!(run(case), [true; 3]);
}

#[test]
fn without_bias() {
    let layer = Conv2d {
        bias: false,
        ..layer(24, [3, 3], [1, 1], [1, 1], 1)
    };
    assert_eq!(run(case(1, 2, [8, 6, 6], layer)), [true; 3]);
}

#[test]
fn other_types_are_products_of_patches() {
    let setup = Setup::new(case(1, 1, [8, 4, 4], layer(24, [3, 3], [1, 1], [1, 1], 1)));
    let params = setup.params();
    let at = GpuPass {
        stored: Stored::F32,
        ..setup.pass(&params)
    };
    let conv = Conv::new(&setup.case.layer, at).unwrap();
    let none = Span { at: 0, stride: 0 };
    assert!(!conv.try_forward(params[0], None, none).unwrap());
    assert!(!conv.try_input(none, params[0], none).unwrap());
    assert!(!conv.try_weight(none, (none, 1.0)).unwrap());
}

/// Whatever number of blocks sums the filters' gradient, they get the same but for rounding.
#[test]
fn gradients_of_filters_in_any_number_of_blocks() {
    let layer = layer(24, [3, 3], [1, 1], [1, 1], 1);
    // three tiles of each example at least
    let setup = Setup::new(case(1, 12, [17, 20, 18], layer));
    let params = setup.params();
    let conv = Conv::new(&layer, setup.pass(&params)).unwrap();
    let gy = span(&setup.narrow_gy, setup.narrow_gy.len());
    for blocks in [1, 4, 20, 1000] {
        let gw = vec![f32::NAN; setup.weights()];
        let to = span(&gw, gw.len());
        assert!(conv.weight_in(gy, (to, WEIGHT), blocks).unwrap());
        let what = format!("{blocks} blocks");
        check(&what, &double(&gw), &setup.wanted_weight(), 0.0, 0.0);
    }
}

/// No patches are kept: a pass takes the filters and the parts of their gradient.
#[test]
fn memory_of_a_pass() {
    let layer = layer(64, [3, 3], [1, 1], [1, 1], 1);
    let setup = Setup::new(case(1, 2, [64, 8, 8], layer));
    let params = setup.params();
    let at = setup.pass(&params);
    let y = vec![bf16::ZERO; setup.narrow_gy.len()];
    let none = Span { at: 0, stride: 0 };
    layer.gpu_forward(at, span(&y, y.len()), none).unwrap();
    assert_eq!(setup.workspace.bytes(), 2 * 9 * 64 * 64);
}
