//! What the control plane and the servers that Envoy asks must agree on.
//!
//! They never talk to each other: the control plane writes these words into
//! Envoy's configuration, Envoy sends them along, and the servers read them.
//! So each word stands here once, and both sides take it from here.

use crate::name::Name;

/// The domain of every descriptor that a waypoint's Envoy sends to the rate-limit service.
pub const DOMAIN: &str = "solo.io";

/// The filter that asks for authorization: the namespace of the dynamic metadata that comes with an answer.
pub const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// What a route's check says in its context extensions. A client cannot set these.
pub mod check {
    /// Which AuthConfig decides: [`config_id`](super::config_id).
    pub const CONFIG_ID: &str = "config_id";
    /// The header that is to tell the application who the user is, in lower case.
    /// A check without it leaves the choice to the server.
    pub const USER_HEADER: &str = "user_header";
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
