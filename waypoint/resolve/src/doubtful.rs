//! Requests that two readers take differently are refused where the difference matters.
//!
//! Envoy chooses a rule by what it reads in a request; the application reads the
//! same bytes for itself, and may see something else in them. Where rules with
//! different policies tell requests apart by it, such a request could reach the
//! application under another rule's policy. So it is answered 400. Elsewhere
//! requests are passed on as they come.

mod headers;
mod methods;
mod paths;
mod queries;
mod treatment;

use std::collections::BTreeSet;

use api::core::Service;
use ir::{Action, Match, Origins, Policy, Refusal, Route};

/// The annotation on a Service by which its owner says that its application reads paths as Envoy
/// does: `keep` passes all of them on.
pub const PATHS: &str = "waykeeper.dev/doubtful-paths";

/// The same for the method: `keep` says that the application knows no other than the request's own.
pub const METHODS: &str = "waykeeper.dev/doubtful-methods";

/// The same for parameters of the query.
pub const QUERIES: &str = "waykeeper.dev/doubtful-queries";

/// `routes`, which are those of `service`, with the refusals among them.
pub fn refused(service: &Service, routes: Vec<Route>, origins: &Origins) -> Vec<Route> {
    let refuse = |name: String, matches: Match, why: &str| Route {
        name,
        matches,
        action: Action::Refuse(Refusal { status: 400, why: why.to_owned() }),
        policy: Policy::default(),
        origins: origins.clone(),
    };
    let annotations = service.metadata.annotations.as_ref();
    let kept = |annotation: &str| annotations.and_then(|all| all.get(annotation)).is_some_and(|v| v == "keep");
    let mut all = Vec::with_capacity(routes.len());
    let by_host = |matches: &Match| {
        !matches.hosts.is_empty() || matches.headers.iter().any(|key| key.name.eq_ignore_ascii_case("host"))
    };
    if routes.iter().any(|route| by_host(&route.matches)) {
        let matches = Match { no_host: true, ..Match::everything() };
        all.push(refuse("not a host".to_owned(), matches, "the Host of this request names no host"));
    }
    if !kept(PATHS)
        && let Some(matches) = paths::doubtful(&routes)
    {
        all.push(refuse("doubtful path".to_owned(), matches, paths::WHY));
    }
    if !kept(QUERIES) {
        let doubtful = queries::doubtful(&routes).into_iter();
        all.extend(doubtful.map(|matches| refuse("doubtful query".to_owned(), matches, queries::WHY)));
    }
    if !kept(METHODS) {
        let doubtful = methods::doubtful(&routes).into_iter();
        all.extend(doubtful.map(|matches| refuse("doubtful method".to_owned(), matches, methods::WHY)));
    }
    for (route, around) in std::iter::zip(&routes, headers::doubtful(&routes)) {
        let name = format!("{}, doubtful", route.name);
        let refuse = |matches| refuse(name.clone(), matches, headers::WHY);
        all.extend(around.before.into_iter().map(refuse));
        all.push(route.clone());
        all.extend(around.behind.map(refuse));
    }
    all
}

/// The headers by which the rules of `routes` tell requests apart, where that matters to a policy.
pub fn deciding_headers(routes: &[Route]) -> BTreeSet<String> {
    headers::deciding(routes)
}
