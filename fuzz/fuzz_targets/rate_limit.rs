//! Never: a request that panics, or an answer without exactly one status for each descriptor.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3 as pb;
use ratelimit::limit::UnixSecs;
use ratelimit::rules::config::{Configs, Index, Scope, WeightScope};
use ratelimit::rules::decide::decide;
use ratelimit::rules::plan::{Outcome, plan};
use ratelimit::rules::request::Request;
use waykeeper_fuzz::{documents, snapshot};

const MANIFESTS: &str = "
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {name: tree}
spec: {raw: {descriptors: [
  {key: a, rateLimit: {requestsPerUnit: 1, unit: MINUTE}, alwaysApply: true, descriptors: [
    {key: b, value: x, weight: 1, rateLimit: {requestsPerUnit: 10, unit: DAY}}]},
  {key: a, value: y, weight: 2, rateLimit: {requestsPerUnit: 4294967295, unit: SECOND}}]}}
---
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {name: sets}
spec: {raw: {setDescriptors: [
  {simpleDescriptors: [{key: a}, {key: b, value: x}], rateLimit: {requestsPerUnit: 1, unit: HOUR}},
  {simpleDescriptors: [{key: a}], rateLimit: {requestsPerUnit: 2, unit: MINUTE}, alwaysApply: true}]}}
";

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let snapshot = snapshot(&documents(MANIFESTS.as_bytes()));
    let scope = Scope { domains: Arc::from(["solo.io".into()]), weights: WeightScope::default() };
    let outcome = Configs::new(scope).update(&snapshot);
    assert!(outcome.refused == 0 && snapshot.rate_limit_configs.len() == 2, "the fixture is wrong");
    outcome.index
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut message) = pb::RateLimitRequest::decode(bytes) else { return };
    judge(&message, bytes);
    // The route names domain and config; what follows is the client's.
    message.domain = "solo.io".to_owned();
    for prefix in [&["default.tree"][..], &["default.sets", "solo.setDescriptor.uniqueValue"]] {
        let mut addressed = message.clone();
        for descriptor in &mut addressed.descriptors {
            let entries = prefix.iter().map(|value| Entry { key: "generic_key".into(), value: (*value).into() });
            descriptor.entries.splice(0..0, entries);
        }
        judge(&addressed, bytes);
    }
});

fn judge(message: &pb::RateLimitRequest, bytes: &[u8]) {
    let Ok(request) = Request::read(message) else { return };
    let now = UnixSecs(1_700_000_000);
    let plan = plan(&INDEX, &request, now);
    let counts: Vec<u64> = plan.hits().iter().zip(bytes.iter().cycle()).map(|(_, byte)| u64::from(*byte)).collect();
    let response = decide(&plan, &counts, request.domain, now);
    assert_eq!(response.statuses.len(), message.descriptors.len());
    assert_eq!(plan.outcomes.len(), message.descriptors.len());
    assert_eq!(response.over, response.statuses.iter().any(|status| status.over));
    for (number, (outcome, status)) in plan.outcomes.iter().zip(&response.statuses).enumerate() {
        let counted = plan.counted.iter().any(|counted| counted.descriptor == number);
        assert_eq!(counted, *outcome == Outcome::Limited, "descriptor {number} of {message:?}");
        assert_eq!(counted, status.tightest.is_some(), "descriptor {number} of {message:?}");
    }
}
