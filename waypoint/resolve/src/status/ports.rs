//! What becomes of requests to the ports that a route would govern, in words.

use std::collections::BTreeMap;

use api::Name;
use ir::PortRef;
use status::{ACCEPTED, Condition, PROGRAMMED};

use crate::decided::said::PortFate;

/// The condition on a route or policy that lists the ports where it has no say.
pub const PORTS_REACHED: &str = "waykeeper.dev/PortsReached";

impl PortFate {
    /// What becomes of what comes to `id`.
    pub fn sentence(&self, id: &PortRef) -> String {
        let PortRef { service, port } = id;
        match self {
            PortFate::Served => String::new(),
            PortFate::Refused(why) => format!("what comes to port {port} of Service {service} is refused: {why}"),
            PortFate::Unread { because } => {
                format!("what comes to port {port} of Service {service} ({because}) is passed on unread")
            }
            PortFate::Closed { because, guard } => {
                format!("connections to port {port} of Service {service} ({because}) are refused: {guard}")
            }
        }
    }
}

/// Ports with what becomes of what comes there.
pub type Fates<'a> = BTreeMap<&'a PortRef, &'a PortFate>;

/// How many ports are named in one message.
const NAMED: usize = 5;

/// `items` as one sentence; of many the first.
pub fn listed(items: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let more = items.len().saturating_sub(NAMED);
    let mut named: Vec<String> = items.take(NAMED).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(separator)
}

fn sentences(ports: &Fates<'_>, which: impl Fn(&PortFate) -> bool) -> Option<String> {
    let ports: Vec<_> = ports.iter().filter(|(_, fate)| which(fate)).collect();
    (!ports.is_empty()).then(|| listed(ports.into_iter().map(|(id, fate)| fate.sentence(id)), "; "))
}

/// What to do where a port is not read as HTTP.
const CURE: &str = "where HTTP is spoken, write appProtocol: http on the port; where it is not, name only the other ports \
                    in the parentRefs of Services";

/// Which ports a route or a policy does not reach, and what to do about it.
pub fn not_reached(ports: &Fates<'_>) -> Option<Condition> {
    let sentences = sentences(ports, PortFate::beyond)?;
    Some(Condition::fails(PORTS_REACHED, "NotHttp", format!("{sentences}; {CURE}")))
}

/// What of `ports` is passed on unread, and what to do about it.
pub fn unread(ports: &Fates<'_>) -> Option<String> {
    let sentences = sentences(ports, |fate| matches!(fate, PortFate::Unread { .. }))?;
    Some(format!("{sentences}; {CURE}"))
}

/// Nothing of a route or policy is in force where everything it would govern is refused.
pub fn refused(ports: &Fates<'_>) -> Option<Condition> {
    if ports.values().any(|fate| **fate == PortFate::Served) {
        return None;
    }
    let sentences = sentences(ports, |fate| matches!(fate, PortFate::Refused(_)))?;
    Some(Condition::fails(PROGRAMMED, "Refused", sentences))
}

/// A route of a Service that governs none of its ports is not accepted there.
pub fn unreached(service: &Name, ports: &Fates<'_>) -> Option<Condition> {
    if !ports.values().all(|fate| fate.beyond()) {
        return None;
    }
    let message = sentences(ports, |_| true)
        .unwrap_or_else(|| format!("Service {service} has no port and address that a waypoint could serve; see there"));
    Some(Condition::fails(ACCEPTED, "NoMatchingParent", message))
}
