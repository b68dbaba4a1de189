//! From counts to the answer envoyproxy/ratelimit would give. Pure, but for the counters it moves.

use proto::envoy::config::core::v3 as pb_core;
use proto::envoy::extensions::common::ratelimit::v3 as pb_common;
use proto::envoy::service::ratelimit::v3 as pb;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{self as pb_response, Code};
use proto::google::protobuf as pb_google;
use proto::google::protobuf::value::Kind;
use smallvec::SmallVec;

use super::plan::{Counted, Outcome, Plan};
use super::stats::Stats;
use limit::{Change, UnixSecs};

/// What is the same for all answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Never answer that a request is over its limits.
    pub shadow: bool,
    /// Treat every rule as a quota.
    pub quota: bool,
    /// From which share of a limit on a hit is near it.
    pub near: f32,
    /// Names of the headers to send, if any: limit, remaining, reset.
    pub headers: Option<[String; 3]>,
    /// Whether to send dynamic metadata.
    pub metadata: bool,
    /// Whether nothing but what is over counts, once something is.
    pub stop: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { shadow: false, quota: false, near: 0.8, headers: None, metadata: false, stop: false }
    }
}

/// How a counter stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its value after the request's hits.
    Count(u64),
    /// It was known to be used up without asking.
    UsedUp,
}

impl Standing {
    /// Whether that is more than the limit allows. Giving hits back never is.
    pub fn is_over(self, counted: &Counted<'_>) -> bool {
        match (self, counted.change) {
            (_, Change::Refund(_)) => false,
            (Standing::UsedUp, _) => true,
            (Standing::Count(count), _) => count > u64::from(counted.limit.requests_per_unit),
        }
    }

    fn remaining(self, counted: &Counted<'_>) -> u32 {
        match self {
            Standing::UsedUp => 0,
            Standing::Count(count) => {
                counted.limit.requests_per_unit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX))
            }
        }
    }
}

