//! Which waypoint serves which Service: the `istio.io/use-waypoint` labels.

use std::collections::BTreeMap;

use api::core::{USE_WAYPOINT, USE_WAYPOINT_NAMESPACE};
use api::object::Meta;
use api::{Kind, Name, Object, ObjectRef, Snapshot};
use ir::Enrolment;
use status::{Condition, ObjectStatus, Report};

use super::gateways::{Ours, allows};

/// The condition on a Service that asks for a waypoint, as istiod writes it.
const BOUND: &str = "istio.io/WaypointBound";

/// The waypoint of every Service.
pub fn enrolments(snapshot: &Snapshot, gateways: &BTreeMap<Name, Ours>) -> (BTreeMap<Name, Enrolment>, Report) {
    let mut services = BTreeMap::new();
    let mut report = Report::new();
    for (name, service) in &snapshot.services {
        let (enrolment, condition) = match wanted(snapshot, name, service.as_ref()) {
            None => (Enrolment::None, None),
            Some(waypoint) => bind(snapshot, gateways, name, waypoint),
        };
        services.insert(name.clone(), enrolment);
        if let Some(condition) = condition {
            let status = ObjectStatus::new(vec![condition]);
            report.insert(ObjectRef { kind: Kind::Service, name: name.clone() }, vec![status]);
        }
    }
    (services, report)
}

/// The Gateway that the labels ask for: the Service's own, else its Namespace's; `none` opts out.
fn wanted(snapshot: &Snapshot, name: &Name, service: &dyn Meta) -> Option<Name> {
    let namespace = Name::new("", name.namespace.as_str());
    // A Namespace that was not admitted still says what its author wants: without
    // its label, requests would go around the waypoint.
    let broken = snapshot.broken.get(&ObjectRef { kind: Kind::Namespace, name: namespace.clone() });
    let partial = match broken.and_then(|b| b.partial.as_ref()) {
        Some(Object::Namespace(partial)) => Some(partial.as_ref()),
        _ => None,
    };
    let namespace = snapshot.namespaces.get(&namespace).map(AsRef::as_ref).or(partial);
    let of = |object: &dyn Meta| {
        object.label(USE_WAYPOINT).map(|waypoint| {
            let elsewhere = object.label(USE_WAYPOINT_NAMESPACE);
            Name::new(elsewhere.unwrap_or(name.namespace.as_str()), waypoint)
        })
    };
    of(service).or_else(|| of(namespace?)).filter(|waypoint| !waypoint.name.is_empty() && waypoint.name != "none")
}

fn bind(
    snapshot: &Snapshot,
    gateways: &BTreeMap<Name, Ours>,
    service: &Name,
    waypoint: Name,
) -> (Enrolment, Option<Condition>) {
    let not = |reason: &str, message: String| (Enrolment::None, Some(Condition::fails(BOUND, reason, message)));
    let Some(gateway) = gateways.get(&waypoint) else {
        return if snapshot.gateways.contains_key(&waypoint) {
            // Another controller's: not for us to judge.
            (Enrolment::None, None)
        } else {
            not(
                "WaypointNotFound",
                format!("Gateway {waypoint} does not exist; until it does, requests go straight to the Service"),
            )
        };
    };
    let Some(listener) = &gateway.listener else {
        // The author wants a waypoint and wrote one that cannot work: nothing passes around it.
        let message =
            format!("Gateway {waypoint} cannot be served, see there; connections to this Service are refused");
        return (Enrolment::Waypoint(waypoint), Some(Condition::fails(BOUND, "WaypointInvalid", message)));
    };
    if !allows(snapshot, listener, &waypoint.namespace, &service.namespace) {
        return not(
            "AttachmentDenied",
            format!(
                "Gateway {waypoint} does not admit namespace {}; set allowedRoutes.namespaces on its listener {}",
                service.namespace, listener.name
            ),
        );
    }
    let message = format!("served by Gateway {waypoint}");
    (Enrolment::Waypoint(waypoint), Some(Condition::holds(BOUND, "WaypointAccepted", message)))
}
