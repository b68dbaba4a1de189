//! Which routes of a table never apply, since an earlier one takes all their requests.
//!
//! Routes are tried in the order of Gateway API's precedence. Of two with one path the earlier has a
//! method if the later has one, and as many headers and query parameters or more: so it takes all that the
//! later would only if it is the same match, and one look at what came before finds it. The exception is
//! expressions, which come before all prefixes: one that takes everything below a path
//! (`/a.*`, `/a(/.*)?`) hides narrower matches with other paths.

use std::collections::HashMap;

use ir::{KeyMatch, Match, PathMatch, Route};

/// Of so many expressions in one table it is looked at what they hide.
const MOST_EXPRESSIONS: usize = 64;

/// Requests of a route that an earlier one takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden<'a> {
    /// The number of the earlier one; where several take them, of the last of those.
    pub by: usize,
    /// For which of its host names; for all of them if none is named.
    pub hosts: Vec<&'a str>,
}

/// For each of `routes`, tried in this order, what those before it take away whole.
///
/// What is found is true; what an expression of another form hides is not found.
pub fn shadowed<'a>(routes: &[&'a Route]) -> Vec<Option<Hidden<'a>>> {
    let mut first: HashMap<(Option<&str>, Key<'_>), usize> = HashMap::new();
    let mut wide: Vec<(usize, Wide<'_>)> = Vec::new();
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
            let covers = |(by, wide): &&(usize, Wide<'_>)| {
                takes_host(&routes[*by].matches, host) && wide.covers(&routes[*by].matches, matches)
            };
            same.or_else(|| wide.iter().find(covers).map(|(by, _)| *by))
        };
        let taken: Vec<(Option<&str>, usize)> = hosts.iter().filter_map(|host| Some((*host, by(*host)?))).collect();
        found.push(taken.iter().map(|(_, by)| *by).max().map(|by| {
            let all = taken.len() == hosts.len();
            Hidden { by, hosts: if all { vec![] } else { taken.iter().filter_map(|(host, _)| *host).collect() } }
        }));
        for host in hosts {
            first.entry((host, key.clone())).or_insert(index);
        }
        if let (PathMatch::Regex(regex), true) = (&matches.path, wide.len() < MOST_EXPRESSIONS) {
            wide.extend(Wide::of(regex).map(|wide| (index, wide)));
        }
    }
    found
}

/// Whether `matches` takes requests for `host`; none stands for every host.
fn takes_host(matches: &Match, host: Option<&str>) -> bool {
    matches.hosts.is_empty() || host.is_some_and(|host| matches.hosts.iter().any(|own| own == host))
}

/// All of a match but its hosts; the order in which conditions are written does not count, nor capitals in header names.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key<'a> {
    path: &'a PathMatch,
    method: Option<&'a str>,
    headers: Vec<KeyMatch>,
    query: Vec<&'a KeyMatch>,
    no_host: bool,
}

impl<'a> Key<'a> {
    fn of(matches: &'a Match) -> Self {
        let mut query: Vec<&KeyMatch> = matches.query.iter().collect();
        query.sort();
        let Match { path, method, no_host, .. } = matches;
        Self { path, method: method.as_deref(), headers: headers(matches), query, no_host: *no_host }
    }
}

fn headers(matches: &Match) -> Vec<KeyMatch> {
    let lower = |header: &KeyMatch| KeyMatch { name: header.name.to_ascii_lowercase(), value: header.value.clone() };
    let mut headers: Vec<KeyMatch> = matches.headers.iter().map(lower).collect();
    headers.sort();
    headers
}

