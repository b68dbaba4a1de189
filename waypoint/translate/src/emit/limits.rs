//! Rate-limit actions in Envoy's words.
//!
//! A descriptor begins with the id of its RateLimitConfig; in set style the
//! marker follows, and headers that are absent are left out rather than
//! dropping the descriptor.

use api::gloo::rate_limit_config::{
    Action, ActionKind, HeaderMatcher, LimitOverride, MatchHow, MetadataKey, MetadataSource, SET_DESCRIPTOR_MARKER,
};
use api::gloo::route_option::basic::{ANONYMOUS, AUTHENTICATED, USER};
use serde_json::{Value, json};

use super::names::USER_ID;
use crate::ir::{BasicLimit, Limit, Policy, Stage};

/// The number by which Envoy's filters and `rate_limits` find each other.
pub fn number(stage: Stage) -> u32 {
    match stage {
        Stage::Regular => 0,
        // As Gloo numbers limits before authorization.
        Stage::Early => 3,
    }
}

/// Whether requests under `policy` are described to the rate-limit service at `stage`.
pub fn asked_for(policy: &Policy, stage: Stage) -> bool {
    policy.limits.iter().any(|limit| limit.stage == stage && !limit.actions.is_empty())
        || stage == Stage::Regular && policy.basic.is_some()
}

/// Envoy's `rate_limits` of a route with `policy`.
pub fn rate_limits(policy: &Policy) -> Vec<Value> {
    let mut out: Vec<Value> = policy.limits.iter().flat_map(described).collect();
    out.extend(policy.basic.iter().flat_map(|basic| by_caller(basic, policy.auth.is_some())));
    out
}

fn described(limit: &Limit) -> Vec<Value> {
    let mut out = Vec::new();
    for described in &limit.actions {
        let own = generic_key(&limit.config_id);
        if !described.actions.is_empty() {
            let mut actions = vec![own.clone()];
            actions.extend(described.actions.iter().filter_map(|written| action(written, false)));
            out.push(entry(limit.stage, actions, described.limit.as_ref()));
        }
        if !described.set_actions.is_empty() {
            let mut actions = vec![own, generic_key(SET_DESCRIPTOR_MARKER)];
            actions.extend(described.set_actions.iter().filter_map(|written| action(written, true)));
            out.push(entry(limit.stage, actions, described.limit.as_ref()));
        }
    }
    out
}

/// Users are told apart by the header that authorization sets, and cleans of what callers wrote.
/// Where nobody is asked who they are nobody is known, whatever the header says.
fn by_caller(basic: &BasicLimit, asked: bool) -> Vec<Value> {
    let known = json!([{"name": USER_ID, "present_match": true}]);
    let mut out = Vec::new();
    if basic.authorized && asked {
        out.push(vec![
            generic_key(&basic.id),
            json!({"header_value_match": {"descriptor_value": AUTHENTICATED, "headers": known}}),
            json!({"request_headers": {"header_name": USER_ID, "descriptor_key": USER}}),
        ]);
    }
    if basic.anonymous {
        let unknown = match asked {
            true => json!({"descriptor_value": ANONYMOUS, "expect_match": false, "headers": known}),
            false => json!({"descriptor_value": ANONYMOUS, "headers": [{"name": ":path", "present_match": true}]}),
        };
        let unknown = json!({"header_value_match": unknown});
        out.push(vec![generic_key(&basic.id), unknown, json!({"remote_address": {}})]);
    }
    out.into_iter().map(|actions| entry(Stage::Regular, actions, None)).collect()
}

fn entry(stage: Stage, actions: Vec<Value>, limit: Option<&LimitOverride>) -> Value {
    let mut fields = json!({"actions": actions});
    if number(stage) != 0 {
        fields["stage"] = json!(number(stage));
    }
    if let Some(dynamic) = limit.and_then(|limit| limit.dynamic_metadata.as_ref()) {
        fields["limit"] = json!({"dynamic_metadata": {"metadata_key": metadata_key(&dynamic.metadata_key)}});
    }
    fields
}

fn generic_key(value: &str) -> Value {
    json!({"generic_key": {"descriptor_value": value}})
}

/// Admission has seen to it that an action asks for exactly one thing.
fn action(written: &Action, set: bool) -> Option<Value> {
    Some(match written.kind()? {
        ActionKind::SourceCluster => json!({"source_cluster": {}}),
        ActionKind::DestinationCluster => json!({"destination_cluster": {}}),
        ActionKind::RemoteAddress => json!({"remote_address": {}}),
        ActionKind::GenericKey(key) => generic_key(&key.descriptor_value),
        ActionKind::RequestHeaders(header) => {
            let mut fields = json!({"header_name": header.header_name, "descriptor_key": header.descriptor_key});
            if set {
                fields["skip_if_absent"] = json!(true);
            }
            json!({"request_headers": fields})
        }
        ActionKind::HeaderValueMatch(header) => {
            let headers: Vec<Value> = header.headers.iter().map(header_matcher).collect();
            let mut fields = json!({"descriptor_value": header.descriptor_value, "headers": headers});
            if header.expect_match == Some(false) {
                fields["expect_match"] = json!(false);
            }
            json!({"header_value_match": fields})
        }
        ActionKind::Metadata(metadata) => {
            let mut fields = json!({
                "descriptor_key": metadata.descriptor_key,
                "metadata_key": metadata_key(&metadata.metadata_key),
            });
            if !metadata.default_value.is_empty() {
                fields["default_value"] = json!(metadata.default_value);
            }
            if metadata.source == MetadataSource::RouteEntry {
                fields["source"] = json!("ROUTE_ENTRY");
            }
            json!({"metadata": fields})
        }
        ActionKind::Cel => return None,
    })
}

fn metadata_key(key: &MetadataKey) -> Value {
    let path: Vec<Value> = key.path.iter().map(|segment| json!({"key": segment.key})).collect();
    json!({"key": key.key, "path": path})
}

fn header_matcher(written: &HeaderMatcher) -> Value {
    let mut fields = json!({"name": written.name});
    match written.how().unwrap_or(MatchHow::Present(true)) {
        MatchHow::Exact(value) => fields["string_match"] = json!({"exact": value}),
        MatchHow::Regex(value) => fields["string_match"] = json!({"safe_regex": {"regex": value}}),
        MatchHow::Prefix(value) => fields["string_match"] = json!({"prefix": value}),
        MatchHow::Suffix(value) => fields["string_match"] = json!({"suffix": value}),
        MatchHow::Range(range) => {
            fields["range_match"] = json!({"start": range.start.to_string(), "end": range.end.to_string()});
        }
        MatchHow::Present(present) => fields["present_match"] = json!(present),
    }
    if written.invert_match {
        fields["invert_match"] = json!(true);
    }
    fields
}
