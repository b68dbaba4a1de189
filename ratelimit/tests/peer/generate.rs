//! Random files, and requests that have a good chance of meeting their rules.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{Entry, RateLimitOverride};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use proto::google::protobuf::UInt64Value;
use ratelimit::dropin::yaml::{Descriptor, Document, RateLimit, Replaces};

/// What requests may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    Everything,
    NoOverrides,
}

const KEYS: [&str; 3] = ["a", "b", "key"];
const VALUES: [&str; 7] = ["", "x", "y", "foo1", "foo2", "food", "10.0.0.1"];
const PATTERNS: [&str; 10] = ["", "x", "y", "foo1", "foo*", "foo*", "f*", "*", "10.0.0.1", "z"];
const NAMES: [&str; 4] = ["", "", "one", "two"];

pub struct Generator {
    runner: TestRunner,
    allow: Allow,
    files: BTreeMap<String, (String, i32)>,
}

/// `count` seeds: always the same ones, unless PEER_SEED names the first.
pub fn seeds(count: u64) -> Vec<u64> {
    let first = std::env::var("PEER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    (first..first + count).collect()
}

/// Units whose window does not end while the test runs, by name and number.
fn units() -> Vec<(&'static str, i32)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let day = 24 * 60 * 60;
    [("hour", 3, 3600), ("DAY", 4, day), ("Week", 7, 7 * day), ("month", 5, 30 * day), ("year", 6, 365 * day)]
        .into_iter()
        .filter(|(_, _, length)| now % length < length - 600)
        .map(|(name, number, _)| (name, number))
        .collect()
}

/// A tree; `depth` more levels may follow.
fn descriptors(unit: &'static str, depth: u32) -> BoxedStrategy<Vec<Descriptor>> {
    let children = if depth == 0 { Just(Vec::new()).boxed() } else { descriptors(unit, depth - 1) };
    let one = (
        (select(&KEYS[..]), select(&PATTERNS[..])),
        proptest::option::weighted(0.7, limit(unit)),
        prop_oneof![1 => Just(Vec::new()).boxed(), 1 => children],
        proptest::array::uniform4(proptest::bool::weighted(0.2)),
    );
    let one =
        one.prop_map(|((key, value), rate_limit, descriptors, [shadow, detailed, to_metric, share])| Descriptor {
            key: key.to_owned(),
            value: value.to_owned(),
            rate_limit,
            descriptors,
            shadow_mode: shadow,
            detailed_metric: detailed,
            value_to_metric: to_metric,
            share_threshold: (share || shadow) && value.contains('*'),
            ..Descriptor::default()
        });
    proptest::collection::vec(one, 1..6)
        .prop_map(|all| {
            let mut seen = std::collections::BTreeSet::new();
            all.into_iter().filter(|one| seen.insert((one.key.clone(), one.value.clone()))).collect()
        })
        .boxed()
}

fn limit(unit: &'static str) -> impl Strategy<Value = RateLimit> {
    (0u32..8, proptest::bool::weighted(0.1), select(&NAMES[..]), proptest::bool::weighted(0.2)).prop_map(
        move |(requests, unlimited, name, replaces)| RateLimit {
            unit_multiplier: 0,
            requests_per_unit: if requests == 7 { 50 } else { requests },
            unit: if unlimited { String::new() } else { unit.to_owned() },
            unlimited,
            name: name.to_owned(),
            replaces: if replaces && name != "one" { vec![Replaces { name: "one".to_owned() }] } else { Vec::new() },
        },
    )
}

fn request(domains: Vec<(String, i32)>, allow: Allow) -> impl Strategy<Value = RateLimitRequest> {
    let entry = (select(&KEYS[..]), select(&VALUES[..]))
        .prop_map(|(key, value)| Entry { key: key.to_owned(), value: value.to_owned() });
    let entries = prop_oneof![
        40 => proptest::collection::vec(entry, 1..4),
        1 => Just(Vec::new()),
        1 => Just(vec![Entry { key: String::new(), value: "x".to_owned() }]),
    ];
    let overrides = allow == Allow::Everything;
    let descriptor = (entries, proptest::option::weighted(0.3, 0u64..6), proptest::option::weighted(0.1, 0u32..6));
    let domain = prop_oneof![
        60 => select(domains),
        1 => Just(("unknown".to_owned(), 4)),
        1 => Just((String::new(), 4)),
    ];
    (domain, proptest::collection::vec(descriptor, 0..6), 0u32..4).prop_map(move |((domain, unit), all, hits)| {
        let descriptor = |(entries, hits, limit): (Vec<Entry>, Option<u64>, Option<u32>)| RateLimitDescriptor {
            limit: limit
                .filter(|_| overrides && entries.iter().all(|entry| !entry.key.is_empty()) && !entries.is_empty())
                .map(|requests_per_unit| RateLimitOverride { requests_per_unit, unit }),
            entries,
            hits_addend: hits.map(|value| UInt64Value { value }),
            ..Default::default()
        };
        RateLimitRequest { domain, descriptors: all.into_iter().map(descriptor).collect(), hits_addend: hits }
    })
}

impl Generator {
    pub fn new(seed: u64, allow: Allow) -> Generator {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Generator { runner: TestRunner::new_with_rng(Config::default(), rng), allow, files: BTreeMap::new() }
    }

    /// `count` files, each of a domain of its own, in which all limits are of one unit.
    pub fn files(&mut self, count: usize) -> BTreeMap<String, String> {
        let units = units();
        for number in 0..count {
            let (name, unit) = units[number % units.len()];
            let descriptors = descriptors(name, 2).new_tree(&mut self.runner).unwrap().current();
            let document = Document { domain: format!("d{number}"), descriptors };
            let text = serde_norway::to_string(&document).unwrap();
            self.files.insert(document.domain, (text, unit));
        }
        self.files.iter().map(|(domain, (text, _))| (format!("{domain}.yaml"), text.clone())).collect()
    }

    pub fn request(&mut self) -> RateLimitRequest {
        let domains = self.files.iter().map(|(domain, (_, unit))| (domain.clone(), *unit)).collect();
        request(domains, self.allow).new_tree(&mut self.runner).unwrap().current()
    }

    pub fn file_of(&self, domain: &str) -> &str {
        self.files.get(domain).map_or("", |(text, _)| text)
    }
}

/// The request as proto-JSON.
pub fn json(request: &RateLimitRequest) -> String {
    let descriptors: Vec<_> = request
        .descriptors
        .iter()
        .map(|one| {
            let entries: Vec<_> =
                one.entries.iter().map(|entry| serde_json::json!({"key": entry.key, "value": entry.value})).collect();
            let mut json = serde_json::json!({ "entries": entries });
            if let Some(hits) = &one.hits_addend {
                json["hitsAddend"] = hits.value.to_string().into();
            }
            if let Some(limit) = &one.limit {
                json["limit"] = serde_json::json!({"requestsPerUnit": limit.requests_per_unit, "unit": limit.unit});
            }
            json
        })
        .collect();
    serde_json::json!({"domain": request.domain, "descriptors": descriptors, "hits_addend": request.hits_addend})
        .to_string()
}
