//! Which RouteOptions govern a rule, and what they say together.
//!
//! `ExtensionRef` filters come first, in their order, then RouteOptions that
//! name the route in `targetRefs`, oldest first. Each top-level option is taken
//! from the first that sets it.

use std::collections::{BTreeMap, BTreeSet};

use api::gloo::route_option::{RouteOption, RouteOptions, TargetRef};
use api::object::Meta;
use api::{Broken, Kind, Name, Object, ObjectRef, Snapshot};

use super::declared::age;

/// RouteOptions by the routes they name.
#[derive(Debug, Default)]
pub struct Policies<'a> {
    by_route: BTreeMap<Name, Vec<Attachment<'a>>>,
    /// Namespaces with a RouteOption of which we cannot read what it governs.
    unreadable: BTreeMap<String, Name>,
}

#[derive(Debug)]
struct Attachment<'a> {
    name: Name,
    section: Option<&'a str>,
    option: Option<&'a RouteOption>,
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
    oldest_first.sort_by_key(|(name, option)| (age(option.meta()), (*name).clone()));
    for (name, option) in oldest_first {
        for target in &option.spec.target_refs {
            policies.add(name, target, Some(option));
        }
    }
    for (reference, broken) in &snapshot.broken {
        if reference.kind != Kind::RouteOption {
            continue;
        }
        if let Some(Object::RouteOption(partial)) = &broken.partial {
            for target in &partial.spec.target_refs {
                policies.add(&reference.name, target, None);
            }
        }
        if targets_unreadable(broken) {
            policies.unreadable.insert(reference.name.namespace.clone(), reference.name.clone());
        }
    }
    policies
}

/// Whether a target was lost because it could not be decoded.
fn targets_unreadable(broken: &Broken) -> bool {
    broken.problems.iter().filter(|problem| problem.is_error()).any(|problem| {
        let field = problem.field.as_str();
        let judged_later = [".group", ".kind", ".namespace"].iter().any(|end| field.ends_with(end));
        field == "spec.targetRefs" || field.starts_with("spec.targetRefs[") && !judged_later
    })
}

impl<'a> Policies<'a> {
    fn add(&mut self, name: &Name, target: &'a TargetRef, option: Option<&'a RouteOption>) {
        let route = Name::new(name.namespace.as_str(), target.name.as_str());
        let attachment = Attachment { name: name.clone(), section: target.section_name.as_deref(), option };
        self.by_route.entry(route).or_default().push(attachment);
    }

    /// Whether anything names `route`.
    pub fn named(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.by_route.iter().filter(move |(_, list)| list.iter().any(|a| a.name == *name)).map(|(route, _)| route)
    }

    /// What governs the rule `rule_name` of `route`, whose `ExtensionRef`s are `extensions`.
    pub fn effective(
        &self,
        snapshot: &'a Snapshot,
        route: &Name,
        rule_name: Option<&str>,
        extensions: &[Name],
    ) -> Effective {
        let mut effective = Effective::default();
        let mut sources: Vec<(&Name, Option<&RouteOption>)> = Vec::new();
        for name in extensions {
            match snapshot.route_options.get(name) {
                Some(option) => sources.push((name, Some(option.as_ref()))),
                None if snapshot.broken.contains_key(&ObjectRef { kind: Kind::RouteOption, name: name.clone() }) => {
                    sources.push((name, None));
                }
                None => effective.missing.push(name.clone()),
            }
        }
        for attachment in self.by_route.get(route).into_iter().flatten() {
            if attachment.section.is_none_or(|section| Some(section) == rule_name) {
                sources.push((&attachment.name, attachment.option));
            }
        }
        if let Some(unreadable) = self.unreadable.get(&route.namespace) {
            sources.push((unreadable, None));
        }
        if let Some(missing) = effective.missing.first() {
            effective.refusal = Some(format!("RouteOption {missing}, which governs this route, does not exist"));
        }
        let mut winners = BTreeMap::new();
        for (name, option) in sources {
            let first_time = effective.sources.insert(name.clone());
            match option {
                Some(option) if first_time => effective.merge(name, &option.spec.options, &mut winners),
                Some(_) => {}
                None => {
                    effective.refusal.get_or_insert_with(|| {
                        format!("RouteOption {name}, which governs this route, is not valid; see its status")
                    });
                }
            }
        }
        effective
    }
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
