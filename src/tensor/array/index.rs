//! Parts and shapes of tensors: axes and positions counted from either end.

use std::ops::Range;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::memory::room;

/// The axis that a number means: negative ones count from the last.
///
/// Errors: no such axis, with the shape.
pub fn axis(what: &str, tensor: &Tensor, axis: i64) -> Result<usize> {
    let rank = tensor.rank() as i64;
    let from_start = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&from_start) {
        return Ok(from_start as usize);
    }
    Err(Error::shape(format!(
        "{what}: a tensor of shape {:?} has no axis {axis}",
        tensor.dims()
    ))
    .with_help(match rank {
        0 => "a tensor of shape [] is a single number".to_string(),
        _ => format!("axes are 0 to {}, or -1 for the last", rank - 1),
    }))
}

/// One position along an axis, which goes away; negative positions count from the end.
///
/// Errors: no such axis or position, with the shape.
pub fn select(what: &str, tensor: &Tensor, along: i64, position: i64) -> Result<Tensor> {
    let along = axis(what, tensor, along)?;
    let length = tensor.dims()[along] as i64;
    let from_start = if position < 0 {
        position + length
    } else {
        position
    };
    if !(0..length).contains(&from_start) {
        return Err(Error::shape(format!(
            "{what}: position {position} is outside axis {along} of a tensor of shape {:?}",
            tensor.dims()
        ))
        .with_help(format!("positions are {} to {}", -length, length - 1)));
    }
    Ok(tensor
        .narrow(along, from_start as usize, 1)?
        .squeeze(along)?)
}

/// The positions `range` along an axis; negative ends count from the end, and what lies outside is
/// an error, not cut off.
///
/// Errors: no such axis or positions, with the shape.
pub fn narrow(what: &str, tensor: &Tensor, along: i64, range: Range<i64>) -> Result<Tensor> {
    let along = axis(what, tensor, along)?;
    let length = tensor.dims()[along] as i64;
    let from_start = |p: i64| if p < 0 { p + length } else { p };
    let (start, end) = (from_start(range.start), from_start(range.end));
    if start < 0 || end > length || start >= end {
        return Err(Error::shape(format!(
            "{what}: the range {}..{} holds no position of, or goes past, axis {along} of a tensor \
             of shape {:?}",
            range.start,
            range.end,
            tensor.dims()
        )));
    }
    Ok(tensor.narrow(along, start as usize, (end - start) as usize)?)
}

/// The same numbers in another shape; one length may be -1 and is then worked out.
///
/// Errors: another number of elements, with both shapes.
pub fn reshape(tensor: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let wrong = || {
        Error::shape(format!(
            "reshape: a tensor of shape {:?} ({} numbers) cannot have shape {shape:?}",
            tensor.dims(),
            tensor.elem_count()
        ))
    };
    let unknown = shape.iter().filter(|n| **n == -1).count();
    let known = shape
        .iter()
        .filter(|n| **n != -1)
        .try_fold(1_i64, |product, n| match *n >= 0 {
            true => product.checked_mul(*n),
            false => None,
        })
        .ok_or_else(wrong)?;
    let count = tensor.elem_count() as i64;
    let fits = match unknown {
        0 => known == count,
        1 => known > 0 && count % known == 0,
        _ => false,
    };
    if !fits {
        return Err(wrong());
    }
    let length = |n: &i64| if *n == -1 { count / known } else { *n } as usize;
    let shape: Vec<usize> = shape.iter().map(length).collect();
    if !tensor.is_contiguous() {
        room("reshape", &shape, tensor.dtype().size_in_bytes())?;
    }
    Ok(tensor.reshape(shape)?)
}

