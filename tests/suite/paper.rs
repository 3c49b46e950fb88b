//! The scripts of the paper's figures: all of them run and report, their verdicts are those of the data that they
//! write, noise in place of networks makes no claim hold, and networks that agree make them hold.

use std::path::Path;
use std::process::{Command, Output};

use candle_core::Tensor;
use widthwise::script::{Host, HostSettings};

fn run(script: &str, settings: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", script, "--out"])
        .arg(out)
        .args(settings.iter().flat_map(|s| ["--set", s]))
        .output()
        .unwrap()
}

/// Rows of a CSV file with a heading, as maps would have them.
fn rows(path: &Path) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.records().map(|r| r.unwrap()).collect()
}

const TINY: [&str; 11] = [
    "widths=8,16",
    "members=3",
    "steps=8",
    "points=20",
    "modes=5",
    "examples=16",
    "length=6000",
    "every=4",
    "lrs=0.5,2.0,4.0",
    "small_batch=16",
    "batch=32",
];

#[test]
fn all_scripts_run_and_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let output = run("scripts/paper/all.rhai", &TINY, &out);
    let printed = [&output.stdout[..], &output.stderr].concat();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&printed)
    );
    let claims = rows(&out.join("claims.csv"));
    let verdicts = ["holds", "does not hold", "not resolved"];
    assert!(
        claims.iter().all(|c| verdicts.contains(&&c[5])),
        "{claims:?}"
    );
    let mut scripts: Vec<&str> = claims.iter().map(|c| &c[0]).collect();
    scripts.dedup();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/paper");
    let files = std::fs::read_dir(own).unwrap().map(|f| f.unwrap().path());
    let mut expected: Vec<String> = files
        .filter(|f| f.extension().is_some_and(|e| e == "rhai"))
        .map(|f| f.file_stem().unwrap().to_str().unwrap().to_string())
        .filter(|name| name != "all" && name != "replicate")
        .collect();
    expected.sort();
    scripts.sort_unstable();
    assert_eq!(scripts, expected, "every script is in the report");
    let report = std::fs::read_to_string(out.join("README.md")).unwrap();
    let figures: Vec<&str> = report
        .split("](")
        .skip(1)
        .filter_map(|part| part.split(')').next())
        .collect();
    assert!(figures.len() >= expected.len(), "{figures:?}");
    for figure in figures {
        assert!(
            out.join(figure).metadata().unwrap().len() > 1000,
            "{figure}"
        );
    }
    replicate(&out, folder.path());
}

/// A report beside itself, and beside one in which what holds does not.
fn replicate(report: &Path, folder: &Path) {
    let [other, copy] = ["seed-1", "seed-2"].map(|name| folder.join(name));
    for folder in [&other, &copy] {
        std::fs::create_dir(folder).unwrap();
        std::fs::copy(report.join("claims.csv"), folder.join("claims.csv")).unwrap();
    }
    let claims = std::fs::read_to_string(report.join("claims.csv")).unwrap();
    // tiny settings have one claim twice
    let keys = rows(&report.join("claims.csv"));
    let verdicts: std::collections::BTreeMap<_, _> =
        keys.iter().map(|c| ((&c[0], &c[1]), &c[5])).collect();
    let held = verdicts.values().filter(|v| **v == "holds").count();
    let all = verdicts.len();
    let turned = claims.replace(",holds,", ",does not hold,");
    std::fs::write(other.join("claims.csv"), turned).unwrap();
    let page = |second: &Path| {
        let out = folder.join("replication");
        let reports = format!("reports={},{}", report.display(), second.display());
        let output = run("scripts/paper/replicate.rhai", &[&reports], &out);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let page = std::fs::read_to_string(out.join("README.md")).unwrap();
        std::fs::remove_dir_all(out).unwrap();
        page
    };
    let same =
        format!("{all} of {all} claims have the same verdict on all seeds, {held} of them hold.");
    let found = page(&copy);
    assert!(
        found.contains(&same) && !found.contains(" holds |"),
        "{found}"
    );
    let found = page(&other);
    let rest = format!(
        "{} of {all} claims have the same verdict on all seeds, 0 of them",
        all - held
    );
    assert!(found.contains(&rest), "{found}");
    assert_eq!(found.matches(" does not hold |").count(), held, "{found}");
    assert!(found.contains("| seed-1 | 0 |"), "{found}");
}

