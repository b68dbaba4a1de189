//! The objects of a Gateway's proxy, as they are to be. Pure.

use std::collections::BTreeMap;

use kubernetes::managing::Managed;
use serde_json::{Map, Value, json};

use super::Pods;
use super::parameters::{Budget, Fields, Parameters, amounts, texts};
use crate::proxy_name::{label, proxy_name};

/// The port at which a pod says how it is.
const STATUS_PORT: u16 = 15021;
/// What of a Gateway's `infrastructure` stands on an object, so that it can be taken away again.
pub const TAKEN: &str = "waykeeper.dev/infrastructure";
/// What was said of an object with parameters, so that it can be taken away again.
pub const APPLIED: &str = "waykeeper.dev/applied";
/// Which installation made an object.
pub const CONTROLLER: &str = "waykeeper.dev/controller";
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
///
/// # Errors
/// What the parameters may not say.
pub fn objects(
    owner: &Owner,
    pods: &Pods,
    ca: &str,
    parameters: &Parameters,
) -> Result<Vec<(Managed, Value)>, Vec<String>> {
    let fields = &parameters.fields;
    let mut config = owner.object(Managed::ConfigMap, &[]);
    config["data"] = json!({"ca.crt": ca});
    let made = [
        (Managed::ServiceAccount, Some(owner.object(Managed::ServiceAccount, &[]))),
        (Managed::ConfigMap, Some(config)),
        (Managed::Service, Some(service(owner, fields))),
        (Managed::PodDisruptionBudget, budget(owner, fields)),
        (Managed::Deployment, Some(deployment(owner, pods, fields))),
        (Managed::HorizontalPodAutoscaler, autoscaler(owner, fields)),
    ];
    let (mut objects, mut mistakes) = (Vec::new(), Vec::new());
    for (kind, mut object) in made.into_iter().filter_map(|(kind, object)| Some((kind, object?))) {
        if let Err(mistake) = parameters.patch(kind, &mut object) {
            mistakes.push(mistake);
        }
        object[METADATA]["annotations"][CONTROLLER] = json!(pods.controller);
        if *parameters != Parameters::default() {
            let applied = applied(&object).to_string();
            object[METADATA]["annotations"][APPLIED] = applied.into();
        }
        objects.push((kind, object));
    }
    if mistakes.is_empty() { Ok(objects) } else { Err(mistakes) }
}

