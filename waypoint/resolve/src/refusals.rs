//! What is refused because something that was declared cannot be understood.
//!
//! An object that was never valid is refused where it would have governed; where that cannot be
//! told, wherever an object of its kind could have. This is decided here for all kinds, from
//! what each says of its reach, and from nothing else.

use std::sync::Arc;

use api::gloo::route_option::RouteOption;
use api::{Broken, Governs, Kind, Name, ObjectRef, Reach, Target};
use ir::PortRef;

use crate::decided::Refusals;
use crate::decided::attached::Attached;
use crate::declared::KINDS;
use crate::gateways::allows_routes;
use crate::gloo::targets;
use crate::view::View;

/// What is refused because of objects that were never valid, and of what cannot be read.
pub fn refusals(view: &View<'_>) -> Refusals {
    let mut refusals = Refusals { everything: withheld(view), ..Refusals::default() };
    for (reference, broken) in broken(view, Governs::Parents) {
        let why = format!("{reference} is not valid; see its status");
        let home = &reference.name.namespace;
        match &broken.reach {
            Reach::Known(targets) => {
                for Target { group, kind, name, .. } in targets {
                    match (group.as_str(), kind.as_str()) {
                        ("", "Service") if name.namespace == *home => refusals.service(name, &why),
                        ("gateway.networking.k8s.io", "Gateway") if admits(view, name, reference.kind, home) => {
                            refusals.gateway(name, &why);
                        }
                        // As for a valid one: it would not have applied there.
                        _ => {}
                    }
                }
            }
            Reach::Unknown => {
                view.services_in(home).for_each(|name| refusals.service(name, &why));
                let admitting = view.gateways().filter(|(name, _)| admits(view, name, reference.kind, home));
                admitting.for_each(|(name, _)| refusals.gateway(name, &why));
            }
        }
    }
    for (reference, broken) in broken(view, Governs::Targets) {
        let why = format!("{reference} is not valid; see its status");
        refusals.by_policy(view, &reference.name.namespace, &broken.reach, &why);
    }
    for (reference, broken) in broken(view, Governs::Callers) {
        let why = format!("{reference} is not valid; see its status");
        refusals.by_callers(view, &reference.name.namespace, &broken.reach, &why);
    }
    for (reference, reach) in view.unserved() {
        let why = format!("{reference} is to govern it, and objects of that kind are not served yet");
        refusals.by_unserved(view, &reference.name.namespace, reach, &why);
    }
    // Gateways, Namespaces and Services decide about enrolment; see there. What names an
    // AuthConfig, a RateLimitConfig, a Secret or a grant that is not there is told so there.
    refusals
}

/// The objects that were never valid of all kinds that govern so.
fn broken<'a>(view: &View<'a>, governs: Governs) -> impl Iterator<Item = (&'a ObjectRef, &'a Arc<Broken>)> {
    let kinds = Kind::ALL.iter().filter(move |kind| kind.governs() == governs);
    kinds.flat_map(|kind| view.all_broken(*kind))
}

/// Rules that a RouteOption names by `sectionName` and that its route does not have, by route.
///
/// Which rule is meant cannot be told, so none of that route is served without the option.
pub fn missing_rules<'a>(
    view: &View<'a>,
    name: &'a Name,
    option: &'a RouteOption,
) -> impl Iterator<Item = (ObjectRef, &'a str)> {
    targets(name, option).filter_map(|(route, section)| {
        let section = section.filter(|section| !section.is_empty())?;
        let mut rules = view.attached(&route)?.route.rules.iter();
        (!rules.any(|rule| rule.name.as_deref() == Some(section))).then_some((route, section))
    })
}

/// Why nothing may be served at all: what cannot be read may hold any policy.
fn withheld(view: &View<'_>) -> Option<String> {
    let withheld = view.withheld();
    let first = withheld.first()?;
    Some(match withheld.len() - 1 {
        0 => format!("nothing is served until this is mended: {first}"),
        more => format!("nothing is served until this is mended: {first}; and {more} more"),
    })
}

/// Whether routes of `kind` in `namespace` could attach to `gateway`.
fn admits(view: &View<'_>, gateway: &Name, kind: Kind, namespace: &str) -> bool {
    let listener = view.gateway(gateway).and_then(|ours| ours.listener.as_ref());
    listener.is_some_and(|listener| allows_routes(view, listener, &gateway.namespace, kind, namespace))
}

/// Why requests and connections to the Service port `id`, served by `gateway`, are refused
/// whatever routes say. A route of a Gateway never governs a port that is not `http`.
pub fn of_port<'a>(view: &View<'a>, gateway: &Name, id: &PortRef, http: bool) -> Option<&'a str> {
    let of_gateway = || http.then(|| view.refused_gateway(gateway)).flatten();
    view.refused_everything()
        .or_else(|| view.refused_service(&id.service))
        .or_else(|| view.refused_waypoint(gateway))
        .or_else(of_gateway)
}

