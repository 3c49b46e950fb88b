//! Optimizer updates of one member's parameter in place: one pass over the parameter, its gradient and
//! its state.

mod adafactor;
mod adam;
mod blocks;
mod lion;
mod muon;
mod sgd;
mod shampoo;
mod size;
mod soap;

pub use self::adafactor::{Adafactor, AdafactorState};
pub use self::adam::Adam;
pub use self::blocks::{Block, Blocks};
pub use self::lion::{Lion, average};
pub use self::muon::{Muon, NEWTON_SCHULZ};
pub use self::sgd::Sgd;
pub use self::shampoo::{Shampoo, ShampooState};
pub use self::size::{POWER_ITERATIONS, adam_norm, spectral_norm};
pub use self::soap::{Soap, SoapState};

#[cfg(test)]
mod tests;
