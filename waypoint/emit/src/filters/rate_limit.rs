//! Describes requests to the rate-limit service and asks it whether there is room for them.
//!
//! The filter stands in a chain twice, before and after authorization; a
//! route's descriptors say by a number which of the two sends them.

use ir::{Descriptor, Entry, HeaderCondition, HeaderTest, MetadataPath, MetadataSource, Policy, Settings, Stage};
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::{clusters, duration, packed};

/// The cluster of the rate-limit service.
const CLUSTER: &str = "ratelimit";

/// Rate limits at one stage.
#[derive(Debug)]
pub struct RateLimit(pub Stage);

impl HttpFilter for RateLimit {
    fn name(&self) -> &'static str {
        match self.0 {
            Stage::Early => "envoy.filters.http.ratelimit.early",
            Stage::Regular => "envoy.filters.http.ratelimit",
        }
    }

    fn chain(&self, settings: &Settings) -> Option<InChain> {
        settings.ratelimit.as_ref()?;
        let limits = &settings.limits;
        let mut fields = json!({
            "domain": ir::contract::DOMAIN,
            "stage": number(self.0),
            "timeout": duration(limits.timeout),
            // Unless the operator says otherwise it fails open: no answer is no limit.
            "failure_mode_deny": limits.deny_on_fail,
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}},
            },
        });
        if limits.headers {
            fields["enable_x_ratelimit_headers"] = json!("DRAFT_VERSION_03");
        }
        InChain::off("envoy.extensions.filters.http.ratelimit.v3.RateLimit", fields)
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        policy.limits.iter().find(|limit| limit.stage == self.0)?;
        Some(packed("envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute", json!({})))
    }

    fn clusters(&self, settings: &Settings) -> Vec<(&'static str, Value)> {
        settings.ratelimit.iter().map(|target| (CLUSTER, clusters::service(CLUSTER, target))).collect()
    }
}

/// The number by which Envoy's filters and `rate_limits` find each other.
fn number(stage: Stage) -> u32 {
    match stage {
        Stage::Regular => 0,
        // As Gloo numbers limits before authorization.
        Stage::Early => 3,
    }
}

/// Envoy's `rate_limits` of a route with `policy`.
pub fn rate_limits(policy: &Policy) -> Vec<Value> {
    policy.limits.iter().map(descriptor).collect()
}

fn descriptor(descriptor: &Descriptor) -> Value {
    let mut fields = json!({"actions": descriptor.entries.iter().map(action).collect::<Vec<_>>()});
    if number(descriptor.stage) != 0 {
        fields["stage"] = json!(number(descriptor.stage));
    }
    if let Some(path) = &descriptor.limit_from {
        fields["limit"] = json!({"dynamic_metadata": {"metadata_key": metadata_key(path)}});
    }
    fields
}

fn action(entry: &Entry) -> Value {
    match entry {
        Entry::Constant(value) => json!({"generic_key": {"descriptor_value": value}}),
        Entry::Named { key, value } => json!({"generic_key": {"descriptor_key": key, "descriptor_value": value}}),
        Entry::SourceCluster => json!({"source_cluster": {}}),
        Entry::DestinationCluster => json!({"destination_cluster": {}}),
        Entry::RemoteAddress => json!({"remote_address": {}}),
        Entry::RemoteNetwork { v4, v6 } => {
            json!({"masked_remote_address": {"v4_prefix_mask_len": v4, "v6_prefix_mask_len": v6}})
        }
        Entry::Parameter { name, key, optional } => {
            json!({"query_parameters": {
                "query_parameter_name": name, "descriptor_key": key, "skip_if_absent": optional,
            }})
        }
        Entry::Header { name, key, optional } => {
            json!({"request_headers": {"header_name": name, "descriptor_key": key, "skip_if_absent": optional}})
        }
        Entry::HeadersMatch { value, headers, expect } => {
            let headers: Vec<Value> = headers.iter().map(header_matcher).collect();
            let mut fields = json!({"descriptor_value": value, "headers": headers});
            if !expect {
                fields["expect_match"] = json!(false);
            }
            json!({"header_value_match": fields})
        }
        Entry::Metadata { key, path, default, source } => {
            let path = metadata_key(path);
            let mut fields = json!({"descriptor_key": key, "metadata_key": path, "default_value": default});
            if *source == MetadataSource::Route {
                fields["source"] = json!("ROUTE_ENTRY");
            }
            json!({"metadata": fields})
        }
    }
}

fn metadata_key(path: &MetadataPath) -> Value {
    let segments: Vec<Value> = path.path.iter().map(|key| json!({"key": key})).collect();
    json!({"key": path.namespace, "path": segments})
}

fn header_matcher(condition: &HeaderCondition) -> Value {
    let mut fields = json!({"name": condition.name});
    match &condition.test {
        HeaderTest::Exact(value) => fields["string_match"] = json!({"exact": value}),
        HeaderTest::Regex(value) => fields["string_match"] = json!({"safe_regex": {"regex": value}}),
        HeaderTest::Prefix(value) => fields["string_match"] = json!({"prefix": value}),
        HeaderTest::Suffix(value) => fields["string_match"] = json!({"suffix": value}),
        HeaderTest::Range(start, end) => {
            fields["range_match"] = json!({"start": start.to_string(), "end": end.to_string()});
        }
        HeaderTest::Present(present) => fields["present_match"] = json!(present),
    }
    if condition.invert {
        fields["invert_match"] = json!(true);
    }
    fields
}
