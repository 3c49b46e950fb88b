//! `bench::…`: measuring speed.

mod cases;
mod machine;
mod measures;
mod results;
mod settings;

use super::Registry;
use crate::bench::Measurement;
use settings::{CostOptions, MeasureOptions, StartupOptions, TrainingOptions};

crate::script_type!(Measurement, "measurement");

/// Registers the measurements.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Measurement>("Measurement");
    registry.options(MeasureOptions::spec());
    registry.options(TrainingOptions::spec());
    registry.options(StartupOptions::spec());
    registry.options(CostOptions::spec());
    registry.module("bench", rhai::exported_module!(cases::functions));
    registry.module("bench", rhai::exported_module!(measures::functions));
    registry.module("bench", rhai::exported_module!(machine::functions));
    registry.global(rhai::exported_module!(results::functions));
}