/// Why requests of the rule `name` of `route` are refused.
pub fn of_rule(view: &View<'_>, route: &ObjectRef, name: Option<&str>) -> Option<String> {
    let here = |section: &Option<String>| section.as_deref().is_none_or(|section| Some(section) == name);
    let broken = view.refused_rules(route).iter().find(|(section, _)| here(section));
    broken.map(|(_, why)| why.clone()).or_else(|| {
        let mut options: Vec<&Name> = view.options_on(route).collect();
        options.sort();
        let mut missing = options.into_iter().flat_map(|name| {
            let option = view.route_option(name);
            let missing = option.into_iter().flat_map(|option| missing_rules(view, name, option));
            missing.filter(|(of, _)| of == route).map(move |(_, section)| (name, section))
        });
        missing.next().map(|(name, section)| {
            format!("RouteOption {name} is to govern rule {section:?} of this route, which has no rule of that name")
        })
    })
}

/// The route that `target` is.
fn routes(target: &Target) -> impl Iterator<Item = ObjectRef> + use<> {
    let kinds = KINDS.into_iter().filter(|kind| target.kind == kind.as_str() && target.group == kind.group());
    let named: Vec<_> = kinds.map(|kind| ObjectRef { kind, name: target.name.clone() }).collect();
    named.into_iter()
}

impl Refusals {
    /// What an object of a kind that is not served would have governed: what it names is closed as a whole, since
    /// nothing is known of what the kind can govern.
    ///
    /// As for what is served, an object governs what is of its own namespace, and Gateways that admit routes of it.
    /// One for a GatewayClass counts in the mesh's root namespace, as it does for Istio.
    fn by_unserved(&mut self, view: &View<'_>, home: &str, reach: &Reach, why: &str) {
        let may = |gateway: &Name| {
            gateway.namespace == home || KINDS.into_iter().any(|kind| admits(view, gateway, kind, home))
        };
        let Reach::Known(targets) = reach else {
            view.services_in(home).for_each(|name| self.service(name, why));
            let in_reach = view.gateways().filter(|(name, _)| may(name));
            in_reach.for_each(|(name, _)| self.waypoint(name, why));
            return self.by_policy(view, home, reach, why);
        };
        for target in targets {
            match (target.group.as_str(), target.kind.as_str()) {
                ("", "Service") if target.name.namespace == home => self.service(&target.name, why),
                ("gateway.networking.k8s.io", "Gateway") if may(&target.name) => self.waypoint(&target.name, why),
                ("gateway.networking.k8s.io", "GatewayClass") if home == view.settings().root_namespace => {
                    let class = |name: &Name| view.class_of(name).is_some_and(|class| class == target.name.name);
                    let of_class = view.gateways().filter(|(name, _)| class(name));
                    of_class.for_each(|(name, _)| self.waypoint(name, why));
                }
                ("gateway.networking.k8s.io", _)
                    if routes(target).next().is_some() && target.name.namespace == home =>
                {
                    self.policy(target, why);
                }
                // What we do not serve cannot be reached through us.
                _ => {}
            }
        }
    }

    /// What a policy of the namespace `home` would have let only some callers reach.
    fn by_callers(&mut self, view: &View<'_>, home: &str, reach: &Reach, why: &str) {
        let root = home == view.settings().root_namespace;
        let Reach::Known(targets) = reach else {
            if root {
                self.everything.get_or_insert_with(|| why.to_owned());
            }
            view.services_in(home).for_each(|name| self.service(name, why));
            let own = view.gateways().filter(|(name, _)| name.namespace == home);
            return own.for_each(|(name, _)| self.waypoint(name, why));
        };
        for target in targets {
            match target.kind.as_str() {
                "Service" => self.service(&target.name, why),
                "Gateway" => self.waypoint(&target.name, why),
                "GatewayClass" if root => {
                    let class = |name: &Name| view.class_of(name).is_some_and(|class| class == target.name.name);
                    let of_class = view.gateways().filter(|(name, _)| class(name));
                    of_class.for_each(|(name, _)| self.waypoint(name, why));
                }
                _ => {}
            }
        }
    }

    fn waypoint(&mut self, name: &Name, why: &str) {
        self.waypoints.entry(name.clone()).or_insert_with(|| why.to_owned());
    }

    /// What a policy of the namespace `home` would have governed.
    fn by_policy(&mut self, view: &View<'_>, home: &str, reach: &Reach, why: &str) {
        match reach {
            Reach::Known(targets) => targets.iter().for_each(|target| self.policy(target, why)),
            Reach::Unknown => {
                for route in view.routes_in(home) {
                    self.rules.entry(route.clone()).or_default().push((None, why.to_owned()));
                    for service in view.attached(route).into_iter().flat_map(Attached::services) {
                        self.service(service, why);
                    }
                }
            }
        }
    }

    /// What a policy names. It can govern routes only, but whoever wrote a Service or a Gateway means to guard that.
    fn policy(&mut self, target: &Target, why: &str) {
        match (target.group.as_str(), target.kind.as_str()) {
            ("", "Service") => self.service(&target.name, why),
            ("gateway.networking.k8s.io", "Gateway") => self.gateway(&target.name, why),
            _ => {
                for route in routes(target) {
                    let rule = (target.section.clone(), why.to_owned());
                    self.rules.entry(route).or_default().push(rule);
                }
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
