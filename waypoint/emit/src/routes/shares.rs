//! A route of which a backend has something of its own done to its share becomes several: Envoy rewrites, redirects and
//! copies for a route, not for one of the clusters among which that shares requests.
//!
//! Envoy draws one number for a request, and compares it with the share of every route that it tries and of every copy
//! that it may make. So a share is told as the numbers below a bound, of a million, that no earlier route took.

use std::borrow::Cow;

use ir::{Action, Backend, Forward, HeaderChanges, Mirror, Own, Policy, Route};

const ALL: u64 = 1_000_000;

/// A route that takes the requests whose number is below this bound; all of them if there is none.
pub type Share<'a> = (Cow<'a, Route>, Option<u64>);

/// The routes by which Envoy does what `route` says, in this order.
pub fn shares(route: &Route) -> Vec<Share<'_>> {
    let Action::Forward(forward) = &route.action else { return vec![(Cow::Borrowed(route), None)] };
    if forward.backends.iter().all(|backend| backend.own.is_none()) {
        return vec![(Cow::Borrowed(route), None)];
    }
    let whole: u64 = forward.backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let bound = |weight: u64| weight * ALL / whole.max(1);
    let (mut before, mut shares) = (0, Vec::new());
    for backend in &forward.backends {
        let (from, to) = (bound(before), bound(before + u64::from(backend.weight)));
        before += u64::from(backend.weight);
        if from < to {
            shares.push((Cow::Owned(share(route, forward, backend, from, to)), Some(to)));
        }
    }
    if let Some((_, bound)) = shares.last_mut() {
        *bound = None;
    }
    shares
}

/// What becomes of the numbers from `from` to `to`.
fn share(route: &Route, forward: &Forward, backend: &Backend, from: u64, to: u64) -> Route {
    let own = backend.own.as_deref().cloned().unwrap_or_default();
    let Own { redirect, host, path, mirrors } = own;
    let action = match redirect {
        Some(redirect) => {
            let policy = Policy {
                request: both(&route.policy.request, &backend.request),
                response: both(&route.policy.response, &backend.response),
                ..route.policy.clone()
            };
            return Route { action: Action::Redirect(redirect), policy, ..route.clone() };
        }
        None => {
            let copies = forward.mirrors.iter().cloned().chain(mirrors);
            Action::Forward(Forward {
                backends: vec![Backend { own: None, ..backend.clone() }],
                host: host.or_else(|| forward.host.clone()),
                path: path.or_else(|| forward.path.clone()),
                mirrors: copies.map(|copy| within(copy, from, to)).collect(),
                ..forward.clone()
            })
        }
    };
    Route { action, ..route.clone() }
}

/// Of the numbers from `from` to `to` as large a part as `mirror` has of all.
fn within(mirror: Mirror, from: u64, to: u64) -> Mirror {
    let part = u64::from(mirror.millionths) * (to - from) / ALL;
    let millionths = if u64::from(mirror.millionths) == ALL { ALL } else { (from + part.max(1)).min(ALL) };
    Mirror { millionths: u32::try_from(millionths).unwrap_or(u32::MAX), ..mirror }
}

