//! Who may do what at a port: AuthorizationPolicies, put into rules of ours.
//!
//! A policy speaks of what it means, and a request may be spelt in ways of which nobody knows what an application makes.
//! So each value is read in one of two ways ([`Reading`]): who lets pass takes what certainly means it, and who refuses
//! takes whatever may. What cannot be known at all never lets anybody pass, and never lets a refusal be got around.
//! Of a port that is not read as HTTP that is everything that only HTTP has, which is how Istio takes it too.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use api::istio::AuthorizationPolicy;
use api::istio::authorization_policy::{Action, is_tried};
use api::istio::targets::Attachment;
use api::{Kind, Name, ObjectRef};
use ir::access::{Access, Callers, Condition, Decision, Part, Rule, Text};
use ir::{Match, Origins, PathMatch, Policy, PortRef, Refusal, Route};

use crate::view::View;
use read::Reading;

/// What a policy is attached to, of what a port belongs to.
pub type Targets = BTreeMap<ObjectRef, BTreeSet<ObjectRef>>;

/// The policies of `kind` that govern `id`, which `gateway` serves, each with what of it they name.
pub fn governing(view: &View<'_>, gateway: &Name, id: &PortRef, kind: Kind) -> Targets {
    let mut found = Targets::new();
    let class = view.gateway_object(gateway).map(|gateway| gateway.spec.gateway_class_name.clone());
    let class = class.map(|class| ObjectRef::new(Kind::GatewayClass, "", class));
    let service = ObjectRef { kind: Kind::Service, name: id.service.clone() };
    let waypoint = ObjectRef { kind: Kind::Gateway, name: gateway.clone() };
    for target in [Some(service), Some(waypoint), class].into_iter().flatten() {
        let root = &view.settings().root_namespace;
        for policy in view.policies_on(&target).filter(|policy| policy.kind == kind) {
            // A class is everybody's.
            if target.kind == Kind::GatewayClass && policy.name.namespace != *root {
                continue;
            }
            found.entry(policy.clone()).or_default().insert(target.clone());
        }
    }
    found
}

/// How a port is read.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// As HTTP.
    pub http: bool,
    /// And tokens are looked at.
    pub tokens: bool,
}

/// What the `policies` come to at `id`, which is `read` so.
pub fn access(view: &View<'_>, id: &PortRef, policies: &Targets, read: Read) -> Access {
    let mut access = Access::default();
    for ObjectRef { name, .. } in policies.keys() {
        let Some(policy) = view.authorization_policy(name) else { continue };
        let decision = if is_tried(policy) { &mut access.tried } else { &mut access.enforced };
        add(view, id, name, policy, read, decision);
    }
    access
}

fn add(view: &View<'_>, id: &PortRef, name: &Name, policy: &AuthorizationPolicy, read: Read, to: &mut Decision) {
    let certain = policy.spec.action == Action::Allow;
    let reading = Reading { certain, read, port: id.port, home: &name.namespace, settings: view.settings() };
    let called = |number: usize| format!("ns[{}]-policy[{}]-rule[{number}]", name.namespace, name.name);
    let rules = policy.spec.rules.iter().enumerate();
    let rules = rules.filter_map(|(number, rule)| reading.rule(called(number), rule));
    match policy.spec.action {
        Action::Allow => to.allow.get_or_insert_default().extend(rules),
        Action::Deny => to.deny.extend(rules),
        // As Istio does where it knows nothing of the provider: nobody can be asked, so nobody passes.
        Action::Custom if !policy.spec.rules.is_empty() => {
            let callers = vec![Callers { named: None, that: Condition::always() }];
            to.deny.push(Rule { name: called(0), that: Condition::always(), callers });
        }
        Action::Custom | Action::Audit => {}
    }
}

/// The headers that are looked at, in lower case.
pub fn headers(access: &Access) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut look = |part: &Part, _: &Text| {
        if let Part::Header(name) = part {
            found.insert(name.clone());
        }
    };
    access.enforced.rules().for_each(|rule| rule.texts(&mut look));
    found
}

/// Routes that tell requests apart by what these policies look at, and treat them unlike others: as far as it matters
/// that an application may take a request for another one, that is what policies do.
pub fn as_routes(access: &Access) -> Vec<Route> {
    let mut seen: Vec<(&Part, &Text)> = Vec::new();
    access.enforced.rules().for_each(|rule| rule.texts(&mut |part, text| seen.push((part, text))));
    seen.into_iter().filter_map(|(part, text)| Some(as_route(looks(part, text)?))).collect()
}

fn looks(part: &Part, text: &Text) -> Option<Match> {
    let everything = Match::everything();
    Some(match part {
        Part::Path => Match { path: path(text), ..everything },
        Part::Method => Match { method: Some(words(text).to_owned()), ..everything },
        Part::Host => Match { hosts: vec![words(text).to_owned()], ..everything },
        Part::Caller | Part::Header(_) => return None,
    })
}

fn words(text: &Text) -> &str {
    let (Text::Exact(words) | Text::Prefix(words) | Text::Regex(words)) = text;
    words
}

fn path(text: &Text) -> PathMatch {
    match text {
        Text::Exact(path) => PathMatch::Exact(path.clone()),
        Text::Prefix(beginning) => PathMatch::Regex(format!("{}.*", regex::escape(beginning))),
        Text::Regex(regex) => PathMatch::Regex(regex.replace("[^?]", ".").replace("[^/?]", "[^/]")),
    }
}

fn as_route(matches: Match) -> Route {
    Route {
        name: String::new(),
        matches,
        action: ir::Action::Refuse(Refusal { status: 403, why: String::new() }),
        policy: Policy::default(),
        origins: Origins::new(),
    }
}

/// What a policy of the namespace `home` names of what we serve, by its `attachment`.
pub fn targets(home: &str, attachment: Attachment<'_>) -> BTreeSet<ObjectRef> {
    let kinds = [Kind::Service, Kind::Gateway, Kind::GatewayClass];
    let targets = attachment.targets().filter_map(|target| target.target(home));
    let of_ours = targets.filter_map(|(group, kind, name)| {
        let kind = kinds.iter().find(|known| (known.group(), known.as_str()) == (group, kind))?;
        Some(ObjectRef { kind: *kind, name })
    });
    of_ours.collect()
}
