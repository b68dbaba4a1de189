//! What whoever runs a Gateway, or a class of them, says of its pods in a ConfigMap: fields of ours, and then anything of each
//! object as a strategic merge patch. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kubernetes::managing::Managed;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::{Map, Value, json};

use super::overlay;
use super::same::amount;

/// The entry with the fields of ours.
const FIELDS: &str = "parameters";
/// The entries with patches, each for one object.
const PATCHES: [(&str, Managed); 5] = [
    ("deployment", Managed::Deployment),
    ("service", Managed::Service),
    ("serviceAccount", Managed::ServiceAccount),
    ("podDisruptionBudget", Managed::PodDisruptionBudget),
    ("horizontalPodAutoscaler", Managed::HorizontalPodAutoscaler),
];

/// What is said of the pods of a Gateway.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    /// In fields of ours.
    pub fields: Fields,
    /// Beside them, in the order in which they are merged.
    patches: Vec<(Managed, Value)>,
}

/// The fields.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fields {
    /// How many pods there are; whoever scales them says so if it is not said here.
    pub replicas: Option<u16>,
    /// Their image.
    pub image: Option<Text>,
    /// What each asks for, and what it gets at most.
    pub resources: Resources,
    /// How they are reached.
    pub service: Service,
    /// That there are as many as they have to do.
    pub autoscaling: Option<Autoscaling>,
    /// How many may be taken away at a time; false for any number.
    pub pod_disruption_budget: Option<Budget>,
    /// Over what they are spread.
    pub topology_spread: Option<Vec<Spread>>,
    /// On which nodes they run.
    pub node_selector: BTreeMap<String, Text>,
    /// And which of them they bear.
    pub tolerations: Option<Vec<Toleration>>,
    /// Annotations of pods.
    pub annotations: BTreeMap<String, Text>,
}

/// Text that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Err(D::Error::custom("write something")) } else { Ok(Text(text)) }
    }
}

/// An amount as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Amount(pub Value);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match amount(&value) {
            Some(1..) => Ok(Amount(value)),
            _ => Err(D::Error::custom("write an amount as Kubernetes does, such as 100m or 128Mi")),
        }
    }
}

/// What a container asks for.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// At least.
    pub requests: BTreeMap<String, Amount>,
    /// At most.
    pub limits: BTreeMap<String, Amount>,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Service {
    /// Who reaches it.
    pub r#type: Option<ServiceType>,
    /// By addresses of which families.
    pub ip_family_policy: Option<Families>,
    /// Its annotations.
    pub annotations: BTreeMap<String, Text>,
}

/// Who reaches a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum ServiceType {
    /// The cluster.
    ClusterIP,
    /// Whoever reaches a node.
    NodePort,
    /// Whoever reaches a balancer.
    LoadBalancer,
}

/// By addresses of which families a Service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum Families {
    /// Of one.
    #[serde(rename = "SingleStack")]
    One,
    /// Of both, where there are both.
    #[serde(rename = "PreferDualStack")]
    BothIfPossible,
    /// Of both, or not at all.
    #[serde(rename = "RequireDualStack")]
    Both,
}

/// As many pods as they have to do.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Autoscaling {
    /// At least.
    #[serde(default = "one")]
    pub min_replicas: u16,
    /// At most.
    pub max_replicas: u16,
    /// How much of the processor that they ask for they are to use, in percent.
    #[serde(default = "eighty")]
    pub cpu: u16,
}

fn one() -> u16 {
    1
}

fn eighty() -> u16 {
    80
}