/// Variance over members (with E − 1), the mean over points and outputs.
fn variance(outputs: &Tensor) -> f64 {
    let members = outputs.dims()[0];
    let numbers: Vec<f64> = outputs
        .to_dtype(candle_core::DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let size = numbers.len() / members;
    let per_place = (0..size).map(|i| {
        let column = (0..members).map(|m| numbers[m * size + i]);
        let mean = column.clone().sum::<f64>() / members as f64;
        column.map(|x| (x - mean).powi(2)).sum::<f64>() / (members - 1) as f64
    });
    per_place.sum::<f64>() / size as f64
}

#[test]
fn verdicts_are_those_of_the_written_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("predictions");
    let settings = ["widths=8,16,32", "members=4", "steps=40", "batch=16"];
    let output = run("scripts/paper/predictions.rhai", &settings, &out);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for width in [8, 16, 32] {
        let file = out.join(format!("predictions-mup-{width}-outputs.npy"));
        x.push(f64::from(width).ln());
        y.push(variance(&Tensor::read_npy(file).unwrap()).ln());
    }
    // equally spaced abscissae: the least-squares slope is that of the ends
    let slope = (y[2] - y[0]) / (x[2] - x[0]);
    let claims = rows(&out.join("predictions-claims.csv"));
    let claim = claims
        .iter()
        .find(|c| c[0].starts_with("exponent of the variance in width at step 40"));
    let claim = claim.unwrap();
    let (value, error): (f64, f64) = (claim[1].parse().unwrap(), claim[2].parse().unwrap());
    assert!((value - slope).abs() < 1e-6, "{value} {slope}");
    let inside = f64::min(-0.65 - value, value + 1.35);
    let verdict = match inside {
        d if d >= 2.0 * error => "holds",
        d if d < -2.0 * error => "does not hold",
        _ => "not resolved",
    };
    assert_eq!(&claim[4], verdict);
}

/// What a script makes of the verdicts' functions, with a shorthand for their verdicts.
fn verdicts(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    })
    .unwrap();
    let text = format!(
        "import \"scripts/paper/lib/verdicts\" as verdicts;
        import \"std/agreement\" as agreement;
        import \"std/claims\" as claims;
        import \"std/ensemble\" as ensemble;
        let widths = [16, 64, 256];
        {text}"
    );
    let claims: rhai::Array = host.run_text("verdicts", &text).unwrap().cast();
    let line = |c: rhai::Map| format!("{}: {}", c["verdict"], c["quantity"]);
    claims.into_iter().map(|c| line(c.cast())).collect()
}

/// Outputs, kernels, maps and numbers of networks that have nothing in common but their shapes.
const NOISE: &str = r#"
    let outputs = |seed| [0, 1, 2].map(|i| randn([8, 60, 3], seed + i));
    let labels = randn([60, 3], 99);
    // kernels of random features
    let kernels = [0, 1, 2].map(|i| { let x = randn([8, 30, 64], 10 + i); x.matmul(x.transpose()) });
    let y = randn([8, 30, 64], 20);
    let start = y.matmul(y.transpose());
    let maps = [0, 1, 2].map(|i| (randn([8, 5, 2, 6, 6], 30 + i) * 2.0).softmax(4));
    let first_maps = (randn([8, 5, 2, 6, 6], 40) * 2.0).softmax(4);
    // densities without an order in width, and Gaussian
    let values = [0, 1, 2].map(|i| randn([8, 20, 64], 50 + i) * [1.0, 3.0, 2.0][i]);
    let noise = [0, 1, 2].map(|i| [0, 1].map(|j| (randn([8], 60 + 2 * i + j) * 0.5).exp().to_array()));
    let losses = [0, 1, 2].map(|i| [0, 1].map(|j| (randn([8], 70 + 2 * i + j) * 0.5).exp().to_array()));
    // losses of each width, [probe][member]
    let curves = |seed| [0, 1, 2].map(|i| (randn([3, 8], seed + i) * 0.5).exp().to_array());
    // spectra of another scale at every width
    let errors_of = [0, 1, 2].map(|i| (randn([8], 110 + i) * 0.5).exp().to_array());
    let targets = randn([30, 1], 120);
    let of_members = |members| {
        let runs = [];
        for (stage, s) in ["initial", "after"] {
            for (w, i) in [16, 64, 256] {
                let of = if s == 0 { start } else { kernels[i] };
                let found = metrics::task_power(stack(members.map(|m| of[m])).mean(0), targets);
                let test_errors = errors_of[(i + 1) % 3];
                runs.push(#{
                    stage: stage, width: w, eigenvalues: (found.eigenvalues[0] * [1.0, 3.0, 2.0][i]).to_array(),
                    cumulative: found.cumulative[0].to_array(), test_error: mean(members.map(|m| test_errors[m])),
                });
            }
        }
        #{ runs: runs }
    };
    let moved = #{
        mup: [0, 1, 2].map(|i| (randn([8], 80 + i) * 0.7).exp().to_array()),
        ntp: [0, 1, 2].map(|i| (randn([8], 90 + i) * 0.7).exp().to_array()),
    };
    // one sharpness of each member, [measurement][member]
    let shares = |seed| [0, 1, 2].map(|i| { let row = (randn([8], seed + i) * 2.0).exp().to_array(); [row, row, row, row] });
    let spikes = |seed| (randn([8], seed) * 2.0).exp().to_array().map(|x| #{
        spike_height: x, spike_step: x, sharpness_ratio: x, diverged_step: (), found: true,
    });
