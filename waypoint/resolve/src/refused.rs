//! Answers of our own: what is in doubt is refused, with a sentence saying why.

use std::collections::BTreeSet;

use api::ObjectRef;
use ir::{Action, Match, Policy, Refusal, Route};

/// A route that answers `status` to `matches`.
pub fn route(name: String, matches: Match, status: u32, why: String, origins: BTreeSet<ObjectRef>) -> Route {
    Route { name, matches, action: Action::Refuse(Refusal { status, why }), policy: Policy::default(), origins }
}
