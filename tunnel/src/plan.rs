//! What the tunnel is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where to listen, where to pass connections on, and who calls from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// A listener for each address (a Service's VIP and port) and its target.
    pub bindings: BTreeMap<SocketAddr, Target>,
    /// More listeners, each of which stands for a service's address: what connects
    /// to one is treated as if it had connected to the other. This is how services
    /// are published on addresses that are not their own.
    pub published: BTreeMap<SocketAddr, SocketAddr>,
    /// Places of our own that lead on to nobody: whoever reached them by a Service could change
    /// settings or claim to be somebody else. A target that turns out to be one of them is not reached.
    pub reserved: BTreeSet<Endpoint>,
    /// SPIFFE ids by source address, as `spiffe://<trust domain>/ns/<ns>/sa/<sa>`.
    /// A source that is not here calls without an identity.
    pub identities: BTreeMap<IpAddr, String>,
}

impl Plan {
    /// Every address to listen on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.bindings.keys().chain(self.published.keys().filter(|at| !self.bindings.contains_key(at))).copied()
    }

    /// The service's address that a listener stands for.
    pub fn service(&self, listener: SocketAddr) -> SocketAddr {
        if self.bindings.contains_key(&listener) {
            return listener;
        }
        self.published.get(&listener).copied().unwrap_or(listener)
    }

    /// The identity of whoever calls from `source`; never an empty one.
    pub fn identity(&self, source: IpAddr) -> Option<&str> {
        self.identities.get(&source.to_canonical()).map(String::as_str).filter(|identity| !identity.is_empty())
    }
}

/// What happens to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this PROXY protocol listener of a waypoint, behind a header.
    Waypoint(Endpoint),
    /// To one of these endpoints in turn, without a header.
    Direct(Vec<Endpoint>),
    /// Reset, for the reason given.
    Refuse(String),
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// An IP address or a host name, which is looked up for every connection.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_published_address_stands_for_a_service_unless_it_is_one_itself() {
        let (one, other, published) = (at("127.0.0.1:80"), at("127.0.0.2:80"), at("127.0.0.9:80"));
        let refuse = || Target::Refuse("told to".into());
        let plan = Plan {
            bindings: BTreeMap::from([(one, refuse()), (other, refuse())]),
            published: BTreeMap::from([(published, other), (one, other)]),
            ..Plan::default()
        };
        assert_eq!(plan.addresses().collect::<Vec<_>>(), [one, other, published]);
        assert_eq!([one, other, published].map(|listener| plan.service(listener)), [one, other, other]);
        assert_eq!(plan.service(at("127.0.0.7:80")), at("127.0.0.7:80"));
    }

    #[test]
    fn a_caller_has_the_identity_of_its_own_address_and_an_empty_one_is_none() {
        let identities = [("127.0.0.1", "spiffe://a"), ("127.0.0.2", ""), ("::1", "spiffe://b")];
        let identities = identities.map(|(source, identity)| (source.parse().unwrap(), identity.to_owned()));
        let plan = Plan { identities: BTreeMap::from(identities), ..Plan::default() };
        let identity = |source: &str| plan.identity(source.parse().unwrap());
        assert_eq!([identity("127.0.0.1"), identity("::ffff:127.0.0.1")], [Some("spiffe://a"); 2]);
        assert_eq!(identity("::1"), Some("spiffe://b"));
        assert_eq!([identity("127.0.0.2"), identity("127.0.0.3")], [None; 2]);
    }
}
