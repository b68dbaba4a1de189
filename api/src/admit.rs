//! Admission: what an API server does to a manifest before storing it.
//!
//! Kind and version are recognised, defaults filled in, names checked, fields
//! decoded with every mistake collected, and each kind's own rules applied.

mod http_route;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::core::ObjectMeta;
use crate::decode::{UnknownFields, decode};
use crate::gloo::{auth_config, rate_limit_config, route_option};
use crate::object::{Kind, Name, Object, ObjectRef};
use crate::problem::{Problem, has_errors};
use crate::secret::{Redacted, Secret};

/// What became of one manifest document.
#[derive(Debug, Clone)]
pub struct Admission {
    /// What the document names, if that much could be read.
    pub reference: Option<ObjectRef>,
    /// The object; when [`Admission::rejected`], what could be read of it.
    pub object: Option<Object>,
    /// Everything that is wrong or worth a warning.
    pub problems: Vec<Problem>,
}

impl Admission {
    /// Whether the object must not be used as it stands.
    pub fn rejected(&self) -> bool {
        self.object.is_none() || has_errors(&self.problems)
    }

    fn nothing(problem: Problem) -> Self {
        Self { reference: None, object: None, problems: vec![problem] }
    }
}

/// Admits one document. Pure: the same value gives the same admission.
pub fn admit(document: &Value) -> Admission {
    let Value::Object(map) = document else {
        return Admission::nothing(Problem::error("", "a manifest is a mapping with apiVersion, kind and metadata"));
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind_name) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() || kind_name.is_empty() {
        let missing = if api_version.is_empty() { "apiVersion" } else { "kind" };
        return Admission::nothing(Problem::error(missing, "missing: every manifest names its apiVersion and kind"));
    }
    let Some(kind) = Kind::find(api_version, kind_name) else {
        return Admission::nothing(unknown_kind(api_version, kind_name));
    };

    let (metadata, mut problems) = metadata(kind, map.get("metadata"));
    let reference = metadata
        .name
        .clone()
        .filter(|name| !name.is_empty())
        .map(|name| ObjectRef { kind, name: Name { namespace: metadata.namespace.clone().unwrap_or_default(), name } });

    let mut body = map.clone();
    for key in ["apiVersion", "kind"] {
        body.remove(key);
    }
    body.insert("metadata".to_owned(), Value::Object(Map::new()));
    let (object, found) = decode_kind(kind, body, metadata);
    problems.extend(found);
    problems.sort();
    problems.dedup();
    Admission { reference, object, problems }
}

fn unknown_kind(api_version: &str, kind_name: &str) -> Problem {
    if let Some(kind) = Kind::ALL.iter().find(|k| k.as_str() == kind_name) {
        return Problem::error(
            "apiVersion",
            format!("{kind_name} is not known in {api_version:?}; write {}", kind.api_versions().join(" or ")),
        );
    }
    let near = Kind::ALL.iter().find(|k| k.as_str().eq_ignore_ascii_case(kind_name));
    let hint = near.map(|k| format!("; did you mean {}?", k.as_str())).unwrap_or_default();
    Problem::error("kind", format!("{kind_name} ({api_version}) is not a kind Waykeeper reads{hint}"))
}

