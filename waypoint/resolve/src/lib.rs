//! Decides: which Gateways are ours, which Services they serve, what each route does.

mod backends;
mod declared;
mod describe;
mod enrolment;
mod gateways;
mod gloo;
mod options;
mod parents;
mod precedence;
mod refused;
mod routes;
mod services;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};

use ::status::Report;
use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{Action, Chain, Destination, Enrolment, Front, Listener, PortRef, Proxy, Settings, Traffic};

/// The outcome of resolving a snapshot.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Each accepted Gateway.
    pub proxies: BTreeMap<Name, Proxy>,
    /// Which waypoint serves each Service.
    pub services: BTreeMap<Name, Enrolment>,
    /// What became of each object.
    pub report: Report,
}

/// Resolves `snapshot`.
pub fn resolve(snapshot: &Snapshot, settings: &Settings) -> Resolved {
    let gateways = gateways::gateways(snapshot, settings);
    let (services, mut report) = enrolment::enrolments(snapshot, &gateways);
    let attached = parents::attach(snapshot, &gateways, &services, &settings.controller_name);
    let policies = options::attach(snapshot);
    let mut statuses = status::Statuses::default();

    let mut proxies = BTreeMap::new();
    for (name, gateway) in &gateways {
        if let Some(address) = gateway.address {
            let chains = chains(snapshot, settings, name, &services, &attached, &policies, &mut statuses, &mut report);
            let clusters = backends::clusters(snapshot, &chains);
            let origins = BTreeSet::from([ObjectRef { kind: Kind::Gateway, name: name.clone() }]);
            let of_listener = chains.keys().map(|id| ObjectRef { kind: Kind::Service, name: id.service.clone() });
            let of_listener = origins.iter().cloned().chain(of_listener).collect();
            let listener = Listener { address, front: Front::Proxy, chains, origins: of_listener };
            proxies.insert(name.clone(), Proxy { gateway: name.clone(), listeners: vec![listener], clusters, origins });
        }
    }
    report.extend(gateways::report(&gateways, &attached));
    statuses.finish(snapshot, &attached, &policies, &mut report);
    Resolved { proxies, services, report }
}

/// One chain per port of each Service that `gateway` serves.
#[allow(clippy::too_many_arguments)]
fn chains(
    snapshot: &Snapshot,
    settings: &Settings,
    gateway: &Name,
    enrolled: &BTreeMap<Name, Enrolment>,
    attached: &parents::Attached,
    policies: &options::Policies<'_>,
    statuses: &mut status::Statuses,
    report: &mut Report,
) -> BTreeMap<PortRef, Chain> {
    let mut chains = BTreeMap::new();
    let mut taken = BTreeMap::new();
    let waypoint = ObjectRef { kind: Kind::Gateway, name: gateway.clone() };
    for (name, enrolment) in enrolled {
        if *enrolment != Enrolment::Waypoint(gateway.clone()) {
            continue;
        }
        let Some(service) = snapshot.services.get(name) else { continue };
        let addresses = services::addresses(service, name, &waypoint, &mut taken, report);
        if addresses.is_empty() {
            continue;
        }
        for port in services::ports(service) {
            let id = PortRef { service: name.clone(), port: port.number };
            let bound = attached.of(gateway, &id, port.name.as_deref());
            let mut origins = BTreeSet::from([
                ObjectRef { kind: Kind::Service, name: name.clone() },
                ObjectRef { kind: Kind::Gateway, name: gateway.clone() },
            ]);
            let asked_for_http = bound.iter().any(|b| b.names_port);
            let traffic = if port.protocol.is_http() || asked_for_http {
                let routes = routes::routes(snapshot, settings, &id, &bound, policies, statuses);
                origins.extend(routes.iter().flat_map(|r| r.origins.iter().cloned()));
                Traffic::Http(routes)
            } else {
                Traffic::Tcp(Destination::Service(id.clone()))
            };
            chains.insert(id, Chain { addresses: addresses.clone(), traffic, origins });
        }
    }
    chains
}

/// Where `chains` forward to.
fn destinations(chains: &BTreeMap<PortRef, Chain>) -> BTreeSet<Destination> {
    let mut targets = BTreeSet::new();
    for chain in chains.values() {
        match &chain.traffic {
            Traffic::Tcp(to) => drop(targets.insert(to.clone())),
            Traffic::Http(routes) => {
                for route in routes {
                    if let Action::Forward(forward) = &route.action {
                        targets.extend(forward.backends.iter().filter_map(|b| b.target.clone()));
                    }
                }
            }
        }
    }
    targets
}
