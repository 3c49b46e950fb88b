//! Measuring speed: the protocol of a measurement, what the machine can do, the lines in which
//! results are kept, and how they compare with those of other programs.
//!
//! A measurement is a ratio in the making: rates are kept beside what the machine's arithmetic and
//! memory allow, and lines of several programs, taken in turns on one machine, are divided by each
//! other. Single times say little, for another process or a slower clock changes them.

mod date;
mod fingerprint;
pub mod line;
pub mod machine;
mod measurement;
pub mod process;
mod protocol;
pub mod ratio;
mod request;
mod rounds;
pub mod startup;
mod training;

pub use date::today;
pub use fingerprint::fingerprint;
pub use line::Line;
pub use measurement::{Labels, Measurement, Quantity, Work, digits};
pub use protocol::{Protocol, Samples, sample};
pub use request::{Cases, Request};
pub use rounds::Rounds;
pub use training::training;