/// Metadata with the namespace defaulted and names checked.
fn metadata(kind: Kind, value: Option<&Value>) -> (ObjectMeta, Vec<Problem>) {
    let mut problems = Vec::new();
    let nested =
        Value::Object(Map::from_iter([("metadata".to_owned(), value.cloned().unwrap_or(Value::Object(Map::new())))]));
    #[derive(Deserialize, Default)]
    struct OnlyMetadata {
        #[serde(default)]
        metadata: ObjectMeta,
    }
    let (decoded, found) = decode::<OnlyMetadata>(&nested, UnknownFields::Reject);
    problems.extend(found);
    let mut metadata = decoded.unwrap_or_default().metadata;

    match metadata.name.as_deref() {
        None | Some("") => problems.push(Problem::error("metadata.name", "missing: every object has a name")),
        Some(name)
            if !is_dns_name(name) || (kind == Kind::Namespace || kind == Kind::Service) && name.contains('.') =>
        {
            problems.push(Problem::error(
                "metadata.name",
                format!("{name:?} is not a valid name; use lower-case letters, digits and '-', beginning and ending with a letter or digit"),
            ));
        }
        Some(_) => {}
    }
    if kind.namespaced() {
        let namespace = metadata.namespace.get_or_insert_with(|| "default".to_owned());
        if namespace.is_empty() {
            "default".clone_into(namespace);
        }
        if !is_dns_name(namespace) || namespace.contains('.') || namespace.len() > 63 {
            problems.push(Problem::error("metadata.namespace", format!("{namespace:?} is not a valid namespace name")));
        }
    } else if metadata.namespace.take().is_some_and(|ns| !ns.is_empty()) {
        problems.push(Problem::error("metadata.namespace", format!("a {kind} is cluster-wide; remove the namespace")));
    }
    for (field, entries) in [("metadata.labels", &metadata.labels)] {
        for (key, value) in entries.iter().flatten() {
            if value.len() > 63 || !is_label_value(value) {
                problems
                    .push(Problem::error(format!("{field}.{key}"), format!("{value:?} is not a valid label value")));
            }
        }
    }
    (metadata, problems)
}

/// RFC 1123 subdomain.
fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_label_value(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && value.bytes().next().is_none_or(|b| b.is_ascii_alphanumeric())
        && value.bytes().last().is_none_or(|b| b.is_ascii_alphanumeric())
}

/// Decodes the body of a document of `kind` and applies the kind's defaults and rules.
fn decode_kind(kind: Kind, mut body: Map<String, Value>, metadata: ObjectMeta) -> (Option<Object>, Vec<Problem>) {
    use UnknownFields::{Reject, Warn};
    /// Types whose decoded form has its own `metadata` field.
    macro_rules! with_metadata {
        ($variant:ident, $unknown:expr, $validate:expr) => {{
            let (decoded, mut problems) = decode(&Value::Object(body), $unknown);
            let object = decoded.map(|mut object| {
                set_metadata(&mut object, metadata);
                problems.extend(($validate)(&mut object));
                Object::$variant(Arc::new(object))
            });
            (object, problems)
        }};
    }
    // Statuses are the servers' to write; a Pod's is read because its IP is its identity.
    if kind != Kind::Pod {
        body.remove("status");
    }
    match kind {
        Kind::Namespace => with_metadata!(Namespace, Warn, nothing),
        Kind::Service => with_metadata!(Service, Warn, service),
        Kind::EndpointSlice => with_metadata!(EndpointSlice, Warn, endpoint_slice),
        Kind::Pod => with_metadata!(Pod, Warn, nothing),
        Kind::ServiceAccount => with_metadata!(ServiceAccount, Warn, nothing),
        Kind::Deployment => with_metadata!(Deployment, Warn, nothing),
        Kind::ConfigMap => with_metadata!(ConfigMap, Warn, nothing),
        Kind::Secret => secret(body, metadata),
        Kind::GatewayClass => with_metadata!(GatewayClass, Reject, nothing),
        Kind::Gateway => with_metadata!(Gateway, Reject, nothing),
        Kind::HttpRoute => with_metadata!(HttpRoute, Reject, http_route::validate),
        Kind::ReferenceGrant => with_metadata!(ReferenceGrant, Reject, nothing),
        Kind::RouteOption => with_metadata!(RouteOption, Reject, |o: &mut _| route_option::validate(o)),
        Kind::AuthConfig => with_metadata!(AuthConfig, Reject, |o: &mut _| auth_config::validate(o)),
        Kind::RateLimitConfig => with_metadata!(RateLimitConfig, Warn, |o: &mut _| rate_limit_config::validate(o)),
    }
}

fn nothing<T>(_: &mut T) -> Vec<Problem> {
    Vec::new()
}

/// Types with a public `metadata` field.
trait SetMetadata {
    fn put(&mut self, metadata: ObjectMeta);
}

fn set_metadata<T: SetMetadata>(object: &mut T, metadata: ObjectMeta) {
    object.put(metadata);
}

