//! Istio's kinds: `AuthorizationPolicy` and `RequestAuthentication`.

pub mod authorization_policy;
pub mod request_authentication;
pub mod targets;

pub use authorization_policy::AuthorizationPolicy;
pub use request_authentication::RequestAuthentication;
