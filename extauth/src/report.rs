//! What the authors of AuthConfigs are told: accepted or not, and how many keys were found.

use api::{Kind, Name, ObjectRef, Problem};
use status::{ACCEPTED, Condition, Diff, ObjectStatus, Report};

use crate::compile::{Compilation, Compiled, Index};
use crate::methods::Accepts;

/// A status for every AuthConfig of `index`.
pub fn report(index: &Index) -> Report {
    index.by_name().into_iter().map(|(name, compiled)| (reference(name), statuses(compiled))).collect()
}

/// What is said otherwise than before `compilation`.
pub fn diff(compilation: &Compilation) -> Diff {
    let mut diff = Diff::default();
    for name in &compilation.touched {
        match compilation.index.declared(name) {
            Some(compiled) => diff.said.push((reference(name), statuses(compiled))),
            None => diff.silent.push(reference(name)),
        }
    }
    diff
}

fn reference(name: &Name) -> ObjectRef {
    ObjectRef { kind: Kind::AuthConfig, name: name.clone() }
}

fn statuses(compiled: &Compiled) -> Vec<ObjectStatus> {
    vec![ObjectStatus::new(vec![accepted(compiled)]).observing(compiled.generation())]
}

fn accepted(compiled: &Compiled) -> Condition {
    if compiled.chain.is_none() {
        let message = "refused: every request it governs is answered 403 until it is corrected";
        return Condition::fails(ACCEPTED, "Invalid", message).with(compiled.problems.clone());
    }
    let mut message = said(compiled.accepts);
    let reason = if compiled.problems.is_empty() { "Accepted" } else { "AcceptedWithWarnings" };
    for problem in &compiled.problems {
        message.push_str("; ");
        message.push_str(&Problem::to_string(problem));
    }
    Condition::holds(ACCEPTED, reason, message).with(compiled.problems.clone())
}

/// What is accepted, in words; an AuthConfig that lets nobody in says so in figures.
fn said(accepts: Accepts) -> String {
    let Accepts { keys, secrets, users, servers, issuers } = accepts;
    let mut said = Vec::new();
    if keys + secrets > 0 || users + servers + issuers == 0 {
        said.push(format!("{} from {}", count(keys, "key", "keys"), count(secrets, "Secret", "Secrets")));
    }
    if users > 0 {
        said.push(count(users, "user", "users"));
    }
    if servers > 0 {
        said.push(format!("asks {}", count(servers, "server", "servers")));
    }
    if issuers > 0 {
        said.push(format!("tokens of {}", count(issuers, "issuer", "issuers")));
    }
    said.join(", ")
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
