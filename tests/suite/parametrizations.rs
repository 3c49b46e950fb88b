//! The tables value by value, and the symmetries between them.

use std::sync::{Arc, RwLock};

use crate::reference::Fixture;
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use widthwise::data::{Teacher, TeacherSettings};
use widthwise::error::Result;
use widthwise::model::{Counted, Model, ModelSettings, Relation, compare, explain};
use widthwise::nn::{
    Blocks, Heads, ImageNorm, Mlp, ParamKind, Positions, Resnet, Role, RowNorm, Transformer, mlp,
    resnet, transformer,
};
use widthwise::optim::{Adam, Optimizer, Sgd};
use widthwise::parametrization::{
    Abc, DepthMup, Exponents, Init, Initializer, MeanField, Mup, Ntp, OptimizerFamily,
    Parametrization, Sp, UnitMup, WeightDecayRule,
};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::rng::Key;
use widthwise::train::{NoHooks, Trainer, TrainerSettings};

const INPUTS: usize = 20;
const PATHS: [&str; 6] = [
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.weight",
    "layers.1.bias",
    "readout.weight",
    "readout.bias",
];

fn model(width: usize, rule: Arc<dyn Parametrization>) -> Model {
    let network = mlp(Mlp {
        width,
        inputs: Some(INPUTS),
        outputs: Some(1),
        ..Mlp::default()
    });
    let settings = ModelSettings {
        seeds: vec![1, 2],
        dtype: DType::F64,
        ..ModelSettings::default()
    };
    Model::new(network, rule, settings).unwrap()
}

/// (initial standard deviation, multiplier, SGD lr, Adam lr) of the six parameters of [`PATHS`].
type Table = [(f64, f64, f64, f64); 6];

fn check(rule: Arc<dyn Parametrization>, width: usize, wanted: Table) {
    let name = rule.name().to_string();
    let model = model(width, rule);
    assert_eq!(
        model
            .params()
            .iter()
            .map(|p| p.info.path.as_str())
            .collect::<Vec<_>>(),
        PATHS
    );
    let (sgd, adam) = (
        model.scales(OptimizerFamily::Sgd).unwrap(),
        model.scales(OptimizerFamily::Adam).unwrap(),
    );
    for (i, want) in wanted.into_iter().enumerate() {
        let ours = (sgd[i].init.std(), sgd[i].multiplier, sgd[i].lr, adam[i].lr);
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
        assert!(
            close(ours.0, want.0)
                && close(ours.1, want.1)
                && close(ours.2, want.2)
                && close(ours.3, want.3),
            "{name} at {width}, {}: {ours:?}, the table says {want:?}",
            PATHS[i]
        );
        assert_eq!(
            (sgd[i].init, sgd[i].multiplier),
            (adam[i].init, adam[i].multiplier)
        );
    }
}

#[test]
fn standard_parametrization() {
    let (d, n) = (INPUTS as f64, 256.0);
    let torch = |fan_in: f64| (1.0 / (3.0 * fan_in)).sqrt();
    let row = |std: f64| (std, 1.0, 1.0, 1.0);
    check(
        Arc::new(Sp::default()),
        256,
        [
            row(torch(d)),
            row(torch(d)),
            row(torch(n)),
            row(torch(n)),
            row(torch(n)),
            row(torch(n)),
        ],
    );
    let he = |fan_in: f64| (2.0 / fan_in).sqrt();
    let init = Initializer::KaimingNormal;
    check(
        Arc::new(Sp { init }),
        256,
        [
            row(he(d)),
            row(0.0),
            row(he(n)),
            row(0.0),
            row(he(n)),
            row(0.0),
        ],
    );
}

#[test]
fn neural_tangent_parametrization() {
    let (d, n) = (INPUTS as f64, 256.0);
    let weight = |fan_in: f64| (1.0, 1.5 / fan_in.sqrt(), 1.0, 1.0);
    let bias = (1.0, 0.1, 1.0, 1.0);
    check(
        Arc::new(Ntp {
            weight_std: 1.5,
            bias_std: 0.1,
        }),
        256,
        [weight(d), bias, weight(n), bias, weight(n), bias],
    );
    let zero = (0.0, 1.0, 1.0, 1.0);
    let plain = |fan_in: f64| (1.0, 1.0 / fan_in.sqrt(), 1.0, 1.0);
    check(
        Arc::new(Ntp::default()),
        256,
        [plain(d), zero, plain(n), zero, plain(n), zero],
    );
}

