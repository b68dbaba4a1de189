//! What is made in a cluster for each Gateway, and the classes of Gateways: read, made, changed and taken away.
//!
//! What is to be made is said elsewhere; here it is only asked for. A change names the version of the object that it
//! was made for, and what is taken away is named by its UID: of what others made meanwhile nothing is touched.

use std::time::Duration;

use api::{Kind, Name, ObjectRef};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

pub use crate::machine::Failure;
use crate::pump::escaped;
use crate::server::Server;
use crate::settings::KubernetesArgs;

/// The value of the label `app.kubernetes.io/managed-by` on what we made.
pub const MANAGED_BY: &str = "waykeeper";
/// How long a watch lives; what it was to tell is looked for when it ends.
const WATCH: Duration = Duration::from_secs(240);
/// How long to wait where nothing can be watched.
const PAUSE: Duration = Duration::from_secs(5);

/// The kinds that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Managed {
    /// By which a proxy is known.
    ServiceAccount,
    /// Whom it trusts.
    ConfigMap,
    /// By which it is reached.
    Service,
    /// That no more than one of its pods is taken away at a time.
    PodDisruptionBudget,
    /// Its pods.
    Deployment,
    /// As many of them as they have to do.
    HorizontalPodAutoscaler,
    /// What says how its mesh is to reach it.
    GatewayClass,
}

impl Managed {
    /// What each Gateway has.
    pub const OF_A_GATEWAY: [Managed; 6] = [
        Managed::ServiceAccount,
        Managed::ConfigMap,
        Managed::Service,
        Managed::PodDisruptionBudget,
        Managed::Deployment,
        Managed::HorizontalPodAutoscaler,
    ];

    /// `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Managed::ServiceAccount | Managed::ConfigMap | Managed::Service => "v1",
            Managed::PodDisruptionBudget => "policy/v1",
            Managed::Deployment => "apps/v1",
            Managed::HorizontalPodAutoscaler => "autoscaling/v2",
            Managed::GatewayClass => "gateway.networking.k8s.io/v1",
        }
    }

    /// `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Managed::ServiceAccount => "ServiceAccount",
            Managed::ConfigMap => "ConfigMap",
            Managed::Service => "Service",
            Managed::PodDisruptionBudget => "PodDisruptionBudget",
            Managed::Deployment => "Deployment",
            Managed::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Managed::GatewayClass => "GatewayClass",
        }
    }

    /// As it stands in paths of the API server.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Managed::ServiceAccount => "serviceaccounts",
            Managed::ConfigMap => "configmaps",
            Managed::Service => "services",
            Managed::PodDisruptionBudget => "poddisruptionbudgets",
            Managed::Deployment => "deployments",
            Managed::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Managed::GatewayClass => "gatewayclasses",
        }
    }

    fn path(self, name: &Name) -> String {
        crate::source::path_of(self.plural(), self.api_version(), name)
    }

    fn list(self, namespace: &str) -> String {
        let mut path = self.path(&Name::new(namespace, ""));
        path.pop();
        path
    }
}

/// Something has happened to what we made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// To what belongs to this Gateway.
    Of(Name),
    /// Nobody knows to what.
    Any,
}

/// Asks the API server for it.
#[derive(Debug, Clone)]
pub struct Manager(Server);

impl Manager {
    /// One of the cluster that is followed.
    ///
    /// # Errors
    /// When the settings name no API server.
    pub async fn new(args: &KubernetesArgs) -> anyhow::Result<Self> {
        Ok(Self(Server::new(args.kubeconfig.as_deref()).await?))
    }

    /// The object, if there is one.
    ///
    /// # Errors
    /// When nobody knows.
    pub async fn get(&self, kind: Managed, name: &Name) -> Result<Option<Value>, Failure> {
        self.look(&kind.path(name)).await
    }

    /// The Gateway, if there is one.
    ///
    /// # Errors
    /// When nobody knows.
    pub async fn gateway(&self, name: &Name) -> Result<Option<Value>, Failure> {
        let gateway = ObjectRef { kind: Kind::Gateway, name: name.clone() };
        self.look(&crate::source::object_path(&gateway, Kind::Gateway.api_versions()[0])).await
    }

