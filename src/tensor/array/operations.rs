//! Element-wise arithmetic and comparison of two tensors.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::memory::room;
use crate::tensor::elem::to_f64;

/// An arithmetic operation on two tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`; of whole numbers too it is a real number.
    Div,
    /// `a ** b`, always a real number.
    Pow,
}

impl Arithmetic {
    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Pow => "**",
        }
    }

    /// `a ∘ b` of tensors whose shapes broadcast: aligned at the last axis, they are equal or 1.
    ///
    /// The result is `f64` if one of them is, else `f32` if one of them is of real numbers, else
    /// `i64`. It lies on the device of `a`. Errors: shapes that do not broadcast, with both.
    pub fn apply(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.with_dtype(a, b, common_dtype(a.dtype(), b.dtype()))
    }

    /// `a ∘ number`, of the type of `a` if it is of real numbers.
    ///
    /// Errors: none but those of the device.
    pub fn apply_number(self, a: &Tensor, number: f64) -> Result<Tensor> {
        let number = Tensor::new(number, &Device::Cpu)?;
        self.with_dtype(a, &number, real_dtype(a.dtype()))
    }

    /// `number ∘ b`, of the type of `b` if it is of real numbers.
    ///
    /// Errors: none but those of the device.
    pub fn apply_to_number(self, number: f64, b: &Tensor) -> Result<Tensor> {
        let number = Tensor::new(number, &Device::Cpu)?.to_device(b.device())?;
        self.with_dtype(&number, b, real_dtype(b.dtype()))
    }

    fn with_dtype(self, a: &Tensor, b: &Tensor, dtype: DType) -> Result<Tensor> {
        let (x, y) = (a.dims(), b.dims());
        let fit = x.iter().rev().zip(y.iter().rev());
        if fit.into_iter().any(|(m, n)| m != n && *m != 1 && *n != 1) {
            return Err(Error::shape(format!(
                "`{}`: shapes {x:?} and {y:?} do not broadcast",
                self.sign()
            ))
            .with_help("aligned at the last axis, lengths must be equal or 1"));
        }
        let dtype = match self {
            Self::Div | Self::Pow => real_dtype(dtype),
            _ => dtype,
        };
        let shape = a
            .shape()
            .broadcast_shape_binary_op(b.shape(), "arithmetic")?;
        let numbers = match self {
            // both operands and the result as f64
            Self::Pow => 3 * size_of::<f64>(),
            _ => dtype.size_in_bytes(),
        };
        let copied = [a, b].into_iter().filter(|t| t.dtype() != dtype).count();
        let number = numbers + copied * dtype.size_in_bytes();
        room(&format!("`{}`", self.sign()), shape.dims(), number)?;
        let a = a.to_dtype(dtype)?;
        let b = b.to_dtype(dtype)?.to_device(a.device())?;
        Ok(match self {
            Self::Add => a.broadcast_add(&b)?,
            Self::Sub => a.broadcast_sub(&b)?,
            Self::Mul => a.broadcast_mul(&b)?,
            Self::Div => a.broadcast_div(&b)?,
            Self::Pow => power(&a, &b)?,
        })
    }
}

/// candle's own power goes through logarithms, which loses negative bases.
fn power(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = a.shape().broadcast_shape_binary_op(b.shape(), "pow")?;
    let numbers = |t: &Tensor| to_f64(&t.broadcast_as(&shape)?);
    let powers: Vec<f64> = numbers(a)?
        .iter()
        .zip(&numbers(b)?)
        .map(|(x, y)| x.powf(*y))
        .collect();
    let found = Tensor::from_vec(powers, &shape, &Device::Cpu)?;
    Ok(found.to_dtype(a.dtype())?.to_device(a.device())?)
}

