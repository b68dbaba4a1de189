//! Secrets of our own, with what replicas of a server must all know, or what another server is given. What is in them
//! they say.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::machine::Failure;
use crate::managing::MANAGED_BY;
use crate::server::Server;
use crate::settings::KubernetesArgs;

/// The Secret with the authority that the control plane keeps.
pub const AUTHORITY: &str = "waykeeper-waypoint-authority";
/// The Secrets with the certificates that it gives to the servers that Envoys ask: to `extauth` and to `ratelimit`.
pub const SERVERS: [&str; 2] = ["waykeeper-extauth-tls", "waykeeper-ratelimit-tls"];
/// All of them.
pub const SECRETS: [&str; 3] = [AUTHORITY, SERVERS[0], SERVERS[1]];

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The label that says whose an object is.
const LABEL: &str = "app.kubernetes.io/managed-by";

/// What a Secret has, by the names of its entries. It is not shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Entries(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Entries {
    /// The same, with one more.
    #[must_use]
    pub fn with(mut self, name: &str, contents: &str) -> Self {
        self.0.insert(name.to_owned(), Zeroizing::new(contents.as_bytes().to_vec()));
        self
    }

    /// The contents of an entry; nothing if it is not there.
    pub fn of(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], |contents| contents)
    }

    /// The same, if they are text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.of(name)).ok()
    }

    fn coded(&self) -> Value {
        self.0.iter().map(|(name, contents)| (name.clone(), Value::from(STANDARD.encode(&**contents)))).collect()
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A Secret as it is.
#[derive(Debug)]
pub struct Found {
    /// The version it has.
    pub version: String,
    /// Whether it says that it is ours.
    pub ours: bool,
    /// What it has.
    pub entries: Entries,
}

/// What kind of Secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Something of which only its reader knows what it is.
    Opaque,
    /// A certificate and its key.
    Tls,
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Form::Opaque => "Opaque",
            Form::Tls => "kubernetes.io/tls",
        }
    }
}

/// The Secrets of the namespace in which a server runs.
#[derive(Debug)]
pub struct Store {
    server: Server,
    namespace: String,
}

impl Store {
    /// Of the cluster that is followed.
    ///
    /// # Errors
    /// When the settings name no API server.
    pub async fn new(args: &KubernetesArgs) -> anyhow::Result<Self> {
        Ok(Self { server: Server::new(args.kubeconfig.as_deref()).await?, namespace: args.namespace.clone() })
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }

    /// The Secret `name`; none if there is none.
    ///
    /// # Errors
    /// When nobody knows, or it is something else.
    pub async fn read(&self, name: &str) -> Result<Option<Found>, Failure> {
        let path = format!("{}/{name}", self.path());
        let body = match tokio::time::timeout(PATIENCE, self.server.get(&path)).await.map_err(|_| Failure::TimedOut)? {
            Ok(body) => body,
            Err(Failure::NotFound) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        found(&body).map(Some)
    }

    /// Makes it, where there was none.
    ///
    /// # Errors
    /// When it is refused, or there is one by now.
    pub async fn create(&self, name: &str, form: Form, entries: &Entries) -> Result<(), Failure> {
        let metadata = json!({"name": name, "namespace": self.namespace, "labels": {LABEL: MANAGED_BY}});
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": form.as_str(), "metadata": metadata});
        secret["data"] = entries.coded();
        let done = self.server.post(&self.path(), &secret).await;
        wipe(&mut secret);
        done
    }

    /// Gives it these entries instead of those that it had in `version`; others that it has stay.
    ///
    /// # Errors
    /// When it is refused, or something else is there by now.
    pub async fn replace(&self, name: &str, version: &str, entries: &Entries) -> Result<(), Failure> {
        let mut patch = json!({"metadata": {"resourceVersion": version}, "data": entries.coded()});
        let done = self.server.patch(&format!("{}/{name}", self.path()), &patch).await;
        wipe(&mut patch);
        done
    }
}

fn found(body: &[u8]) -> Result<Found, Failure> {
    #[derive(Deserialize)]
    struct Secret {
        metadata: Metadata,
        #[serde(default)]
        data: Option<BTreeMap<String, Zeroizing<String>>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: String,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }
    let secret: Secret = serde_json::from_slice(body).map_err(|_| Failure::Unreadable("a Secret that is none"))?;
    let decoded = |(name, coded): (String, Zeroizing<String>)| {
        let contents =
            STANDARD.decode(&*coded).map_err(|_| Failure::Unreadable("a Secret with something else in it"))?;
        Ok((name, Zeroizing::new(contents)))
    };
    let entries = secret.data.unwrap_or_default().into_iter().map(decoded).collect::<Result<_, Failure>>()?;
    let Metadata { resource_version: version, labels } = secret.metadata;
    let ours = labels.get(LABEL).is_some_and(|by| by == MANAGED_BY);
    Ok(Found { version, ours, entries: Entries(entries) })
}

fn wipe(object: &mut Value) {
    for text in object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
        if let Value::String(text) = text {
            text.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_whole_and_never_shown() {
        let secret = json!({
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {LABEL: MANAGED_BY}},
            "data": {"tls.key": STANDARD.encode("canary"), "other": STANDARD.encode([0xff])},
        });
        let read = found(secret.to_string().as_bytes()).unwrap();
        assert_eq!((read.version.as_str(), read.ours), ("7", true));
        assert_eq!((read.entries.text("tls.key"), read.entries.text("other")), (Some("canary"), None));
        assert_eq!(read.entries.of("missing"), b"");
        assert!(!format!("{read:?}").contains("canary"));
        let strangers = json!({"metadata": {"resourceVersion": "7"}, "data": null});
        assert!(!found(strangers.to_string().as_bytes()).unwrap().ours);
        for broken in ["", "{}", r#"{"metadata": {"resourceVersion": "7"}, "data": {"a": "!"}}"#] {
            assert!(found(broken.as_bytes()).is_err(), "{broken}");
        }
        let mut object = json!({"data": Entries::default().with("tls.key", "canary").coded()});
        assert_eq!(object["data"]["tls.key"], STANDARD.encode("canary"));
        wipe(&mut object);
        assert_eq!(object["data"]["tls.key"], "");
    }
}
