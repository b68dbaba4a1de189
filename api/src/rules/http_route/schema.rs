//! What the schema of HTTPRoute asks for beyond types, and what Envoy would refuse.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::envoy::Checks;
use crate::gateway::HttpRoute;
use crate::gateway::httproutes::{
    HttpRouteParentRefs as ParentRef, HttpRouteRules as Rule, HttpRouteRulesBackendRefs as BackendRef,
    HttpRouteRulesFilters as Filter, HttpRouteRulesFiltersRequestMirror as Mirror,
    HttpRouteRulesFiltersRequestRedirectPathType as RedirectPath, HttpRouteRulesFiltersType as FilterType,
    HttpRouteRulesFiltersUrlRewritePathType as RewritePath, HttpRouteRulesMatches as Match,
    HttpRouteRulesMatchesHeaders as Header, HttpRouteRulesMatchesHeadersType as HeaderType,
    HttpRouteRulesMatchesPathType as PathType, HttpRouteRulesMatchesQueryParamsType as QueryType,
    HttpRouteRulesRetry as Retry,
};
use crate::header::HeaderUse;
use crate::problem::Problem;
use crate::proto_json::ProtoDuration;
use crate::rules::names::{self, Duplicates};

mod cors;

const MOST_PARENTS: usize = 32;
pub(in crate::rules) const MOST_MATCHES: usize = 64;
const MOST_MATCHES_OF_ALL_RULES: usize = 128;
/// Rules, filters, backends, host names, header and query conditions, headers of a modifier.
pub(in crate::rules) const MOST: usize = 16;

/// Statuses after which it is tried again.
const MOST_CODES: usize = 200;
const MOST_ATTEMPTS: i64 = 1000;

/// What is wrong with `route` taken by itself; defaults are filled in.
pub fn validate(route: &mut HttpRoute) -> Vec<Problem> {
    let spec = &mut route.spec;
    spec.rules.get_or_insert_with(|| vec![Rule::default()]);
    let mut checks = Checks::default();
    parents(spec.parent_refs.as_deref().unwrap_or_default(), &mut checks);

    hostnames(spec.hostnames.as_deref().unwrap_or_default(), &mut checks);
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() {
        checks.error("spec.rules", "empty; write at least one rule, or leave the field out");
    }
    // One without matches takes everything, which is a match as well.
    let said = rules.iter().map(|rule| (rule.name.as_deref(), rule.matches.as_ref().map_or(1, Vec::len)));
    self::rules(&said.collect::<Vec<_>>(), &mut checks);
    for (index, rule) in rules.iter().enumerate().take(MOST) {
        self::rule(&format!("spec.rules[{index}]"), rule, &mut checks);
    }
    checks.problems
}

pub(in crate::rules) fn hostnames(hostnames: &[String], checks: &mut Checks) {
    checks.at_most("spec.hostnames", hostnames.len(), MOST);
    for (index, hostname) in hostnames.iter().enumerate().take(MOST) {
        names::wildcard_hostname(&format!("spec.hostnames[{index}]"), hostname, checks);
    }
}

/// The rules of a route together, each with its name and how many matches it has.
pub(in crate::rules) fn rules(rules: &[(Option<&str>, usize)], checks: &mut Checks) {
    checks.at_most("spec.rules", rules.len(), MOST);
    let matches: usize = rules.iter().map(|(_, matches)| matches).sum();
    if matches > MOST_MATCHES_OF_ALL_RULES {
        checks.error(
            "spec.rules",
            format!("{matches} matches in all rules; at most {MOST_MATCHES_OF_ALL_RULES} are allowed: split the route"),
        );
    }
    let mut known = Duplicates::default();
    for (index, (name, _)) in rules.iter().enumerate().take(MOST) {
        let Some(name) = name else { continue };
        let field = format!("spec.rules[{index}].name");
        names::section(&field, name, checks);
        known.note(&field, (*name).to_owned(), "the name of another rule", checks);
    }
}

