//! What the stories share: configs from YAML, requests in a line, a clock moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{Object, Snapshot};
use proto::envoy::extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use ratelimit::limit::{Moment, UnixSecs};
use ratelimit::rules::config::{Scope, WeightScope};
use ratelimit::server::Clock;

#[derive(Debug, Clone)]
pub struct HandClock(pub Arc<AtomicU64>);

impl HandClock {
    pub fn at(secs: u64) -> Self {
        Self(Arc::new(AtomicU64::new(secs)))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        UnixSecs(self.0.load(Ordering::SeqCst)).into()
    }
}

pub fn scope() -> Scope {
    Scope { domains: Arc::from([Box::from("solo.io"), Box::from("crd")]), weights: WeightScope::Config }
}

/// The RateLimitConfigs in `yaml`, as a provider would hand them over.
pub fn snapshot(yaml: &str) -> Snapshot {
    Snapshot::of(&waykeeper_tests::manifests::documents(yaml))
}

/// A snapshot of one config `ns.limits` with this `raw`.
pub fn of_raw(raw: serde_json::Value) -> Snapshot {
    let document = serde_json::json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig",
        "metadata": {"name": "limits", "namespace": "ns"}, "spec": {"raw": raw}});
    let admission = api::admit(&document);
    assert!(!admission.rejected(), "{:?}", admission.problems);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    let object: Object = admission.object.unwrap();
    snapshot.insert(object);
    snapshot
}

/// `"a=1, b=2"` as a descriptor of the config `id`.
pub fn descriptor(id: &str, set: bool, entries: &str) -> RateLimitDescriptor {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let mut all = vec![entry("generic_key", id)];
    if set {
        all.push(entry("generic_key", "solo.setDescriptor.uniqueValue"));
    }
    for one in entries.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let (key, value) = one.split_once('=').unwrap();
        all.push(entry(key, value));
    }
    RateLimitDescriptor { entries: all, ..Default::default() }
}

pub fn request(descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
    RateLimitRequest { domain: "solo.io".to_owned(), descriptors, hits_addend: 0 }
}
