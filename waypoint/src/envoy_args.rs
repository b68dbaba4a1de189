//! Flags that say how Envoys ask the servers, which addresses of clients they believe, and what they ask for.

use std::time::Duration;

use api::contract;
use api::header::{self, HeaderUse};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use waypoint_translate::LimitSettings;

/// What Envoys are told by flags.
#[derive(Debug, Clone, Args)]
pub struct EnvoyArgs {
    /// How long the rate-limit service may take, in milliseconds
    #[arg(long, env = "RATELIMIT_TIMEOUT_MS", default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub ratelimit_timeout_ms: u64,
    /// Refuse requests (500) while the rate-limit service does not answer, instead of letting them pass
    #[arg(long, env = "RATELIMIT_DENY_ON_FAIL")]
    pub ratelimit_deny_on_fail: bool,
    /// Ask for rateLimitConfigs before authorization, not after
    #[arg(long, env = "RATELIMIT_BEFORE_AUTH")]
    pub ratelimit_before_auth: bool,
    /// Tell clients where they stand in x-ratelimit-limit, -remaining and -reset
    #[arg(long, env = "X_RATELIMIT_HEADERS")]
    pub x_ratelimit_headers: bool,
    /// Networks whose X-Forwarded-For is believed, such as that of an ingress; else the connection's address counts
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// Header that tells upstream who the user is
    #[arg(long, env = "USER_ID_HEADER", default_value = contract::USER_HEADER, value_name = "HEADER", value_parser = user_header)]
    pub user_id_header: String,
    /// Tell Envoys of a Service's cluster once a request needs it: for thousands of Services
    #[arg(long, env = "CLUSTERS_ON_DEMAND")]
    pub clusters_on_demand: bool,
    /// Have Envoys write a line for each request, path and query included, to standard output
    #[arg(long, env = "ACCESS_LOG", value_enum, value_name = "FORM")]
    pub access_log: Option<AccessLog>,
}

/// The form of an access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// The line of Istio's waypoints
    Text,
    /// An object with Istio's fields, and the Service
    Json,
}

impl EnvoyArgs {
    /// The form of the access log, as a setting of the translation.
    pub fn access_log(&self) -> Option<waypoint_translate::AccessLog> {
        self.access_log.map(|form| match form {
            AccessLog::Text => waypoint_translate::AccessLog::Text,
            AccessLog::Json => waypoint_translate::AccessLog::Json,
        })
    }

    /// How Envoys treat the rate-limit service, as a setting of the translation.
    pub fn limits(&self) -> LimitSettings {
        LimitSettings {
            timeout: Duration::from_millis(self.ratelimit_timeout_ms),
            deny_on_fail: self.ratelimit_deny_on_fail,
            before_auth: self.ratelimit_before_auth,
            headers: self.x_ratelimit_headers,
        }
    }
}

/// A header that authorization may set, in lower case.
fn user_header(name: &str) -> Result<String, String> {
    header::check(name, HeaderUse::Write).map(|()| name.to_ascii_lowercase())
}
