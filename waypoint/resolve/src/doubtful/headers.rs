//! Headers: an application may take a list, or another spelling of the name, for what Envoy takes for something else.
//!
//! Envoy looks at each line of a header by itself, and one that matches is enough: of the lines `guest` and `admin` it takes
//! a rule for either, and the application may take the other. `admin,` is not `admin` to it, and may be to the
//! application. Where a policy depends on a header, a request with such lines is refused before the rule, and where a later
//! rule would let more pass, a list behind it. Other spellings of the name (`X_Role`) are taken out on all routes of
//! such a table. Expressions cannot be turned round: of several lines, one that matches is enough.

use std::collections::BTreeSet;

use ir::{KeyMatch, Match, Route, ValueMatch};

use super::treatment::{Treatment, depends_on, overlap, reaches};
use crate::lists::in_a_list;

pub const WHY: &str = "a header of this request may mean something else to the application (a list, or several lines)";

/// The conditions on headers of `route` but for the host: a request has one, whose spellings are looked at elsewhere.
fn lines(route: &Route) -> impl Iterator<Item = &KeyMatch> {
    route.matches.headers.iter().filter(|key| !key.name.eq_ignore_ascii_case("host"))
}

/// What is refused around a route.
#[derive(Debug, Default)]
pub struct Around {
    /// Of its own requests: those that may mean something else.
    pub before: Vec<Match>,
    /// Of the others: those that may mean this route, though Envoy does not take them for its own.
    pub behind: Option<Match>,
}

/// What is refused around each of `routes`, in which policies depend on the headers `deciding`.
pub fn doubtful(routes: &[Route], deciding: &BTreeSet<String>) -> Vec<Around> {
    let around = |(index, route): (usize, &Route)| Around {
        before: before(route, deciding),
        behind: behind(route, &routes[index + 1..]),
    };
    routes.iter().enumerate().map(around).collect()
}

fn before(route: &Route, deciding: &BTreeSet<String>) -> Vec<Match> {
    let decides = |key: &&KeyMatch| deciding.contains(&key.name.to_ascii_lowercase());
    let other_line = |key: &KeyMatch| {
        let ValueMatch::Exact(value) = &key.value else { return None };
        let mut matches = route.matches.clone();
        matches.headers.push(KeyMatch { name: key.name.clone(), value: ValueMatch::Regex(other_than(value)) });
        Some(matches)
    };
    lines(route).filter(decides).filter_map(other_line).collect()
}

/// An expression for every text but `value`; of a long one, for what differs in its beginning.
fn other_than(value: &str) -> String {
    const LOOKED_AT: usize = 60;
    let mut characters: Vec<String> = value.chars().map(|c| regex::escape(&c.to_string())).collect();
    characters.truncate(LOOKED_AT);
    // From the last character to the first: nothing, another one, or this one and then what differs.
    let mut differing = if value.chars().count() > LOOKED_AT { None } else { Some(".+".to_owned()) };
    for c in characters.iter().rev() {
        let behind = differing.map(|rest| format!("|{c}{rest}")).unwrap_or_default();
        differing = Some(format!("(?:|[^{c}].*{behind})"));
    }
    differing.unwrap_or_default()
}

fn behind(route: &Route, later: &[Route]) -> Option<Match> {
    if lines(route).next().is_none() || !reaches(route) {
        return None;
    }
    let own = Treatment::of(route);
    let gets_around = |other: &Route| {
        reaches(other)
            && Treatment::of(other).lets_more_pass_than(&own)
            && overlap(&route.matches.path, &other.matches.path)
    };
    if !later.iter().any(gets_around) {
        return None;
    }
    let headers = route.matches.headers.iter().map(|key| match key.name.eq_ignore_ascii_case("host") {
        true => key.clone(),
        false => KeyMatch { name: key.name.clone(), value: ValueMatch::Regex(in_a_list(&key.value)) },
    });
    Some(Match { headers: headers.collect(), ..route.matches.clone() })
}

/// The names of the headers on which a policy depends, in lower case.
pub fn deciding(routes: &[Route]) -> BTreeSet<String> {
    let names = routes.iter().flat_map(|route| &route.matches.headers).map(|key| key.name.to_ascii_lowercase());
    let names: BTreeSet<String> = names.collect();
    names.into_iter().filter(|name| decides(routes, name)).collect()
}

fn decides(routes: &[Route], name: &str) -> bool {
    let condition = |matches: &Match| -> Option<ValueMatch> {
        matches.headers.iter().find(|key| key.name.eq_ignore_ascii_case(name)).map(|key| key.value.clone())
    };
    depends_on(routes, condition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn takes(regex: &str, text: &str) -> bool {
        regex::Regex::new(&format!("^(?:{regex})$")).is_ok_and(|regex| regex.is_match(text))
    }

    proptest! {
        #[test]
        fn every_other_text_is_another(value in "[ -~]{1,12}", other in "[ -~]{0,14}", at in 0..14_usize) {
            let regex = other_than(&value);
            prop_assert!(!takes(&regex, &value), "{regex}");
            prop_assert_eq!(takes(&regex, &other), other != value, "{}", &regex);
            for near in [format!("{value}{other}"), value.chars().take(at).collect(), value.replacen(' ', "", 1)] {
                prop_assert_eq!(takes(&regex, &near), near != value, "{}: {}", &regex, near);
            }
        }

        #[test]
        fn a_list_may_mean_each_of_its_members(value in "[!-+.-~]{1,8}", others in proptest::collection::vec("[!-+.-~]{0,4}", 0..4), at in 0..4_usize) {
            let mut members = others.clone();
            members.insert(at.min(others.len()), format!(" {value}\t"));
            prop_assert!(takes(&in_a_list(&ValueMatch::Exact(value.clone())), &members.join(",")));
            if !others.contains(&value) {
                prop_assert!(!takes(&in_a_list(&ValueMatch::Exact(value)), &others.join(",")));
            }
        }
    }

    #[test]
    fn of_a_long_value_the_beginning_is_looked_at() {
        let long = "v".repeat(5000);
        let regex = other_than(&long);
        let taken = ["x", "", &long[..59], &long[..60], &long].map(|text| takes(&regex, text));
        assert_eq!(taken, [true, true, true, false, false], "{regex}");
        assert!(takes(&in_a_list(&ValueMatch::Exact("a, b".into())), "x,a,b"));
        // Whatever is written, Envoy compiles what is made of it.
        for value in
            [ValueMatch::Exact(long.clone()), ValueMatch::Regex("a{990}".into()), ValueMatch::Exact("a".into())]
        {
            let listed = in_a_list(&value);
            assert!(api::envoy::regex::check(&listed).is_ok() && takes(&listed, "a,b"), "{value:?}");
        }
        let plain = "~!#$%&'*+-.^_`|".repeat(20);
        for value in [&long, &plain, &"-".repeat(59)] {
            assert!(api::envoy::regex::check(&other_than(value)).is_ok(), "{value}");
        }
    }
}
