//! The flag that says which Gateways are waypoints of ours.

use std::collections::BTreeSet;

use clap::Args;

/// Which Gateways are waypoints of ours.
#[derive(Debug, Clone, Default, Args)]
pub struct ClassArgs {
    /// GatewayClass names whose waypoints are served
    #[arg(
        long = "class",
        env = "WAYPOINT_CLASSES",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "gloo-waypoint"
    )]
    pub classes: Vec<String>,
}

impl ClassArgs {
    /// The names as a set, for the settings of the translation.
    pub fn names(&self) -> BTreeSet<String> {
        self.classes.iter().cloned().collect()
    }
}
