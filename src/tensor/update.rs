//! Optimizer updates of one member's parameter in place: one pass over the parameter, its gradient and
//! its state.

mod adam;
mod lion;
mod muon;
mod sgd;

pub use self::adam::Adam;
pub use self::lion::Lion;
pub use self::muon::Muon;
pub use self::sgd::Sgd;

#[cfg(test)]
mod tests;
