//! Tensors as text: shape, type and a corner of the numbers.

use candle_core::Tensor;

use super::operations::numbers;
use crate::error::Result;

/// Tensors with more numbers than this show only the ends of their axes.
const WHOLE: usize = 100;

/// How many positions are shown at either end of a long axis; of axes before the last two, only the
/// first position is.
const ENDS: usize = 3;

/// `[2, 3] f32`.
pub fn shape_and_type(tensor: &Tensor) -> String {
    format!("{:?} {}", tensor.dims(), tensor.dtype().as_str())
}

/// One line: shape and type, and the numbers if there are few.
///
/// Errors: none but those of the device.
pub fn line(tensor: &Tensor) -> Result<String> {
    let start = format!("Tensor {}", shape_and_type(tensor));
    if tensor.rank() > 1 || tensor.elem_count() > 6 {
        return Ok(start);
    }
    Ok(format!("{start} {}", numbers_of(tensor, usize::MAX)?))
}

/// Shape and type, then the numbers as numpy prints them: in columns, with `…` in the middle of
/// axes that are too long to be shown, at most `columns` characters wide.
///
/// Errors: none but those of the device.
pub fn display(tensor: &Tensor, columns: usize) -> Result<String> {
    let start = format!("Tensor {}", shape_and_type(tensor));
    if tensor.elem_count() == 0 {
        return Ok(start);
    }
    Ok(format!("{start}\n{}", numbers_of(tensor, columns.max(20))?))
}

fn numbers_of(tensor: &Tensor, columns: usize) -> Result<String> {
    let dims = tensor.dims();
    let cut = tensor.elem_count() > WHOLE;
    let leading = dims.len().saturating_sub(2);
    let shown: Vec<Vec<Option<usize>>> = dims
        .iter()
        .enumerate()
        .map(|(axis, &n)| match cut && axis < leading && n > 1 {
            true => vec![Some(0), None],
            false => positions(n, cut),
        })
        .collect();
    let mut corner = tensor.clone();
    for (axis, places) in shown.iter().enumerate() {
        if places.len() == 2 && places.contains(&None) {
            corner = corner.narrow(axis, 0, 1)?;
        } else if places.contains(&None) {
            let start = corner.narrow(axis, 0, ENDS)?;
            let end = corner.narrow(axis, dims[axis] - ENDS, ENDS)?;
            corner = Tensor::cat(&[start, end], axis)?;
        }
    }
    let words = words(&numbers(&corner)?, tensor.dtype().is_int());
    let width = words.iter().map(|w| w.chars().count()).max().unwrap_or(0);
    let mut words = words.into_iter();
    Ok(write(&shown, &mut words, width, 0, columns))
}

/// The positions of an axis that are shown, `None` for those left out.
fn positions(length: usize, cut: bool) -> Vec<Option<usize>> {
    if !cut || length <= 2 * ENDS + 1 {
        return (0..length).map(Some).collect();
    }
    let start = (0..ENDS).map(Some);
    let end = (length - ENDS..length).map(Some);
    start.chain([None]).chain(end).collect()
}

/// The numbers as text of the same precision: up to four places, powers of ten where they differ
/// by more than five orders of magnitude.
fn words(values: &[f64], whole: bool) -> Vec<String> {
    if whole {
        return values.iter().map(|x| format!("{x}")).collect();
    }
    let sizes = || {
        let finite = values.iter().filter(|x| x.is_finite() && **x != 0.0);
        finite.map(|x| x.abs())
    };
    let largest = sizes().fold(0.0, f64::max);
    let smallest = sizes().fold(f64::INFINITY, f64::min);
    let by_powers = largest >= 1e8 || smallest < 1e-4 || largest / smallest > 1e5;
    if by_powers && largest > 0.0 {
        return values.iter().map(|x| scientific(*x)).collect();
    }
    let places = (0..4)
        .find(|&p| {
            values
                .iter()
                .filter(|x| x.is_finite())
                .all(|x| (x - format!("{x:.p$}").parse().unwrap_or(*x)).abs() <= 5e-8 * x.abs())
        })
        .unwrap_or(4)
        .max(1);
    values.iter().map(|x| fixed(*x, places)).collect()
}

fn fixed(x: f64, places: usize) -> String {
    match x.is_finite() {
        true => format!("{x:.places$}"),
        false => special(x),
    }
}

fn scientific(x: f64) -> String {
    match x.is_finite() {
        true => format!("{x:.4e}"),
        false => special(x),
    }
}