#[test]
fn maximal_update_parametrization_table_8() {
    // variance 1/fan_in, biases 0: the table's own normalisation, in units of the base width
    let (d, n0, n) = (INPUTS as f64, 64.0, 256.0);
    let m = n / n0;
    let std = |fan_in: f64| (1.0 / fan_in).sqrt();
    let rule = Mup {
        base_width: 64,
        init: Initializer::LecunNormal,
        ..Mup::default()
    };
    let bias = (0.0, 1.0, m, 1.0);
    let wanted: Table = [
        (std(d), 1.0, m, 1.0),
        bias,
        (std(n), 1.0, 1.0, 1.0 / m),
        bias,
        (std(n0), 1.0 / m, m, 1.0),
        (0.0, 1.0, 1.0, 1.0),
    ];
    check(Arc::new(rule.clone()), 256, wanted);
    let mut other = wanted;
    other[0].1 = 3.0;
    other[4] = (0.0, 5.0 / m, m, 1.0);
    let settings = Mup {
        output_mult: 5.0,
        input_mult: 3.0,
        zero_readout: true,
        ..rule
    };
    check(Arc::new(settings), 256, other);
}

#[test]
fn at_its_base_width_mup_is_sp() {
    for width in [16, 64] {
        let mup = model(
            width,
            Arc::new(Mup {
                base_width: width,
                ..Mup::default()
            }),
        );
        let sp = model(width, Arc::new(Sp::default()));
        for family in [OptimizerFamily::Sgd, OptimizerFamily::Adam] {
            for (a, b) in mup
                .scales(family)
                .unwrap()
                .iter()
                .zip(sp.scales(family).unwrap())
            {
                assert_eq!(
                    (a.init, a.multiplier, a.lr, a.eps),
                    (b.init, b.multiplier, b.lr, b.eps)
                );
            }
        }
    }
}

#[test]
fn mean_field_with_richness() {
    let (d, n, g) = (INPUTS as f64, 256.0, 0.5);
    let lr = g * g * n;
    check(
        Arc::new(MeanField { gamma0: g }),
        256,
        [
            (1.0, 1.0 / d.sqrt(), lr, g),
            (0.0, 1.0, lr, g),
            (1.0, 1.0 / n.sqrt(), lr, g / n.sqrt()),
            (0.0, 1.0, lr, g),
            (1.0, 1.0 / (g * n), lr, g),
            (0.0, 1.0 / (g * n.sqrt()), lr, g * n.sqrt()),
        ],
    );
}

#[test]
fn weight_decay_and_epsilon_options_of_mup() {
    let m = 4.0;
    let lookup = |rule: Mup| {
        model(256, Arc::new(rule))
            .scales(OptimizerFamily::Adam)
            .unwrap()
    };
    let base = Mup {
        base_width: 64,
        ..Mup::default()
    };
    assert_eq!(
        lookup(base.clone()).map_hidden(|s| (s.weight_decay, s.eps)),
        (m, 1.0)
    );
    let coupled = Mup {
        weight_decay: WeightDecayRule::Coupled,
        scale_eps: true,
        ..base
    };
    assert_eq!(
        lookup(coupled).map_hidden(|s| (s.weight_decay, s.eps)),
        (1.0, 1.0 / m)
    );
}

trait MapHidden {
    fn map_hidden<R>(&self, f: impl Fn(&widthwise::parametrization::Scales) -> R) -> R;
}

impl MapHidden for Vec<widthwise::parametrization::Scales> {
    fn map_hidden<R>(&self, f: impl Fn(&widthwise::parametrization::Scales) -> R) -> R {
        f(&self[2])
    }
}

#[test]
fn roles_and_exponents_are_explained() -> Result<()> {
    let rule = Arc::new(Mup {
        base_width: 64,
        ..Mup::default()
    });
    let table = explain(&model(128, rule), OptimizerFamily::Adam, Some(0.01))?;
    let roles: Vec<Role> = table.rows.iter().map(|r| r.role).collect();
    use Role::{Fixed, Hidden, InputLike, OutputLike, VectorLike};
    assert_eq!(
        roles,
        [InputLike, VectorLike, Hidden, VectorLike, OutputLike, Fixed]
    );
    let hidden = &table.rows[2];
    assert_eq!(hidden.init_std.exponent, Some(-0.5));
    assert_eq!((hidden.lr.value, hidden.lr.exponent), (0.005, Some(-1.0)));
    assert_eq!(table.rows[4].multiplier.exponent, Some(-1.0));
    assert_eq!(table.rows[4].init_std.exponent, Some(0.0));
    let text = table.to_string();
    for word in ["readout.weight", "hidden", "0.005 w^-1", "TP-V Table 8"] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    Ok(())
}

