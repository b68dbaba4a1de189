//! Answers of the service, in this process, its clock moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{Entry, RateLimitOverride};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use proto::google::protobuf::UInt64Value;
use ratelimit::dropin::answer::Policy;
use ratelimit::dropin::domains::{Content, Sources};
use ratelimit::dropin::exhausted::Exhausted;
use ratelimit::dropin::service::{Failure, Service};
use ratelimit::dropin::stats::Stats;
use ratelimit::limit::{Moment, UnixSecs};
use ratelimit::server::Clock;
use ratelimit::store::{Memory, Store};

#[derive(Debug, Clone)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now(&self) -> Moment {
        UnixSecs(self.0.load(Ordering::SeqCst)).into()
    }
}

struct Story {
    service: Service<Store, HandClock>,
    clock: HandClock,
    stats: Arc<Stats>,
}

impl Story {
    fn of(file: &str, policy: Policy, cache: usize) -> Story {
        let stats = Stats::new();
        let files = BTreeMap::from([("f.yaml".to_owned(), Content::Text(file.into()))]);
        let outcome = Sources::new(false, stats.clone()).update(files);
        let domains = Arc::new(ArcSwap::from_pointee(outcome.domains));
        let clock = HandClock(Arc::new(AtomicU64::new(1_000_000_000)));
        let store = Store::Memory(Arc::new(Memory::new(1000)));
        let exhausted = Exhausted::new(cache).map(Arc::new);
        let service = Service::new(domains, store, clock.clone(), policy, stats.clone(), exhausted);
        Story { service, clock, stats }
    }

    async fn ask(&self, descriptors: Vec<RateLimitDescriptor>) -> Result<RateLimitResponse, Failure> {
        let request = RateLimitRequest { domain: "d".to_owned(), descriptors, hits_addend: 0 };
        self.service.answer(&request).await
    }

    /// The overall code and the descriptors': `o` for OK, `X` for over.
    async fn codes(&self, descriptors: Vec<RateLimitDescriptor>) -> String {
        let response = self.ask(descriptors).await.unwrap();
        let codes = std::iter::once(response.overall_code).chain(response.statuses.iter().map(|status| status.code));
        codes.map(|code| if code == 2 { 'X' } else { 'o' }).collect()
    }

    fn stat(&self, name: &str) -> u64 {
        self.stats.all().into_iter().find(|(known, _)| known.ends_with(name)).map_or(0, |(_, value)| value)
    }
}

/// `"a=1 b=2"`
fn descriptor(text: &str) -> RateLimitDescriptor {
    let entry = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Entry { key: key.to_owned(), value: value.to_owned() }
    };
    RateLimitDescriptor { entries: text.split_whitespace().map(entry).collect(), ..Default::default() }
}

fn hits(text: &str, hits: u64) -> RateLimitDescriptor {
    RateLimitDescriptor { hits_addend: Some(UInt64Value { value: hits }), ..descriptor(text) }
}

fn limited(text: &str, requests_per_unit: u32, unit: i32) -> RateLimitDescriptor {
    RateLimitDescriptor { limit: Some(RateLimitOverride { requests_per_unit, unit }), ..descriptor(text) }
}

const ONE: &str = "domain: d\ndescriptors:\n- {key: k, rate_limit: {unit: minute, requests_per_unit: 1}}\n";

#[tokio::test]
async fn a_request_is_over_its_quotas_when_all_of_them_are_used_up() {
    let file = "domain: d\ndescriptors:\n- {key: a, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}\n- {key: b, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 2}}\n- {key: c, rate_limit: {unit: hour, requests_per_unit: 3}}\n";
    let story = Story::of(file, Policy::default(), 0);
    let all = || vec![descriptor("a"), descriptor("b"), descriptor("c")];
    assert_eq!(story.codes(all()).await, "oooo");
    assert_eq!(story.codes(all()).await, "oXoo", "one quota is left");
    assert_eq!(story.codes(vec![descriptor("a"), descriptor("b")]).await, "XXX", "none is left");
    assert_eq!(story.codes(vec![hits("c", 3)]).await, "XX", "what is no quota refuses alone");
}

