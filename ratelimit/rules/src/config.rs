//! RateLimitConfigs, compiled: from a snapshot to the [`Index`] that requests are planned with.
//!
//! Each object stands alone. One that cannot be used keeps its last good
//! version in service; one that never was good is known as broken, so that what
//! it would have limited is answered with an error and not with a pass.

pub mod compile;
pub mod index;
pub mod pattern;
pub mod rule;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::gloo::rate_limit_config::{config_id, validate};
use api::gloo::{RateLimitConfig, RouteOption};
use api::{Kind, Meta as _, Name, Object, ObjectRef, Problem, Snapshot};
use status::{Condition, ObjectStatus, Report};

pub use compile::compile;
pub use index::{Config, Entry, Index, WeightScope};
pub use rule::Rule;

/// The author of our statements on the status board.
pub const AUTHOR: &str = "ratelimit";

/// The domains served unless told otherwise: the one our control plane and the newer
/// Gloo releases send, and the one Gloo Edge sends.
pub const DOMAINS: [&str; 2] = ["solo.io", "crd"];

/// Whether all values that a RateLimitConfig tells apart have a counter of their own.
pub const COUNTED_EXACTLY: &str = "CountedExactly";

/// What to tell the authors of the RateLimitConfigs `ids`, which have no room for more counters.
pub fn short_of_room(ids: &[Box<str>]) -> Report {
    let named =
        |id: &str| id.split_once('.').map(|(namespace, name)| ObjectRef::new(Kind::RateLimitConfig, namespace, name));
    let said = || {
        let message = "no room for more counters: values that come new are limited too early, together or at once; \
             count fewer values, in shorter windows, or give the server more room (--counters)";
        let conditions = vec![Condition::fails(COUNTED_EXACTLY, "NoRoom", message)];
        vec![ObjectStatus::new(conditions)]
    };
    ids.iter().filter_map(|id| Some((named(id)?, said()))).collect()
}

/// What is the same for every index of a process.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Domains that requests may name; `*` for any.
    pub domains: Arc<[Box<str>]>,
    /// Among which rules a weight is compared.
    pub weights: WeightScope,
}

/// Objects compiled so far, so that only what changed is compiled again.
///
/// Rules that are not written any more are answered for a little longer: Envoys that have not heard
/// of it yet still send their requests under the old name, and must not be told that nobody knows it.
#[derive(Debug, Clone)]
pub struct Configs {
    scope: Scope,
    grace: Duration,
    /// What is not written any more, by id, and until when it is answered for.
    removed: BTreeMap<Box<str>, (Arc<Config>, Instant)>,
    good: BTreeMap<Name, (Arc<RateLimitConfig>, Arc<Config>)>,
    /// RouteOptions with `ratelimitBasic`. One that cannot be used is no rule of ours: its routes are closed.
    basic: BTreeMap<Name, (Arc<RouteOption>, Arc<Config>)>,
}

/// What came of a snapshot.
#[derive(Debug)]
pub struct Outcome {
    /// What to serve from now on.
    pub index: Index,
    /// What to tell the authors.
    pub report: Report,
    /// How many objects could not be used as they are.
    pub refused: usize,
}

impl Configs {
    /// Nothing compiled yet. What is removed is gone at once.
    pub fn new(scope: Scope) -> Self {
        Self { scope, grace: Duration::ZERO, removed: BTreeMap::new(), good: BTreeMap::new(), basic: BTreeMap::new() }
    }

    /// From now on, what is removed is answered for `grace` longer.
    #[must_use]
    pub fn keeping_removed(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// When what was removed is to be forgotten next: then to be updated again.
    pub fn due(&self) -> Option<Instant> {
        self.removed.values().map(|(_, until)| *until).min()
    }

    /// What is compiled, by name.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Config>> {
        let basic = self.basic.values().map(|(_, config)| config);
        self.good.values().map(|(_, config)| config).chain(basic)
    }

    /// Compiles what changed since the last snapshot; what was removed is gone at once.
    pub fn update(&mut self, snapshot: &Snapshot) -> Outcome {
        self.compile_changes(snapshot, None)
    }

    /// [`Self::update`] at the time `now`, after which what was removed is answered for a while longer.
    pub fn update_at(&mut self, snapshot: &Snapshot, now: Instant) -> Outcome {
        self.compile_changes(snapshot, Some(now))
    }