pub(in crate::rules) fn parents(parents: &[ParentRef], checks: &mut Checks) {
    checks.at_most("spec.parentRefs", parents.len(), MOST_PARENTS);
    let mut known = BTreeSet::new();
    for (index, parent) in parents.iter().enumerate().take(MOST_PARENTS) {
        let field = format!("spec.parentRefs[{index}]");
        names::reference(
            &field,
            parent.group.as_deref(),
            parent.kind.as_deref(),
            Some(&parent.name),
            parent.namespace.as_deref(),
            checks,
        );
        fits(&field, parent, checks);
        if let Some(section) = &parent.section_name {
            names::section(&format!("{field}.sectionName"), section, checks);
        }
        names::port(&format!("{field}.port"), parent.port, checks);
        let identity =
            (&parent.group, &parent.kind, &parent.namespace, &parent.name, &parent.section_name, &parent.port);
        if !known.insert(identity) {
            checks
                .error(&field, "the same parent as another entry; remove it, or name a sectionName or port of its own");
        }
    }
}

/// Whether a parent is of a kind that its group has. What fits no group is a slip: nobody would
/// attach the route, and what it is to guard would stand open.
fn fits(field: &str, parent: &ParentRef, checks: &mut Checks) {
    const GATEWAYS: &str = "gateway.networking.k8s.io";
    let (group, kind) = (parent.group.as_deref().unwrap_or(GATEWAYS), parent.kind.as_deref().unwrap_or("Gateway"));
    let (wrong, advice) = match (group, kind) {
        ("", "Service") | (GATEWAYS, "Gateway" | "ListenerSet") => return,
        (_, "Service") => ("group", "a Service is of the core group; write group: \"\""),
        (_, "Gateway") => ("group", "write group: gateway.networking.k8s.io, or leave it out"),
        ("", _) => ("kind", "of the core group only a Service can be a parent; write kind: Service"),
        (GATEWAYS, _) => (
            "kind",
            "of this group only a Gateway can be a parent; write kind: Gateway, or for a Service kind: Service and group: \"\"",
        ),
        // Another controller's.
        _ => return,
    };
    let message = format!("{kind:?} of group {group:?} is no parent of a route; {advice}");
    checks.error(&format!("{field}.{wrong}"), message);
}

fn rule(field: &str, rule: &Rule, checks: &mut Checks) {
    let matches = rule.matches.as_deref().unwrap_or_default();
    checks.at_most(&format!("{field}.matches"), matches.len(), MOST_MATCHES);
    for (index, matches) in matches.iter().enumerate().take(MOST_MATCHES) {
        self::matches(&format!("{field}.matches[{index}]"), matches, checks);
    }

    let filters = rule.filters.as_deref().unwrap_or_default();
    self::filters(&format!("{field}.filters"), filters, matches, checks);

    let backends = rule.backend_refs.as_deref().unwrap_or_default();
    checks.at_most(&format!("{field}.backendRefs"), backends.len(), MOST);
    for (index, backend) in backends.iter().enumerate().take(MOST) {
        self::backend(&format!("{field}.backendRefs[{index}]"), backend, matches, checks);
    }
    if !backends.is_empty() && filters.iter().any(|filter| filter.request_redirect.is_some()) {
        checks.error(&format!("{field}.backendRefs"), "a redirect goes to no backend; remove one of the two");
    }

    if let Some(retry) = &rule.retry {
        self::retry(&format!("{field}.retry"), retry, checks);
    }
    if let Some(timeouts) = &rule.timeouts {
        let request = time(&format!("{field}.timeouts.request"), timeouts.request.as_ref(), checks);
        let backend_request =
            time(&format!("{field}.timeouts.backendRequest"), timeouts.backend_request.as_ref(), checks);
        if let (Some(request), Some(backend_request)) = (request, backend_request)
            && request != Duration::ZERO
            && backend_request > request
        {
            let field = format!("{field}.timeouts.backendRequest");
            checks.error(&field, "longer than timeouts.request, which would end it; write less");
        }
    }
}

