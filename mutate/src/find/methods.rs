//! Calls of iterators, options and orders.

use syn::{Expr, ExprClosure, ExprMethodCall, ReturnType};

use super::functions::spans;
use super::{Finder, SWITCH, range};

/// What goes through all that an iterator has.
const TERMINAL: [&str; 14] = [
    "collect",
    "find",
    "find_map",
    "position",
    "count",
    "sum",
    "fold",
    "try_fold",
    "for_each",
    "try_for_each",
    "unzip",
    "partition",
    "flatten",
    "flat_map",
];

impl Finder<'_> {
    pub(super) fn method(&mut self, call: &ExprMethodCall) {
        let name = call.method.to_string();
        let count = call.args.len();
        // Edits in front of the dot stand outside of those behind the receiver.
        if TERMINAL.contains(&name.as_str()) {
            let text = self.snippet(&*call.receiver);
            let at = range(&call.dot_token).start;
            let group = self.group();
            let id = self.mutant(group, &(at..at), format!("only the first of \"{text}\" for {name}"));
            self.found.edits.before(group, at, format!(".mutant_first({id})"));
        }
        match (name.as_str(), count) {
            ("any", 1) => self.few_or_other(call, "all"),
            ("all", 1) => self.few_or_other(call, "any"),
            ("min", 0) => self.renamed(call, "mutant_least", "takes the greatest"),
            ("max", 0) => self.renamed(call, "mutant_most", "takes the least"),
            ("min_by_key", 1) => self.renamed(call, "mutant_min_by_key", "takes the greatest"),
            ("max_by_key", 1) => self.renamed(call, "mutant_max_by_key", "takes the least"),
            ("first", 0) => self.renamed(call, "mutant_front", "takes the last"),
            ("last", 0) => self.renamed(call, "mutant_back", "takes the first"),
            ("min", 1) => self.renamed(call, "mutant_min", "does not bound"),
            ("max", 1) => self.renamed(call, "mutant_max", "does not bound"),
            ("or", 1) => self.renamed(call, "mutant_or", "takes no other"),
            ("or_else", 1) => self.renamed(call, "mutant_or_else", "takes no other"),
            ("then_with", 1) => self.renamed(call, "mutant_then_with", "compares no further"),
            ("then", 1) if !matches!(call.args.first(), Some(Expr::Closure(_))) => {
                self.renamed(call, "mutant_then", "compares no further");
            }
            ("cmp" | "partial_cmp", 1) => self.reversed(call),
            ("chain" | "extend", 1) => self.argument(call, "nothing_of", "has nothing of"),
            _ => {}
        }
        if name == "extend" && count == 1 {
            self.argument(call, "only_first", "has only the first of");
        }
        let on_truth = (name == "then" && matches!(call.args.first(), Some(Expr::Closure(_)))) || name == "then_some";
        match on_truth {
            true => self.truth(&call.receiver, &[true, false]),
            false => self.expression(&call.receiver),
        }
        for argument in &call.args {
            match argument {
                Expr::Closure(closure) => self.closure(&name, closure),
                other => self.expression(other),
            }
        }
    }

    /// The body of a closure that is given to the method `name`.
    fn closure(&mut self, name: &str, closure: &ExprClosure) {
        let forced: &[bool] = match (name, &closure.output) {
            (_, ReturnType::Type(..)) => &[],
            ("filter" | "retain" | "take_while" | "skip_while" | "position" | "find" | "partition", _) => {
                &[true, false]
            }
            // With the other value the whole would be true or false, which is a mutant already.
            ("any" | "is_some_and" | "is_ok_and", _) => &[true],
            ("all" | "is_none_or", _) => &[false],
            _ => return self.expression(&closure.body),
        };
        self.truth(&closure.body, forced);
    }

    fn renamed(&mut self, call: &ExprMethodCall, name: &str, what: &str) {
        let text = self.snippet(call);
        let group = self.group();
        let id = self.mutant(group, &range(call), format!("\"{text}\" {what}"));
        self.found.edits.instead(group, range(&call.method), name);
        let open = range(&call.paren_token.span.open());
        let comma = if call.args.is_empty() { "" } else { ", " };
        self.found.edits.before(group, open.end, format!("{id}{comma}"));
    }

    fn few_or_other(&mut self, call: &ExprMethodCall, other: &str) {
        let text = self.snippet(call);
        let group = self.group();
        let swapped = self.mutant(group, &range(call), format!("\"{text}\" with {other}"));
        let few = self.mutant(group, &range(call), format!("\"{text}\" of the first only"));
        self.found.edits.instead(group, range(&call.method), format!("mutant_{}", call.method));
        self.found.edits.before(group, range(&call.paren_token.span.open()).end, format!("{swapped}, {few}, "));
    }

    fn reversed(&mut self, call: &ExprMethodCall) {
        let (whole, text) = (range(call), self.snippet(call));
        let group = self.group();
        let id = self.mutant(group, &whole, format!("\"{text}\" the other way round"));
        let method = match call.method == "cmp" {
            true => "o.reverse()",
            false => "o.map(::core::cmp::Ordering::reverse)",
        };
        let behind = format!(" {{ o => if {SWITCH}::on({id}) {{ {method} }} else {{ o }} }})");
        self.found.edits.around(group, &whole, "(match ", behind);
    }

    fn argument(&mut self, call: &ExprMethodCall, switch: &str, what: &str) {
        let Some(argument) = call.args.first() else { return };
        let (whole, text) = (spans(argument), self.snippet(argument));
        let group = self.group();
        let id = self.mutant(group, &whole, format!("{} {what} \"{text}\"", call.method));
        self.found.edits.around(group, &whole, format!("{SWITCH}::{switch}({id}, "), ")");
    }
}
