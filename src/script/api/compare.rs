//! Comparing parametrizations.

use rhai::plugin::*;
use rhai::{Array, Map};
use serde_json::json;

use super::Registry;
use super::model::ModelValue;
use super::optim::OptimizerValue;
use crate::model::{CompareRow, Comparison, Counted, Relation, compare};
use crate::parametrization::OptimizerFamily;
use crate::script::{OrRaise, RhaiResultOf};

/// Registers comparisons.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Comparison>("Comparison");
    registry.global(rhai::exported_module!(functions));
}

fn word(relation: Relation) -> &'static str {
    match relation {
        Relation::Equal => "equal",
        Relation::Symmetric => "symmetric",
        Relation::Different => "different",
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// Where the parametrizations of two models of one network and width differ, and whether that matters, for an
    /// optimizer (SGD without weight decay if none is given). A parameter w enters as A w, starts with
    /// spread B and learns at the rate C; the function depends on A B and the kind of distribution, on A² C
    /// for SGD or A C for Adam, on ε / A and C times the weight decay where the optimizer has them, and on
    /// the factor of residual branches. Where these agree and A does not, the abc symmetry (*Tensor
    /// Programs IV*, arXiv 2011.14522) makes both rules the same. Numbers are the second model's in units
    /// of the first's, with their exponents of width.
    ///
    /// ```rhai
    /// let net = mlp(#{ width: 128, inputs: 20 });
    /// let a = init(net, mup(#{ base_width: 64 }));
    /// compare(a, init(net, sp())).relation      // → "different"
    /// // muP as Tensor Programs IV writes it, with other multipliers
    /// let b = init(net, abc(#{ base_width: 64, input: [-0.5, 0.5, 0], hidden: [0, 0.5, 0], output: [0.5, 0.5, 0] }));
    /// compare(a, b).relation                    // → "symmetric"
    /// ```
    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_with(
        ctx: NativeCallContext,
        a: ModelValue,
        b: ModelValue,
        optimizer: OptimizerValue,
    ) -> RhaiResultOf<Comparison> {
        let settings = optimizer.0.settings();
        let counted = Counted {
            weight_decay: settings
                .get("weight_decay")
                .is_some_and(|d| *d != json!(0.0)),
            eps: settings.get("eps").is_some(),
        };
        compare(&a.read(), &b.read(), optimizer.0.family(), counted).or_raise(&ctx)
    }
    #[rhai_fn(name = "compare", return_raw)]
    pub fn compare_default(
        ctx: NativeCallContext,
        a: ModelValue,
        b: ModelValue,
    ) -> RhaiResultOf<Comparison> {
        let counted = Counted {
            weight_decay: false,
            eps: false,
        };
        compare(&a.read(), &b.read(), OptimizerFamily::Sgd, counted).or_raise(&ctx)
    }

    /// How two parametrizations as wholes are related: `"equal"`, `"symmetric"` or `"different"`.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 64, inputs: 20 }), mup(#{ base_width: 64 }));
    /// compare(m, m, adam()).relation      // → "equal"
    /// // the same numbers at the base width, but not at others
    /// compare(m, init(mlp(#{ width: 64, inputs: 20 }), sp())).relation      // → "different"
    /// ```
    #[rhai_fn(get = "relation", pure)]
    pub fn relation(comparison: &mut Comparison) -> String {
        word(comparison.relation()).into()
    }

    /// The answer of a comparison in a sentence.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 64, inputs: 20 }), mup(#{ base_width: 64 }));
    /// compare(m, m).verdict      // → "mup and mup are the same here"
    /// ```
    #[rhai_fn(get = "verdict", pure)]
    pub fn verdict(comparison: &mut Comparison) -> String {
        comparison.verdict()
    }

    /// The rows of a comparison as maps: `path`, `relation`, `same_distribution`, and the ratios `multiplier`,
    /// `init`, `lr`, `weight_decay` and `eps`, each with its exponent of width under `…_exponent` (`()`
    /// where the ratio is 0).
    ///
    /// ```rhai
    /// let net = mlp(#{ width: 128, inputs: 20 });
    /// let rows = compare(init(net, mup(#{ base_width: 64 })), init(net, sp()), adam()).rows;
    /// [rows[2].path, rows[2].lr, rows[2].lr_exponent]      // → ["layers.1.weight", 2.0, 1.0]
    /// ```
    #[rhai_fn(get = "rows", pure)]
    pub fn compare_rows(comparison: &mut Comparison) -> Array {
        let row = |row: &CompareRow| {
            let mut map = Map::new();
            map.insert("path".into(), row.path.clone().into());
            map.insert("relation".into(), word(row.relation).into());
            map.insert("same_distribution".into(), row.same_distribution.into());
            for (name, number) in [
                ("multiplier", row.multiplier),
                ("init", row.init),
                ("lr", row.lr),
                ("weight_decay", row.weight_decay),
                ("eps", row.eps),
            ] {
                map.insert(name.into(), number.value.into());
                let exponent = number.exponent.map_or(Dynamic::UNIT, Dynamic::from);
                map.insert(format!("{name}_exponent").into(), exponent);
            }
            Dynamic::from(map)
        };
        comparison.rows.iter().map(row).collect()
    }

    /// A comparison as a table with its verdict.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 64, inputs: 20 }), mup(#{ base_width: 64 }));
    /// compare(m, m).to_string().contains("the same here")      // → true
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn comparison_to_string(comparison: &mut Comparison) -> String {
        comparison.to_string()
    }
}