fn retry(field: &str, retry: &Retry, checks: &mut Checks) {
    let codes = retry.codes.as_deref().unwrap_or_default();
    checks.at_most(&format!("{field}.codes"), codes.len(), MOST_CODES);
    for (index, code) in codes.iter().enumerate().take(MOST_CODES) {
        if !(400..600).contains(code) {
            checks.error(&format!("{field}.codes[{index}]"), format!("{code} is no failure; write 400 to 599"));
        }
    }
    if retry.attempts.is_some_and(|attempts| !(0..=MOST_ATTEMPTS).contains(&attempts)) {
        checks.error(&format!("{field}.attempts"), format!("write 0 to {MOST_ATTEMPTS}"));
    }
    time(&format!("{field}.backoff"), retry.backoff.as_ref(), checks);
}

/// The time that `text` says, if it is one that Envoy takes.
fn time(field: &str, text: Option<&String>, checks: &mut Checks) -> Option<Duration> {
    match duration(text?) {
        Ok(time) => {
            checks.duration(field, ProtoDuration(time));
            Some(time)
        }
        Err(why) => {
            checks.error(field, why);
            None
        }
    }
}

/// One to four numbers of one to five digits with `h`, `m`, `s` or `ms` each.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration of Gateway API; write for example \"10s\", \"1m30s\" or \"500ms\"");
    let mut rest = text;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let right = (1..=5).contains(&digits) && matches!(&rest[digits..digits + unit], "h" | "m" | "s" | "ms");
        parts += 1;
        if !right || parts > 4 {
            return Err(wrong());
        }
        rest = &rest[digits + unit..];
    }
    text.parse::<ProtoDuration>().map(|duration| duration.0).map_err(|_| wrong())
}

fn matches(field: &str, matches: &Match, checks: &mut Checks) {
    if let Some(path) = &matches.path {
        let value = path.value.as_deref().unwrap_or("/");
        let field = format!("{field}.path.value");
        if path.r#type == Some(PathType::RegularExpression) {
            text(&field, value, 1024, checks);
            checks.regex(&field, value);
            needless_escape(&field, value, checks);
        } else {
            checks.match_path(&field, value);
        }
    }
    headers(&format!("{field}.headers"), matches.headers.as_deref().unwrap_or_default(), checks);
    let parameters = matches.query_params.as_deref().unwrap_or_default();
    checks.at_most(&format!("{field}.queryParams"), parameters.len(), MOST);
    let mut known = Duplicates::default();
    for (index, written) in parameters.iter().enumerate().take(MOST) {
        let field = format!("{field}.queryParams[{index}]");
        condition_name(&field, &written.name, &mut known, checks);
        text(&format!("{field}.value"), &written.value, 1024, checks);
        if written.r#type == Some(QueryType::RegularExpression) {
            checks.regex(&format!("{field}.value"), &written.value);
            needless_escape(&format!("{field}.value"), &written.value, checks);
        } else {
            escaped_value(&format!("{field}.value"), &written.value, checks);
        }
    }
}

/// The headers that a match looks at.
pub(in crate::rules) fn headers(field: &str, headers: &[Header], checks: &mut Checks) {
    checks.at_most(field, headers.len(), MOST);
    let mut known = Duplicates::default();
    for (index, written) in headers.iter().enumerate().take(MOST) {
        let field = format!("{field}[{index}]");
        condition_name(&field, &written.name, &mut known, checks);
        checks.header_matched(&format!("{field}.name"), &written.name);
        text(&format!("{field}.value"), &written.value, 4096, checks);
        match written.r#type {
            Some(HeaderType::RegularExpression) => checks.regex(&format!("{field}.value"), &written.value),
            _ => checks.header_value(&format!("{field}.value"), &written.value),
        }
    }
}

/// The exact value of a parameter: Envoy is told every way to write it, and takes only so much.
fn escaped_value(field: &str, value: &str, checks: &mut Checks) {
    const MOST: usize = 128;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if value.len() > MOST && !value.bytes().all(plain) {
        let message = format!(
            "{} bytes long, with characters that clients may escape: at most {MOST} are compared; write less, or a RegularExpression",
            value.len()
        );
        checks.error(field, message);
    }
}