/// The same numbers as another type; integers cut off what stands behind the decimal point.
///
/// Errors: a number that integers of that type cannot hold, no memory.
pub fn cast(what: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.dtype() == dtype {
        return Ok(tensor.clone());
    }
    room(what, tensor.dims(), dtype.size_in_bytes())?;
    let limits = match dtype {
        DType::U32 => Some(0.0..=f64::from(u32::MAX)),
        // the largest float below 2^63
        DType::I64 => Some(-(2_f64.powi(63))..=2_f64.powi(63) - 1024.0),
        _ => None,
    };
    if let Some(limits) = limits {
        let numbers = numbers(tensor)?;
        let outside = numbers.iter().find(|x| !limits.contains(&x.trunc()));
        if let Some(x) = outside {
            return Err(Error::setting(format!(
                "{what}: {x} cannot be a number of type {}, which goes from {} to {}",
                dtype.as_str(),
                limits.start(),
                limits.end()
            )));
        }
    }
    Ok(tensor.to_dtype(dtype)?)
}

/// The type itself if it is of real numbers, else `f32`.
pub fn real_dtype(dtype: DType) -> DType {
    if dtype.is_int() { DType::F32 } else { dtype }
}

fn common_dtype(a: DType, b: DType) -> DType {
    match (a.is_int(), b.is_int()) {
        // u32 would wrap below 0
        (true, true) => DType::I64,
        (true, false) => b,
        (false, true) => a,
        (false, false) if a == b => a,
        (false, false) if a == DType::F64 || b == DType::F64 => DType::F64,
        (false, false) => DType::F32,
    }
}

/// The matrix product over the last two axes; leading axes broadcast.
///
/// Errors: fewer than two axes, inner lengths or leading axes that do not fit, with both shapes.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let dtype = real_dtype(common_dtype(a.dtype(), b.dtype()));
    let wrong = |why: &str| {
        Err(Error::shape(format!(
            "matmul: shapes {:?} and {:?}: {why}",
            a.dims(),
            b.dims()
        )))
    };
    let (x, y) = (a.dims(), b.dims());
    if x.len() < 2 || y.len() < 2 {
        return wrong("both need at least two axes");
    }
    if x[x.len() - 1] != y[y.len() - 2] {
        return wrong("the last axis of the first and the last but one of the second differ");
    }
    let lead = (&x[..x.len() - 2], &y[..y.len() - 2]);
    let fit = lead.0.iter().rev().zip(lead.1.iter().rev());
    if fit.into_iter().any(|(m, n)| m != n && *m != 1 && *n != 1) {
        return wrong("the leading axes do not broadcast");
    }
    let axes = lead.0.len().max(lead.1.len());
    let length = |lead: &[usize], i: usize| match (i + lead.len()).checked_sub(axes) {
        Some(i) => lead[i],
        None => 1,
    };
    let leading = (0..axes).map(|i| length(lead.0, i).max(length(lead.1, i)));
    let batch: usize = leading.product();
    let (m, k, n) = (x[x.len() - 2], x[x.len() - 1], y[y.len() - 1]);
    // candle copies an operand that broadcasts, and one of another type
    let copied = |t: &Tensor, lead: &[usize]| {
        let broadcast = lead.iter().product::<usize>() != batch;
        if broadcast || t.dtype() != dtype {
            1
        } else {
            0
        }
    };
    let numbers = m * n + copied(a, lead.0) * m * k + copied(b, lead.1) * k * n;
    room("matmul", &[batch, numbers], dtype.size_in_bytes())?;
    let b = b.to_device(a.device())?.to_dtype(dtype)?;
    Ok(a.to_dtype(dtype)?.broadcast_matmul(&b)?)
}

/// Whether two tensors have the same shape and the same numbers, whatever their types.
///
/// NaN equals nothing. Errors: none but those of the device.
pub fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(a.dims() == b.dims() && pairs(a, b)?.all(|(x, y)| x == y))
}

/// Whether |a − b| ≤ `atol` + `rtol` · |b| everywhere (numpy's `allclose`). Equal infinities are
/// close, NaN is close to nothing.
///
/// Errors: shapes that differ, with both.
pub fn close(a: &Tensor, b: &Tensor, rtol: f64, atol: f64) -> Result<bool> {
    if a.dims() != b.dims() {
        return Err(Error::shape(format!(
            "close_to: shapes {:?} and {:?} differ",
            a.dims(),
            b.dims()
        )));
    }
    Ok(pairs(a, b)?
        .all(|(x, y)| x == y || (y.is_finite() && (x - y).abs() <= atol + rtol * y.abs())))
}

