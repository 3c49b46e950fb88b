//! What a script reads from an error that it catches.

use rhai::plugin::*;

use super::Registry;
use crate::script::HostError;

/// Registers errors.
pub fn register(registry: &mut Registry) {
    registry.name_type::<HostError>("Error");
    registry.global(rhai::exported_module!(functions));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "for scripts; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// What sort of mistake a caught error reports: `setting`, `shape`, `data`, `diverged`, `io`,
    /// `device` or `other`.
    ///
    /// ```rhai
    /// let kind = "";
    /// try { table(["a", "a"]); } catch (e) { kind = e.kind; }
    /// kind        // → "setting"
    /// ```
    #[rhai_fn(get = "kind", pure)]
    pub fn kind(error: &mut HostError) -> String {
        error.0.kind.name().to_string()
    }

    /// What is wrong, in one sentence.
    ///
    /// ```rhai
    /// let message = "";
    /// try { table(["a", "a"]); } catch (e) { message = e.message; }
    /// message     // → "two columns are called `a`"
    /// ```
    #[rhai_fn(get = "message", pure)]
    pub fn message(error: &mut HostError) -> String {
        error.0.message.clone()
    }

    /// What can be done about it, or `()`.
    ///
    /// ```rhai
    /// let help = 1;
    /// try { table(["a", "a"]); } catch (e) { help = e.help; }
    /// help        // → ()
    /// ```
    #[rhai_fn(get = "help", pure)]
    pub fn help(error: &mut HostError) -> Dynamic {
        error.0.help.clone().map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// The message, for `print(e)`.
    ///
    /// ```rhai
    /// let text = "";
    /// try { fail("no"); } catch (e) { text = e.to_string(); }
    /// text        // → "no"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(error: &mut HostError) -> String {
        error.0.message.clone()
    }
}