#[tokio::test]
async fn metadata_of_the_rules_that_hold_is_merged_and_the_first_wins() {
    let file = "domain: d\ndescriptors:\n- {key: a, metadata: {who: first, deep: {x: 1}}, rate_limit: {unit: hour, requests_per_unit: 1}}\n- {key: b, value_to_metric: true, metadata: {who: second, deep: {x: 2, y: true}}, rate_limit: {unit: hour, requests_per_unit: 9}}\n";
    let story = Story::of(file, Policy { metadata: true, ..Policy::default() }, 0);
    let told = async || {
        let response = story.ask(vec![descriptor("a=1"), hits("b=2", 1)]).await.unwrap();
        format!("{:?}", canonical(&response.dynamic_metadata.unwrap()))
    };
    let first = told().await;
    assert!(
        first.contains(r#""who": "first""#) && first.contains(r#""x": "1""#) && first.contains(r#""y": "true""#),
        "{first}"
    );
    assert!(first.contains(r#""entries": "a=1""#) && first.contains(r#""hitsAddend": "1""#), "{first}");
    let second = told().await;
    assert!(second.contains(r#""who": "second""#), "a is over: {second}");
}

/// Leaves by the last part of their path.
fn canonical(fields: &proto::google::protobuf::Struct) -> BTreeMap<String, String> {
    fn walk(key: &str, value: &proto::google::protobuf::Value, into: &mut BTreeMap<String, String>) {
        use proto::google::protobuf::value::Kind;
        match value.kind.as_ref().unwrap() {
            Kind::StructValue(fields) => fields.fields.iter().for_each(|(key, value)| walk(key, value, into)),
            Kind::ListValue(list) => list.values.iter().for_each(|value| walk(key, value, into)),
            Kind::StringValue(text) => drop(into.entry(key.to_owned()).or_insert_with(|| text.clone())),
            Kind::NumberValue(number) => drop(into.insert(key.to_owned(), number.to_string())),
            Kind::BoolValue(flag) => drop(into.insert(key.to_owned(), flag.to_string())),
            Kind::NullValue(_) => {}
        }
    }
    let mut leaves = BTreeMap::new();
    fields.fields.iter().for_each(|(key, value)| walk(key, value, &mut leaves));
    leaves
}

#[tokio::test]
async fn hits_given_back_make_room_again_also_where_the_counter_was_known_to_be_used_up() {
    let story = Story::of(ONE, Policy::default(), 1 << 20);
    assert_eq!(story.codes(vec![descriptor("k=v")]).await, "oo");
    assert_eq!(story.codes(vec![descriptor("k=v")]).await, "XX");
    assert_eq!(story.codes(vec![descriptor("k=v")]).await, "XX");
    assert_eq!(story.stat("k.over_limit_with_local_cache"), 1);
    let refund = RateLimitDescriptor { is_negative_hits: true, ..hits("k=v", 7) };
    assert_eq!(story.codes(vec![refund]).await, "oo");
    assert_eq!(story.codes(vec![descriptor("k=v")]).await, "oo", "the count is 0 again, not below");
    assert_eq!(story.codes(vec![descriptor("k=v")]).await, "XX");
}

#[tokio::test]
async fn what_is_used_up_under_one_limit_may_have_room_under_a_higher_one() {
    let story = Story::of(ONE, Policy::default(), 1 << 20);
    let under = |limit| vec![limited("k=v", limit, 2)];
    for (limit, codes) in [(1, "oo"), (1, "XX"), (5, "oo"), (2, "XX"), (5, "oo"), (5, "XX"), (4, "XX"), (6, "oo")] {
        // Those refused from memory are not counted: 1, 2, 3, 4, 5, 6, –, 7 would be over 6.
        let got = story.codes(under(limit)).await;
        if limit == 6 {
            assert!(got == "oo" || got == "XX");
        } else {
            assert_eq!(got, codes, "{limit}");
        }
    }
    story.clock.0.fetch_add(60, Ordering::SeqCst);
    assert_eq!(story.codes(under(1)).await, "oo", "a new minute");
}

#[tokio::test]
async fn a_limit_without_unit_is_none_and_nothing_dies_of_it() {
    let story = Story::of(ONE, Policy::default(), 0);
    assert_eq!(story.codes(vec![limited("k=v", 9, 0)]).await, "oo");
    assert_eq!(story.codes(vec![limited("k=v", 9, 0)]).await, "XX", "the rule's own limit holds");
    assert_eq!(story.codes(vec![limited("other=v", 0, 99)]).await, "oo");
}

#[tokio::test]
async fn no_choice_of_keys_and_values_reaches_anothers_counter() {
    let file = "domain: d\ndescriptors:\n- {key: a, value: b_c, rate_limit: {unit: minute, requests_per_unit: 1}}\n- {key: a_b, rate_limit: {unit: minute, requests_per_unit: 1}}\n";
    let story = Story::of(file, Policy::default(), 0);
    assert_eq!(story.codes(vec![descriptor("a=b_c"), descriptor("a_b=c"), descriptor("a_b=")]).await, "oooo");
    assert_eq!(story.codes(vec![descriptor("a=b_c"), descriptor("a_b=c"), descriptor("a_b=")]).await, "XXXX");
}

#[tokio::test]
async fn two_units_of_one_descriptor_are_two_counters() {
    let story = Story::of(ONE, Policy::default(), 0);
    story.clock.0.store(0, Ordering::SeqCst);
    assert_eq!(story.codes(vec![limited("k=v", 1, 2)]).await, "oo");
    assert_eq!(story.codes(vec![limited("k=v", 1, 3)]).await, "oo", "both windows begin at 0");
}

#[tokio::test]
async fn a_star_may_stand_anywhere_and_share_a_counter() {
    let file = "domain: d\ndescriptors:\n- {key: path, value: /api/*/users/*, share_threshold: true, rate_limit: {unit: minute, requests_per_unit: 2}}\n- {key: path, rate_limit: {unit: minute, requests_per_unit: 1}}\n";
    let story = Story::of(file, Policy::default(), 0);
    let one = |path: &str| vec![descriptor(&format!("path={path}"))];
    assert_eq!(story.codes(one("/api/v1/users/7")).await, "oo");
    assert_eq!(story.codes(one("/api/v2/users/8")).await, "oo");
    assert_eq!(story.codes(one("/api/v3/users/")).await, "XX");
    assert_eq!(story.codes(one("/api/v3/user")).await, "oo", "another rule");
}

#[tokio::test]
async fn what_a_broken_file_may_govern_is_an_error_and_not_a_pass() {
    let bad = Story::of("domain: d\ndescriptors: [{key: k, rate_limit: {unit: eon}}]", Policy::default(), 0);
    assert!(matches!(bad.ask(vec![descriptor("k")]).await, Err(Failure::Broken(source)) if &*source == "f.yaml"));
    let unreadable = Story::of("domain: [", Policy::default(), 0);
    assert!(matches!(unreadable.ask(vec![descriptor("k")]).await, Err(Failure::Broken(_))));
    assert_eq!(unreadable.stat("service_error"), 1);
}

#[tokio::test]
async fn a_flood_of_overrides_and_unknown_domains_is_counted_in_few_names() {
    let story = Story::of(ONE, Policy::default(), 0);
    for number in 0..5000 {
        let _ = story.ask(vec![limited(&format!("k={number}"), 0, 1)]).await;
        let request =
            RateLimitRequest { domain: format!("domain-{number}"), descriptors: vec![descriptor("k")], hits_addend: 0 };
        story.service.answer(&request).await.unwrap();
    }
    assert!(story.stats.all().len() < 15_000, "{}", story.stats.all().len());
    assert_eq!(story.stat("rate_limit.other.domain_not_found"), 3000);
}
