//! Functions that keep the surroundings they were written in.
//!
//! Rhai looks names up along the chain of calls: a closure of the user's script that a library
//! calls would find the library's functions first. So the functions of a script carry their own
//! script's functions, imports and constants, as Rhai itself does for the functions of a module.

use std::cell::RefCell;

use rhai::{AST, Engine, EvalAltResult, Expr, Module, Scope, Shared, Stmt};

/// The constants of a script, shared with its functions as `global::NAME`.
pub type Constants =
    Shared<rhai::Locked<std::collections::BTreeMap<rhai::ImmutableString, rhai::Dynamic>>>;

const CAPTURE: &str = "__capture_constants";

thread_local! {
    static CAPTURED: RefCell<Option<Constants>> = const { RefCell::new(None) };
}

/// Registers what [`bind`] needs.
pub(crate) fn register(engine: &mut Engine) {
    engine.register_fn(CAPTURE, |ctx: rhai::NativeCallContext| {
        CAPTURED.with(|c| *c.borrow_mut() = ctx.global_runtime_state().constants.clone());
    });
}

/// The functions of `ast` with their surroundings, and the constants they see.
///
/// `imports` are evaluated first, so that the functions see these modules wherever they are called.
///
/// # Errors
/// Those of the imports.
pub(crate) fn bind(
    engine: &Engine,
    ast: &AST,
    imports: &[Stmt],
) -> Result<(Module, Option<Constants>), Box<EvalAltResult>> {
    let functions = ast.shared_lib().clone();
    let mut statements = prelude(engine)?;
    statements.extend(imports.iter().cloned());
    let mut carrier = AST::new(statements, functions.clone());
    if let Some(source) = ast.source() {
        carrier.set_source(source);
    }
    let bound = Module::eval_ast_as_new(Scope::new(), &carrier, engine)?;
    let constants = CAPTURED.with(|c| c.borrow_mut().take());
    // private functions are no part of a module, but of a script
    let mut all = (*functions).clone();
    all.merge(&bound);
    if let Some(source) = ast.source() {
        all.set_id(source);
    }
    Ok((all, constants))
}

/// Statements that make a store of constants and hand it over.
fn prelude(engine: &Engine) -> Result<Vec<Stmt>, Box<EvalAltResult>> {
    let ast = engine.compile(format!("const none = (); {CAPTURE}();"))?;
    Ok(ast.statements().to_vec())
}

/// The imports at the top level of a script whose path is written out.
pub(crate) fn literal_imports(ast: &AST) -> Vec<Stmt> {
    ast.statements()
        .iter()
        .filter(|s| matches!(s, Stmt::Import(x, _) if matches!(x.0, Expr::StringConstant(..))))
        .cloned()
        .collect()
}
