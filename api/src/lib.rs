//! What people write: the Kubernetes resources Waykeeper reads, as typed values.
//!
//! A manifest becomes a [`serde_json::Value`] in `provider`; [`admit()`] turns
//! that value into an [`Object`] the way an API server would (defaults, name
//! rules, unknown fields), collecting every mistake as a [`Problem`]. Admitted
//! objects live in a [`Snapshot`], the immutable value that `extauth`,
//! `ratelimit` and `waypoint` compile. What they find wrong goes back as reports
//! of the crate `status`.
//!
//! This crate does no IO and knows nothing of Envoy.

pub mod admit;
mod broken;
pub mod contract;
pub mod core;
pub mod crd;
pub mod decode;
pub mod envoy;
mod fields;
pub mod fingerprint;
pub mod gateway;
pub mod gloo;
pub mod header;
pub mod istio;
pub mod json;
mod kinds;
pub mod loopback;
pub mod name;
pub mod object;
pub mod pairs;
pub mod problem;
pub mod proto_json;
pub mod reach;
mod redacted;
pub mod resource;
mod rules;
pub mod secret;
pub mod snapshot;
mod strict;
pub mod unserved;

pub use admit::{Admission, admit};
pub use broken::Broken;
pub use fingerprint::Fingerprint;
pub use name::Name;
pub use object::{Governs, Kind, Object, ObjectRef, Reader, Told};
pub use pairs::Pairs;
pub use problem::{Problem, Severity};
pub use reach::{Reach, Target};
pub use redacted::Redacted;
pub use resource::{Meta, Resource};
pub use secret::Secret;
pub use snapshot::{Delta, Snapshot, Withheld};

/// Objects by namespace and name, or by another key. Copies share what they have in common.
pub type Table<T, K = Name> = table::Table<T, K>;
