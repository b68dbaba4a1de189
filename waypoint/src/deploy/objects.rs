//! The objects of a Gateway's proxy, as they are to be. Pure.

use std::collections::BTreeMap;

use kubernetes::managing::Managed;
use serde_json::{Map, Value, json};

use super::Pods;
use crate::proxy_name::{label, proxy_name};

/// The port at which a pod says how it is.
const STATUS_PORT: u16 = 15021;
/// What of a Gateway's `infrastructure` stands on an object, so that it can be taken away again.
pub const TAKEN: &str = "waykeeper.dev/infrastructure";
/// Labels with this prefix are Gateway API's own.
const RESERVED: &str = "gateway.networking.k8s.io/";
/// The field of which several objects have the same.
const METADATA: &str = "metadata";

/// A Gateway as the API server has it, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from others of that name.
    pub uid: String,
    /// `spec.gatewayClassName`.
    pub class: String,
    /// The ports of its PROXY listeners, by name.
    ports: Vec<(String, u64)>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Owner {
    /// What is to be known of `gateway`; none if that cannot be read.
    pub fn read(gateway: &Value) -> Option<Owner> {
        let text = |pointer: &str| Some(gateway.pointer(pointer)?.as_str()?.to_owned());
        let texts = |field: &str| -> BTreeMap<String, String> {
            let of =
                gateway.pointer("/spec/infrastructure").and_then(|infrastructure| infrastructure[field].as_object());
            let own = of.into_iter().flatten().filter(|(key, _)| !key.starts_with(RESERVED));
            own.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        let listeners = gateway.pointer("/spec/listeners").and_then(Value::as_array).into_iter().flatten();
        let proxies = listeners.filter(|listener| listener["protocol"] == "istio.io/PROXY");
        let port = |listener: &Value| Some((listener["name"].as_str()?.to_owned(), listener["port"].as_u64()?));
        Some(Owner {
            namespace: text("/metadata/namespace")?,
            name: text("/metadata/name")?,
            uid: text("/metadata/uid")?,
            class: text("/spec/gatewayClassName")?,
            ports: proxies.filter_map(port).take(1).collect(),
            labels: texts("labels"),
            annotations: texts("annotations"),
        })
    }

    /// What its objects are called.
    pub fn proxy_name(&self) -> String {
        proxy_name(&self.name)
    }

    fn selector(&self) -> Value {
        json!({"gateway.networking.k8s.io/gateway-name": label(&self.name)})
    }

    /// Labels of everything, with `more`.
    fn labels(&self, more: &[(&str, &str)]) -> Map<String, Value> {
        let mut labels: Map<String, Value> =
            self.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let (gateway, class, name) = (label(&self.name), label(&self.class), self.proxy_name());
        let own = [
            ("gateway.networking.k8s.io/gateway-name", gateway.as_str()),
            ("gateway.networking.k8s.io/gateway-class-name", &class),
            ("app.kubernetes.io/name", &name),
            ("app.kubernetes.io/component", "waypoint"),
            ("app.kubernetes.io/managed-by", kubernetes::managing::MANAGED_BY),
        ];
        labels.extend(own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).into())));
        labels
    }

    fn annotations(&self) -> Map<String, Value> {
        self.annotations.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect()
    }

    fn object(&self, kind: Managed, more: &[(&str, &str)]) -> Value {
        let mut annotations = self.annotations();
        let taken: Vec<&String> = self.labels.keys().chain(self.annotations.keys()).collect();
        annotations.insert(TAKEN.to_owned(), json!(json!(taken).to_string()));
        json!({
            "apiVersion": kind.api_version(), "kind": kind.as_str(),
            METADATA: {
                "name": self.proxy_name(), "namespace": self.namespace,
                "labels": self.labels(more), "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                    "name": self.name, "uid": self.uid, "controller": true,
                }],
            },
        })
    }
}

/// The maps of an object, as pointers, of which nothing but what is wanted is to be left.
pub fn whole(kind: Managed) -> &'static [&'static str] {
    match kind {
        Managed::Service => &["/spec/selector"],
        Managed::ConfigMap => &["/data"],
        Managed::PodDisruptionBudget => &["/spec/selector/matchLabels"],
        _ => &[],
    }
}

