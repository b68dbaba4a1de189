//! Puts into service what was found in files or heard over xDS.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::{Gate, Readiness};

use super::domains::{Content, Domains, Outcome, Sources};
use super::env::EnvSettings;
use super::stats::Stats;

/// Puts what was found into service.
#[derive(Debug)]
pub struct Loading {
    sources: Sources,
    domains: Arc<ArcSwap<Domains>>,
    stats: Arc<Stats>,
    readiness: Readiness,
    /// Closed until something was loaded.
    first: Option<Gate>,
    /// Closed while there is no domain.
    empty: Option<Gate>,
    want_a_domain: bool,
}

/// What stands in the way of readiness while there are no rules.
const NO_DOMAIN: &str = "at least one rate limit configuration";

impl Loading {
    /// Nothing loaded yet.
    pub fn new(
        settings: &EnvSettings,
        domains: Arc<ArcSwap<Domains>>,
        stats: Arc<Stats>,
        readiness: &Readiness,
    ) -> Self {
        Loading {
            sources: Sources::new(settings.merge_domains, stats.clone()),
            domains,
            stats,
            readiness: readiness.clone(),
            first: (!settings.force_start).then(|| readiness.gate("rate limit configuration")),
            empty: settings.want_a_domain.then(|| readiness.gate(NO_DOMAIN)),
            want_a_domain: settings.want_a_domain,
        }
    }

    /// Loads what was found, or says why nothing was.
    pub fn load(&mut self, found: Result<BTreeMap<String, Content>, String>) {
        match found {
            Ok(sources) => {
                self.update(sources);
            }
            Err(why) => {
                tracing::error!(why, "no configuration was loaded; what was serves on");
                self.count(false);
            }
        }
    }

    /// Loads `sources` and returns what is wrong with them.
    pub fn update(&mut self, sources: BTreeMap<String, Content>) -> Vec<String> {
        let Outcome { domains, problems, refused } = self.sources.update(sources);
        let empty = domains.is_empty();
        self.domains.store(Arc::new(domains));
        self.count(refused == 0);
        let mut errors = Vec::new();
        for (source, problem) in problems {
            if problem.is_error() {
                tracing::error!(source, %problem, "cannot be used as it is; its last good version serves on, if it has one");
                errors.push(format!("{source}: {problem}"));
            } else {
                tracing::warn!(source, %problem, "loaded, but perhaps not as meant");
            }
        }
        if refused == 0 {
            tracing::info!(empty, "loaded new configuration");
        }
        if let Some(gate) = self.first.take() {
            gate.open();
        }
        match (self.want_a_domain && empty, self.empty.take()) {
            (true, None) => self.empty = Some(self.readiness.gate(NO_DOMAIN)),
            (false, Some(gate)) => gate.open(),
            (_, gate) => self.empty = gate,
        }
        errors
    }

    fn count(&self, good: bool) {
        self.stats.service(if good { "config_load_success" } else { "config_load_error" }).add(1);
    }
}