#[test]
fn muon_has_its_own_row_for_hidden_matrices() {
    let base = |width| model(width, Arc::new(Mup::default()));
    let lr = |m: &Model, family| {
        m.scales(family)
            .unwrap()
            .iter()
            .map(|s| s.lr)
            .collect::<Vec<_>>()
    };
    let (muon, adam) = (
        lr(&base(256), OptimizerFamily::Muon),
        lr(&base(256), OptimizerFamily::Adam),
    );
    // fan-in and fan-out grow alike
    assert_eq!((muon[2], adam[2]), (1.0, 0.25));
    for i in [0, 1, 3, 4, 5] {
        assert_eq!(muon[i], adam[i], "{i}");
    }
    let hidden = &base(256).scales(OptimizerFamily::Muon).unwrap()[2];
    assert_eq!(
        (hidden.fans, &*hidden.source),
        ([64, 64], "2512.05620, Muon")
    );
    let others = &base(256).scales(OptimizerFamily::Muon).unwrap()[0];
    assert_eq!(others.source, "TP-V Table 8");
    // a matrix that grows on one side more than on the other
    let mut info = base(256).params()[2].info.clone();
    (info.fan_out, info.base_fan_out) = (1024, 64);
    let scaled = Mup {
        scale_eps: true,
        ..Mup::default()
    };
    let scales = scaled.scales(&info, OptimizerFamily::Muon).unwrap();
    assert_eq!(
        (scales.lr, scales.eps, scales.weight_decay),
        (2.0, 0.5, 0.5)
    );
    // an update of norm √fan_out under the multiplier 1/√fan_in
    let field = MeanField { gamma0: 1.0 }
        .scales(&info, OptimizerFamily::Muon)
        .unwrap();
    assert_eq!((field.lr, field.fans), (32.0, [1, 1]));
    assert_eq!(
        Sp::default()
            .scales(&info, OptimizerFamily::Muon)
            .unwrap()
            .fans,
        [256, 1024]
    );
    assert_eq!(
        Sp::default()
            .scales(&info, OptimizerFamily::Muon)
            .unwrap()
            .lr,
        1.0
    );
}

