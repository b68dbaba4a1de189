//! Why a request is answered as it is: which rules it meets, which of them hold, what is left. Pure.
//!
//! ```text
//! ask → message → request → Question ─ looks ─► store ─ readings ─► Explanation → text or JSON
//! ```
//!
//! Nothing is spent: the store is only looked at, with hits of 0. What would be
//! answered comes from the planner and from [`decide`] themselves, so that an
//! explanation cannot say something else than the service does; only the
//! reasons are found here.

pub mod ask;
pub mod print;
pub mod trace;

use api::gloo::rate_limit_config::SET_DESCRIPTOR_MARKER;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::config::index::Index;
use crate::config::pattern::Pattern;
use crate::config::rule::{Rule, Style, is_apart};
use crate::decide::{decide, remaining, would_be_over};
use crate::plan::{Counted, Outcome, Plan, RuleRef, plan};
use crate::request::{Entries, Request};
use limit::trial;
use limit::{Algorithm, Change, CountPolicy, Hit, Limit, UnixSecs};

pub use ask::Ask;
use trace::{Meeting, Verdict};

/// A request that is asked about, planned.
#[derive(Debug)]
pub struct Question<'q> {
    index: &'q Index,
    request: &'q Request<'q>,
    plan: Plan<'q>,
    now: UnixSecs,
}

/// What a request meets and what would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The domain asked for.
    pub domain: String,
    /// What would be answered.
    pub answer: Answer,
    /// Whether counters were looked at; otherwise they are taken for unused.
    pub counters_read: bool,
    /// What cannot be said of a single descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// One for each descriptor, in order.
    pub descriptors: Vec<Explained>,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// There is room.
    Ok,
    /// There is none.
    Over,
    /// A gRPC error: Envoy does what its owner told it to do on failure.
    Error,
}

/// What one descriptor meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// In short form.
    pub descriptor: String,
    /// What it alone would be answered.
    pub answer: Answer,
    /// What it came to.
    pub outcome: Outcome,
    /// The entries followed in the tree, in words; nothing for a set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// Why no rule holds, or what else should be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The rules that match or nearly do, in the order they are considered.
    pub rules: Vec<RuleMet>,
}

/// A rule, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleMet {
    /// Its name, as responses and `/rlconfig` give it.
    pub rule: String,
    /// What it allows, in words; nothing for a rule that lets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Whether it applies whatever its weight or place.
    pub always_apply: bool,
    /// Whether it counts, but refuses nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Whether requests that are refused are not counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_when_allowed: bool,
    /// Whether it holds for this request.
    pub verdict: Verdict,
    /// Why.
    pub because: String,
    /// Its counters for this request, if it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<CounterMet>,
}

/// Where a counter stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterMet {
    /// The descriptor it counts, in short form.
    pub counter: String,
    /// What it allows, in words.
    pub limit: String,
    /// How much of that is used, before this request.
    pub used: u64,
    /// How much is left, before this request.
    pub left: u32,
    /// Whether this request would be over; of a rule in shadow it passes all the same.
    pub over: bool,
    /// In how many seconds all of it is free again, if nothing else comes.
    pub resets_in_seconds: u64,
}

impl<'q> Question<'q> {
    /// What would be answered to `request` at `now`?
    pub fn new(index: &'q Index, request: &'q Request<'q>, now: UnixSecs) -> Self {
        Self { index, request, plan: plan(index, request, now), now }
    }

    /// What must be read to answer it, spending nothing.
    pub fn looks(&self) -> SmallVec<[Hit<'_>; 4]> {
        self.plan.hits().into_iter().map(look).collect()
    }

    /// The answer, from the counts that [`Self::looks`] came to; without any, all counters are unused.
    pub fn answer(&self, readings: Option<&[u64]>) -> Explanation {
        let used = |at: usize| readings.and_then(|readings| readings.get(at)).copied().unwrap_or(0);
        let counts = self.counts_after(used);
        let response = decide(&self.plan, &counts, self.request.domain, self.now);
        let meetings = trace::trace(self.index, self.request, &self.plan);
        let mut descriptors: Vec<Explained> = (self.request.descriptors.iter())
            .zip(meetings)
            .zip(&self.plan.outcomes)
            .map(|((descriptor, meeting), outcome)| self.explained(descriptor.entries, meeting, *outcome))
            .collect();
        for (at, (counted, count)) in self.plan.counted.iter().zip(&counts).enumerate() {
            let Some(descriptor) = self.request.descriptors.get(counted.descriptor) else { continue };
            let Some(explained) = descriptors.get_mut(counted.descriptor) else { continue };
            let standing = CounterMet {
                counter: counter_name(&counted.rule, descriptor.entries),
                limit: limit_in_words(counted.limit),
                used: used(at),
                left: remaining(counted, used(at)),
                over: would_be_over(counted, *count),
                resets_in_seconds: counted.limit.reset(used(at), counted.window, self.now).as_secs(),
            };
            self.attach(explained, counted, standing);
        }
        for (explained, status) in descriptors.iter_mut().zip(&response.statuses) {
            if status.over {
                explained.answer = Answer::Over;
            }
        }
        Explanation {
            domain: self.request.domain.to_owned(),
            answer: if response.over { Answer::Over } else { Answer::Ok },
            counters_read: readings.is_some(),
            note: self.plan.domain.is_none().then(|| {
                let served: Vec<&str> = self.index.domains().iter().map(|domain| &**domain).collect();
                format!("the domain is not served, so everything passes; served: {}", served.join(", "))
            }),
            descriptors,
        }
    }