/// An expression that looks for the escape of a character that needs none finds nothing: Envoy has decoded it in a path,
/// and no such request comes by where a policy depends on a parameter.
pub(in crate::rules) fn needless_escape(field: &str, regex: &str, checks: &mut Checks) {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let plain = regex.as_bytes().windows(3).find_map(|three| match three {
        [b'%', high, low] => {
            let byte = char::from_u32(digit(*high)? << 4 | digit(*low)?)?;
            let needless = byte.is_ascii_alphanumeric() || "-._~".contains(byte);
            needless.then(|| (String::from_utf8_lossy(three).into_owned(), byte))
        }
        _ => None,
    });
    if let Some((escape, plain)) = plain {
        checks.error(field, format!("{escape} is in no request that this is compared with; write {plain:?} for it"));
    }
}

/// The name of a header or query parameter that a match looks at.
fn condition_name(field: &str, name: &str, known: &mut Duplicates, checks: &mut Checks) {
    let field = format!("{field}.name");
    names::token(&field, name, checks);
    known.note(&field, name.to_owned(), "what another condition names as well", checks);
}

pub(in crate::rules) fn text(field: &str, value: &str, most: usize, checks: &mut Checks) {
    if value.is_empty() {
        checks.error(field, "empty; write what to compare with");
    } else if value.chars().count() > most {
        checks.error(field, format!("longer than {most} characters"));
    }
}

pub(in crate::rules) fn backend(field: &str, backend: &BackendRef, matches: &[Match], checks: &mut Checks) {
    names::reference(
        field,
        backend.group.as_deref(),
        backend.kind.as_deref(),
        Some(&backend.name),
        backend.namespace.as_deref(),
        checks,
    );
    service_port(field, backend.group.as_deref(), backend.kind.as_deref(), backend.port, checks);
    if backend.weight.is_some_and(|weight| !(0..=1_000_000).contains(&weight)) {
        checks.error(&format!("{field}.weight"), "write 0 to 1000000");
    }
    // Filters of backends have types of their own with the same fields.
    let own: Vec<Filter> = serde_json::to_value(backend.filters.as_deref().unwrap_or_default())
        .and_then(serde_json::from_value)
        .unwrap_or_default();
    filters(&format!("{field}.filters"), &own, matches, checks);
}