macro_rules! set_metadata {
    ($($ty:ty),+ $(,)?) => { $(impl SetMetadata for $ty { fn put(&mut self, metadata: ObjectMeta) { self.metadata = metadata; } })+ };
}

set_metadata!(
    crate::core::Namespace,
    crate::core::Service,
    crate::core::EndpointSlice,
    crate::core::Pod,
    crate::core::ServiceAccount,
    crate::core::Deployment,
    crate::core::ConfigMap,
    crate::gateway::GatewayClass,
    crate::gateway::Gateway,
    crate::gateway::HttpRoute,
    crate::gateway::ReferenceGrant,
);

impl<S> SetMetadata for crate::object::Resource<S> {
    fn put(&mut self, metadata: ObjectMeta) {
        self.metadata = metadata;
    }
}

/// Service defaults: `protocol: TCP`, `targetPort` = `port`; ports checked.
fn service(service: &mut crate::core::Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ports = service.spec.get_or_insert_default().ports.get_or_insert_default();
    let many = ports.len() > 1;
    for (index, port) in ports.iter_mut().enumerate() {
        let field = format!("spec.ports[{index}]");
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        if !(1..=65535).contains(&port.port) {
            problems.push(Problem::error(
                format!("{field}.port"),
                format!("{} is not a port; write 1 to 65535", port.port),
            ));
        }
        if many && port.name.is_none() {
            problems.push(Problem::error(format!("{field}.name"), "missing: with several ports each needs a name"));
        }
        port.target_port.get_or_insert(crate::core::IntOrString::Int(port.port));
    }
    problems
}

/// Addresses must be what `addressType` says they are.
fn endpoint_slice(slice: &mut crate::core::EndpointSlice) -> Vec<Problem> {
    let mut problems = Vec::new();
    match slice.address_type.as_str() {
        "IPv4" | "IPv6" => {
            for (index, endpoint) in slice.endpoints.iter().enumerate() {
                for (at, address) in endpoint.addresses.iter().enumerate() {
                    let right = match slice.address_type.as_str() {
                        "IPv4" => address.parse::<std::net::Ipv4Addr>().is_ok(),
                        _ => address.parse::<std::net::Ipv6Addr>().is_ok(),
                    };
                    if !right {
                        problems.push(Problem::error(
                            format!("endpoints[{index}].addresses[{at}]"),
                            format!(
                                "{address:?} is not an {} address; for host names write addressType: FQDN",
                                slice.address_type
                            ),
                        ));
                    }
                }
            }
        }
        "FQDN" => {
            for (index, endpoint) in slice.endpoints.iter().enumerate() {
                for (at, address) in endpoint.addresses.iter().enumerate() {
                    if !is_dns_name(address.trim_end_matches('.')) {
                        problems.push(Problem::error(
                            format!("endpoints[{index}].addresses[{at}]"),
                            format!("{address:?} is not a host name"),
                        ));
                    }
                }
            }
        }
        other => problems
            .push(Problem::error("addressType", format!("{other:?} is not an address type; write IPv4, IPv6 or FQDN"))),
    }
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        if port.port.is_some_and(|p| !(1..=65535).contains(&p)) {
            problems.push(Problem::error(format!("ports[{index}].port"), "not a port; write 1 to 65535"));
        }
    }
    problems
}

