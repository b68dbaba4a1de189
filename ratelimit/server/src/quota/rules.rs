//! The limits that govern a bucket.

use api::gloo::rate_limit_config::SET_DESCRIPTOR_MARKER;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;

use super::Bucket;
use limit::{CounterId, Limit, UnixSecs};
use rules::config::index::Index;
use rules::plan::plan;
use rules::request::Request;

/// What governs a bucket; none where nothing may be said of it.
pub(super) fn governing(
    index: &Index,
    domain: &str,
    bucket: &Bucket,
    now: UnixSecs,
) -> Option<Vec<(CounterId, Limit)>> {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let mut entries = vec![entry("generic_key", bucket.get("config")?), entry("generic_key", SET_DESCRIPTOR_MARKER)];
    let own = bucket.iter().filter(|(key, _)| *key != "config");
    entries.extend(own.map(|(key, value)| entry(key, value)));
    let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
    let message = RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 1 };
    let request = Request::read(&message).ok()?;
    let plan = plan(index, &request, now);
    plan.domain?;
    // Unknown or unusable: what happens then is its owner's to choose, as `no_assignment_behavior`.
    if plan.outcomes.first().is_none_or(|outcome| outcome.is_refused()) {
        return None;
    }
    let enforced = plan.counted.iter().filter(|counted| !counted.rule.shadow);
    Some(enforced.map(|counted| (counted.counter, counted.limit)).collect())
}