/// How many pods may be taken away at a time.
#[derive(Debug, Clone, PartialEq)]
pub enum Budget {
    /// Any number.
    None,
    /// As this field of a PodDisruptionBudget says.
    Of(&'static str, Value),
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong =
            || D::Error::custom("write false, or one of maxUnavailable and minAvailable, a number or a percentage");
        let value = Value::deserialize(deserializer)?;
        if value == json!(false) {
            return Ok(Budget::None);
        }
        let fields = value.as_object().filter(|fields| fields.len() == 1).ok_or_else(wrong)?;
        for field in ["maxUnavailable", "minAvailable"] {
            if let Some(count) = fields.get(field) {
                let percent = |text: &str| {
                    text.strip_suffix('%').is_some_and(|digits| digits.parse::<u8>().is_ok_and(|p| p <= 100))
                };
                let fits = count.as_u64().is_some() || count.as_str().is_some_and(percent);
                return if fits { Ok(Budget::Of(field, count.clone())) } else { Err(wrong()) };
            }
        }
        Err(wrong())
    }
}

/// Over what pods are spread.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// The label of nodes.
    pub topology_key: Text,
    /// How many more there may be in one place than in another.
    #[serde(default = "one")]
    pub max_skew: u16,
    /// What becomes of a pod that cannot be placed so.
    #[serde(default)]
    pub when_unsatisfiable: Unsatisfiable,
}

/// What becomes of a pod that cannot be placed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum Unsatisfiable {
    /// It is placed all the same.
    #[default]
    ScheduleAnyway,
    /// It waits.
    DoNotSchedule,
}

/// Which nodes pods bear.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// The taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// How its value is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<Operator>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// What the taint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    effect: Option<Effect>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    toleration_seconds: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
enum Operator {
    Exists,
    Equal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Parameters {
    /// What `config`, a ConfigMap, says.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn read(config: &Value) -> Result<Parameters, Vec<String>> {
        let (mut read, mut mistakes) = (Parameters::default(), Vec::new());
        let entries: BTreeMap<&String, &Value> = config["data"]
            .as_object()
            .into_iter()
            .flatten()
            .chain(config["binaryData"].as_object().into_iter().flatten())
            .collect();
        for (name, text) in entries {
            let text = text.as_str().unwrap_or_default();
            if name == FIELDS {
                match of_yaml(name, text) {
                    Ok(fields) => read.fields = fields,
                    Err(mistake) => mistakes.push(mistake),
                }
            } else if let Some((_, kind)) = PATCHES.iter().find(|(known, _)| known == name) {
                match of_yaml::<Value>(name, text) {
                    Ok(patch) => read.patches.push((*kind, patch)),
                    Err(mistake) => mistakes.push(mistake),
                }
            } else {
                let known: Vec<&str> = PATCHES.iter().map(|(known, _)| *known).collect();
                mistakes.push(format!("{name} is not known; write {FIELDS}, {}", known.join(", ")));
            }
        }
        mistakes.extend(read.fields.mistakes().into_iter().map(|mistake| format!("{FIELDS}: {mistake}")));
        // Each patch by itself, over nothing: what cannot be merged there cannot be merged anywhere.
        for (kind, patch) in &read.patches {
            if let Err(mistake) = overlay::merge(&mut json!({}), patch) {
                mistakes.push(format!("{}: {mistake}", entry(*kind)));
            }
        }
        if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
    }

    /// Those of a Gateway over those of its class: fields of the Gateway count, and its patches are merged last.
    #[must_use]
    pub fn over(self, class: Parameters) -> Parameters {
        let (own, of_class) = (self.fields, class.fields);
        let fields = Fields {
            // How many there are is said in one way.
            replicas: own.replicas.or(if own.autoscaling.is_some() { None } else { of_class.replicas }),
            autoscaling: if own.replicas.is_some() {
                own.autoscaling
            } else {
                own.autoscaling.or(of_class.autoscaling)
            },
            image: own.image.or(of_class.image),
            resources: Resources {
                requests: both(of_class.resources.requests, own.resources.requests),
                limits: both(of_class.resources.limits, own.resources.limits),
            },
            service: Service {
                r#type: own.service.r#type.or(of_class.service.r#type),
                ip_family_policy: own.service.ip_family_policy.or(of_class.service.ip_family_policy),
                annotations: both(of_class.service.annotations, own.service.annotations),
            },
            pod_disruption_budget: own.pod_disruption_budget.or(of_class.pod_disruption_budget),
            topology_spread: own.topology_spread.or(of_class.topology_spread),
            node_selector: both(of_class.node_selector, own.node_selector),
            tolerations: own.tolerations.or(of_class.tolerations),
            annotations: both(of_class.annotations, own.annotations),
        };
        Parameters { fields, patches: class.patches.into_iter().chain(self.patches).collect() }
    }

