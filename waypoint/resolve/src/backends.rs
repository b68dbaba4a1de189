//! Where requests are sent: the endpoints of Services, never their virtual addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::Meta;
use api::core::SERVICE_NAME;
use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{Chain, Cluster, Destination, Endpoints, PortRef};

use super::destinations;
use super::ours::Ours;
use super::services::{self, Protocol};
use super::status::Statuses;

/// A cluster for each place that `chains` forward to. Endpoints that are ours are left out, and Services say so.
pub fn clusters(
    snapshot: &Snapshot,
    ours: &Ours,
    chains: &BTreeMap<PortRef, Chain>,
    statuses: &mut Statuses,
) -> BTreeMap<Destination, Cluster> {
    let slices = slices(snapshot);
    destinations(chains)
        .into_iter()
        .filter_map(|destination| {
            let Destination::Service(id) = &destination;
            let service = snapshot.services.get(&id.service)?;
            let port = services::ports(service).into_iter().find(|port| port.number == id.port)?;
            let mut origins = BTreeSet::from([ObjectRef { kind: Kind::Service, name: id.service.clone() }]);
            let mut addresses = BTreeSet::new();
            let mut hosts = BTreeSet::new();
            for name in slices.get(&id.service).into_iter().flatten() {
                let Some(slice) = snapshot.endpoint_slices.get(*name) else { continue };
                let unnamed = |name: &Option<String>| name.clone().unwrap_or_default();
                let numbers: Vec<u16> = slice
                    .ports
                    .iter()
                    .flatten()
                    .filter(|p| unnamed(&p.name) == unnamed(&port.name))
                    .filter_map(|p| u16::try_from(p.port?).ok())
                    .collect();
                origins.insert(ObjectRef { kind: Kind::EndpointSlice, name: (*name).clone() });
                for endpoint in &slice.endpoints {
                    if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
                        continue;
                    }
                    for (address, number) in
                        endpoint.addresses.iter().flat_map(|a| numbers.iter().map(move |number| (a, *number)))
                    {
                        if let Some(why) = ours.refuse(address, number) {
                            statuses.refused(&id.service, why);
                            continue;
                        }
                        match address.parse() {
                            Ok(ip) => drop(addresses.insert(SocketAddr::new(ip, number))),
                            Err(_) => drop(hosts.insert((address.trim_end_matches('.').to_owned(), number))),
                        }
                    }
                }
            }
            let endpoints = if hosts.is_empty() {
                Endpoints::Addresses(addresses)
            } else {
                hosts.extend(addresses.into_iter().map(|a| (a.ip().to_string(), a.port())));
                Endpoints::Hosts(hosts)
            };
            Some((destination, Cluster { http2: port.protocol(true) == Protocol::Http2, endpoints, origins }))
        })
        .collect()
}

/// The EndpointSlices of each Service.
fn slices(snapshot: &Snapshot) -> BTreeMap<Name, Vec<&Name>> {
    let mut slices: BTreeMap<Name, Vec<&Name>> = BTreeMap::new();
    for (name, slice) in &snapshot.endpoint_slices {
        if let Some(service) = slice.label(SERVICE_NAME) {
            slices.entry(Name::new(name.namespace.as_str(), service)).or_default().push(name);
        }
    }
    slices
}
