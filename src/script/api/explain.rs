//! What a parametrization does to a model.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::Registry;
use super::model::ModelValue;
use super::optim::OptimizerValue;
use crate::error::Error;
use crate::model::{Explanation, explain, explain_optimizer};
use crate::parametrization::OptimizerFamily;
use crate::script::{OrRaise, RhaiResultOf, raise};

/// Registers explanations.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Explanation>("Explanation");
    registry.global(rhai::exported_module!(functions));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// What the parametrization does to each parameter: path, shape, role, initial standard
    /// deviation, forward multiplier, learning rate and weight-decay factors, each with its exponent
    /// of width, and the row of the table that it follows (`not trained` for running estimates). With
    /// an optimizer the learning rate itself; without one, the factors for SGD or for the family that is
    /// named: `"sgd"`, `"adam"`, `"adafactor"`, `"muon"`, `"shampoo"`, `"soap"`.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 128, inputs: 20 }), mup(#{ base_width: 64 }));
    /// m.explain(adam(#{ lr: 0.01 })).rows[2].lr      // → 0.005
    /// ```
    #[rhai_fn(name = "explain", return_raw, pure)]
    pub fn explain_with(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        optimizer: OptimizerValue,
    ) -> RhaiResultOf<Explanation> {
        explain_optimizer(&model.read(), &*optimizer.0).or_raise(&ctx)
    }
    #[rhai_fn(name = "explain", return_raw, pure)]
    pub fn explain_family(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        family: &str,
    ) -> RhaiResultOf<Explanation> {
        let Some(family) = OptimizerFamily::from_name(family) else {
            return Err(raise(
                &ctx,
                Error::setting(format!(
                    "explain: expected one of {} or an optimizer, found \"{family}\"",
                    OptimizerFamily::ALL
                        .map(|f| format!("\"{}\"", f.name()))
                        .join(", ")
                )),
            ));
        };
        explain(&model.read(), family, None).or_raise(&ctx)
    }
    #[rhai_fn(name = "explain", return_raw, pure)]
    pub fn explain_default(
        ctx: NativeCallContext,
        model: &mut ModelValue,
    ) -> RhaiResultOf<Explanation> {
        explain_family(ctx, model, "sgd")
    }

    /// The rows of an explanation as maps: `path`, `shape`, `role`, `init_std`, `multiplier`, `lr`,
    /// `weight_decay`, each number with its exponent of width under `…_exponent` (`()` where the
    /// number is 0), and `source`.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 128 }), mup());
    /// m.explain("adam").rows[2].lr_exponent      // → -1.0
    /// ```
    #[rhai_fn(get = "rows", pure)]
    pub fn rows(explanation: &mut Explanation) -> Array {
        let row = |row: &crate::model::ExplainRow| {
            let mut map = Map::new();
            let shape = row.shape.iter().map(|&n| Dynamic::from(n as i64));
            map.insert("path".into(), row.path.clone().into());
            map.insert("shape".into(), shape.collect::<Array>().into());
            map.insert("role".into(), row.role.name().into());
            map.insert("source".into(), row.source.to_string().into());
            for (name, number) in [
                ("init_std", row.init_std),
                ("multiplier", row.multiplier),
                ("lr", row.lr),
                ("weight_decay", row.weight_decay),
            ] {
                map.insert(name.into(), number.value.into());
                let exponent = number.exponent.map_or(Dynamic::UNIT, Dynamic::from);
                map.insert(format!("{name}_exponent").into(), exponent);
            }
            Dynamic::from(map)
        };
        explanation.rows.iter().map(row).collect()
    }

    /// An explanation as a table.
    ///
    /// ```rhai
    /// init(mlp(#{ width: 128 }), mup()).explain().to_string().contains("readout.weight")  // → true
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn explanation_to_string(explanation: &mut Explanation) -> String {
        explanation.to_string()
    }
}
