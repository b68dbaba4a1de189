//! How much and how long: the tunnel's settings.

use std::time::Duration;

/// Settings of a tunnel, fixed for its lifetime.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections carried at once, over all listeners. Each takes two file
    /// descriptors; one more than this is reset and counted.
    pub connections: usize,
    /// Of these, those from one source address.
    pub per_source: usize,
    /// Of these, those to one Service, whichever its ports; of one source at most three quarters of that.
    pub per_service: usize,
    /// How long reaching a target may take, name lookup included.
    pub connect_timeout: Duration,
    /// How often, at the latest, a listener that could not be bound is tried again.
    pub bind_retry: Duration,
    /// How long established connections may go on once the tunnel is told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            // One Service leaves half to the others; one caller, who may be all of one machine, a quarter.
            per_source: 6144,
            per_service: 4096,
            connect_timeout: Duration::from_secs(5),
            bind_retry: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}