"#;

#[test]
fn noise_in_place_of_networks_holds_nowhere() {
    let found = verdicts(&format!(
        r#"{NOISE}
        let ends = outputs.call(1);
        let studies = [ends, outputs.call(4)].map(|f| agreement::with_width(widths, f, #{{ centred: false }}));
        verdicts::predictions(studies, [10, 100], ends, "correlation")
            + verdicts::ensembling(widths, outputs.call(7), ends, [10, 100], [1, 4, 16], labels)
            + verdicts::offline(widths, ends, outputs.call(4))
            + verdicts::feature_kernels(widths, kernels, start)
            + verdicts::attention(widths, maps, first_maps)
            + verdicts::preactivations(widths, values, values[2] * 1.1)
            + verdicts::batch_noise(widths, noise, losses)
            + verdicts::loss_curves(widths, #{{ mup: curves.call(1000), ntp: curves.call(1100), sp: curves.call(1200) }}, moved)
            + verdicts::harder_tasks(widths, curves.call(2000), curves.call(3000), 0, 1)
            + verdicts::spectra(widths, 10, of_members, errors_of)
            + verdicts::edge_of_stability(widths, shares.call(130), shares.call(140))
            + verdicts::catapults(widths, spikes.call(7), spikes.call(8), 1.0)
        "#
    ));
    let holding: Vec<&String> = found.iter().filter(|c| c.starts_with("holds")).collect();
    assert!(holding.is_empty(), "{holding:#?} of {found:#?}");
    assert!(found.len() > 30);
}

#[test]
fn networks_that_agree_hold_everywhere() {
    // one limit; what differs between members falls as one over the width, and narrow ones have a bias
    let found = verdicts(
        r#"
        let limit = randn([1, 60, 3], 1);
        let off = randn([1, 60, 3], 2);
        let scale = |w, power| (16.0 / w.to_float()) ** power;
        let networks = |seed, bias| widths.map(|w| limit + off * (bias * scale.call(w, 1.0)) + randn([8, 60, 3], seed + w) * (0.5 * scale.call(w, 0.5)));
        let ends = networks.call(1, 0.5);
        let studies = [networks.call(1000, 0.1), ends].map(|f| agreement::with_width(widths, f, #{ centred: false }));
        let features = randn([1, 30, 64], 3);
        let kernels = widths.map(|w| { let x = features + randn([8, 30, 64], w) * (0.4 * scale.call(w, 0.5)); x.matmul(x.transpose()) });
        let y = randn([8, 30, 64], 20);
        let start = y.matmul(y.transpose());
        let logits = randn([1, 5, 2, 6, 6], 4) * 2.0;
        let shift = randn([1, 5, 2, 6, 6], 6);
        let maps = widths.map(|w| (logits + shift * scale.call(w, 1.0) + randn([8, 5, 2, 6, 6], w) * (0.3 * scale.call(w, 0.5))).softmax(4));
        let first_maps = (randn([8, 5, 2, 6, 6], 40) * 2.0).softmax(4);
        let values = widths.map(|w| { let x = randn([8, 20, w], w); x * x * x * (1.0 + scale.call(w, 1.0)) });
        let noise = widths.map(|w| [100.0, 400.0].map(|n| (randn([8], w) * 0.05).exp().to_array().map(|x| n * x)));
        let losses = widths.map(|w| [2.0, 1.0].map(|l| (randn([8], w) * 0.01).exp().to_array().map(|x| l * x)));
        let moved = #{
            mup: widths.map(|w| (randn([8], w) * 0.01).exp().to_array()),
            ntp: widths.map(|w| (randn([8], w) * 0.01).exp().to_array().map(|x| x * scale.call(w, 0.5))),
        };
        // curves of losses whose excess over the widest falls with width, and grows in time as `grows` says
        let curves = |seed, excess, grows| widths.map(|w| (randn([3, 8], seed + w) * 0.01).exp().to_array()
            .map(|row, t| row.map(|x| x * (1.0 + excess * scale.call(w, 1.0) * (1.0 + grows * t)))));
        // kernels that turn towards the task, the wider the more; errors fall with width, of regression too
        let targets = randn([30, 1], 120);
        let of_task = targets.matmul(targets.transpose());
        let errors_of = widths.map(|w| (randn([8], 110 + w) * 0.02).exp().to_array().map(|x| x * (1.0 + scale.call(w, 1.0))));
        let of_members = |members| {
            let runs = [];
            for w in widths {
                let noise = randn([8, 30, 64], w) * (0.2 * scale.call(w, 0.5));
                let x = features + stack(members.map(|m| noise[m]));
                let initial = x.matmul(x.transpose()).mean(0);
                for (kernel, i) in [initial, initial + of_task * (8.0 - 4.0 * scale.call(w, 1.0))] {
                    let found = metrics::task_power(kernel, targets);
                    runs.push(#{
                        stage: ["initial", "after"][i], width: w, eigenvalues: found.eigenvalues[0].to_array(),
                        cumulative: found.cumulative[0].to_array(), test_error: 0.1 * mean(members.map(|m| errors_of[widths.index_of(w)][m])),
                    });
                }
            }
            #{ runs: runs }
        };
        let shares = |fall| widths.map(|w| { let row = (randn([8], 130 + w) * 0.02).exp().to_array().map(|x| x * (1.0 - fall * (1.0 - scale.call(w, 1.0)))); [row, row, row, row] });
        let spikes = |seed| (randn([8], seed) * 0.1).exp().to_array().map(|x| #{
            spike_height: 3.0 * x, spike_step: 10.0 * x, sharpness_ratio: 0.5 * x, diverged_step: (), found: true,
        });
        verdicts::predictions(studies, [10, 100], ends, "correlation")
            + verdicts::ensembling(widths, networks.call(1000, 0.1), ends, [10, 100], [1, 4, 16], limit[0])
            + verdicts::offline(widths, networks.call(1000, 0.1), widths.map(|w| limit + randn([8, 60, 3], w) * (1.5 * scale.call(w, 0.5))))
            + verdicts::feature_kernels(widths, kernels, start)
            + verdicts::attention(widths, maps, first_maps)
            + verdicts::preactivations(widths, values, randn([8, 20, 256], 5))
            + verdicts::batch_noise(widths, noise, losses)
            + verdicts::loss_curves(widths, #{ mup: curves.call(1000, 0.1, 0.0), sp: curves.call(1100, 0.6, 0.0), ntp: curves.call(1200, -0.4, 0.0) }, moved)
            + verdicts::harder_tasks(widths, curves.call(2000, 0.03, 0.0), curves.call(3000, 0.3, 1.0), 0, 1)
            + verdicts::catapults(widths, spikes.call(7), spikes.call(8), 1.0)
            + verdicts::spectra(widths, 10, of_members, errors_of)
            + verdicts::edge_of_stability(widths, shares.call(0.0), shares.call(0.5))
        "#,
    );
    let others: Vec<&String> = found.iter().filter(|c| !c.starts_with("holds")).collect();
    assert!(others.is_empty(), "{others:#?}");
}
