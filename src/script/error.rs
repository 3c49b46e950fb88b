//! Errors between the core and scripts.
//!
//! A core [`Error`] reaches a script as an `ErrorRuntime` whose payload is a [`HostError`], so
//! that `try { … } catch (e) { print(e.kind); print(e.message); }` works, the call chain is kept
//! and the position is the call's.

use std::cell::RefCell;

use rhai::{Dynamic, EvalAltResult, NativeCallContext, Position};

use crate::error::{Error, ErrorKind};

/// Result of a binding. Write the type with exactly this name: Rhai's metadata then shows `T`.
pub type RhaiResultOf<T> = Result<T, Box<EvalAltResult>>;

/// The error a script catches: `e.kind`, `e.message`, `e.help`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError(pub Error);

thread_local! {
    /// The script error behind the core error that a callback returned, see [`stash`].
    static STASHED: RefCell<Option<(String, Box<EvalAltResult>)>> = const { RefCell::new(None) };
}

/// Turns a core error into a script error at the position of the call.
///
/// An interruption ends the script and cannot be caught; an error that began in a script callback
/// comes back as it was, with its own position and call chain.
pub fn raise(ctx: &NativeCallContext, error: impl Into<Error>) -> Box<EvalAltResult> {
    raise_at(ctx.call_position(), error)
}

/// [`raise`] at a known position.
pub fn raise_at(position: Position, error: impl Into<Error>) -> Box<EvalAltResult> {
    let error = error.into();
    if error.kind == ErrorKind::Interrupted {
        return EvalAltResult::ErrorTerminated(error.message.into(), position).into();
    }
    if let Some(mut original) = unstash(&error) {
        // the outermost place is where a kept function was given; it was called here
        original.set_position(position);
        return original;
    }
    EvalAltResult::ErrorRuntime(Dynamic::from(HostError(error)), position).into()
}

/// Shorthand for [`raise`] on a core result: `core::call(..).or_raise(&ctx)?`.
pub trait OrRaise<T> {
    /// Converts the error, if any, into a script error at the position of the call.
    ///
    /// # Errors
    /// The core error as a catchable script error.
    fn or_raise(self, ctx: &NativeCallContext) -> RhaiResultOf<T>;
}

impl<T, E: Into<Error>> OrRaise<T> for Result<T, E> {
    fn or_raise(self, ctx: &NativeCallContext) -> RhaiResultOf<T> {
        self.map_err(|e| raise(ctx, e))
    }
}

/// Converts the error of a script callback to a core error, keeping the original for [`raise`].
pub(crate) fn stash(error: Box<EvalAltResult>) -> Error {
    let core = to_core(&error);
    let key = core.message.clone();
    STASHED.with(|s| *s.borrow_mut() = Some((key, error)));
    core
}

fn unstash(error: &Error) -> Option<Box<EvalAltResult>> {
    STASHED.with(|s| {
        let mut slot = s.borrow_mut();
        match slot.as_ref() {
            // the core may have put a place in front of the message
            Some((message, _)) if error.message.ends_with(message.as_str()) => {
                slot.take().map(|(_, original)| original)
            }
            _ => None,
        }
    })
}

/// The core error inside a script error, or its text.
pub fn to_core(error: &EvalAltResult) -> Error {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _)
        | EvalAltResult::ErrorInModule(_, inner, _) => to_core(inner),
        EvalAltResult::ErrorTerminated(..) => Error::interrupted(),
        EvalAltResult::ErrorRuntime(payload, _) => match payload.clone().try_cast::<HostError>() {
            Some(host) => host.0,
            None => Error::other(payload.to_string()),
        },
        other => Error::other(without_position(other)),
    }
}

/// Rhai's text without its ` (line 1, position 2)`, which our own reports replace.
fn without_position(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let position = error.position();
    if position.is_none() {
        return text;
    }
    text.strip_suffix(&format!(" ({position})"))
        .unwrap_or(&text)
        .to_string()
}
