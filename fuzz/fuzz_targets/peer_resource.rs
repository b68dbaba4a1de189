//! Never: a resource of envoyproxy/ratelimit's configuration over xDS that panics, or whose rules a request makes panic.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use proto::ratelimit::config::ratelimit::v3::RateLimitConfig;
use ratelimit::dropin::domains::{Content, Sources};
use ratelimit::dropin::plan::plan;
use ratelimit::dropin::stats::Stats;
use ratelimit::dropin::xds::document;
use ratelimit::limit::UnixSecs;
use ratelimit::rules::request::Request;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = RateLimitConfig::decode(bytes) else { return };
    let domain = config.domain.clone();
    let entries: Vec<Entry> = config
        .descriptors
        .iter()
        .take(8)
        .map(|descriptor| Entry { key: descriptor.key.clone(), value: descriptor.value.clone() })
        .collect();
    let mut sources = Sources::new(false, Stats::new());
    let content = Content::Decoded(Arc::new(document(config)));
    let outcome = sources.update(BTreeMap::from([("resource".to_owned(), content)]));
    // Each of its own rules, and all of them as one path.
    let mut descriptors: Vec<RateLimitDescriptor> = entries
        .iter()
        .map(|entry| RateLimitDescriptor { entries: vec![entry.clone()], ..Default::default() })
        .collect();
    descriptors.push(RateLimitDescriptor { entries, ..Default::default() });
    let message = RateLimitRequest { domain, descriptors, hits_addend: 1 };
    if let Ok(request) = Request::read_leniently(&message) {
        let _ = plan(&outcome.domains, &request, UnixSecs(1_700_000_000));
    }
});