fn pairs(a: &Tensor, b: &Tensor) -> Result<impl Iterator<Item = (f64, f64)>> {
    Ok(numbers(a)?.into_iter().zip(numbers(b)?))
}

/// All numbers in order, the last axis fastest.
///
/// Errors: those of the device, and where memory cannot be had.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    to_f64(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn shapes_broadcast_or_are_named() {
        let a = t(&[1., 2., 3., 4., 5., 6.], &[2, 3]);
        let row = t(&[10., 20., 30.], &[3]);
        let sum = Arithmetic::Add.apply(&a, &row).unwrap();
        assert_eq!(numbers(&sum).unwrap(), [11., 22., 33., 14., 25., 36.]);
        let error = Arithmetic::Mul.apply(&a, &t(&[1., 2.], &[2])).unwrap_err();
        assert_eq!(error.message, "`*`: shapes [2, 3] and [2] do not broadcast");
    }

    #[test]
    fn types_widen_and_whole_numbers_divide_to_real_ones() {
        let whole = Tensor::new(&[1_u32, 2], &Device::Cpu).unwrap();
        let less = Arithmetic::Sub.apply_number(&whole, 0.5).unwrap();
        assert_eq!(less.dtype(), DType::F32);
        let two = Tensor::new(&[2_u32, 4], &Device::Cpu).unwrap();
        let below = Arithmetic::Sub.apply(&whole, &two).unwrap();
        assert_eq!(below.to_vec1::<i64>().unwrap(), [-1, -2]);
        let half = Arithmetic::Div.apply(&whole, &two).unwrap();
        assert_eq!(half.to_vec1::<f32>().unwrap(), [0.5, 0.5]);
        let wide = Tensor::new(&[1_f64], &Device::Cpu).unwrap();
        let sum = Arithmetic::Add.apply(&half, &wide).unwrap();
        assert_eq!(sum.dtype(), DType::F64);
        let inverse = Arithmetic::Div.apply_to_number(1.0, &half).unwrap();
        assert_eq!(inverse.to_vec1::<f32>().unwrap(), [2.0, 2.0]);
    }

    #[test]
    fn powers_take_negative_bases() {
        let cubes = Arithmetic::Pow.apply_number(&t(&[-2., 3.], &[2]), 3.0);
        assert_eq!(numbers(&cubes.unwrap()).unwrap(), [-8.0, 27.0]);
    }

    #[test]
    fn products_of_matrices_broadcast_over_leading_axes() {
        let a = t(&[1., 2., 3., 4.], &[1, 2, 2]);
        let b = t(&[1., 0., 0., 1., 2., 0., 0., 2.], &[2, 2, 2]);
        let c = matmul(&a, &b).unwrap();
        assert_eq!(c.dims(), [2, 2, 2]);
        assert_eq!(numbers(&c).unwrap(), [1., 2., 3., 4., 2., 4., 6., 8.]);
        let error = matmul(&a, &t(&[1., 2., 3.], &[3, 1])).unwrap_err();
        assert!(error.message.contains("[1, 2, 2] and [3, 1]"), "{error}");
    }

    #[test]
    fn closeness_is_numpys() {
        let a = t(&[1.0, f32::INFINITY], &[2]);
        assert!(close(&a, &t(&[1.000_001, f32::INFINITY], &[2]), 1e-5, 1e-8).unwrap());
        assert!(!close(&a, &t(&[1.1, f32::INFINITY], &[2]), 1e-5, 1e-8).unwrap());
        assert!(!close(&a, &t(&[1.0, 5.0], &[2]), 1e-5, 1e-8).unwrap());
        let nan = t(&[f32::NAN], &[1]);
        assert!(!close(&nan, &nan, 1.0, 1.0).unwrap());
        assert!(!equal(&nan, &nan).unwrap());
        assert!(close(&a, &nan, 1.0, 1.0).is_err());
        assert!(!equal(&a, &nan).unwrap());
    }
}
