//! Asks the authorization service whether a request may pass.

use ir::contract::{EXT_AUTHZ, check, config_id};
use ir::{Policy, Settings};
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::{clusters, names, packed};

/// The cluster of the authorization service.
const CLUSTER: &str = "extauth";

/// External authorization.
#[derive(Debug)]
pub struct ExtAuthz;

impl HttpFilter for ExtAuthz {
    fn name(&self) -> &'static str {
        EXT_AUTHZ
    }

    fn chain(&self, settings: &Settings) -> Option<InChain> {
        settings.extauth.as_ref()?;
        InChain::off(
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            json!({
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": "0.200s"},
                // Fails closed: no answer is a refusal.
                "failure_mode_allow": false,
                "status_on_error": {"code": "Forbidden"},
                "metadata_context_namespaces": ["envoy.filters.http.jwt_authn"],
                // They are gone by now; whatever else changes, they are not the server's business.
                "disallowed_headers": {"patterns": [{"prefix": names::RESERVED_HEADERS, "ignore_case": true}]},
            }),
        )
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        let auth = policy.auth.as_ref()?;
        let extensions = json!({
            check::CONFIG_ID: config_id(&auth.config),
            check::USER_HEADER: auth.user_header,
            check::SOURCE_TYPE: "route",
            check::SOURCE_NAME: "",
        });
        Some(packed(
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            json!({"check_settings": {"context_extensions": extensions}}),
        ))
    }

    fn clusters(&self, settings: &Settings) -> Vec<(&'static str, Value)> {
        settings.extauth.iter().map(|target| (CLUSTER, clusters::service(CLUSTER, target))).collect()
    }
}