    /// Merges the patches for `kind` into `object`.
    ///
    /// # Errors
    /// What a patch may not say.
    pub fn patch(&self, kind: Managed, object: &mut Value) -> Result<(), String> {
        let before = object.clone();
        for (_, patch) in self.patches.iter().filter(|(of, _)| *of == kind) {
            overlay::merge(object, patch).map_err(|mistake| format!("{}: {mistake}", entry(kind)))?;
        }
        let changed = KEPT.iter().filter(|(of, _)| of.is_none_or(|of| of == kind)).map(|(_, pointer)| *pointer);
        let mut changed: Vec<String> =
            changed.filter(|at| before.pointer(at) != object.pointer(at)).map(dotted).collect();
        for pointer in ["/metadata/labels", "/spec/template/metadata/labels", "/metadata/annotations"] {
            let own = before.pointer(pointer).and_then(Value::as_object);
            let lost = own
                .into_iter()
                .flatten()
                .filter(|(key, value)| object.pointer(pointer).and_then(|now| now.get(key.as_str())) != Some(value));
            changed.extend(lost.map(|(key, _)| format!("{}.{key}", dotted(pointer))));
        }
        if kind == Managed::Deployment
            && self.fields.autoscaling.is_some()
            && object.pointer("/spec/replicas").is_some()
        {
            changed.push("spec.replicas, which autoscaling says".to_owned());
        }
        match changed.first() {
            None => Ok(()),
            Some(first) => Err(format!("{}: {first} is not to be said here; take it out", entry(kind))),
        }
    }
}

/// What no patch may change: by these our pods are found and known.
const KEPT: [(Option<Managed>, &str); 14] = [
    (None, "/apiVersion"),
    (None, "/kind"),
    (None, "/metadata/name"),
    (None, "/metadata/namespace"),
    (None, "/metadata/ownerReferences"),
    (None, "/metadata/finalizers"),
    (None, "/spec/selector"),
    (Some(Managed::HorizontalPodAutoscaler), "/spec/scaleTargetRef"),
    (Some(Managed::Deployment), "/spec/template/spec/serviceAccountName"),
    (Some(Managed::Deployment), "/spec/template/spec/serviceAccount"),
    (Some(Managed::Deployment), "/spec/template/spec/automountServiceAccountToken"),
    (Some(Managed::Deployment), "/spec/template/spec/hostNetwork"),
    (Some(Managed::Deployment), "/spec/template/spec/hostPID"),
    (Some(Managed::Deployment), "/spec/template/spec/hostIPC"),
];

impl Fields {
    /// What no field says by itself.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(Autoscaling { min_replicas, max_replicas, cpu }) = &self.autoscaling {
            if self.replicas.is_some() {
                mistakes.push("replicas and autoscaling both say how many pods there are; take one out".to_owned());
            }
            if *min_replicas == 0 || max_replicas < min_replicas {
                mistakes.push("autoscaling: write at least 1 for minReplicas, and no less for maxReplicas".to_owned());
            }
            if *cpu == 0 {
                mistakes.push("autoscaling.cpu: write at least 1".to_owned());
            }
        }
        for (name, limit) in &self.resources.limits {
            let least = self.resources.requests.get(name).and_then(|request| amount(&request.0));
            if least > amount(&limit.0) {
                mistakes.push(format!("resources.limits.{name} is less than resources.requests.{name}"));
            }
        }
        let spread: Vec<&str> =
            self.topology_spread.iter().flatten().map(|spread| spread.topology_key.0.as_str()).collect();
        if spread.iter().collect::<BTreeSet<_>>().len() < spread.len() {
            mistakes.push("topologySpread names one topologyKey twice".to_owned());
        }
        mistakes
    }
}

