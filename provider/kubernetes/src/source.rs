//! What is followed: a kind under one API group, everywhere or in one namespace.

use std::fmt;

use std::collections::BTreeSet;

use api::secret::{API_KEY_SECRET, ENCRYPTION_SECRET, OAUTH_SECRET};
use api::unserved::Unserved;
use api::{Governs, Kind, Name, ObjectRef, Reader};

/// What the objects of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Of a kind that we read.
    Kind(Kind),
    /// Of a kind that is not served: what they are to govern is refused.
    Unserved(&'static Unserved),
}

impl From<Kind> for Subject {
    fn from(kind: Kind) -> Self {
        Subject::Kind(kind)
    }
}

impl Subject {
    /// As it stands in paths of the API server.
    pub fn plural(self) -> &'static str {
        match self {
            Subject::Kind(kind) => kind.plural(),
            Subject::Unserved(kind) => kind.plural,
        }
    }

    /// The name in a manifest's `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Kind(kind) => kind.as_str(),
            Subject::Unserved(kind) => kind.kind,
        }
    }

    /// Whether its objects live in a namespace.
    pub fn namespaced(self) -> bool {
        match self {
            Subject::Kind(kind) => kind.namespaced(),
            Subject::Unserved(_) => true,
        }
    }

    /// Whether its objects close what others open.
    pub fn is_policy(self) -> bool {
        match self {
            Subject::Kind(kind) => matches!(kind.governs(), Governs::Targets | Governs::Callers),
            Subject::Unserved(_) => true,
        }
    }
}

/// One list that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the objects are.
    pub subject: Subject,
    /// The versions of one API group under which they are read, the preferred one first.
    pub versions: Vec<String>,
    /// In which namespace; none, in all.
    pub namespace: Option<String>,
    /// Of Secrets, the type. It never changes, so that none slips in or out unseen.
    secret_type: Option<&'static str>,
}

/// The types of Secrets that are read.
const SECRET_TYPES: [&str; 3] = [API_KEY_SECRET, OAUTH_SECRET, ENCRYPTION_SECRET];

impl Source {
    /// The sources of all that `reader` reads; Secrets in `secret_namespaces` alone if there are any.
    pub fn read_by(reader: Reader, secret_namespaces: &BTreeSet<String>) -> Vec<Source> {
        let mut sources = Source::of(&Kind::read_by(reader), secret_namespaces);
        if reader == Reader::ControlPlane {
            // Nobody else refuses what these were to govern.
            sources.extend(Unserved::all().iter().map(|kind| {
                let versions = kind.versions.iter().map(|version| format!("{}/{version}", kind.group)).collect();
                Source { subject: Subject::Unserved(kind), versions, namespace: None, secret_type: None }
            }));
        }
        sources
    }

    /// The sources of all objects of `kinds`.
    ///
    /// A kind that is read under several API groups has a source in each: their objects are stored apart.
    pub fn of(kinds: &[Kind], secret_namespaces: &BTreeSet<String>) -> Vec<Source> {
        let mut sources = Vec::new();
        for kind in kinds {
            let mut groups: Vec<Vec<String>> = Vec::new();
            for version in kind.api_versions() {
                match groups.iter_mut().find(|versions| group(&versions[0]) == group(version)) {
                    Some(versions) => versions.push((*version).to_owned()),
                    None => groups.push(vec![(*version).to_owned()]),
                }
            }
            for versions in groups {
                let source = |namespace, secret_type| {
                    let subject = Subject::Kind(*kind);
                    Source { subject, versions: versions.clone(), namespace, secret_type }
                };
                if *kind != Kind::Secret {
                    sources.push(source(None, None));
                    continue;
                }
                // A list is asked for by one type.
                for secret_type in SECRET_TYPES.map(Some) {
                    match secret_namespaces.is_empty() {
                        true => sources.push(source(None, secret_type)),
                        false => {
                            sources.extend(secret_namespaces.iter().map(|name| source(Some(name.clone()), secret_type)))
                        }
                    }
                }
            }
        }
        sources
    }

    /// Where the server says what it serves under `version`.
    pub fn discovery(version: &str) -> String {
        match group(version) {
            "" => format!("/api/{version}"),
            _ => format!("/apis/{version}"),
        }
    }

    /// Where the objects are.
    pub fn path(&self, version: &str) -> String {
        let (root, plural) = (Self::discovery(version), self.subject.plural());
        match &self.namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }

    /// Which of them are meant; empty for all.
    pub fn selector(&self) -> String {
        self.secret_type.map(|secret_type| format!("type={secret_type}")).unwrap_or_default()
    }
}

/// Where an object is, under `version`.
pub fn object_path(object: &ObjectRef, version: &str) -> String {
    path_of(object.kind.plural(), version, &object.name)
}

/// Where one of the objects called `plural` is, under `version`.
pub fn path_of(plural: &str, version: &str, Name { namespace, name }: &Name) -> String {
    let root = Source::discovery(version);
    match namespace.as_str() {
        "" => format!("{root}/{plural}/{name}"),
        namespace => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
    }
}

/// The API group of a version.
pub fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subject.plural())?;
        match group(&self.versions[0]) {
            "" => {}
            group => write!(f, ".{group}")?,
        }
        if let Some(secret_type) = self.secret_type.filter(|secret_type| *secret_type != API_KEY_SECRET) {
            write!(f, " of type {secret_type}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_two_groups_has_two_sources_and_one_of_two_versions_has_one() {
        let sources = Source::of(&[Kind::AuthConfig, Kind::HttpRoute, Kind::Service], &BTreeSet::new());
        let shown: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let wanted = [
            "authconfigs.enterprise.gloo.solo.io",
            "authconfigs.extauth.solo.io",
            "httproutes.gateway.networking.k8s.io",
            "services",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(sources[2].versions.len(), 2);
        assert_eq!(sources[2].path(&sources[2].versions[0]), "/apis/gateway.networking.k8s.io/v1/httproutes");
        assert_eq!(sources[3].path("v1"), "/api/v1/services");
        assert_eq!(sources[3].selector(), "");
    }

    #[test]
    fn only_secrets_of_our_types_are_asked_for_and_only_where_they_may_be() {
        let everywhere = Source::of(&[Kind::Secret], &BTreeSet::new());
        assert_eq!((everywhere.len(), everywhere[0].path("v1").as_str()), (3, "/api/v1/secrets"));
        let selectors: Vec<String> = everywhere.iter().map(Source::selector).collect();
        let all = ["apikey", "oauth"].map(|kind| format!("type=extauth.solo.io/{kind}"));
        assert_eq!(selectors, [&all[..], &["type=gloo.solo.io.EncryptionKeySecret".to_owned()]].concat());
        let shown: Vec<String> = everywhere.iter().map(ToString::to_string).collect();
        let of_types = ["extauth.solo.io/oauth", "gloo.solo.io.EncryptionKeySecret"];
        assert_eq!(
            shown,
            ["secrets".to_owned()]
                .into_iter()
                .chain(of_types.map(|kind| format!("secrets of type {kind}")))
                .collect::<Vec<_>>()
        );
        let some = Source::of(&[Kind::Secret, Kind::Service], &["a", "b", "a"].map(str::to_owned).into());
        let paths: Vec<String> = some.iter().map(|source| source.path("v1")).collect();
        let (a, b) = ("/api/v1/namespaces/a/secrets", "/api/v1/namespaces/b/secrets");
        assert_eq!(paths, [a, b, a, b, a, b, "/api/v1/services"]);
    }
}
