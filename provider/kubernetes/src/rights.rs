//! What each server must be allowed to do, from what it reads and of what it writes statuses: `deploy/rbac` grants just
//! that, and `waykeeper check` asks for it.

use std::collections::BTreeSet;
use std::fmt;

use api::Reader;
use serde_json::{Value, json};

use crate::authority;
use crate::managing::Managed;
use crate::source::{Source, Subject, group};

/// Something that an account must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    verb: &'static str,
    group: String,
    /// In plural.
    resource: String,
    /// `status`, or nothing.
    part: &'static str,
    /// Where; everywhere if nowhere is named.
    namespace: Option<String>,
    /// To which one; to all of them if none is named.
    name: &'static str,
}

impl Right {
    /// To do `verb` to what is called `resource` in `group`, in one namespace or everywhere.
    pub fn new(verb: &'static str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        let (group, resource, namespace) = (group.to_owned(), resource.to_owned(), namespace.map(str::to_owned));
        Self { verb, group, resource, part: "", namespace, name: "" }
    }

    /// As the API server is asked about it.
    pub fn attributes(&self) -> Value {
        json!({"verb": self.verb, "group": self.group, "resource": self.resource, "subresource": self.part,
               "namespace": self.namespace.as_deref().unwrap_or_default(), "name": self.name})
    }
}

/// `VERB PLURAL.GROUP`, and which one if it is one.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.part.is_empty() {
            write!(f, "/{}", self.part)?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// What the server that is `reader` does with objects: it reads Secrets of `secret_namespaces` alone if there are any.
pub fn of_objects(reader: Reader, secret_namespaces: &BTreeSet<String>) -> BTreeSet<Right> {
    let mut needed = BTreeSet::new();
    for source in Source::read_by(reader, secret_namespaces) {
        let (group, plural) = (group(&source.versions[0]), source.subject.plural());
        let right = |verb| Right::new(verb, group, plural, source.namespace.as_deref());
        needed.extend([right("list"), right("watch")]);
        if let Subject::Kind(kind) = source.subject
            && kind.told_by() == Some(reader)
        {
            needed.extend([right("get"), Right { part: "status", ..right("patch") }]);
        }
    }
    needed
}

/// What any server does in its own namespace, so that one of its replicas writes statuses.
pub fn of_leases(namespace: &str) -> BTreeSet<Right> {
    ["get", "create", "patch"].map(|verb| Right::new(verb, "coordination.k8s.io", "leases", Some(namespace))).into()
}

/// What any server does besides, so that it is told what has become of the objects whose statuses it writes.
pub fn of_events() -> BTreeSet<Right> {
    ["create", "patch"].map(|verb| Right::new(verb, "", "events", None)).into()
}

/// What `waypoint` does besides where Envoys show it tokens.
pub fn of_tokens() -> BTreeSet<Right> {
    [Right::new("create", "authentication.k8s.io", "tokenreviews", None)].into()
}

/// What `waypoint` does besides in its own namespace where it keeps an authority: these are the Secrets that it makes.
pub fn of_authority(namespace: &str) -> BTreeSet<Right> {
    let right = |verb| Right::new(verb, "", "secrets", Some(namespace));
    let named = |name| ["get", "patch"].map(|verb| Right { name, ..right(verb) });
    authority::SECRETS.into_iter().flat_map(named).chain([right("create")]).collect()
}

