//! A Service's addresses, ports and what is spoken on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::Name;
use api::core::{Service, ServicePort};
use status::{ACCEPTED, Condition};

use crate::view::View;

/// What an application speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP, version 1 towards the application.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// The same, of which requests may be streams without an end.
    Grpc,
    /// Something we pass on unread.
    Tcp,
}

impl Protocol {
    /// Whether routes and policies apply.
    pub fn is_http(self) -> bool {
        self != Protocol::Tcp
    }

    /// Whether the application speaks HTTP/2 only.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc)
    }
}

/// A TCP port of a Service.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: Option<String>,
    /// What its author says is spoken there, and where.
    declared: Option<(Protocol, String)>,
}

impl Port {
    /// What is spoken there: what is declared, or else HTTP if `routed`, that is if a route names the
    /// Service, or else what the port is known for, or else HTTP.
    pub fn protocol(&self, routed: bool) -> Protocol {
        match (&self.declared, self.number) {
            (Some((protocol, _)), _) => *protocol,
            // TLS, and protocols in which the server speaks first: reading them as HTTP would hang.
            (None, 22 | 25 | 53 | 443 | 3306 | 5432 | 6379 | 27017) if !routed => Protocol::Tcp,
            (None, _) => Protocol::Http,
        }
    }

    /// Whether its author does not say what is spoken there.
    pub fn says_nothing(&self) -> bool {
        self.declared.is_none()
    }

    /// Why it is taken for what it is: `appProtocol: tcp`, `name: tcp-data`, or its number.
    pub fn because(&self) -> String {
        match &self.declared {
            Some((_, because)) => because.clone(),
            None => "what this number is known for".to_owned(),
        }
    }
}

/// The TCP ports of `service`, by number.
pub fn ports(service: &Service) -> Vec<Port> {
    let declared = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    for port in declared.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP") {
        if let Ok(number) = u16::try_from(port.port) {
            ports.entry(number).or_insert(Port { number, name: port.name.clone(), declared: self::declared(port) });
        }
    }
    ports.into_values().collect()
}

/// `appProtocol`, else the port's name or its prefix.
fn declared(port: &ServicePort) -> Option<(Protocol, String)> {
    let by_field = port
        .app_protocol
        .as_deref()
        .and_then(|written| Some((named(&written.to_ascii_lowercase())?, format!("appProtocol: {written}"))));
    by_field.or_else(|| {
        let written = port.name.as_deref()?;
        let name = written.to_ascii_lowercase();
        let prefix = || named(name.split_once('-').map_or(name.as_str(), |(prefix, _)| prefix));
        Some((named(&name).or_else(prefix)?, format!("name: {written}")))
    })
}

fn named(name: &str) -> Option<Protocol> {
    match name {
        "http" | "http1" | "http_proxy" | "ws" | "grpc-web" | "kubernetes.io/ws" => Some(Protocol::Http),
        "http2" | "h2c" | "kubernetes.io/h2c" => Some(Protocol::Http2),
        "grpc" => Some(Protocol::Grpc),
        "tcp" | "tls" | "https" | "wss" | "mysql" | "mongo" | "redis" | "postgres" | "postgresql" | "amqp"
        | "kafka" | "kubernetes.io/wss" => Some(Protocol::Tcp),
        _ => None,
    }
}

/// The addresses that mean `service` at `gateway`, and what is to be said about them. Two Services with one address cannot
/// both be reached there; the first by name is.
pub fn addresses(
    view: &View<'_>,
    service: &Service,
    name: &Name,
    gateway: &Name,
) -> (BTreeSet<IpAddr>, Vec<Condition>) {
    let mut said = Vec::new();
    let mut addresses = declared_addresses(service);
    if addresses.is_empty() {
        let message = match service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) {
            Some("ExternalName") => {
                "an ExternalName Service has no address of its own: callers look up the other name and go there, \
                 past any waypoint; route to it from a Service that has a clusterIP"
            }
            _ => "a headless Service has no address by which a waypoint could tell it; give it a clusterIP",
        };
        said.push(Condition::fails(ACCEPTED, "NoAddress", message));
    }
    addresses.retain(|address| match view.holder(gateway, *address) {
        Some(other) if other != name => {
            let message = format!("{address} is also Service {other}'s, which is served");
            said.push(Condition::fails(ACCEPTED, "AddressConflict", message));
            false
        }
        _ => true,
    });
    (addresses, said)
}

/// The addresses that `service` asks for.
pub fn declared_addresses(service: &Service) -> BTreeSet<IpAddr> {
    let spec = service.spec.iter();
    let declared = spec.flat_map(|spec| spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter()));
    declared.filter_map(|ip| ip.parse().ok()).collect()
}
