//! Which routes govern which Services: parentRefs, to a Service or to the waypoint's Gateway.

use std::collections::BTreeSet;

use api::{Kind, Name, ObjectRef};
use ir::{Enrolment, PortRef};
use status::{ACCEPTED, Condition, Place};

use crate::decided::attached::{Attached, Bound, Parent, Target};
use crate::declared::ParentRef;
use crate::enrolment;
use crate::gateways::{allows_routes, not_ours};
use crate::services;
use crate::view::View;

/// The routes that govern `id`, served by `gateway`, in the order of their kinds and names.
pub fn governing<'a>(view: &View<'a>, gateway: &Name, id: &PortRef, port_name: Option<&str>) -> Vec<Bound<'a>> {
    let governs = |parent: &&Parent| match &parent.target {
        None => false,
        Some(Target::Gateway(name)) => name == gateway,
        Some(Target::Service { name, port, section }) => {
            *name == id.service
                && port.is_none_or(|port| port == id.port)
                && section.as_deref().is_none_or(|section| Some(section) == port_name)
        }
    };
    let on_gateway = view.routes_on(Kind::Gateway, gateway);
    let candidates: BTreeSet<&ObjectRef> = view.routes_on(Kind::Service, &id.service).chain(on_gateway).collect();
    let routes = candidates.into_iter().filter_map(|name| view.attached(name));
    let bound =
        routes.map(|attached| Bound { route: &attached.route, by: attached.parents.iter().filter(governs).collect() });
    bound.filter(|bound| !bound.by.is_empty()).collect()
}

/// Judges every parentRef of `route`; nothing if there is no such route.
pub fn attach(view: &View<'_>, route: &ObjectRef) -> Option<Attached> {
    let route = view.route(route)?;
    let home = route.reference.name.namespace.as_str();
    let parents =
        route.parents.iter().filter_map(|reference| parent(view, (route.reference.kind, home), reference)).collect();
    Some(Attached { route, parents })
}

/// Judges one parentRef of a route of this kind and namespace; none if it is another controller's.
fn parent(view: &View<'_>, (of, namespace): (Kind, &str), reference: &ParentRef) -> Option<Parent> {
    let kind = match (reference.group.as_str(), reference.kind.as_str()) {
        ("", "Service") => Kind::Service,
        ("gateway.networking.k8s.io", "Gateway") => Kind::Gateway,
        // Some other controller's parent.
        _ => return None,
    };
    let name = reference.name.clone();
    let object = ObjectRef { kind, name: name.clone() };
    let place = Place::Parent(status::Parent {
        object,
        section: reference.section.clone(),
        port: reference.port,
        controller: view.settings().controller_name.clone(),
    });
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
            let Some(service) = view.service(&name) else {
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
            let ports = services::ports(service);
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
            match view.enrolment(&name) {
                Some(Enrolment::Waypoint(_)) => {}
                Some(Enrolment::Refused(why)) => {
                    // What it does with routes that controller says.
                    if let Some((gateway, other)) = enrolment::others(view, &name) {
                        let accepted = not_ours(view, &format!("Gateway {gateway}"), other);
                        return Some(Parent { place, accepted, target: None });
                    }
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
            let Some(gateway) = view.gateway(&name) else {
                return match view.gateway_object(&name) {
                    Some(other) => Some(Parent {
                        place,
                        accepted: not_ours(view, &format!("Gateway {name}"), other),
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
            if !allows_routes(view, listener, &name.namespace, of, namespace) {
                return no(
                    "NotAllowedByListeners",
                    format!(
                        "listener {} of Gateway {name} does not admit {of}s of namespace {namespace} (allowedRoutes)",
                        listener.name
                    ),
                );
            }
            yes(Target::Gateway(name))
        }
    }
}