    /// The counts that the store would come to, from how much of each counter is used.
    fn counts_after(&self, used: impl Fn(usize) -> u64) -> Vec<u64> {
        let hits = self.plan.hits();
        let used: Vec<Option<u64>> = (0..hits.len()).map(|at| Some(used(at))).collect();
        let after = |hit: &Hit<'_>, before: u64| {
            let count = match hit.change {
                Change::Add(hits) => before.saturating_add(hits.into()),
                Change::Refund(hits) => before.saturating_sub(hits.into()),
            };
            trial::Change { before, count, counted: count }
        };
        trial::trial(&hits, &used, after).counts.into_vec()
    }

    fn explained(&self, entries: Entries<'_>, meeting: Meeting<'_>, outcome: Outcome) -> Explained {
        let Meeting { path, note, rules } = meeting;
        let met = rules.into_iter().map(|met| RuleMet {
            rule: met.name(self.request.domain),
            limit: met.rule.map(|rule| limit_in_words(rule.limit)),
            weight: met.rule.map_or(0, |rule| rule.weight),
            always_apply: met.always_apply,
            shadow: met.rule.is_some_and(|rule| rule.shadow),
            only_when_allowed: met.rule.is_some_and(|rule| rule.policy == CountPolicy::WhenAllowed),
            verdict: met.verdict,
            because: met.because,
            counters: Vec::new(),
        });
        let answer = match outcome {
            Outcome::Limited | Outcome::Outweighed | Outcome::Unlimited | Outcome::Miss => Answer::Ok,
            Outcome::Broken | Outcome::Unknown => Answer::Over,
        };
        Explained { descriptor: in_short(entries), answer, outcome, path, note, rules: met.collect() }
    }

    /// Puts a counter beside its rule, or beside the one made up for the request.
    fn attach(&self, explained: &mut Explained, counted: &Counted<'_>, standing: CounterMet) {
        let name = counted.rule.name(self.request.domain);
        let made_up = matches!(counted.rule, RuleRef::MadeUp(_));
        let known = explained.rules.iter_mut().find(|met| {
            // Twins have one name; each takes the counter of its own.
            !made_up && met.verdict == Verdict::Applies && met.rule == name && met.counters.is_empty()
        });
        match known {
            Some(met) => {
                if counted.limit != counted.rule.limit {
                    met.because.push_str("; the limit is the request's own");
                }
                met.counters.push(standing);
            }
            None => explained.rules.push(RuleMet {
                rule: name,
                limit: Some(limit_in_words(counted.limit)),
                weight: counted.rule.weight,
                always_apply: counted.rule.always_apply,
                shadow: counted.rule.shadow,
                only_when_allowed: counted.rule.policy == CountPolicy::WhenAllowed,
                verdict: Verdict::Applies,
                because: "the request carries its own limit, and no rule matches it".to_owned(),
                counters: vec![standing],
            }),
        }
    }
}

/// A hit that reads the counter of `hit` and adds nothing to it.
pub fn look(hit: Hit<'_>) -> Hit<'_> {
    Hit { change: Change::Add(0), ..hit }
}

/// `10 per MINUTE`, `10 per 5 MINUTE, sliding window`.
pub fn limit_in_words(limit: Limit) -> String {
    let units = if limit.units() == 1 { String::new() } else { format!("{} ", limit.units()) };
    let how = match limit.algorithm() {
        Algorithm::FixedWindow => String::new(),
        Algorithm::SlidingWindow => ", sliding window".to_owned(),
        Algorithm::TokenBucket { burst } => format!(", token bucket of {burst}"),
    };
    format!("{} per {units}{}{how}", limit.requests_per_unit, limit.unit())
}

fn in_short(entries: Entries<'_>) -> String {
    ask::short(entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())))
}

/// What a counter of `rule` counts when `entries` are sent: the rule's keys with the request's values.
pub fn counter_name(rule: &Rule, entries: Entries<'_>) -> String {
    let mut own = entries.get(1..).unwrap_or_default();
    let marked = own.first().is_some_and(|entry| entry.key == "generic_key" && entry.value == SET_DESCRIPTOR_MARKER);
    let mut all: Vec<(&str, &str)> = vec![("generic_key", &rule.config)];
    if marked || matches!(rule.style, Style::Set(_)) {
        all.push(("generic_key", SET_DESCRIPTOR_MARKER));
    }
    if marked {
        own = own.get(1..).unwrap_or_default();
    }
    let shared: Vec<String> = (rule.parts.iter())
        .map(|part| part.value_match.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string))
        .collect();
    for ((at, part), shared) in rule.parts.iter().enumerate().zip(&shared) {
        let value = match rule.style {
            _ if !part.value.is_empty() => part.value.as_str(),
            _ if !is_apart(part) => shared,
            Style::Tree | Style::Override => own.get(at).map_or("", |entry| entry.value.as_str()),
            // As in `SetRule::values`: of those that fit the least, whatever order they came in.
            Style::Set(_) => {
                let values = || own.iter().filter(|entry| entry.key == part.key).map(|entry| entry.value.as_str());
                let pattern = || part.value_match.as_ref().and_then(Pattern::new);
                let several = (values().count() > 1).then(pattern).flatten();
                let fits = |value: &&str| several.as_ref().is_none_or(|pattern| pattern.matches(value));
                values().filter(fits).min().unwrap_or_default()
            }
        };
        all.push((&part.key, value));
    }
    ask::short(all)
}
