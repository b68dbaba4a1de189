//! What one author has to say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use api::{Kind, ObjectRef};
use serde::Serialize;

use crate::condition::Condition;
use crate::place::Place;

/// The conditions of one object in one place, as one author sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Where in the object's status the conditions stand.
    #[serde(rename = "ancestor", skip_serializing_if = "Place::is_object")]
    pub place: Place,
    /// The `metadata.generation` of the object that was judged, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many routes are attached and accepted; on a listener of a Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_routes: Option<usize>,
    /// The kinds of routes that may be attached; on a listener of a Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported_kinds: Option<Vec<Kind>>,
    /// Where it can be reached by now; on a Gateway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// The statements.
    pub conditions: Vec<Condition>,
}

/// Where a Gateway can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Address {
    /// By an address.
    Ip(IpAddr),
    /// By a name.
    Hostname(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(ip) => ip.fmt(f),
            Address::Hostname(name) => f.write_str(name),
        }
    }
}

impl ObjectStatus {
    /// Statements about the object itself.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self::at(Place::Object, conditions)
    }

    /// Statements in one place of the object's status.
    pub fn at(place: Place, conditions: Vec<Condition>) -> Self {
        Self { place, conditions, ..Self::default() }
    }

    /// The same, of the version of the object that has this `metadata.generation`, if it has one.
    pub fn observing(self, generation: Option<i64>) -> Self {
        Self { observed_generation: generation, ..self }
    }

    /// The condition of this type, if it is stated.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether something is not known yet.
    pub fn is_pending(&self) -> bool {
        self.conditions.iter().any(|condition| condition.status.is_none())
    }

    /// Whether all conditions hold and nothing is to be said of them.
    pub(crate) fn is_simply_good(&self) -> bool {
        self.conditions.iter().all(|condition| condition.status == Some(true) && condition.problems.is_empty())
    }

    /// Sets `condition`, replacing one of the same type.
    pub fn set(&mut self, condition: Condition) {
        match self.conditions.iter_mut().find(|known| known.kind == condition.kind) {
            Some(known) => *known = condition,
            None => {
                // There may be very many of these, mostly of two or three.
                self.conditions.reserve_exact(1);
                self.conditions.push(condition);
            }
        }
    }
}

/// What one author (the provider, a server, the control plane) has to say about all objects.
/// An object may carry several statuses, one for each place.
pub type Report = BTreeMap<ObjectRef, Vec<ObjectStatus>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Parent;
    use serde_json::json;

    #[test]
    fn a_status_shows_its_place_as_text_and_only_what_it_has() {
        let conditions = vec![Condition::holds("Accepted", "Accepted", "")];
        let accepted = json!([{"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}]);
        let shown = |status: &ObjectStatus| serde_json::to_value(status).expect("JSON");
        assert_eq!(shown(&ObjectStatus::new(conditions.clone())), json!({"conditions": accepted}));
        let object = ObjectRef::new(Kind::Service, "shop", "cart");
        let parent = Place::Parent(Parent::whole(object.clone(), "waykeeper.dev/gateway-controller"));
        assert_eq!(
            shown(&ObjectStatus::at(parent, conditions.clone())),
            json!({"ancestor": "Service shop/cart", "conditions": accepted})
        );
        let port = Parent { section: Some("web".to_owned()), port: Some(80), ..Parent::whole(object, "c") };
        assert_eq!(Place::Ancestor(port).to_string(), "Service shop/cart section web port 80");
        let listener = ObjectStatus {
            observed_generation: Some(3),
            attached_routes: Some(2),
            supported_kinds: Some(vec![Kind::HttpRoute]),
            ..ObjectStatus::at(Place::Listener("proxy".to_owned()), conditions)
        };
        let expected = json!({"ancestor": "listener proxy",
            "observedGeneration": 3, "attachedRoutes": 2, "supportedKinds": ["HTTPRoute"],
            "conditions": accepted});
        assert_eq!(shown(&listener), expected);
    }
}
