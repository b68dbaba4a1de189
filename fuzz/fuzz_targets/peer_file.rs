//! Never: a file of envoyproxy/ratelimit's format that panics, or whose rules a request makes panic.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use proto::envoy::extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use ratelimit::dropin::domains::{Content, Sources};
use ratelimit::dropin::plan::plan;
use ratelimit::dropin::stats::Stats;
use ratelimit::limit::UnixSecs;
use ratelimit::rules::explain::ask::Ask;
use ratelimit::rules::request::Request;

fuzz_target!(|text: &str| {
    let mut sources = Sources::new(false, Stats::new());
    let files = BTreeMap::from([("file.yaml".to_owned(), Content::Text(text.into()))]);
    let outcome = sources.update(files);
    // What stands in the file is a good start for what is asked of it.
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let entries = words
        .chunks(2)
        .take(8)
        .map(|pair| Entry { key: pair[0].to_owned(), value: pair.get(1).copied().unwrap_or_default().to_owned() });
    let descriptors = vec![RateLimitDescriptor { entries: entries.collect(), ..Default::default() }];
    let domain = words.get(1).copied().unwrap_or("domain").to_owned();
    let message = RateLimitRequest { domain, descriptors, hits_addend: 1 };
    if let Ok(request) = Request::read_leniently(&message) {
        let _ = plan(&outcome.domains, &request, UnixSecs(1_700_000_000));
    }
    let _ = Ask::of(&[text.to_owned()]);
});