    async fn look(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.0.get(path).await {
            Ok(body) => {
                serde_json::from_slice(&body).map(Some).map_err(|_| Failure::Unreadable("an object that is none"))
            }
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Makes an object in `namespace`.
    ///
    /// # Errors
    /// When it is refused, there is one of that name, or nobody knows whether it was done.
    pub async fn create(&self, kind: Managed, namespace: &str, object: &Value) -> Result<(), Failure> {
        self.0.post(&kind.list(namespace), object).await
    }

    /// Merges `patch` into an object; it names the version that it was made for.
    ///
    /// # Errors
    /// When it is refused, or is another version by now.
    pub async fn change(&self, kind: Managed, name: &Name, patch: &Value) -> Result<(), Failure> {
        self.0.patch(&kind.path(name), patch).await
    }

    /// The same, into its status.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn tell(&self, kind: Managed, name: &Name, patch: &Value) -> Result<(), Failure> {
        self.0.patch(&format!("{}/status", kind.path(name)), patch).await
    }

    /// Takes an object away, if it still is the one with this UID.
    ///
    /// # Errors
    /// When it is refused, or is another one by now.
    pub async fn delete(&self, kind: Managed, name: &Name, uid: &str) -> Result<(), Failure> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        match self.0.delete(&kind.path(name), &options).await {
            Err(Failure::NotFound) => Ok(()),
            done => done,
        }
    }

    /// Says to `signals` when something happens to objects of `kind` that we made, until nobody listens.
    pub async fn watch(self, kind: Managed, signals: mpsc::Sender<Signal>) {
        loop {
            // Whatever happened before the watch began.
            if let Err(failure) = self.follow(kind, &signals).await {
                tracing::debug!(kind = kind.as_str(), %failure, "not watched for a while");
                sleep(PAUSE).await;
            }
            if signals.is_closed() {
                return;
            }
        }
    }

    async fn follow(&self, kind: Managed, signals: &mpsc::Sender<Signal>) -> Result<(), Failure> {
        let list = kind.list("");
        let selector = escaped(&format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
        let body = self.0.get(&format!("{list}?labelSelector={selector}&limit=1")).await?;
        let listed: Event = serde_json::from_slice(&body).map_err(|_| Failure::Unreadable("a list that is none"))?;
        let _ = signals.send(Signal::Any).await;
        let (seconds, version) = (WATCH.as_secs(), escaped(&listed.metadata.resource_version));
        let path =
            format!("{list}?labelSelector={selector}&watch=true&timeoutSeconds={seconds}&resourceVersion={version}");
        let mut watch = self.0.watch(&path, WATCH).await?;
        while let Some(line) = watch.next().await? {
            let line: Line =
                serde_json::from_slice(&line).map_err(|_| Failure::Unreadable("a line of a watch that is none"))?;
            if line.kind == "ERROR" {
                return Err(Failure::Expired);
            }
            let Metadata { namespace, owner_references, .. } = line.object.metadata;
            let owner = owner_references.into_iter().find(|owner| owner.kind == "Gateway");
            let signal = owner.map_or(Signal::Any, |owner| Signal::Of(Name::new(namespace, owner.name)));
            if signals.send(signal).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Event,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    namespace: String,
    resource_version: String,
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_where_an_api_server_has_them() {
        let name = Name::new("shop", "a");
        assert_eq!(Managed::Service.path(&name), "/api/v1/namespaces/shop/services/a");
        assert_eq!(Managed::Deployment.list("shop"), "/apis/apps/v1/namespaces/shop/deployments");
        let class = Name::new("", "w");
        assert_eq!(Managed::GatewayClass.path(&class), "/apis/gateway.networking.k8s.io/v1/gatewayclasses/w");
        assert_eq!(Managed::GatewayClass.list(""), "/apis/gateway.networking.k8s.io/v1/gatewayclasses");
        assert_eq!(Managed::Deployment.list(""), "/apis/apps/v1/deployments");
    }
}
