//! `rateLimits`: what Envoy would refuse, or would silently never send.

use super::{MOST_LEVELS, at_most, bounded, contradict, reach, required};
use crate::envoy::Checks;
use crate::gloo::rate_limit_config::{
    Action, ActionKind, HeaderMatcher, HeaderValueMatch, LimitType, MOST_CLIENT_VALUES, MOST_RATE_LIMITS, MatchHow,
    MetadataKey, RateLimitActions, Raw,
};
use crate::header;
use crate::problem::Problem;

/// Metadata paths longer than this are refused.
const MOST_PATH: usize = 16;
/// Headers in one match.
const MOST_HEADERS: usize = 16;

/// All `rateLimits` of an object.
pub(super) fn rate_limits(raw: &Raw, problems: &mut Vec<Problem>) {
    let root = "spec.raw.rateLimits";
    at_most(raw.rate_limits.len(), MOST_RATE_LIMITS, root, problems);
    for (index, entry) in raw.rate_limits.iter().enumerate().take(MOST_RATE_LIMITS) {
        let at = format!("{root}[{index}]");
        one(entry, &at, problems);
        if !entry.actions.is_empty() && raw.descriptors.is_empty() {
            problems.push(Problem::warning(
                format!("{at}.actions"),
                "feeds rules under descriptors, and there are none; for setDescriptors write setActions",
            ));
        }
        if !entry.set_actions.is_empty() && raw.set_descriptors.is_empty() {
            problems.push(Problem::warning(
                format!("{at}.setActions"),
                "feeds rules under setDescriptors, and there are none; for descriptors write actions",
            ));
        }
    }
    expressions(raw, problems);
    let fed = |list: fn(&RateLimitActions) -> &Vec<Action>| raw.rate_limits.iter().any(|entry| !list(entry).is_empty());
    if !raw.descriptors.is_empty() && !fed(|entry| &entry.actions) {
        problems.push(Problem::warning(
            "spec.raw.descriptors",
            "no rateLimits entry has actions, so no request is ever described in these rules' words",
        ));
    }
    if !raw.set_descriptors.is_empty() && !fed(|entry| &entry.set_actions) {
        problems.push(Problem::warning(
            "spec.raw.setDescriptors",
            "no rateLimits entry has setActions, so no request is ever described in these rules' words",
        ));
    }
    let values = raw.client_values();
    if values > MOST_CLIENT_VALUES {
        problems.push(Problem::error(
            root,
            format!(
                "{values} of the actions copy what clients send; at most {MOST_CLIENT_VALUES} are allowed, or one long \
                 header would make a request larger than the rate-limit service takes"
            ),
        ));
    }
    if !crate::problem::has_errors(problems) {
        reach::unreached(raw, problems);
    }
}

/// Every regular expression of the object, at the cost of one budget.
fn expressions(raw: &Raw, problems: &mut Vec<Problem>) {
    let mut checks = Checks::default();
    for (index, entry) in raw.rate_limits.iter().enumerate().take(MOST_RATE_LIMITS) {
        for (list, actions) in [("actions", &entry.actions), ("setActions", &entry.set_actions)] {
            for (at, action) in actions.iter().enumerate().take(MOST_LEVELS) {
                let Some(ActionKind::HeaderValueMatch(matches)) = action.kind() else { continue };
                for (header, matcher) in matches.headers.iter().enumerate().take(MOST_HEADERS) {
                    if let Some(MatchHow::Regex(pattern)) = matcher.how() {
                        let at =
                            format!("spec.raw.rateLimits[{index}].{list}[{at}].headerValueMatch.headers[{header}]");
                        checks.regex(&format!("{at}.regexMatch"), pattern);
                    }
                }
            }
        }
    }
    problems.extend(checks.problems);
}

