//! What is followed: a kind under one API group, everywhere or in one namespace.

use std::fmt;

use api::Kind;
use api::secret::API_KEY_SECRET;

/// One list that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the objects are.
    pub kind: Kind,
    /// The versions of one API group under which they are read, the preferred one first.
    pub versions: Vec<&'static str>,
    /// In which namespace; none, in all.
    pub namespace: Option<String>,
}

impl Source {
    /// The sources of all objects of `kinds`; Secrets in `secret_namespaces` alone if there are any.
    ///
    /// A kind that is read under several API groups has a source in each: their objects are stored apart.
    pub fn of(kinds: &[Kind], secret_namespaces: &[String]) -> Vec<Source> {
        let mut sources = Vec::new();
        for kind in kinds {
            let mut groups: Vec<Vec<&'static str>> = Vec::new();
            for version in kind.api_versions() {
                match groups.iter_mut().find(|versions| group(versions[0]) == group(version)) {
                    Some(versions) => versions.push(version),
                    None => groups.push(vec![version]),
                }
            }
            for versions in groups {
                let source = |namespace| Source { kind: *kind, versions: versions.clone(), namespace };
                if *kind == Kind::Secret && !secret_namespaces.is_empty() {
                    sources.extend(secret_namespaces.iter().map(|namespace| source(Some(namespace.clone()))));
                } else {
                    sources.push(source(None));
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
        let (root, plural) = (Self::discovery(version), self.kind.plural());
        match &self.namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }

    /// Which of them are meant; empty for all.
    pub fn selector(&self) -> String {
        match self.kind {
            // The type of a Secret never changes, so that none slips in or out unseen.
            Kind::Secret => format!("type={API_KEY_SECRET}"),
            _ => String::new(),
        }
    }
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.plural())?;
        match group(self.versions[0]) {
            "" => {}
            group => write!(f, ".{group}")?,
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
        let sources = Source::of(&[Kind::AuthConfig, Kind::HttpRoute, Kind::Service], &[]);
        let shown: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let wanted = [
            "authconfigs.enterprise.gloo.solo.io",
            "authconfigs.extauth.solo.io",
            "httproutes.gateway.networking.k8s.io",
            "services",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(sources[2].versions.len(), 2);
        assert_eq!(sources[2].path(sources[2].versions[0]), "/apis/gateway.networking.k8s.io/v1/httproutes");
        assert_eq!(sources[3].path("v1"), "/api/v1/services");
        assert_eq!(sources[3].selector(), "");
    }

    #[test]
    fn only_secrets_with_api_keys_are_asked_for_and_only_where_they_may_be() {
        let everywhere = Source::of(&[Kind::Secret], &[]);
        assert_eq!((everywhere.len(), everywhere[0].path("v1").as_str()), (1, "/api/v1/secrets"));
        assert_eq!(everywhere[0].selector(), "type=extauth.solo.io/apikey");
        let some = Source::of(&[Kind::Secret, Kind::Service], &["a".to_owned(), "b".to_owned()]);
        let paths: Vec<String> = some.iter().map(|source| source.path("v1")).collect();
        assert_eq!(paths, ["/api/v1/namespaces/a/secrets", "/api/v1/namespaces/b/secrets", "/api/v1/services"]);
    }
}
