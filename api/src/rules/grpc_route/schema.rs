//! What the schema of GRPCRoute asks for beyond types, and what Envoy would refuse. What it has in common with HTTPRoute
//! is asked for by the same rules.

use serde::{Serialize, de::DeserializeOwned};

use crate::envoy::{Checks, regex};
use crate::gateway::grpcroutes::{
    GrpcRouteRules as Rule, GrpcRouteRulesMatches as Match, GrpcRouteRulesMatchesMethod as Method,
    GrpcRouteRulesMatchesMethodType as MethodType,
};
use crate::gateway::{GrpcRoute, alike, call_paths};
use crate::problem::Problem;
use crate::rules::http_route::schema::{self as shared, MOST, MOST_MATCHES};

/// The longest name of a service or method, and the longest expression for one.
const LONGEST: usize = 1024;

/// What is wrong with `route` taken by itself.
pub fn validate(route: &mut GrpcRoute) -> Vec<Problem> {
    let (spec, mut checks) = (&route.spec, Checks::default());
    if let Some(parents) = read("spec.parentRefs", &spec.parent_refs.as_deref().unwrap_or_default(), &mut checks) {
        let parents: Vec<_> = parents;
        shared::parents(&parents, &mut checks);
    }
    shared::hostnames(spec.hostnames.as_deref().unwrap_or_default(), &mut checks);
    let rules = spec.rules.as_deref().unwrap_or_default();
    let said = rules.iter().map(|rule| (rule.name.as_deref(), rule.matches.as_ref().map_or(0, Vec::len)));
    shared::rules(&said.collect::<Vec<_>>(), &mut checks);
    for (index, rule) in rules.iter().enumerate().take(MOST) {
        self::rule(&format!("spec.rules[{index}]"), rule, &mut checks);
    }
    checks.problems
}

/// A part of the route in the type that HTTPRoute has for it.
fn read<T: DeserializeOwned>(field: &str, written: &impl Serialize, checks: &mut Checks) -> Option<T> {
    alike(written).map_err(|why| checks.error(field, why)).ok()
}

fn rule(field: &str, rule: &Rule, checks: &mut Checks) {
    let matches = rule.matches.as_deref().unwrap_or_default();
    checks.at_most(&format!("{field}.matches"), matches.len(), MOST_MATCHES);
    for (index, matches) in matches.iter().enumerate().take(MOST_MATCHES) {
        self::matches(&format!("{field}.matches[{index}]"), matches, checks);
    }
    let field_of_filters = format!("{field}.filters");
    if let Some(filters) = read(&field_of_filters, &rule.filters.as_deref().unwrap_or_default(), checks) {
        let filters: Vec<_> = filters;
        shared::filters(&field_of_filters, &filters, &[], checks);
    }
    let backends = rule.backend_refs.as_deref().unwrap_or_default();
    checks.at_most(&format!("{field}.backendRefs"), backends.len(), MOST);
    for (index, backend) in backends.iter().enumerate().take(MOST) {
        let field = format!("{field}.backendRefs[{index}]");
        if let Some(backend) = read(&field, backend, checks) {
            shared::backend(&field, &backend, &[], checks);
        }
    }
}

fn matches(field: &str, matches: &Match, checks: &mut Checks) {
    if let Some(method) = &matches.method {
        self::method(&format!("{field}.method"), method, checks);
    }
    let field = format!("{field}.headers");
    if let Some(headers) = read(&field, &matches.headers.as_deref().unwrap_or_default(), checks) {
        let headers: Vec<_> = headers;
        shared::headers(&field, &headers, checks);
    }
}

fn method(field: &str, method: &Method, checks: &mut Checks) {
    let parts = [("service", method.service.as_deref()), ("method", method.method.as_deref())];
    if parts.iter().all(|(_, part)| part.is_none()) {
        checks.error(field, "says nothing; write service, method or both, or leave the field out for all");
    }
    let found = checks.problems.len();
    for (name, part) in parts.iter().filter_map(|(name, part)| Some((*name, (*part)?))) {
        let field = format!("{field}.{name}");
        shared::text(&field, part, LONGEST, checks);
        if method.r#type == Some(MethodType::RegularExpression) {
            expression(&field, part, checks);
        } else if !part.is_empty() && !is_called(part, name == "service") {
            let message = format!(
                "{part:?} is not the name of a {name} of gRPC; for an expression write type: RegularExpression"
            );
            checks.error(&field, message);
        }
    }
    // The two together are one expression for Envoy.
    if method.r#type == Some(MethodType::RegularExpression) && checks.problems.len() == found {
        checks.regex(field, &call_paths(method.service.as_deref(), method.method.as_deref()));
    }
}

/// An expression for one of the two parts of a path.
fn expression(field: &str, like: &str, checks: &mut Checks) {
    if let Err(why) = regex::check(like) {
        checks.error(field, why);
    }
    shared::needless_escape(field, like, checks);
    if anchored(like) {
        let message = "it is compared with all of the name, which is a part of a path: write it without ^, $, \\A and \\z, \
                       which would match nothing there";
        checks.error(field, message);
    }
}

/// Whether `like` asks for the beginning or the end of the text.
fn anchored(like: &str) -> bool {
    let mut characters = like.chars().peekable();
    let mut class = false;
    while let Some(next) = characters.next() {
        match next {
            '\\' if !class && matches!(characters.peek(), Some('A' | 'z')) => return true,
            '\\' => drop(characters.next()),
            '[' if !class => {
                class = true;
                // What stands first in a class does not end it.
                let _ = characters.next_if_eq(&'^');
                let _ = characters.next_if_eq(&']');
            }
            ']' => class = false,
            '^' | '$' if !class => return true,
            _ => {}
        }
    }
    false
}

/// Whether `text` is a name of gRPC, with dots if it is a service's.
fn is_called(text: &str, service: bool) -> bool {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match service {
        true => text.strip_prefix('.').unwrap_or(text).split('.').all(word),
        false => word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_gateway_api_takes() {
        for service in ["a", "a.B", ".a.b_1", "_x"] {
            assert!(is_called(service, true), "{service}");
        }
        for service in ["", ".", "a.", "a..b", "1a", "a/b", "a-b", "a b", "..a"] {
            assert!(!is_called(service, true), "{service}");
        }
        assert!(is_called("Say", false) && !is_called("a.B", false) && !is_called("", false));
    }

    #[test]
    fn an_expression_for_a_part_asks_for_no_ends() {
        for like in ["^a", "a$", "a|^b", "(?:^a)", r"\Aa", r"a\z", "[ab]$", "[]^]^", "[[]^a", "[^]]$"] {
            assert!(anchored(like), "{like}");
        }
        for like in ["a.*", "[^a]b", "[a$^]", r"\^a\$", r"[\]^]", r"a\.b", "[]^]", "[^]^]"] {
            assert!(!anchored(like), "{like}");
        }
    }
}
