//! The tests of the whole program, one file for each subject: one crate, since linking each file by itself
//! took longer than the tests of most. What counts a process's memory or threads is a crate of its own,
//! beside this folder.

#[path = "../reference/mod.rs"]
mod reference;

mod derivatives;
mod stepping;

mod architectures;
mod batch_norm;
mod bench;
mod cli;
mod coordinates;
mod curvature;
mod ema;
mod ensembles;
mod fixtures;
mod function_reference;
mod gpu;
mod gpu_optimizers;
mod gpu_scores;
mod gradients;
mod images;
mod kernel_methods;
mod kernels;
mod layers;
mod matrix_optimizers;
mod mup;
mod mup_architectures;
mod odd_input;
mod odd_shapes;
mod optimizers;
mod own_rules;
mod paper;
mod parametrizations;
mod reading;
mod repl;
mod script_bindings;
mod script_callbacks;
mod script_limits;
mod script_modules;
mod script_training;
mod script_values;
mod scripts;
mod second_order;
mod std_coord;
mod std_diverged;
mod std_edge;
mod transformer;

/// A file that is not named above would never run.
#[test]
fn every_file_is_a_part() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let named: Vec<&str> = include_str!("main.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("main.rs") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(named.contains(&name), "main.rs lacks `mod {name};`");
        files += 1;
    }
    assert!(files > 30, "{files} files");
}
