//! Counters under envoyproxy/ratelimit's dotted names, bounded in number.
//!
//! A name can be made of what a request says: an override's entries, a detailed
//! metric, an unknown domain. So many of these are kept ([`MOST_FROM_REQUESTS`]);
//! all others are counted together under `other`, and how many were is itself a
//! counter. Every tally is also a Prometheus counter, under that server's labels.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, counter};
use parking_lot::{Mutex, RwLock};

use super::observed::Observed;

/// Names made of what requests say, for rules and for unknown domains each.
pub(crate) const MOST_FROM_REQUESTS: usize = 2_000;
/// Names made of what configuration says, over the life of the process.
const MOST_CONFIGURED: usize = 100_000;
/// Response times kept between two flushes.
const MOST_TIMES: usize = 4_096;

/// One counter.
#[derive(Default)]
pub struct Tally {
    value: AtomicU64,
    prometheus: Vec<Counter>,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl Tally {
    /// Adds `hits`.
    pub fn add(&self, hits: u64) {
        if hits > 0 {
            self.value.fetch_add(hits, Ordering::Relaxed);
            self.prometheus.iter().for_each(|counter| counter.increment(hits));
        }
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// The counters of one rule.
#[derive(Debug)]
pub struct RuleStats {
    /// Hits, whatever came of them.
    pub total_hits: Arc<Tally>,
    /// Hits beyond the limit.
    pub over_limit: Arc<Tally>,
    /// Hits within the limit, above the near-limit ratio of it.
    pub near_limit: Arc<Tally>,
    /// Hits beyond the limit that were known to be so without asking the store.
    pub over_limit_with_local_cache: Arc<Tally>,
    /// Hits of requests that were within the limit.
    pub within_limit: Arc<Tally>,
    /// Hits beyond the limit that shadow mode let pass.
    pub shadow_mode: Arc<Tally>,
}

/// All counters of a process.
#[derive(Debug, Default)]
pub struct Stats {
    tallies: RwLock<BTreeMap<Box<str>, Arc<Tally>>>,
    rules: RwLock<Rules>,
    domains: Mutex<BTreeMap<Box<str>, Arc<Tally>>>,
    calls: OnceLock<Arc<Tally>>,
    times: Mutex<Vec<Duration>>,
    keep_times: std::sync::atomic::AtomicBool,
    observed: OnceLock<(Arc<Observed>, f64)>,
}

#[derive(Debug, Default)]
struct Rules {
    known: BTreeMap<Box<str>, Arc<RuleStats>>,
    from_requests: usize,
}

/// Where a name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Configuration,
    Request,
}

impl Stats {
    /// No counters yet but the service's own, at zero.
    pub fn new() -> Arc<Stats> {
        let stats = Arc::new(Stats::default());
        for name in ["config_load_success", "config_load_error", "global_shadow_mode"] {
            stats.service(name);
        }
        stats.failure("redis_error");
        stats.failure("service_error");
        stats
    }

    /// The counters of a rule in the configuration; `key` is `domain.key_value.key…`.
    pub fn rule(&self, key: &str) -> Arc<RuleStats> {
        self.of(key, Source::Configuration)
    }

    /// The counters for a key that a request had a part in; `domain` is where the overflow goes.
    pub(crate) fn of_request(&self, domain: &str, key: &str) -> Arc<RuleStats> {
        if let Some(known) = self.rules.read().known.get(key) {
            return known.clone();
        }
        if self.rules.read().from_requests >= MOST_FROM_REQUESTS {
            self.named("ratelimit.service.stats_overflow").add(1);
            return self.of(&format!("{domain}.other"), Source::Configuration);
        }
        self.of(key, Source::Request)
    }

    fn of(&self, key: &str, source: Source) -> Arc<RuleStats> {
        let mut rules = self.rules.write();
        if let Some(known) = rules.known.get(key) {
            return known.clone();
        }
        let key = if rules.known.len() < MOST_CONFIGURED { key } else { "other.other" };
        rules.from_requests += usize::from(source == Source::Request);
        let made = Arc::new(self.make(key));
        rules.known.entry(key.into()).or_insert(made).clone()
    }

    fn make(&self, key: &str) -> RuleStats {
        let sanitized = sanitize(key);
        let parts: Vec<&str> = sanitized.split('.').collect();
        let label = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
        let (domain, key1, key2) = (label(0), label(1), label(2));
        let descriptor = parts.get(1..).unwrap_or_default().join(".");
        let tally = |stat: &str, gloo: bool| {
            let name = format!("ratelimit_service_rate_limit_{stat}");
            let mut prometheus = vec![if key2.is_empty() {
                counter!(name, "domain" => domain.clone(), "key1" => key1.clone())
            } else {
                counter!(name, "domain" => domain.clone(), "key1" => key1.clone(), "key2" => key2.clone())
            }];
            if gloo {
                prometheus.push(counter!(format!("ratelimit_solo_io_{stat}"), "descriptor" => descriptor.clone()));
            }
            self.insert(format!("ratelimit.service.rate_limit.{sanitized}.{stat}"), prometheus)
        };
        RuleStats {
            total_hits: tally("total_hits", true),
            over_limit: tally("over_limit", true),
            near_limit: tally("near_limit", true),
            over_limit_with_local_cache: tally("over_limit_with_local_cache", false),
            within_limit: tally("within_limit", false),
            shadow_mode: tally("shadow_mode", false),
        }
    }

    /// Counts so many descriptors for a domain nobody configured.
    pub fn domain_not_found(&self, domain: &str, descriptors: u64) {
        let domain = sanitize(domain);
        let mut domains = self.domains.lock();
        if let Some(known) = domains.get(domain.as_str()) {
            return known.add(descriptors);
        }
        let domain = if domains.len() < MOST_FROM_REQUESTS { domain } else { "other".to_owned() };
        let made = domains.entry(domain.as_str().into()).or_insert_with(|| {
            let prometheus =
                vec![counter!("ratelimit_service_rate_limit_domain_not_found", "domain" => domain.clone())];
            self.insert(format!("ratelimit.service.rate_limit.{domain}.domain_not_found"), prometheus)
        });
        made.add(descriptors);
    }

    /// A counter of the service as a whole, e.g. `config_load_success`.
    pub fn service(&self, name: &str) -> Arc<Tally> {
        self.insert(format!("ratelimit.service.{name}"), vec![counter!(format!("ratelimit_service_{name}"))])
    }

    /// Calls answered with an error; `cause` is `redis_error` or `service_error`.
    pub fn failure(&self, cause: &'static str) -> Arc<Tally> {
        // Prometheus is told by the meters that every way of running the service has.
        self.insert(format!("ratelimit.service.call.should_rate_limit.{cause}"), Vec::new())
    }

    /// Counts a call of `ShouldRateLimit` and the time it took.
    pub fn call(&self, took: Duration) {
        self.calls.get_or_init(|| self.named("ratelimit_server.ShouldRateLimit.total_requests")).add(1);
        if let Some((observed, scale)) = self.observed.get() {
            observed.add(took, *scale);
        }
        if self.keep_times.load(Ordering::Relaxed)
            && let Some(mut times) = self.times.try_lock()
            && times.len() < MOST_TIMES
        {
            times.push(took);
        }
    }

    /// A counter without a Prometheus name.
    pub fn named(&self, name: &str) -> Arc<Tally> {
        self.insert(name.to_owned(), Vec::new())
    }

    fn insert(&self, name: String, prometheus: Vec<Counter>) -> Arc<Tally> {
        if let Some(known) = self.tallies.read().get(name.as_str()) {
            return known.clone();
        }
        let made = || Arc::new(Tally { value: AtomicU64::new(0), prometheus });
        self.tallies.write().entry(name.into()).or_insert_with(made).clone()
    }

    /// Every counter by name, sorted.
    pub fn all(&self) -> Vec<(Box<str>, u64)> {
        self.tallies.read().iter().map(|(name, tally)| (name.clone(), tally.get())).collect()
    }

    /// From now on response times are kept for [`Stats::take_times`].
    pub(crate) fn keep_times(&self) {
        self.keep_times.store(true, Ordering::Relaxed);
    }

    /// From now on response times are added to `observed`, too; a second one is not told of them.
    pub(crate) fn observe(&self, observed: Arc<Observed>, scale: f64) {
        let _ = self.observed.set((observed, scale));
    }

    /// The response times since the last call.
    pub(crate) fn take_times(&self) -> Vec<Duration> {
        std::mem::take(&mut self.times.lock())
    }

    /// `/stats`: `name: value`, sorted.
    pub fn page(&self) -> String {
        self.all().into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }
}

/// A name no statsd trips over: `:` and `|` become `_`, and so do the dots of IPv4 addresses.
pub(crate) fn sanitize(name: &str) -> String {
    let name = name.replace([':', '|'], "_");
    if !name.bytes().any(|byte| byte == b'.') {
        return name;
    }
    let bytes = name.as_bytes();
    let mut out = String::with_capacity(name.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some(end) = ipv4(bytes, at) {
            out.push_str(&name[at..end].replace('.', "_"));
            at = end;
        } else {
            let next = name[at..].chars().next().map_or(1, char::len_utf8);
            out.push_str(&name[at..at + next]);
            at += next;
        }
    }
    out
}

/// Where the address that begins at `start` ends: four runs of one to three digits between dots.
fn ipv4(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let digits = bytes.iter().skip(at).take(3).take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        at += digits;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_harmless() {
        for (name, harmless) in [
            ("d.remote_address_1.2.3.4.key", "d.remote_address_1_2_3_4.key"),
            ("a:b|c", "a_b_c"),
            ("1.2.3", "1.2.3"),
            ("d.x_1234.5.6.7", "d.x_1234_5_6_7"),
            ("ü.1.1.1.1", "ü.1_1_1_1"),
        ] {
            assert_eq!(sanitize(name), harmless);
        }
    }

    #[test]
    fn a_flood_of_names_from_requests_ends_in_one_counter() {
        let stats = Stats::new();
        for number in 0..10 * MOST_FROM_REQUESTS {
            stats.of_request("d", &format!("d.key_{number}")).total_hits.add(1);
            stats.domain_not_found(&format!("unknown-{number}"), 1);
        }
        let all: BTreeMap<_, _> = stats.all().into_iter().collect();
        assert!(all.len() < 8 * MOST_FROM_REQUESTS, "{}", all.len());
        assert_eq!(all["ratelimit.service.rate_limit.d.other.total_hits"], 9 * MOST_FROM_REQUESTS as u64);
        assert_eq!(all["ratelimit.service.rate_limit.other.domain_not_found"], 9 * MOST_FROM_REQUESTS as u64);
        assert_eq!(all["ratelimit.service.stats_overflow"], 9 * MOST_FROM_REQUESTS as u64);
        let configured = stats.rule("d.configured");
        configured.total_hits.add(1);
        assert!(stats.page().contains("ratelimit.service.rate_limit.d.configured.total_hits: 1\n"));
    }
}
