//! Which RouteOptions govern a rule, and what they say together.
//!
//! `ExtensionRef` filters come first, in their order, then RouteOptions that
//! name the route in `targetRefs`, oldest first. Each top-level option is taken
//! from the first that sets it.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::route_option::{RouteOption, RouteOptions};
use api::{Kind, Name, ObjectRef, Snapshot};

use super::declared::age;
use super::refusals::Refusals;

/// RouteOptions by the routes they name.
#[derive(Debug, Default)]
pub struct Policies<'a> {
    by_route: BTreeMap<Name, Vec<Attachment<'a>>>,
    named: BTreeMap<&'a Name, Vec<Name>>,
}

#[derive(Debug)]
struct Attachment<'a> {
    name: &'a Name,
    section: Option<&'a str>,
    option: &'a RouteOption,
}

/// What all RouteOptions of one rule say together.
#[derive(Debug, Default)]
pub struct Effective {
    /// The merged options.
    pub options: RouteOptions,
    /// Those that took part.
    pub sources: BTreeSet<Name>,
    /// Why the rule must be refused.
    pub refusal: Option<String>,
    /// ExtensionRefs to what does not exist.
    pub missing: Vec<Name>,
    /// Whose `ratelimitBasic` it is.
    pub basic: Option<Name>,
    /// `(loser, option, winner)`.
    pub overridden: Vec<(Name, &'static str, Name)>,
}

/// Sorts all RouteOptions by what they name.
pub fn attach(snapshot: &Snapshot) -> Policies<'_> {
    let mut policies = Policies::default();
    let mut oldest_first: Vec<(&Name, &RouteOption)> =
        snapshot.route_options.iter().map(|(name, option)| (name, option.as_ref())).collect();
    oldest_first.sort_by_key(|(name, option)| (age(&option.metadata), (*name).clone()));
    for (name, option) in oldest_first {
        // Admission lets no other kind pass; a Service of that name is no route.
        for target in option.spec.target_refs.iter().filter(|target| target.kind == Kind::HttpRoute.as_str()) {
            let route = Name::new(name.namespace.as_str(), target.name.as_str());
            let attachment = Attachment { name, section: target.section_name.as_deref(), option };
            policies.named.entry(name).or_default().push(route.clone());
            policies.by_route.entry(route).or_default().push(attachment);
        }
    }
    policies
}

impl<'a> Policies<'a> {
    /// The routes that the RouteOption `name` names.
    pub fn named(&self, name: &Name) -> &[Name] {
        self.named.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// What governs the rule `rule_name` of `route`, whose `ExtensionRef`s are `extensions`.
    pub fn effective(
        &self,
        snapshot: &Snapshot,
        refusals: &Refusals,
        route: &ObjectRef,
        rule_name: Option<&str>,
        extensions: &[Name],
    ) -> Effective {
        let mut effective = Effective::default();
        let mut sources: Vec<(&Name, &RouteOption)> = Vec::new();
        for name in extensions {
            let reference = ObjectRef { kind: Kind::RouteOption, name: name.clone() };
            if let Some(option) = snapshot.route_options.get(name) {
                sources.push((name, option.as_ref()));
            } else if snapshot.broken.contains_key(&reference) {
                let why = format!("{reference}, which governs this route, is not valid; see its status");
                effective.refusal.get_or_insert(why);
            } else {
                let why = format!("{reference}, which governs this route, does not exist");
                effective.refusal.get_or_insert(why);
                effective.missing.push(name.clone());
            }
        }
        for attachment in self.by_route.get(&route.name).into_iter().flatten() {
            if attachment.section.is_none_or(|section| Some(section) == rule_name) {
                sources.push((attachment.name, attachment.option));
            }
        }
        if let Some(why) = refusals.of_rule(route, rule_name) {
            effective.refusal.get_or_insert_with(|| why.to_owned());
        }
        let mut winners = BTreeMap::new();
        for (name, option) in sources {
            if effective.sources.insert(name.clone()) {
                effective.merge(name, &option.spec.options, &mut winners);
                if let Some(limit) = invalid_limit(snapshot, name, &option.spec.options) {
                    let why = format!("{limit}, which limits this route, is not valid; see its status");
                    effective.refusal.get_or_insert(why);
                }
            }
        }
        effective
    }
}

/// A RateLimitConfig that was never valid and that these options of RouteOption `from` name.
fn invalid_limit(snapshot: &Snapshot, from: &Name, options: &RouteOptions) -> Option<ObjectRef> {
    let configs = [&options.rate_limit_configs, &options.rate_limit_early_configs, &options.rate_limit_regular_configs];
    let refs = configs.into_iter().flatten().flat_map(|configs| &configs.refs);
    let named = refs.map(|reference| reference.resolve(&from.namespace));
    named.map(|name| ObjectRef { kind: Kind::RateLimitConfig, name }).find(|limit| snapshot.broken.contains_key(limit))
}

impl Effective {
    fn merge(&mut self, name: &Name, from: &RouteOptions, winners: &mut BTreeMap<&'static str, Name>) {
        macro_rules! take {
            ($($field:ident $written:literal,)+) => {$(
                if from.$field.is_some() {
                    if self.options.$field.is_none() {
                        self.options.$field.clone_from(&from.$field);
                        winners.insert($written, name.clone());
                    } else if let Some(winner) = winners.get($written) {
                        self.overridden.push((name.clone(), $written, winner.clone()));
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
        self.basic = winners.get("ratelimitBasic").cloned();
    }
}
