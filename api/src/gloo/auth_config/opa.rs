//! Steps decided by Rego policies: `opaAuth`, `opaServerAuth`.

use serde::{Deserialize, Serialize};

use crate::gloo::ResourceRef;

/// Policies run inside the server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpaAuth {
    /// ConfigMaps with modules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ResourceRef>,
    /// What to evaluate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Options of the evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<OpaOptions>,
}

/// How policies are evaluated.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpaOptions {
    /// Give policies only the request and simple state.
    #[serde(alias = "fast_input_conversion")]
    pub fast_input_conversion: bool,
    /// The result carries a reason.
    #[serde(alias = "return_decision_reason")]
    pub return_decision_reason: bool,
}

/// Policies run by an OPA server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpaServerAuth {
    /// Package of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Rule to evaluate.
    #[serde(alias = "rule_name", skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
    /// The server.
    #[serde(alias = "server_addr", skip_serializing_if = "Option::is_none")]
    pub server_addr: Option<String>,
    /// Options of the evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<OpaOptions>,
}
