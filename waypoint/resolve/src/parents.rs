//! Which HTTPRoutes govern which Services: parentRefs, to a Service or to the waypoint's Gateway.

use std::collections::{BTreeMap, BTreeSet};

use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{Enrolment, PortRef};
use status::{ACCEPTED, Condition, Place};

use super::declared::{Declared, ParentRef, http_route};
use super::gateways::{Ours, allows};

/// One parentRef of a route, judged.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Where in the route's status it is judged.
    pub place: Place,
    /// `Accepted`.
    pub accepted: Condition,
    target: Option<Target>,
}

impl Parent {
    /// The Service, if it is one and the route applies there.
    pub fn service(&self) -> Option<&Name> {
        match &self.target {
            Some(Target::Service { name, .. }) => Some(name),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Service { name: Name, port: Option<u16>, section: Option<String> },
    Gateway(Name),
}

/// A route that governs a Service port.
#[derive(Debug, Clone)]
pub struct Bound<'a> {
    /// The route.
    pub route: &'a Declared,
    /// By which of its parents.
    pub by: Vec<&'a Parent>,
}

impl Bound<'_> {
    /// Whether it names the Service, not only its Gateway.
    pub fn by_service(&self) -> bool {
        self.by.iter().any(|parent| matches!(parent.target, Some(Target::Service { .. })))
    }

    /// Whether it names the port, which makes the port HTTP.
    pub fn names_port(&self) -> bool {
        self.by.iter().any(|parent| match &parent.target {
            Some(Target::Service { port, section, .. }) => port.is_some() || section.is_some(),
            _ => false,
        })
    }
}

/// All admitted routes that are any concern of ours, with their parents.
#[derive(Debug, Default)]
pub struct Attached {
    /// In the order of their names.
    pub routes: Vec<(Declared, Vec<Parent>)>,
    /// Where in `routes` those are that name a Service or a Gateway, in the same order.
    by_target: BTreeMap<ObjectRef, BTreeSet<usize>>,
}

impl Attached {
    fn add(&mut self, route: Declared, parents: Vec<Parent>) {
        for target in parents.iter().filter_map(|parent| parent.target.as_ref()) {
            let object = match target {
                Target::Service { name, .. } => ObjectRef { kind: Kind::Service, name: name.clone() },
                Target::Gateway(name) => ObjectRef { kind: Kind::Gateway, name: name.clone() },
            };
            self.by_target.entry(object).or_default().insert(self.routes.len());
        }
        self.routes.push((route, parents));
    }

    fn on(&self, kind: Kind, name: &Name) -> impl Iterator<Item = usize> {
        self.by_target.get(&ObjectRef { kind, name: name.clone() }).into_iter().flatten().copied()
    }

    /// The routes that govern `id`, served by `gateway`, in the order of their names.
    pub fn of(&self, gateway: &Name, id: &PortRef, port_name: Option<&str>) -> Vec<Bound<'_>> {
        let governs = |parent: &&Parent| match &parent.target {
            None => false,
            Some(Target::Gateway(name)) => name == gateway,
            Some(Target::Service { name, port, section }) => {
                *name == id.service
                    && port.is_none_or(|port| port == id.port)
                    && section.as_deref().is_none_or(|section| Some(section) == port_name)
            }
        };
        let candidates: BTreeSet<usize> =
            self.on(Kind::Service, &id.service).chain(self.on(Kind::Gateway, gateway)).collect();
        let routes = candidates.into_iter().filter_map(|index| self.routes.get(index));
        let bound = routes.map(|(route, parents)| Bound { route, by: parents.iter().filter(governs).collect() });
        bound.filter(|bound| !bound.by.is_empty()).collect()
    }

    /// The Services that `route` names.
    pub fn services_of(&self, route: &Name) -> impl Iterator<Item = &Name> {
        let found = self.routes.binary_search_by(|(declared, _)| declared.reference.name.cmp(route));
        let parents = found.ok().and_then(|index| self.routes.get(index)).map(|(_, parents)| parents);
        parents.into_iter().flatten().filter_map(Parent::service)
    }

    /// How many routes name `gateway` as parent.
    pub fn routes_on(&self, gateway: &Name) -> usize {
        self.on(Kind::Gateway, gateway).count()
    }
}

