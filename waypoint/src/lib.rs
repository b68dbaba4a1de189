//! The control plane: declarations in, xDS out, and what became of each object back.
//!
//! [`build`] adds to a process what translates every snapshot, gives each Envoy the
//! resources of its Gateway, and completes the report with what the Envoys
//! acknowledged. [`Fleet`] runs the Envoys themselves where nothing else does, and [`proxy`] is one of them as the
//! process of a pod.

pub mod authority;
pub mod classes;
pub mod control;
mod deploy;
pub mod envoy;
pub mod envoy_args;
mod expected;
pub mod handle;
pub mod identities;
pub mod listen;
pub mod offer;
pub mod page;
pub mod programmed;
pub mod proxy;
mod proxy_name;
pub mod target;
pub mod tls;

pub use control::{Settings, build};
pub use deploy::{Ca, DeploySettings, Follows, Pods, amount, deploy};
pub use envoy::{EnvoyState, Fleet, FleetSettings};
pub use handle::Handle;
pub use listen::Listen;

/// The name under which the control plane writes to the status board.
pub const AUTHOR: &str = "waypoint";

/// The node id by which the Envoy of `gateway` introduces itself.
pub fn node_id(gateway: &api::Name) -> String {
    waypoint_translate::bootstrap::node_id(gateway)
}
