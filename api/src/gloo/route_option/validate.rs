//! What is wrong with a RouteOption taken by itself.

use super::options::{Cors, ExtAuth, Faults, HeaderAppend, HeaderManipulation, RatelimitBasic, Retries};
use super::{RouteOption, TargetRef};
use crate::gloo::rate_limit_config::{MOST_REFS, Unit};
use crate::header;
use crate::problem::Problem;

/// Retry conditions Envoy acts on; it ignores any other without a word.
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// What is wrong with `object` taken by itself.
pub fn validate(object: &RouteOption) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, target) in object.spec.target_refs.iter().enumerate() {
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        target_ref(&format!("spec.targetRefs[{index}]"), target, namespace, &mut problems);
    }
    let options = &object.spec.options;
    for name in options.unsupported() {
        problems.push(Problem::error(
            format!("spec.options.{name}"),
            format!("{name} is not supported yet; routes it governs answer 500 until it is removed"),
        ));
    }
    if let Some(found) = &options.extauth {
        extauth("spec.options.extauth", found, &mut problems);
    }
    let refs = [&options.rate_limit_configs, &options.rate_limit_early_configs, &options.rate_limit_regular_configs];
    let refs: usize = refs.into_iter().flatten().map(|configs| configs.refs.len()).sum();
    if refs > MOST_REFS {
        problems.push(Problem::error(
            "spec.options.rateLimitConfigs.refs",
            format!("{refs} of them, early and regular ones included; at most {MOST_REFS} are allowed"),
        ));
    }
    for (field, configs) in [
        ("rateLimitConfigs", &options.rate_limit_configs),
        ("rateLimitEarlyConfigs", &options.rate_limit_early_configs),
        ("rateLimitRegularConfigs", &options.rate_limit_regular_configs),
    ] {
        for (index, reference) in configs.iter().flat_map(|configs| &configs.refs).enumerate() {
            if reference.name.is_empty() {
                problems.push(Problem::error(
                    format!("spec.options.{field}.refs[{index}].name"),
                    "empty; write the name of a RateLimitConfig",
                ));
            }
        }
    }
    if let Some(found) = &options.ratelimit_basic {
        ratelimit_basic("spec.options.ratelimitBasic", found, &mut problems);
    }
    if let Some(found) = &options.header_manipulation {
        header_manipulation("spec.options.headerManipulation", found, &mut problems);
    }
    if let Some(found) = &options.retries {
        retries("spec.options.retries", found, &mut problems);
    }
    if let Some(found) = &options.cors {
        cors("spec.options.cors", found, &mut problems);
    }
    if let Some(found) = &options.faults {
        faults("spec.options.faults", found, &mut problems);
    }
    if options.prefix_rewrite.as_deref().is_some_and(|prefix| !prefix.starts_with('/')) {
        problems.push(Problem::error("spec.options.prefixRewrite", "begins with '/'"));
    }
    if options.host_rewrite.as_deref().is_some_and(|host| !header::is_value(host) || host.is_empty()) {
        problems.push(Problem::error("spec.options.hostRewrite", "not a host name"));
    }
    problems
}

fn target_ref(field: &str, target: &TargetRef, namespace: &str, problems: &mut Vec<Problem>) {
    if target.group != "gateway.networking.k8s.io" {
        problems.push(Problem::error(format!("{field}.group"), "write gateway.networking.k8s.io"));
    }
    if target.kind != "HTTPRoute" {
        problems.push(Problem::error(format!("{field}.kind"), "a RouteOption governs an HTTPRoute; write HTTPRoute"));
    }
    if target.namespace.as_deref().is_some_and(|other| !other.is_empty() && other != namespace) {
        problems.push(Problem::error(
            format!("{field}.namespace"),
            format!("a RouteOption governs routes of its own namespace only; remove it or write {namespace}"),
        ));
    }
}

fn extauth(field: &str, extauth: &ExtAuth, problems: &mut Vec<Problem>) {
    if extauth.custom_auth.is_some() {
        problems.push(Problem::error(format!("{field}.customAuth"), "customAuth is not supported yet; use configRef"));
    }
    if extauth.config_ref.as_ref().is_some_and(|reference| reference.name.is_empty()) {
        problems.push(Problem::error(format!("{field}.configRef.name"), "empty; write the name of an AuthConfig"));
    }
    let asks = extauth.config_ref.is_some() || extauth.custom_auth.is_some();
    if asks && extauth.disable == Some(true) {
        problems.push(Problem::error(format!("{field}.disable"), "contradicts configRef; keep one of the two"));
    } else if !asks && extauth.disable != Some(true) {
        problems.push(Problem::error(field, "says nothing; write configRef, or disable: true"));
    }
}

fn ratelimit_basic(field: &str, basic: &RatelimitBasic, problems: &mut Vec<Problem>) {
    let limits = [("authorizedLimits", &basic.authorized_limits), ("anonymousLimits", &basic.anonymous_limits)];
    if limits.iter().all(|(_, limit)| limit.is_none()) {
        problems.push(Problem::error(field, "limits nobody; write authorizedLimits, anonymousLimits or both"));
    }
    for (name, limit) in limits {
        if limit.is_some_and(|limit| limit.unit == Unit::Unknown) {
            problems.push(Problem::error(
                format!("{field}.{name}.unit"),
                "missing or UNKNOWN; write SECOND, MINUTE, HOUR, DAY, WEEK, MONTH or YEAR",
            ));
        }
    }
}