/// Secrets: base64 undone, `stringData` folded in (it wins), nothing of it ever in a message.
fn secret(body: Map<String, Value>, metadata: ObjectMeta) -> (Option<Object>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut data = BTreeMap::new();
    for key in body.keys() {
        if !matches!(key.as_str(), "metadata" | "type" | "data" | "stringData" | "immutable") {
            problems
                .push(Problem::error(key.clone(), "unknown field: a Secret has type, data, stringData and immutable"));
        }
    }
    let mut entries = |field: &str, read: &dyn Fn(&str) -> Result<Redacted, &'static str>| match body.get(field) {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (key, value) in map {
                let path = format!("{field}.{key}");
                if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                {
                    problems.push(Problem::error(path, "a key has letters, digits, '-', '_' and '.' only"));
                    continue;
                }
                match value {
                    Value::Null => drop(data.insert(key.clone(), Redacted::new(Vec::new()))),
                    Value::String(text) => match read(text) {
                        Ok(bytes) => drop(data.insert(key.clone(), bytes)),
                        Err(why) => problems.push(Problem::error(path, why)),
                    },
                    _ => problems.push(Problem::error(path, "wrong type: write a string (quote numbers and booleans)")),
                }
            }
        }
        Some(_) => problems.push(Problem::error(field, "wrong type: write a mapping of keys to strings")),
    };
    entries("data", &|text| {
        let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        base64::engine::general_purpose::STANDARD
            .decode(compact)
            .map(Redacted::new)
            .map_err(|_| "not base64; write plain text under stringData instead")
    });
    entries("stringData", &|text| Ok(Redacted::new(text.as_bytes())));
    let kind = match body.get("type") {
        None | Some(Value::Null) => "Opaque".to_owned(),
        Some(Value::String(kind)) => kind.clone(),
        Some(_) => {
            problems.push(Problem::error("type", "wrong type: write a string"));
            "Opaque".to_owned()
        }
    };
    (Some(Object::Secret(Arc::new(Secret { metadata, kind, data }))), problems)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(admission: &Admission) -> Vec<String> {
        admission.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_service_gets_its_defaults() {
        let admission = admit(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}),
        );
        assert!(!admission.rejected(), "{:?}", admission.problems);
        let Some(Object::Service(service)) = admission.object else { panic!("no service") };
        assert_eq!(service.metadata.namespace.as_deref(), Some("default"));
        let port = &service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0];
        assert_eq!(port.protocol.as_deref(), Some("TCP"));
        assert_eq!(port.target_port, Some(crate::core::IntOrString::Int(80)));
    }

    #[test]
    fn string_data_wins_and_nothing_of_it_is_printed() {
        let admission = admit(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
            "data": {"k": "b2xk", "bad": "***canary***"}, "stringData": {"k": "canary"}}));
        assert_eq!(messages(&admission), ["data.bad: not base64; write plain text under stringData instead"]);
        assert!(!format!("{admission:?}").contains("canary"));
        let Some(Object::Secret(secret)) = admission.object else { panic!("no secret") };
        assert_eq!(secret.data["k"].expose(), b"canary");
        assert_eq!(secret.kind, "Opaque");
    }

    #[test]
    fn kinds_and_versions_are_told_apart() {
        let wrong_version =
            admit(&json!({"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "a"}}));
        assert!(messages(&wrong_version)[0].contains("write apps/v1"), "{wrong_version:?}");
        let wrong_case = admit(
            &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HttpRoute", "metadata": {"name": "a"}}),
        );
        assert!(messages(&wrong_case)[0].contains("did you mean HTTPRoute?"), "{wrong_case:?}");
        let both = admit(
            &json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": "a"}, "spec": {"configs": []}}),
        );
        assert_eq!(both.reference.map(|r| r.kind), Some(Kind::AuthConfig));
    }

    #[test]
    fn the_walkthroughs_gateway_and_route_are_admitted() {
        let gateway = admit(
            &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gloo-waypoint", "namespace": "httpbin"},
            "spec": {"gatewayClassName": "gloo-waypoint", "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]}}),
        );
        assert!(!gateway.rejected(), "{:?}", gateway.problems);
        let route = admit(
            &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "httpbin2", "namespace": "httpbin"},
            "spec": {"parentRefs": [{"name": "httpbin2", "kind": "Service", "group": ""}],
                "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [{"name": "httpbin2", "port": 8000}],
                    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "App", "value": "httpbin2"}], "remove": ["X-Remove"]}}]}]}}),
        );
        assert!(!route.rejected(), "{:?}", route.problems);
    }

    #[test]
    fn every_mistake_of_a_route_is_named() {
        let route = admit(
            &json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "UPPER", "namespace": "x"},
            "spec": {"parentRefs": [{"name": "a", "port": "eighty"}], "rules": [{"matches": [{"path": {"type": "Glob", "value": "/"}}], "retries": 3}]}}),
        );
        let fields: Vec<_> = route.problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            ["metadata.name", "spec.parentRefs[0].port", "spec.rules[0].matches[0].path.type", "spec.rules[0].retries"]
        );
    }
}