/// The table of learning rates and epsilons of arXiv 2512.05620, for a hidden matrix of 256 × 1024 that is
/// 64 × 64 at the base width.
#[test]
fn optimizers_of_matrices_have_the_rows_of_their_paper() {
    let mut info = model(256, Arc::new(Mup::default())).params()[2]
        .info
        .clone();
    (info.fan_out, info.base_fan_out) = (1024, 64);
    (info.in_branch, info.blocks) = (true, 8);
    let width = Mup {
        scale_eps: true,
        ..Mup::default()
    };
    let complete = DepthMup::complete_p(width.clone(), 2);
    let depth = DepthMup::new(width.clone(), 2);
    let shampoo = |exponent_in, exponent_out, block| OptimizerFamily::Shampoo {
        exponent_in,
        exponent_out,
        block,
    };
    let soap = |basis_in, basis_out, block| OptimizerFamily::Soap {
        basis_in,
        basis_out,
        block,
    };
    // lr and eps over width; what four times the depth multiplies them by in CompleteP and Depth-muP
    for (family, over_width, over_depth, depth_mup) in [
        (OptimizerFamily::Sgd, [4.0, 1.0], [4.0, 1.0], [1.0, 1.0]),
        (
            OptimizerFamily::Adam,
            [0.25, 1.0 / 16.0],
            [1.0, 0.25],
            [0.5, 0.5],
        ),
        (
            OptimizerFamily::Adafactor,
            [0.5, 0.5],
            [1.0, 1.0],
            [0.5, 1.0],
        ),
        (OptimizerFamily::Muon, [2.0, 0.5], [1.0, 0.25], [0.5, 0.5]),
        (
            shampoo(0.25, 0.25, None),
            [2.0, 1.0],
            [1.0, 1.0],
            [0.5, 1.0],
        ),
        (
            shampoo(0.5, 0.5, None),
            [1.0, 1.0],
            [0.25, 1.0],
            [0.25, 1.0],
        ),
        (
            shampoo(0.0, 0.25, None),
            [8f64.sqrt(), 1.0],
            [2.0, 1.0],
            [0.5f64.sqrt(), 1.0],
        ),
        (
            shampoo(0.25, 0.25, Some(64)),
            [0.25, 1.0],
            [1.0, 1.0],
            [0.5, 1.0],
        ),
        (soap(true, true, None), [2.0, 0.5], [1.0, 0.25], [0.5, 0.5]),
        (
            soap(false, true, None),
            [1.0, 0.25],
            [1.0, 0.25],
            [0.5, 0.5],
        ),
        (
            soap(true, false, None),
            [0.5, 0.125],
            [1.0, 0.25],
            [0.5, 0.5],
        ),
        (
            soap(true, true, Some(64)),
            [0.25, 1.0 / 16.0],
            [1.0, 0.25],
            [0.5, 0.5],
        ),
        (
            soap(true, true, Some(128)),
            [0.5, 0.125],
            [1.0, 0.25],
            [0.5, 0.5],
        ),
    ] {
        let of = |rule: &dyn Parametrization| {
            let s = rule.scales(&info, family).unwrap();
            assert!((s.lr * s.weight_decay - 1.0).abs() < 1e-12, "{family:?}");
            [s.lr, s.eps]
        };
        let close = |found: [f64; 2], wanted: [f64; 2]| {
            let mut pairs = found.into_iter().zip(wanted);
            assert!(
                pairs.all(|(a, b)| (a / b - 1.0).abs() < 1e-12),
                "{family:?}: {found:?} {wanted:?}"
            );
        };
        close(of(&width), over_width);
        let times = |by: [f64; 2]| std::array::from_fn(|i| over_width[i] * by[i]);
        close(of(&complete), times(over_depth));
        close(of(&depth), times(depth_mup));
        // without a base shape: N(0, 1) and the multiplier 1/√256
        let unit: f64 = 1.0 / 16.0;
        let field = MeanField::default().scales(&info, family).unwrap();
        let unit_mup = UnitMup::default().scales(&info, family).unwrap();
        let wanted = match family {
            OptimizerFamily::Sgd => 256.0,
            OptimizerFamily::Adam | OptimizerFamily::Adafactor => 1.0 / 16.0,
            family => family.lr_growth([256, 1024], [1, 1]) * unit.powf(-family.multiplier_power()),
        };
        assert!(
            (field.lr / wanted - 1.0).abs() < 1e-12,
            "{family:?}: {}",
            field.lr
        );
        let in_branch = match family {
            OptimizerFamily::Sgd => 4.0,
            family => 8f64.powf(-0.5 + 0.5 * family.degree()),
        };
        assert!(
            (unit_mup.lr / (wanted * in_branch) - 1.0).abs() < 1e-12,
            "{family:?}: {}",
            unit_mup.lr
        );
    }
    // all else follows Adam
    for i in [0, 1, 4, 5] {
        let info = &model(256, Arc::new(width.clone())).params()[i].info.clone();
        for family in [
            shampoo(0.25, 0.25, None),
            soap(true, true, None),
            OptimizerFamily::Muon,
        ] {
            assert_eq!(
                width.scales(info, family).unwrap(),
                width.scales(info, OptimizerFamily::Adam).unwrap()
            );
        }
    }
}

/// u-muP's Table 2.
#[test]
fn unit_scaled_mup() {
    let (d, n) = (INPUTS as f64, 256.0);
    let one = |lr| (0.0, 1.0, lr, 1.0);
    check(
        Arc::new(UnitMup::default()),
        256,
        [
            (1.0, 1.0 / d.sqrt(), n, 1.0 / d.sqrt()),
            one(n),
            (1.0, 1.0 / n.sqrt(), n, 1.0 / n.sqrt()),
            one(n),
            (1.0, 1.0 / n, n, 1.0),
            one(1.0),
        ],
    );
}

