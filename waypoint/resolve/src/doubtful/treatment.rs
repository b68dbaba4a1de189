//! What is done with the requests of a route, and what decides about it.

use ir::{Action, Auth, Descriptor, Match, PathMatch, Route};

/// So many pairs of routes of one table are compared; of a table with more of them everything is taken to decide.
const MOST_PAIRS: usize = 1 << 20;

/// What is done with the requests of a route so that not all of them pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Treatment<'a> {
    /// Whether they are answered by us.
    pub refused: bool,
    /// What must pass them.
    pub auth: Option<&'a Auth>,
    /// How they are counted.
    pub limits: &'a [Descriptor],
}

impl<'a> Treatment<'a> {
    pub fn of(route: &'a Route) -> Self {
        let Route { action, policy, .. } = route;
        Self { refused: matches!(action, Action::Refuse(_)), auth: policy.auth.as_ref(), limits: &policy.limits }
    }

    /// Whether a request may pass here that would not pass under `other`.
    pub fn lets_more_pass_than(&self, other: &Treatment<'_>) -> bool {
        !self.refused
            && (other.refused
                || other.auth.is_some() && other.auth != self.auth
                || other.limits.iter().any(|limit| !self.limits.contains(limit)))
    }
}

/// Whether a policy depends on the part of requests that `part` looks at: there are two routes that could take the same
/// request but for that part, and treat it differently.
pub fn depends_on<'a, P: PartialEq>(routes: &'a [Route], part: impl Fn(&'a Match) -> Option<P>) -> bool {
    let looking: Vec<(&Route, P)> = routes.iter().filter_map(|route| Some((route, part(&route.matches)?))).collect();
    if looking.is_empty() {
        return false;
    }
    if looking.len().saturating_mul(routes.len()) > MOST_PAIRS {
        return true;
    }
    looking.iter().any(|(route, looked)| {
        routes.iter().any(|other| {
            reaches(route)
                && reaches(other)
                && Treatment::of(route) != Treatment::of(other)
                && part(&other.matches).as_ref() != Some(looked)
                && overlap(&route.matches.path, &other.matches.path)
        })
    })
}

/// Whether requests come to an application or would, were they not refused.
pub fn reaches(route: &Route) -> bool {
    !matches!(route.action, Action::Redirect(_))
}

