//! Whether the variables that a closure shares with the script are as they were.

use std::sync::Arc;

use rhai::{Dynamic, FnPtr};

use super::api::data::{BatchValue, StreamValue};
use super::api::tensor::TensorValue;

/// The variables of a closure as they were at some time.
#[derive(Debug, Clone)]
pub struct Captured(Vec<Dynamic>);

impl Captured {
    /// Those of a function as they are now.
    pub fn new(function: &FnPtr) -> Self {
        let now = function.curry().iter();
        Self(now.map(Dynamic::flatten_clone).collect())
    }

    /// Whether each of them holds what it held then. Of a variable whose contents can change without it
    /// (a model, a trainer, a function) nobody knows: that is no.
    pub fn is_as(&self, function: &FnPtr) -> bool {
        let now = function.curry();
        now.len() == self.0.len() && now.iter().zip(&self.0).all(|(a, b)| same(a, b))
    }
}

fn same(a: &Dynamic, b: &Dynamic) -> bool {
    // one lock at a time: a variable may hold itself
    let a = a.flatten_clone();
    if a.type_id() != b.type_id() {
        return false;
    }
    if let (Some(a), Some(b)) = (
        a.clone().try_cast::<rhai::Array>(),
        b.clone().try_cast::<rhai::Array>(),
    ) {
        return a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b));
    }
    if let (Some(a), Some(b)) = (
        a.clone().try_cast::<rhai::Map>(),
        b.clone().try_cast::<rhai::Map>(),
    ) {
        let equal = |(key, value): (_, &Dynamic)| b.get(key).is_some_and(|b| same(value, b));
        return a.len() == b.len() && a.iter().all(|(key, value)| equal((key.as_str(), value)));
    }
    if let (Ok(a), Ok(b)) = (a.as_float(), b.as_float()) {
        return a.to_bits() == b.to_bits();
    }
    plain(&a).is_some_and(|a| Some(a) == plain(b))
        || both::<TensorValue>(&a, b, |a, b| a.0.id() == b.0.id())
        || both::<BatchValue>(&a, b, |a, b| Arc::ptr_eq(&a.0, &b.0))
        || both::<StreamValue>(&a, b, |a, b| Arc::ptr_eq(&a.0, &b.0))
}

/// A value of one of the language's own types, as text.
fn plain(value: &Dynamic) -> Option<String> {
    let is = value.is_unit() || value.is_bool() || value.is_int() || value.is_char();
    (is || value.is_string()).then(|| value.to_string())
}

fn both<T: Clone + Send + Sync + 'static>(
    a: &Dynamic,
    b: &Dynamic,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    match (a.clone().try_cast::<T>(), b.clone().try_cast::<T>()) {
        (Some(a), Some(b)) => same(&a, &b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Host, HostSettings};

    /// A closure over a variable with this value, and the variable.
    fn over(value: Dynamic) -> (FnPtr, Dynamic) {
        let variable = value.into_shared();
        let mut function = FnPtr::new("f").unwrap();
        function.add_curry(variable.clone());
        (function, variable)
    }

    /// The value of a script.
    fn value(script: &str) -> Dynamic {
        let mut host = Host::new(HostSettings::default()).unwrap();
        host.run_text("s.rhai", script).unwrap()
    }

    fn set(variable: &Dynamic, value: Dynamic) {
        *variable.clone().write_lock::<Dynamic>().unwrap() = value;
    }

    #[test]
    fn variables_are_as_they_were_until_another_value_is_set() {
        let pairs = [
            ("1", "2"),
            ("1", "1.0"),
            ("0.0", "-0.0"),
            ("true", "false"),
            ("'a'", "'b'"),
            ("\"a\"", "\"b\""),
            ("()", "1"),
            ("[1, [2.0]]", "[1, [3.0]]"),
            ("[1]", "[1, 1]"),
            ("#{ a: 1 }", "#{ a: 1, b: 1 }"),
            ("#{ a: [1] }", "#{ a: [2] }"),
            ("#{ a: 1 }", "#{ b: 1 }"),
            ("tensor([1.0])", "tensor([1.0])"),
            ("data::teacher()", "data::teacher()"),
            ("data::teacher().batch(4)", "data::teacher().batch(4)"),
        ];
        for (one, other) in pairs {
            let one = value(one);
            let (function, variable) = over(one.clone());
            let then = Captured::new(&function);
            assert!(then.is_as(&function), "{one:?}");
            set(&variable, value(other));
            assert!(!then.is_as(&function), "{one:?} and {other}");
            set(&variable, one.clone());
            assert!(then.is_as(&function), "{one:?} again");
        }
        assert!(Captured::new(&over(value("0.0 / 0.0")).0).is_as(&over(value("0.0 / 0.0")).0));
    }

    #[test]
    fn of_what_changes_by_itself_nobody_knows() {
        for script in ["mlp(#{ width: 8 })", "|x| x", "[|x| x]"] {
            let (function, _) = over(value(script));
            assert!(!Captured::new(&function).is_as(&function), "{script}");
        }
    }

    #[test]
    fn what_a_variable_held_is_kept_though_the_array_changes_in_place() {
        let (function, variable) = over(value("[1]"));
        let then = Captured::new(&function);
        let mut variable = variable;
        variable
            .write_lock::<rhai::Array>()
            .unwrap()
            .push(Dynamic::from(2_i64));
        assert!(!then.is_as(&function));
    }

    #[test]
    fn a_closure_of_other_variables_is_another() {
        let mut function = FnPtr::new("f").unwrap();
        let then = Captured::new(&function);
        assert!(then.is_as(&function));
        function.add_curry(Dynamic::from(1_i64));
        assert!(!then.is_as(&function));
    }
}
