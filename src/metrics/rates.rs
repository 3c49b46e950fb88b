//! Learning rates of every parameter and member, in whose units curvature is measured.

use candle_core::Tensor;

use super::hessian::DIRECTION;
use crate::error::Result;
use crate::memory::{self, Number};
use crate::model::Model;
use crate::optim::{Optimizer, ParamRates};
use crate::tensor::elem::{Elem, read, write};

/// The learning rates of all parameters of a model, in their order: the diagonal `D` of
/// `D^(1/2) H D^(1/2)`. A loss falls and is unstable under gradient descent with these rates as it is under
/// rate 1 with that matrix, so that its eigenvalues do not depend on the form in which a parametrization is
/// written.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates(Vec<ParamRates>);

impl Rates {
    /// The learning rates that the model's parametrization gives its parameters under an optimizer, before
    /// any schedule: `lr · scale`, per member where the optimizer's rate is.
    ///
    /// # Errors
    /// If the optimizer's settings do not fit the number of members, or the parametrization fails.
    pub fn of(model: &Model, optimizer: &dyn Optimizer) -> Result<Self> {
        let members = model.members();
        optimizer.check(members)?;
        let scales = model.scales(optimizer.family())?;
        let params = model.params().iter().zip(&scales).map(|(param, scales)| {
            let rate = |member| optimizer.lr_of(&param.info, member) * scales.lr;
            ParamRates::PerMember((0..members).map(rate).collect())
        });
        Ok(Self(params.collect()))
    }

    /// Given learning rates, one entry for each parameter of the model.
    pub fn new(rates: Vec<ParamRates>) -> Self {
        Self(rates)
    }

    /// Those of the parameters as they are stored: 1.
    pub(super) fn one(model: &Model) -> Self {
        let params = model.params().iter();
        Self(
            params
                .map(|_| ParamRates::PerMember(vec![1.0; model.members()]))
                .collect(),
        )
    }

    /// Those of each parameter.
    pub fn params(&self) -> &[ParamRates] {
        &self.0
    }
}

/// Trained parameters of all members as one vector for each member, in coordinates `y = D^(-1/2) θ`.
pub(super) struct Coordinates<T> {
    members: usize,
    /// Of each trained parameter: its place among all, its size, and the roots of its learning rates.
    parts: Vec<(usize, usize, Roots<T>)>,
    size: usize,
}

enum Roots<T> {
    PerMember(Vec<T>),
    PerNumber(Vec<T>),
}

impl<T: Elem + Number> Roots<T> {
    fn new(rates: &ParamRates) -> Result<Self> {
        Ok(match rates {
            ParamRates::PerMember(rates) => {
                Self::PerMember(rates.iter().map(|r| T::of(r.sqrt())).collect())
            }
            ParamRates::PerNumber(rates) => {
                let mut roots = memory::numbers("roots of learning rates", &[rates.len()])?;
                for (root, rate) in roots.iter_mut().zip(rates) {
                    *root = T::of(rate.sqrt());
                }
                Self::PerNumber(roots)
            }
        })
    }

    /// `to = root · from` for a member's part.
    fn scale(&self, member: usize, to: &mut [T], from: &[T]) {
        match self {
            Self::PerMember(roots) => {
                let root = roots[member];
                to.iter_mut().zip(from).for_each(|(t, f)| *t = root * *f);
            }
            Self::PerNumber(roots) => {
                let roots = &roots[member * to.len()..];
                let numbers = to.iter_mut().zip(from).zip(roots);
                numbers.for_each(|((t, f), root)| *t = *root * *f);
            }
        }
    }

    /// How many of a member's `size` rates are 0.
    fn zeros(&self, member: usize, size: usize) -> usize {
        match self {
            Self::PerMember(roots) if roots[member].f64() == 0.0 => size,
            Self::PerMember(_) => 0,
            Self::PerNumber(roots) => {
                let own = &roots[member * size..][..size];
                own.iter().filter(|r| r.f64() == 0.0).count()
            }
        }
    }
}

