//! Admission: what an API server does to a manifest before storing it.
//!
//! Kind and version are recognised, defaults filled in, names checked, fields
//! decoded with every mistake collected, and each kind's own rules applied.

mod identity;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::broken::Broken;
use crate::core::ObjectMeta;
use crate::decode::{UnknownFields, decode};
use crate::kinds::kinds;
use crate::name::{Name, is_dns_name, is_namespace};
use crate::object::{Kind, Object, ObjectRef};
use crate::problem::{Problem, has_errors};
use crate::reach::{Raw, Reach};
use crate::resource::Meta as _;
#[cfg(test)]
pub(crate) use identity::NAMESAKES;
use identity::Standing;

/// So many mistakes of one object are reported.
const MOST_REPORTED: usize = 32;

/// What became of one manifest document.
#[derive(Debug, Clone)]
pub struct Admission {
    /// What the document names, if that much could be read.
    pub reference: Option<ObjectRef>,
    /// The object; when [`Admission::rejected`], what could be read of it.
    pub object: Option<Object>,
    /// What is wrong or worth a warning; of very many mistakes the first.
    pub problems: Vec<Problem>,
    /// What the object governs by its own references, as far as they could be read.
    pub reach: Reach,
    /// Set where no object is named, but one may be meant that guards something: with such a
    /// document at hand, nobody knows what may be served.
    pub withholds: bool,
}

impl Admission {
    /// Whether the object must not be used as it stands.
    pub fn rejected(&self) -> bool {
        self.object.is_none() || has_errors(&self.problems)
    }

    /// The object as one that has no good version.
    pub fn into_broken(self) -> Broken {
        Broken { problems: self.problems, partial: self.object, reach: self.reach }
    }

    /// A document that names no object.
    fn nameless(problems: Vec<Problem>, withholds: bool) -> Self {
        Self { reference: None, object: None, problems: reported(problems), reach: Reach::Unknown, withholds }
    }
}

/// Admits one document. Pure: the same value gives the same admission.
pub fn admit(document: &Value) -> Admission {
    let (kind, map) = match identity::kind(document) {
        Standing::Ours(kind, map) => (kind, map),
        Standing::Foreign(problem) => return Admission::nameless(vec![problem], false),
        Standing::Unclear(problem) => return Admission::nameless(vec![problem], true),
    };
    let (metadata, mut problems) = metadata(kind, map.get("metadata"));
    let Some(name) = identity::name(kind, map) else {
        // Under another name or in another namespace it would govern something else.
        return Admission::nameless(problems, true);
    };

    let mut body = map.clone();
    for key in ["apiVersion", "kind"] {
        body.remove(key);
    }
    body.insert("metadata".to_owned(), Value::Object(Map::new()));
    // Statuses are the servers' to write; a Pod's is read because its IP is its identity.
    if kind != Kind::Pod {
        body.remove("status");
    }
    let (object, found) = decode_kind(kind, Value::Object(body), metadata);
    problems.extend(found);
    let reach = reach(kind, &name, map);
    let reference = Some(ObjectRef { kind, name });
    Admission { reference, object, problems: reported(problems), reach, withholds: false }
}

/// In order; of very many the first, errors before warnings.
fn reported(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    if problems.len() > MOST_REPORTED {
        let left_out = problems.len() - MOST_REPORTED;
        problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
        problems.truncate(MOST_REPORTED);
        problems.push(Problem::warning("", format!("{left_out} more mistakes are not shown")));
        problems.sort();
    }
    problems
}

/// Whether `problem` only follows from one in `known`: a value that could not be read, there or inside, was taken out.
fn follows(problem: &Problem, known: &[Problem]) -> bool {
    let taken_out = |known: &&Problem| known.is_error() && !known.message.starts_with("unknown field");
    known.iter().filter(taken_out).any(|known| {
        let inside = known.field.strip_prefix(problem.field.as_str());
        inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Decodes and judges by the rules in the table of kinds.
macro_rules! admission {
    ($($(#[$doc:meta])* $variant:ident {
        type: $ty:ty, kind: $kind:literal, plural: $plural:literal,
        versions: [$($version:literal),+], namespaced: $namespaced:literal,
        table: $table:ident, rules: $rules:ident, governs: $governs:ident, read_by: [$($reader:ident),*],
        told: $told:ident $(by $teller:ident)?,
    })+) => {
        /// Decodes the body of a document of `kind` and applies the kind's defaults and rules.
        fn decode_kind(kind: Kind, body: Value, metadata: ObjectMeta) -> (Option<Object>, Vec<Problem>) {
            match kind {
                $(Kind::$variant => {
                    let (decoded, mut problems): (Option<$ty>, _) = crate::rules::$rules::decode(&body);
                    let object = decoded.map(|mut object| {
                        object.set_meta(metadata);
                        let found = crate::rules::$rules::validate(&mut object);
                        let found: Vec<_> = found.into_iter().filter(|problem| !follows(problem, &problems)).collect();
                        problems.extend(found);
                        Object::$variant(Arc::new(object))
                    });
                    (object, problems)
                })+
            }
        }

        /// What an object of `kind` governs by its own references.
        fn reach(kind: Kind, name: &Name, document: &Map<String, Value>) -> Reach {
            match kind {
                $(Kind::$variant => {
                    crate::rules::$rules::reach(&Raw { name, document })
                })+
            }
        }
    };
}

kinds!(admission);

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
    // Elsewhere a null is a field left out; a label is not left out by being written.
    let labels = value.and_then(|metadata| metadata.get("labels")).and_then(Value::as_object);
    for (key, _) in labels.into_iter().flatten().filter(|(_, value)| value.is_null()) {
        problems.push(Problem::error(format!("metadata.labels.{key}"), "has no value; write one, or remove the label"));
    }
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
        if value.and_then(|metadata| metadata.get("namespace")).is_some_and(Value::is_null) {
            problems.push(Problem::error("metadata.namespace", "has no value; write one, or remove the field"));
        }
        let namespace = metadata.namespace.get_or_insert_with(|| "default".to_owned());
        if !is_namespace(namespace) {
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

fn is_label_value(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && value.bytes().next().is_none_or(|b| b.is_ascii_alphanumeric())
        && value.bytes().last().is_none_or(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::redacted::Redacted;

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
        assert_eq!(secret.data.get("k").map(Redacted::expose), Some(&b"canary"[..]));
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
