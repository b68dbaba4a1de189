//! Paths: an application may decode `%2F` before it looks for slashes, drop what follows a `;`, or take the path from a
//! header that proxies write.

use std::collections::BTreeMap;

use ir::{Match, PathMatch, Route};

use super::escapes::{self, Spelling};
use super::treatment::Treatment;

pub const WHY: &str = "this path may mean another one to the application (an escaped slash or dot segment, a backslash, a semicolon, or an escape of no character)";

/// What a path that one reader takes for `/` looks like to another.
const SLASHES: &str = "%2[fF]|%5[cC]|\\\\";

/// The headers from which frameworks take another path than that of the request.
pub const OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// How the characters of paths are written.
pub(super) const SPELLING: Spelling = Spelling { either: ir::path::RESERVED, escaped: ir::path::ESCAPED, blank: None };

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
        doubtful.push(format!("(?:{}).*", escapes::NO_CHARACTER));
        // Parameters of a path segment: many servers take them off before they look at the path.
        if !routes.iter().any(|route| is_written(';', &route.matches.path)) {
            doubtful.push("(?:;|%3[bB]).*".to_owned());
        }
        // Exact paths and prefixes take every spelling.
        let regexes = routes.iter().filter_map(|route| match &route.matches.path {
            PathMatch::Regex(regex) => Some(regex.as_str()),
            PathMatch::Exact(_) | PathMatch::Prefix(_) => None,
        });
        doubtful.extend(escapes::missed(regexes, SPELLING).map(|escapes| format!("(?:{escapes}).*")));
    }
    Some(format!(".*(?:{})", doubtful.join("|")))
}

fn is_written(c: char, path: &PathMatch) -> bool {
    let (PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Regex(text)) = path;
    text.contains(c)
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

#[cfg(test)]
mod tests {
    use ir::{Action, Auth, Match, Name, Policy, Redirect};

    use super::*;

    fn route(path: &str, method: Option<&str>, guarded: bool) -> Route {
        let auth = Auth { config: Name::new("t", "keys"), user_header: "x-user-id".to_owned(), reads: None };
        let away = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
        let (path, method) = (PathMatch::Prefix(path.to_owned()), method.map(str::to_owned));
        Route {
            name: String::new(),
            matches: Match { path, method, ..Match::everything() },
            action: Action::Redirect(away),
            policy: Policy { auth: guarded.then_some(auth), ..Policy::default() },
            origins: Default::default(),
        }
    }

    /// Requests of which some paths may be read as others are refused only where that would get them around something.
    #[test]
    fn it_matters_by_which_path_a_request_goes_where_other_guards_stand_there() {
        let (get, put) = (Some("GET"), Some("PUT"));
        for (routes, matters) in [
            (vec![], false),
            (vec![route("/a", None, true)], false),
            (vec![route("/a", None, true), route("/b", None, true)], false),
            (vec![route("/a", None, true), route("/b", None, false)], true),
            // By the method alone, and by that alike.
            (vec![route("/a", get, true), route("/a", put, false)], false),
            (
                vec![route("/a", get, true), route("/a", put, false), route("/b", get, true), route("/b", put, false)],
                false,
            ),
            (
                vec![route("/a", get, true), route("/a", put, false), route("/b", get, false), route("/b", put, true)],
                true,
            ),
            (vec![route("/a", get, true), route("/a", put, false), route("/b", None, true)], true),
        ] {
            assert_eq!(decide(&routes), matters, "{routes:#?}");
        }
    }
}
