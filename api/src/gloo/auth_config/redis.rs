//! Connections to Redis, as several steps describe them.

use serde::{Deserialize, Serialize};

/// Where a Redis is and how to speak to it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisOptions {
    /// `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Database number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db: Option<i32>,
    /// Connections kept.
    #[serde(alias = "pool_size", skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<i32>,
    /// Folder with `ca.crt`.
    #[serde(alias = "tls_cert_mount_path", skip_serializing_if = "Option::is_none")]
    pub tls_cert_mount_path: Option<String>,
    /// TCP or TLS.
    #[serde(alias = "socket_type", skip_serializing_if = "Option::is_none")]
    pub socket_type: Option<serde_json::Value>,
}