/// What unit-scaling makes of its transformer's parameters.
#[test]
fn unit_scaled_mup_of_a_transformer_is_that_of_unit_scaling() {
    let fixture = Fixture::load("u_mup");
    let number = |v: &Value| v.as_f64().unwrap();
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
    let cases = fixture.json["cases"].as_array().unwrap();
    assert!(cases.len() >= 4);
    for case in cases {
        let whole = |key: &str| case[key].as_u64().unwrap() as usize;
        let network = transformer(Transformer {
            width: whole("width"),
            context: Some(4),
            vocab: Some(fixture.json["settings"]["vocab"].as_u64().unwrap() as usize),
            blocks: Blocks {
                depth: whole("layers"),
                heads: Heads::Count(2),
                bias: false,
                norm: RowNorm::Rms,
                positions: Positions::Rope,
                gated: true,
                ..Blocks::default()
            },
            ..Transformer::default()
        });
        let rule = UnitMup::default();
        let branch = rule.branch_multiplier(whole("layers")).unwrap();
        for theirs in case["branches"].as_array().unwrap() {
            assert!(close(branch, number(theirs)), "{branch} {theirs}");
        }
        let model = Model::new(network, Arc::new(rule), ModelSettings::default()).unwrap();
        let scales = model.scales(OptimizerFamily::Adam).unwrap();
        for (p, s) in model.params().iter().zip(&scales) {
            let (info, path) = (&p.info, &p.info.path);
            let kind = match info.kind {
                ParamKind::Weight if info.readout => "readout",
                ParamKind::Weight if info.in_branch => "weight",
                ParamKind::Weight => "embedding",
                _ => "norm",
            };
            let is_it = |row: &&Value| {
                row["kind"] == kind
                    && row["in_branch"] == info.in_branch
                    && row["fan_in"].as_u64() == Some(info.fan_in as u64)
            };
            if kind == "norm" {
                // theirs have no parameters
                let wanted = if info.in_branch { branch } else { 1.0 };
                assert!(close(s.lr, wanted), "{path}");
                continue;
            }
            let row = case["rows"].as_array().unwrap().iter().find(is_it);
            let row = row.unwrap_or_else(|| panic!("{path}: {info:?}"));
            assert!(close(s.lr, number(&row["lr"])), "{path}: {s:?} {row}");
            assert!(
                close(s.multiplier, number(&row["multiplier"])),
                "{path}: {s:?} {row}"
            );
            assert!(close(s.weight_decay * s.lr, 1.0), "{path}: {s:?}");
        }
    }
}

/// Exponent of width of each parameter's effective learning rate (multiplier² · lr) and effective
/// initial spread under SGD.
fn effective_exponents(rule: Arc<dyn Parametrization>) -> Vec<(f64, f64)> {
    let at = |width: usize| -> Vec<(f64, f64)> {
        let scales = model(width, rule.clone())
            .scales(OptimizerFamily::Sgd)
            .unwrap();
        scales
            .iter()
            .map(|s| (s.multiplier.powi(2) * s.lr, s.multiplier * s.init.std()))
            .collect()
    };
    let exponent = |a: f64, b: f64| if a == 0.0 { 0.0 } else { (b / a).log2() };
    let pairs = at(256).into_iter().zip(at(512));
    pairs
        .map(|(a, b)| (exponent(a.0, b.0), exponent(a.1, b.1)))
        .collect()
}

fn close_lists(a: &[(f64, f64)], b: &[(f64, f64)]) -> bool {
    a.iter()
        .zip(b)
        .all(|(a, b)| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9)
}

#[test]
fn mean_field_and_mup_are_one_class_and_ntp_another() {
    let init = Initializer::LecunNormal;
    let mup = effective_exponents(Arc::new(Mup {
        init,
        ..Mup::default()
    }));
    let mean_field = effective_exponents(Arc::new(MeanField { gamma0: 0.3 }));
    assert!(close_lists(&mup, &mean_field), "{mup:?} {mean_field:?}");
    let ntp = effective_exponents(Arc::new(Ntp::default()));
    assert!(!close_lists(&mup, &ntp));
    assert!(
        (ntp[4].1 + 0.5).abs() < 1e-9,
        "the readout's contribution falls as 1/√n only"
    );
}

/// Losses of 30 steps after the effective weights of `from` were copied.
fn losses(
    rule: Arc<dyn Parametrization>,
    optimizer: Arc<dyn Optimizer>,
    from: &Model,
) -> Result<Vec<Vec<f64>>> {
    let mut model = model(96, rule);
    let multipliers: Vec<f64> = model.params().iter().map(|p| p.multiplier).collect();
    for (param, multiplier) in from.params().iter().zip(multipliers) {
        let value = (&param.value * (param.multiplier / multiplier))?;
        model.set_param(&param.info.path, &value)?;
    }
    let stream = Teacher::new(TeacherSettings {
        inputs: INPUTS,
        ..TeacherSettings::default()
    })?;
    let settings = TrainerSettings {
        batch: 16,
        ..TrainerSettings::default()
    };
    let shared = Arc::new(RwLock::new(model));
    let mut trainer = Trainer::new(shared, optimizer, Arc::new(stream), settings)?;
    trainer.run(30, &mut NoHooks)?;
    Ok(trainer.record().series["train_loss"].values.clone())
}

