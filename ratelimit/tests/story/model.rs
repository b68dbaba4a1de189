//! The rules of matching and weighing as plain straight-line code, against the compiled planner.

use std::collections::BTreeMap;

use api::gloo::rate_limit_config::{Descriptor, SetDescriptor, Unit};
use proptest::prelude::*;
use ratelimit::limit::UnixSecs;
use ratelimit::rules::config::Configs;
use ratelimit::rules::decide::decide;
use ratelimit::rules::plan::plan;
use ratelimit::rules::request::Request;
use serde_json::{Value, json};

use crate::support::{descriptor, of_raw, request, scope};

pub type Entries = Vec<(String, String)>;

/// A counter as the model names it: the rule's place and the values it counts apart.
type Counter = (String, Vec<String>, i32);

struct Hit {
    counter: Counter,
    limit: u32,
    weight: u32,
    always: bool,
    descriptor: usize,
}

fn walk<'d>(level: &'d [Descriptor], entries: &[(String, String)], place: &str) -> Option<(&'d Descriptor, String)> {
    let (key, value) = &entries[0];
    let exact = level.iter().position(|d| &d.key == key && &d.value == value && !value.is_empty());
    let at = exact.or(level.iter().position(|d| &d.key == key && d.value.is_empty()))?;
    let place = format!("{place}/{at}");
    if entries.len() == 1 { Some((&level[at], place)) } else { walk(&level[at].descriptors, &entries[1..], &place) }
}

/// The values at the key-only levels of a path.
fn wild(level: &[Descriptor], entries: &[(String, String)]) -> Vec<String> {
    let mut values = Vec::new();
    let mut level = level;
    for (key, value) in entries {
        let exact = level.iter().find(|d| &d.key == key && &d.value == value && !value.is_empty());
        let node = exact.or(level.iter().find(|d| &d.key == key && d.value.is_empty())).unwrap();
        if node.value.is_empty() {
            values.push(value.clone());
        }
        level = &node.descriptors;
    }
    values
}

fn in_sets(rules: &[SetDescriptor], entries: &Entries, descriptor: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut matched = false;
    for (at, rule) in rules.iter().enumerate() {
        let holds = rule.simple_descriptors.iter().all(|wanted| {
            entries.iter().any(|(key, value)| *key == wanted.key && (wanted.value.is_empty() || *value == wanted.value))
        });
        if !holds || (matched && !rule.always_apply) {
            continue;
        }
        matched = true;
        let Some(limit) = rule.rate_limit else { continue };
        let mut values = Vec::new();
        let mut conditions = rule.simple_descriptors.clone();
        conditions.sort();
        for condition in conditions.iter().filter(|condition| condition.value.is_empty()) {
            values.push(entries.iter().filter(|(key, _)| *key == condition.key).map(|(_, v)| v.clone()).min().unwrap());
        }
        hits.push(Hit {
            counter: (format!("set{at}"), values, limit.unit.number()),
            limit: limit.requests_per_unit,
            weight: 0,
            always: true,
            descriptor,
        });
    }
    hits
}

#[derive(Default)]
struct Model(BTreeMap<Counter, u64>);

impl Model {
    /// Overall answer, and which descriptors are over.
    fn answer(&mut self, trees: &[Descriptor], sets: &[SetDescriptor], sent: &[(bool, Entries)]) -> Vec<bool> {
        let mut matched = Vec::new();
        let mut hits = Vec::new();
        for (number, (set, entries)) in sent.iter().enumerate() {
            if *set {
                hits.extend(in_sets(sets, entries, number));
            } else if !entries.is_empty()
                && let Some((node, place)) = walk(trees, entries, "tree")
                && let Some(limit) = node.rate_limit
            {
                matched.push(Hit {
                    counter: (place, wild(trees, entries), limit.unit.number()),
                    limit: limit.requests_per_unit,
                    weight: node.weight,
                    always: node.always_apply,
                    descriptor: number,
                });
            }
        }
        let heaviest = matched.iter().map(|hit| hit.weight).max().unwrap_or(0);
        hits.extend(matched.into_iter().filter(|hit| hit.weight == heaviest || hit.always));
        let mut over = vec![false; sent.len()];
        hits.sort_by_key(|hit| hit.descriptor);
        for hit in hits {
            let count = self.0.entry(hit.counter).or_default();
            *count += 1;
            over[hit.descriptor] |= *count > u64::from(hit.limit);
        }
        over
    }
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "a_b", "b|c", "c"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 2 => word()]
}