/// Judges every parentRef of every route.
pub fn attach(
    snapshot: &Snapshot,
    gateways: &BTreeMap<Name, Ours>,
    services: &BTreeMap<Name, Enrolment>,
    controller: &str,
) -> Attached {
    let mut attached = Attached::default();
    for route in snapshot.http_routes.values() {
        let route = http_route::declared(route);
        let namespace = &route.reference.name.namespace;
        let judge = |reference| parent(snapshot, gateways, services, controller, namespace, reference);
        let parents: Vec<Parent> = route.parents.iter().filter_map(judge).collect();
        if !parents.is_empty() {
            attached.add(route, parents);
        }
    }
    attached
}

/// Judges one parentRef; none if it is another controller's.
fn parent(
    snapshot: &Snapshot,
    gateways: &BTreeMap<Name, Ours>,
    services: &BTreeMap<Name, Enrolment>,
    controller: &str,
    namespace: &str,
    reference: &ParentRef,
) -> Option<Parent> {
    let kind = match (reference.group.as_str(), reference.kind.as_str()) {
        ("", "Service") => Kind::Service,
        ("gateway.networking.k8s.io", "Gateway") => Kind::Gateway,
        // Some other controller's parent.
        _ => return None,
    };
    let name = reference.name.clone();
    let object = ObjectRef { kind, name: name.clone() };
    let place = Place::Parent(status::Parent { object, controller: controller.to_owned() });
    let no = |reason: &str, message: String| {
        Some(Parent { place: place.clone(), accepted: Condition::fails(ACCEPTED, reason, message), target: None })
    };
    let yes = |target: Target| {
        Some(Parent {
            place: place.clone(),
            accepted: Condition::holds(ACCEPTED, "Accepted", ""),
            target: Some(target),
        })
    };
    match kind {
        Kind::Service => {
            let Some(service) = snapshot.services.get(&name) else {
                return no("NoMatchingParent", format!("Service {name} does not exist"));
            };
            if name.namespace != namespace {
                return no(
                    "UnsupportedValue",
                    format!(
                        "a route for a Service of another namespace would apply to callers in {namespace} only, which a waypoint cannot do; write it in {}",
                        name.namespace
                    ),
                );
            }
            let ports = super::services::ports(service);
            let port = reference.port.and_then(|port| u16::try_from(port).ok());
            let section = reference.section.clone();
            if let Some(port) = reference.port
                && !ports.iter().any(|p| i32::from(p.number) == port)
            {
                return no("NoMatchingParent", format!("Service {name} has no TCP port {port}"));
            }
            if let Some(section) = &section
                && !ports.iter().any(|p| p.name.as_ref() == Some(section))
            {
                return no("NoMatchingParent", format!("Service {name} has no TCP port named {section}"));
            }
            match services.get(&name) {
                Some(Enrolment::Waypoint(_)) => {}
                Some(Enrolment::Refused(why)) => {
                    return no("NoMatchingParent", format!("connections to Service {name} are refused: {why}"));
                }
                Some(Enrolment::None) | None => {
                    let cure = "label it istio.io/use-waypoint: <name of a Gateway>";
                    return no("NoMatchingParent", format!("Service {name} has no waypoint; {cure}"));
                }
            }
            yes(Target::Service { name, port, section })
        }
        _ => {
            let Some(gateway) = gateways.get(&name) else {
                return match snapshot.gateways.get(&name) {
                    Some(other) => Some(Parent {
                        place,
                        accepted: super::gateways::not_ours(&format!("Gateway {name}"), other),
                        target: None,
                    }),
                    None => no("NoMatchingParent", format!("Gateway {name} does not exist")),
                };
            };
            let Some(listener) = &gateway.listener else {
                return no("NoMatchingParent", format!("Gateway {name} cannot be served, see there"));
            };
            let wrong_section = reference.section.as_ref().is_some_and(|section| *section != listener.name);
            if wrong_section || reference.port.is_some_and(|port| port != listener.port) {
                return no(
                    "NoMatchingParent",
                    format!("the waypoint's listener is {} on port {}", listener.name, listener.port),
                );
            }
            if !allows(snapshot, listener, &name.namespace, namespace) {
                return no(
                    "NotAllowedByListeners",
                    format!(
                        "listener {} of Gateway {name} does not admit routes of namespace {namespace}",
                        listener.name
                    ),
                );
            }
            yes(Target::Gateway(name))
        }
    }
}
