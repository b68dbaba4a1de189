//! Which routes of a table never apply, since an earlier one takes all their requests.
//!
//! Routes are tried in the order of Gateway API's precedence. Of two with one path the earlier has a
//! method if the later has one, and as many headers and query parameters or more: so it takes all that the
//! later would only if it is the same match, and one look at what came before finds it. The exception is
//! expressions, which come before all prefixes: one that takes everything below a path
//! (`/a.*`, `/a(/.*)?`) hides narrower matches with other paths. What other expressions take is tried with some
//! paths of those behind them: one that takes all of these may take everything, and it is in doubt whether what
//! guards the later route is asked for. What several earlier routes take together is not looked at.

mod expression;

use std::collections::HashMap;

use ir::{Action, Auth, Descriptor, KeyMatch, Match, PathMatch, RequestTarget, Route};

use expression::{Expression, Samples, Wide};

/// Of so many expressions in one table, of either form, it is looked at what they take.
pub const MOST_EXPRESSIONS: usize = 64;

/// What earlier routes take of the requests of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// What one takes for certain.
    pub hidden: Option<Hidden<'a>>,
    /// Whether one may take all, and requests get around something that guards this one by that.
    pub doubt: Option<Doubt>,
}

/// Requests of a route that an earlier one takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden<'a> {
    /// The number of the earlier one; where several take them, of the last of those.
    pub by: usize,
    /// For which of its host names; for all of them if none is named.
    pub hosts: Vec<&'a str>,
}

/// What may take all requests of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The expression of the route of this number.
    By(usize),
    /// One of more expressions than are looked at.
    Many,
}

/// For each of `routes`, tried in this order, what those before it take.
pub fn shadowed<'a>(routes: &[&'a Route]) -> Vec<Found<'a>> {
    let mut first: HashMap<(Option<&str>, Key<'_>), usize> = HashMap::new();
    let (mut wide, mut expressions) = (Vec::new(), Vec::new());
    // Routes with further expressions, one for each guard.
    let mut unseen: Vec<&Route> = Vec::new();
    let mut found = Vec::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        let matches = &route.matches;
        let hosts: Vec<Option<&str>> = match matches.hosts.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().map(|host| Some(host.as_str())).collect(),
        };
        let key = Key::of(matches);
        let by = |host: Option<&str>| {
            let same = first.get(&(host, key.clone())).copied();
            let covers = |(by, own, wide): &&(usize, Key<'_>, Wide<'_>)| {
                wide.covers(&matches.path) && takes_host(&routes[*by].matches, host) && own.asks_no_more(&key)
            };
            same.or_else(|| wide.iter().find(covers).map(|(by, ..)| *by))
        };
        let taken: Vec<(Option<&str>, usize)> = hosts.iter().filter_map(|host| Some((*host, by(*host)?))).collect();
        let whole = taken.len() == hosts.len();
        let hidden = taken.iter().map(|(_, by)| *by).max().map(|by| Hidden {
            by,
            hosts: if whole { vec![] } else { taken.iter().filter_map(|(host, _)| *host).collect() },
        });

        // Exact paths are tried before any expression, but for those of gRPC: there the longer name comes first.
        let behind = !whole && (matches.grpc || !matches!(matches.path, PathMatch::Exact(_)));
        let mut samples = None;
        let mut may_take = |(by, own, expression): &(usize, Key<'_>, Expression<'_>)| {
            gets_around(route, routes[*by])
                && hosts.iter().any(|host| takes_host(&routes[*by].matches, *host))
                && own.asks_no_more(&key)
                && expression.may_cover(samples.get_or_insert_with(|| Samples::of(&matches.path, matches.grpc)))
        };
        let doubt = behind.then(|| {
            let one = expressions.iter().find(|one| may_take(one)).map(|(by, ..)| Doubt::By(*by));
            one.or_else(|| unseen.iter().any(|other| gets_around(route, other)).then_some(Doubt::Many))
        });
        found.push(Found { hidden, doubt: doubt.flatten() });

        for host in hosts {
            first.entry((host, key.clone())).or_insert(index);
        }
        if let PathMatch::Regex(regex) = &matches.path {
            if let (Some(one), true) = (Wide::of(regex), wide.len() < MOST_EXPRESSIONS) {
                wide.push((index, key.clone(), one));
            }
            if expressions.len() < MOST_EXPRESSIONS {
                expressions.push((index, key, Expression::of(regex)));
            } else if !unseen.iter().any(|known| guard(known) == guard(route)) {
                unseen.push(route);
            }
        }
    }
    found
}