/// An expression that takes all paths that begin with this text, or all that are below it and itself.
enum Wide<'a> {
    Beginning(&'a str),
    Below(&'a str),
}

impl<'a> Wide<'a> {
    fn of(regex: &'a str) -> Option<Self> {
        let (text, wide) = match (regex.strip_suffix("(/.*)?"), regex.strip_suffix(".*")) {
            (Some(text), _) => (text, Self::Below(text)),
            (None, Some(text)) => (text, Self::Beginning(text)),
            (None, None) => return None,
        };
        // Of what may be spelled in another way, an expression takes the one that is written.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_~".contains(c);
        text.chars().all(plain).then_some(wide)
    }

    /// Whether `own`, which has this path, takes all that `other` does, hosts aside.
    fn covers(&self, own: &Match, other: &Match) -> bool {
        let path = match &other.path {
            // They are tried before any expression.
            PathMatch::Exact(_) => false,
            PathMatch::Prefix(path) if path == "/" => match self {
                Wide::Beginning(text) => "/".starts_with(text),
                Wide::Below(text) => text.is_empty(),
            },
            PathMatch::Prefix(path) => self.takes(path, true),
            PathMatch::Regex(regex) => self.takes(beginning(regex), false),
        };
        let method = own.method.is_none() || own.method == other.method;
        let theirs = headers(other);
        path && method
            && own.no_host == other.no_host
            && headers(own).iter().all(|header| theirs.contains(header))
            && own.query.iter().all(|parameter| other.query.contains(parameter))
    }

    /// Whether all paths are taken that begin with `path`, or, if it is `whole`, that and those below it.
    fn takes(&self, path: &str, whole: bool) -> bool {
        match self {
            Wide::Beginning(text) => path.starts_with(text),
            Wide::Below(text) => {
                path.strip_prefix(text).is_some_and(|rest| rest.starts_with('/') || whole && rest.is_empty())
            }
        }
    }
}

/// The text with which everything begins that `regex` takes.
fn beginning(regex: &str) -> &str {
    if regex.contains(['|', '\\']) {
        return "";
    }
    let meta = |c: char| "$()*+.?[]^{}".contains(c);
    let Some(end) = regex.find(meta) else { return regex };
    let last = regex[..end].char_indices().next_back();
    match last {
        // What follows may say that the last character is not there.
        Some((at, _)) if regex[end..].starts_with(['*', '?', '{']) => &regex[..at],
        _ => &regex[..end],
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use api::{Kind, ObjectRef};
    use ir::{Action, Policy, Refusal, ValueMatch};
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
        shadowed(&[&route(one), &route(other)])[1].is_some()
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
        let hides = |one: &Route, other: &Route| shadowed(&[one, other])[1].is_some();
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
        assert_eq!(shadowed(&[&a, &both, &b]), [None, some(0, &["a.example"]), some(1, &[])]);
        assert_eq!(shadowed(&[&a, &b, &both]), [None, None, some(1, &[])], "each host by another");
        assert!(!hides(&a, &with(prefix("/"), vec![], &[])));
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
        assert!(shadowed(&routes.iter().collect::<Vec<_>>()).iter().all(Option::is_none));
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
            })
    }

    /// A table as it is made of these matches, each of a route of its own.
    fn table(matches: Vec<Match>) -> Vec<Route> {
        let mut ordered: Vec<_> = matches
            .into_iter()
            .enumerate()
            .map(|(number, matches)| {
                let object = ObjectRef::new(Kind::HttpRoute, "t", number.to_string());
                let order = precedence(&matches, &(true, None), &object, 0, 0).of_hosts(&matches.hosts);
                (order, Route { matches, ..route(prefix("/")) })
            })
            .collect();
        ordered.sort_by(|(a, _), (b, _)| a.cmp(b));
        ordered.into_iter().map(|(_, route)| route).collect()
    }

    fn hidden(routes: &[Route]) -> Vec<bool> {
        let found = shadowed(&routes.iter().collect::<Vec<_>>());
        found.iter().map(|found| found.as_ref().is_some_and(|hidden| hidden.hosts.is_empty())).collect()
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
            let hidden = hidden(&routes);
            for path in paths {
                let request = Request { host, path, method, headers: headers.clone(), query: query.clone() };
                let first = routes.iter().position(|route| takes(&route.matches, &request));
                prop_assert!(first.is_none_or(|first| !hidden[first]), "{request:?} {first:?} {routes:#?}");
            }
        }

        #[test]
        fn without_expressions_what_never_applies_is_found_to_be_hidden(all in vec(matches(false), 1..12)) {
            let routes = table(all);
            let found = shadowed(&routes.iter().collect::<Vec<_>>());
            for (index, (route, found)) in routes.iter().zip(&found).enumerate() {
                for (number, request) in witnesses(&route.matches).iter().enumerate() {
                    let first = routes.iter().position(|route| takes(&route.matches, request));
                    let host = route.matches.hosts.get(number).map(String::as_str);
                    let hidden = found.as_ref().is_some_and(|hidden| {
                        hidden.hosts.is_empty() || host.is_some_and(|host| hidden.hosts.contains(&host))
                    });
                    prop_assert_eq!(first != Some(index), hidden, "{} {:?} {:#?}", index, host, routes);
                }
            }
        }
    }
}
