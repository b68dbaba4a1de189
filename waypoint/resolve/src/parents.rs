//! Which HTTPRoutes govern which Services: parentRefs, to a Service or to the waypoint's Gateway.

use std::collections::BTreeMap;

use api::gateway::HttpRoute;
use api::gateway::httproutes::HttpRouteParentRefs;
use api::object::Meta;
use api::{Kind, Name, Object, ObjectRef, Snapshot};
use ir::{Enrolment, PortRef};
use status::{ACCEPTED, Condition, Place};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The route.
    pub route: Name,
    /// Whether it was never admitted: what it would have governed is refused.
    pub broken: bool,
    /// Whether it names the port, which makes the port HTTP.
    pub names_port: bool,
}

/// All routes with their parents.
#[derive(Debug, Default)]
pub struct Attached {
    /// Parents of admitted routes that are any concern of ours.
    pub parents: BTreeMap<Name, Vec<Parent>>,
    broken: BTreeMap<Name, Vec<Parent>>,
}

impl Attached {
    /// The routes that govern `id`, served by `gateway`.
    pub fn of(&self, gateway: &Name, id: &PortRef, port_name: Option<&str>) -> Vec<Bound> {
        let mut bound = Vec::new();
        for (routes, broken) in [(&self.parents, false), (&self.broken, true)] {
            for (route, parents) in routes {
                let mut matching = parents.iter().filter_map(|parent| match parent.target.as_ref()? {
                    Target::Gateway(name) => (name == gateway).then_some(false),
                    Target::Service { name, port, section } => {
                        let named = section.as_deref().is_none_or(|section| Some(section) == port_name);
                        (*name == id.service && port.is_none_or(|port| port == id.port) && named)
                            .then_some(port.is_some() || section.is_some())
                    }
                });
                if let Some(first) = matching.next() {
                    let names_port = first || matching.any(|names| names);
                    bound.push(Bound { route: route.clone(), broken, names_port });
                }
            }
        }
        bound
    }

    /// How many routes name `gateway` as parent.
    pub fn routes_on(&self, gateway: &Name) -> usize {
        let on = |parent: &Parent| parent.target == Some(Target::Gateway(gateway.clone()));
        self.parents.values().filter(|parents| parents.iter().any(on)).count()
    }
}

/// Judges every parentRef of every route.
pub fn attach(
    snapshot: &Snapshot,
    gateways: &BTreeMap<Name, Ours>,
    services: &BTreeMap<Name, Enrolment>,
    controller: &str,
) -> Attached {
    let judge = |route: &HttpRoute| -> Vec<Parent> {
        let namespace = route.name_of().namespace;
        let references = route.spec.parent_refs.iter().flatten();
        references.filter_map(|r| parent(snapshot, gateways, services, controller, &namespace, r)).collect()
    };
    let mut attached = Attached::default();
    for (name, route) in &snapshot.http_routes {
        let parents = judge(route);
        if !parents.is_empty() {
            attached.parents.insert(name.clone(), parents);
        }
    }
    for (reference, broken) in &snapshot.broken {
        if let (Kind::HttpRoute, Some(Object::HttpRoute(partial))) = (reference.kind, &broken.partial) {
            attached.broken.insert(reference.name.clone(), judge(partial));
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
    reference: &HttpRouteParentRefs,
) -> Option<Parent> {
    let group = reference.group.as_deref().unwrap_or("gateway.networking.k8s.io");
    let kind = match (group, reference.kind.as_deref().unwrap_or("Gateway")) {
        ("", "Service") => Kind::Service,
        ("gateway.networking.k8s.io", "Gateway") => Kind::Gateway,
        // Some other controller's parent.
        _ => return None,
    };
    let name = Name::new(reference.namespace.as_deref().unwrap_or(namespace), reference.name.as_str());
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
            let section = reference.section_name.clone();
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
            let wrong_section = reference.section_name.as_ref().is_some_and(|section| *section != listener.name);
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
