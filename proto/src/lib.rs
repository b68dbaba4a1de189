//! What goes over the wire: Envoy's and xDS's messages, re-exported once.
//!
//! Nothing else in the workspace names `envoy_types`. Wire types stop at the
//! edges of each server; inside, domain types are used. Modules import
//! `proto::envoy as pb`-style aliases so that a leak shows in review.

pub mod canonical;
mod descriptors;
pub mod fields;
pub mod resource;
pub mod schema;
pub mod yaml;

pub use envoy_types::pb::envoy;
pub use envoy_types::pb::google;
pub use envoy_types::pb::ratelimit;
pub use envoy_types::pb::xds as xds_pb;

pub use resource::{Resource, ResourceSet, ResourceType};
