//! Which Gateways are ours, and where their waypoints listen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use api::gateway::Gateway;
use api::gateway::gateways::{GatewayListeners, GatewayListenersAllowedRoutesNamespacesFrom as From};
use api::loopback::{Range, candidate};
use api::{Kind, Name, Object, Problem};
use ir::{Bind, Settings};
use status::{ACCEPTED, Condition, OTHER_CONTROLLER, ObjectStatus, PROGRAMMED, Place, RESOLVED_REFS};

use crate::decided::{Gateways, Waypoint};
use crate::declared::KINDS;
use crate::view::View;

/// The protocol of a waypoint that a ztunnel feeds.
pub const PROXY: &str = "istio.io/PROXY";
/// The protocol of a waypoint that terminates the mesh's tunnel itself.
const HBONE: &str = "istio.io/HBONE";

/// The Gateways of our classes.
pub fn gateways(view: &View<'_>) -> Gateways {
    let mut found = BTreeMap::new();
    let mut taken = BTreeMap::new();
    for (name, gateway) in view.all_gateways() {
        if ours(view, gateway) {
            found.insert(name.clone(), examine(name, gateway, view.settings(), &mut taken));
        }
    }
    for (reference, broken) in view.all_broken(Kind::Gateway) {
        let readable = match &broken.partial {
            Some(Object::Gateway(partial)) if !partial.spec.gateway_class_name.is_empty() => Some(partial),
            _ => None,
        };
        // One whose class cannot be read may be ours.
        if readable.is_none_or(|partial| ours(view, partial)) {
            found.insert(
                reference.name.clone(),
                Waypoint { address: None, listener: None, broken: true, statuses: vec![] },
            );
        }
    }
    found
}

/// A class may be served without a GatewayClass object; if there is one, it must name us.
fn ours(view: &View<'_>, gateway: &Gateway) -> bool {
    let (class, settings) = (&gateway.spec.gateway_class_name, view.settings());
    let object = view.gateway_class(&Name::new("", class.as_str()));
    settings.class_names.contains(class)
        && object.is_none_or(|object| object.spec.controller_name == settings.controller_name)
}

fn examine(name: &Name, gateway: &Gateway, settings: &Settings, taken: &mut BTreeMap<SocketAddr, Name>) -> Waypoint {
    let mut served: Option<&GatewayListeners> = None;
    let mut statuses = Vec::new();
    for listener in &gateway.spec.listeners {
        let accepted = match listener.protocol.as_str() {
            PROXY if served.is_some() => Condition::fails(
                ACCEPTED,
                "Conflicted",
                "a waypoint has one istio.io/PROXY listener, and an earlier one is served; remove this one",
            ),
            PROXY if u16::try_from(listener.port).map_or(true, |port| port == 0) => {
                Condition::fails(ACCEPTED, "PortUnavailable", format!("{} is not a port", listener.port))
            }
            PROXY => {
                served = Some(listener);
                Condition::holds(ACCEPTED, "Accepted", "")
            }
            HBONE => Condition::fails(
                ACCEPTED,
                "Invalid",
                "istio.io/HBONE is not served: the node's ztunnel terminates it and speaks istio.io/PROXY to us; the Gateway works without this listener",
            ),
            other => Condition::fails(
                ACCEPTED,
                "UnsupportedProtocol",
                format!("a waypoint does not serve {other}; write {PROXY}"),
            ),
        };
        let mut conditions = vec![accepted];
        let is_served = served.is_some_and(|s| std::ptr::eq(s, listener));
        let (kinds, resolved) = supported(listener);
        if is_served {
            conditions.push(resolved);
            conditions.push(Condition::pending(PROGRAMMED, "Pending", "waiting for Envoy"));
        }
        let status = ObjectStatus::at(Place::Listener(listener.name.clone()), conditions);
        let kinds = if is_served { kinds } else { Vec::new() };
        statuses.push(ObjectStatus { supported_kinds: Some(kinds), ..status });
    }
    let address = served.and_then(|listener| {
        let port = u16::try_from(listener.port).ok()?;
        Some(match settings.bind {
            Bind::Loopback => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            Bind::Any => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            Bind::PerGateway => {
                let own =
                    |attempt| SocketAddr::new(IpAddr::V4(candidate(Range::Gateways, &name.to_string(), attempt)), port);
                let address = (0..).map(own).find(|address| !taken.contains_key(address))?;
                taken.insert(address, name.clone());
                address
            }
        })
    });
    let accepted = if address.is_some() {
        vec![
            Condition::holds(ACCEPTED, "Accepted", ""),
            Condition::holds(RESOLVED_REFS, "ResolvedRefs", ""),
            Condition::pending(PROGRAMMED, "Pending", "waiting for Envoy"),
        ]
    } else {
        vec![
            Condition::fails(
                ACCEPTED,
                "ListenersNotValid",
                format!("no listener can be served: a waypoint needs one with protocol: {PROXY}"),
            ),
            Condition::fails(PROGRAMMED, "Invalid", "not accepted"),
        ]
    };
    statuses.insert(0, ObjectStatus::new(accepted));
    Waypoint { address, listener: served.cloned(), broken: false, statuses }
}