    /// Without a time nothing that was removed is kept.
    fn compile_changes(&mut self, snapshot: &Snapshot, now: Option<Instant>) -> Outcome {
        let mut report = Report::new();
        let mut entries = HashMap::with_hasher(ahash::RandomState::new());
        let mut good = BTreeMap::new();
        let mut refused = 0;
        let mut say = |name: &Name, problems: Vec<Problem>, generation: Option<i64>| {
            let status = ObjectStatus::new(vec![Condition::accepted(problems)]).observing(generation);
            report.insert(ObjectRef { kind: Kind::RateLimitConfig, name: name.clone() }, vec![status]);
        };
        for (name, object) in &snapshot.rate_limit_configs {
            let before = self.good.remove(name);
            let (entry, problems) = match before {
                Some((source, config)) if Arc::ptr_eq(&source, object) => (Some((source, config)), validate(object)),
                before => {
                    let (compiled, problems) = compile(object, &self.scope);
                    let compiled = compiled.map(|config| (object.clone(), Arc::new(config)));
                    refused += usize::from(compiled.is_none());
                    (compiled.or(before), problems)
                }
            };
            say(name, problems, object.generation());
            let served = match &entry {
                Some((_, config)) => Entry::Serving(config.clone()),
                None => Entry::Broken,
            };
            entries.insert(config_id(name).into_boxed_str(), served);
            if let Some(entry) = entry {
                good.insert(name.clone(), entry);
            }
        }
        for (reference, broken) in &snapshot.broken {
            if reference.kind == Kind::RateLimitConfig {
                refused += 1;
                say(&reference.name, broken.problems.clone(), broken.partial.as_ref().and_then(Object::generation));
                entries.entry(config_id(&reference.name).into_boxed_str()).or_insert(Entry::Broken);
            }
        }
        let gone = std::mem::replace(&mut self.good, good).into_values().map(|(_, config)| config);
        let mut gone: Vec<Arc<Config>> = gone.collect();
        let mut basic = BTreeMap::new();
        for (name, option) in &snapshot.route_options {
            let known = self.basic.remove(name).filter(|(source, _)| Arc::ptr_eq(source, option));
            let compiled = || Some((option.clone(), Arc::new(compile::basic(option, &self.scope)?)));
            if let Some((source, config)) = known.or_else(compiled) {
                entries.insert(config.id.clone(), Entry::Serving(config.clone()));
                basic.insert(name.clone(), (source, config));
            }
        }
        gone.extend(std::mem::replace(&mut self.basic, basic).into_values().map(|(_, config)| config));
        if let Some(now) = now.filter(|_| !self.grace.is_zero()) {
            self.removed.extend(gone.into_iter().map(|config| (config.id.clone(), (config, now + self.grace))));
        }
        // What is written again, well or not, is as it is written.
        self.removed.retain(|id, (_, until)| now.is_some_and(|now| *until > now) && !entries.contains_key(id));
        for (id, (config, _)) in &self.removed {
            entries.insert(id.clone(), Entry::Serving(config.clone()));
        }
        Outcome { index: Index::new(self.scope.clone(), entries), report, refused }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use api::gloo::route_option::basic_id;
    use serde_json::{Value, json};

    use super::*;

    fn configs() -> Configs {
        Configs::new(Scope { domains: Arc::from(vec![Box::from("d")]), weights: WeightScope::default() })
    }

    fn limits(name: &str, unit: &str) -> Value {
        json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"raw": {"descriptors": [{"key": "a", "rateLimit": {"unit": unit, "requestsPerUnit": 1}}]}}})
    }

    fn option(name: &str, options: Value) -> Value {
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"options": options}})
    }

    fn serving(outcome: &Outcome, id: &str) -> Option<Arc<Config>> {
        match outcome.index.config(id) {
            Some(Entry::Serving(config)) => Some(config.clone()),
            _ => None,
        }
    }

    /// Two limits of one rule that count alike have a counter each: one hit is one hit.
    #[test]
    fn limits_that_count_alike_are_told_apart() {
        let limit = |requests: u32, unit: &str| json!({"unit": unit, "requestsPerUnit": requests});
        let descriptor = json!({"key": "a", "rateLimit": limit(1, "HOUR"),
            "limits": [limit(5, "HOUR"), limit(7, "HOUR")]});
        let mut config = limits("a", "HOUR");
        config["spec"]["raw"]["descriptors"] = json!([descriptor]);
        let config = serving(&configs().update(&Snapshot::of(&[config])), "ns.a").unwrap();
        let text = format!("{config:?}");
        let identities: Vec<&str> = text.match_indices("identity: ").map(|(at, _)| &text[at..at + 40]).collect();
        let distinct: std::collections::BTreeSet<&&str> = identities.iter().collect();
        assert_eq!((identities.len(), distinct.len()), (3, 3), "{text}");
    }

    #[test]
    fn a_star_stands_for_every_domain() {
        let index = |domains: &[&str]| {
            let domains: Vec<Box<str>> = domains.iter().map(|domain| Box::from(*domain)).collect();
            Index::not_loaded(Scope { domains: domains.into(), weights: WeightScope::default() })
        };
        let of = |domains: &[&str]| ["a", "b", "c"].map(|domain| index(domains).domain(domain));
        assert_eq!(of(&["a", "b"]), [Some(0), Some(1), None]);
        assert_eq!(of(&["a", "*"]), [Some(0), Some(1), Some(1)]);
        assert_eq!(of(&[]), [None; 3]);
    }

    #[test]
    fn what_cannot_be_used_keeps_its_last_good_version_and_is_counted() {
        let good = Snapshot::of(&[limits("a", "HOUR"), limits("b", "HOUR")]);
        // As if admission had let it pass.
        let mut bad = good.clone();
        for broken in Snapshot::of(&[limits("a", "ODD"), limits("b", "ODD")]).broken.values() {
            bad.insert(broken.partial.clone().unwrap());
        }
        let mut kept = configs();
        let first = kept.update(&good);
        let second = kept.update(&bad);
        assert_eq!((first.refused, second.refused), (0, 2));
        for id in ["ns.a", "ns.b"] {
            assert!(Arc::ptr_eq(&serving(&first, id).unwrap(), &serving(&second, id).unwrap()), "{id}");
        }
        let never = configs().update(&bad);
        assert!(matches!(never.index.config("ns.a"), Some(Entry::Broken)) && never.refused == 2);
        let third = kept.update(&good);
        assert_eq!((third.refused, serving(&third, "ns.a").is_some()), (0, true));
        // What stays as it is is not compiled again.
        let again = kept.update(&good);
        for id in ["ns.a", "ns.b"] {
            assert!(Arc::ptr_eq(&serving(&third, id).unwrap(), &serving(&again, id).unwrap()), "{id}");
        }
    }

    #[test]
    fn every_broken_config_is_known_as_broken_and_nothing_of_another_kind_is() {
        let mut other = option("a", json!({}));
        other["spec"] = json!([]);
        let outcome = configs().update(&Snapshot::of(&[other, limits("b", "ODD"), limits("c", "ODD")]));
        assert!(outcome.index.config("ns.a").is_none());
        for id in ["ns.b", "ns.c"] {
            assert!(matches!(outcome.index.config(id), Some(Entry::Broken)), "{id}");
        }
        assert_eq!((outcome.refused, outcome.report.len()), (2, 2));
    }

    #[test]
    fn basic_limits_are_served_until_their_grace_is_over_and_compiled_once() {
        let basic = || json!({"ratelimitBasic": {"anonymousLimits": {"unit": "HOUR", "requestsPerUnit": 1}}});
        let declared =
            Snapshot::of(&[option("o", basic()), option("p", basic()), option("q", json!({"timeout": "1s"}))]);
        let ids = ["o", "p", "q"].map(|name| basic_id(&Name::new("ns", name)));
        let (mut configs, now) = (configs().keeping_removed(Duration::from_secs(10)), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let first = configs.update_at(&declared, now);
        let second = configs.update_at(&declared, after(1));
        for id in &ids[..2] {
            assert!(Arc::ptr_eq(&serving(&first, id).unwrap(), &serving(&second, id).unwrap()), "{id}");
        }
        assert_eq!((serving(&first, &ids[2]).is_none(), configs.served().count()), (true, 2));
        let gone = configs.update_at(&Snapshot::default(), after(2));
        assert!(serving(&gone, &ids[0]).is_some() && serving(&gone, &ids[1]).is_some());
        assert_eq!((configs.due(), configs.served().count()), (Some(after(12)), 0));
        let forgotten = configs.update_at(&Snapshot::default(), after(12));
        assert!(serving(&forgotten, &ids[0]).is_none() && serving(&forgotten, &ids[1]).is_none());
    }
}