/// What of an object is said here, so that what is said no longer can be taken away.
fn applied(object: &Value) -> Value {
    let mut applied = object.clone();
    let labels = applied.pointer_mut("/metadata/labels").map(Value::take).unwrap_or_default();
    let annotations = applied.pointer_mut("/metadata/annotations").map(Value::take).unwrap_or_default();
    applied[METADATA] = json!({"labels": labels, "annotations": annotations});
    // How many pods there are stays as it is when nobody says it any more.
    if let Some(spec) = applied["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    applied
}

/// It is never its own waypoint, whatever its namespace's labels say.
const NO_WAYPOINT: (&str, &str) = ("istio.io/use-waypoint", "none");

fn service(owner: &Owner, fields: &Fields) -> Value {
    let mut service = owner.object(Managed::Service, &[NO_WAYPOINT]);
    let port = |name: &str, port: u64| json!({"name": name, "port": port, "targetPort": port, "protocol": "TCP"});
    let mut ports = vec![port("status-port", u64::from(STATUS_PORT))];
    let others = owner.ports.iter().filter(|(name, number)| *number != u64::from(STATUS_PORT) && name != "status-port");
    ports.extend(others.map(|(name, number)| port(name, *number)));
    let reached = fields.service.r#type.map_or(json!("ClusterIP"), |kind| json!(kind));
    service["spec"] = json!({"type": reached, "selector": owner.selector(), "ports": ports});
    if let Some(families) = fields.service.ip_family_policy {
        service["spec"]["ipFamilyPolicy"] = json!(families);
    }
    annotate(&mut service, &fields.service.annotations);
    service
}

/// Adds annotations beside those that it has, which stand.
fn annotate(object: &mut Value, more: &BTreeMap<String, super::parameters::Text>) {
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    for (key, value) in texts(more) {
        annotations.entry(key).or_insert(value);
    }
}

/// However many pods there are: of one alone, that one.
fn budget(owner: &Owner, fields: &Fields) -> Option<Value> {
    let (field, count) = match &fields.pod_disruption_budget {
        None => ("maxUnavailable", json!(1)),
        Some(Budget::None) => return None,
        Some(Budget::Of(field, count)) => (*field, count.clone()),
    };
    let mut budget = owner.object(Managed::PodDisruptionBudget, &[]);
    budget["spec"] = json!({field: count, "selector": {"matchLabels": owner.selector()}});
    // A change from one to the other takes the first away.
    let other = if field == "maxUnavailable" { "minAvailable" } else { "maxUnavailable" };
    budget["spec"][other] = Value::Null;
    Some(budget)
}

fn autoscaler(owner: &Owner, fields: &Fields) -> Option<Value> {
    let of = fields.autoscaling.as_ref()?;
    let mut autoscaler = owner.object(Managed::HorizontalPodAutoscaler, &[]);
    let (api, kind) = (Managed::Deployment.api_version(), Managed::Deployment.as_str());
    let target = json!({"type": "Utilization", "averageUtilization": of.cpu});
    autoscaler["spec"] = json!({
        "scaleTargetRef": {"apiVersion": api, "kind": kind, "name": owner.proxy_name()},
        "minReplicas": of.min_replicas, "maxReplicas": of.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    });
    Some(autoscaler)
}

fn deployment(owner: &Owner, pods: &Pods, fields: &Fields) -> Value {
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
    let files = ["--ca=/run/waypoint-ca/ca.crt", "--token=/run/secrets/waypoint/token"];
    args.extend(files.into_iter().chain(["--secrets-dir=/run/waypoint-kept"]).map(str::to_owned));
    let mut requests = Map::from_iter([("cpu".to_owned(), json!(pods.cpu)), ("memory".to_owned(), json!(pods.memory))]);
    requests.extend(amounts(&fields.resources.requests));
    let container = json!({
        "name": "waypoint",
        "image": fields.image.as_ref().map_or(&pods.image, |image| &image.0),
        "args": args,
        // Without a limit that is what the node has.
        "env": [{"name": "WAYPOINT_MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}],
        "ports": [{"name": "status-port", "containerPort": STATUS_PORT, "protocol": "TCP"}],
        // An Envoy that waits for its control plane is not ready, and nobody is to kill it for that.
        "startupProbe": probe("/readyz", 1, 86_400),
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/livez", 10, 3),
        "resources": {"requests": requests, "limits": amounts(&fields.resources.limits)},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [
            {"name": "run", "mountPath": "/run/waypoint"},
            {"name": "kept", "mountPath": "/run/waypoint-kept"},
            {"name": "ca", "mountPath": "/run/waypoint-ca", "readOnly": true},
            {"name": "token", "mountPath": "/run/secrets/waypoint", "readOnly": true},
        ],
    });
    let token = json!({"serviceAccountToken": {"audience": crate::listen::AUDIENCE, "expirationSeconds": 3600, "path": "token"}});
    let secrets: Vec<Value> = pods.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let mut deployment = owner.object(Managed::Deployment, &[]);
    // How many of them there are is said by whoever scales it, unless the parameters say it.
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
                "topologySpreadConstraints": spread(owner, fields),
                "nodeSelector": texts(&fields.node_selector),
                "tolerations": fields.tolerations.as_ref().map_or(json!([]), |all| json!(all)),
                "containers": [container],
                "volumes": [
                    {"name": "run", "emptyDir": {}},
                    // Keys are never on a disk.
                    {"name": "kept", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                    {"name": "ca", "configMap": {"name": owner.proxy_name()}},
                    {"name": "token", "projected": {"sources": [token]}},
                ],
            },
        },
    });
    if let Some(replicas) = fields.replicas {
        deployment["spec"]["replicas"] = json!(replicas);
    }
    if let Some(annotations) =
        deployment.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut)
    {
        for (key, value) in texts(&fields.annotations) {
            annotations.entry(key).or_insert(value);
        }
    }
    deployment
}

fn spread(owner: &Owner, fields: &Fields) -> Value {
    let one = |key: &str, skew: u16, otherwise: Value| {
        json!({
            "maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": otherwise,
            "labelSelector": {"matchLabels": owner.selector()},
        })
    };
    match &fields.topology_spread {
        None => json!([one("kubernetes.io/hostname", 1, json!("ScheduleAnyway"))]),
        Some(all) => all.iter().map(|of| one(&of.topology_key.0, of.max_skew, json!(of.when_unsatisfiable))).collect(),
    }
}