/// The objects, in the order in which they are made; `ca` is who signs the control plane's certificate.
pub fn objects(owner: &Owner, pods: &Pods, ca: &str) -> Vec<(Managed, Value)> {
    let mut config = owner.object(Managed::ConfigMap, &[]);
    config["data"] = json!({"ca.crt": ca});
    vec![
        (Managed::ServiceAccount, owner.object(Managed::ServiceAccount, &[])),
        (Managed::ConfigMap, config),
        (Managed::Service, service(owner)),
        (Managed::PodDisruptionBudget, budget(owner)),
        (Managed::Deployment, deployment(owner, pods)),
    ]
}

/// It is never its own waypoint, whatever its namespace's labels say.
const NO_WAYPOINT: (&str, &str) = ("istio.io/use-waypoint", "none");

fn service(owner: &Owner) -> Value {
    let mut service = owner.object(Managed::Service, &[NO_WAYPOINT]);
    let port = |name: &str, port: u64| json!({"name": name, "port": port, "targetPort": port, "protocol": "TCP"});
    let mut ports = vec![port("status-port", u64::from(STATUS_PORT))];
    let others = owner.ports.iter().filter(|(name, number)| *number != u64::from(STATUS_PORT) && name != "status-port");
    ports.extend(others.map(|(name, number)| port(name, *number)));
    service["spec"] = json!({"type": "ClusterIP", "selector": owner.selector(), "ports": ports});
    service
}

/// However many pods there are: of one alone, that one.
fn budget(owner: &Owner) -> Value {
    let mut budget = owner.object(Managed::PodDisruptionBudget, &[]);
    budget["spec"] = json!({"maxUnavailable": 1, "selector": {"matchLabels": owner.selector()}});
    budget
}

fn deployment(owner: &Owner, pods: &Pods) -> Value {
    // In the mesh also where its namespace is not: nobody else passes anything on to it.
    let labels = owner.labels(&[NO_WAYPOINT, ("istio.io/dataplane-mode", "ambient")]);
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": STATUS_PORT}, "periodSeconds": period, "failureThreshold": failures,
            "timeoutSeconds": 3,
        })
    };
    let mut args = vec![
        "proxy".to_owned(),
        format!("--gateway={}/{}", owner.namespace, owner.name),
        format!("--xds={}:{}", pods.xds.0, pods.xds.1),
    ];
    args.extend(pods.xds_name.iter().map(|name| format!("--xds-name={name}")));
    args.extend(["--ca=/run/waypoint-ca/ca.crt", "--token=/run/secrets/waypoint/token"].map(str::to_owned));
    let container = json!({
        "name": "waypoint",
        "image": pods.image,
        "args": args,
        "env": [],
        "ports": [{"name": "status-port", "containerPort": STATUS_PORT, "protocol": "TCP"}],
        // An Envoy that waits for its control plane is not ready, and nobody is to kill it for that.
        "startupProbe": probe("/readyz", 1, 86_400),
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/livez", 10, 3),
        "resources": {"requests": {"cpu": pods.cpu, "memory": pods.memory}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [
            {"name": "run", "mountPath": "/run/waypoint"},
            {"name": "ca", "mountPath": "/run/waypoint-ca", "readOnly": true},
            {"name": "token", "mountPath": "/run/secrets/waypoint", "readOnly": true},
        ],
    });
    let token = json!({"serviceAccountToken": {"audience": crate::listen::AUDIENCE, "expirationSeconds": 3600, "path": "token"}});
    let secrets: Vec<Value> = pods.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let mut deployment = owner.object(Managed::Deployment, &[]);
    // How many of them there are is said by whoever scales it.
    deployment["spec"] = json!({
        "selector": {"matchLabels": owner.selector()},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            METADATA: {"labels": labels, "annotations": owner.annotations()},
            "spec": {
                "serviceAccountName": owner.proxy_name(),
                "automountServiceAccountToken": false,
                "hostNetwork": false, "hostPID": false, "hostIPC": false,
                "initContainers": [],
                "imagePullSecrets": secrets,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "terminationGracePeriodSeconds": 45,
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": owner.selector()},
                }],
                "containers": [container],
                "volumes": [
                    {"name": "run", "emptyDir": {}},
                    {"name": "ca", "configMap": {"name": owner.proxy_name()}},
                    {"name": "token", "projected": {"sources": [token]}},
                ],
            },
        },
    });
    deployment
}
