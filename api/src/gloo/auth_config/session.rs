//! Where a login's tokens are kept between requests.

use serde::{Deserialize, Serialize};

use crate::gloo::ResourceRef;
use crate::proto_json::ProtoDuration;

use super::redis::RedisOptions;

/// Where tokens are kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserSession {
    /// Deny when a session cannot be read.
    #[serde(alias = "fail_on_fetch_failure")]
    pub fail_on_fetch_failure: bool,
    /// How cookies are set.
    #[serde(alias = "cookie_options", skip_serializing_if = "Option::is_none")]
    pub cookie_options: Option<CookieOptions>,
    /// In cookies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieSession>,
    /// In Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSession>,
    /// How cookies are encrypted.
    #[serde(alias = "cipher_config", skip_serializing_if = "Option::is_none")]
    pub cipher_config: Option<CipherConfig>,
}

/// How cookies are set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieOptions {
    /// Seconds until they expire.
    #[serde(alias = "max_age", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
    /// Also over plain HTTP.
    #[serde(alias = "not_secure")]
    pub not_secure: bool,
    /// Not for scripts.
    #[serde(alias = "http_only", skip_serializing_if = "Option::is_none")]
    pub http_only: Option<bool>,
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// SameSite attribute.
    #[serde(alias = "same_site", skip_serializing_if = "Option::is_none")]
    pub same_site: Option<serde_json::Value>,
    /// Domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// In cookies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieSession {
    /// Refresh expired tokens.
    #[serde(alias = "allow_refreshing", skip_serializing_if = "Option::is_none")]
    pub allow_refreshing: Option<bool>,
    /// Prefix of cookie names.
    #[serde(alias = "key_prefix", skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Domain.
    #[serde(alias = "target_domain", skip_serializing_if = "Option::is_none")]
    pub target_domain: Option<String>,
}

/// In Redis.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisSession {
    /// Which Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<RedisOptions>,
    /// Prefix of keys.
    #[serde(alias = "key_prefix", skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Cookie with the session's id.
    #[serde(alias = "cookie_name", skip_serializing_if = "Option::is_none")]
    pub cookie_name: Option<String>,
    /// Refresh expired tokens.
    #[serde(alias = "allow_refreshing", skip_serializing_if = "Option::is_none")]
    pub allow_refreshing: Option<bool>,
    /// How long before expiry.
    #[serde(alias = "pre_expiry_buffer", skip_serializing_if = "Option::is_none")]
    pub pre_expiry_buffer: Option<ProtoDuration>,
    /// Domain.
    #[serde(alias = "target_domain", skip_serializing_if = "Option::is_none")]
    pub target_domain: Option<String>,
    /// Header with the session's id.
    #[serde(alias = "header_name", skip_serializing_if = "Option::is_none")]
    pub header_name: Option<String>,
}

/// How cookies are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CipherConfig {
    /// The key.
    #[serde(alias = "key_ref", skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<ResourceRef>,
}

/// Tokens sent upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderOptions {
    /// Header for the id token.
    #[serde(alias = "id_token_header", skip_serializing_if = "Option::is_none")]
    pub id_token_header: Option<String>,
    /// Header for the access token.
    #[serde(alias = "access_token_header", skip_serializing_if = "Option::is_none")]
    pub access_token_header: Option<String>,
    /// Write `Bearer` before a token in Authorization.
    #[serde(alias = "use_bearer_schema_for_authorization", skip_serializing_if = "Option::is_none")]
    pub use_bearer_schema_for_authorization: Option<bool>,
}