/// What `waypoint` does besides where it makes the pods of Gateways.
pub fn of_pods() -> BTreeSet<Right> {
    let managed = Managed::OF_A_GATEWAY.into_iter().chain([Managed::GatewayClass]);
    let mut needed = BTreeSet::new();
    for managed in managed {
        let right = |verb| Right::new(verb, group(managed.api_version()), managed.plural(), None);
        let verbs: &[&'static str] = match managed {
            Managed::GatewayClass => &["get", "create", "patch"],
            // Services are followed by whoever says what Envoys do with them.
            Managed::Service => &["get", "create", "patch", "delete"],
            _ => &["get", "list", "watch", "create", "patch", "delete"],
        };
        needed.extend(verbs.iter().map(|verb| right(*verb)));
        if managed == Managed::GatewayClass {
            needed.insert(Right { part: "status", ..right("patch") });
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use api::Told;
    use serde::Deserialize as _;

    use super::*;

    /// The rights that a file of `deploy/rbac` grants.
    fn granted(file: &str) -> BTreeSet<String> {
        let mut granted = BTreeSet::new();
        for role in serde_norway::Deserializer::from_str(file) {
            let role = Value::deserialize(role).unwrap();
            assert_eq!(role["kind"], "ClusterRole");
            for rule in role["rules"].as_array().unwrap() {
                let texts = |field: &str| rule[field].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
                for (group, plural) in
                    texts("apiGroups").flat_map(|group| texts("resources").map(move |one| (group, one)))
                {
                    let names = rule["resourceNames"].as_array().cloned().unwrap_or_else(|| vec!["".into()]);
                    for (verb, name) in texts("verbs").flat_map(|verb| names.iter().map(move |name| (verb, name))) {
                        let right = format!("{verb} {plural}.{group}").trim_end_matches('.').to_owned();
                        let right = format!("{right} {}", name.as_str().unwrap()).trim_end().to_owned();
                        let new = granted.insert(right.clone());
                        assert!(new, "{right} is granted twice");
                    }
                }
            }
        }
        granted
    }

    fn texts(rights: &BTreeSet<Right>) -> BTreeSet<String> {
        rights.iter().map(ToString::to_string).collect()
    }

    /// What the server that is `reader` does besides where definitions have no status of their own, as Gloo's: it writes to
    /// the objects themselves.
    fn of_statuses_on_objects(reader: Reader) -> BTreeSet<Right> {
        let sources = Source::read_by(reader, &BTreeSet::new()).into_iter();
        let foreign = |source: &Source| match source.subject {
            Subject::Kind(kind) => kind.told_by() == Some(reader) && kind.told() == Told::PerNamespace,
            _ => false,
        };
        let right = |source: Source| Right::new("patch", group(&source.versions[0]), source.subject.plural(), None);
        sources.filter(foreign).map(right).collect()
    }

    #[test]
    fn the_roles_that_we_publish_grant_what_is_done_and_nothing_else() {
        for (reader, file) in [
            (Reader::Authorization, include_str!("../../../deploy/rbac/extauth.yaml")),
            (Reader::RateLimits, include_str!("../../../deploy/rbac/ratelimit.yaml")),
            (Reader::ControlPlane, include_str!("../../../deploy/rbac/waypoint.yaml")),
        ] {
            assert_eq!(granted(file), texts(&of_objects(reader, &BTreeSet::new())), "{reader:?}");
        }
        for (reader, file) in [
            (Reader::Authorization, include_str!("../../../deploy/rbac/extauth-on-objects.yaml")),
            (Reader::ControlPlane, include_str!("../../../deploy/rbac/waypoint-on-objects.yaml")),
        ] {
            assert_eq!(granted(file), texts(&of_statuses_on_objects(reader)), "{reader:?}");
        }
        assert!(of_statuses_on_objects(Reader::RateLimits).is_empty(), "Gloo's have a status of their own");
        let in_it = |rights: &BTreeSet<Right>| -> BTreeSet<String> {
            texts(rights).iter().map(|text| text.replace(" in namespace n", "")).collect()
        };
        assert_eq!(granted(include_str!("../../../deploy/rbac/leases.yaml")), in_it(&of_leases("n")));
        assert_eq!(granted(include_str!("../../../deploy/rbac/events.yaml")), texts(&of_events()));
        assert_eq!(granted(include_str!("../../../deploy/rbac/authority.yaml")), in_it(&of_authority("n")));
        assert_eq!(granted(include_str!("../../../deploy/rbac/deployer.yaml")), texts(&of_pods()));
        assert_eq!(granted(include_str!("../../../deploy/rbac/xds.yaml")), texts(&of_tokens()));
    }

    #[test]
    fn secrets_are_asked_about_where_they_are_read() {
        let narrow = of_objects(Reader::Authorization, &["keys".to_owned()].into());
        let secrets: Vec<String> = texts(&narrow).into_iter().filter(|text| text.contains("secrets")).collect();
        assert_eq!(secrets, ["list secrets in namespace keys", "watch secrets in namespace keys"]);
        let status = narrow.iter().find(|right| right.verb == "patch").unwrap().attributes();
        assert_eq!((&status["resource"], &status["subresource"]), (&json!("authconfigs"), &json!("status")));
    }
}