fn both<V>(mut one: BTreeMap<String, V>, other: BTreeMap<String, V>) -> BTreeMap<String, V> {
    one.extend(other);
    one
}

fn entry(kind: Managed) -> &'static str {
    PATCHES.iter().find(|(_, of)| *of == kind).map_or(kind.as_str(), |(name, _)| name)
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// The YAML `text` of the entry `name`; nothing for an empty one.
fn of_yaml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value: Value = serde_norway::from_str(text).map_err(|error| format!("{name}: it is not YAML: {error}"))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        let place = if place == "." { name.to_owned() } else { format!("{name}.{place}") };
        format!("{place}: {}", error.into_inner())
    })
}

/// A map of texts, as Kubernetes has it.
pub fn texts(map: &BTreeMap<String, Text>) -> Map<String, Value> {
    map.iter().map(|(key, text)| (key.clone(), text.0.clone().into())).collect()
}

/// A map of amounts, the same.
pub fn amounts(map: &BTreeMap<String, Amount>) -> Map<String, Value> {
    map.iter().map(|(key, amount)| (key.clone(), amount.0.clone())).collect()
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> Result<Parameters, Vec<String>> {
        let data: Map<String, Value> = entries.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
        Parameters::read(&json!({"data": data}))
    }

    #[test]
    fn every_mistake_is_named_with_its_place_and_what_to_write() {
        for (text, said) in [
            ("replica: 3", "parameters.replica: unknown field `replica`, expected one of `replicas`"),
            ("service: {kind: LoadBalancer}", "parameters.service.kind: unknown field"),
            (
                "service: {type: Balancer}",
                "parameters.service.type: unknown variant `Balancer`, expected one of `ClusterIP`",
            ),
            ("replicas: -1", "parameters.replicas: invalid value"),
            ("image: ''", "parameters.image: write something"),
            ("resources: {limits: {cpu: lots}}", "parameters.resources.limits.cpu: write an amount"),
            ("resources: {limits: {memory: 1Gi}, requests: {memory: 2Gi}}", "resources.limits.memory is less than"),
            ("replicas: 2\nautoscaling: {maxReplicas: 4}", "replicas and autoscaling both say"),
            ("autoscaling: {minReplicas: 5, maxReplicas: 4}", "write at least 1 for minReplicas"),
            ("autoscaling: {maxReplicas: 4, memory: 3}", "parameters.autoscaling.memory: unknown field"),
            ("podDisruptionBudget: true", "parameters.podDisruptionBudget: write false, or one of"),
            ("podDisruptionBudget: {maxUnavailable: 200%}", "parameters.podDisruptionBudget: write false, or one of"),
            ("tolerations: [{key: a, effect: Sometimes}]", "parameters.tolerations[0].effect: unknown variant"),
            ("topologySpread: [{topologyKey: a}, {topologyKey: a}]", "names one topologyKey twice"),
            ("nodeSelector: {a: 1}", "parameters.nodeSelector.a: invalid type"),
            ("[", "parameters: it is not YAML"),
            ("a string", "parameters: invalid type"),
        ] {
            let why = read(&[("parameters", text)]).expect_err(text);
            assert!(why.len() == 1 && why[0].contains(said), "{text}: {why:?}");
        }
        let all = read(&[("deploy", ""), ("service", "[]"), ("parameters", "replica: 1")]).expect_err("three");
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.iter().any(|why| why.contains("deploy is not known; write parameters, deployment, ")), "{all:?}");
        assert_eq!(read(&[("parameters", "  "), ("deployment", "")]).expect("empty").fields, Fields::default());
    }

    #[test]
    fn what_a_gateway_says_counts_over_what_its_class_says() {
        let of =
            |text: &str| read(&[("parameters", text), ("deployment", "spec: {minReadySeconds: 3}")]).expect("good");
        let class = of(
            "replicas: 2\nimage: class\nresources: {limits: {cpu: 1, memory: 1Gi}}\nannotations: {a: class, b: class}",
        );
        let own = of("image: own\nresources: {limits: {memory: 2Gi}}\nannotations: {a: own}");
        let both = own.over(class.clone());
        assert_eq!((both.fields.replicas, both.fields.image), (Some(2), Some(Text("own".to_owned()))));
        assert_eq!(
            amounts(&both.fields.resources.limits),
            json!({"cpu": 1, "memory": "2Gi"}).as_object().expect("a map").clone()
        );
        assert_eq!(
            texts(&both.fields.annotations),
            json!({"a": "own", "b": "class"}).as_object().expect("a map").clone()
        );
        assert_eq!(both.patches.len(), 2);
        // How many there are is said in one way.
        let scaled = of("autoscaling: {maxReplicas: 4}").over(class);
        assert_eq!((scaled.fields.replicas, scaled.fields.autoscaling.is_some()), (None, true));
        let fixed = of("replicas: 5").over(scaled);
        assert_eq!((fixed.fields.replicas, fixed.fields.autoscaling), (Some(5), None));
    }

    #[test]
    fn a_patch_may_say_anything_but_by_what_pods_are_found_and_known() {
        let deployment = || {
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "ownerReferences": [{"uid": "u"}]},
                "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"serviceAccountName": "p", "automountServiceAccountToken": false, "hostNetwork": false,
                             "containers": [{"name": "waypoint", "image": "i"}]},
                }},
            })
        };
        let patched = |fields: &str, patch: &str| {
            let mut object = deployment();
            let parameters = read(&[("parameters", fields), ("deployment", patch)]).expect("readable");
            parameters.patch(Managed::Deployment, &mut object).map(|()| object)
        };
        let good = patched("", "metadata: {labels: {c: d}}\nspec: {template: {spec: {priorityClassName: high}}}")
            .expect("good");
        assert_eq!(good["metadata"]["labels"], json!({"a": "b", "c": "d"}));
        for (fields, patch, said) in [
            ("", "metadata: {name: other}", "metadata.name"),
            ("", "metadata: {ownerReferences: []}", "metadata.ownerReferences"),
            ("", "metadata: {labels: {a: c}}", "metadata.labels.a"),
            ("", "metadata: {$patch: delete}", "metadata.name"),
            ("", "spec: {selector: {matchLabels: {x: y}}}", "spec.selector"),
            ("", "spec: {template: {metadata: {labels: {a: null}}}}", "spec.template.metadata.labels.a"),
            ("", "spec: {template: {spec: {serviceAccountName: admin}}}", "spec.template.spec.serviceAccountName"),
            ("", "spec: {template: {spec: {serviceAccount: admin}}}", "spec.template.spec.serviceAccount"),
            ("", "spec: {template: {spec: {automountServiceAccountToken: true}}}", "automountServiceAccountToken"),
            ("", "spec: {template: {spec: {hostNetwork: true}}}", "spec.template.spec.hostNetwork"),
            ("", "spec: {template: {spec: {hostPID: true}}}", "spec.template.spec.hostPID"),
            ("autoscaling: {maxReplicas: 3}", "spec: {replicas: 3}", "spec.replicas"),
        ] {
            let why = patched(fields, patch).expect_err(patch);
            assert!(why.starts_with("deployment: ") && why.contains(said), "{patch}: {why}");
        }
        assert_eq!(patched("", "spec: {replicas: 3}").expect("good")["spec"]["replicas"], 3);
    }
}