/// Whether there may be a path that both take.
pub fn overlap(one: &PathMatch, other: &PathMatch) -> bool {
    let below = |path: &str, prefix: &str| {
        prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (one, other) {
        (PathMatch::Regex(_), _) | (_, PathMatch::Regex(_)) => true,
        (PathMatch::Exact(one), PathMatch::Exact(other)) => one == other,
        (PathMatch::Exact(path), PathMatch::Prefix(prefix)) | (PathMatch::Prefix(prefix), PathMatch::Exact(path)) => {
            below(path, prefix)
        }
        (PathMatch::Prefix(one), PathMatch::Prefix(other)) => below(one, other) || below(other, one),
    }
}

#[cfg(test)]
mod tests {
    use ir::{Entry, Name, Policy, Redirect, Refusal, Stage};

    use super::*;

    fn auth(name: &str) -> Auth {
        Auth { config: Name::new("t", name), user_header: "x-user-id".to_owned(), reads: None }
    }

    fn limit(name: &str) -> Descriptor {
        Descriptor { stage: Stage::Regular, entries: vec![Entry::Constant(name.to_owned())], limit_from: None }
    }

    #[test]
    fn more_passes_where_less_is_asked() {
        let (keys, others) = (auth("keys"), auth("others"));
        let (one, two, both) = ([limit("a")], [limit("b")], [limit("b"), limit("a")]);
        let open = Treatment { refused: false, auth: None, limits: &[] };
        let refused = Treatment { refused: true, ..open };
        let asks = |auth| Treatment { auth: Some(auth), ..open };
        let counts = |limits| Treatment { limits, ..open };
        for (of, than, more) in [
            (open, open, false),
            (open, refused, true),
            (refused, open, false),
            (refused, refused, false),
            (refused, asks(&keys), false),
            (open, asks(&keys), true),
            (asks(&keys), open, false),
            (asks(&keys), asks(&keys), false),
            (asks(&keys), asks(&others), true),
            (asks(&keys), refused, true),
            (open, counts(&one[..]), true),
            (counts(&one), open, false),
            (counts(&one), counts(&one), false),
            (counts(&one), counts(&two), true),
            (counts(&both), counts(&one), false),
            (counts(&both), counts(&both), false),
            (counts(&one), counts(&both), true),
            (asks(&keys), counts(&one), true),
            (refused, counts(&one), false),
        ] {
            assert_eq!(of.lets_more_pass_than(&than), more, "{of:?} {than:?}");
        }
    }

    #[test]
    fn a_policy_depends_on_what_tells_two_routes_apart_that_differ_in_it() {
        let refuse = || Action::Refuse(Refusal { status: 403, why: String::new() });
        let route = |path: &str, method: Option<&str>, action: Action, auth: Option<Auth>| Route {
            name: String::new(),
            matches: Match {
                path: PathMatch::Prefix(path.to_owned()),
                method: method.map(str::to_owned),
                ..Match::everything()
            },
            action,
            policy: Policy { auth, ..Policy::default() },
            origins: Default::default(),
        };
        let away = || Action::Redirect(Redirect { scheme: None, host: None, port: None, path: None, status: 302 });
        let forward = || Action::Forward(ir::Forward::to(vec![]));
        let keys = || Some(auth("keys"));
        let on_method = |routes: &[Route]| depends_on(routes, |matches| matches.method.clone());
        let open = |path, method| route(path, method, forward(), None);
        let asks = |path, method| route(path, method, forward(), keys());
        let (get, put) = (Some("GET"), Some("PUT"));
        for (routes, depends) in [
            (vec![], false),
            (vec![open("/", None), asks("/", None)], false),
            (vec![open("/", get), asks("/", None)], true),
            (vec![asks("/", None), open("/", get)], true),
            (vec![open("/", get), asks("/", put)], true),
            (vec![open("/", get), asks("/", get)], false),
            (vec![open("/", get), open("/", None)], false),
            (vec![open("/a", get), asks("/b", None)], false),
            (vec![open("/a", get), asks("/a/b", None)], true),
            (vec![open("/", get), route("/", None, refuse(), None)], true),
            // Who is sent away comes to no application, with a key or without.
            (vec![route("/", get, away(), None), asks("/", None)], false),
            (vec![open("/", get), route("/", None, away(), keys())], false),
            (vec![open("/c", None), open("/a", get), asks("/b", None), asks("/a", put)], true),
        ] {
            assert_eq!(on_method(&routes), depends, "{routes:#?}");
        }
        // Of very many routes nothing is known, so that it is taken to depend.
        let many: Vec<Route> = (0..1_025).map(|_| open("/", get)).collect();
        assert_eq!((on_method(&many[..1_024]), on_method(&many)), (false, true));
    }

    #[test]
    fn paths_overlap_where_both_may_take_one() {
        let read = |text: &str| match text.split_at(1) {
            ("=", path) => PathMatch::Exact(path.to_owned()),
            ("~", regex) => PathMatch::Regex(regex.to_owned()),
            _ => PathMatch::Prefix(text.to_owned()),
        };
        for (one, other, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/", "/a", true),
            ("=/a", "/a", true),
            ("=/a/b", "/a", true),
            ("=/a", "/", true),
            ("=/a", "=/a", true),
            ("~/a", "/b", true),
            ("~/a", "=/b", true),
            ("~/a", "~/b", true),
            ("/a", "/b", false),
            ("/a", "/ab", false),
            ("=/ab", "/a", false),
            ("=/a", "/a/b", false),
            ("=/a", "=/a/", false),
        ] {
            assert_eq!(overlap(&read(one), &read(other)), expected, "{one} {other}");
            assert_eq!(overlap(&read(other), &read(one)), expected, "{other} {one}");
        }
    }
}
