//! Where a route applies: its parents, judged, and by which of them it governs a port.

use api::{Kind, Name, ObjectRef};
use status::{Condition, Place};

use crate::declared::Declared;

/// One parentRef of a route, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent {
    /// Where in the route's status it is judged.
    pub place: Place,
    /// `Accepted`.
    pub accepted: Condition,
    /// What it names, if the route applies there.
    pub target: Option<Target>,
}

impl Parent {
    /// The Service, if it is one and the route applies there.
    pub fn service(&self) -> Option<&Name> {
        match &self.target {
            Some(Target::Service { name, .. }) => Some(name),
            _ => None,
        }
    }
}

/// What a route that applies names as its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Service, or the port of it that is named by number or by name.
    Service { name: Name, port: Option<u16>, section: Option<String> },
    /// A Gateway of ours.
    Gateway(Name),
}

/// A route that governs a Service port.
#[derive(Debug, Clone)]
pub struct Bound<'a> {
    /// The route.
    pub route: &'a Declared,
    /// By which of its parents.
    pub by: Vec<&'a Parent>,
}

impl Bound<'_> {
    /// Whether it names the Service, not only its Gateway.
    pub fn by_service(&self) -> bool {
        self.by.iter().any(|parent| matches!(parent.target, Some(Target::Service { .. })))
    }

    /// Whether it names the port, which makes the port HTTP.
    pub fn names_port(&self) -> bool {
        self.by.iter().any(|parent| match &parent.target {
            Some(Target::Service { port, section, .. }) => port.is_some() || section.is_some(),
            _ => false,
        })
    }
}

/// An admitted route with its parents.
#[derive(Debug, Clone, PartialEq)]
pub struct Attached {
    /// The route.
    pub route: Declared,
    /// Those of its parents that are any concern of ours.
    pub parents: Vec<Parent>,
}

impl Attached {
    /// The Services and Gateways where the route applies.
    pub fn targets(&self) -> impl Iterator<Item = ObjectRef> {
        self.parents.iter().filter_map(|parent| match parent.target.as_ref()? {
            Target::Service { name, .. } => Some(ObjectRef { kind: Kind::Service, name: name.clone() }),
            Target::Gateway(name) => Some(ObjectRef { kind: Kind::Gateway, name: name.clone() }),
        })
    }

    /// The Services that the route names.
    pub fn services(&self) -> impl Iterator<Item = &Name> {
        self.parents.iter().filter_map(Parent::service)
    }
}
