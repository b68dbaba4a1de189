//! Metrics under the names of envoyproxy/ratelimit and of Gloo, with a bounded number of labels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use metrics::{Counter, counter, histogram};
use parking_lot::Mutex;

use api::gloo::rate_limit_config::SimpleDescriptor;
use rules::config::rule::{Rule, Style};
use rules::decide::would_be_over;
use rules::plan::{Outcome, Plan};

/// Sets of labels beyond this are counted together, as `other`.
const MOST_LABEL_SETS: usize = 2_000;
/// The share of a limit from which on a hit is near it.
const NEAR: f64 = 0.8;

/// What is counted of one rule in one domain. Every request of every thread comes by here, so
/// each number is kept once, and added under its names when the metrics page is read.
struct Meters {
    within: AtomicU64,
    over: AtomicU64,
    near: AtomicU64,
    shadow: AtomicU64,
    shown: Shown,
}

/// The same counts under the metric names of other rate-limit servers.
struct Shown {
    total_hits: [Counter; 2],
    over_limit: [Counter; 2],
    near_limit: [Counter; 2],
    within_limit: Counter,
    shadow_mode: Counter,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

static KNOWN: LazyLock<Mutex<HashMap<[String; 4], Arc<Meters>>>> = LazyLock::new(Mutex::default);

impl Meters {
    fn of(rule: &Rule, domain: &str) -> Arc<Meters> {
        let levels = levels(rule);
        let second = levels.get(1).cloned().unwrap_or_default();
        let labels = [domain.to_owned(), levels.first().cloned().unwrap_or_default(), second, levels.join(".")];
        let mut known = KNOWN.lock();
        if let Some(meters) = known.get(&labels) {
            return meters.clone();
        }
        let labels = if known.len() < MOST_LABEL_SETS {
            labels
        } else {
            [domain.to_owned(), "other".to_owned(), "other".to_owned(), "other".to_owned()]
        };
        known.entry(labels.clone()).or_insert_with(|| Arc::new(Meters::new(labels))).clone()
    }

    fn new([domain, key1, key2, descriptor]: [String; 4]) -> Meters {
        let envoy = |name: &'static str| counter!(name, "domain" => domain.clone(), "key1" => key1.clone(), "key2" => key2.clone());
        let gloo = |name: &'static str| counter!(name, "descriptor" => descriptor.clone());
        let shown = Shown {
            total_hits: [envoy("ratelimit_service_rate_limit_total_hits"), gloo("ratelimit_solo_io_total_hits")],
            over_limit: [envoy("ratelimit_service_rate_limit_over_limit"), gloo("ratelimit_solo_io_over_limit")],
            near_limit: [envoy("ratelimit_service_rate_limit_near_limit"), gloo("ratelimit_solo_io_near_limit")],
            within_limit: envoy("ratelimit_service_rate_limit_within_limit"),
            shadow_mode: envoy("ratelimit_service_rate_limit_shadow_mode"),
        };
        let [within, over, near, shadow] = Default::default();
        Meters { within, over, near, shadow, shown }
    }

    fn publish(&self) {
        let [within, over, near, shadow] =
            [&self.within, &self.over, &self.near, &self.shadow].map(|number| number.swap(0, Ordering::Relaxed));
        let Shown { total_hits, over_limit, near_limit, within_limit, shadow_mode } = &self.shown;
        // Added, not set: several rules, and one rule in several domains, may go by the same name.
        for (counters, number) in [(total_hits, within + over), (over_limit, over), (near_limit, near)] {
            counters.iter().for_each(|counter| counter.increment(number));
        }
        within_limit.increment(within);
        shadow_mode.increment(shadow);
    }
}

/// Adds what rules counted since the last time to the metrics it is known by. To be called before the metrics page is made.
pub fn publish() {
    KNOWN.lock().values().for_each(|meters| meters.publish());
}

/// What Gloo's metrics call `rule`: its keys, and the values that stand in the configuration.
pub fn descriptor(rule: &Rule) -> String {
    levels(rule).join(".")
}

fn levels(rule: &Rule) -> Vec<String> {
    let mut levels = vec![level("generic_key", &rule.config)];
    if matches!(rule.style, Style::Set(_)) {
        levels.push("set".to_owned());
    }
    levels.extend(rule.parts.iter().map(|SimpleDescriptor { key, value, .. }| level(key, value)));
    levels
}

fn level(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key}_{value}") }
}

