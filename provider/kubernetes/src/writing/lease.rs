//! The Lease by which replicas agree on who writes, as it is on the API server. What to do with it is decided by
//! [`election`](super::election).

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tracing::debug;

use super::election::{Act, LASTS, Lease};
use crate::machine::Failure;
use crate::server::Server;

/// The Lease on the API server.
#[derive(Debug)]
pub struct Leases {
    /// Where it is.
    pub server: Server,
    /// In which namespace.
    pub namespace: String,
    /// Its name.
    pub name: &'static str,
    /// Who holds it, if we do.
    pub me: String,
}

impl Leases {
    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// As it is now; none if nobody has made it yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self) -> Result<Option<Lease>, Failure> {
        let body = match self.server.get(&format!("{}/{}", self.path(), self.name)).await {
            Ok(body) => body,
            Err(Failure::NotFound) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let lease: Value = serde_json::from_slice(&body).map_err(|_| Failure::Unreadable("a Lease that is none"))?;
        let version = lease["metadata"]["resourceVersion"].as_str();
        let version = version.ok_or(Failure::Unreadable("a Lease without a version"))?.to_owned();
        let spec = &lease["spec"];
        let holder = spec["holderIdentity"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Lease { version, holder, transitions: spec["leaseTransitions"].as_i64().unwrap_or_default() }))
    }

    /// Does what was decided: takes it, or holds on to it.
    ///
    /// # Errors
    /// When it is not ours then: somebody else was faster, or nobody knows.
    pub async fn hold(&self, act: &Act) -> Result<(), Failure> {
        let now = micro_time();
        let mut spec = json!({
            "holderIdentity": self.me, "leaseDurationSeconds": LASTS.as_secs(), "renewTime": now,
        });
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
        });
        match act {
            Act::Leave => Ok(()),
            Act::Create => {
                spec["acquireTime"] = now.as_str().into();
                spec["leaseTransitions"] = 0.into();
                lease["spec"] = spec;
                self.server.post(&self.path(), &lease).await
            }
            Act::Hold { over, transitions, taken } => {
                if *taken {
                    spec["acquireTime"] = now.as_str().into();
                }
                spec["leaseTransitions"] = (*transitions).into();
                let patch = json!({"metadata": {"resourceVersion": over}, "spec": spec});
                self.server.patch(&format!("{}/{}", self.path(), self.name), &patch).await
            }
        }
    }

    /// Lets others have it at once.
    pub async fn give_up(&self) {
        let Ok(Some(lease)) = self.read().await else { return };
        if lease.holder != self.me {
            return;
        }
        let spec = json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro_time()});
        let patch = json!({"metadata": {"resourceVersion": lease.version}, "spec": spec});
        if let Err(failure) = self.server.patch(&format!("{}/{}", self.path(), self.name), &patch).await {
            debug!(%failure, "the Lease could not be given up: the next one waits until it has run out");
        }
    }
}

/// Now, as Leases have it.
fn micro_time() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
