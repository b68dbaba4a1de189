//! What is wrong with a RouteOption taken by itself.

use super::options::{Cors, ExtAuth, Faults, HeaderAppend, HeaderManipulation, RatelimitBasic, Retries};
use super::{RouteOption, RouteOptions, TargetRef};
use crate::envoy::{Checks, MOST_ENTRIES};
use crate::gloo::rate_limit_config::{MOST_REFS, Unit};
use crate::header::{self, HeaderUse};
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

/// Of what is empty and has no meaning so.
const EMPTIED: &str =
    "empty: nothing says what is to be done, or what said it was dropped by the definition of the kind";

/// More would keep a request going for ever.
const MOST_RETRIES: u32 = 1000;

/// What is wrong with `object` taken by itself.
pub fn validate(object: &RouteOption) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, target) in object.spec.target_refs.iter().enumerate() {
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        target_ref(&format!("spec.targetRefs[{index}]"), target, namespace, &mut problems);
    }
    let options = &object.spec.options;
    // A definition that drops fields nobody knows leaves this of one that is written in another way.
    if *options == RouteOptions::default() {
        problems.push(Problem::error("spec.options", format!("{EMPTIED}; write an option, or delete the object")));
    }
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
        if configs.as_ref().is_some_and(|configs| configs.refs.is_empty()) {
            let words = format!("{EMPTIED}; name a RateLimitConfig, or remove {field}");
            problems.push(Problem::error(format!("spec.options.{field}.refs"), words));
        }
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
    let mut checks = Checks::default();
    if let Some(found) = &options.header_manipulation {
        header_manipulation("spec.options.headerManipulation", found, &mut checks);
    }
    if let Some(timeout) = options.timeout {
        checks.duration("spec.options.timeout", timeout);
    }
    if let Some(found) = &options.retries {
        retries("spec.options.retries", found, &mut checks);
    }
    if let Some(found) = &options.cors {
        cors("spec.options.cors", found, &mut checks);
    }
    if let Some(found) = &options.faults {
        faults("spec.options.faults", found, &mut checks);
    }
    if let Some(prefix) = &options.prefix_rewrite {
        checks.new_path("spec.options.prefixRewrite", prefix);
    }
    if let Some(host) = &options.host_rewrite {
        checks.new_host("spec.options.hostRewrite", host);
    }
    problems.extend(checks.problems);
    problems
}

