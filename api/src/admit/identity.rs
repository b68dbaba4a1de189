//! Which object a manifest names, and whether one that names none may be meant to guard something.

use serde_json::{Map, Value};

use crate::fields::{nearest, resembles};
use crate::kinds::NOT_YET;
use crate::name::{Name, is_namespace};
use crate::object::{Kind, group_of};
use crate::problem::Problem;

/// What a document is.
pub enum Standing<'a> {
    /// An object of a kind we read.
    Ours(Kind, &'a Map<String, Value>),
    /// Another product's, or no manifest: nothing we serve depends on it.
    Foreign(Problem),
    /// It may be meant as one of ours, perhaps as a policy.
    Unclear(Problem),
}

/// Kinds of groups that we know that say nothing of who may call whom at a waypoint.
const HARMLESS: [(&str, &[&str]); 4] = [
    // ztunnel's to enforce.
    ("security.istio.io", &["PeerAuthentication"]),
    (
        "",
        &[
            "Binding",
            "ComponentStatus",
            "Endpoints",
            "Event",
            "LimitRange",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
        ],
    ),
    ("apps", &["ControllerRevision", "DaemonSet", "ReplicaSet", "StatefulSet"]),
    ("discovery.k8s.io", &[]),
];

/// Kinds of other products that share a name with one of ours: whose they are, and what to write if ours is meant.
pub const NAMESAKES: [(&str, &str, &str); 4] = [
    ("networking.istio.io", "Gateway", "Istio's own gateway"),
    ("authorino.kuadrant.io", "AuthConfig", "Authorino's"),
    ("serving.knative.dev", "Service", "Knative's"),
    ("gateway.networking.x-k8s.io", "Gateway", "an experiment of Gateway API"),
];

/// Names of kinds of ours that other products give to theirs.
const COMMON_NAMES: [&str; 9] =
    ["ConfigMap", "Deployment", "Gateway", "GatewayClass", "Namespace", "Pod", "Secret", "Service", "ServiceAccount"];

/// What else to know of some of these.
const INSTEAD: [(&str, &str, &str); 1] = [(
    "gateway.solo.io",
    "Gateway",
    "it is Gloo Edge's; the Gateway that is served is of gateway.networking.k8s.io/v1",
)];

/// What `document` is.
pub fn kind(document: &Value) -> Standing<'_> {
    let Value::Object(map) = document else {
        return Standing::Unclear(Problem::error("", "a manifest is a mapping with apiVersion, kind and metadata"));
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("apiVersion"), text("kind")) {
        (Some(version), Some(name)) => match Kind::find(version, name) {
            Some(kind) => Standing::Ours(kind, map),
            None => unknown(version, name),
        },
        (version, _) => {
            let missing = if version.is_none() { "apiVersion" } else { "kind" };
            let message = if map.contains_key(missing) { "write a text" } else { "missing" };
            let problem = Problem::error(missing, format!("{message}: every manifest names its apiVersion and kind"));
            // A compose file, a chart's values: nothing in it is a manifest's.
            let manifest = ["apiVersion", "kind", "metadata", "spec"];
            if map.keys().any(|key| manifest.iter().any(|field| resembles(key, field))) {
                Standing::Unclear(problem)
            } else {
                Standing::Foreign(problem)
            }
        }
    }
}

