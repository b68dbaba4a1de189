//! Which HTTPRoutes govern which Services: parentRefs, to a Service or to the waypoint's Gateway.

use std::collections::BTreeMap;

use api::{Kind, Name, Object, ObjectRef, Snapshot};
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Service { name: Name, port: Option<u16>, section: Option<String> },
    Gateway(Name),
}

/// A route that governs a Service port.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// The route.
    pub route: &'a Declared,
    /// Whether it was never admitted: what it would have governed is refused.
    pub broken: bool,
    /// Whether it names the Service, not only its Gateway.
    pub by_service: bool,
    /// Whether it names the port, which makes the port HTTP.
    pub names_port: bool,
}

/// A route and what became of its parentRefs.
#[derive(Debug)]
struct Judged {
    route: Declared,
    parents: Vec<Parent>,
    broken: bool,
}

/// All routes with their parents.
#[derive(Debug, Default)]
pub struct Attached {
    routes: Vec<Judged>,
}

impl Attached {
    /// The routes that govern `id`, served by `gateway`.
    pub fn of(&self, gateway: &Name, id: &PortRef, port_name: Option<&str>) -> Vec<Bound<'_>> {
        let mut found = Vec::new();
        for Judged { route, parents, broken } in &self.routes {
            let mut bound: Option<Bound<'_>> = None;
            for target in parents.iter().filter_map(|parent| parent.target.as_ref()) {
                let (by_service, names_port) = match target {
                    Target::Gateway(name) if name == gateway => (false, false),
                    Target::Service { name, port, section }
                        if *name == id.service
                            && port.is_none_or(|port| port == id.port)
                            && section.as_deref().is_none_or(|section| Some(section) == port_name) =>
                    {
                        (true, port.is_some() || section.is_some())
                    }
                    _ => continue,
                };
                let bound = bound.get_or_insert(Bound { route, broken: *broken, by_service: false, names_port: false });
                bound.by_service |= by_service;
                bound.names_port |= names_port;
            }
            found.extend(bound);
        }
        found
    }

    /// Admitted routes with parents that are any concern of ours.
    pub fn admitted(&self) -> impl Iterator<Item = (&Declared, &[Parent])> {
        self.routes.iter().filter(|judged| !judged.broken).map(|judged| (&judged.route, judged.parents.as_slice()))
    }

    /// How many routes name `gateway` as parent.
    pub fn routes_on(&self, gateway: &Name) -> usize {
        let on = |parent: &Parent| parent.target == Some(Target::Gateway(gateway.clone()));
        self.admitted().filter(|(_, parents)| parents.iter().any(on)).count()
    }
}

/// Judges every parentRef of every route.
pub fn attach(
    snapshot: &Snapshot,
    gateways: &BTreeMap<Name, Ours>,
    services: &BTreeMap<Name, Enrolment>,
    controller: &str,
) -> Attached {
    let judge = |route: Declared, broken: bool| {
        let namespace = &route.reference.name.namespace;
        let judged =
            route.parents.iter().filter_map(|r| parent(snapshot, gateways, services, controller, namespace, r));
        let parents: Vec<Parent> = judged.collect();
        (!parents.is_empty()).then_some(Judged { parents, route, broken })
    };
    let admitted = snapshot.http_routes.values().filter_map(|route| judge(http_route::declared(route), false));
    let broken = snapshot.broken.values().filter_map(|broken| match &broken.partial {
        Some(Object::HttpRoute(partial)) => judge(http_route::declared(partial), true),
        _ => None,
    });
    Attached { routes: admitted.chain(broken).collect() }
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
            let Some(Enrolment::Waypoint(_)) = services.get(&name) else {
                return no(
                    "NoMatchingParent",
                    format!("Service {name} has no waypoint; label it istio.io/use-waypoint: <name of a Gateway>"),
                );
            };
            yes(Target::Service { name, port, section })
        }
        _ => {
            let gateway = gateways.get(&name)?;
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