pub(in crate::rules) fn filters(field: &str, filters: &[Filter], matches: &[Match], checks: &mut Checks) {
    checks.at_most(field, filters.len(), MOST);
    let has = |kind: FilterType| filters.iter().any(|filter| filter.r#type == kind);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        checks.error(field, "RequestRedirect and URLRewrite exclude each other; keep one of the two");
    }
    let mut known = Duplicates::default();
    for (index, filter) in filters.iter().enumerate().take(MOST) {
        let field = format!("{field}[{index}]");
        if !matches!(filter.r#type, FilterType::RequestMirror | FilterType::ExtensionRef) {
            let kind = format!("{:?}", filter.r#type);
            known.note(&format!("{field}.type"), kind, "a filter that is there already; write one with both", checks);
        }
        self::filter(&field, filter, matches, checks);
    }
}

fn filter(field: &str, filter: &Filter, matches: &[Match], checks: &mut Checks) {
    for (kind, name, present) in [
        (FilterType::Cors, "cors", filter.cors.is_some()),
        (FilterType::ExternalAuth, "externalAuth", filter.external_auth.is_some()),
        (FilterType::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
        (FilterType::RequestHeaderModifier, "requestHeaderModifier", filter.request_header_modifier.is_some()),
        (FilterType::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (FilterType::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (FilterType::ResponseHeaderModifier, "responseHeaderModifier", filter.response_header_modifier.is_some()),
        (FilterType::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
    ] {
        match (filter.r#type == kind, present) {
            (true, false) => checks.error(&format!("{field}.{name}"), "missing, though the filter's type asks for it"),
            (false, true) => {
                checks.error(&format!("{field}.{name}"), "does not belong to the filter's type; remove it")
            }
            _ => {}
        }
    }
    if let Some(modifier) = &filter.request_header_modifier {
        let field = format!("{field}.requestHeaderModifier");
        let set = modifier.set.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
        let add = modifier.add.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
        put(&format!("{field}.set"), set, checks);
        put(&format!("{field}.add"), add, checks);
        remove(&format!("{field}.remove"), modifier.remove.as_deref(), HeaderUse::Write, checks);
    }
    if let Some(modifier) = &filter.response_header_modifier {
        let field = format!("{field}.responseHeaderModifier");
        let set = modifier.set.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
        let add = modifier.add.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
        put(&format!("{field}.set"), set, checks);
        put(&format!("{field}.add"), add, checks);
        remove(&format!("{field}.remove"), modifier.remove.as_deref(), HeaderUse::Hide, checks);
    }
    if let Some(redirect) = &filter.request_redirect {
        let field = format!("{field}.requestRedirect");
        if let Some(hostname) = &redirect.hostname {
            names::hostname(&format!("{field}.hostname"), hostname, checks);
        }
        names::port(&format!("{field}.port"), redirect.port, checks);
        if let Some(status) = redirect.status_code.filter(|status| ![301, 302, 303, 307, 308].contains(status)) {
            checks.error(
                &format!("{field}.statusCode"),
                format!("{status} redirects nobody; write 301, 302, 303, 307 or 308"),
            );
        }
        if let Some(path) = &redirect.path {
            let prefix = path.r#type == RedirectPath::ReplacePrefixMatch;
            new_path(
                &field,
                prefix,
                path.replace_full_path.as_ref(),
                path.replace_prefix_match.as_ref(),
                matches,
                checks,
            );
        }
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let field = format!("{field}.urlRewrite");
        if let Some(hostname) = &rewrite.hostname {
            names::hostname(&format!("{field}.hostname"), hostname, checks);
        }
        if let Some(path) = &rewrite.path {
            let prefix = path.r#type == RewritePath::ReplacePrefixMatch;
            new_path(
                &field,
                prefix,
                path.replace_full_path.as_ref(),
                path.replace_prefix_match.as_ref(),
                matches,
                checks,
            );
        }
    }
    if let Some(mirror) = &filter.request_mirror {
        self::mirror(&format!("{field}.requestMirror"), mirror, checks);
    }
    if let Some(cors) = &filter.cors {
        cors::cors(&format!("{field}.cors"), cors, checks);
    }
    if let Some(reference) = &filter.extension_ref {
        let (group, kind) = (Some(reference.group.as_str()), Some(reference.kind.as_str()));
        names::reference(&format!("{field}.extensionRef"), group, kind, Some(&reference.name), None, checks);
    }
}

fn mirror(field: &str, mirror: &Mirror, checks: &mut Checks) {
    let to = &mirror.backend_ref;
    let at = format!("{field}.backendRef");
    names::reference(&at, to.group.as_deref(), to.kind.as_deref(), Some(&to.name), to.namespace.as_deref(), checks);
    service_port(&at, to.group.as_deref(), to.kind.as_deref(), to.port, checks);
    if mirror.percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
        checks.error(&format!("{field}.percent"), "write 0 to 100");
    }
    if let Some(fraction) = &mirror.fraction {
        if mirror.percent.is_some() {
            checks.error(field, "percent and fraction say the same thing; keep one of the two");
        }
        let of = fraction.denominator.unwrap_or(100);
        if of < 1 {
            checks.error(&format!("{field}.fraction.denominator"), "write at least 1");
        } else if !(0..=of).contains(&fraction.numerator) {
            checks.error(&format!("{field}.fraction.numerator"), format!("write 0 to {of}, the denominator"));
        }
    }
}

/// A port, which a Service is named with.
fn service_port(field: &str, group: Option<&str>, kind: Option<&str>, port: Option<i32>, checks: &mut Checks) {
    names::port(&format!("{field}.port"), port, checks);
    let service = group.is_none_or(str::is_empty) && kind.is_none_or(|kind| kind == "Service");
    if service && port.is_none() {
        checks.error(&format!("{field}.port"), "missing: a Service is named with a port");
    }
}

fn put<'a>(field: &str, headers: impl Iterator<Item = (&'a str, &'a str)>, checks: &mut Checks) {
    let headers: Vec<_> = headers.collect();
    checks.at_most(field, headers.len(), MOST);
    let mut known = Duplicates::default();
    for (index, (name, value)) in headers.into_iter().enumerate().take(MOST) {
        let field = format!("{field}[{index}]");
        checks.header_name(&format!("{field}.name"), name, HeaderUse::Write);
        known.note(&format!("{field}.name"), name.to_owned(), "named twice; write one entry", checks);
        text(&format!("{field}.value"), value, 4096, checks);
        checks.header_value(&format!("{field}.value"), value);
    }
}

fn remove(field: &str, headers: Option<&[String]>, header_use: HeaderUse, checks: &mut Checks) {
    let headers = headers.unwrap_or_default();
    checks.at_most(field, headers.len(), MOST);
    let mut known = Duplicates::default();
    for (index, name) in headers.iter().enumerate().take(MOST) {
        checks.header_name(&format!("{field}[{index}]"), name, header_use);
        known.note(&format!("{field}[{index}]"), name.clone(), "named twice; write one entry", checks);
    }
}

/// What replaces a path, of a redirect or a rewrite; a prefix can be replaced only where one is matched.
fn new_path(
    field: &str,
    prefix: bool,
    full_path: Option<&String>,
    prefix_match: Option<&String>,
    matches: &[Match],
    checks: &mut Checks,
) {
    for (name, wanted, written) in
        [("replaceFullPath", !prefix, full_path), ("replacePrefixMatch", prefix, prefix_match)]
    {
        let field = format!("{field}.path.{name}");
        match (wanted, written) {
            (true, None) => checks.error(&field, "missing, though path.type asks for it"),
            (false, Some(_)) => checks.error(&field, "does not belong to path.type; remove it"),
            (true, Some(path)) => checks.new_path(&field, path),
            (false, None) => {}
        }
    }
    let of_prefix = |matches: &Match| {
        let kind = matches.path.as_ref().and_then(|path| path.r#type.as_ref());
        kind.is_none_or(|kind| *kind == PathType::PathPrefix)
    };
    let one_prefix = match matches {
        [] => true,
        [only] => of_prefix(only),
        _ => false,
    };
    if prefix && !one_prefix {
        checks.error(
            &format!("{field}.path.type"),
            "a prefix is replaced only in a rule with exactly one match, of type PathPrefix; write a rule for each",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::admit;

    #[test]
    fn a_parent_of_a_kind_that_its_group_does_not_have_is_an_error_and_not_another_controllers() {
        let problems = |parent: serde_json::Value| {
            let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "r", "namespace": "x"}, "spec": {"parentRefs": [parent]}});
            admit(&route).problems
        };
        for slip in [
            json!({"kind": "Service", "name": "a"}),
            json!({"group": "", "name": "a"}),
            json!({"group": "", "kind": "Servcie", "name": "a"}),
            json!({"group": "core", "kind": "Service", "name": "a"}),
            json!({"group": "gateway.networkng.k8s.io", "kind": "Gateway", "name": "a"}),
            json!({"kind": "gateway", "name": "a"}),
        ] {
            let found = problems(slip.clone());
            assert!(found.iter().any(|p| p.is_error() && p.message.contains("write")), "{slip}: {found:?}");
        }
        for right in [
            json!({"group": "", "kind": "Service", "name": "a"}),
            json!({"name": "a"}),
            json!({"group": "networking.istio.io", "kind": "ServiceEntry", "name": "a"}),
        ] {
            assert!(problems(right.clone()).is_empty(), "{right}");
        }
    }
}