fn one(entry: &RateLimitActions, at: &str, problems: &mut Vec<Problem>) {
    if entry.actions.is_empty() && entry.set_actions.is_empty() {
        problems.push(Problem::error(at, "has neither actions nor setActions; write one of them"));
    }
    for (name, list) in [("actions", &entry.actions), ("setActions", &entry.set_actions)] {
        at_most(list.len(), MOST_LEVELS, format!("{at}.{name}"), problems);
        // What may be absent leaves its place to the next.
        let first = list.iter().take_while(|action| may_be_absent(action)).count();
        for (index, item) in list.iter().enumerate().take(MOST_LEVELS) {
            let at = format!("{at}.{name}[{index}]");
            action(item, &at, problems);
            if name == "actions" && index <= first {
                not_to_be_mistaken(item, &at, problems);
            }
        }
    }
    for (name, list) in [("actions", &entry.actions), ("setActions", &entry.set_actions)] {
        contradict::contradictory(list, &format!("{at}.{name}"), problems);
    }
    if let Some(limit) = &entry.limit {
        match &limit.dynamic_metadata {
            None => problems.push(Problem::error(
                format!("{at}.limit.dynamicMetadata"),
                "missing; write the metadataKey to read the limit from",
            )),
            Some(place) => {
                metadata_key(&place.metadata_key, &format!("{at}.limit.dynamicMetadata.metadataKey"), problems);
            }
        }
    }
    if entry.kind == LimitType::Token {
        problems.push(Problem::error(format!("{at}.type"), "TOKEN cannot be counted by Envoy; write REQUEST"));
    }
}

fn may_be_absent(action: &Action) -> bool {
    match action.kind() {
        Some(ActionKind::RequestHeaders(headers)) => headers.skip_if_absent,
        Some(ActionKind::QueryParameters(query)) => query.skip_if_absent,
        _ => false,
    }
}

/// The entry after the object's own name tells set style from tree style by a reserved
/// value: what a client sends must not stand there under the same key.
fn not_to_be_mistaken(action: &Action, at: &str, problems: &mut Vec<Problem>) {
    let (field, key) = match action.kind() {
        Some(ActionKind::RequestHeaders(headers)) => ("requestHeaders", &headers.descriptor_key),
        Some(ActionKind::QueryParameters(query)) => ("queryParameters", &query.descriptor_key),
        Some(ActionKind::Metadata(metadata)) => ("metadata", &metadata.descriptor_key),
        _ => return,
    };
    if key == "generic_key" {
        problems.push(Problem::error(
            format!("{at}.{field}.descriptorKey"),
            "generic_key may not be the first key when its value comes from the request; write another key",
        ));
    }
}

fn action(action: &Action, at: &str, problems: &mut Vec<Problem>) {
    let kinds = action.kinds();
    let astray = action.astray();
    if !astray.is_empty() {
        let fields = astray.join(" and ");
        problems.push(Problem::error(
            format!("{at}.{}", astray.first().copied().unwrap_or_default()),
            format!(
                "{fields} belongs inside the action, e.g. genericKey or requestHeaders, and stands beside it: indent it \
                 by two more spaces"
            ),
        ));
    }
    match kinds.as_slice() {
        [] if !astray.is_empty() => {}
        [] => problems.push(Problem::error(
            at,
            "Unknown action type: write one of sourceCluster, destinationCluster, requestHeaders, queryParameters, \
             remoteAddress, maskedRemoteAddress, genericKey, headerValueMatch or metadata",
        )),
        [kind] => one_kind(*kind, &format!("{at}.{}", kind.field()), problems),
        several => {
            let fields: Vec<_> = several.iter().map(ActionKind::field).collect();
            problems.push(Problem::error(
                at,
                format!("has {} at once; write each as an item of its own", fields.join(" and ")),
            ));
        }
    }
}

