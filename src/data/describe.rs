//! A stream in one line, for people.

use super::stream::{Stream, Targets};

/// One line about a stream, for instance
/// `synthetic_images: endless, 3×32×32 → 10 classes, seed 7`.
pub fn describe(stream: &dyn Stream) -> String {
    let examples = match stream.len() {
        None => "endless".to_string(),
        Some(len) => match stream.positions() {
            None => format!("{len} examples, endless epochs"),
            Some(last) => match last / len.max(1) {
                1 => format!("{len} examples, 1 epoch"),
                epochs => format!("{len} examples, {epochs} epochs"),
            },
        },
    };
    let shape: Vec<String> = stream.input_shape().iter().map(usize::to_string).collect();
    let targets = match stream.targets() {
        Targets::Classes(n) => format!("{n} classes"),
        Targets::Values(1) => "1 value".to_string(),
        Targets::Values(n) => format!("{n} values"),
    };
    let targets = match stream.target_positions() {
        [] => targets,
        positions => {
            let positions: Vec<String> = positions.iter().map(usize::to_string).collect();
            format!("{targets} at {} positions", positions.join("×"))
        }
    };
    let settings = stream.settings();
    let seed = match settings.get("seed") {
        Some(seed) if settings.get("shuffle") != Some(&serde_json::Value::Bool(false)) => {
            format!(", seed {seed}")
        }
        _ => String::new(),
    };
    format!(
        "{}: {examples}, {} → {targets}{seed}",
        stream.name(),
        shape.join("×")
    )
}
