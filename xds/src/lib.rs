//! The server end of delta xDS: an aggregated stream that feeds each Envoy its
//! resources and learns what became of them.
//!
//! [`Session`] is the protocol of one stream as a pure state machine: requests
//! and resources in, responses out. [`Hub`] holds what each node is to have and
//! what it acknowledged; its service pumps sessions over gRPC. [`Recorder`] learns what a client has acknowledged of
//! another server, for whoever stands between the two. Nothing here knows
//! what a resource means, beyond the order in which types depend on one another.

pub mod hub;
pub mod peer;
pub mod recorder;
pub mod service;
pub mod session;

pub use hub::{AckState, Acks, Hub, Target};
pub use peer::{Admission, Authorizer, Bearer, Decision, Peer};
pub use recorder::{Change, Recorder};
pub use service::{Options, Service};
pub use session::{Limits, Nack, OnDemand, Session, SessionError, SessionState};
