//! Decides: which Gateways are ours, which Services they serve, what each route does.

mod backends;
mod chains;
mod declared;
mod describe;
mod doubtful;
mod enrolment;
mod gateways;
mod gloo;
mod options;
mod ours;
mod owned;
mod parents;
mod precedence;
mod refusals;
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

/// What everything is resolved from.
struct Inputs<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    attached: &'a parents::Attached,
    policies: &'a options::Policies<'a>,
    refusals: &'a refusals::Refusals,
}

/// Resolves `snapshot`.
pub fn resolve(snapshot: &Snapshot, settings: &Settings) -> Resolved {
    let gateways = gateways::gateways(snapshot, settings);
    let (mut services, mut report) = enrolment::enrolments(snapshot, &gateways);
    let attached = parents::attach(snapshot, &gateways, &services, &settings.controller_name);
    let policies = options::attach(snapshot);
    let refusals = refusals::refusals(snapshot, &gateways, &services, &attached);
    let inputs = Inputs { snapshot, settings, attached: &attached, policies: &policies, refusals: &refusals };
    let mut statuses = status::Statuses::default();

    let ours = ours::Ours::new(settings, gateways.values().filter_map(|gateway| gateway.address));
    let mut proxies = BTreeMap::new();
    for (name, gateway) in &gateways {
        if let Some(address) = gateway.address {
            let chains = chains::chains(&inputs, name, &services, &mut statuses, &mut report);
            let clusters = backends::clusters(snapshot, &ours, &chains, &mut statuses);
            let origins = BTreeSet::from([ObjectRef { kind: Kind::Gateway, name: name.clone() }]);
            let of_listener = chains.keys().map(|id| ObjectRef { kind: Kind::Service, name: id.service.clone() });
            let of_listener = origins.iter().cloned().chain(of_listener).collect();
            let listener = Listener { address, front: Front::Proxy, chains, origins: of_listener };
            proxies.insert(name.clone(), Proxy { gateway: name.clone(), listeners: vec![listener], clusters, origins });
        }
    }
    owned::disown(snapshot, settings, &mut proxies, &mut statuses);
    report.extend(gateways::report(snapshot, &gateways, &attached));
    statuses.finish(snapshot, &attached, &policies, &mut report);
    if let Some(why) = refusals.everything() {
        services.values_mut().for_each(|enrolment| *enrolment = Enrolment::Refused(why.to_owned()));
    }
    Resolved { proxies, services, report }
}

/// Where `chains` forward to.
fn destinations(chains: &BTreeMap<PortRef, Chain>) -> BTreeSet<Destination> {
    let mut targets = BTreeSet::new();
    for chain in chains.values() {
        match &chain.traffic {
            Traffic::Refuse(_) => {}
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
