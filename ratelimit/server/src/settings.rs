//! What the service can be told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use runtime::Workers;
use runtime::tls::ServerTls;

use crate::explain::gauges::GaugeSettings;
use rules::config::{DOMAINS, WeightScope};
use store::WhenFull;
use store::redis::RedisSettings;

/// What the service can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains that requests may name; `*` for any. Others pass, counted as misses.
    pub domains: Vec<String>,
    /// Among which rules a weight is compared.
    pub weights: WeightScope,
    /// Where hits are added up.
    pub store: StoreSettings,
    /// TLS of the gRPC port; none, plaintext.
    pub tls: Option<ServerTls>,
    /// After how long a connection is asked to end, so that clients spread anew; none, never.
    pub max_connection_age: Option<Duration>,
    /// The threads that answer; none, the one that serves.
    pub workers: Option<Arc<Workers>>,
    /// How long rules that are not written any more are still answered for: longer than any Envoy
    /// takes to learn of it.
    pub removed_grace: Duration,
    /// What the metrics page says of limits and of what is left.
    pub gauges: GaugeSettings,
    /// Among how many servers each limit is divided before this one hands out quotas of it.
    pub quota_replicas: NonZeroU32,
}

/// Where hits are added up.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// In this process, with room for so many counters.
    Memory {
        /// The most counters at a time.
        counters: usize,
        /// What becomes of hits for whose counters there is no room.
        when_full: WhenFull,
    },
    /// In Redis.
    Redis(Box<RedisSettings>),
}

/// How long what was removed is answered for unless told otherwise.
pub const REMOVED_GRACE: Duration = Duration::from_secs(10);

/// Counters in memory unless told otherwise.
pub const COUNTERS: usize = 1_000_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: DOMAINS.map(str::to_owned).to_vec(),
            weights: WeightScope::default(),
            store: StoreSettings::Memory { counters: COUNTERS, when_full: WhenFull::default() },
            tls: None,
            max_connection_age: None,
            workers: None,
            removed_grace: REMOVED_GRACE,
            gauges: GaugeSettings::default(),
            quota_replicas: NonZeroU32::MIN,
        }
    }
}