#[test]
fn tables_8_and_9_give_one_trajectory() -> Result<()> {
    let sgd: Arc<dyn Optimizer> = Arc::new(Sgd {
        lr: 0.05.into(),
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    });
    let adam: Arc<dyn Optimizer> = Arc::new(Adam {
        lr: 0.01.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        // not 0: a dead unit has gradient 0, and 0/0 is no update
        eps: 1e-300.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
    });
    let row = |a, b, c| Exponents { a, b, c };
    let base = Mup {
        base_width: 16,
        ..Mup::default()
    };
    let nine = |input, hidden, output| {
        Arc::new(Abc {
            base_width: 16,
            input: row(-0.5, 0.5, input),
            hidden: row(0.0, 0.5, hidden),
            output: row(0.5, 0.5, output),
            ..Abc::default()
        })
    };
    let start = model(96, Arc::new(base.clone()));
    for (optimizer, nine) in [(sgd, nine(0.0, 0.0, 0.0)), (adam, nine(0.5, 1.0, 0.5))] {
        for (a, b) in start.params().iter().zip(model(96, nine.clone()).params()) {
            let spread = |model: &dyn Parametrization, p: &widthwise::model::Parameter| {
                let s = model.scales(&p.info, OptimizerFamily::Sgd).unwrap();
                match s.init {
                    Init::Constant(c) => c * s.multiplier,
                    other => other.std() * s.multiplier,
                }
            };
            assert!((spread(&base, a) / spread(nine.as_ref(), b) - 1.0).abs() < 1e-12);
        }
        let eight = losses(Arc::new(base.clone()), optimizer.clone(), &start)?;
        let nine = losses(nine, optimizer, &start)?;
        for (a, b) in eight.iter().flatten().zip(nine.iter().flatten()) {
            assert!((a - b).abs() < 1e-11 * b.abs(), "{a} {b}");
        }
    }
    Ok(())
}

/// Factors over depth (arXiv 2310.02244; arXiv 2505.01618 Table 1) on top of those over width, for a
/// network of twice the base width and four times the base depth.
#[test]
fn depth_rules() {
    let build = |rule: Arc<dyn Parametrization>| {
        let network = transformer(Transformer {
            width: 16,
            context: Some(4),
            vocab: Some(9),
            blocks: Blocks {
                depth: 8,
                heads: Heads::Size(4),
                ..Blocks::default()
            },
            ..Transformer::default()
        });
        Model::new(network, rule, ModelSettings::default()).unwrap()
    };
    let width = Mup {
        base_width: 8,
        scale_eps: true,
        ..Mup::default()
    };
    let plain = build(Arc::new(width.clone()));
    for (rule, branch, sgd, adam, eps) in [
        (DepthMup::new(width.clone(), 2), 0.5, 1.0, 0.5, 0.5),
        (DepthMup::complete_p(width, 2), 0.25, 4.0, 1.0, 0.25),
    ] {
        let complete = rule.complete;
        let name = rule.name().to_string();
        assert_eq!(rule.branch_multiplier(8).unwrap(), branch);
        assert_eq!(
            (
                rule.branch_multiplier(2).unwrap(),
                rule.branch_multiplier(0).unwrap()
            ),
            (1.0, 1.0)
        );
        let model = build(Arc::new(rule));
        for (family, factor) in [(OptimizerFamily::Sgd, sgd), (OptimizerFamily::Adam, adam)] {
            let (ours, theirs) = (model.scales(family).unwrap(), plain.scales(family).unwrap());
            for ((p, a), b) in model.params().iter().zip(ours).zip(theirs) {
                let path = &p.info.path;
                let inside = path.starts_with("blocks.");
                assert_eq!((p.info.in_branch, p.info.blocks), (inside, 8), "{path}");
                // gradient descent has no epsilon
                let eps = if family == OptimizerFamily::Adam {
                    eps
                } else {
                    1.0
                };
                let (lr, e) = if inside { (factor, eps) } else { (1.0, 1.0) };
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
                assert!(close(a.lr, b.lr * lr), "{name} {path}: {a:?} {b:?}");
                assert!(close(a.eps, b.eps * e), "{name} {path}: {a:?} {b:?}");
                assert_eq!((a.init, a.multiplier), (b.init, b.multiplier), "{path}");
                let vector = p.info.kind != ParamKind::Weight;
                let decay = match complete && vector {
                    true => 0.0,
                    // lr · weight decay is independent of width and depth
                    false => b.weight_decay / lr,
                };
                assert!(
                    close(a.weight_decay, decay) || a.weight_decay == decay,
                    "{path}"
                );
            }
        }
    }
}