fn both(of_route: &HeaderChanges, of_backend: &HeaderChanges) -> HeaderChanges {
    HeaderChanges {
        remove: of_route.remove.iter().chain(&of_backend.remove).cloned().collect(),
        put: of_route.put.iter().chain(&of_backend.put).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ir::{Destination, Match, Name, PathRewrite, PortRef, Redirect};

    use super::*;

    fn to(name: &str) -> Destination {
        Destination::Service(PortRef { service: Name::new("t", name), port: 80 })
    }

    fn backend(name: &str, weight: u32, own: Option<Own>) -> Backend {
        Backend { own: own.map(Box::new), ..Backend::new(Some(to(name)), weight) }
    }

    fn route(backends: Vec<Backend>, mirrors: Vec<Mirror>) -> Route {
        let path = Some(PathRewrite::Full("/of-the-rule".to_owned()));
        let action = Action::Forward(Forward { path, mirrors, ..Forward::to(backends) });
        let (name, matches) = (String::new(), Match::everything());
        Route { name, matches, action, policy: Policy::default(), origins: Default::default() }
    }

    fn rewriting(path: &str) -> Option<Own> {
        Some(Own { path: Some(PathRewrite::Full(path.to_owned())), ..Own::default() })
    }

    /// Each share's bound, where it leads, its path, and the bounds of its copies.
    fn told(route: &Route) -> Vec<(Option<u64>, String, String, Vec<u32>)> {
        let one = |(route, bound): Share<'_>| match &route.action {
            Action::Forward(forward) => {
                let backends = forward.backends.iter().map(|b| b.target.as_ref().unwrap().to_string());
                let path = format!("{:?}", forward.path);
                let copies = forward.mirrors.iter().map(|mirror| mirror.millionths).collect();
                (bound, backends.collect::<Vec<_>>().join(" "), path, copies)
            }
            other => (bound, format!("{other:?}"), String::new(), vec![]),
        };
        shares(route).into_iter().map(one).collect()
    }

    #[test]
    fn a_route_whose_backends_have_nothing_of_their_own_stays_one() {
        let mirror = Mirror { target: to("m"), millionths: 500_000 };
        let shares = told(&route(vec![backend("a", 1, None), backend("b", 3, None)], vec![mirror]));
        assert_eq!(shares, [(None, "t/a/80 t/b/80".into(), "Some(Full(\"/of-the-rule\"))".into(), vec![500_000])]);
    }

    #[test]
    fn shares_are_bounds_one_behind_the_other_and_copies_are_parts_of_them() {
        let (rule, all) =
            (Mirror { target: to("m"), millionths: 500_000 }, Mirror { target: to("n"), millionths: 1_000_000 });
        let own = Own { mirrors: vec![Mirror { target: to("o"), millionths: 100_000 }], ..Own::default() };
        let backends = vec![backend("a", 1, rewriting("/a")), backend("b", 2, None), backend("c", 1, Some(own))];
        let of_rule = "Some(Full(\"/of-the-rule\"))".to_owned();
        assert_eq!(
            told(&route(backends, vec![rule, all])),
            [
                (Some(250_000), "t/a/80".into(), "Some(Full(\"/a\"))".into(), vec![125_000, 1_000_000]),
                (Some(750_000), "t/b/80".into(), of_rule.clone(), vec![500_000, 1_000_000]),
                (None, "t/c/80".into(), of_rule, vec![875_000, 1_000_000, 775_000]),
            ]
        );
    }

    #[test]
    fn one_backend_is_all_and_a_share_of_less_than_a_millionth_is_none() {
        assert_eq!(told(&route(vec![backend("a", 7, rewriting("/a"))], vec![]))[0].0, None);
        let few = vec![backend("a", 1, rewriting("/a")), backend("b", 1_000_000, None), backend("c", 1_000_000, None)];
        let shares = told(&route(few, vec![]));
        let told: Vec<_> = shares.iter().map(|(bound, to, ..)| (*bound, to.as_str())).collect();
        assert_eq!(told, [(Some(500_000), "t/b/80"), (None, "t/c/80")]);
    }

    /// Envoy compares one number with both: a copy of nobody would be a copy of the requests of another share.
    #[test]
    fn a_copy_of_however_few_is_of_one_in_a_million_at_least_and_of_no_more_than_there_are() {
        let copies = |weights: [u32; 2], millionths: u32| {
            let own = || Some(Own { mirrors: vec![Mirror { target: to("m"), millionths }], ..Own::default() });
            let backends = vec![backend("a", weights[0], rewriting("/a")), backend("b", weights[1], own())];
            told(&route(backends, vec![])).pop().unwrap().3
        };
        assert_eq!(copies([1, 1], 1), [500_001]);
        assert_eq!(copies([1, 1], 3), [500_001]);
        assert_eq!(copies([1, 1], 4), [500_002]);
        assert_eq!(copies([1, 1], 999_999), [999_999]);
        assert_eq!(copies([999_999, 1], 999_999), [1_000_000]);
    }

    #[test]
    fn what_a_route_and_its_backend_do_to_headers_is_done_one_behind_the_other() {
        let changes = |name: &str| HeaderChanges {
            remove: vec![format!("not-{name}"), format!("nor-{name}")],
            put: vec![ir::HeaderPut { name: name.to_owned(), format: "1".to_owned(), append: false }],
        };
        let both = both(&changes("a"), &changes("b"));
        assert_eq!(both.remove, ["not-a", "nor-a", "not-b", "nor-b"]);
        assert_eq!(both.put.iter().map(|put| put.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_share_that_is_sent_away_is_a_redirect_with_what_its_route_does_to_answers() {
        let redirect = Redirect { scheme: None, host: Some("x".into()), port: None, path: None, status: 301 };
        let own = Own { redirect: Some(redirect.clone()), ..Own::default() };
        let mut away = backend("a", 1, Some(own));
        away.response.remove.push("of-the-backend".to_owned());
        let mut route = route(vec![away, backend("b", 1, None)], vec![]);
        route.policy.response.remove.push("of-the-route".to_owned());
        let shares = shares(&route);
        assert_eq!(shares[0].0.action, Action::Redirect(redirect));
        assert_eq!(shares[0].0.policy.response.remove, ["of-the-route", "of-the-backend"]);
        assert_eq!((shares[0].1, shares[1].1), (Some(500_000), None));
    }
}