/// Whether requests that go by `other` instead of `own` get around something that guards `own`.
pub fn gets_around(own: &Route, other: &Route) -> bool {
    let (ours, theirs) = (guard(own), guard(other));
    let met = ours.auth.is_none() || ours.auth == theirs.auth;
    let limited = ours.limits.iter().all(|limit| theirs.limits.contains(limit));
    !theirs.refuses && (ours.refuses || !met || !limited)
}

/// What guards a route.
#[derive(PartialEq)]
struct Guard<'a> {
    refuses: bool,
    auth: Option<&'a Auth>,
    limits: &'a [Descriptor],
}

fn guard(route: &Route) -> Guard<'_> {
    // Envoy asks for no limits where it redirects.
    let limits = if matches!(route.action, Action::Redirect(_)) { &[] } else { route.policy.limits.as_slice() };
    Guard { refuses: matches!(route.action, Action::Refuse(_)), auth: route.policy.auth.as_ref(), limits }
}

/// Whether `matches` takes requests for `host`; none stands for every host.
fn takes_host(matches: &Match, host: Option<&str>) -> bool {
    matches.hosts.is_empty() || host.is_some_and(|host| matches.hosts.iter().any(|own| own == host))
}

/// All of a match but its hosts; the order in which conditions are written does not count, nor capitals in header names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key<'a> {
    path: &'a PathMatch,
    method: Option<&'a str>,
    headers: Vec<KeyMatch>,
    query: Vec<&'a KeyMatch>,
    no_host: bool,
    target: Option<&'a RequestTarget>,
    grpc: bool,
}

impl<'a> Key<'a> {
    fn of(matches: &'a Match) -> Self {
        let lower =
            |header: &KeyMatch| KeyMatch { name: header.name.to_ascii_lowercase(), value: header.value.clone() };
        let mut headers: Vec<KeyMatch> = matches.headers.iter().map(lower).collect();
        headers.sort();
        let mut query: Vec<&KeyMatch> = matches.query.iter().collect();
        query.sort();
        let Match { path, method, no_host, target, grpc, .. } = matches;
        let (no_host, grpc) = (*no_host, *grpc);
        Self { path, method: method.as_deref(), headers, query, no_host, target: target.as_ref(), grpc }
    }