/// At initialisation the blocks add up to the same size at every depth with α = 1/2 (they are
/// independent), and to less and less with α = 1; without a rule to more and more.
#[test]
fn branches_are_multiplied_by_the_rule() {
    let size = |rule: Arc<dyn Parametrization>, blocks: usize| {
        let mut network = resnet(Resnet {
            width: 16,
            blocks: vec![blocks],
            norm: ImageNorm::None,
            outputs: Some(3),
            ..Resnet::default()
        });
        network.input = Some(vec![3, 8, 8]);
        let settings = ModelSettings {
            seeds: (0..4).collect(),
            ..ModelSettings::default()
        };
        let mut model = Model::new(network, rule, settings).unwrap();
        let mut rng = Key::new(1).rng();
        let x: Vec<f32> = (0..3 * 64).map(|_| rng.normal() as f32).collect();
        let x = Tensor::from_vec(x, (1, 3, 8, 8), &Device::Cpu).unwrap();
        let rms = |x: &Tensor| -> f64 {
            let numbers = to_f64(x).unwrap();
            (numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len() as f64).sqrt()
        };
        let last = format!("stages.0.{}.relu", blocks - 1);
        let stem = rms(&model.activation("stem.norm.relu", &x).unwrap());
        rms(&model.activation(&last, &x).unwrap()) / stem
    };
    let init = Initializer::KaimingNormal;
    let width = Mup {
        base_width: 16,
        init,
        ..Mup::default()
    };
    let growth = |rule: &dyn Fn() -> Arc<dyn Parametrization>| size(rule(), 32) / size(rule(), 8);
    let half = growth(&|| Arc::new(DepthMup::new(width.clone(), 1)));
    let one = growth(&|| Arc::new(DepthMup::complete_p(width.clone(), 1)));
    let none = growth(&|| Arc::new(width.clone()));
    assert!(none > 3.0, "{none}");
    assert!((0.7..1.5).contains(&half), "{half}");
    assert!(one < half, "{one} {half}");
}

/// muP's three published forms are one class for SGD and for Adam each; NTP and SP are not in it; and what
/// `compare` calls symmetric trains alike (`mean_field_and_mup_are_one_class_and_ntp_another`).
#[test]
fn rules_are_compared_up_to_the_abc_symmetry() {
    let width = 128;
    let mup = |init| Mup {
        base_width: 32,
        init,
        ..Mup::default()
    };
    let lecun = || Arc::new(mup(Initializer::LecunNormal));
    let at = |rule: Arc<dyn Parametrization>, family| {
        let (a, b) = (model(width, lecun()), model(width, rule));
        let eps = family == OptimizerFamily::Adam;
        let weight_decay = false;
        compare(&a, &b, family, Counted { weight_decay, eps }).unwrap()
    };
    let row = |a, b, c| Exponents { a, b, c };
    let form = |input, hidden, output| {
        Arc::new(Abc {
            base_width: 32,
            init: Initializer::LecunNormal,
            input,
            hidden,
            output,
        })
    };
    // arXiv 2203.03466, Table 3 and Table 9
    let sgd = OptimizerFamily::Sgd;
    let three = || form(row(0.0, 0.0, -1.0), row(0.0, 0.5, 0.0), row(0.0, 1.0, 1.0));
    let nine = form(row(-0.5, 0.5, 0.0), row(0.0, 0.5, 0.0), row(0.5, 0.5, 0.0));
    for rule in [three(), nine] {
        let found = at(rule, sgd);
        let weights = found.rows.iter().filter(|r| r.path.ends_with("weight"));
        for row in weights {
            assert_ne!(row.relation, Relation::Different, "{found}");
        }
    }
    let adam = OptimizerFamily::Adam;
    let for_adam = || form(row(0.0, 0.0, 0.0), row(0.0, 0.5, 1.0), row(0.0, 1.0, 1.0));
    let found = at(for_adam(), adam);
    let readout = found
        .rows
        .iter()
        .find(|r| r.path == "readout.weight")
        .unwrap();
    // eps is not rescaled with the multiplier by either rule, and is told apart from the rest
    assert!((readout.lr.value - 1.0).abs() < 1e-12 && (readout.init.value - 1.0).abs() < 1e-12);
    assert_eq!(readout.multiplier.exponent, Some(1.0));
    assert_eq!(readout.eps.exponent, Some(-1.0));
    assert_eq!(found.relation(), Relation::Different);
    // itself, and others
    assert_eq!(at(lecun(), sgd).relation(), Relation::Equal);
    let plain = at(
        Arc::new(Sp {
            init: Initializer::LecunNormal,
        }),
        sgd,
    );
    assert_eq!(plain.relation(), Relation::Different);
    let hidden = plain
        .rows
        .iter()
        .find(|r| r.path == "layers.1.weight")
        .unwrap();
    assert_eq!(hidden.relation, Relation::Equal);
    let readout = plain
        .rows
        .iter()
        .find(|r| r.path == "readout.weight")
        .unwrap();
    assert_eq!(readout.init.exponent, Some(0.5));
    assert_eq!(readout.lr.exponent, Some(1.0));
    assert!(plain.verdict().contains("differ in"), "{}", plain.verdict());
    let other = model(64, lecun());
    // with weight decay, muP's is independent of the learning rate and abc's is not
    let (a, b) = (model(width, lecun()), model(width, three()));
    let counted = |weight_decay| Counted {
        weight_decay,
        eps: false,
    };
    let decayed = compare(&a, &b, sgd, counted(true)).unwrap();
    assert_eq!(decayed.relation(), Relation::Different);
    // Lion has no epsilon, and the forms are one class for it
    let (a, b) = (model(width, lecun()), model(width, for_adam()));
    let signs = compare(&a, &b, adam, counted(false)).unwrap();
    let mut weights = signs.rows.iter().filter(|r| r.path.ends_with("weight"));
    assert!(
        weights.all(|r| r.relation != Relation::Different),
        "{signs}"
    );
    // the same spreads from another distribution are another start
    let uniform = at(Arc::new(mup(Initializer::Pytorch)), sgd);
    let hidden = uniform.rows.iter().find(|r| r.path == "layers.1.weight");
    assert!(!hidden.unwrap().same_distribution);
    assert_eq!(hidden.unwrap().relation, Relation::Different);
    let error = compare(&a, &other, sgd, counted(false)).unwrap_err();
    assert!(error.message.contains("same network and width"), "{error}");
}

