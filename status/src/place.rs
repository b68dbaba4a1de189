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
    /// A parent of a route, as one controller sees it.
    Parent(Parent),
    /// An object that a policy acts on, or that stands between an object and its callers,
    /// such as the waypoint of a Service.
    Ancestor(ObjectRef),
}

/// A parent that a route names, and the controller that judges the route there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    /// The Gateway or Service.
    pub object: ObjectRef,
    /// The controller's name, as GatewayClasses have it.
    pub controller: String,
}

impl Place {
    /// Whether this is the object itself.
    pub fn is_object(&self) -> bool {
        *self == Place::Object
    }
}

/// `Service shop/cart`, `listener proxy`; empty for the object itself.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Object => Ok(()),
            Place::Listener(name) => write!(f, "listener {name}"),
            Place::Parent(Parent { object, .. }) | Place::Ancestor(object) => object.fmt(f),
        }
    }
}

/// As it is displayed.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