/// Answers `request` from how the plan's counters stand, one for each, in order.
pub fn answer(
    request: &pb::RateLimitRequest,
    plan: &Plan<'_>,
    standings: &[Standing],
    policy: &Policy,
    now: UnixSecs,
) -> (pb::RateLimitResponse, Told) {
    let mut response =
        pb::RateLimitResponse { statuses: Vec::with_capacity(plan.outcomes.len()), ..Default::default() };
    let mut tightest: Option<(usize, u32)> = None;
    let mut passed: SmallVec<[&Counted<'_>; 4]> = SmallVec::new();
    let (mut refused, mut quotas, mut quotas_over) = (0, 0, 0);
    for (number, outcome) in plan.outcomes.iter().enumerate() {
        let counted = match *outcome {
            Outcome::Counted(first, rules) => tightest_of(plan, standings, first..first + rules),
            _ => None,
        };
        let Some((counted, standing)) = counted else {
            let remaining = if *outcome == Outcome::Unlimited { u32::MAX } else { 0 };
            quotas += usize::from(policy.quota && *outcome != Outcome::Unlimited);
            response.statuses.push(status(Code::Ok, remaining));
            continue;
        };
        let beyond = standing.is_over(counted);
        let over = beyond && !counted.rule.is_some_and(|rule| rule.shadow);
        let remaining = if beyond { 0 } else { standing.remaining(counted) };
        if tightest.map_or(u32::MAX, |(_, least)| least) > remaining {
            tightest = Some((number, remaining));
        }
        let quota = policy.quota || counted.rule.is_some_and(|rule| rule.quota);
        quotas += usize::from(quota);
        match (over, quota) {
            (true, true) => quotas_over += 1,
            (true, false) => {
                refused += 1;
                tightest = Some((number, 0));
            }
            (false, _) => passed.push(counted),
        }
        response.statuses.push(pb_response::DescriptorStatus {
            current_limit: Some(pb_response::RateLimit {
                name: counted.rule.map(|rule| rule.name.to_string()).unwrap_or_default(),
                requests_per_unit: counted.limit.requests_per_unit,
                // A window of several units has no name here; better none than a wrong one.
                unit: if counted.limit.units() == 1 { counted.limit.unit().number() } else { 0 },
            }),
            duration_until_reset: Some(pb_google::Duration {
                seconds: i64::try_from(counted.window.left(now).as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            ..status(if over { Code::OverLimit } else { Code::Ok }, remaining)
        });
    }
    let over = refused > 0 || (quotas > 0 && quotas == quotas_over);
    let told = Told { over, shadowed: over && policy.shadow };
    response.overall_code = if over && !policy.shadow { Code::OverLimit } else { Code::Ok } as i32;
    if let (Some(names), Some((number, _))) = (&policy.headers, tightest) {
        response.response_headers_to_add = response.statuses.get(number).map(|s| headers(names, s)).unwrap_or_default();
    }
    if policy.metadata {
        response.dynamic_metadata = Some(metadata(request, &passed));
    }
    (response, told)
}

/// Of the rules that govern a descriptor, the one to answer with: one that refuses it, otherwise the one with the least left.
fn tightest_of<'p, 'i>(
    plan: &'p Plan<'i>,
    standings: &[Standing],
    rules: std::ops::Range<usize>,
) -> Option<(&'p Counted<'i>, Standing)> {
    let standing = |at: usize| plan.counted.get(at).zip(standings.get(at).copied());
    rules.filter_map(standing).min_by_key(|(counted, standing)| {
        let refuses = standing.is_over(counted) && !counted.rule.is_some_and(|rule| rule.shadow);
        (!refuses, standing.remaining(counted))
    })
}

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Whether the request is over its limits.
    pub over: bool,
    /// Whether it is, and was told otherwise.
    pub shadowed: bool,
}

fn status(code: Code, limit_remaining: u32) -> pb_response::DescriptorStatus {
    pb_response::DescriptorStatus { code: code as i32, limit_remaining, ..Default::default() }
}

fn headers(names: &[String; 3], status: &pb_response::DescriptorStatus) -> Vec<pb_core::HeaderValue> {
    let limit = status.current_limit.as_ref().map_or(0, |limit| limit.requests_per_unit);
    let reset = status.duration_until_reset.as_ref().map_or(0, |reset| reset.seconds);
    let values = [limit.to_string(), status.limit_remaining.to_string(), reset.to_string()];
    let pairs = names.iter().zip(values);
    pairs.map(|(key, value)| pb_core::HeaderValue { key: key.clone(), value, ..Default::default() }).collect()
}

/// Moves the counters of what was counted. `hits` are those asked for, whether or not they were made.
pub fn count(plan: &Plan<'_>, standings: &[Standing], domain: &str, policy: &Policy, stats: &Stats) {
    for (counted, standing) in plan.counted.iter().zip(standings) {
        let Change::Add(hits) = counted.change else { continue };
        let hits = u64::from(hits);
        let tallies = counted.stats(domain, stats);
        let limit = u64::from(counted.limit.requests_per_unit);
        tallies.total_hits.add(hits);
        let beyond = match *standing {
            Standing::UsedUp => {
                tallies.over_limit_with_local_cache.add(hits);
                hits
            }
            Standing::Count(after) => {
                let before = after.saturating_sub(hits);
                let near = (limit as f32 * policy.near).floor() as u64;
                if after > limit {
                    if before < limit {
                        tallies.near_limit.add(limit - near.max(before));
                    }
                    if before >= limit { hits } else { after - limit }
                } else {
                    if after > near {
                        tallies.near_limit.add(if before >= near { hits } else { after - near });
                    }
                    tallies.within_limit.add(hits);
                    0
                }
            }
        };
        tallies.over_limit.add(beyond);
        if counted.rule.is_some_and(|rule| rule.shadow) {
            tallies.shadow_mode.add(beyond);
        }
    }
}

/// `{domain, descriptors, hitsAddend, metadata}`, the last from the rules that hold.
fn metadata(request: &pb::RateLimitRequest, passed: &[&Counted<'_>]) -> pb_google::Struct {
    let mut all = pb_google::Struct::default();
    let descriptors = request.descriptors.iter().map(|one| value(Kind::StructValue(described(one)))).collect();
    all.fields.insert("domain".to_owned(), text(&request.domain));
    all.fields.insert("descriptors".to_owned(), list(descriptors));
    if request.hits_addend != 0 {
        all.fields.insert("hitsAddend".to_owned(), value(Kind::NumberValue(request.hits_addend.into())));
    }
    let mut merged = pb_google::Struct::default();
    for metadata in passed.iter().filter_map(|counted| counted.rule?.metadata.as_ref()) {
        merge(&mut merged, metadata);
    }
    if !merged.fields.is_empty() {
        all.fields.insert("metadata".to_owned(), value(Kind::StructValue(merged)));
    }
    all
}

fn described(descriptor: &pb_common::RateLimitDescriptor) -> pb_google::Struct {
    let mut one = pb_google::Struct::default();
    let entries = descriptor.entries.iter().map(|entry| text(&format!("{}={}", entry.key, entry.value))).collect();
    one.fields.insert("entries".to_owned(), list(entries));
    if let Some(limit) = &descriptor.limit {
        let unit = api::gloo::rate_limit_config::Unit::of_number(limit.unit).unwrap_or_default();
        let requests = (limit.requests_per_unit > 0).then(|| format!("requests_per_unit:{}", limit.requests_per_unit));
        let unit = (limit.unit != 0).then(|| format!("unit:{unit}"));
        let words: Vec<String> = requests.into_iter().chain(unit).collect();
        one.fields.insert("limit".to_owned(), text(&words.join(" ")));
    }
    if let Some(hits) = &descriptor.hits_addend {
        one.fields.insert("hitsAddend".to_owned(), value(Kind::NumberValue(hits.value as f64)));
    }
    one
}

/// Adds what `into` does not have; structs on both sides are merged.
fn merge(into: &mut pb_google::Struct, from: &pb_google::Struct) {
    for (key, theirs) in &from.fields {
        match into.fields.get_mut(key) {
            None => {
                into.fields.insert(key.clone(), theirs.clone());
            }
            Some(ours) => {
                if let (Some(Kind::StructValue(ours)), Some(Kind::StructValue(theirs))) = (&mut ours.kind, &theirs.kind)
                {
                    merge(ours, theirs);
                }
            }
        }
    }
}

fn value(kind: Kind) -> pb_google::Value {
    pb_google::Value { kind: Some(kind) }
}

fn text(text: &str) -> pb_google::Value {
    value(Kind::StringValue(text.to_owned()))
}

fn list(values: Vec<pb_google::Value>) -> pb_google::Value {
    value(Kind::ListValue(pb_google::ListValue { values }))
}
