//! Which waypoint serves which Service: the `istio.io/use-waypoint` labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Meta;
use api::core::{Service, USE_WAYPOINT, USE_WAYPOINT_NAMESPACE};
use api::gateway::Gateway;
use api::istio::AuthorizationPolicy;
use api::istio::authorization_policy::{Action, is_tried};
use api::{Kind, Name, ObjectRef, Reach};
use ir::Enrolment;
use status::Condition;

use crate::decided::Enrolled;
use crate::gateways::allows;
use crate::view::View;

/// The condition on a Service that asks for a waypoint, as istiod writes it.
const BOUND: &str = "istio.io/WaypointBound";

/// The waypoint of the Service `name`; nothing if there is no such Service.
pub fn enrolment(view: &View<'_>, name: &Name) -> Option<Enrolled> {
    let service = view.service(name)?;
    if let Some(why) = unguarded(view, name, service) {
        let (enrolment, condition) = refused("NoZtunnel", why);
        return Some(Enrolled { enrolment, condition });
    }
    let (enrolment, condition) = match wanted(view, name, service.as_ref()) {
        Ok(None) => (Enrolment::None, None),
        Ok(Some(waypoint)) => bind(view, name, waypoint),
        Err(why) => refused("WaypointUnknown", why),
    };
    Some(Enrolled { enrolment, condition })
}

/// The Gateway that the Service `name` is to use, if by its GatewayClass it is another controller's.
pub fn others<'a>(view: &View<'a>, name: &Name) -> Option<(Name, &'a Gateway)> {
    let waypoint = wanted(view, name, view.service(name)?.as_ref()).ok()??;
    let gateway = view.gateway_object(&waypoint).filter(|_| view.gateway(&waypoint).is_none())?;
    let class = view.gateway_class(&Name::new("", gateway.spec.gateway_class_name.as_str()))?;
    (class.spec.controller_name != view.settings().controller_name).then_some((waypoint, gateway))
}

/// The Gateway that the labels of `object` ask for, which is in `namespace` unless they say otherwise;
/// none if they opt out or say nothing.
pub fn asked(object: &dyn Meta, namespace: &str) -> Option<Name> {
    let waypoint = object.label(USE_WAYPOINT).filter(|waypoint| !waypoint.is_empty() && *waypoint != "none")?;
    Some(Name::new(object.label(USE_WAYPOINT_NAMESPACE).unwrap_or(namespace), waypoint))
}

/// The Gateway that a Service is to use: what its own labels say, else those of its Namespace.
/// A Namespace that was not admitted still says what its author wants; if that cannot be
/// read, the reason is the error.
fn wanted(view: &View<'_>, name: &Name, service: &dyn Meta) -> Result<Option<Name>, String> {
    if service.label(USE_WAYPOINT).is_some() {
        return Ok(asked(service, &name.namespace));
    }
    let namespace = Name::new("", name.namespace.as_str());
    if let Some(namespace) = view.namespace(&namespace) {
        return Ok(asked(namespace.as_ref(), &name.namespace));
    }
    let reference = ObjectRef { kind: Kind::Namespace, name: namespace };
    match view.broken(&reference).map(|broken| &broken.reach) {
        None => Ok(None),
        Some(Reach::Known(targets)) => Ok(targets.first().map(|target| target.name.clone())),
        Some(Reach::Unknown) => {
            Err(format!("{reference} is not valid, and which waypoint it asks for cannot be read; see its status"))
        }
    }
}

/// Why nobody may reach the Service, if its workloads are to be guarded and there is no ztunnel to do it.
fn unguarded(view: &View<'_>, name: &Name, service: &Service) -> Option<String> {
    if view.settings().ztunnel {
        return None;
    }
    let root = view.settings().root_namespace.as_str();
    let selected = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    for namespace in BTreeSet::from([name.namespace.as_str(), root]) {
        let broken = view.all_broken(Kind::AuthorizationPolicy).find(|(object, broken)| {
            object.name.namespace == namespace && broken.reach.known().is_none_or(<[_]>::is_empty)
        });
        if let Some((object, _)) = broken {
            return Some(format!("{object} is not valid, and may be for its workloads; see its status"));
        }
        let guards = |policy: &&Arc<AuthorizationPolicy>| may_be_for(policy, selected);
        if let Some(policy) = view.policies_in(namespace).find(guards) {
            let policy = ObjectRef { kind: Kind::AuthorizationPolicy, name: policy.metadata.name_of() };
            return Some(format!("{policy} is for its workloads, which ztunnel would guard, and there is none here"));
        }
    }
    None
}

/// Whether `policy` is to be enforced at workloads that have these labels at least.
fn may_be_for(policy: &AuthorizationPolicy, labels: Option<&BTreeMap<String, String>>) -> bool {
    let spec = &policy.spec;
    // Without rules only ALLOW does something, and refuses everybody.
    let idle = is_tried(policy) || spec.action == Action::Audit || spec.action == Action::Deny && spec.rules.is_empty();
    let wanted = spec.selector.iter().flat_map(|selector| &selector.match_labels);
    let other = |(key, value): (&String, &String)| labels.and_then(|own| own.get(key)).is_some_and(|own| own != value);
    spec.targets().next().is_none() && !idle && !wanted.into_iter().any(other)
}

fn refused(reason: &str, why: String) -> (Enrolment, Option<Condition>) {
    let message = format!("{why}; until that is mended, connections to this Service are refused");
    (Enrolment::Refused(why), Some(Condition::fails(BOUND, reason, message)))
}

fn bind(view: &View<'_>, service: &Name, waypoint: Name) -> (Enrolment, Option<Condition>) {
    let Some(gateway) = view.gateway(&waypoint) else {
        let reference = ObjectRef { kind: Kind::Gateway, name: waypoint.clone() };
        return match view.gateway_object(&waypoint) {
            // Another controller's, which says on the Service what it does for it.
            Some(other) => {
                let class = &other.spec.gateway_class_name;
                (Enrolment::Refused(format!("{reference} is of class {class}, which is not served here")), None)
            }
            None if view.broken(&reference).is_some() => {
                refused("WaypointInvalid", format!("{reference} is not valid; see its status"))
            }
            None => refused("WaypointNotFound", format!("{reference} does not exist")),
        };
    };
    let Some(listener) = &gateway.listener else {
        return refused("WaypointInvalid", format!("Gateway {waypoint} cannot be served, see there"));
    };
    if !allows(view, listener, &waypoint.namespace, &service.namespace) {
        return refused(
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
