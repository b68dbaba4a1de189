//! Requests that two readers take differently are refused where the difference matters.
//!
//! Envoy chooses a rule by what it reads in a request; the application reads the
//! same bytes for itself, and may see something else in them. Where rules with
//! different policies tell requests apart by it, such a request could reach the
//! application under another rule's policy. So it is answered 400. Elsewhere
//! requests are passed on as they come.

mod escapes;
mod headers;
mod hosts;
mod methods;
mod paths;
mod queries;
mod treatment;

use std::collections::{BTreeMap, BTreeSet};

use api::core::Service;
use ir::{Access, Action, Disowned, Match, Origins, Policy, Refusal, Route, Tokens};

use crate::{access, tokens};

/// The annotation on a Service by which its owner says that its application reads paths as Envoy
/// does: `keep` passes all of them on.
pub const PATHS: &str = "waykeeper.dev/doubtful-paths";

/// The same for the host: `keep` says that the application knows no other than the request's own.
pub const HOSTS: &str = "waykeeper.dev/doubtful-hosts";

/// The same for the method: `keep` says that the application knows no other than the request's own.
pub const METHODS: &str = "waykeeper.dev/doubtful-methods";

/// The same for parameters of the query.
pub const QUERIES: &str = "waykeeper.dev/doubtful-queries";

/// What looks at requests besides routes.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// For tokens.
    pub tokens: &'a Tokens,
    /// For what decides who may do what.
    pub access: &'a Access,
}

impl Looked<'_> {
    /// Whether nothing does.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.access.is_empty()
    }
}

/// `routes`, which are those of `service`, with the refusals among them, and with what no client may say to their
/// applications in another spelling. What looks at requests `also` decides as well.
pub fn refused(service: &Service, routes: Vec<Route>, also: Looked<'_>, origins: &Origins) -> Vec<Route> {
    let Looked { tokens, access } = also;
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
    let deciding = headers::deciding(&routes);
    let mut looked = routes.clone();
    looked.extend(access::as_routes(access));
    // Headers that do not reach the application, and whether they do as they are spelt here.
    let mut disowned: BTreeMap<String, bool> = BTreeMap::new();
    if !kept(HOSTS) && hosts::decide(&looked) {
        disowned.extend(hosts::OVERRIDES.map(|name| (name.to_owned(), false)));
    }
    if looked.iter().any(|route| hosts::looks(&route.matches)) {
        let matches = Match { no_host: true, ..Match::everything() };
        all.push(refuse("not a host".to_owned(), matches, "the Host of this request names no host"));
    }
    if !kept(PATHS)
        && let Some(matches) = paths::doubtful(&looked)
    {
        if paths::decide(&looked) {
            disowned.extend(paths::OVERRIDES.map(|name| (name.to_owned(), false)));
        }
        all.push(refuse("doubtful path".to_owned(), matches, paths::WHY));
    }
    all.extend(tokens::doubtful(tokens).into_iter().map(|of| refuse("doubtful token".to_owned(), of, tokens::WHY)));
    if !kept(QUERIES) {
        let asked: Vec<Route> = routes.iter().cloned().chain(tokens::as_routes(tokens)).collect();
        let doubtful = queries::doubtful(&asked).into_iter();
        all.extend(doubtful.map(|matches| refuse("doubtful query".to_owned(), matches, queries::WHY)));
    }
    if !kept(METHODS) {
        let doubtful = methods::doubtful(&looked);
        if !doubtful.is_empty() {
            disowned.extend(methods::OVERRIDES.map(|name| (name.to_owned(), true)));
        }
        let doubtful = doubtful.into_iter();
        all.extend(doubtful.map(|matches| refuse("doubtful method".to_owned(), matches, methods::WHY)));
    }
    // What a rule looks at is there for the application as well, and so is what nobody decides by.
    let looked_at = access::headers(access).into_iter().chain(tokens::headers(tokens));
    disowned.extend(deciding.iter().cloned().chain(looked_at).map(|name| (name, true)));
    let disowned: BTreeSet<Disowned> =
        disowned.into_iter().map(|(name, spelling_stays)| Disowned { name, spelling_stays }).collect();
    let around = headers::doubtful(&routes, &deciding);
    for (mut route, around) in std::iter::zip(routes, around) {
        let name = format!("{}, doubtful", route.name);
        let refuse = |matches| refuse(name.clone(), matches, headers::WHY);
        all.extend(around.before.into_iter().map(refuse));
        if let Action::Forward(_) = route.action {
            route.policy.disowned.clone_from(&disowned);
        }
        all.push(route);
        all.extend(around.behind.map(refuse));
    }
    all
}
