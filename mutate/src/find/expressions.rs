//! Conditions, comparisons, arithmetic, literals, arms and loops.

use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Expr, ExprBinary, Lit, Pat, UnOp};

use super::functions::spans;
use super::{Finder, SWITCH, range};

/// Methods whose answer is yes or no.
const YES_OR_NO: [&str; 19] = [
    "is_some",
    "is_none",
    "is_ok",
    "is_err",
    "is_empty",
    "contains",
    "contains_key",
    "starts_with",
    "ends_with",
    "any",
    "all",
    "is_some_and",
    "is_none_or",
    "is_ok_and",
    "eq",
    "ne",
    "eq_ignore_ascii_case",
    "is_match",
    "is_disjoint",
];

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr(&mut self, expression: &'ast Expr) {
        self.expression(expression);
    }
    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.statements(block, true);
    }
    fn visit_item(&mut self, _: &'ast syn::Item) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_angle_bracketed_generic_arguments(&mut self, _: &'ast syn::AngleBracketedGenericArguments) {}
}

impl Finder<'_> {
    /// Every mutant of an expression of whatever type.
    pub(super) fn expression(&mut self, expression: &Expr) {
        match is_yes_or_no(expression) {
            true => self.truth(expression, &[true, false]),
            false => self.inner(expression),
        }
    }

    /// A truth value that is replaced by each of `forced`, and so are its parts where that is more.
    pub(super) fn truth(&mut self, expression: &Expr, forced: &[bool]) {
        if matches!(expression, Expr::Lit(_)) {
            return self.inner(expression);
        }
        if !forced.is_empty() {
            let (whole, text) = (spans(expression), self.snippet(expression));
            let group = self.group();
            let mut before = String::from("(");
            for value in forced {
                let id = self.mutant(group, &whole, format!("\"{text}\" is {value}"));
                before.push_str(&match value {
                    true => format!("{SWITCH}::on({id}) || "),
                    false => format!("!{SWITCH}::on({id}) && "),
                });
            }
            before.push('(');
            self.found.edits.around(group, &whole, before, "))");
        }
        self.parts(expression);
    }

    /// What is in a truth value, but for the value as a whole.
    pub(super) fn parts(&mut self, expression: &Expr) {
        match expression {
            Expr::Paren(inner) => self.parts(&inner.expr),
            Expr::Unary(not) if matches!(not.op, UnOp::Not(_)) => self.parts(&not.expr),
            Expr::Binary(binary) => match binary.op {
                // One of both is left out.
                BinOp::And(_) => {
                    [&binary.left, &binary.right].map(|side| self.truth(side, &[true])).into_iter().collect()
                }
                BinOp::Or(_) => {
                    [&binary.left, &binary.right].map(|side| self.truth(side, &[false])).into_iter().collect()
                }
                _ => self.comparison(binary),
            },
            _ => self.inner(expression),
        }
    }

    /// Whether to go into an `if` or to go on with a `while`.
    fn condition(&mut self, condition: &Expr, forced: &[bool]) {
        if !has_let(condition) {
            return self.truth(condition, forced);
        }
        let (whole, text) = (spans(condition), self.snippet(condition));
        let group = self.group();
        let id = self.mutant(group, &whole, format!("\"{text}\" never holds"));
        self.found.edits.after(group, whole.end, format!(" && !{SWITCH}::on({id})"));
        self.links(condition);
    }

    /// The parts of a condition with `let` in it.
    fn links(&mut self, condition: &Expr) {
        match condition {
            Expr::Let(of) => self.expression(&of.expr),
            Expr::Binary(both) if matches!(both.op, BinOp::And(_)) && has_let(condition) => {
                self.links(&both.left);
                self.links(&both.right);
            }
            other => self.truth(other, &[true]),
        }
    }

    fn comparison(&mut self, binary: &ExprBinary) {
        let (other, sign, mine) = match binary.op {
            BinOp::Lt(_) => ("<=", "with <=", "<"),
            BinOp::Le(_) => ("<", "with <", "<="),
            BinOp::Gt(_) => (">=", "with >=", ">"),
            BinOp::Ge(_) => (">", "with >", ">="),
            _ => return visit::visit_expr_binary(self, binary),
        };
        let (whole, text) = (range(binary), self.snippet(binary));
        let group = self.group();
        let id = self.mutant(group, &whole, format!("\"{text}\" {sign}"));
        let behind = format!(")) {{ (l, r) => if {SWITCH}::on({id}) {{ l {other} r }} else {{ l {mine} r }} }})");
        self.found.edits.around(group, &whole, "(match (&(", behind);
        self.found.edits.instead(group, range(&binary.op), "), &(");
        visit::visit_expr_binary(self, binary);
    }

    fn arithmetic(&mut self, binary: &ExprBinary) {
        let (mine, other) = match binary.op {
            BinOp::Add(_) => ("+", "-"),
            BinOp::Sub(_) => ("-", "+"),
            BinOp::Mul(_) => ("*", "/"),
            BinOp::Div(_) => ("/", "*"),
            BinOp::Rem(_) => ("%", "/"),
            _ => return visit::visit_expr_binary(self, binary),
        };
        let (whole, text) = (range(binary), self.snippet(binary));
        let group = self.group();
        let id = self.mutant(group, &whole, format!("\"{text}\" with {other}"));
        let behind = format!(")) {{ (l, r) => if {SWITCH}::on({id}) {{ l {other} r }} else {{ l {mine} r }} }})");
        self.found.edits.around(group, &whole, "(match ((", behind);
        self.found.edits.instead(group, range(&binary.op), "), (");
        visit::visit_expr_binary(self, binary);
    }

    /// What is in an expression, but for its being true or false.
    pub(super) fn inner(&mut self, expression: &Expr) {
        match expression {
            Expr::If(branch) => {
                self.condition(&branch.cond, &[true, false]);
                match &branch.else_branch {
                    None => self.body(&branch.then_branch),
                    Some((_, other)) => {
                        self.statements(&branch.then_branch, true);
                        self.inner(other);
                    }
                }
            }
            Expr::While(repeat) => {
                // Forever true would be a hang, which tells nothing.
                self.condition(&repeat.cond, &[false]);
                self.statements(&repeat.body, true);
            }
            Expr::ForLoop(each) => {
                let (over, text) = (spans(&each.expr), self.snippet(&*each.expr));
                let group = self.group();
                let id = self.mutant(group, &over, format!("only the first of \"{text}\""));
                self.found.edits.around(group, &over, format!("{SWITCH}::only_first({id}, "), ")");
                self.expression(&each.expr);
                self.statements(&each.body, true);
            }
            Expr::Match(choice) => {
                self.expression(&choice.expr);
                for (number, arm) in choice.arms.iter().enumerate() {
                    self.arm(arm, choice.arms.iter().skip(number + 1));
                }
            }
            Expr::Binary(binary) => match binary.op {
                BinOp::And(_) | BinOp::Or(_) => self.parts(expression),
                BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => self.comparison(binary),
                _ => self.arithmetic(binary),
            },
            Expr::MethodCall(call) => self.method(call),
            Expr::Call(call) => {
                if let Expr::Path(path) = &*call.func
                    && path.path.segments.last().is_some_and(|last| last.ident == "Some")
                {
                    let (whole, text) = (range(call), self.snippet(call));
                    let group = self.group();
                    let id = self.mutant(group, &whole, format!("\"{text}\" is None"));
                    self.found.edits.around(
                        group,
                        &whole,
                        format!("(if {SWITCH}::on({id}) {{ None }} else {{ "),
                        " })",
                    );
                }
                call.args.iter().for_each(|argument| self.expression(argument));
            }
            Expr::Lit(literal) => self.literal(&literal.lit),
            Expr::Closure(closure) => self.expression(&closure.body),
            Expr::Let(of) => self.expression(&of.expr),
            Expr::Repeat(repeat) => self.expression(&repeat.expr),
            Expr::Const(_) | Expr::Macro(_) => {}
            other => visit::visit_expr(self, other),
        }
    }

    fn arm<'a>(&mut self, arm: &Arm, mut later: impl Iterator<Item = &'a Arm>) {
        match &arm.guard {
            Some((_, guard)) if !has_let(guard) => self.truth(guard, &[true, false]),
            Some(_) => {}
            None if !is_catch_all(&arm.pat) && later.any(|arm| arm.guard.is_none() && is_catch_all(&arm.pat)) => {
                let (whole, text) = (range(&arm.pat), self.snippet(&arm.pat));
                let group = self.group();
                let id = self.mutant(group, &whole, format!("arm \"{text}\" is skipped"));
                self.found.edits.after(group, whole.end, format!(" if !{SWITCH}::on({id})"));
            }
            None => {}
        }
        self.expression(&arm.body);
    }

    fn literal(&mut self, literal: &Lit) {
        let whole = range(literal);
        match literal {
            Lit::Int(number) => {
                let Ok(value) = number.base10_parse::<u128>() else { return };
                let (text, suffix) = (number.to_string(), number.suffix().to_owned());
                let group = self.group();
                let id = self.mutant(group, &whole, format!("{text} is {}", value + 1));
                let other = format!("(if {SWITCH}::on({id}) {{ {}{suffix} }} else {{ ", value + 1);
                self.found.edits.around(group, &whole, other, " })");
            }
            Lit::Bool(value) => {
                let group = self.group();
                let id = self.mutant(group, &whole, format!("{} is {}", value.value, !value.value));
                self.found.edits.around(group, &whole, format!("({SWITCH}::on({id}) != "), ")");
            }
            _ => {}
        }
    }
}

fn is_yes_or_no(expression: &Expr) -> bool {
    match expression {
        Expr::MethodCall(call) => YES_OR_NO.iter().any(|name| call.method == name),
        Expr::Binary(binary) => matches!(
            binary.op,
            BinOp::And(_)
                | BinOp::Or(_)
                | BinOp::Eq(_)
                | BinOp::Ne(_)
                | BinOp::Lt(_)
                | BinOp::Le(_)
                | BinOp::Gt(_)
                | BinOp::Ge(_)
        ),
        Expr::Macro(of) => of.mac.path.is_ident("matches"),
        _ => false,
    }
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(both) if matches!(both.op, BinOp::And(_)) => has_let(&both.left) || has_let(&both.right),
        _ => false,
    }
}

/// Whether nothing can get past this pattern.
fn is_catch_all(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        Pat::Ident(name) => {
            name.subpat.is_none() && name.ident.to_string().starts_with(|c: char| c == '_' || c.is_lowercase())
        }
        Pat::Tuple(parts) => parts.elems.iter().all(is_catch_all),
        _ => false,
    }
}
