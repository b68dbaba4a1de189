//! Which RouteOptions govern a rule, and what they say together.
//!
//! `ExtensionRef` filters come first, in their order, then RouteOptions that
//! name the route in `targetRefs`, oldest first. Each top-level option is taken
//! from the first that sets it.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::rate_limit_config::{MOST_CLIENT_VALUES_PER_ROUTE, MOST_REFS};
use api::gloo::route_option::{RouteOption, RouteOptions};
use api::{Kind, Name, ObjectRef};

use crate::gloo::targets;
use crate::guards::{Guard, guards};
use crate::view::View;
use crate::{gloo, refusals};

/// What all RouteOptions of one rule say together.
#[derive(Debug, Default)]
pub struct Effective {
    /// The merged options.
    pub options: RouteOptions,
    /// Those that took part, each with what it asks for to guard requests.
    pub sources: BTreeMap<Name, BTreeSet<Guard>>,
    /// Why the rule must be refused.
    pub refusal: Option<String>,
    /// ExtensionRefs to what does not exist.
    pub missing: Vec<Name>,
    /// Whose `ratelimitBasic` it is.
    pub basic: Option<Name>,
    /// What has no effect, since another comes first.
    pub overridden: Vec<Overridden>,
}

/// An option that is taken from another RouteOption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// The RouteOption that has no effect here.
    pub loser: Name,
    /// With this option.
    pub option: &'static str,
    /// The one that comes first.
    pub winner: Name,
    /// Whether the winner is for less than the loser: for this rule, of which the other knows nothing.
    pub narrower: bool,
    /// What the loser asks for to guard requests, and the winner does not.
    pub lost: BTreeSet<Guard>,
}

/// For how much of a route a RouteOption is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// The rule names it.
    Rule,
    /// It names the rule.
    Section,
    /// It names the route.
    Route,
}

/// What governs the rule `rule_name` of `route`, whose `ExtensionRef`s are `extensions`.
pub fn effective(view: &View<'_>, route: &ObjectRef, rule_name: Option<&str>, extensions: &[Name]) -> Effective {
    let mut effective = Effective::default();
    let mut sources: Vec<(&Name, &RouteOption, Extent)> = Vec::new();
    for name in extensions {
        let reference = ObjectRef { kind: Kind::RouteOption, name: name.clone() };
        if let Some(option) = view.route_option(name) {
            sources.push((name, option.as_ref(), Extent::Rule));
        } else if view.broken(&reference).is_some() {
            let why = format!("{reference}, which governs this route, is not valid; see its status");
            effective.refusal.get_or_insert(why);
        } else {
            let why = format!("{reference}, which governs this route, does not exist");
            effective.refusal.get_or_insert(why);
            effective.missing.push(name.clone());
        }
    }
    for name in view.options_on(route) {
        let Some(option) = view.route_option(name) else { continue };
        let here = |(target, section): (ObjectRef, Option<&str>)| match section {
            _ if target != *route => None,
            None => Some(Extent::Route),
            Some(section) => (Some(section) == rule_name).then_some(Extent::Section),
        };
        if let Some(extent) = targets(name, option).filter_map(here).max() {
            sources.push((name, option.as_ref(), extent));
        }
    }
    if let Some(why) = refusals::of_rule(view, route, rule_name) {
        effective.refusal.get_or_insert(why);
    }
    let mut winners = BTreeMap::new();
    for (name, option, extent) in sources {
        if effective.sources.contains_key(name) {
            continue;
        }
        let options = &option.spec.options;
        effective.sources.insert(name.clone(), guards(options, &route.name.namespace));
        effective.merge((name, extent), options, &mut winners);
        if let Some(limit) = invalid_limit(view, name, options) {
            let why = format!("{limit}, which limits this route, is not valid; see its status");
            effective.refusal.get_or_insert(why);
        }
    }
    effective.find_lost(view, &route.name.namespace);
    if effective.refusal.is_none() {
        effective.refusal = too_much(view, &route.name.namespace, &effective.options);
    }
    effective
}

