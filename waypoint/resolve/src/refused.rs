//! Answers of our own: what is in doubt is refused, with a sentence saying why.

use std::collections::BTreeSet;

use api::ObjectRef;
use api::gateway::HttpRoute;
use ir::{Action, Match, Policy, Refusal, Route};

use super::matches;

/// A route that answers `status` to `matches`.
pub fn route(name: String, matches: Match, status: u32, why: String, origins: BTreeSet<ObjectRef>) -> Route {
    Route { name, matches, action: Action::Refuse(Refusal { status, why }), policy: Policy::default(), origins }
}

/// The routes of an HTTPRoute that was never admitted: each of its matches that could be
/// read is refused, and so is whatever no other route matches.
pub fn broken(reference: &ObjectRef, partial: &HttpRoute) -> (Vec<(Match, usize, usize)>, String) {
    let why = format!("{reference} is not valid; see its status");
    let mut refused = Vec::new();
    for (rule_index, rule) in partial.spec.rules.iter().flatten().enumerate() {
        for (index, written) in rule.matches.iter().flatten().enumerate() {
            refused.push((matches::matches(written, &[]), rule_index, index));
        }
    }
    (refused, why)
}