/// Tensors joined along an axis; their other lengths must be equal. With `new_axis` they are
/// stacked along an axis that does not exist yet.
///
/// Errors: no tensor, shapes that do not fit, with both.
pub fn join(what: &str, tensors: &[Tensor], along: i64, new_axis: bool) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::shape(format!("{what}: needs at least one tensor")));
    };
    let whole: Vec<Tensor> = match new_axis {
        true => tensors
            .iter()
            .map(|t| t.unsqueeze(0))
            .collect::<candle_core::Result<_>>()?,
        false => tensors.to_vec(),
    };
    let along = match new_axis {
        true => 0,
        false => axis(what, first, along)?,
    };
    let other = |t: &Tensor| {
        let mut dims = t.dims().to_vec();
        if along < dims.len() {
            dims[along] = 0;
        }
        dims
    };
    if let Some(i) = whole.iter().position(|t| other(t) != other(&whole[0])) {
        return Err(Error::shape(format!(
            "{what}: tensor {i} has shape {:?}, the first one {:?}",
            tensors[i].dims(),
            first.dims()
        )));
    }
    let numbers: usize = whole.iter().map(Tensor::elem_count).sum();
    let copied = whole
        .iter()
        .any(|t| t.dtype() != first.dtype() || !t.is_contiguous());
    let number = first.dtype().size_in_bytes() * if copied { 2 } else { 1 };
    room(what, &[numbers], number)?;
    let joined: candle_core::Result<Vec<Tensor>> = whole
        .iter()
        .map(|t| t.to_device(first.device())?.to_dtype(first.dtype()))
        .collect();
    Ok(Tensor::cat(&joined?, along)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::tensor::array::operations::numbers;

    fn arange(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn positions_and_axes_count_from_either_end() {
        let t = arange(&[2, 3]);
        let row = select("index", &t, 0, -1).unwrap();
        assert_eq!(numbers(&row).unwrap(), [3., 4., 5.]);
        let column = select("index", &t, -1, 0).unwrap();
        assert_eq!(numbers(&column).unwrap(), [0., 3.]);
        let middle = narrow("index", &t, 1, 1..3).unwrap();
        assert_eq!(numbers(&middle).unwrap(), [1., 2., 4., 5.]);
        assert_eq!(narrow("index", &t, 1, -2..3).unwrap().dims(), [2, 2]);
        for error in [
            select("index", &t, 0, 2).unwrap_err(),
            select("index", &t, 2, 0).unwrap_err(),
            narrow("index", &t, 1, 1..4).unwrap_err(),
            narrow("index", &t, 1, Range { start: 2, end: 1 }).unwrap_err(),
        ] {
            assert!(error.message.contains("[2, 3]"), "{error}");
        }
    }

    #[test]
    fn one_length_of_a_shape_may_be_left_open() {
        let t = arange(&[2, 6]);
        assert_eq!(reshape(&t, &[3, -1]).unwrap().dims(), [3, 4]);
        assert_eq!(reshape(&t, &[12]).unwrap().dims(), [12]);
        for shape in [&[5, -1][..], &[-1, -1], &[7], &[-2, -6], &[0, -1]] {
            let error = reshape(&t, shape).unwrap_err();
            assert!(error.message.contains("(12 numbers)"), "{error}");
        }
    }

    #[test]
    fn tensors_are_joined_and_stacked() {
        let (a, b) = (arange(&[2, 3]), arange(&[1, 3]));
        assert_eq!(
            join("concat", &[a.clone(), b.clone()], 0, false)
                .unwrap()
                .dims(),
            [3, 3]
        );
        assert_eq!(
            join("stack", &[a.clone(), a.clone()], 0, true)
                .unwrap()
                .dims(),
            [2, 2, 3]
        );
        let error = join("stack", &[a.clone(), b.clone()], 0, true).unwrap_err();
        assert_eq!(
            error.message,
            "stack: tensor 1 has shape [1, 3], the first one [2, 3]"
        );
        assert!(join("concat", &[a, b], 1, false).is_err());
        assert!(join("concat", &[], 0, false).is_err());
    }
}
