//! What the control plane and the servers that Envoy asks must agree on.
//!
//! They never talk to each other: the control plane writes these words into
//! Envoy's configuration, Envoy sends them along, and the servers read them.
//! So each word stands here once, and both sides take it from here.

use std::collections::BTreeSet;
use std::fmt;

use crate::name::Name;

/// The domain of every descriptor that a waypoint's Envoy sends to the rate-limit service.
pub const DOMAIN: &str = "solo.io";

/// Our name in `GatewayClass.spec.controllerName`, and in what is said of routes.
pub const CONTROLLER_NAME: &str = "waykeeper.dev/gateway-controller";

/// The name in the certificate of every Envoy of a Gateway that the control plane signs, by which the servers know that it
/// is one.
pub const ENVOYS: &str = "envoys.waykeeper.dev";

/// The filter that asks for authorization: the namespace of the dynamic metadata that comes with an answer.
pub const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// What a route's check says in its context extensions. A client cannot set these.
pub mod check {
    /// Which AuthConfig decides: [`config_id`](super::config_id).
    pub const CONFIG_ID: &str = "config_id";
    /// The header that is to tell the application who the user is, in lower case.
    /// A check without it leaves the choice to the server.
    pub const USER_HEADER: &str = "user_header";
    /// Which headers of the request the check brings: [`Reads`](super::Reads) as text. A check without it brings all.
    pub const HEADERS: &str = "headers";
    /// What the route is, as Gloo says it.
    pub const SOURCE_TYPE: &str = "source_type";
    /// See [`SOURCE_TYPE`].
    pub const SOURCE_NAME: &str = "source_name";
}

/// The header that tells an application, and a limit for each user, who the user is, unless the operator names another.
pub const USER_HEADER: &str = "x-user-id";

/// The key of the user's name in the dynamic metadata of an answer.
pub const USER_METADATA: &str = "userId";

/// How a route's check names the AuthConfig `name`.
///
/// A namespace has no dot, so the text names one object only.
pub fn config_id(name: &Name) -> String {
    format!("{}.{}", name.namespace, name.name)
}

/// The request headers on which an AuthConfig's answer depends, in lower case.
///
/// Envoy may leave out all others, and says in each check for which of them it was made. An answer is given by the
/// version of the AuthConfig that reads just these: one that reads another might take it for absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reads(pub BTreeSet<String>);

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// Headers that the authorization service reads of every request, for its log and its traces.
pub const READ_ALWAYS: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];