fn header_manipulation(field: &str, headers: &HeaderManipulation, problems: &mut Vec<Problem>) {
    for (list, entries, request) in [
        ("requestHeadersToAdd", &headers.request_headers_to_add, true),
        ("responseHeadersToAdd", &headers.response_headers_to_add, false),
    ] {
        for (index, entry) in entries.iter().enumerate() {
            header_to_add(&format!("{field}.{list}[{index}]"), entry, request, problems);
        }
    }
    for (list, names) in [
        ("requestHeadersToRemove", &headers.request_headers_to_remove),
        ("responseHeadersToRemove", &headers.response_headers_to_remove),
    ] {
        for (index, name) in names.iter().enumerate() {
            if let Err(why) = header::changeable(name) {
                problems.push(Problem::error(format!("{field}.{list}[{index}]"), why));
            }
        }
    }
}

fn header_to_add(field: &str, entry: &HeaderAppend, _request: bool, problems: &mut Vec<Problem>) {
    if entry.header_secret_ref.is_some() {
        problems.push(Problem::error(format!("{field}.headerSecretRef"), "headerSecretRef is not supported yet"));
    }
    match &entry.header {
        None if entry.header_secret_ref.is_none() => {
            problems.push(Problem::error(format!("{field}.header"), "missing: write key and value"));
        }
        None => {}
        Some(header) => {
            if let Err(why) = header::changeable(&header.key) {
                problems.push(Problem::error(format!("{field}.header.key"), why));
            }
            if !header::is_value(&header.value) {
                problems.push(Problem::error(format!("{field}.header.value"), "holds control characters"));
            } else if let Err(why) = header::formats(&header.value) {
                problems.push(Problem::error(format!("{field}.header.value"), why));
            }
        }
    }
}

fn retries(field: &str, retries: &Retries, problems: &mut Vec<Problem>) {
    if retries.previous_priorities.is_some() {
        problems.push(Problem::error(format!("{field}.previousPriorities"), "not supported yet"));
    }
    if retries.rate_limited_retry_back_off.is_some() {
        problems.push(Problem::error(format!("{field}.rateLimitedRetryBackOff"), "not supported yet"));
    }
    if retries.retry_on.is_empty() {
        problems.push(Problem::error(format!("{field}.retryOn"), "missing: nothing would be retried"));
    }
    for condition in retries.retry_on.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        if !RETRY_ON.contains(&condition) {
            problems.push(Problem::error(
                format!("{field}.retryOn"),
                format!("{condition:?} is not a retry condition; write one of {}", RETRY_ON.join(", ")),
            ));
        }
    }
    for (index, code) in retries.retriable_status_codes.iter().enumerate() {
        if !(100..600).contains(code) {
            problems.push(Problem::error(format!("{field}.retriableStatusCodes[{index}]"), "not an HTTP status"));
        }
    }
    if let Some(back_off) = &retries.retry_back_off {
        let base = back_off.base_interval.map(|d| d.0);
        if base.is_none_or(|base| base.as_millis() == 0) {
            problems.push(Problem::error(format!("{field}.retryBackOff.baseInterval"), "write at least 1ms"));
        } else if back_off.max_interval.map(|d| d.0).is_some_and(|max| base.is_some_and(|base| max < base)) {
            problems.push(Problem::error(format!("{field}.retryBackOff.maxInterval"), "is less than baseInterval"));
        }
    }
}

fn cors(field: &str, cors: &Cors, problems: &mut Vec<Problem>) {
    for (index, pattern) in cors.allow_origin_regex.iter().enumerate() {
        if let Err(error) = regex::Regex::new(pattern) {
            problems.push(Problem::error(
                format!("{field}.allowOriginRegex[{index}]"),
                format!("not a regular expression: {}", error.to_string().lines().last().unwrap_or_default()),
            ));
        }
    }
    for (index, origin) in cors.allow_origin.iter().enumerate() {
        if origin.is_empty() {
            problems.push(Problem::error(format!("{field}.allowOrigin[{index}]"), "empty; write an origin or *"));
        }
    }
    let lists = cors.allow_methods.iter().chain(&cors.allow_headers).chain(&cors.expose_headers);
    if lists.into_iter().any(|item| !header::is_value(item)) {
        problems.push(Problem::error(field, "a method or header holds control characters"));
    }
    if let Err(why) = cors.max_age_seconds() {
        problems.push(Problem::error(format!("{field}.maxAge"), why));
    }
}

fn faults(field: &str, faults: &Faults, problems: &mut Vec<Problem>) {
    let percentage = |field: String, value: f64, problems: &mut Vec<Problem>| {
        if !(0.0..=100.0).contains(&value) {
            problems.push(Problem::error(field, "a percentage lies between 0 and 100"));
        }
    };
    if let Some(abort) = &faults.abort {
        percentage(format!("{field}.abort.percentage"), abort.percentage, problems);
        if !(200..600).contains(&abort.http_status) {
            problems.push(Problem::error(format!("{field}.abort.httpStatus"), "write a status from 200 to 599"));
        }
    }
    if let Some(delay) = &faults.delay {
        percentage(format!("{field}.delay.percentage"), delay.percentage, problems);
        if delay.fixed_delay.is_none_or(|delay| delay.0.as_millis() == 0) {
            problems.push(Problem::error(format!("{field}.delay.fixedDelay"), "write a duration, e.g. \"2s\""));
        }
    }
}
