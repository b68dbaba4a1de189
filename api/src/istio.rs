//! Istio's kinds: `AuthorizationPolicy`.

pub mod authorization_policy;

pub use authorization_policy::AuthorizationPolicy;
