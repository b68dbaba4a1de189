//! What is wrong with an AuthorizationPolicy taken by itself.
//!
//! What Istio refuses is refused; and what it takes and what can never match, since the author of a policy that denies
//! believes that something is closed.

use super::pattern::{self, Pattern};
use super::{Action, AuthorizationPolicy, Condition, Listed, Part, Rule, Source};
use crate::envoy::{Checks, text};
use crate::header;
use crate::name::{is_dns_name, is_namespace};
use crate::problem::Problem;

/// Rules of a policy, and sources, operations and conditions of a rule.
const MOST_RULES: usize = 512;
/// Values of a policy, of all lists together.
const MOST_VALUES: usize = 5_000;
/// Those of them that Envoy compiles: whatever is not compared as it is.
const MOST_PATTERNS: usize = 1_000;
/// Istio's bound on a list of service accounts.
const MOST_ACCOUNTS: usize = 16;

/// What is wrong with `policy` taken by itself.
pub fn validate(policy: &AuthorizationPolicy) -> Vec<Problem> {
    let mut checks = Checks::default();
    let spec = &policy.spec;
    spec.attachment().check(policy.metadata.namespace.as_deref(), &mut checks);
    match (&spec.provider, spec.action) {
        (None, Action::Custom) => checks.error("spec.provider", "missing: CUSTOM names who decides"),
        (Some(provider), Action::Custom) if provider.name.is_empty() => {
            checks.error("spec.provider.name", "empty; write the name of an extension provider");
        }
        (Some(_), action) if action != Action::Custom => {
            checks.error("spec.provider", "only with action: CUSTOM somebody else decides; take it out, or write that");
        }
        _ => {}
    }
    checks.at_most("spec.rules", spec.rules.len(), MOST_RULES);
    if spec.rules.is_empty() && spec.action != Action::Allow {
        let why = "empty: without a rule nothing is done; write - {} for every request";
        checks.warning("spec.rules", why);
    }
    let mut left = Left { values: MOST_VALUES, patterns: MOST_PATTERNS };
    for (index, rule) in spec.rules.iter().enumerate().take(MOST_RULES) {
        self::rule(&format!("spec.rules[{index}]"), rule, &mut left, &mut checks);
    }
    checks.problems
}

/// What is left of what one policy may have.
struct Left {
    values: usize,
    patterns: usize,
}

impl Left {
    /// Takes one value of `part` off; why it cannot be had.
    fn take(&mut self, part: &Part, value: &str) -> Result<(), String> {
        let is_compared = match part {
            Part::Principal | Part::Method => matches!(Pattern::of(value), Pattern::Exact(_)),
            Part::Port | Part::SourceAddress | Part::RemoteAddress | Part::DestinationAddress => true,
            _ => false,
        };
        let more = |most, what| format!("more than {most} {what} in one policy; write several policies");
        self.values = self.values.checked_sub(1).ok_or_else(|| more(MOST_VALUES, "values"))?;
        if !is_compared {
            let what = "values but identities, methods, ports and addresses as they are";
            self.patterns = self.patterns.checked_sub(1).ok_or_else(|| more(MOST_PATTERNS, what))?;
        }
        Ok(())
    }
}

fn rule(field: &str, rule: &Rule, left: &mut Left, checks: &mut Checks) {
    let lists = [
        ("from", rule.from.as_ref().map(Vec::len)),
        ("to", rule.to.as_ref().map(Vec::len)),
        ("when", rule.when.as_ref().map(Vec::len)),
    ];
    for (name, count) in lists {
        checks.at_most(&format!("{field}.{name}"), count.unwrap_or_default(), MOST_RULES);
    }
    for (index, from) in rule.from.iter().flatten().enumerate().take(MOST_RULES) {
        let field = format!("{field}.from[{index}].source");
        if from.source == Source::default() {
            checks.error(&field, "empty; write who calls, or take from out for everybody");
        }
        accounts(&field, &from.source, checks);
        from.source.lists().iter().for_each(|list| self::list(&field, list, left, checks));
    }
    for (index, to) in rule.to.iter().flatten().enumerate().take(MOST_RULES) {
        let field = format!("{field}.to[{index}].operation");
        if to.operation == super::Operation::default() {
            checks.error(&field, "empty; write what is asked for, or take to out for everything");
        }
        to.operation.lists().iter().for_each(|list| self::list(&field, list, left, checks));
    }
    for (index, condition) in rule.when.iter().flatten().enumerate().take(MOST_RULES) {
        self::condition(&format!("{field}.when[{index}]"), condition, left, checks);
    }
}

