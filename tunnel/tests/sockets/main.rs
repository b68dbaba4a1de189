//! The tunnel over real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod load;
mod metrics;
mod plan;
mod support;
mod waypoint;