/// Why the limits of `options`, together, may describe a request by more than the rate-limit service takes.
///
/// Each object is admitted for itself; what counts is the sum, over all RouteOptions of the route.
/// Such a question would go unanswered, and no answer may be a pass.
fn too_much(view: &View<'_>, home: &str, options: &RouteOptions) -> Option<String> {
    let named: Vec<Name> = gloo::limits(options).map(|(_, reference)| reference.resolve(home)).collect();
    if named.len() > MOST_REFS {
        let many = named.len();
        return Some(format!(
            "its RouteOptions name {many} RateLimitConfigs together; at most {MOST_REFS} are allowed"
        ));
    }
    let known = named.iter().filter_map(|name| view.rate_limit_config(name));
    let values: usize = known.map(|config| config.spec.raw.client_values()).sum();
    (values > MOST_CLIENT_VALUES_PER_ROUTE).then(|| {
        format!(
            "its RateLimitConfigs copy {values} headers and query parameters of a request into what is counted; at most \
             {MOST_CLIENT_VALUES_PER_ROUTE} are allowed on one route: name fewer RateLimitConfigs, or count by fewer \
             requestHeaders and queryParameters"
        )
    })
}

/// A RateLimitConfig that was never valid and that these options of RouteOption `from` name.
fn invalid_limit(view: &View<'_>, from: &Name, options: &RouteOptions) -> Option<ObjectRef> {
    let configs = [&options.rate_limit_configs, &options.rate_limit_early_configs, &options.rate_limit_regular_configs];
    let refs = configs.into_iter().flatten().flat_map(|configs| &configs.refs);
    let named = refs.map(|reference| reference.resolve(&from.namespace));
    named.map(|name| ObjectRef { kind: Kind::RateLimitConfig, name }).find(|limit| view.broken(limit).is_some())
}

/// The RouteOption from which each option is taken.
type Winners<'a> = BTreeMap<&'static str, (&'a Name, Extent)>;

impl Effective {
    fn merge<'a>(&mut self, by: (&'a Name, Extent), from: &RouteOptions, winners: &mut Winners<'a>) {
        macro_rules! take {
            ($($field:ident $written:literal,)+) => {$(
                if from.$field.is_some() {
                    if self.options.$field.is_none() {
                        self.options.$field.clone_from(&from.$field);
                        winners.insert($written, by);
                    } else if let Some((winner, extent)) = winners.get($written) {
                        self.overridden.push(Overridden {
                            loser: by.0.clone(),
                            option: $written,
                            winner: (*winner).clone(),
                            narrower: *extent < by.1,
                            lost: BTreeSet::new(),
                        });
                    }
                }
            )+};
        }
        take! {
            extauth "extauth",
            rate_limit_configs "rateLimitConfigs",
            rate_limit_early_configs "rateLimitEarlyConfigs",
            rate_limit_regular_configs "rateLimitRegularConfigs",
            ratelimit_basic "ratelimitBasic",
            header_manipulation "headerManipulation",
            timeout "timeout",
            retries "retries",
            cors "cors",
            prefix_rewrite "prefixRewrite",
            host_rewrite "hostRewrite",
            faults "faults",
        }
        self.basic = winners.get("ratelimitBasic").map(|(name, _)| (*name).clone());
    }

    /// Whether the RouteOption `name` asks for a limit that no narrower one has withdrawn.
    pub fn limited_by(&self, name: &Name) -> bool {
        let limits = self.sources.get(name).into_iter().flatten().filter(|guard| !matches!(guard, Guard::Auth(_)));
        let withdrawn = |limit: &Guard| {
            let mut overridden = self.overridden.iter().filter(|found| found.loser == *name);
            overridden.any(|found| found.narrower && found.lost.contains(limit))
        };
        limits.into_iter().any(|limit| !withdrawn(limit))
    }

    /// What those that are overridden ask for and all together do not.
    fn find_lost(&mut self, view: &View<'_>, home: &str) {
        if self.overridden.is_empty() {
            return;
        }
        let met = guards(&self.options, home);
        for overridden in &mut self.overridden {
            let Some(loser) = view.route_option(&overridden.loser) else { continue };
            let wanted = match overridden.option {
                "extauth" | "rateLimitConfigs" | "rateLimitEarlyConfigs" | "rateLimitRegularConfigs" => {
                    guards(&loser.spec.options, home)
                }
                // Another's counts by other numbers.
                "ratelimitBasic" if loser.spec.options.ratelimit_basic != self.options.ratelimit_basic => {
                    overridden.lost.insert(Guard::Basic);
                    continue;
                }
                _ => continue,
            };
            overridden.lost = wanted.difference(&met).cloned().collect();
        }
    }
}
