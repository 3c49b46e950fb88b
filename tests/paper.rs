//! The scripts of the paper's figures: all of them run and report, their verdicts are those of the data that they
//! write, and noise in place of networks makes claims fail.

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

const TINY: [&str; 9] = [
    "widths=8,16",
    "members=3",
    "steps=8",
    "points=20",
    "modes=5",
    "examples=16",
    "length=6000",
    "every=4",
    "lrs=0.5,2.0,4.0",
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/paper");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path());
    let mut expected: Vec<String> = files
        .filter(|f| f.extension().is_some_and(|e| e == "rhai"))
        .map(|f| f.file_stem().unwrap().to_str().unwrap().to_string())
        .filter(|name| name != "all")
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

#[test]
fn noise_in_place_of_networks_makes_claims_fail() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    })
    .unwrap();
    // outputs of the same spread at every width, without anything in common
    let text = r#"
        import "std/agreement" as agreement;
        import "std/claims" as claims;
        import "std/ensemble" as ensemble;
        let widths = [16, 32, 64, 128];
        let noise = widths.map(|w, i| randn([8, 100, 3], i));
        let found = agreement::with_width(widths, noise, #{ centred: false });
        let labels = randn([100, 3], 9);
        let split = ensemble::with_width(widths, noise, labels, #{ samples: 40 });
        [
            claims::between("variance", found.variance_slope.slope, found.variance_slope.error, -1.35, -0.65, "").verdict,
            claims::at_most("distance", found.distance_slope.slope, found.distance_slope.error, -0.5, "").verdict,
            claims::at_least("bias", split.bias[0], split.bias_error[0], 0.0, "").verdict,
        ]
    "#;
    let verdicts: rhai::Array = host.run_text("noise", text).unwrap().cast();
    let verdicts: Vec<String> = verdicts
        .into_iter()
        .map(|v| v.into_string().unwrap())
        .collect();
    assert_eq!(verdicts, ["does not hold"; 3]);
}
