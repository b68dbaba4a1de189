//! What is wrong with an AuthorizationPolicy taken by itself.
//!
//! What Istio refuses is refused; and what it takes and what can never match, since the author of a policy that denies
//! believes that something is closed.

use super::pattern::{self, Pattern};
use super::{Action, AuthorizationPolicy, Condition, Listed, Part, Rule, Source, TargetRef};
use crate::envoy::{Checks, text};
use crate::header;
use crate::name::{is_dns_name, is_namespace};
use crate::problem::Problem;

/// Rules of a policy, and sources, operations and conditions of a rule.
const MOST_RULES: usize = 512;
/// Values of a policy, of all lists together.
const MOST_VALUES: usize = 10_000;
/// Istio's bound on a list of service accounts.
const MOST_ACCOUNTS: usize = 16;
const MOST_TARGETS: usize = 16;

/// What is wrong with `policy` taken by itself.
pub fn validate(policy: &AuthorizationPolicy) -> Vec<Problem> {
    let mut checks = Checks::default();
    let spec = &policy.spec;
    targets(policy, &mut checks);
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
    let mut left = MOST_VALUES;
    for (index, rule) in spec.rules.iter().enumerate().take(MOST_RULES) {
        self::rule(&format!("spec.rules[{index}]"), rule, &mut left, &mut checks);
    }
    checks.problems
}

fn targets(policy: &AuthorizationPolicy, checks: &mut Checks) {
    let spec = &policy.spec;
    let home = policy.metadata.namespace.as_deref().unwrap_or("default");
    if spec.target_ref.is_some() && !spec.target_refs.is_empty() {
        checks.error("spec.targetRef", "keep one of targetRef and targetRefs");
    }
    if let Some(selector) = &spec.selector {
        if spec.targets().next().is_some() {
            let why =
                "is for workloads, which ztunnel guards, and targetRefs for what waypoints guard; write two policies";
            checks.error("spec.selector", why);
        }
        for (key, value) in &selector.match_labels {
            let field = format!("spec.selector.matchLabels.{key}");
            if key.is_empty() {
                checks.error(&field, "empty; write the key of a label");
            } else if key.contains('*') || value.contains('*') {
                checks.error(&field, "labels are compared as they are; no * stands for anything");
            }
        }
    }
    checks.at_most("spec.targetRefs", spec.target_refs.len(), MOST_TARGETS);
    if let Some(target) = &spec.target_ref {
        self::target("spec.targetRef", target, home, checks);
    }
    for (index, target) in spec.target_refs.iter().enumerate().take(MOST_TARGETS) {
        self::target(&format!("spec.targetRefs[{index}]"), target, home, checks);
    }
}

fn target(field: &str, target: &TargetRef, home: &str, checks: &mut Checks) {
    if target.target(home).is_none() {
        let (of, why) = match target.kind.as_str() {
            "Service" => ("group", "write group: \"\" for a Service"),
            "Gateway" | "GatewayClass" => ("group", "write gateway.networking.k8s.io"),
            "ServiceEntry" => ("group", "write networking.istio.io"),
            _ => ("kind", "a waypoint guards a Service, Gateway, GatewayClass or ServiceEntry; write one of these"),
        };
        return checks.error(&format!("{field}.{of}"), why);
    }
    if !is_dns_name(&target.name) {
        checks.error(&format!("{field}.name"), format!("{:?} is not the name of an object", target.name));
    }
    if target.namespace.as_deref().is_some_and(|other| !other.is_empty() && other != home) {
        let why = format!("a policy guards what is of its own namespace; remove it, or write {home}");
        checks.error(&format!("{field}.namespace"), why);
    }
}

fn rule(field: &str, rule: &Rule, left: &mut usize, checks: &mut Checks) {
    let lists = [
        ("from", rule.from.as_ref().map(Vec::len)),
        ("to", rule.to.as_ref().map(Vec::len)),
        ("when", rule.when.as_ref().map(Vec::len)),
    ];
    for (name, count) in lists {
        let field = format!("{field}.{name}");
        checks.at_most(&field, count.unwrap_or_default(), MOST_RULES);
        if count == Some(0) {
            checks.error(&field, "empty; write at least one entry, or take it out");
        }
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

fn condition(field: &str, condition: &Condition, left: &mut usize, checks: &mut Checks) {
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

fn list(field: &str, list: &Listed<'_>, left: &mut usize, checks: &mut Checks) {
    for (name, values) in [(list.field, list.values), (list.not_field, list.not_values)] {
        for (index, value) in values.iter().enumerate() {
            let field = format!("{field}.{name}[{index}]");
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    let why = format!("more than {MOST_VALUES} values in one policy; write several policies");
                    return checks.error(&field, why);
                }
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
        Part::ServerName | Part::Token => Pattern::check(value),
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
