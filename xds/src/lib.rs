//! The server end of delta xDS: an aggregated stream that feeds each Envoy its
//! resources and learns what became of them.
//!
//! [`Session`] is the protocol of one stream as a pure state machine: requests
//! and resources in, responses out. [`Hub`] holds what each node is to have and
//! what it acknowledged; its service pumps sessions over gRPC. Nothing here knows
//! what a resource means, beyond the order in which types depend on one another.

pub mod hub;
pub mod peer;
pub mod service;
pub mod session;

pub use hub::{AckState, Acks, Hub, Target};
pub use peer::{Admission, Authorizer, Bearer, Decision, Peer};
pub use service::{Options, Service};
pub use session::{Limits, Nack, OnDemand, Session, SessionError, SessionState};
