//! TLS towards the servers that serve Envoy itself.

use std::net::IpAddr;

use ir::UpstreamTls;
use serde_json::{Value, json};

use crate::packed;

/// The name of authorities among Envoy's secrets.
pub const AUTHORITIES: &str = "authorities";

/// A transport socket for gRPC that trusts nobody but whom `tls` says.
pub fn upstream(tls: &UpstreamTls) -> Value {
    let mut validation = named(&tls.server_name);
    validation["trusted_ca"] = json!({"filename": tls.ca});
    let mut common = json!({"validation_context": validation});
    if let Some((certificate, key)) = &tls.client {
        common["tls_certificates"] =
            json!([{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}]);
    }
    socket(&tls.server_name, common)
}

/// The same, towards `server_name`, of which the secret file at `ca` says whom to trust.
pub fn upstream_by_secret(server_name: &str, ca: &str) -> Value {
    let source = json!({"path_config_source": {"path": ca}, "resource_api_version": "V3"});
    let common = json!({"combined_validation_context": {
        "default_validation_context": named(server_name),
        "validation_context_sds_secret_config": {"name": AUTHORITIES, "sds_config": source},
    }});
    socket(server_name, common)
}

/// A certificate must be for `server_name`.
fn named(server_name: &str) -> Value {
    let kind = if is_address(server_name) { "IP_ADDRESS" } else { "DNS" };
    json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": server_name}}]})
}

fn socket(server_name: &str, mut common: Value) -> Value {
    common["alpn_protocols"] = json!(["h2"]);
    let mut context = json!({"common_tls_context": common});
    if !is_address(server_name) {
        // The extension is for names only.
        context["sni"] = json!(server_name);
    }
    let context = packed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", context);
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server_name: &str, client: Option<(String, String)>) -> Value {
        let tls = UpstreamTls { server_name: server_name.to_owned(), ca: "/ca.crt".to_owned(), client };
        upstream(&tls)["typed_config"].clone()
    }

    #[test]
    fn a_name_is_asked_for_and_an_address_only_checked() {
        let names = |context: &Value| {
            context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"].clone()
        };
        let (named, numbered) = (of("extauth.test", None), of("::1", None));
        assert_eq!(named["sni"], "extauth.test");
        assert_eq!(names(&named), json!([{"san_type": "DNS", "matcher": {"exact": "extauth.test"}}]));
        assert_eq!(numbered.get("sni"), None);
        assert_eq!(names(&numbered), json!([{"san_type": "IP_ADDRESS", "matcher": {"exact": "::1"}}]));
    }

    #[test]
    fn envoy_shows_a_certificate_if_it_has_one() {
        let certificates = |context: &Value| context["common_tls_context"].get("tls_certificates").cloned();
        assert_eq!(certificates(&of("a", None)), None);
        let shown = certificates(&of("a", Some(("/tls.crt".to_owned(), "/tls.key".to_owned()))));
        let files = json!([{"certificate_chain": {"filename": "/tls.crt"}, "private_key": {"filename": "/tls.key"}}]);
        assert_eq!(shown, Some(files));
    }
}
