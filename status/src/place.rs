//! Where in an object's status a statement stands.

use std::fmt;

use api::ObjectRef;
use serde::{Serialize, Serializer};

/// A part of an object's status that holds conditions of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The object itself.
    #[default]
    Object,
    /// A listener of a Gateway, by its name.
    Listener(String),
    /// A parent of a route, as one controller sees it: one place for each of its parentRefs.
    Parent(Parent),
    /// An object in front of those that a policy governs (a parent of the policy's routes), or
    /// between an object and its callers, such as the waypoint of a Service.
    Ancestor(Parent),
}

/// A parent that a route names, and the controller that judges the route there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    /// The Gateway or Service.
    pub object: ObjectRef,
    /// The part of it that is named: a listener, or the name of a port.
    pub section: Option<String>,
    /// The port of it that is named.
    pub port: Option<i32>,
    /// The controller's name, as GatewayClasses have it.
    pub controller: String,
}

impl Parent {
    /// `object` as a whole.
    pub fn whole(object: ObjectRef, controller: impl Into<String>) -> Self {
        Self { object, section: None, port: None, controller: controller.into() }
    }
}

impl Place {
    /// Whether this is the object itself.
    pub fn is_object(&self) -> bool {
        *self == Place::Object
    }
}

/// `Service shop/cart`, `Service shop/cart port 80`, `listener proxy`; empty for the object itself.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Object => Ok(()),
            Place::Listener(name) => write!(f, "listener {name}"),
            Place::Parent(parent) | Place::Ancestor(parent) => parent.fmt(f),
        }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)?;
        if let Some(section) = &self.section {
            write!(f, " section {section}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))
    }
}

/// As it is displayed.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
