//! A Secret of our own with what replicas of a server must all know. What is in it they say.

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

/// The entry that is read again.
const ENTRY: &str = "authorities";
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is kept.
pub struct Kept {
    /// What replicas read again.
    pub authorities: Zeroizing<String>,
    /// Whom to trust, for others to read; PEM.
    pub bundle: String,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
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

    /// What was kept under `name`, with its version; none if nothing was.
    ///
    /// # Errors
    /// When nobody knows, or it is something else.
    pub async fn read(&self, name: &str) -> Result<Option<(String, Zeroizing<Vec<u8>>)>, Failure> {
        #[derive(Deserialize)]
        struct Secret {
            metadata: Metadata,
            #[serde(default)]
            data: Data,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            resource_version: String,
        }
        #[derive(Deserialize, Default)]
        struct Data {
            #[serde(default)]
            authorities: Zeroizing<String>,
        }
        let path = format!("{}/{name}", self.path());
        let body = match tokio::time::timeout(PATIENCE, self.server.get(&path)).await.map_err(|_| Failure::TimedOut)? {
            Ok(body) => body,
            Err(Failure::NotFound) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let secret: Secret = serde_json::from_slice(&body).map_err(|_| Failure::Unreadable("a Secret that is none"))?;
        let text = STANDARD.decode(&*secret.data.authorities);
        let text = text.map_err(|_| Failure::Unreadable("a Secret with something else in it"))?;
        Ok(Some((secret.metadata.resource_version, Zeroizing::new(text))))
    }

    /// Keeps it, where nothing was.
    ///
    /// # Errors
    /// When it is refused, or there is something by now.
    pub async fn create(&self, name: &str, kept: &Kept) -> Result<(), Failure> {
        let metadata = json!({
            "name": name, "namespace": self.namespace, "labels": {"app.kubernetes.io/managed-by": MANAGED_BY},
        });
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata});
        secret["data"] = data(kept);
        let done = self.server.post(&self.path(), &secret).await;
        wipe(&mut secret);
        done
    }

    /// Keeps it instead of what was there in `version`.
    ///
    /// # Errors
    /// When it is refused, or something else is there by now.
    pub async fn replace(&self, name: &str, version: &str, kept: &Kept) -> Result<(), Failure> {
        let mut patch = json!({"metadata": {"resourceVersion": version}, "data": data(kept)});
        let done = self.server.patch(&format!("{}/{name}", self.path()), &patch).await;
        wipe(&mut patch);
        done
    }
}

fn data(kept: &Kept) -> Value {
    json!({ENTRY: STANDARD.encode(kept.authorities.as_bytes()), "ca.crt": STANDARD.encode(&kept.bundle)})
}

fn wipe(object: &mut Value) {
    if let Some(Value::String(text)) = object.pointer_mut(&format!("/data/{ENTRY}")) {
        text.zeroize();
    }
}