impl<T: Elem + Number> Coordinates<T> {
    /// Those of the trained parameters, of which `shapes` has one tensor each, perhaps of fewer numbers than
    /// the model's own.
    ///
    /// # Errors
    /// If memory for them cannot be had.
    pub fn new(model: &Model, rates: &Rates, shapes: &[Tensor]) -> Result<Self> {
        let members = model.members();
        let params = model.params().iter().zip(&rates.0).zip(shapes).enumerate();
        let trained = params.filter(|(_, ((param, _), _))| param.info.kind.is_trained());
        let parts = trained
            .map(|(i, ((_, rates), t))| Ok((i, t.elem_count() / members, Roots::new(rates)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            members,
            size: parts.iter().map(|(_, size, _)| size).sum(),
            parts,
        })
    }

    /// Of each trained parameter: its place among all, numbers of a member, and the roots of its learning rates, one
    /// for each member or, where the last says so, for each number.
    pub fn parts(&self) -> impl Iterator<Item = (usize, usize, &[T], bool)> {
        self.parts.iter().map(|(place, size, roots)| match roots {
            Roots::PerMember(roots) => (*place, *size, roots.as_slice(), false),
            Roots::PerNumber(roots) => (*place, *size, roots.as_slice(), true),
        })
    }

    /// Numbers of one member.
    pub fn size(&self) -> usize {
        self.size
    }

    /// For each member, how many of its numbers have learning rate 0.
    pub fn zeros(&self) -> Vec<usize> {
        let of = |member| {
            let parts = self.parts.iter();
            parts
                .map(|(_, size, roots)| roots.zeros(member, *size))
                .sum()
        };
        (0..self.members).map(of).collect()
    }

    /// Sets to 0 the numbers of a member's vector that have learning rate 0.
    pub fn mask(&self, member: usize, vector: &mut [T]) {
        let mut rest = vector;
        for (_, size, roots) in &self.parts {
            let (part, others) = rest.split_at_mut(*size);
            rest = others;
            match roots {
                Roots::PerMember(roots) if roots[member].f64() == 0.0 => part.fill(T::of(0.0)),
                Roots::PerMember(_) => {}
                Roots::PerNumber(roots) => {
                    let roots = &roots[member * size..];
                    let zero = part.iter_mut().zip(roots).filter(|(_, r)| r.f64() == 0.0);
                    zero.for_each(|(x, _)| *x = T::of(0.0));
                }
            }
        }
    }

    /// The numbers of tensors like the parameters as a vector for each member, unscaled.
    ///
    /// # Errors
    /// If memory for them cannot be had.
    pub fn gather(&self, tensors: &[Tensor]) -> Result<Vec<Vec<T>>> {
        self.read(tensors, |_, _, to, from| to.copy_from_slice(from))
    }

    /// `D^(1/2)` times tensors like the parameters.
    ///
    /// # Errors
    /// As for [`Self::gather`].
    pub fn scaled(&self, tensors: &[Tensor]) -> Result<Vec<Vec<T>>> {
        self.read(tensors, |roots, member, to, from| {
            roots.scale(member, to, from)
        })
    }

    fn read(
        &self,
        tensors: &[Tensor],
        take: impl Fn(&Roots<T>, usize, &mut [T], &[T]),
    ) -> Result<Vec<Vec<T>>> {
        let mut vectors = (0..self.members)
            .map(|_| memory::numbers::<T>(DIRECTION, &[self.size]))
            .collect::<Result<Vec<_>>>()?;
        let mut start = 0;
        for (i, size, roots) in &self.parts {
            read(&tensors[*i], |from: &[T]| {
                for (member, vector) in vectors.iter_mut().enumerate() {
                    let to = &mut vector[start..start + size];
                    take(roots, member, to, &from[member * size..][..*size]);
                }
                Ok(())
            })?;
            start += size;
        }
        Ok(vectors)
    }

    /// Writes `D^(1/2)` times a vector for each member into tensors like the parameters.
    ///
    /// # Errors
    /// If a tensor is not of the model's type.
    pub fn scatter(&self, vectors: &[&[T]], tensors: &[Tensor]) -> Result<()> {
        let mut start = 0;
        for (i, size, roots) in &self.parts {
            write(&tensors[*i], |to: &mut [T]| {
                for (member, vector) in vectors.iter().enumerate() {
                    let to = &mut to[member * size..][..*size];
                    roots.scale(member, to, &vector[start..start + size]);
                }
                Ok(())
            })?;
            start += size;
        }
        Ok(())
    }
}
