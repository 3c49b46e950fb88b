//! What a parsed script calls, imports and writes out.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

/// A map literal's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Literal {
    pub keys: Vec<(String, Position, Option<Literal>)>,
}

/// A call in the text.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// `a::b` before the name.
    pub namespace: Vec<String>,
    pub name: String,
    /// Number of arguments, without a receiver.
    pub arguments: usize,
    pub method: bool,
    pub position: Position,
    /// The map literals among the arguments, with their places.
    pub maps: Vec<(usize, Literal)>,
    /// The first argument, if it is a string written out.
    pub text: Option<String>,
}

/// An import in the text.
#[derive(Debug, Clone)]
pub(super) struct Import {
    /// The path, if written out.
    pub path: Option<String>,
    pub alias: String,
    pub position: Position,
}

/// Everything that the rules look at.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub calls: Vec<Call>,
    pub imports: Vec<Import>,
    /// Keys of map literals and names of assigned properties: each may hold a closure.
    pub keys: BTreeSet<String>,
    /// Functions that name their settings: `study_settings("name", given, #{ … })`.
    pub settings: Vec<(String, Vec<String>)>,
}

impl Facts {
    /// Collects them.
    pub(super) fn new(ast: &AST) -> Self {
        let mut facts = Self::default();
        ast.walk(&mut |path| {
            if let Some(node) = path.last() {
                facts.node(node);
            }
            true
        });
        facts
    }

    fn node(&mut self, node: &ASTNode) {
        match node {
            ASTNode::Expr(Expr::FnCall(call, position)) => self.call(call, false, *position),
            ASTNode::Expr(Expr::MethodCall(call, position)) => self.call(call, true, *position),
            ASTNode::Stmt(Stmt::FnCall(call, position)) => self.call(call, false, *position),
            ASTNode::Stmt(Stmt::Import(import, position)) => self.imports.push(Import {
                path: match &import.0 {
                    Expr::StringConstant(path, _) => Some(path.to_string()),
                    _ => None,
                },
                alias: import.1.name.to_string(),
                position: match import.0.position() {
                    Position::NONE => *position,
                    other => other,
                },
            }),
            ASTNode::Stmt(Stmt::Assignment(assignment)) => self.assigned(&assignment.1.lhs),
            ASTNode::Expr(Expr::Map(map, _)) => {
                let names = map.0.iter().map(|(key, _)| key.name.to_string());
                self.keys.extend(names);
            }
            _ => {}
        }
    }

    fn assigned(&mut self, target: &Expr) {
        match target {
            Expr::Property(property, _) => {
                self.keys.insert(property.2.to_string());
            }
            Expr::Dot(both, ..) | Expr::Index(both, ..) => {
                self.assigned(&both.lhs);
                self.assigned(&both.rhs);
            }
            Expr::StringConstant(name, _) => {
                self.keys.insert(name.to_string());
            }
            _ => {}
        }
    }

    fn call(&mut self, call: &FnCallExpr, method: bool, position: Position) {
        if call.op_token.is_some() {
            return;
        }
        let maps = call.args.iter().enumerate();
        let maps = maps
            .filter_map(|(i, arg)| Some((i, literal(arg)?)))
            .collect();
        let text = match call.args.first() {
            Some(Expr::StringConstant(text, _)) => Some(text.to_string()),
            _ => None,
        };
        if call.name == "study_settings"
            && let (Some(function), Some(defaults)) = (&text, call.args.get(2).and_then(literal))
        {
            let keys = defaults.keys.into_iter().map(|(key, ..)| key);
            // in the order in which the program lists them
            let keys = keys.collect::<BTreeSet<_>>().into_iter().collect();
            self.settings.push((function.clone(), keys));
        }
        self.calls.push(Call {
            namespace: call
                .namespace
                .path
                .iter()
                .map(|i| i.name.to_string())
                .collect(),
            name: call.name.to_string(),
            arguments: call.args.len(),
            method,
            position,
            maps,
            text,
        });
    }
}

fn literal(expression: &Expr) -> Option<Literal> {
    let Expr::Map(map, _) = expression else {
        return None;
    };
    let keys = map.0.iter();
    Some(Literal {
        keys: keys
            .map(|(key, value)| (key.name.to_string(), key.pos, literal(value)))
            .collect(),
    })
}
