//! Matches on headers that can never hold together, so that nothing is ever limited by them.

use crate::gloo::rate_limit_config::{Action, ActionKind, HeaderMatcher, HeaderValueMatch, MatchHow};
use crate::problem::Problem;

/// What of `actions`, which describe one request together, contradicts itself.
pub(super) fn contradictory(actions: &[Action], at: &str, problems: &mut Vec<Problem>) {
    // All of these must hold; each with the number of its action.
    let mut wanted: Vec<(usize, &HeaderMatcher)> = Vec::new();
    let mut unwanted: Vec<(usize, &HeaderValueMatch)> = Vec::new();
    for (number, action) in actions.iter().enumerate() {
        match action.kind() {
            Some(ActionKind::HeaderValueMatch(one)) if one.expect_match == Some(false) => unwanted.push((number, one)),
            Some(ActionKind::HeaderValueMatch(one)) => wanted.extend(one.headers.iter().map(|header| (number, header))),
            _ => {}
        }
    }
    for (place, (number, later)) in wanted.iter().enumerate() {
        let earlier = wanted.iter().take(place).find(|(_, earlier)| exclude(earlier, later));
        if let Some((other, _)) = earlier {
            let with = if other == number { String::new() } else { format!(" of {at}[{other}]") };
            problems.push(Problem::warning(
                format!("{at}[{number}].headerValueMatch.headers"),
                format!("never hold together with the matches on {:?}{with}: nothing is limited", later.name),
            ));
            return;
        }
    }
    for (number, one) in unwanted {
        let same = |header: &HeaderMatcher| wanted.iter().any(|(_, wanted)| *wanted == header);
        if !one.headers.is_empty() && one.headers.iter().all(same) {
            problems.push(Problem::warning(
                format!("{at}[{number}].headerValueMatch.expectMatch"),
                "the same headers must match in another action: nothing is limited",
            ));
        }
    }
}

/// Whether no request can satisfy both.
fn exclude(one: &HeaderMatcher, other: &HeaderMatcher) -> bool {
    one.name.eq_ignore_ascii_case(&other.name) && (misses(one, other) || misses(other, one) || apart(one, other))
}

/// Whether the only value that `one` takes, if there is but one, is none that `other` takes.
fn misses(one: &HeaderMatcher, other: &HeaderMatcher) -> bool {
    let only = match (one.how(), one.invert_match) {
        (Some(MatchHow::Exact(value)), false) => Some(value),
        (Some(MatchHow::Present(false)), false) | (Some(MatchHow::Present(true)), true) => None,
        _ => return false,
    };
    takes(other, only) == Some(false)
}

/// Whether `matcher` takes `value`, if that is easily said; no value where the header is absent.
fn takes(matcher: &HeaderMatcher, value: Option<&str>) -> Option<bool> {
    let plainly = match (matcher.how()?, value) {
        (MatchHow::Present(present), _) => value.is_some() == present,
        // What is absent matches nothing, and not the opposite of anything either, unless it is asked for.
        (_, None) => return if matcher.invert_match { None } else { Some(false) },
        (MatchHow::Exact(wanted), Some(value)) => value == wanted,
        (MatchHow::Prefix(wanted), Some(value)) => value.starts_with(wanted),
        (MatchHow::Suffix(wanted), Some(value)) => value.ends_with(wanted),
        (MatchHow::Range(range), Some(value)) => value.parse().is_ok_and(|n: i64| range.start <= n && n < range.end),
        (MatchHow::Regex(pattern), Some(value)) => crate::gloo::rate_limit_config::whole(pattern).ok()?.is_match(value),
    };
    Some(plainly != matcher.invert_match)
}

/// Whether two prefixes, suffixes or ranges have nothing in common.
fn apart(one: &HeaderMatcher, other: &HeaderMatcher) -> bool {
    if one.invert_match || other.invert_match {
        return false;
    }
    match (one.how(), other.how()) {
        (Some(MatchHow::Prefix(one)), Some(MatchHow::Prefix(other))) => {
            !one.starts_with(other) && !other.starts_with(one)
        }
        (Some(MatchHow::Suffix(one)), Some(MatchHow::Suffix(other))) => !one.ends_with(other) && !other.ends_with(one),
        (Some(MatchHow::Range(one)), Some(MatchHow::Range(other))) => one.end <= other.start || other.end <= one.start,
        _ => false,
    }
}
