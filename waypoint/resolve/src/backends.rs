//! Where requests are sent: the endpoints of Services, never their virtual addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use api::{Kind, ObjectRef};
use ir::{Cluster, Destination, Endpoints, Origins};

use crate::services;
use crate::view::View;

/// How `destination` is reached, and why endpoints of it are left out; nothing if it does not exist.
pub fn cluster(view: &View<'_>, destination: &Destination) -> Option<(Cluster, BTreeSet<String>)> {
    let id = destination.port();
    let service = view.service(&id.service)?;
    let port = services::ports(service).into_iter().find(|port| port.number == id.port)?;
    let mut refused = BTreeSet::new();
    let mut origins = Origins::from([ObjectRef { kind: Kind::Service, name: id.service.clone() }]);
    let mut addresses = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for name in view.slices_of(&id.service) {
        let Some(slice) = view.slice(name) else { continue };
        let unnamed = |name: &Option<String>| name.clone().unwrap_or_default();
        let numbers: Vec<u16> = slice
            .ports
            .iter()
            .flatten()
            .filter(|p| unnamed(&p.name) == unnamed(&port.name))
            .filter_map(|p| u16::try_from(p.port?).ok())
            .collect();
        origins.insert(ObjectRef { kind: Kind::EndpointSlice, name: name.clone() });
        for endpoint in &slice.endpoints {
            if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
                continue;
            }
            for (address, number) in
                endpoint.addresses.iter().flat_map(|a| numbers.iter().map(move |number| (a, *number)))
            {
                if let Some(why) = view.ours().refuse(address, number) {
                    refused.insert(why);
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
    let http2 = matches!(destination, Destination::Http2(_)) || port.protocol(true).is_http2();
    Some((Cluster { http2, endpoints, origins }, refused))
}
