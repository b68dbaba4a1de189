//! `apiKeyAuth`: a key in a header, held in Kubernetes Secrets.

use serde::{Deserialize, Deserializer, Serialize};

use crate::gloo::ResourceRef;
use crate::pairs::Pairs;
use crate::proto_json::{ProtoDuration, enumeration};

/// A request is let pass if the header named here holds a key of one of the Secrets.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiKeyAuth {
    /// Labels of the Secrets to read, all of which must be equal (deprecated place; see `k8sSecretApikeyStorage`).
    #[serde(alias = "label_selector", skip_serializing_if = "Pairs::is_empty")]
    pub label_selector: Pairs<Box<str>>,
    /// Secrets to read, by name (deprecated place; see `k8sSecretApikeyStorage`).
    #[serde(alias = "api_key_secret_refs", skip_serializing_if = "Vec::is_empty")]
    pub api_key_secret_refs: Vec<ResourceRef>,
    /// Request header that holds the key; `api-key` when absent.
    #[serde(alias = "header_name", skip_serializing_if = "Option::is_none")]
    pub header_name: Option<String>,
    /// Older spelling of `headersFromMetadataEntry`.
    #[serde(alias = "headers_from_metadata", skip_serializing_if = "Pairs::is_empty")]
    pub headers_from_metadata: Pairs<MetadataEntry>,
    /// Upstream request headers, each filled from an entry of the Secret.
    #[serde(alias = "headers_from_metadata_entry", skip_serializing_if = "Pairs::is_empty")]
    pub headers_from_metadata_entry: Pairs<MetadataEntry>,
    /// Where the keys are: Kubernetes Secrets.
    #[serde(
        alias = "k8s_secret_apikey_storage",
        skip_serializing_if = "Option::is_none",
        alias = "k8sSecretApiKeyStorage"
    )]
    pub k8s_secret_apikey_storage: Option<K8sSecretStorage>,
    /// Where the keys are: Aerospike.
    #[serde(alias = "aerospike_apikey_storage", skip_serializing_if = "Option::is_none")]
    pub aerospike_apikey_storage: Option<Box<AerospikeStorage>>,
    /// Asks for values of metadata not to be checked on each request.
    #[serde(alias = "skip_metadata_validation")]
    pub skip_metadata_validation: bool,
    /// Keys are stored as an HMAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<KeyHmac>,
    /// Keys are stored as a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<KeyDigest>,
    /// Further headers that must equal entries of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<KeyMatch>,
}

/// Which entry of the Secret fills a header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataEntry {
    /// Key in the Secret's data.
    pub name: String,
    /// A key whose Secret lacks the entry is not accepted.
    pub required: bool,
}

/// Which Kubernetes Secrets hold the keys.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct K8sSecretStorage {
    /// Labels of the Secrets to read, all of which must be equal.
    #[serde(alias = "label_selector", skip_serializing_if = "Pairs::is_empty")]
    pub label_selector: Pairs<Box<str>>,
    /// Secrets to read, by name.
    #[serde(alias = "api_key_secret_refs", skip_serializing_if = "Vec::is_empty")]
    pub api_key_secret_refs: Vec<ResourceRef>,
}

/// Keys in an Aerospike database.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AerospikeStorage {
    /// Host of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Aerospike namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Set name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Keys read at once.
    #[serde(alias = "batch_size", skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<i32>,
    /// Commit level: all.
    #[serde(alias = "commit_all", skip_serializing_if = "Option::is_none")]
    pub commit_all: Option<u32>,
    /// Commit level: master.
    #[serde(alias = "commit_master", skip_serializing_if = "Option::is_none")]
    pub commit_master: Option<u32>,
    /// Read mode of strongly consistent namespaces.
    #[serde(alias = "read_mode_sc", skip_serializing_if = "Option::is_none")]
    pub read_mode_sc: Option<serde_json::Value>,
    /// Read mode of available namespaces.
    #[serde(alias = "read_mode_ap", skip_serializing_if = "Option::is_none")]
    pub read_mode_ap: Option<serde_json::Value>,
    /// Subject name expected of a node.
    #[serde(alias = "node_tls_name", skip_serializing_if = "Option::is_none")]
    pub node_tls_name: Option<String>,
    /// Client certificate file.
    #[serde(alias = "cert_path", skip_serializing_if = "Option::is_none")]
    pub cert_path: Option<String>,
    /// Client key file.
    #[serde(alias = "key_path", skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// Do not verify the nodes.
    #[serde(alias = "allow_insecure")]
    pub allow_insecure: bool,
    /// CA file.
    #[serde(alias = "root_ca_path", skip_serializing_if = "Option::is_none")]
    pub root_ca_path: Option<String>,
    /// Least TLS version.
    #[serde(alias = "tls_version", skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// Curves offered.
    #[serde(alias = "tls_curve_groups", skip_serializing_if = "Vec::is_empty")]
    pub tls_curve_groups: Vec<serde_json::Value>,
    /// Labels of keys to accept.
    #[serde(alias = "label_selector", skip_serializing_if = "Pairs::is_empty")]
    pub label_selector: Pairs<Box<str>>,
    /// How long to wait for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ProtoDuration>,
}

/// How stored HMACs were computed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyHmac {
    /// Hash algorithm.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "hmac_algorithm")]
    pub algorithm: Option<i32>,
    /// Secret with the HMAC key.
    #[serde(alias = "shared_secret_ref", skip_serializing_if = "Option::is_none")]
    pub shared_secret_ref: Option<ResourceRef>,
}

/// How stored digests were computed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyDigest {
    /// Hash algorithm.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "digest_algorithm")]
    pub algorithm: Option<i32>,
}

/// Headers that must equal entries of the Secret.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyMatch {
    /// The headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<MatchedHeader>,
}

/// One such header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchedHeader {
    /// Name of the header and of the entry.
    pub name: String,
}

/// An HMAC algorithm, by name or number.
fn hmac_algorithm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    enumeration(deserializer, "an HMAC algorithm", &[("HMAC_SHA256", 0)]).map(Some)
}

/// A digest algorithm, by name or number.
fn digest_algorithm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    enumeration(deserializer, "a digest algorithm", &[("SHA256", 0)]).map(Some)
}