fn accounts(field: &str, source: &Source, checks: &mut Checks) {
    for (name, list, others) in [
        ("serviceAccounts", &source.service_accounts, [&source.principals, &source.namespaces]),
        ("notServiceAccounts", &source.not_service_accounts, [&source.not_principals, &source.not_namespaces]),
    ] {
        let field = format!("{field}.{name}");
        checks.at_most(&field, list.len(), MOST_ACCOUNTS);
        if !list.is_empty() && others.iter().any(|other| !other.is_empty()) {
            checks
                .error(&field, "stands beside principals or namespaces, which say the same; write them as two sources");
        }
    }
}

fn condition(field: &str, condition: &Condition, left: &mut Left, checks: &mut Checks) {
    if condition.key.is_empty() {
        return checks.error(&format!("{field}.key"), "missing: write what is looked at, e.g. request.headers[x-team]");
    }
    if condition.values.is_empty() && condition.not_values.is_empty() {
        checks.error(field, "says nothing of its key; write values, notValues or both");
    }
    match condition.part() {
        Err(why) => checks.error(&format!("{field}.key"), why),
        Ok(part) => {
            if let Part::Header(name) = &part
                && !header::is_name(name)
            {
                checks.error(&format!("{field}.key"), format!("{name:?} is not the name of a header"));
            }
            list(field, &condition.listed(part), left, checks);
        }
    }
}

fn list(field: &str, list: &Listed<'_>, left: &mut Left, checks: &mut Checks) {
    for (name, values) in [(list.field, list.values), (list.not_field, list.not_values)] {
        for (index, value) in values.iter().enumerate() {
            let field = format!("{field}.{name}[{index}]");
            if let Err(why) = left.take(&list.part, value) {
                return checks.error(&field, why);
            }
            if let Err(why) = self::value(&list.part, value) {
                checks.error(&field, why);
            }
        }
    }
}

/// What is wrong with `value` as a value of `part`.
fn value(part: &Part, value: &str) -> Result<(), String> {
    match part {
        Part::SourceAddress | Part::RemoteAddress | Part::DestinationAddress => network(value).map(drop),
        Part::Port => match value.parse::<u16>() {
            Ok(port) if port > 0 && value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0') => Ok(()),
            _ => Err(format!("{value:?} is not a port; write a text of 1 to 65535, e.g. \"80\"")),
        },
        Part::Path => match pattern::template(value)? {
            Some(_) => path_text(&value.replace("{**}", "x").replace("{*}", "x")),
            None => Pattern::check(value).and_then(|()| path(value)),
        },
        Part::Method => Pattern::check(value).and_then(|()| match Pattern::of(value) {
            Pattern::Present => Ok(()),
            pattern if pattern.text().bytes().all(|b| b.is_ascii_uppercase() || b"-_".contains(&b)) => Ok(()),
            _ => Err(format!("{value:?} is no method: they are compared as they are; write capitals, e.g. GET")),
        }),
        Part::Host => Pattern::check(value).and_then(|()| {
            let of_hosts = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
            match Pattern::of(value).text().chars().all(of_hosts) {
                true => Ok(()),
                false => Err(format!("{value:?} is no host; write a name, with a port if need be")),
            }
        }),
        Part::ServiceAccount => {
            let (namespace, name) = value.split_once('/').map_or((None, value), |(ns, name)| (Some(ns), name));
            match namespace.is_none_or(is_namespace) && is_dns_name(name) {
                true => Ok(()),
                false => Err(format!("{value:?} is no service account; write NAME or NAMESPACE/NAME, without *")),
            }
        }
        Part::Principal => Pattern::check(value).and_then(|()| principal(value)),
        Part::Namespace => Pattern::check(value).and_then(|()| word(value, "namespace")),
        Part::TrustDomain => Pattern::check(value).and_then(|()| word(value, "trust domain")),
        Part::Header(_) => Pattern::check(value).and_then(|()| text::value(value)),
        Part::RequestPrincipal => Pattern::check(value).and_then(|()| match Pattern::of(value) {
            Pattern::Exact(text) if !text.contains('/') => {
                Err(format!("{value:?} is issuer or subject alone; write ISSUER/SUBJECT, with * at one end if need be"))
            }
            _ => Ok(()),
        }),
        Part::ServerName | Part::Claim(_) => Pattern::check(value),
    }
}

fn principal(value: &str) -> Result<(), String> {
    if value.contains("://") {
        return Err(format!("{value:?}: identities are written without spiffe://"));
    }
    let pattern = Pattern::of(value);
    if value.contains(|c: char| c.is_whitespace() || !c.is_ascii()) {
        return Err(format!("{value:?} is no identity; write <trust domain>/ns/<namespace>/sa/<service account>"));
    }
    match pattern {
        Pattern::Exact(text) if !text.contains('/') => {
            Err(format!("{value:?} is no identity; write <trust domain>/ns/<namespace>/sa/<service account>"))
        }
        _ => Ok(()),
    }
}