fn limit() -> impl Strategy<Value = Value> {
    (0u32..4, prop::sample::select(vec![Unit::Minute, Unit::Hour]))
        .prop_map(|(n, unit)| json!({"requestsPerUnit": n, "unit": unit.as_str()}))
}

pub fn level(depth: u32) -> BoxedStrategy<Vec<Value>> {
    let children = if depth == 0 { Just(Vec::new()).boxed() } else { level(depth - 1) };
    let node = (word(), value(), prop::option::of(limit()), 0u32..3, prop::bool::weighted(0.2), children);
    prop::collection::vec(node, 0..4)
        .prop_map(|nodes| {
            let mut seen = std::collections::BTreeSet::new();
            nodes
                .into_iter()
                .filter(|(key, value, ..)| seen.insert((key.clone(), value.clone())))
                .map(|(key, value, limit, weight, always, children)| {
                    json!({"key": key, "value": value, "rateLimit": limit, "weight": weight, "alwaysApply": always, "descriptors": children})
                })
                .collect()
        })
        .boxed()
}

pub fn sets() -> impl Strategy<Value = Vec<Value>> {
    let conditions = prop::collection::btree_set((word(), value()), 0..3).prop_map(|conditions| {
        conditions.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect::<Vec<_>>()
    });
    let rule = (conditions, prop::option::weighted(0.8, limit()), prop::bool::weighted(0.3));
    prop::collection::vec(
        rule.prop_map(|(conditions, limit, always)| {
            json!({"simpleDescriptors": conditions, "rateLimit": limit, "alwaysApply": always})
        }),
        0..6,
    )
}

pub fn sent() -> impl Strategy<Value = Vec<(bool, Entries)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec((word(), value()), 0..4)), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_planner_does_what_the_plain_rules_say(
        tree in level(2), sets in sets(), requests in prop::collection::vec(sent(), 1..12)
    ) {
        prop_assume!(!tree.is_empty() || !sets.is_empty());
        let snapshot = of_raw(json!({"descriptors": tree, "setDescriptors": sets}));
        let object = snapshot.rate_limit_configs.values().next().unwrap().clone();
        let index = Configs::new(scope()).update(&snapshot).index;
        let mut model = Model::default();
        let mut counters: BTreeMap<_, u64> = BTreeMap::new();
        let now = UnixSecs(1_000_000_000);
        for sent in requests {
            let expected = model.answer(&object.spec.raw.descriptors, &object.spec.raw.set_descriptors, &sent);
            let descriptors = sent.iter().map(|(set, entries)| {
                let text: Vec<String> = entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
                descriptor("ns.limits", *set, &text.join(","))
            });
            let message = request(descriptors.collect());
            let request = Request::read(&message).unwrap();
            let plan = plan(&index, &request, now);
            let counts: Vec<u64> = plan.hits().iter().map(|hit| {
                let count = counters.entry(hit.counter).or_default();
                *count += u64::from(hit.change.added());
                *count
            }).collect();
            let response = decide(&plan, &counts, "solo.io", now);
            let got: Vec<bool> = response.statuses.iter().map(|status| status.over).collect();
            prop_assert_eq!(&got, &expected, "{:?}", sent);
            prop_assert_eq!(response.over, expected.contains(&true));
        }
        // As many counters as the model has: none is shared, none is split.
        let moved = model.0.len();
        prop_assert_eq!(counters.len(), moved);
    }
}
