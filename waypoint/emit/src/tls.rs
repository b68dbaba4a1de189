//! TLS towards the servers that serve Envoy itself, and what Envoy needs for it that is told beside the configuration.

use std::net::IpAddr;

use ir::UpstreamTls;
use proto::schema::resource_json;
use proto::{Resource, ResourceType};
use serde_json::{Value, json};

use crate::{ads, packed};

/// Among the secrets that come over the ADS stream: the name of those who sign for the servers that Envoy asks.
const SERVERS_AUTHORITIES: &str = "authorities-of-servers";
/// And the name of what Envoy shows there.
const IDENTITY: &str = "identity";

/// Who an Envoy is to the servers that it asks, and whom it trusts there; PEM. It is not shown.
pub struct Identity<'a> {
    /// Its certificate.
    pub cert: &'a str,
    /// The key to it.
    pub key: &'a str,
    /// Who signs for the servers.
    pub authorities: &'a str,
}

impl std::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// What Envoy is told of `identity`, for [`mutual`] TLS.
///
/// # Errors
/// Never, as long as Envoy's schema has these fields; nothing of `identity` is said.
pub fn secrets(identity: &Identity<'_>) -> Result<[Resource; 2], String> {
    let made = |name: &str, kind: &str, contents: Value| {
        let secret = json!({"name": name, kind: contents});
        resource_json(ResourceType::Secret, name, secret).map_err(|_| format!("the secret {name} cannot be written"))
    };
    let shown = json!({
        "certificate_chain": {"inline_string": identity.cert},
        "private_key": {"inline_string": identity.key},
    });
    let trusted = json!({"trusted_ca": {"inline_string": identity.authorities}});
    Ok([made(IDENTITY, "tls_certificate", shown)?, made(SERVERS_AUTHORITIES, "validation_context", trusted)?])
}

/// A transport socket for gRPC to `server_name`, by what [`secrets`] tells: until that has come Envoy does not connect, and
/// an Envoy that begins is not ready.
pub fn mutual(server_name: &str) -> Value {
    let told = |name: &str| json!({"name": name, "sds_config": ads()});
    let common = json!({
        "tls_certificate_sds_secret_configs": [told(IDENTITY)],
        "combined_validation_context": {
            "default_validation_context": named(server_name),
            "validation_context_sds_secret_config": told(SERVERS_AUTHORITIES),
        },
    });
    socket(server_name, common)
}

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

/// A transport socket for HTTP/1.1 that trusts the authorities in the file `ca`, for a certificate of `server_name`.
pub fn public(server_name: &str, ca: &str) -> Value {
    let mut validation = named(server_name);
    validation["trusted_ca"] = json!({"filename": ca});
    of(server_name, json!({"validation_context": validation}))
}

/// A certificate must be for `server_name`.
fn named(server_name: &str) -> Value {
    let kind = if is_address(server_name) { "IP_ADDRESS" } else { "DNS" };
    json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": server_name}}]})
}

fn socket(server_name: &str, mut common: Value) -> Value {
    common["alpn_protocols"] = json!(["h2"]);
    of(server_name, common)
}

fn of(server_name: &str, common: Value) -> Value {
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

    /// Servers of ours speak gRPC only; those of strangers are asked as the rest of the web is.
    #[test]
    fn http_2_is_agreed_on_with_our_servers_alone() {
        let agreed = |socket: &Value| socket["typed_config"]["common_tls_context"].get("alpn_protocols").cloned();
        let tls = UpstreamTls { server_name: "a".to_owned(), ca: "/ca.crt".to_owned(), client: None };
        assert_eq!([agreed(&upstream(&tls)), agreed(&mutual("a"))], [Some(json!(["h2"])), Some(json!(["h2"]))]);
        assert_eq!(agreed(&public("a", "/ca.crt")), None);
    }

    #[test]
    fn envoy_shows_a_certificate_if_it_has_one() {
        let certificates = |context: &Value| context["common_tls_context"].get("tls_certificates").cloned();
        assert_eq!(certificates(&of("a", None)), None);
        let shown = certificates(&of("a", Some(("/tls.crt".to_owned(), "/tls.key".to_owned()))));
        let files = json!([{"certificate_chain": {"filename": "/tls.crt"}, "private_key": {"filename": "/tls.key"}}]);
        assert_eq!(shown, Some(files));
    }

    #[test]
    fn what_is_told_beside_the_configuration_is_asked_for_by_name_and_shown_nowhere() {
        let identity = Identity { cert: "a certificate", key: "canary", authorities: "whom to trust" };
        let told = secrets(&identity).expect("Envoy's schema");
        let asked = mutual("extauth.test")["typed_config"].clone();
        let common = &asked["common_tls_context"];
        let names = [
            &common["tls_certificate_sds_secret_configs"][0]["name"],
            &common["combined_validation_context"]["validation_context_sds_secret_config"]["name"],
        ];
        assert_eq!(names, [&told[0].name, &told[1].name]);
        assert_eq!(asked["sni"], "extauth.test");
        let exact = json!([{"san_type": "DNS", "matcher": {"exact": "extauth.test"}}]);
        let checked = &common["combined_validation_context"]["default_validation_context"];
        assert_eq!(checked["match_typed_subject_alt_names"], exact);
        let bytes = format!("{:?}", b"canary");
        for shown in [format!("{identity:?}"), format!("{told:?}")] {
            assert!(!shown.contains("canary") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
        }
    }
}
