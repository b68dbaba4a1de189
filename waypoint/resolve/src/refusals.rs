//! What is refused because something that was declared cannot be understood.
//!
//! An object that was never valid is refused where it would have governed; where that cannot be
//! told, wherever an object of its kind could have. This is decided here for all kinds, from
//! what each says of its reach, and from nothing else.

use std::collections::BTreeMap;

use api::gloo::route_option::RouteOption;
use api::{Kind, Name, ObjectRef, Reach, Snapshot, Target};
use ir::{Enrolment, PortRef};

use super::gateways::{Ours, allows};
use super::parents::Attached;

/// Everything that is refused, each with the reason.
#[derive(Debug, Default)]
pub struct Refusals {
    everything: Option<String>,
    gateways: BTreeMap<Name, String>,
    services: BTreeMap<Name, String>,
    rules: BTreeMap<Name, Vec<(Option<String>, String)>>,
}

/// Gathers them.
pub fn refusals(
    snapshot: &Snapshot,
    gateways: &BTreeMap<Name, Ours>,
    services: &BTreeMap<Name, Enrolment>,
    attached: &Attached,
) -> Refusals {
    let mut refusals = Refusals { everything: withheld(snapshot), ..Refusals::default() };
    for (reference, broken) in &snapshot.broken {
        let why = format!("{reference} is not valid; see its status");
        let home = &reference.name.namespace;
        match (reference.kind, &broken.reach) {
            (Kind::RouteOption, Reach::Known(targets)) => {
                targets.iter().for_each(|target| refusals.policy(target, &why));
            }
            (Kind::RouteOption, Reach::Unknown) => {
                for route in snapshot.http_routes.keys().filter(|route| route.namespace == *home) {
                    refusals.rules.entry(route.clone()).or_default().push((None, why.clone()));
                    for service in attached.services_of(route) {
                        refusals.service(service, &why);
                    }
                }
            }
            (Kind::HttpRoute, Reach::Known(targets)) => {
                for Target { group, kind, name, .. } in targets {
                    match (group.as_str(), kind.as_str()) {
                        ("", "Service") if name.namespace == *home => refusals.service(name, &why),
                        ("gateway.networking.k8s.io", "Gateway") if admits(snapshot, gateways, name, home) => {
                            refusals.gateway(name, &why);
                        }
                        // As for a valid one: it would not have applied there.
                        _ => {}
                    }
                }
            }
            (Kind::HttpRoute, Reach::Unknown) => {
                services.keys().filter(|name| name.namespace == *home).for_each(|name| refusals.service(name, &why));
                let admitting = gateways.keys().filter(|name| admits(snapshot, gateways, name, home));
                admitting.for_each(|name| refusals.gateway(name, &why));
            }
            // Gateways, Namespaces and Services decide about enrolment; see there. What names an
            // AuthConfig, a RateLimitConfig, a Secret or a grant that is not there is told so there.
            _ => {}
        }
    }
    for (name, option) in &snapshot.route_options {
        for (route, section) in missing_rules(snapshot, name, option) {
            let why = format!(
                "RouteOption {name} is to govern rule {section:?} of this route, which has no rule of that name"
            );
            refusals.rules.entry(route).or_default().push((None, why));
        }
    }
    refusals
}

/// Rules that a RouteOption names by `sectionName` and that its HTTPRoute does not have, by route.
///
/// Which rule is meant cannot be told, so none of that route is served without the option.
pub fn missing_rules<'a>(
    snapshot: &'a Snapshot,
    name: &'a Name,
    option: &'a RouteOption,
) -> impl Iterator<Item = (Name, &'a str)> {
    let targets = option.spec.target_refs.iter().filter(|target| target.kind == Kind::HttpRoute.as_str());
    targets.filter_map(|target| {
        let section = target.section_name.as_deref().filter(|section| !section.is_empty())?;
        let route = Name::new(name.namespace.as_str(), target.name.as_str());
        let declared = snapshot.http_routes.get(&route)?;
        let mut rules = declared.spec.rules.iter().flatten();
        (!rules.any(|rule| rule.name.as_deref() == Some(section))).then_some((route, section))
    })
}

/// Why nothing may be served at all: what cannot be read may hold any policy.
fn withheld(snapshot: &Snapshot) -> Option<String> {
    let first = snapshot.withheld.first()?;
    Some(match snapshot.withheld.len() - 1 {
        0 => format!("nothing is served until this is mended: {first}"),
        more => format!("nothing is served until this is mended: {first}; and {more} more"),
    })
}

/// Whether routes of `namespace` could attach to `gateway`.
fn admits(snapshot: &Snapshot, gateways: &BTreeMap<Name, Ours>, gateway: &Name, namespace: &str) -> bool {
    let listener = gateways.get(gateway).and_then(|ours| ours.listener.as_ref());
    listener.is_some_and(|listener| allows(snapshot, listener, &gateway.namespace, namespace))
}

impl Refusals {
    /// Why requests and connections to the Service port `id`, served by `gateway`, are refused
    /// whatever routes say. A route of a Gateway never governs a port that is not `http`.
    pub fn of(&self, gateway: &Name, id: &PortRef, http: bool) -> Option<&str> {
        let of_gateway = || self.gateways.get(gateway).filter(|_| http);
        self.everything.as_ref().or_else(|| self.services.get(&id.service)).or_else(of_gateway).map(String::as_str)
    }

    /// Why requests of the rule `name` of `route` are refused.
    pub fn of_rule(&self, route: &ObjectRef, name: Option<&str>) -> Option<&str> {
        let rules = self.rules.get(&route.name).filter(|_| route.kind == Kind::HttpRoute)?;
        let (_, why) = rules.iter().find(|(section, _)| section.as_deref().is_none_or(|s| Some(s) == name))?;
        Some(why)
    }

    /// Why everything is refused.
    pub fn everything(&self) -> Option<&str> {
        self.everything.as_deref()
    }

    /// What a policy names. It can govern routes only, but whoever wrote a Service or a Gateway means to guard that.
    fn policy(&mut self, target: &Target, why: &str) {
        match (target.group.as_str(), target.kind.as_str()) {
            ("", "Service") => self.service(&target.name, why),
            ("gateway.networking.k8s.io", "Gateway") => self.gateway(&target.name, why),
            _ => {
                let rule = (target.section.clone(), why.to_owned());
                self.rules.entry(target.name.clone()).or_default().push(rule);
            }
        }
    }

    fn service(&mut self, name: &Name, why: &str) {
        self.services.entry(name.clone()).or_insert_with(|| why.to_owned());
    }

    fn gateway(&mut self, name: &Name, why: &str) {
        self.gateways.entry(name.clone()).or_insert_with(|| why.to_owned());
    }
}
