//! The session's rules one by one, its convergence under any sequence of events,
//! and the service over real transports and with a real Envoy.
#![allow(clippy::unwrap_used)]

mod converge;
mod envoy;
mod grpc;
mod rules;
mod support;
