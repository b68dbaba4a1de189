//! Requests that two readers take differently are refused where the difference matters.
//!
//! Envoy chooses a rule by the path and host it reads; the application reads them
//! for itself, and may see another path in the same bytes: it may decode `%2F`
//! before it looks for slashes, or drop what follows a `;`. Where rules with
//! different policies tell requests apart by path, such a path could reach the
//! application under another rule's policy. So the table begins with a route that
//! refuses it. Elsewhere paths are passed on as they come.

use std::collections::{BTreeMap, BTreeSet};

use api::core::Service;
use ir::{Action, Match, Origins, PathMatch, Policy, Refusal, Route};

/// The annotation on a Service by which its owner says that its application reads paths as Envoy
/// does: `keep` passes all of them on.
pub const PATHS: &str = "waykeeper.dev/doubtful-paths";

/// What a path that one reader takes for `/` looks like to another.
const SLASHES: &str = "%2[fF]|%5[cC]|\\\\";

/// The routes to try before `routes`, which are those of `service`.
pub fn refusals(service: &Service, routes: &[Route], origins: &Origins) -> Vec<Route> {
    let refuse = |name: &str, matches: Match, why: &str| Route {
        name: name.to_owned(),
        matches,
        action: Action::Refuse(Refusal { status: 400, why: why.to_owned() }),
        policy: Policy::default(),
        origins: origins.clone(),
    };
    let mut first = Vec::new();
    if routes.iter().any(|route| !route.matches.hosts.is_empty()) {
        let matches = Match { no_host: true, ..Match::everything() };
        first.push(refuse("not a host", matches, "the Host of this request names no host"));
    }
    let kept = service.metadata.annotations.as_ref().and_then(|all| all.get(PATHS)).is_some_and(|v| v == "keep");
    if !kept && let Some(regex) = doubtful_paths(routes) {
        let matches = Match { path: PathMatch::Regex(regex), ..Match::everything() };
        let why = "this path may mean another one to the application (an escaped slash or dot segment, a backslash or a semicolon)";
        first.push(refuse("doubtful path", matches, why));
    }
    first
}

/// Which paths are in doubt; none where all rules take all paths.
fn doubtful_paths(routes: &[Route]) -> Option<String> {
    if routes.iter().all(|route| route.matches.path == Match::everything().path) {
        return None;
    }
    // A dot segment that only shows once slashes are decoded leads out of where it was sent, whatever the rules.
    let params = "(?:;[^/%]*)?";
    let mut doubtful = vec![
        format!("(?:/|{SLASHES})\\.\\.?{params}(?:{SLASHES}).*"),
        format!("(?:{SLASHES})\\.\\.?{params}(?:(?:/|{SLASHES}).*)?"),
    ];
    if differ_in_guard(routes) {
        doubtful.push(format!("(?:{SLASHES}).*"));
        let written: BTreeSet<char> = routes.iter().flat_map(|route| characters(&route.matches.path)).collect();
        // Parameters of a path segment: many servers take them off before they look at the path.
        if !written.contains(&';') {
            doubtful.push("(?:;|%3[bB]).*".to_owned());
        }
        // An expression takes no other spelling of its characters; exact paths and prefixes take all of them.
        let regexes = routes.iter().filter(|route| matches!(route.matches.path, PathMatch::Regex(_)));
        let regexes: BTreeSet<char> = regexes.flat_map(|route| characters(&route.matches.path)).collect();
        doubtful.extend(regexes.into_iter().map(|c| format!("{}.*", ir::path::escaped(c))));
    }
    Some(format!(".*(?:{})", doubtful.join("|")))
}

/// The reserved characters in a path as it is matched: those that clients may as well escape.
fn characters(path: &PathMatch) -> Vec<char> {
    let (PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Regex(text)) = path;
    let meta = |at: usize, c: char| {
        // In an expression these are no characters of the path unless a backslash says so.
        matches!(path, PathMatch::Regex(_)) && "$()*+".contains(c) && !text[..at].ends_with('\\')
    };
    let reserved = text.char_indices().filter(|(at, c)| ir::path::RESERVED.contains(*c) && !meta(*at, *c));
    reserved.map(|(_, c)| c).collect()
}

/// Whether it matters to a policy by which of these paths a request goes.
fn differ_in_guard(routes: &[Route]) -> bool {
    let mut by_path: BTreeMap<&PathMatch, Vec<_>> = BTreeMap::new();
    for Route { matches, action, policy, .. } in routes {
        let guard = (matches!(action, Action::Refuse(_)), &policy.auth, &policy.limits);
        let told = (&matches.method, &matches.headers, &matches.query, &matches.hosts, guard);
        by_path.entry(&matches.path).or_default().push(told);
    }
    let mut guards = by_path.into_values();
    guards.next().is_some_and(|first| guards.any(|other| other != first))
}