fn special(x: f64) -> String {
    if x.is_nan() {
        "nan".into()
    } else if x > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}

fn write(
    shown: &[Vec<Option<usize>>],
    words: &mut impl Iterator<Item = String>,
    width: usize,
    depth: usize,
    columns: usize,
) -> String {
    let Some((places, rest)) = shown.split_first() else {
        return words.next().unwrap_or_default();
    };
    let parts = places.iter().map(|place| match place {
        None => "…".to_string(),
        Some(_) if rest.is_empty() => format!("{:>width$}", words.next().unwrap_or_default()),
        Some(_) => write(rest, words, width, depth + 1, columns),
    });
    let parts: Vec<String> = parts.collect();
    let indent = " ".repeat(depth + 1);
    if !rest.is_empty() {
        // a blank line between matrices
        let gap = ",".to_string() + &"\n".repeat(rest.len().min(2)) + &indent;
        return format!("[{}]", parts.join(&gap));
    }
    let mut text = String::from("[");
    let mut column = depth + 1;
    for (i, part) in parts.iter().enumerate() {
        let length = part.chars().count();
        if i > 0 {
            text.push(',');
            if column.saturating_add(length + 4) > columns {
                text.push('\n');
                text.push_str(&indent);
                column = depth + 1;
            } else {
                text.push(' ');
                column += 2;
            }
        }
        text.push_str(part);
        column += length;
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn shown(tensor: &Tensor) -> String {
        display(tensor, 80).unwrap()
    }

    #[test]
    fn small_tensors_show_every_number_in_columns() {
        let t = Tensor::new(&[[1_f32, -2.5], [10.25, 0.]], &Device::Cpu).unwrap();
        assert_eq!(
            shown(&t),
            "Tensor [2, 2] f32\n[[ 1.00, -2.50],\n [10.25,  0.00]]"
        );
        let whole = Tensor::new(&[3_u32, 10], &Device::Cpu).unwrap();
        assert_eq!(shown(&whole), "Tensor [2] u32\n[ 3, 10]");
        let one = Tensor::new(0.1_f32, &Device::Cpu).unwrap();
        assert_eq!(shown(&one), "Tensor [] f32\n0.1");
        let cube = Tensor::zeros((2, 1, 2), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(
            shown(&cube),
            "Tensor [2, 1, 2] f32\n[[[0.0, 0.0]],\n\n [[0.0, 0.0]]]"
        );
    }

    #[test]
    fn large_tensors_show_their_ends() {
        let values: Vec<f32> = (0..2000).map(|i| i as f32).collect();
        let t = Tensor::from_vec(values, (2, 1000), &Device::Cpu).unwrap();
        assert_eq!(
            shown(&t),
            "Tensor [2, 1000] f32\n[[   0.0,    1.0,    2.0, …,  997.0,  998.0,  999.0],\n \
             [1000.0, 1001.0, 1002.0, …, 1997.0, 1998.0, 1999.0]]"
        );
        let tall = Tensor::zeros((200, 1), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(shown(&tall).lines().count(), 8);
        assert!(shown(&tall).contains("\n …,\n"));
        let images = Tensor::zeros((200, 3, 32, 32), DType::F32, &Device::Cpu).unwrap();
        let text = shown(&images);
        assert!(text.ends_with("0.0]],\n\n  …],\n\n …]"), "{text}");
        assert_eq!(text.lines().count(), 12, "{text}");
    }

    #[test]
    fn precision_follows_the_numbers() {
        let small = Tensor::new(&[1e-6_f64, 2.0, f64::NAN], &Device::Cpu).unwrap();
        assert_eq!(
            shown(&small),
            "Tensor [3] f64\n[1.0000e-6,  2.0000e0,       nan]"
        );
        let third = Tensor::new(&[1_f32 / 3., f32::INFINITY], &Device::Cpu).unwrap();
        assert_eq!(shown(&third), "Tensor [2] f32\n[0.3333,    inf]");
    }

    #[test]
    fn long_rows_wrap_and_lines_stay_one() {
        let t = Tensor::zeros(30, DType::F32, &Device::Cpu).unwrap();
        let text = display(&t, 40).unwrap();
        assert!(text.lines().all(|l| l.chars().count() <= 40), "{text}");
        assert_eq!(text.matches("0.0").count(), 30);
        assert_eq!(line(&t).unwrap(), "Tensor [30] f32");
        let few = Tensor::new(&[1_f32, 2.], &Device::Cpu).unwrap();
        assert_eq!(line(&few).unwrap(), "Tensor [2] f32 [1.0, 2.0]");
    }
}
