//! Script functions kept by host values and called later.

use std::fmt;
use std::sync::Arc;

#[allow(
    deprecated,
    reason = "Rhai marks the stored context as volatile, the version is pinned"
)]
use rhai::NativeCallContextStore;
use rhai::{Dynamic, FnPtr, FuncArgs, NativeCallContext};

use super::captured::Captured;
use super::error::stash;
use super::options::Values;
use super::session::{Session, session};
use crate::error::{Error, Result};

/// A script function with the surroundings it was made in; may outlive the call that received it
/// (a learning-rate schedule in a trainer, `|w| mlp(..)` in a network).
///
/// Calls work while the host evaluates something, on any thread. The core sees only a closure:
/// `let f = StoredFn::new(&ctx, fn_ptr)?; Schedule::custom(move |step| f.call((step as i64,)))`.
#[derive(Clone)]
pub struct StoredFn {
    pointer: FnPtr,
    #[allow(deprecated, reason = "see the import")]
    context: NativeCallContextStore,
    session: Arc<Session>,
    captured: Captured,
}

impl fmt::Debug for StoredFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredFn({})", self.pointer.fn_name())
    }
}

impl StoredFn {
    /// Keeps a function together with its surroundings.
    ///
    /// # Errors
    /// When the engine is not one of ours.
    #[allow(deprecated, reason = "see the import")]
    pub fn new(ctx: &NativeCallContext, pointer: FnPtr) -> Result<Self> {
        Ok(Self {
            captured: Captured::new(&pointer),
            pointer,
            context: ctx.store_data(),
            session: session(ctx)?,
        })
    }

    /// [`StoredFn::new`] of a function that takes these arguments; the check spares the user an
    /// error at a later call.
    ///
    /// # Errors
    /// When it takes another number.
    pub fn taking(ctx: &NativeCallContext, pointer: FnPtr, arguments: &[&str]) -> Result<Self> {
        let takes: Vec<usize> = ctx
            .iter_namespaces()
            .flat_map(|m| m.iter_script_fn_info())
            .filter(|(_, _, name, ..)| *name == pointer.fn_name())
            .filter_map(|(_, _, _, parameters, _)| parameters.checked_sub(pointer.curry().len()))
            .collect();
        match takes.first() {
            Some(other) if !takes.contains(&arguments.len()) => Err(Error::setting(format!(
                "the function must take ({}), but takes {other} argument{}",
                arguments.join(", "),
                if *other == 1 { "" } else { "s" }
            ))
            .with_help(format!("write |{}| …", arguments.join(", ")))),
            _ => Self::new(ctx, pointer),
        }
    }

    /// The function pointer itself.
    pub fn pointer(&self) -> &FnPtr {
        &self.pointer
    }

    /// Whether the variables that it shares with the script are as they were when it was made a
    /// [`StoredFn`]; see [`Captured`].
    pub fn is_unchanged(&self) -> bool {
        self.captured.is_as(&self.pointer)
    }

    /// Calls the function and casts what it returns; an integer is taken where `T` is `f64`.
    ///
    /// # Errors
    /// The script's error (given back unchanged by [`raise`](super::raise)), or a result of
    /// another type.
    #[allow(deprecated, reason = "see the import")]
    pub fn call<T: Clone + Send + Sync + 'static>(&self, args: impl FuncArgs) -> Result<T> {
        let engine = self.session.engine()?;
        let context = self.context.create_context(&engine);
        call(&context, &self.pointer, args)
    }
}

/// Calls a script function at once, within the native call `ctx`; an integer is taken where `T`
/// is `f64`.
///
/// # Errors
/// The script's error (given back unchanged by [`raise`](super::raise)), or a result of another
/// type.
pub fn call<T: Clone + Send + Sync + 'static>(
    ctx: &NativeCallContext,
    pointer: &FnPtr,
    args: impl FuncArgs,
) -> Result<T> {
    let value: Dynamic = pointer.call_within_context(ctx, args).map_err(stash)?;
    let found = Values::describe(&value);
    let value = match value.as_int() {
        Ok(i) if std::any::TypeId::of::<T>() == std::any::TypeId::of::<f64>() => {
            Dynamic::from(i as f64)
        }
        _ => value,
    };
    value.try_cast::<T>().ok_or_else(|| {
        let wanted = match std::any::type_name::<T>() {
            "f64" => "a number".to_string(),
            other => Values::with_article(&Values::type_words(other)),
        };
        Error::setting(format!(
            "the function must return {wanted}, but returned {found}"
        ))
    })
}