/// The kinds of routes that a listener for PROXY takes, as far as it admits them, and whether it names others.
fn supported(listener: &GatewayListeners) -> (Vec<Kind>, Condition) {
    let admitted = listener.allowed_routes.as_ref().and_then(|allowed| allowed.kinds.as_ref());
    let Some(kinds) = admitted.filter(|kinds| !kinds.is_empty()) else {
        return (KINDS.to_vec(), Condition::holds(RESOLVED_REFS, "ResolvedRefs", ""));
    };
    let known = |kind: &str| KINDS.into_iter().find(|known| known.as_str() == kind);
    let is = |group: &Option<String>, kind: &str| {
        known(kind).filter(|known| group.as_deref().unwrap_or(known.group()) == known.group())
    };
    let named: BTreeSet<Kind> = kinds.iter().filter_map(|named| is(&named.group, &named.kind)).collect();
    let called = |group: &Option<String>, kind: &str| match group.as_deref() {
        Some(group) if known(kind).is_some() => format!("{kind} of {group:?}"),
        _ => kind.to_owned(),
    };
    let others = kinds.iter().filter(|named| is(&named.group, &named.kind).is_none());
    let mut others: Vec<String> = others.map(|named| called(&named.group, &named.kind)).collect();
    others.dedup();
    let resolved = if others.is_empty() {
        Condition::holds(RESOLVED_REFS, "ResolvedRefs", "")
    } else {
        let served = KINDS.map(Kind::as_str).join(" or ");
        let message = format!("allowedRoutes.kinds: {} cannot be attached; write {served}", others.join(", "));
        Condition::fails(RESOLVED_REFS, "InvalidRouteKinds", message)
    };
    (named.into_iter().collect(), resolved)
}

/// Whether routes of `kind` in `namespace` may attach to `listener` of a Gateway in `home`.
pub fn allows_routes(view: &View<'_>, listener: &GatewayListeners, home: &str, kind: Kind, namespace: &str) -> bool {
    supported(listener).0.contains(&kind) && allows(view, listener, home, namespace)
}

/// Whether objects in `namespace` may attach to `listener` of a Gateway in `home`.
pub fn allows(view: &View<'_>, listener: &GatewayListeners, home: &str, namespace: &str) -> bool {
    let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match namespaces.and_then(|n| n.from.as_ref()) {
        None | Some(From::Same) => home == namespace,
        Some(From::All) => true,
        Some(From::Selector) => {
            let Some(selector) = namespaces.and_then(|n| n.selector.as_ref()) else { return false };
            let object = view.namespace(&Name::new("", namespace));
            let none = BTreeMap::new();
            let mut labels = object.and_then(|o| o.metadata.labels.clone()).unwrap_or(none);
            // Every namespace carries its own name and no other's, as an API server sees to.
            labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
            let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
            equal
                && selector.match_expressions.iter().flatten().all(|expression| {
                    let value = labels.get(&expression.key);
                    let values = expression.values.as_deref().unwrap_or_default();
                    let listed = |v: &String| values.contains(v);
                    // What is no selector for Kubernetes selects nothing.
                    match expression.operator.as_str() {
                        "In" => value.is_some_and(listed),
                        "NotIn" => !values.is_empty() && !value.is_some_and(listed),
                        "Exists" => values.is_empty() && value.is_some(),
                        "DoesNotExist" => values.is_empty() && value.is_none(),
                        _ => false,
                    }
                })
        }
    }
}

/// What is to be said about `gateway`, called `called`, which other controllers may serve. Whether one does
/// cannot be told from here, so that it is a warning.
pub fn not_ours(view: &View<'_>, called: &str, gateway: &Gateway) -> Condition {
    let class = &gateway.spec.gateway_class_name;
    let message = format!("{called} is of class {class}, which is not served here: that is for another controller");
    let Settings { class_names, controller_name, .. } = view.settings();
    let cure = if class_names.contains(class) {
        format!("its GatewayClass names another controller: take that out, or write controllerName: {controller_name}")
    } else {
        let served = class_names.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
        format!("where there is none, write {served}")
    };
    let field = if called == "it" { "spec.gatewayClassName" } else { "" };
    let warning = Problem::warning(field, format!("{message}; {cure}"));
    Condition::pending(ACCEPTED, OTHER_CONTROLLER, message).with(vec![warning])
}

/// What became of the Gateway `name`; nothing if there is none, or none that was ever valid.
pub fn status(view: &View<'_>, name: &Name) -> Option<Vec<ObjectStatus>> {
    let object = view.gateway_object(name)?;
    let Some(gateway) = view.gateway(name).filter(|gateway| !gateway.broken) else {
        return Some(vec![ObjectStatus::new(vec![not_ours(view, "it", object)])]);
    };
    let mut statuses = gateway.statuses.clone();
    let routes = view.attachments(name);
    let served = gateway.listener.as_ref().map(|listener| Place::Listener(listener.name.clone()));
    for status in &mut statuses {
        match &status.place {
            place @ Place::Listener(_) => {
                status.attached_routes = Some(if served.as_ref() == Some(place) { routes } else { 0 })
            }
            _ => {
                let accepted = status.conditions.first_mut().filter(|accepted| accepted.status == Some(true));
                if let Some(accepted) = accepted.filter(|_| routes > 0) {
                    accepted.message = format!("{routes} route{} attached", if routes == 1 { "" } else { "s" });
                }
            }
        }
    }
    Some(statuses)
}
