//! Items, functions and statements.

use syn::spanned::Spanned;
use syn::{Attribute, Block, Expr, ImplItem, Item, Meta, ReturnType, Signature, Stmt, TraitItem, Type};

use super::{Finder, SWITCH, range};

/// How values print themselves decides nothing.
const PRINTING: [&str; 6] = ["Debug", "Display", "Error", "LowerHex", "UpperHex", "Serialize"];

/// Counters on the metrics port and words in the log decide nothing.
const METERS: [&str; 4] = ["increment", "decrement", "record", "inc"];

impl Finder<'_> {
    pub(super) fn items(&mut self, items: &[Item]) {
        for item in items {
            self.item(item);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Fn(function) if !of_tests(&function.attrs) => self.function(&function.sig, &function.block),
            Item::Mod(module) if !of_tests(&module.attrs) => {
                if let Some((_, items)) = &module.content {
                    let group = self.group();
                    self.import(group, items);
                    self.within(module.ident.to_string(), |finder| finder.items(items));
                }
            }
            Item::Impl(implementation) if !of_tests(&implementation.attrs) => {
                let of_trait = implementation.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
                if of_trait.is_some_and(|last| PRINTING.iter().any(|name| last.ident == name)) {
                    return;
                }
                let name = match &*implementation.self_ty {
                    Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
                    _ => None,
                };
                self.within(name.unwrap_or_else(|| "impl".into()), |finder| {
                    for item in &implementation.items {
                        if let ImplItem::Fn(function) = item
                            && !of_tests(&function.attrs)
                        {
                            finder.function(&function.sig, &function.block);
                        }
                    }
                });
            }
            Item::Trait(definition) => self.within(definition.ident.to_string(), |finder| {
                for item in &definition.items {
                    if let TraitItem::Fn(function) = item
                        && let Some(block) = &function.default
                    {
                        finder.function(&function.sig, block);
                    }
                }
            }),
            _ => {}
        }
    }

    fn within(&mut self, name: String, read: impl FnOnce(&mut Self)) {
        self.path.push(name);
        read(self);
        self.path.pop();
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        if signature.constness.is_some() {
            return;
        }
        self.within(signature.ident.to_string(), |finder| {
            let single = block.stmts.len() == 1;
            let answers = match &signature.output {
                ReturnType::Default if single => Vec::new(),
                ReturnType::Default => vec!["()"],
                ReturnType::Type(_, kind) => defaults(kind),
            };
            finder.answered_at_once(block, &answers);
            match block.stmts.split_last() {
                // That the whole is true or false is a mutant already.
                Some((Stmt::Expr(last, None), earlier)) if answers.contains(&"true") => {
                    earlier.iter().for_each(|statement| finder.statement(statement, true));
                    finder.parts(last);
                }
                _ => finder.statements(block, true),
            }
        });
    }

    /// The function does nothing but give one of `answers`.
    fn answered_at_once(&mut self, block: &Block, answers: &[&str]) {
        let at = range(&block.brace_token.span.open()).end;
        for answer in answers {
            // The same in other words.
            if block.stmts.is_empty() || self.source.get(range(&block.stmts[0])).is_some_and(|first| first == *answer) {
                continue;
            }
            let group = self.group();
            let id = self.mutant(group, &(at..at), format!("returns {answer} at once"));
            let answer = if answer.starts_with(|c: char| c.is_ascii_digit()) {
                format!("{answer} as _")
            } else {
                (*answer).into()
            };
            self.found.edits.before(group, at, format!(" if {SWITCH}::on({id}) {{ return {answer}; }}"));
        }
    }

    pub(super) fn statements(&mut self, block: &Block, deletable: bool) {
        for statement in &block.stmts {
            self.statement(statement, deletable);
        }
    }

    fn statement(&mut self, statement: &Stmt, deletable: bool) {
        match statement {
            Stmt::Local(local) => {
                if let Some(init) = &local.init {
                    self.expression(&init.expr);
                    if let Some((_, diverging)) = &init.diverge {
                        self.expression(diverging);
                    }
                }
            }
            Stmt::Expr(expression, semicolon) => {
                if semicolon.is_some() && deletable && does_something(expression) {
                    let (whole, text) = (range(statement), self.snippet(expression));
                    let group = self.group();
                    let id = self.mutant(group, &whole, format!("\"{text}\" is left out"));
                    self.found.edits.around(group, &whole, format!("if !{SWITCH}::on({id}) {{ "), " }");
                }
                self.expression(expression);
            }
            Stmt::Item(item) => self.item(item),
            Stmt::Macro(_) => {}
        }
    }

    /// The body of an `if` or a loop: leaving out its only statement is the same as never coming there.
    pub(super) fn body(&mut self, block: &Block) {
        self.statements(block, block.stmts.len() > 1);
    }
}

/// What a function of this type may answer without looking.
fn defaults(kind: &Type) -> Vec<&'static str> {
    let Type::Path(path) = kind else { return Vec::new() };
    let Some(last) = path.path.segments.last() else { return Vec::new() };
    match last.ident.to_string().as_str() {
        "bool" => vec!["true", "false"],
        "Option" => vec!["None"],
        "Vec" | "String" | "BTreeMap" | "BTreeSet" | "HashMap" | "HashSet" => vec!["Default::default()"],
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i32" | "i64" => vec!["0"],
        "Result" => match &last.arguments {
            syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(syn::GenericArgument::Type(Type::Tuple(unit))) if unit.elems.is_empty() => vec!["Ok(())"],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn does_something(expression: &Expr) -> bool {
    match expression {
        Expr::MethodCall(call) => !METERS.iter().any(|name| call.method == name) && !is_of_meters(&call.receiver),
        Expr::Call(call) => !is_of_meters(&call.func),
        Expr::Assign(_) => true,
        Expr::Binary(binary) => matches!(
            binary.op,
            syn::BinOp::AddAssign(_)
                | syn::BinOp::SubAssign(_)
                | syn::BinOp::MulAssign(_)
                | syn::BinOp::BitAndAssign(_)
                | syn::BinOp::BitOrAssign(_)
        ),
        Expr::Try(inner) => does_something(&inner.expr),
        Expr::Await(inner) => does_something(&inner.base),
        _ => false,
    }
}

/// `self.meters`, `self.complaints`, `meters::…`, `runtime::trace::…`.
fn is_of_meters(expression: &Expr) -> bool {
    match expression {
        Expr::Field(field) => {
            matches!(&field.member, syn::Member::Named(name) if name == "meters" || name == "complaints")
        }
        Expr::Path(path) => path.path.segments.iter().any(|part| part.ident == "meters" || part.ident == "trace"),
        _ => false,
    }
}

/// `#[cfg(test)]`, `#[test]` and the like.
pub(super) fn of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && match &attribute.meta {
                    Meta::List(list) => {
                        list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
                    }
                    _ => false,
                })
    })
}

/// Whether an expression's text may be taken apart: it has no attributes of its own.
pub(super) fn spans(expression: &Expr) -> std::ops::Range<usize> {
    expression.span().byte_range()
}
