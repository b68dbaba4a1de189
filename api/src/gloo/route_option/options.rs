//! The options that work, in Gloo's spelling.

use serde::{Deserialize, Serialize};

use crate::gloo::ResourceRef;
use crate::gloo::rate_limit_config::RateLimit;
use crate::proto_json::ProtoDuration;

/// `extauth`: who may call.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct ExtAuth {
    /// The AuthConfig that decides.
    #[serde(default, alias = "config_ref", skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<ConfigRef>,
    /// Ask nobody, even if a less specific policy says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
    /// A custom auth server: known, not supported yet.
    #[serde(default, alias = "custom_auth", skip_serializing_if = "Option::is_none")]
    pub custom_auth: Option<serde_json::Value>,
}

/// Reference to an AuthConfig or RateLimitConfig.
pub type ConfigRef = ResourceRef;

/// `rateLimitConfigs`: how many may call.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
pub struct RateLimitConfigs {
    /// The RateLimitConfigs that count.
    #[serde(default)]
    pub refs: Vec<ConfigRef>,
}

/// `ratelimitBasic`: a limit for each user that authorization named, and one for each address of everyone else.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct RatelimitBasic {
    /// For each user; without it they are not limited.
    #[serde(default, alias = "authorized_limits", skip_serializing_if = "Option::is_none")]
    pub authorized_limits: Option<RateLimit>,
    /// For each address from which somebody unknown calls; without it they are not limited.
    #[serde(default, alias = "anonymous_limits", skip_serializing_if = "Option::is_none")]
    pub anonymous_limits: Option<RateLimit>,
}

/// `headerManipulation`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct HeaderManipulation {
    /// Request headers to set or append.
    #[serde(default, alias = "request_headers_to_add")]
    pub request_headers_to_add: Vec<HeaderAppend>,
    /// Request headers to take away first.
    #[serde(default, alias = "request_headers_to_remove")]
    pub request_headers_to_remove: Vec<String>,
    /// Response headers to set or append.
    #[serde(default, alias = "response_headers_to_add")]
    pub response_headers_to_add: Vec<HeaderAppend>,
    /// Response headers to take away first.
    #[serde(default, alias = "response_headers_to_remove")]
    pub response_headers_to_remove: Vec<String>,
}

/// One header to add.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAppend {
    /// Name and value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderValue>,
    /// Keep values the header already has (the default), or replace them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<bool>,
    /// A header kept in a Secret: known, not supported yet.
    #[serde(default, alias = "header_secret_ref", skip_serializing_if = "Option::is_none")]
    pub header_secret_ref: Option<serde_json::Value>,
}

/// Name and value of a header. The value may hold Envoy's `%COMMAND%` operators.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
pub struct HeaderValue {
    /// Its name.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// `retries`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Envoy's retry conditions, separated by commas.
    #[serde(default, alias = "retry_on")]
    pub retry_on: String,
    /// How often to try again; one if unset.
    #[serde(default, alias = "num_retries")]
    pub num_retries: u32,
    /// Time for one try.
    #[serde(default, alias = "per_try_timeout", skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<ProtoDuration>,
    /// Pauses between tries.
    #[serde(default, alias = "retry_back_off", skip_serializing_if = "Option::is_none")]
    pub retry_back_off: Option<BackOff>,
    /// Status codes worth another try, with `retriable-status-codes` in `retryOn`.
    #[serde(default, alias = "retriable_status_codes")]
    pub retriable_status_codes: Vec<u32>,
    /// Known, not supported yet.
    #[serde(default, alias = "previous_priorities", skip_serializing_if = "Option::is_none")]
    pub previous_priorities: Option<serde_json::Value>,
    /// Known, not supported yet.
    #[serde(default, alias = "rate_limited_retry_back_off", skip_serializing_if = "Option::is_none")]
    pub rate_limited_retry_back_off: Option<serde_json::Value>,
}

/// Pauses between retries.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct BackOff {
    /// The first.
    #[serde(default, alias = "base_interval", skip_serializing_if = "Option::is_none")]
    pub base_interval: Option<ProtoDuration>,
    /// The longest.
    #[serde(default, alias = "max_interval", skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<ProtoDuration>,
}

/// `cors`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins, written exactly; `*` allows all.
    #[serde(default, alias = "allow_origin")]
    pub allow_origin: Vec<String>,
    /// Origins as regular expressions.
    #[serde(default, alias = "allow_origin_regex")]
    pub allow_origin_regex: Vec<String>,
    /// Methods.
    #[serde(default, alias = "allow_methods")]
    pub allow_methods: Vec<String>,
    /// Request headers.
    #[serde(default, alias = "allow_headers")]
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read.
    #[serde(default, alias = "expose_headers")]
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer may be kept: seconds (`"86400"`) or a duration, also in days (`"1d"`).
    #[serde(default, alias = "max_age")]
    pub max_age: String,
    /// Whether cookies and credentials may be sent.
    #[serde(default, alias = "allow_credentials")]
    pub allow_credentials: bool,
    /// Do nothing about CORS on this route.
    #[serde(default, alias = "disable_for_route")]
    pub disable_for_route: bool,
}

impl Cors {
    /// `maxAge` in seconds, if it is written.
    ///
    /// # Errors
    /// A sentence for its author.
    pub fn max_age_seconds(&self) -> Result<Option<u64>, String> {
        let text = self.max_age.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()?.checked_mul(86_400));
        let seconds = text.parse::<u64>().ok().or(days);
        let seconds = seconds.or_else(|| text.parse::<ProtoDuration>().ok().map(|duration| duration.0.as_secs()));
        let fits = |seconds: &u64| u32::try_from(*seconds).is_ok();
        let wrong = || "write seconds or a duration, e.g. \"86400\", \"24h\" or \"1d\"".to_owned();
        seconds.filter(fits).map(Some).ok_or_else(wrong)
    }
}

/// `faults`: mistakes made on purpose.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
pub struct Faults {
    /// Answer with an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// Wait before going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
}

/// Answers some requests with an error.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Of a hundred requests, how many.
    #[serde(default)]
    pub percentage: f64,
    /// The status.
    #[serde(default, alias = "http_status")]
    pub http_status: u32,
}

/// Holds some requests back.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// Of a hundred requests, how many.
    #[serde(default)]
    pub percentage: f64,
    /// For how long.
    #[serde(default, alias = "fixed_delay", skip_serializing_if = "Option::is_none")]
    pub fixed_delay: Option<ProtoDuration>,
}
