//! When two answers are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proto::envoy::service::ratelimit::v3 as pb;
use serde_json::Value;

use crate::servers::Server;

type Answer = Result<pb::RateLimitResponse, (tonic::Code, String)>;

/// Clocks go on between two questions: lengths of time may differ by so much.
const TICK: i64 = 3;

/// Whether two gRPC answers are the same.
pub fn same_answer(theirs: &Answer, ours: &Answer) -> Result<(), String> {
    let (Ok(theirs), Ok(ours)) = (theirs, ours) else {
        return if theirs == ours { Ok(()) } else { Err(format!("theirs {theirs:?}\nours {ours:?}\n")) };
    };
    let differ = |what: &str| Err(format!("{what}: theirs {theirs:#?}\nours {ours:#?}\n"));
    let seconds = |response: &pb::RateLimitResponse| -> Vec<Option<i64>> {
        response.statuses.iter().map(|status| status.duration_until_reset.as_ref().map(|left| left.seconds)).collect()
    };
    let (left, right) = (seconds(theirs), seconds(ours));
    let near = left.len() == right.len()
        && left.iter().zip(&right).all(|pair| match pair {
            (Some(one), Some(other)) => (one - other).abs() <= TICK,
            (one, other) => one == other,
        });
    if !near {
        return differ("resets");
    }
    let timeless = |response: &pb::RateLimitResponse| {
        let mut response = response.clone();
        response.statuses.iter_mut().for_each(|status| status.duration_until_reset = None);
        response.response_headers_to_add.retain(|header| !header.key.ends_with("Reset"));
        if let Some(metadata) = &mut response.dynamic_metadata {
            metadata.fields.remove("quotaModeEnabled");
        }
        response
    };
    if timeless(theirs) != timeless(ours) { differ("answers") } else { Ok(()) }
}

/// Whether two HTTP answers are the same.
pub fn alike(theirs: &(u16, String), ours: &(u16, String)) -> Result<(), String> {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    let same = theirs.0 == ours.0
        && match (parsed(&theirs.1), parsed(&ours.1)) {
            (Some(one), Some(other)) => near(&one, &other),
            (None, None) => theirs.1 == ours.1,
            _ => false,
        };
    if same { Ok(()) } else { Err(format!("theirs {theirs:#?}\nours {ours:#?}\n")) }
}

fn near(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let reset = |of: &serde_json::Map<String, Value>| of.get("key").is_some_and(|key| key == "RateLimit-Reset");
            let keys: BTreeSet<_> = one.keys().chain(other.keys()).filter(|key| *key != "quotaModeEnabled").collect();
            keys.into_iter().all(|key| match (one.get(key), other.get(key)) {
                (Some(_), Some(_)) if key == "value" && reset(one) && reset(other) => true,
                (Some(one), Some(other)) => near(one, other),
                _ => false,
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| near(one, other))
        }
        (Value::String(one), Value::String(other)) => {
            let seconds = |text: &str| text.strip_suffix('s').and_then(|text| text.parse::<i64>().ok());
            match (seconds(one), seconds(other)) {
                (Some(one), Some(other)) => (one - other).abs() <= TICK,
                _ => one == other,
            }
        }
        (one, other) => one == other,
    }
}

/// A page's lines, in whatever order.
pub fn page_lines(page: &str) -> BTreeSet<String> {
    page.lines().map(str::to_owned).collect()
}

/// The rules' counters on a metrics page; what is zero is as good as not there.
fn counters(page: &str) -> BTreeMap<String, String> {
    let stats = ["total_hits", "over_limit", "near_limit", "within_limit", "shadow_mode"];
    page.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(name, value)| {
            let known = stats.iter().any(|stat| name.starts_with(&format!("ratelimit_service_rate_limit_{stat}{{")));
            let service = ["config_load_success", "config_load_error", "should_rate_limit_error"];
            let service = service.iter().any(|stat| name.starts_with(&format!("ratelimit_service_{stat}")));
            (known || service) && *value != "0"
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What a mapping file made of the rules' counters, or left as it was, and how many response times there are.
pub fn mapped(page: &str) -> BTreeMap<String, String> {
    page.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(name, _)| {
            let times = name.contains("_bucket") || name.contains("_sum") || name.contains("quantile");
            (name.starts_with("mapped_") || name.starts_with("ratelimit_service_rate_limit_")) && !times
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Waits until both have counted the same, as far as `wanted` goes: they tell of it with a delay.
pub fn settle(peer: &Server, ours: &Server, wanted: impl Fn(&str) -> bool) {
    settle_on(peer, ours, |page| {
        let mut counters = counters(page);
        counters.retain(|name, _| wanted(name));
        counters
    });
}

/// Waits until both pages say the same, as far as `read` goes.
pub fn settle_on(peer: &Server, ours: &Server, read: impl Fn(&str) -> BTreeMap<String, String>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let [theirs, mine] = [peer, ours].map(|server| read(&server.metrics()));
        if theirs == mine {
            assert!(theirs.len() > 20, "so little was counted: {theirs:#?}");
            return;
        }
        if Instant::now() > deadline {
            let only = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> Vec<String> {
                one.iter().filter(|(k, v)| other.get(*k) != Some(v)).map(|(k, v)| format!("{k} {v}")).collect()
            };
            panic!("{}: theirs {:#?}\nours {:#?}", ours.name, only(&theirs, &mine), only(&mine, &theirs));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