/// A kind or version that we do not read.
fn unknown(version: &str, name: &str) -> Standing<'static> {
    let group = group_of(version);
    if let Some((_, _, whose)) = NAMESAKES.iter().find(|(theirs, kind, _)| *theirs == group && *kind == name) {
        let ours = Kind::ALL.iter().find(|kind| kind.as_str() == name);
        let ours = ours.map(|kind| format!("; if the one Waykeeper serves is meant, write {}", kind.api_versions()[0]));
        let ours = ours.unwrap_or_default();
        return Standing::Foreign(Problem::error(
            "apiVersion",
            format!("{name} ({version}) is {whose}, which Waykeeper does not serve{ours}"),
        ));
    }
    if NOT_YET.iter().any(|unserved| (unserved.group, unserved.kind) == (group, name)) {
        let instead = INSTEAD.iter().find(|(theirs, kind, _)| *theirs == group && *kind == name);
        let instead = instead.map(|(.., advice)| format!("; {advice}")).unwrap_or_default();
        let message = format!("{name} ({version}) is not served yet; take it out of what Waykeeper reads{instead}");
        return Standing::Unclear(Problem::error("kind", message));
    }
    let served: Vec<&str> = Kind::groups().collect();
    let same_name = Kind::ALL.iter().find(|kind| kind.as_str() == name);
    // A group has a dot; `apps` and core have none, so that a misspelt one is not one of them.
    let near_group = nearest(group, &served).is_some() || served.contains(&group) || !group.contains('.');
    if let Some(kind) = same_name {
        let write = kind.api_versions().join(" or ");
        let problem = Problem::error("apiVersion", format!("{name} is not known in {version:?}; write {write}"));
        // `Service`, `Gateway` and the like are names that many products use, in groups of their own.
        let own_name = !COMMON_NAMES.contains(&name);
        return if near_group || own_name { Standing::Unclear(problem) } else { Standing::Foreign(problem) };
    }
    let near_kind = nearest(name, &Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let hint = near_kind.map(|kind| format!("; did you mean {kind}?")).unwrap_or_default();
    let problem = Problem::error("kind", format!("{name} ({version}) is not a kind Waykeeper reads{hint}"));
    let harmless = HARMLESS
        .iter()
        .any(|(theirs, kinds)| *theirs == group && kinds.contains(&name) && version_is_plausible(version));
    let of_ours = served.contains(&group) || nearest(group, &served).is_some() || !version_is_plausible(version);
    if harmless || !of_ours && near_kind.is_none() { Standing::Foreign(problem) } else { Standing::Unclear(problem) }
}

/// Whether `version` has the shape of an `apiVersion`: `v1`, `group/v1beta1`.
fn version_is_plausible(version: &str) -> bool {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let number = version.strip_prefix('v').unwrap_or_default();
    let group_is = group.is_empty() || crate::name::is_dns_name(group);
    group_is && number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Namespace and name as they are written; none unless both are beyond doubt.
pub fn name(kind: Kind, document: &Map<String, Value>) -> Option<Name> {
    let metadata = document.get("metadata")?.as_object()?;
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
    if !kind.namespaced() {
        return Some(Name::new("", name));
    }
    match metadata.get("namespace") {
        Some(Value::String(namespace)) => is_namespace(namespace).then(|| Name::new(namespace, name)),
        // One that was to be written, or filled in, and is not: another namespace than `default` may be meant.
        Some(_) => None,
        None => {
            let misspelt = metadata.keys().any(|key| resembles(key, "namespace"));
            let misplaced = document.keys().any(|key| resembles(key, "namespace"));
            (!misspelt && !misplaced).then(|| Name::new("default", name))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a document of this version and kind is taken for.
    fn standing(version: &str, name: &str) -> &'static str {
        match kind(&json!({"apiVersion": version, "kind": name, "metadata": {"name": "a"}})) {
            Standing::Ours(..) => "ours",
            Standing::Foreign(_) => "foreign",
            Standing::Unclear(_) => "unclear",
        }
    }

    #[test]
    fn another_products_kind_is_foreign_only_if_its_version_is_one() {
        for version in ["example.com/v1", "example.com/v1beta1", "a.b.example/v2x3"] {
            assert_eq!(standing(version, "Thing"), "foreign", "{version}");
        }
        for version in [
            "example.com/1",
            "example.com/v",
            "example.com/vx",
            "example.com/v1-2",
            "example.com/v1 ",
            "ex ample.com/v1",
            "-a.com/v1",
            "example.com/v1/x",
        ] {
            assert_eq!(standing(version, "Thing"), "unclear", "{version}");
        }
        assert_eq!((standing("v1", "Endpoints"), standing("v1-", "Endpoints")), ("foreign", "unclear"));
        assert_eq!(standing("v1", "Service"), "ours");
    }

    #[test]
    fn what_is_missing_is_named() {
        let field = |document: Value| match kind(&document) {
            Standing::Ours(..) => "ours".to_owned(),
            Standing::Foreign(problem) => format!("foreign {}", problem.field),
            Standing::Unclear(problem) => format!("unclear {}", problem.field),
        };
        assert_eq!(field(json!({"kind": "Service", "metadata": {}})), "unclear apiVersion");
        assert_eq!(field(json!({"apiVersion": "", "kind": ""})), "unclear apiVersion");
        assert_eq!(field(json!({"apiVersion": "v1", "metadata": {}})), "unclear kind");
        assert_eq!(field(json!({"apiVersion": "v1", "kind": 1})), "unclear kind");
        assert_eq!(field(json!({"services": {}})), "foreign apiVersion");
        assert_eq!(field(json!(["a"])), "unclear ");
    }
}