fn one_kind(kind: ActionKind<'_>, at: &str, problems: &mut Vec<Problem>) {
    match kind {
        ActionKind::SourceCluster | ActionKind::DestinationCluster | ActionKind::RemoteAddress => {}
        ActionKind::RequestHeaders(headers) => {
            header_name(&headers.header_name, format!("{at}.headerName"), problems);
            required(&headers.descriptor_key, format!("{at}.descriptorKey"), "the entry's key", problems);
        }
        ActionKind::QueryParameters(query) => {
            let name = &query.query_parameter_name;
            required(name, format!("{at}.queryParameterName"), "the name of a parameter", problems);
            required(&query.descriptor_key, format!("{at}.descriptorKey"), "the entry's key", problems);
        }
        ActionKind::MaskedRemoteAddress(masked) => {
            let lengths = [("v4PrefixMaskLen", masked.v4_prefix_mask_len, 32), ("v6PrefixMaskLen", masked.v6_prefix_mask_len, 128)];
            for (field, length, most) in lengths {
                if length.is_some_and(|length| length > most) {
                    problems.push(Problem::error(format!("{at}.{field}"), format!("write a number from 0 to {most}")));
                }
            }
        }
        ActionKind::GenericKey(generic) => {
            bounded(&generic.descriptor_key, format!("{at}.descriptorKey"), problems);
            required(&generic.descriptor_value, format!("{at}.descriptorValue"), "the entry's value", problems);
        }
        ActionKind::HeaderValueMatch(matches) => header_value_match(matches, at, problems),
        ActionKind::Metadata(metadata) => {
            required(&metadata.descriptor_key, format!("{at}.descriptorKey"), "the entry's key", problems);
            metadata_key(&metadata.metadata_key, &format!("{at}.metadataKey"), problems);
            bounded(&metadata.default_value, format!("{at}.defaultValue"), problems);
        }
        ActionKind::Cel => problems.push(Problem::error(
            at,
            "Unknown action type: cel is not supported by Envoy's rate limits; use requestHeaders, headerValueMatch or metadata",
        )),
    }
}

fn header_value_match(matches: &HeaderValueMatch, at: &str, problems: &mut Vec<Problem>) {
    required(&matches.descriptor_value, format!("{at}.descriptorValue"), "the entry's value", problems);
    if matches.headers.is_empty() {
        problems.push(Problem::error(format!("{at}.headers"), "missing or empty; write at least one header to match"));
    }
    at_most(matches.headers.len(), MOST_HEADERS, format!("{at}.headers"), problems);
    for (index, header) in matches.headers.iter().enumerate().take(MOST_HEADERS) {
        header_matcher(header, &format!("{at}.headers[{index}]"), problems);
    }
}

fn header_matcher(header: &HeaderMatcher, at: &str, problems: &mut Vec<Problem>) {
    header_name(&header.name, format!("{at}.name"), problems);
    match header.how() {
        None => problems.push(Problem::error(at, "has several kinds of match at once; write one")),
        Some(MatchHow::Range(range)) if range.start >= range.end => {
            problems.push(Problem::error(
                format!("{at}.rangeMatch"),
                format!("no number is from {} up to, not including, {}; write a greater end", range.start, range.end),
            ));
        }
        Some(MatchHow::Prefix("")) => {
            problems.push(Problem::error(format!("{at}.prefixMatch"), "empty; write presentMatch: true for any value"));
        }
        Some(MatchHow::Suffix("")) => {
            problems.push(Problem::error(format!("{at}.suffixMatch"), "empty; write presentMatch: true for any value"));
        }
        Some(_) => {}
    }
}

fn metadata_key(key: &MetadataKey, at: &str, problems: &mut Vec<Problem>) {
    required(&key.key, format!("{at}.key"), "the namespace of a filter", problems);
    if key.path.is_empty() {
        problems.push(Problem::error(format!("{at}.path"), "missing or empty; write the keys that lead to the value"));
    }
    at_most(key.path.len(), MOST_PATH, format!("{at}.path"), problems);
    for (index, segment) in key.path.iter().enumerate().take(MOST_PATH) {
        required(&segment.key, format!("{at}.path[{index}].key"), "a key", problems);
    }
}

/// A header that Envoy takes, pseudo headers such as `:path` among them.
fn header_name(name: &str, field: String, problems: &mut Vec<Problem>) {
    let token = name.strip_prefix(':').unwrap_or(name);
    let valid = token.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if token.is_empty() {
        problems.push(Problem::error(field, "missing or empty; write the name of a header"));
    } else if !valid || name.len() > 256 {
        problems.push(Problem::error(field, format!("{name:?} is not the name of a header")));
    } else if let Err(why) = header::reserved(name) {
        problems.push(Problem::error(field, why));
    }
}