fn word(value: &str, what: &str) -> Result<(), String> {
    let of_names = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    match Pattern::of(value).text().bytes().all(of_names) {
        true => Ok(()),
        false => Err(format!("{value:?} is no {what}; write lower-case letters, digits, '-' and '.'")),
    }
}

/// A path as it is once it is normalised, or the beginning or end of one.
fn path(value: &str) -> Result<(), String> {
    match Pattern::of(value) {
        Pattern::Present => Ok(()),
        Pattern::Suffix(end) => path_text(&format!("/x{end}")),
        // What follows may make another segment of its last one.
        Pattern::Prefix(beginning) => path_text(&format!("{beginning}x")),
        Pattern::Exact(text) => path_text(text),
    }
}

fn path_text(path: &str) -> Result<(), String> {
    // Brackets and the like stand in paths, though they should be escaped.
    text::match_path(&path.replace(|c: char| "[]\"<>^`|".contains(c), "x"))
}

/// The network that `value` means.
pub fn network(value: &str) -> Result<ipnet::IpNet, String> {
    let address = || value.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
    value
        .parse::<ipnet::IpNet>()
        .ok()
        .or_else(address)
        .map(|network| network.trunc())
        .ok_or_else(|| format!("{value:?} is neither an address nor a network; write e.g. 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    /// The fields with errors.
    fn errors(spec: Value) -> Vec<String> {
        let policy = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "p", "namespace": "t"}, "spec": spec});
        let problems = crate::admit(&policy).problems;
        problems.into_iter().filter(crate::Problem::is_error).map(|problem| problem.field).collect()
    }

    fn of_source(field: &str, value: &str) -> Vec<String> {
        errors(json!({"rules": [{"from": [{"source": {field: [value]}}]}]}))
    }

    fn of_operation(field: &str, value: &str) -> Vec<String> {
        errors(json!({"rules": [{"to": [{"operation": {field: [value]}}]}]}))
    }

    #[test]
    fn values_are_what_can_be_met() {
        for (field, good, bad) in [
            (
                "principals",
                &["*", "a/ns/b/sa/c", "a/*", "*/c", "a-*"][..],
                &["", "spiffe://a/ns/b/sa/c", "client", "a*c", "*a*", "a/ b"][..],
            ),
            ("namespaces", &["a", "a*", "*-a", "*"], &["A", "a/b", "", "*a*", "a_b"]),
            ("serviceAccounts", &["a", "a/b"], &["*", "a/*", "a/b/c", "/a", "a/", "A", ""]),
            ("trustDomains", &["a", "*.a", "cluster.local"], &["a/b", "", "spiffe://a"]),
            (
                "ipBlocks",
                &["10.0.0.1", "10.0.0.0/8", "10.1.2.3/8", "fd00::/8", "::1"],
                &["", "10.0.0", "10.0.0.0/33", "a", "*"],
            ),
            ("requestPrincipals", &["*", "a/b", "*/b", "https://a/b", "https://a/*", "*b", "a*"], &["", "*a*", "a"]),
        ] {
            let not = format!("not{}{}", field[..1].to_uppercase(), &field[1..]);
            for field in [field, &not] {
                good.iter().for_each(|value| assert_eq!(of_source(field, value), [""; 0], "{field}: {value}"));
                let at = format!("spec.rules[0].from[0].source.{field}[0]");
                bad.iter().for_each(|value| assert_eq!(of_source(field, value), [at.as_str()], "{field}: {value}"));
            }
        }
        for (field, good, bad) in [
            (
                "hosts",
                &["a", "A.example:80", "*.example", "a:*", "*", "[::1]:80"][..],
                &["", "a/b", "a b", "http://a", "*a*"][..],
            ),
            ("ports", &["1", "65535"], &["0", "65536", "080", "+1", "", "*", "http"]),
            ("methods", &["GET", "*", "P*", "*T", "M-SEARCH"], &["get", "", "G ET", "*E*"]),
            (
                "paths",
                &["/", "/a", "/a*", "*.php", "*", "/a/{*}/b/{**}", "/a%20b", "/a@b", "/a]"],
                &["", "a", "/a?b", "/a#b", "//a", "/a/../b", "/./a", "/a%2fb", "/a b", "/a/{b}", "*/a*", "/a%"],
            ),
        ] {
            let not = format!("not{}{}", field[..1].to_uppercase(), &field[1..]);
            for field in [field, &not] {
                good.iter().for_each(|value| assert_eq!(of_operation(field, value), [""; 0], "{field}: {value}"));
                let at = format!("spec.rules[0].to[0].operation.{field}[0]");
                bad.iter().for_each(|value| assert_eq!(of_operation(field, value), [at.as_str()], "{field}: {value}"));
            }
        }
    }

    #[test]
    fn conditions_are_of_what_is_there() {
        let of = |key: &str| errors(json!({"rules": [{"when": [{"key": key, "values": ["10.0.0.1"]}]}]}));
        for key in [
            "request.headers[X-a]",
            "request.headers[:authority]",
            "source.ip",
            "remote.ip",
            "destination.ip",
            "request.auth.claims[a][b]",
            "request.auth.audiences",
            "connection.sni",
        ] {
            assert_eq!(of(key), [""; 0], "{key}");
        }
        for key in [
            "",
            "request.header[a]",
            "request.headers[]",
            "request.headers[a",
            "request.headers[a][b]",
            "request.auth.claims[]",
            "request.auth.claims[a][]",
            "request.auth.claims[a]b[c]",
            "request.auth.claims[[a]]",
            "request.headers[:path]",
            "request.headers[te]",
            "request.headers[x-waykeeper-vip]",
            "request.headers[x envoy]",
            "experimental.envoy.filters.a[b]",
            "Source.ip",
            "source.labels[a]",
        ] {
            assert_eq!(of(key), ["spec.rules[0].when[0].key"], "{key}");
        }
        assert_eq!(errors(json!({"rules": [{"when": [{"key": "source.ip"}]}]})), ["spec.rules[0].when[0]"]);
    }

    #[test]
    fn what_says_nothing_or_two_things_is_an_error() {
        for (spec, field) in [
            (json!({"rules": [{"from": []}]}), "spec.rules[0].from"),
            (json!({"rules": [{"from": null}]}), "spec.rules[0].from"),
            (json!({"rules": [{"from": [{}]}]}), "spec.rules[0].from[0].source"),
            (
                json!({"rules": [{"to": [{"operation": {"paths": [], "methods": ["GET"]}}]}]}),
                "spec.rules[0].to[0].operation.paths",
            ),
            (
                json!({"rules": [{"from": [{"source": {"serviceAccounts": ["a"], "namespaces": ["b"]}}]}]}),
                "spec.rules[0].from[0].source.serviceAccounts",
            ),
            (json!({"action": "CUSTOM", "rules": [{}]}), "spec.provider"),
            (json!({"action": "CUSTOM", "provider": {}, "rules": [{}]}), "spec.provider.name"),
            (json!({"provider": {"name": "a"}}), "spec.provider"),
            (json!({"selector": {}, "targetRefs": [{"kind": "Service", "name": "a"}]}), "spec.selector"),
            (json!({"selector": {"matchLabels": {"a": "b*"}}}), "spec.selector.matchLabels.a"),
            (
                json!({"targetRef": {"kind": "Service", "name": "a"}, "targetRefs": [{"kind": "Service", "name": "a"}]}),
                "spec.targetRef",
            ),
            (json!({"targetRefs": [{"kind": "Gateway", "name": "a"}]}), "spec.targetRefs[0].group"),
            (json!({"targetRefs": [{"kind": "Pod", "name": "a"}]}), "spec.targetRefs[0].kind"),
            (
                json!({"targetRefs": [{"kind": "Service", "name": "a", "namespace": "b"}]}),
                "spec.targetRefs[0].namespace",
            ),
            (json!({"targetRefs": [{"kind": "Service", "name": "A"}]}), "spec.targetRefs[0].name"),
            (
                json!({"targetRefs": [{"kind": "Service", "name": "a", "sectionName": "b"}]}),
                "spec.targetRefs[0].sectionName",
            ),
        ] {
            assert_eq!(errors(spec.clone()), [field], "{spec}");
        }
    }

    #[test]
    fn a_policy_has_so_many_values_and_no_more() {
        let of = |field: &str, count: usize| {
            let values: Vec<String> = (0..count).map(|number| format!("a/ns/b/sa/n{number}")).collect();
            let values: Vec<String> = values
                .iter()
                .map(|value| if field == "principals" { value.clone() } else { format!("/{value}") })
                .collect();
            match field {
                "principals" => errors(json!({"rules": [{"from": [{"source": {field: values}}]}]})),
                _ => errors(json!({"rules": [{"to": [{"operation": {field: values}}]}]})),
            }
        };
        assert_eq!(
            (of("principals", super::MOST_VALUES).len(), of("principals", super::MOST_VALUES + 1).len()),
            (0, 1)
        );
        assert_eq!((of("paths", super::MOST_PATTERNS).len(), of("paths", super::MOST_PATTERNS + 1).len()), (0, 1));
    }
}
