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
            PortFate::SetAside(by) => {
                format!(
                    "what comes to port {port} of Service {service} goes by {by}: routes of one kind count on a port"
                )
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

/// What to do where routes of another kind count.
const PART: &str = "let each kind of routes name the ports that it is for, in their parentRefs";

fn is_set_aside(fate: &PortFate) -> bool {
    matches!(fate, PortFate::SetAside(_))
}

/// Which ports a route or a policy does not reach, and what to do about it.
pub fn not_reached(ports: &Fates<'_>) -> Option<Condition> {
    let sentences = sentences(ports, PortFate::beyond)?;
    let (reason, cure) = match ports.values().filter(|fate| fate.beyond()).all(|fate| is_set_aside(fate)) {
        true => ("Conflicted", PART),
        false => ("NotHttp", CURE),
    };
    Some(Condition::fails(PORTS_REACHED, reason, format!("{sentences}; {cure}")))
}

/// What of `ports` is passed on without being asked for here, and what to do about it.
pub fn unread(ports: &Fates<'_>) -> Option<String> {
    let unread = sentences(ports, |fate| matches!(fate, PortFate::Unread { .. })).map(|said| format!("{said}; {CURE}"));
    unread.or_else(|| Some(format!("{}; {PART}", sentences(ports, is_set_aside)?)))
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
    if let Some(conflicted) = conflicted(ports) {
        return Some(conflicted);
    }
    let message = sentences(ports, |_| true)
        .unwrap_or_else(|| format!("Service {service} has no port and address that a waypoint could serve; see there"));
    Some(Condition::fails(ACCEPTED, "NoMatchingParent", message))
}

/// A route that is set aside on all ports that it would govern is not accepted.
pub fn conflicted(ports: &Fates<'_>) -> Option<Condition> {
    if !ports.values().all(|fate| is_set_aside(fate)) {
        return None;
    }
    let sentences = sentences(ports, |_| true)?;
    Some(Condition::fails(ACCEPTED, "Conflicted", format!("{sentences}; {PART}")))
}
