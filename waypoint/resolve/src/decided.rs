//! What was decided, as later decisions read it: nouns, with what can be told from each alone. Who makes a decision
//! stands above the [`View`](crate::view::View), which keeps it.

pub mod attached;
pub mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use api::gateway::gateways::GatewayListeners;
use api::{Name, ObjectRef};
use ir::{Action, Chain, Destination, Enrolment, PortRef};
use status::{Condition, ObjectStatus};

use said::Said;

/// The Gateways of our classes.
pub type Gateways = BTreeMap<Name, Waypoint>;

/// A Gateway of our class.
#[derive(Debug, Clone, PartialEq)]
pub struct Waypoint {
    /// Where it listens; none if it cannot be served.
    pub address: Option<SocketAddr>,
    /// The listener that is served.
    pub listener: Option<GatewayListeners>,
    /// Whether it was never admitted: the provider has said why.
    pub broken: bool,
    /// What is to be said about it, but for how many routes are attached.
    pub statuses: Vec<ObjectStatus>,
}

/// The waypoint of one Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolled {
    /// The waypoint, or why there is none.
    pub enrolment: Enrolment,
    /// What is to be said about it.
    pub condition: Option<Condition>,
}

/// What is refused because of objects that were never valid, and of what cannot be read, each with the reason.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refusals {
    /// Everything.
    pub everything: Option<String>,
    /// Requests that come to a Gateway.
    pub gateways: BTreeMap<Name, String>,
    /// All that comes to a Gateway, connections that are not read included.
    pub waypoints: BTreeMap<Name, String>,
    /// What comes to a Service.
    pub services: BTreeMap<Name, String>,
    /// Rules of a route; all of them where none is named.
    pub rules: BTreeMap<ObjectRef, Vec<(Option<String>, String)>>,
}

/// A Service's part of its waypoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// The Gateway that serves it.
    pub gateway: Name,
    /// One chain per port, but for what clients must not say to the Services behind it.
    pub chains: BTreeMap<PortRef, Arc<Chain>>,
    /// What is to be said about its addresses.
    pub addresses: Vec<Condition>,
    /// Which AuthConfigs and RequestAuthentications guard the way to which port.
    pub claims: BTreeMap<PortRef, BTreeSet<ObjectRef>>,
    /// What was found out about routes and policies, and about the Service.
    pub said: Box<[(ObjectRef, Arc<Said>)]>,
}

impl Unit {
    /// Where its chains forward to.
    pub fn destinations(&self) -> BTreeSet<&Destination> {
        let mut found = BTreeSet::new();
        for chain in self.chains.values() {
            found.extend(chain.traffic.unread());
            found.extend(chain.tokens.destinations());
            for route in chain.traffic.routes().into_iter().flatten() {
                if let Action::Forward(forward) = &route.action {
                    found.extend(forward.destinations());
                }
            }
        }
        found
    }
}
