//! Compiles the kernels: for GPUs with the feature `cuda`, for the CPU with the feature `emulator`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

const KERNELS: &str = "src/gpu/kernels";
/// Compute capabilities that machine code is made for; newer GPUs compile the last one's assembly.
const CAPABILITIES: [&str; 2] = ["80", "90"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={KERNELS}");
    if env::var_os("CARGO_FEATURE_EMULATOR").is_some() {
        emulator()?;
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        cuda()?;
    }
    Ok(())
}

/// The kernels for the CPU; with `WIDTHWISE_SANITIZE=thread` or `address` so that a sanitizer watches them, for which
/// everything is linked with it.
fn emulator() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=WIDTHWISE_SANITIZE");
    let mut kernels = cc::Build::new();
    kernels.cpp(true).std("c++17").opt_level(2);
    let mut blocks = kernels.clone();
    if let Ok(sanitizer) = env::var("WIDTHWISE_SANITIZE") {
        let own = format!("WIDTHWISE_SANITIZE_{}", sanitizer.to_uppercase());
        for build in [&mut kernels, &mut blocks] {
            build.define("WIDTHWISE_SANITIZE", None).define(&own, None);
        }
        // `thread` is called tsan
        let first = sanitizer.chars().next().unwrap_or_default();
        println!("cargo::rustc-link-lib=dylib={first}san");
        kernels.flag(format!("-fsanitize={sanitizer}")).flag("-g");
    }
    let folder = Path::new(KERNELS);
    let kernels = kernels
        .file(folder.join("emulator.cpp"))
        .try_compile_intermediates()?;
    blocks
        .file(folder.join("emulator_blocks.cpp"))
        .objects(kernels)
        .try_compile("widthwise_emulator")?;
    Ok(())
}

/// Machine code for the known capabilities, and assembly for those to come, in one file.
fn cuda() -> Result<(), Box<dyn std::error::Error>> {
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let mut nvcc = Command::new(compiler());
    nvcc.args(["-fatbin", "-O3", "-std=c++17"]);
    for capability in CAPABILITIES {
        let arch = format!("arch=compute_{capability},code=sm_{capability}");
        nvcc.args(["-gencode", &arch]);
    }
    if let Some(last) = CAPABILITIES.last() {
        let arch = format!("arch=compute_{last},code=compute_{last}");
        nvcc.args(["-gencode", &arch]);
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("kernels.fatbin");
    nvcc.arg("-o")
        .arg(out)
        .arg(Path::new(KERNELS).join("all.cu"));
    let made = nvcc.output().map_err(|e| {
        io::Error::other(format!(
            "the CUDA compiler nvcc does not run ({e}); scripts/cuda/build brings one"
        ))
    })?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(format!("nvcc failed on the kernels:\n{said}").into());
    }
    Ok(())
}

fn compiler() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os);
    let mut found = homes.map(|home| PathBuf::from(home).join("bin/nvcc"));
    found.find(|nvcc| nvcc.exists()).unwrap_or("nvcc".into())
}
