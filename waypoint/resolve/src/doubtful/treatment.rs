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
    use super::*;

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