/// Says what each metric is, for those who read the metrics port.
pub fn describe() {
    use metrics::{describe_counter, describe_histogram};
    describe_counter!("ratelimit_service_rate_limit_total_hits", "Hits of a rule");
    describe_counter!("ratelimit_service_rate_limit_over_limit", "Hits beyond a rule's limit");
    describe_counter!("ratelimit_service_rate_limit_near_limit", "Hits within a rule's limit, above 80 % of it");
    describe_counter!("ratelimit_service_rate_limit_within_limit", "Hits within a rule's limit");
    describe_counter!(
        "ratelimit_service_rate_limit_shadow_mode",
        "Hits of a rule in shadow mode that would have been refused"
    );
    describe_counter!("ratelimit_service_total_requests", "Calls");
    describe_counter!("ratelimit_service_should_rate_limit_error", "Calls answered with an error, by cause");
    describe_histogram!("ratelimit_service_response_time_seconds", "Time to answer a call");
    describe_counter!("ratelimit_service_config_load_success", "RateLimitConfigs loaded without a refusal");
    describe_counter!("ratelimit_service_config_load_error", "Loads in which a RateLimitConfig was refused");
    describe_counter!("ratelimit_solo_io_total_hits", "Hits of a rule");
    describe_counter!("ratelimit_solo_io_over_limit", "Hits beyond a rule's limit");
    describe_counter!("ratelimit_solo_io_near_limit", "Hits within a rule's limit, above 80 % of it");
    describe_counter!("ratelimit_solo_io_descriptor_miss", "Descriptors that no rule knows");
    describe_counter!(
        "ratelimit_refused_descriptors",
        "Descriptors refused because their RateLimitConfig is not known or cannot be used"
    );
    describe_counter!(
        "ratelimit_memory_short_hits",
        "Hits of RateLimitConfigs without room for their counters: coarse, counted with those of other values, or denied"
    );
    metrics::describe_gauge!(
        "ratelimit_memory_counters",
        "Counters in memory: the most, how many, and buckets that stand for more"
    );
    describe_counter!("ratelimit_solo_io_errors", "Calls answered with an error, by cause");
}

/// Counts what a request came to. `domain` is the name it is known by among those served.
pub fn count(plan: &Plan<'_>, counts: &[u64], domain: &str) {
    static MISSES: LazyLock<Counter> = LazyLock::new(|| counter!("ratelimit_solo_io_descriptor_miss"));
    static REFUSED: LazyLock<Counter> = LazyLock::new(|| counter!("ratelimit_refused_descriptors"));
    let misses = plan.outcomes.iter().filter(|outcome| **outcome == Outcome::Miss).count();
    if misses > 0 {
        MISSES.increment(misses as u64);
    }
    let refused = plan.outcomes.iter().filter(|outcome| outcome.is_refused()).count();
    if refused > 0 {
        REFUSED.increment(refused as u64);
    }
    for (counted, count) in plan.counted.iter().zip(counts) {
        let beside = |number| counted.rule.beside.get(number, || Meters::of(&counted.rule, domain));
        let Some(meters) = plan.domain.and_then(beside) else { continue };
        let hits = u64::from(counted.change.added());
        let limit = counted.limit.amount();
        // A fixed window fills up in the midst of a request's hits; the others take all or none.
        let partly = counted.limit.algorithm().counts_refused();
        let over = if partly || *count <= limit { count.saturating_sub(limit).min(hits) } else { hits };
        let near_from = (limit as f64 * NEAR) as u64;
        let near = count.min(&limit).saturating_sub(near_from.max(count.saturating_sub(hits)));
        if counted.rule.shadow && would_be_over(counted, *count) {
            meters.shadow.fetch_add(hits, Ordering::Relaxed);
        }
        if hits > over {
            meters.within.fetch_add(hits - over, Ordering::Relaxed);
        }
        if over > 0 {
            meters.over.fetch_add(over, Ordering::Relaxed);
        }
        if near > 0 {
            meters.near.fetch_add(near, Ordering::Relaxed);
        }
    }
}

/// Counts a call and the time it took.
pub fn call(took: std::time::Duration) {
    static CALLS: LazyLock<Counter> =
        LazyLock::new(|| counter!("ratelimit_service_total_requests", "grpc_method" => "ShouldRateLimit"));
    static TOOK: LazyLock<metrics::Histogram> =
        LazyLock::new(|| histogram!("ratelimit_service_response_time_seconds", "grpc_method" => "ShouldRateLimit"));
    CALLS.increment(1);
    TOOK.record(took.as_secs_f64());
}

/// Counts a call answered with an error. `cause` is `redis_error` or `service_error`.
pub fn failed(cause: &'static str) {
    counter!("ratelimit_service_should_rate_limit_error", "err_type" => cause).increment(1);
    counter!("ratelimit_solo_io_errors", "type" => cause).increment(1);
}

/// Counts a load of the configuration.
pub fn loaded(refused: usize) {
    let (success, error) =
        (counter!("ratelimit_service_config_load_success"), counter!("ratelimit_service_config_load_error"));
    if refused == 0 { success.increment(1) } else { error.increment(1) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rules_that_go_by_the_same_name_add_up_however_often_the_page_is_read() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let labels = |domain: &str, descriptor: &str| [domain, "one", "two", descriptor].map(str::to_owned);
            // Envoy's names know two levels, Gloo's no domain.
            let all = [labels("d", "one.two.a"), labels("d", "one.two.b"), labels("e", "one.two.a")].map(Meters::new);
            for round in 0..2 {
                for (meters, within) in all.iter().zip([1, 10, 100]) {
                    meters.within.fetch_add(within, Ordering::Relaxed);
                    meters.over.fetch_add(within * 2 * round, Ordering::Relaxed);
                    meters.publish();
                }
            }
        });
        let page = recorder.handle().render();
        for line in [
            r#"ratelimit_service_rate_limit_total_hits{domain="d",key1="one",key2="two"} 44"#,
            r#"ratelimit_service_rate_limit_within_limit{domain="d",key1="one",key2="two"} 22"#,
            r#"ratelimit_service_rate_limit_over_limit{domain="d",key1="one",key2="two"} 22"#,
            r#"ratelimit_solo_io_total_hits{descriptor="one.two.a"} 404"#,
            r#"ratelimit_solo_io_over_limit{descriptor="one.two.b"} 20"#,
        ] {
            assert!(page.lines().any(|shown| shown == line), "no {line} in\n{page}");
        }
    }
}