    /// Whether every request that meets the conditions of `other` meets these, the path aside.
    fn asks_no_more(&self, other: &Self) -> bool {
        (self.method.is_none() || self.method == other.method)
            && self.no_host == other.no_host
            && (!self.grpc || other.grpc)
            && self.target == other.target
            && self.headers.iter().all(|header| other.headers.binary_search(header).is_ok())
            && self.query.iter().all(|parameter| other.query.binary_search(parameter).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use api::{Kind, Name, ObjectRef};
    use ir::{Forward, Policy, Refusal, ValueMatch};
    use proptest::bool::weighted;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use crate::precedence::precedence;

    use super::*;

    fn route(path: PathMatch) -> Route {
        Route {
            name: String::new(),
            matches: Match { path, ..Match::everything() },
            action: Action::Refuse(Refusal { status: 404, why: String::new() }),
            policy: Policy::default(),
            origins: Default::default(),
        }
    }

    fn regex(text: &str) -> PathMatch {
        PathMatch::Regex(text.to_owned())
    }

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(text.to_owned())
    }

    fn hides(one: PathMatch, other: PathMatch) -> bool {
        shadowed(&[&route(one), &route(other)])[1].hidden.is_some()
    }

    #[test]
    fn an_expression_that_takes_everything_below_a_path_hides_what_is_there() {
        for (one, other) in [
            (regex(".*"), prefix("/")),
            (regex("/.*"), prefix("/")),
            (regex("/.*"), prefix("/a")),
            (regex("/a.*"), prefix("/a")),
            (regex("/a.*"), prefix("/ab")),
            (regex("/a.*"), regex("/ab+")),
            (regex("/a(/.*)?"), prefix("/a")),
            (regex("/a(/.*)?"), prefix("/a/b")),
            (regex("/a(/.*)?"), regex("/a/b?")),
            (regex("(/.*)?"), prefix("/")),
            (regex("/a[b]"), regex("/a[b]")),
        ] {
            assert!(hides(one.clone(), other.clone()), "{one:?} {other:?}");
        }
        for (one, other) in [
            (regex("/a.*"), prefix("/")),
            (regex("/a(/.*)?"), prefix("/ab")),
            (regex("/a(/.*)?"), prefix("/")),
            (regex("/a/.*"), prefix("/a")),
            (regex("/a(/.*)?"), regex("/a")),
            (regex("/ab.*"), regex("/ab?c")),
            (regex("/ab.*"), regex("/ab{0,1}")),
            (regex("/ab.*"), regex("/ab|/c")),
            (regex("/a|/b.*"), prefix("/b")),
            (regex("/a@.*"), prefix("/a@b")),
            (regex("/a+.*"), prefix("/a")),
            (regex("/.*"), PathMatch::Exact("/a".to_owned())),
        ] {
            assert!(!hides(one.clone(), other.clone()), "{one:?} {other:?}");
        }
    }

    fn hidden<'a>(routes: [&'a Route; 3]) -> Vec<Option<Hidden<'a>>> {
        shadowed(&routes).into_iter().map(|found| found.hidden).collect()
    }

    #[test]
    fn what_asks_for_more_is_not_hidden_by_what_asks_for_other_things() {
        let header =
            |name: &str, value: &str| KeyMatch { name: name.to_owned(), value: ValueMatch::Exact(value.to_owned()) };
        let with = |path: PathMatch, headers: Vec<KeyMatch>, hosts: &[&str]| {
            let mut route = route(path);
            route.matches.headers = headers;
            route.matches.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            route
        };
        let hides = |one: &Route, other: &Route| shadowed(&[one, other])[1].hidden.is_some();
        let (x, y) = (header("X-A", "1"), header("x-b", "1"));
        let two = with(prefix("/"), vec![header("x-b", "1"), header("x-a", "1")], &[]);
        assert!(
            hides(&with(prefix("/"), vec![x.clone(), y.clone()], &[]), &two),
            "in another order and other capitals"
        );
        assert!(hides(&with(regex("/.*"), vec![x.clone()], &[]), &two), "fewer of the same");
        assert!(!hides(&with(regex("/.*"), vec![header("x-a", "2")], &[]), &two));
        assert!(!hides(&two, &with(prefix("/"), vec![x], &[])));
        let (a, b) = (with(prefix("/"), vec![], &["a.example"]), with(prefix("/"), vec![], &["b.example"]));
        let both = with(prefix("/"), vec![], &["a.example", "b.example"]);
        let some = |by, hosts: &[&'static str]| Some(Hidden { by, hosts: hosts.to_vec() });
        assert_eq!(hidden([&a, &both, &b]), [None, some(0, &["a.example"]), some(1, &[])]);
        assert_eq!(hidden([&a, &b, &both]), [None, None, some(1, &[])], "each host by another");
        assert!(!hides(&a, &with(prefix("/"), vec![], &[])));
        let wide = with(regex("/.*"), vec![], &["x.example", "a.example"]);
        assert!(hides(&wide, &a) && !hides(&wide, &b), "an expression of one host");
        assert_eq!(hidden([&wide, &both, &b])[1], some(0, &["a.example"]), "an expression of one of two hosts");
    }

    fn forward(path: PathMatch) -> Route {
        let forward = Forward::to(vec![]);
        Route { action: Action::Forward(forward), ..route(path) }
    }

    fn guarded(path: PathMatch) -> Route {
        let auth = Auth { config: Name::new("t", "keys"), user_header: "x-user-id".to_owned(), reads: None };
        Route { policy: Policy { auth: Some(auth), ..Policy::default() }, ..forward(path) }
    }

    fn doubt(routes: &[Route]) -> Option<Doubt> {
        shadowed(&routes.iter().collect::<Vec<_>>()).pop().unwrap().doubt
    }

    #[test]
    fn an_expression_that_may_take_everything_that_is_guarded_behind_it_leaves_that_in_doubt() {
        for (one, other) in [
            ("/a[a-z]*(/.*)?", prefix("/ab")),
            ("/(a|b).*", prefix("/a")),
            ("(?i)/A.*", prefix("/a")),
            ("/.+|/", prefix("/")),
            ("/[a]b?.*", prefix("/%61b")),
            ("/.*", prefix("/%61")),
            ("/v[0-9]+/.*x?", regex("/v[0-9]+/.*")),
            ("/a.*", regex("/(a|ab)")),
            ("/a.*", regex("/\\x{61}b")),
            (r"/a\C*", prefix("/a")),
        ] {
            let found = doubt(&[forward(regex(one)), guarded(other.clone())]);
            assert!(found.is_some() || hides(regex(one), other.clone()), "{one} {other:?}");
            assert_eq!(doubt(&[guarded(regex(one)), guarded(other.clone())]), None, "the same guard: {one} {other:?}");
            assert_eq!(doubt(&[route(regex(one)), guarded(other.clone())]), None, "it refuses: {one} {other:?}");
            assert_eq!(doubt(&[forward(regex(one)), forward(other.clone())]), None, "nothing guards: {one} {other:?}");
        }
        for (one, other) in [
            ("/users/[0-9]+", prefix("/users")),
            ("/healthz?", prefix("/")),
            ("/a", prefix("/a")),
            // Of classes without any usual character.
            ("/[à-é]b", regex("/[ά-ώ]b")),
            ("/a/.*", prefix("/a")),
            ("/v[0-9]+/health", regex("/v[0-9]+/.*")),
            ("/v[0-9]+/health", regex("/w[0-9]+/.*")),
            ("/[^b]*", prefix("/b")),
            // The first of two choices alone, or the last.
            ("/aa.*", regex("/(aa|bb)")),
            ("/bb.*", regex("/(aa|bb)")),
            ("/.*|/a", PathMatch::Exact("/a".to_owned())),
        ] {
            assert_eq!(doubt(&[forward(regex(one)), guarded(other.clone())]), None, "{one} {other:?}");
        }
        let mut narrower = forward(regex("/(a|b).*"));
        narrower.matches.method = Some("GET".to_owned());
        assert_eq!(doubt(&[narrower, guarded(prefix("/a"))]), None, "other methods come to the rule");
        let mut elsewhere = forward(regex("/(a|b).*"));
        elsewhere.matches.hosts = vec!["a.example".to_owned()];
        assert_eq!(doubt(&[elsewhere.clone(), guarded(prefix("/a"))]), None, "other hosts come to the rule");
        let mut of_hosts = guarded(prefix("/a"));
        of_hosts.matches.hosts = vec!["b.example".to_owned()];
        assert_eq!(doubt(&[elsewhere.clone(), of_hosts.clone()]), None, "another host");
        of_hosts.matches.hosts.push("a.example".to_owned());
        assert_eq!(doubt(&[elsewhere, of_hosts]), Some(Doubt::By(0)), "the second host comes to the expression first");
    }

    #[test]
    fn what_further_expressions_take_is_not_known() {
        let numbered = |number: usize| regex(&format!("/a{number}"));
        let behind = |first: &dyn Fn(PathMatch) -> Route, count: usize| {
            let mut routes: Vec<Route> = (0..count).map(|number| first(numbered(number))).collect();
            routes.push(guarded(prefix("/")));
            doubt(&routes)
        };
        assert_eq!(behind(&forward, MOST_EXPRESSIONS), None);
        assert_eq!(behind(&forward, MOST_EXPRESSIONS + 1), Some(Doubt::Many));
        assert_eq!(behind(&guarded, MOST_EXPRESSIONS + 1), None);
    }

    /// A table that has as many routes as anything may, in about the time that sorting takes.
    #[test]
    fn thousands_of_routes_are_looked_at_once() {
        let numbered = |number: usize| {
            let mut route = route(if number.is_multiple_of(2) { prefix("/") } else { regex(&format!("/a{number}.*")) });
            let value = ValueMatch::Exact(number.to_string());
            route.matches.headers = vec![KeyMatch { name: "x".to_owned(), value }];
            route
        };
        let routes: Vec<Route> = (0..20_000).map(numbered).collect();
        let begin = Instant::now();
        assert!(shadowed(&routes.iter().collect::<Vec<_>>()).iter().all(|found| *found == Found::default()));
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    /// What a request is, as far as matches look at it.
    #[derive(Debug)]
    struct Request {
        host: &'static str,
        path: String,
        method: &'static str,
        headers: Vec<&'static str>,
        query: Vec<&'static str>,
    }

    fn takes(matches: &Match, request: &Request) -> bool {
        let path = match &matches.path {
            PathMatch::Exact(exact) => *exact == request.path,
            PathMatch::Prefix(prefix) if prefix == "/" => true,
            PathMatch::Prefix(prefix) => {
                let rest = request.path.strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            PathMatch::Regex(text) => {
                regex::Regex::new(&format!("^(?:{text})$")).is_ok_and(|regex| regex.is_match(&request.path))
            }
        };
        let host = |own: &String| match own.strip_prefix('*') {
            Some(end) => request.host.ends_with(end),
            None => own == request.host,
        };
        path && (matches.hosts.is_empty() || matches.hosts.iter().any(host))
            && matches.method.as_deref().is_none_or(|method| method == request.method)
            && matches.headers.iter().all(|wanted| request.headers.contains(&wanted.name.as_str()))
            && matches.query.iter().all(|wanted| request.query.contains(&wanted.name.as_str()))
    }

    fn names(names: &[&'static str]) -> Vec<KeyMatch> {
        let one = |name: &&str| KeyMatch { name: (*name).to_owned(), value: ValueMatch::Exact("1".to_owned()) };
        names.iter().map(one).collect()
    }

    /// Every path of up to six of these characters.
    fn paths() -> Vec<String> {
        let mut paths = vec!["/".to_owned()];
        let mut last = paths.clone();
        for _ in 0..5 {
            last = last.iter().flat_map(|path| ["a", "b", "/", "~"].map(|next| format!("{path}{next}"))).collect();
            paths.extend(last.clone());
        }
        paths
    }

    fn expression() -> impl Strategy<Value = PathMatch> {
        let atom = select(vec!["a", "b", "/", "[ab]", ".", "(a|b)", "(a|/b)", "[^a]"]);
        let part = (atom, select(vec!["", "", "*", "+", "?"])).prop_map(|(atom, times)| format!("{atom}{times}"));
        vec(part, 0..5).prop_map(|parts| regex(&format!("/{}", parts.concat())))
    }

    const PATHS: [&str; 5] = ["/", "/a", "/a/b", "/ab", "/b"];
    const REGEXES: [&str; 7] = [".*", "/.*", "/a.*", "/a(/.*)?", "/a/b+", "/a?b", "/a|/b"];
    const HOSTS: [&str; 3] = ["x.example", "y.example", "*.example"];
    const NAMES: [&str; 2] = ["p", "q"];

    fn matches(regexes: bool) -> impl Strategy<Value = Match> {
        let expressions = REGEXES.iter().take(if regexes { REGEXES.len() } else { 0 }).map(|text| regex(text));
        let exact = PATHS.iter().map(|path| PathMatch::Exact((*path).to_owned()));
        let path = select(PATHS.iter().map(|path| prefix(path)).chain(exact).chain(expressions).collect::<Vec<_>>());
        let some = || subsequence(&NAMES[..], 0..=2);
        (path, option::weighted(0.3, Just("GET")), some(), some(), subsequence(&HOSTS[..2], 0..=2), weighted(0.2))
            .prop_map(|(path, method, headers, query, hosts, any)| Match {
                path,
                method: method.map(str::to_owned),
                headers: names(&headers),
                query: names(&query),
                hosts: if any {
                    vec![HOSTS[2].to_owned()]
                } else {
                    hosts.iter().map(|host| (*host).to_owned()).collect()
                },
                no_host: false,
                target: None,
                grpc: false,
            })
    }

    /// A table as it is made of these matches, each of a route of its own.
    fn table(matches: Vec<Match>) -> Vec<Route> {
        let mut ordered: Vec<_> = matches
            .into_iter()
            .enumerate()
            .map(|(number, matches)| {
                let object = ObjectRef::new(Kind::HttpRoute, "t", number.to_string());
                let order = precedence(&matches, None, &(true, None), &object, (0, 0)).of_hosts(&matches.hosts);
                (order, Route { matches, ..route(prefix("/")) })
            })
            .collect();
        ordered.sort_by(|(a, _), (b, _)| a.cmp(b));
        ordered.into_iter().map(|(_, route)| route).collect()
    }

    fn hidden_whole(routes: &[Route]) -> Vec<bool> {
        let found = shadowed(&routes.iter().collect::<Vec<_>>());
        found.iter().map(|found| found.hidden.as_ref().is_some_and(|hidden| hidden.hosts.is_empty())).collect()
    }

    /// Requests that meet `matches` and nothing that asks for more.
    fn witnesses(matches: &Match) -> Vec<Request> {
        let known = |name: &str, all: &[&'static str]| all.iter().copied().find(|known| *known == name);
        let all = |wanted: &[KeyMatch]| wanted.iter().filter_map(|key| known(&key.name, &NAMES)).collect::<Vec<_>>();
        let path = match &matches.path {
            PathMatch::Exact(path) => path.clone(),
            PathMatch::Prefix(path) | PathMatch::Regex(path) => format!("{}/only", path.trim_end_matches('/')),
        };
        let hosts: Vec<&'static str> = match matches.hosts.as_slice() {
            [] => vec!["elsewhere"],
            hosts => hosts.iter().map(|host| known(host, &HOSTS[..2]).unwrap_or("z.example")).collect(),
        };
        let request = |host| Request {
            host,
            path: path.clone(),
            method: if matches.method.is_some() { "GET" } else { "PUT" },
            headers: all(&matches.headers),
            query: all(&matches.query),
        };
        hosts.into_iter().map(request).collect()
    }

    proptest! {
        #[test]
        fn what_is_hidden_never_applies_whatever_comes(
            all in vec(matches(true), 1..12),
            paths in vec("/(a|b|ab|)(/b|/c|)", 1..12),
            (host, method) in (select(vec!["x.example", "z.example", "other"]), select(vec!["GET", "PUT"])),
            (headers, query) in (subsequence(&NAMES[..], 0..=2), subsequence(&NAMES[..], 0..=2)),
        ) {
            let routes = table(all);
            let hidden = hidden_whole(&routes);
            for path in paths {
                let request = Request { host, path, method, headers: headers.clone(), query: query.clone() };
                let first = routes.iter().position(|route| takes(&route.matches, &request));
                prop_assert!(first.is_none_or(|first| !hidden[first]), "{request:?} {first:?} {routes:#?}");
            }
        }

        /// Whoever is told that a policy guards a rule, without a warning, has requests for which that is so.
        #[test]
        fn no_expression_takes_all_that_is_guarded_behind_it_unseen(
            one in expression(),
            other in prop_oneof![expression(), select(PATHS.map(prefix).to_vec())],
        ) {
            let routes = [forward(one), guarded(other)];
            let found = shadowed(&[&routes[0], &routes[1]]).pop().unwrap();
            let takes = |route: &Route, path: &str| {
                let request = Request { host: "x", path: path.to_owned(), method: "GET", headers: vec![], query: vec![] };
                takes(&route.matches, &request)
            };
            let mut theirs = paths().into_iter().filter(|path| takes(&routes[1], path)).peekable();
            prop_assume!(theirs.peek().is_some());
            let left = theirs.any(|path| !takes(&routes[0], &path));
            prop_assert!(left || found != Found::default(), "{routes:#?}");
        }

        #[test]
        fn without_expressions_what_never_applies_is_found_to_be_hidden(all in vec(matches(false), 1..12)) {
            let routes = table(all);
            let found = shadowed(&routes.iter().collect::<Vec<_>>());
            for (index, (route, found)) in routes.iter().zip(&found).enumerate() {
                for (number, request) in witnesses(&route.matches).iter().enumerate() {
                    let first = routes.iter().position(|route| takes(&route.matches, request));
                    let host = route.matches.hosts.get(number).map(String::as_str);
                    let hidden = found.hidden.as_ref().is_some_and(|hidden| {
                        hidden.hosts.is_empty() || host.is_some_and(|host| hidden.hosts.contains(&host))
                    });
                    prop_assert_eq!(first != Some(index), hidden, "{} {:?} {:#?}", index, host, routes);
                }
            }
        }
    }
}