/// What is not a parameter's own is compared too: the factor of residual branches, the multiplier of a
/// readout that shares the embedding, and constants that parameters start at.
#[test]
fn branches_shared_weights_and_constants_are_compared() {
    let width = Mup {
        base_width: 16,
        ..Mup::default()
    };
    let build = |rule: Arc<dyn Parametrization>| {
        let network = transformer(Transformer {
            width: 16,
            context: Some(4),
            vocab: Some(9),
            tied: true,
            blocks: Blocks {
                depth: 8,
                heads: Heads::Size(4),
                ..Blocks::default()
            },
        });
        Model::new(network, rule, ModelSettings::default()).unwrap()
    };
    let counted = Counted {
        weight_decay: false,
        eps: false,
    };
    let mup = build(Arc::new(width.clone()));
    let compared = |rule: Arc<dyn Parametrization>| {
        compare(&mup, &build(rule), OptimizerFamily::Sgd, counted).unwrap()
    };
    // with α = 1/2 the learning rates of SGD stay: only the branches differ
    let deep = compared(Arc::new(DepthMup::new(width.clone(), 2)));
    let different = deep
        .rows
        .iter()
        .filter(|r| r.relation == Relation::Different);
    let paths: Vec<_> = different.map(|r| r.path.as_str()).collect();
    assert_eq!(paths, ["(residual branches)"], "{deep}");
    let same = compared(Arc::new(DepthMup::new(width, 8)));
    assert_eq!(same.relation(), Relation::Equal, "{same}");
    // at the base width numbers are equal, but the readout's multiplier grows apart
    let plain = compared(Arc::new(Sp::default()));
    let readout = plain
        .rows
        .iter()
        .find(|r| r.path == "readout.weight")
        .unwrap();
    assert_eq!(
        (readout.init.value, readout.init.exponent),
        (1.0, Some(1.0))
    );
    assert_eq!(readout.relation, Relation::Different);
    // gains start at 1 under muP, and at another constant under these exponents
    let row = |a, b| Exponents { a, b, c: 0.0 };
    let abc = Abc {
        base_width: 4,
        input: row(0.0, 0.5),
        ..Abc::default()
    };
    let found = compared(Arc::new(abc));
    let gain = found.rows.iter().find(|r| r.path == "norm.weight").unwrap();
    assert_eq!((gain.init.value, gain.relation), (0.5, Relation::Different));
}