fn target_ref(field: &str, target: &TargetRef, namespace: &str, problems: &mut Vec<Problem>) {
    if target.group != "gateway.networking.k8s.io" {
        problems.push(Problem::error(format!("{field}.group"), "write gateway.networking.k8s.io"));
    }
    if target.name.is_empty() {
        problems.push(Problem::error(format!("{field}.name"), "empty; write the name of a route"));
    }
    if !["HTTPRoute", "GRPCRoute"].contains(&target.kind.as_str()) {
        problems.push(Problem::error(
            format!("{field}.kind"),
            "a RouteOption governs an HTTPRoute or a GRPCRoute; write one of the two",
        ));
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

fn header_manipulation(field: &str, headers: &HeaderManipulation, checks: &mut Checks) {
    for (list, entries) in [
        ("requestHeadersToAdd", &headers.request_headers_to_add),
        ("responseHeadersToAdd", &headers.response_headers_to_add),
    ] {
        checks.at_most(&format!("{field}.{list}"), entries.len(), MOST_ENTRIES);
        for (index, entry) in entries.iter().enumerate().take(MOST_ENTRIES) {
            header_to_add(&format!("{field}.{list}[{index}]"), entry, checks);
        }
    }
    for (list, names, header_use) in [
        ("requestHeadersToRemove", &headers.request_headers_to_remove, HeaderUse::Write),
        ("responseHeadersToRemove", &headers.response_headers_to_remove, HeaderUse::Hide),
    ] {
        checks.at_most(&format!("{field}.{list}"), names.len(), MOST_ENTRIES);
        for (index, name) in names.iter().enumerate().take(MOST_ENTRIES) {
            checks.header_name(&format!("{field}.{list}[{index}]"), name, header_use);
        }
    }
}

fn header_to_add(field: &str, entry: &HeaderAppend, checks: &mut Checks) {
    if entry.header_secret_ref.is_some() {
        checks.error(&format!("{field}.headerSecretRef"), "headerSecretRef is not supported yet");
    }
    match &entry.header {
        None if entry.header_secret_ref.is_none() => {
            checks.error(&format!("{field}.header"), "missing: write key and value");
        }
        None => {}
        Some(header) => {
            checks.header_name(&format!("{field}.header.key"), &header.key, HeaderUse::Write);
            checks.header_format(&format!("{field}.header.value"), &header.value);
        }
    }
}

fn retries(field: &str, retries: &Retries, checks: &mut Checks) {
    if retries.previous_priorities.is_some() {
        checks.error(&format!("{field}.previousPriorities"), "not supported yet");
    }
    if retries.rate_limited_retry_back_off.is_some() {
        checks.error(&format!("{field}.rateLimitedRetryBackOff"), "not supported yet");
    }
    if retries.retry_on.is_empty() {
        checks.error(&format!("{field}.retryOn"), "missing: nothing would be retried");
    }
    for condition in retries.retry_on.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        if !RETRY_ON.contains(&condition) {
            checks.error(
                &format!("{field}.retryOn"),
                format!("{condition:?} is not a retry condition; write one of {}", RETRY_ON.join(", ")),
            );
        }
    }
    if retries.num_retries > MOST_RETRIES {
        checks.error(&format!("{field}.numRetries"), format!("at most {MOST_RETRIES} are allowed"));
    }
    if let Some(per_try) = retries.per_try_timeout {
        checks.duration(&format!("{field}.perTryTimeout"), per_try);
    }
    checks.at_most(&format!("{field}.retriableStatusCodes"), retries.retriable_status_codes.len(), MOST_ENTRIES);
    for (index, code) in retries.retriable_status_codes.iter().enumerate().take(MOST_ENTRIES) {
        if !(100..600).contains(code) {
            checks.error(&format!("{field}.retriableStatusCodes[{index}]"), "not an HTTP status");
        }
    }
    if let Some(back_off) = &retries.retry_back_off {
        let base = back_off.base_interval.map(|d| d.0);
        for (name, pause) in [("baseInterval", back_off.base_interval), ("maxInterval", back_off.max_interval)] {
            if let Some(pause) = pause {
                checks.duration(&format!("{field}.retryBackOff.{name}"), pause);
            }
        }
        if base.is_none_or(|base| base.as_millis() == 0) {
            checks.error(&format!("{field}.retryBackOff.baseInterval"), "write at least 1ms");
        } else if back_off.max_interval.map(|d| d.0).is_some_and(|max| base.is_some_and(|base| max < base)) {
            checks.error(&format!("{field}.retryBackOff.maxInterval"), "is less than baseInterval");
        }
    }
}

fn cors(field: &str, cors: &Cors, checks: &mut Checks) {
    for (name, list) in [
        ("allowOrigin", &cors.allow_origin),
        ("allowOriginRegex", &cors.allow_origin_regex),
        ("allowMethods", &cors.allow_methods),
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ] {
        checks.at_most(&format!("{field}.{name}"), list.len(), MOST_ENTRIES);
        for (index, entry) in list.iter().enumerate().take(MOST_ENTRIES) {
            let field = format!("{field}.{name}[{index}]");
            match name {
                "allowOriginRegex" => checks.regex(&field, entry),
                "allowOrigin" if entry.is_empty() => checks.error(&field, "empty; write an origin or *"),
                "allowOrigin" => checks.header_value(&field, entry),
                // Methods have the characters of header names, and `*` is one of them.
                _ if !header::is_name(entry) => {
                    checks.error(&field, format!("{entry:?} is neither a method nor a header name; write one, or *"));
                }
                "allowHeaders" | "exposeHeaders" => checks.header_mentioned(&field, entry),
                _ => {}
            }
        }
    }
    if let Err(why) = cors.max_age_seconds() {
        checks.error(&format!("{field}.maxAge"), why);
    }
}

fn faults(field: &str, faults: &Faults, checks: &mut Checks) {
    let mut percentage = |field: String, value: f64| {
        if !(0.0..=100.0).contains(&value) {
            checks.error(&field, "a percentage lies between 0 and 100");
        }
    };
    if let Some(abort) = &faults.abort {
        percentage(format!("{field}.abort.percentage"), abort.percentage);
    }
    if let Some(delay) = &faults.delay {
        percentage(format!("{field}.delay.percentage"), delay.percentage);
    }
    if faults.abort.as_ref().is_some_and(|abort| !(200..600).contains(&abort.http_status)) {
        checks.error(&format!("{field}.abort.httpStatus"), "write a status from 200 to 599");
    }
    match faults.delay.as_ref().map(|delay| delay.fixed_delay) {
        None => {}
        Some(Some(fixed)) if fixed.0.as_millis() > 0 => checks.duration(&format!("{field}.delay.fixedDelay"), fixed),
        Some(_) => checks.error(&format!("{field}.delay.fixedDelay"), "write a duration, e.g. \"2s\""),
    }
}
