//! One number for all bits of a model's parameters.

use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::model::Model;
use crate::tensor::elem::each_f64;

/// A number (FNV-1a over paths and bits) that is equal for models whose parameters are equal bit for
/// bit, and different, but for a chance of 2⁻⁶⁴, for others.
///
/// # Errors
/// If the parameters cannot be copied to the host.
pub fn fingerprint(model: &Model) -> Result<u64> {
    let mut hash = Fingerprint::default();
    let mut add = |byte: u8| hash.add(byte.into());
    for param in model.params() {
        param.info.path.bytes().for_each(&mut add);
        // f32 becomes f64 without loss
        each_f64(&param.value, |number| {
            let bytes = number.to_bits().to_le_bytes();
            bytes.into_iter().for_each(&mut add);
        })?;
    }
    Ok(hash.value())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::ModelSettings;
    use crate::nn::{Mlp, mlp};
    use crate::parametrization::Sp;

    #[test]
    fn tells_models_apart_by_one_bit() -> Result<()> {
        let network = mlp(Mlp {
            width: 3,
            inputs: Some(4),
            ..Mlp::default()
        });
        let make = || {
            Model::new(
                network.clone(),
                Arc::new(Sp::default()),
                ModelSettings::default(),
            )
        };
        let mut model = make()?;
        let before = fingerprint(&model)?;
        assert_eq!(before, fingerprint(&make()?)?);
        let bias = &model.params()[1];
        let (path, value) = (bias.info.path.clone(), bias.value.affine(1.0, 1e-6)?);
        model.set_param(&path, &value)?;
        assert_ne!(before, fingerprint(&model)?);
        Ok(())
    }
}
