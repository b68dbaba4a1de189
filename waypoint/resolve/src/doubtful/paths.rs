//! Paths: an application may decode `%2F` before it looks for slashes, drop what follows a `;`, or take the path from a
//! header that proxies write.

use std::collections::{BTreeMap, BTreeSet};

use ir::{Match, PathMatch, Route};

use super::treatment::Treatment;

pub const WHY: &str = "this path may mean another one to the application (an escaped slash or dot segment, a backslash, a semicolon, or an escape of no character)";

/// What a path that one reader takes for `/` looks like to another.
const SLASHES: &str = "%2[fF]|%5[cC]|\\\\";

/// Escapes of which decoders make different things: what is none, control characters, the beginning of a character of ASCII
/// in more bytes than it has, and what is escaped twice.
const NO_CHARACTER: [&str; 4] = [
    "%(?:[0-9a-fA-F]?|[0-9a-fA-F]?[^0-9a-fA-F].*)",
    "%(?:[01][0-9a-fA-F]|7[fF]).*",
    "%(?:[cC][01]|[eE]0%[89]|[fF]0%8).*",
    "%25[0-9a-fA-F]{2}.*",
];

/// The headers from which frameworks take another path than that of the request.
pub const OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// Which requests are in doubt; none where all rules take all paths.
pub fn doubtful(routes: &[Route]) -> Option<Match> {
    let regex = doubtful_paths(routes)?;
    Some(Match { path: PathMatch::Regex(regex), ..Match::everything() })
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
    if decide(routes) {
        doubtful.push(format!("(?:{SLASHES}).*"));
        doubtful.extend(NO_CHARACTER.map(str::to_owned));
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
pub fn decide(routes: &[Route]) -> bool {
    let mut treatments = routes.iter().map(Treatment::of);
    if treatments.next().is_none_or(|first| treatments.all(|other| other == first)) {
        return false;
    }
    let mut by_path: BTreeMap<&PathMatch, Vec<_>> = BTreeMap::new();
    for route in routes {
        let matches = &route.matches;
        let told = (&matches.method, &matches.headers, &matches.query, &matches.hosts, Treatment::of(route));
        by_path.entry(&matches.path).or_default().push(told);
    }
    let mut guards = by_path.into_values();
    guards.next().is_some_and(|first| guards.any(|other| other != first))
}
