//! Plays ztunnel's part on one machine.
//!
//! A listener stands on every Service address of a [`Plan`]. What connects
//! there is passed on: to the waypoint behind a PROXY v2 header that says who
//! called and for whom, straight to the endpoints, or nowhere.
//!
//! This crate knows addresses and identities. It does not know Kubernetes, nor
//! what is said on the connections it carries.

mod binding;
mod connect;
mod connection;
mod counters;
mod limits;
mod plan;
mod shares;
mod splice;
mod tunnel;

pub mod header;

pub use counters::{Reason, describe_metrics};
pub use limits::Limits;
pub use plan::{Endpoint, Plan, Target};
pub use tunnel::{BindingStatus, Drained, Tunnel, TunnelError};
