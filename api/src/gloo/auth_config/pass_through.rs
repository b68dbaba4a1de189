//! `passThroughAuth`: another service decides.

mod target;
mod validate;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gloo::ResourceRef;
use crate::proto_json::ProtoDuration;
use crate::redacted::Redacted;

use super::secret_texts;

pub use target::Target;
pub(super) use validate::pass_through;

/// Another service decides, over gRPC or HTTP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PassThroughAuth {
    /// Over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<PassThroughGrpc>,
    /// Over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<PassThroughHttp>,
    /// Handed to that service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Let requests pass when that service fails.
    #[serde(alias = "failure_mode_allow")]
    pub failure_mode_allow: bool,
}

impl PassThroughAuth {
    /// The headers that its answers may set on requests that pass, in lower case.
    pub fn sets(&self) -> BTreeSet<String> {
        let grpc = self.grpc.iter().flat_map(|grpc| &grpc.allowed_upstream_headers);
        let response = self.http.iter().filter_map(|http| http.response.as_ref());
        let http = response.flat_map(|response| {
            response.allowed_upstream_headers.iter().chain(&response.allowed_upstream_headers_to_overwrite)
        });
        grpc.chain(http).map(|name| name.to_ascii_lowercase()).collect()
    }

    /// The headers of the request that the service is shown, in lower case; none if it is shown all.
    pub fn shows(&self) -> Option<BTreeSet<String>> {
        if self.grpc.is_some() {
            return None;
        }
        let request = self.http.as_ref()?.request.as_ref();
        let names = request.into_iter().flat_map(|request| &request.allowed_headers);
        Some(names.map(|name| name.to_ascii_lowercase()).collect())
    }
}

/// An ext_authz service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PassThroughGrpc {
    /// `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How long to wait for a connection.
    #[serde(alias = "connection_timeout", skip_serializing_if = "Option::is_none")]
    pub connection_timeout: Option<ProtoDuration>,
    /// TLS.
    #[serde(alias = "tls_config", skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Retries.
    #[serde(alias = "retry_policy", skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// The headers that it may set on requests that pass; ours, in the words of the HTTP form. What is not listed here
    /// nobody could keep clients from saying themselves, so that an answer which sets it is not taken.
    #[serde(alias = "allowed_upstream_headers", skip_serializing_if = "Vec::is_empty")]
    pub allowed_upstream_headers: Vec<String>,
}

/// TLS towards that service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsConfig {
    /// Client certificate and CA.
    #[serde(alias = "secret_ref", skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ResourceRef>,
    /// Versions and ciphers.
    #[serde(alias = "ssl_params", skip_serializing_if = "Option::is_none")]
    pub ssl_params: Option<SslParameters>,
    /// Name asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Names expected.
    #[serde(alias = "verify_subject_alt_name", skip_serializing_if = "Vec::is_empty")]
    pub verify_subject_alt_name: Vec<String>,
    /// Protocols offered.
    #[serde(alias = "alpn_protocols", skip_serializing_if = "Vec::is_empty")]
    pub alpn_protocols: Vec<String>,
}

/// Versions and ciphers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SslParameters {
    /// Least version.
    #[serde(alias = "minimum_protocol_version", skip_serializing_if = "Option::is_none")]
    pub minimum_protocol_version: Option<serde_json::Value>,
    /// Greatest version.
    #[serde(alias = "maximum_protocol_version", skip_serializing_if = "Option::is_none")]
    pub maximum_protocol_version: Option<serde_json::Value>,
    /// Ciphers.
    #[serde(alias = "cipher_suites", skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Curves.
    #[serde(alias = "ecdh_curves", skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
}

/// Retries.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryPolicy {
    /// How many.
    #[serde(alias = "num_retries", skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// How far apart.
    #[serde(alias = "retry_back_off", skip_serializing_if = "Option::is_none")]
    pub retry_back_off: Option<BackOff>,
}

/// Exponential back-off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackOff {
    /// First interval.
    #[serde(alias = "base_interval", skip_serializing_if = "Option::is_none")]
    pub base_interval: Option<ProtoDuration>,
    /// Longest interval.
    #[serde(alias = "max_interval", skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<ProtoDuration>,
}

/// An HTTP service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PassThroughHttp {
    /// Where to POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<HttpRequestOptions>,
    /// What of the server's answer is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<HttpResponseOptions>,
    /// How long to wait for a connection.
    #[serde(alias = "connection_timeout", skip_serializing_if = "Option::is_none")]
    pub connection_timeout: Option<ProtoDuration>,
    /// How long to wait for the answer.
    #[serde(alias = "response_header_timeout", skip_serializing_if = "Option::is_none")]
    pub response_header_timeout: Option<ProtoDuration>,
    /// Connections kept.
    #[serde(alias = "connection_pool", skip_serializing_if = "Option::is_none")]
    pub connection_pool: Option<ConnectionPool>,
    /// TLS.
    #[serde(alias = "tls_config", skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
}

/// What is sent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRequestOptions {
    /// Headers copied from the request.
    #[serde(alias = "allowed_headers", skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    /// Headers added.
    #[serde(alias = "headers_to_add", skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "secret_texts")]
    pub headers_to_add: BTreeMap<String, Redacted>,
    /// Send the state of earlier steps.
    #[serde(alias = "pass_through_state")]
    pub pass_through_state: bool,
    /// Send Envoy's metadata.
    #[serde(alias = "pass_through_filter_metadata")]
    pub pass_through_filter_metadata: bool,
    /// Send the body.
    #[serde(alias = "pass_through_body")]
    pub pass_through_body: bool,
}

/// What is taken from the answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpResponseOptions {
    /// Appended to the request.
    #[serde(alias = "allowed_upstream_headers", skip_serializing_if = "Vec::is_empty")]
    pub allowed_upstream_headers: Vec<String>,
    /// Set on the request.
    #[serde(alias = "allowed_upstream_headers_to_overwrite", skip_serializing_if = "Vec::is_empty")]
    pub allowed_upstream_headers_to_overwrite: Vec<String>,
    /// Sent to the client when denied.
    #[serde(alias = "allowed_client_headers_on_denied", skip_serializing_if = "Vec::is_empty")]
    pub allowed_client_headers_on_denied: Vec<String>,
    /// Sent to the client when allowed.
    #[serde(alias = "allowed_client_headers_on_success", skip_serializing_if = "Vec::is_empty")]
    pub allowed_client_headers_on_success: Vec<String>,
    /// Read state from the answer's body.
    #[serde(alias = "read_state_from_response")]
    pub read_state_from_response: bool,
}

/// Connections kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionPool {
    /// At most.
    #[serde(alias = "max_connections", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Closed after this long unused.
    #[serde(alias = "idle_timeout", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<ProtoDuration>,
}
