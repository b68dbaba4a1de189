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

use api::gloo::rate_limit_config::{config_id, validate};
use api::gloo::{RateLimitConfig, RouteOption};
use api::{Kind, Name, ObjectRef, Problem, Snapshot};
use status::{Condition, ObjectStatus, Report};

pub use compile::compile;
pub use index::{Config, Entry, Index, WeightScope};
pub use rule::{CounterId, Rule};

/// The author of our statements on the status board.
pub const AUTHOR: &str = "ratelimit";

/// What is the same for every index of a process.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Domains that requests may name; `*` for any.
    pub domains: Arc<[Box<str>]>,
    /// Among which rules a weight is compared.
    pub weights: WeightScope,
}

/// Objects compiled so far, so that only what changed is compiled again.
#[derive(Debug, Clone)]
pub struct Configs {
    scope: Scope,
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
    /// Nothing compiled yet.
    pub fn new(scope: Scope) -> Self {
        Self { scope, good: BTreeMap::new(), basic: BTreeMap::new() }
    }

    /// What is compiled, by name.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Config>> {
        let basic = self.basic.values().map(|(_, config)| config);
        self.good.values().map(|(_, config)| config).chain(basic)
    }

    /// Compiles what changed since the last snapshot.
    pub fn update(&mut self, snapshot: &Snapshot) -> Outcome {
        let mut report = Report::new();
        let mut entries = HashMap::with_hasher(ahash::RandomState::new());
        let mut good = BTreeMap::new();
        let mut refused = 0;
        let mut say = |name: &Name, problems: Vec<Problem>| {
            let status = ObjectStatus::new(vec![Condition::accepted(problems)]);
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
            say(name, problems);
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
                say(&reference.name, broken.problems.clone());
                entries.entry(config_id(&reference.name).into_boxed_str()).or_insert(Entry::Broken);
            }
        }
        self.good = good;
        let mut basic = BTreeMap::new();
        for (name, option) in &snapshot.route_options {
            let known = self.basic.remove(name).filter(|(source, _)| Arc::ptr_eq(source, option));
            let compiled = || Some((option.clone(), Arc::new(compile::basic(option, &self.scope)?)));
            if let Some((source, config)) = known.or_else(compiled) {
                entries.insert(config.id.clone(), Entry::Serving(config.clone()));
                basic.insert(name.clone(), (source, config));
            }
        }
        self.basic = basic;
        Outcome { index: Index::new(self.scope.clone(), entries), report, refused }
    }
}
