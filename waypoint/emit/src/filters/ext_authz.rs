//! Asks the authorization service whether a request may pass.
//!
//! The filter that asks with all headers is on wherever a route asks for authorization. Where it is known
//! which headers decide, the route brings a filter of its own before it, which sends these only and notes
//! in the request's metadata that it was passed; then the other does not ask again. So a request for which
//! the first filter is missing, for whatever reason, is asked for by the second.

use std::collections::BTreeSet;

use ir::contract::{EXT_AUTHZ, READ_ALWAYS, check, config_id};
use ir::{Auth, Policy, Settings};
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::{clusters, names, packed};

/// The cluster of the authorization service.
const CLUSTER: &str = "extauth";

const MESSAGE: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";

/// The namespace of the metadata in which it is noted that a request has passed [`FewHeaders`], and the key.
const PASSED: (&str, &str) = ("waykeeper.authorization", "passed");

/// External authorization that sends only the headers that the AuthConfig reads.
#[derive(Debug)]
pub struct FewHeaders;

impl HttpFilter for FewHeaders {
    fn name(&self) -> &'static str {
        "envoy.filters.http.filter_chain"
    }

    fn chain(&self, settings: &Settings) -> Option<InChain> {
        settings.extauth.as_ref()?;
        InChain::off("envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig", json!({}))
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        let auth = policy.auth.as_ref()?;
        let mut asking = asking();
        asking["allowed_headers"] = json!({"patterns": sent(auth)?});
        let (namespace, key) = PASSED;
        let noting = json!({"metadata": [{"metadata_namespace": namespace, "value": {key: true}}]});
        Some(packed(
            "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfigPerRoute",
            json!({"filter_chain": {"filters": [
                // Of the same name as the other: what the route says of the check holds for both, and so
                // does where the answer's metadata stand.
                {"name": EXT_AUTHZ, "typed_config": packed(MESSAGE, asking)},
                {
                    "name": "envoy.filters.http.set_metadata",
                    "typed_config": packed("envoy.extensions.filters.http.set_metadata.v3.Config", noting),
                },
            ]}}),
        ))
    }
}

/// The headers that are sent, if not all.
fn sent(auth: &Auth) -> Option<Vec<Value>> {
    let read = auth.reads.as_ref()?.0.iter().map(String::as_str);
    let names: BTreeSet<&str> = read.chain([auth.user_header.as_str()]).chain(READ_ALWAYS).collect();
    Some(names.into_iter().map(|name| json!({"exact": name})).collect())
}

/// External authorization.
#[derive(Debug)]
pub struct ExtAuthz;

impl HttpFilter for ExtAuthz {
    fn name(&self) -> &'static str {
        EXT_AUTHZ
    }

    fn chain(&self, settings: &Settings) -> Option<InChain> {
        settings.extauth.as_ref()?;
        let (namespace, key) = PASSED;
        let mut asking = asking();
        asking["filter_enabled_metadata"] = json!({
            "filter": namespace,
            "path": [{"key": key}],
            "value": {"bool_match": true},
            "invert": true,
        });
        InChain::off(MESSAGE, asking)
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        let auth = policy.auth.as_ref()?;
        let mut extensions = json!({
            check::CONFIG_ID: config_id(&auth.config),
            check::USER_HEADER: auth.user_header,
            check::SOURCE_TYPE: "route",
            check::SOURCE_NAME: "",
        });
        if let Some(reads) = &auth.reads {
            extensions[check::HEADERS] = json!(reads.to_string());
        }
        Some(packed(
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            json!({"check_settings": {"context_extensions": extensions}}),
        ))
    }

    fn clusters(&self, settings: &Settings) -> Vec<(&'static str, Value)> {
        settings.extauth.iter().map(|target| (CLUSTER, clusters::service(CLUSTER, target))).collect()
    }
}

/// How the service is asked.
fn asking() -> Value {
    json!({
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": "0.200s"},
        // Fails closed: no answer is a refusal.
        "failure_mode_allow": false,
        "status_on_error": {"code": "Forbidden"},
        "metadata_context_namespaces": ["envoy.filters.http.jwt_authn"],
        // They are gone by now; whatever else changes, they are not the server's business.
        "disallowed_headers": {"patterns": [{"prefix": names::RESERVED_HEADERS, "ignore_case": true}]},
    })
}
