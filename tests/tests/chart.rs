//! The Helm charts: what they render is what the servers take, and what a real API server takes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use waykeeper_tests::alone::{free, start};
use waykeeper_tests::kubernetes::{Cluster, files, gateway_crds, lax_crd};
use waykeeper_tests::parts::{binary, on_path};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Curl, eventually, free_port, turn};

/// The servers of the chart.
const SERVERS: [&str; 3] = ["extauth", "ratelimit", "waypoint"];
/// How long a server may take to have read everything, on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// Value sets that people have: all that can be chosen is chosen in one of them.
const VALUES: [&str; 7] = [
    "{}",
    "{ratelimit: {enabled: false}, waypoint: {enabled: false}, networkPolicy: {enabled: false}}",
    "{extauth: {enabled: false}, ratelimit: {redis: {existingSecret: {name: redis, key: url}}, replicas: 3}}",
    // All of it.
    r#"
fullnameOverride: gate
image: {registry: mirror.example/images/, tag: v9, pullPolicy: Always, pullSecrets: [mirror]}
bindAddress: "[::]"
ipFamilyPolicy: PreferDualStack
clusterDomain: k8s.example
drainSeconds: 5
networkPolicy:
  alsoFrom: [{namespaceSelector: {matchLabels: {team: edge}}}]
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
statuses: {onObjects: true}
metrics: {enabled: true, serviceMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}}
extauth: &server
  logLevel: debug
  env: [{name: LOG_FORMAT, value: json}]
  service: {annotations: {a: b}}
  serviceAccount: {annotations: {a: b}}
  podAnnotations: {a: b}
  podLabels: {c: d}
  autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 9, cpu: 60}
  podDisruptionBudget: {maxUnavailable: 25%}
  nodeSelector: {kubernetes.io/os: linux}
  tolerations: [{key: a, operator: Exists}]
  affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  priorityClassName: system-cluster-critical
  image: {digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
  args: [--threads=2]
  tlsSecret: extauth-tls
  secretNamespaces: [keys, more-keys]
ratelimit:
  args: [--counters=1000]
  autoscaling: {enabled: true}
  tlsSecret: ratelimit-tls
  redis: {embedded: {enabled: true, persistence: {enabled: true, storageClass: fast}}}
gateways: {image: {registry: proxies.example}, pullSecrets: [mirror], cpu: 250m, memory: 256Mi}
waypoint:
  classes: [gloo-waypoint, other]
  args: [--clusters-on-demand]
  tlsSecret: waypoint-tls
  extauth: tls://gate-extauth:8083?ca=/ca.pem
  ratelimit: tls://gate-ratelimit:18081?ca=/ca.pem
"#,
    // Envoys that somebody else starts.
    "{gateways: {deploy: false}, waypoint: {identity: certificate, tlsSecret: waypoint-tls, classes: [own]},
      extauth: {podDisruptionBudget: {enabled: false}, spread: false, resources: {}}}",
    "{ratelimit: {redis: {embedded: {enabled: true}}, replicas: 2}, mutualTls: false}",
    "{ratelimit: {redis: {embedded: {enabled: true, mode: sentinel, replicas: 5, persistence: {enabled: true}}}, replicas: 2}}",
];

struct Helm {
    dir: TempDir,
    kubeconfig: PathBuf,
}

impl Helm {
    fn of(kubeconfig: PathBuf) -> Helm {
        Helm { dir: TempDir::new().unwrap(), kubeconfig }
    }

    fn run(&self, args: &[&str], values: &str) -> Output {
        let program =
            on_path("helm").expect("helm is missing: scripts/tools.sh helm builds it, and so does `make test-cluster`");
        let mut command = Command::new(program);
        let file = self.dir.path().join("values.yaml");
        fs::write(&file, values).unwrap();
        for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, self.dir.path().join(folder));
        }
        command.args(args).env("KUBECONFIG", &self.kubeconfig).current_dir(root().join("deploy/helm"));
        if !values.is_empty() {
            command.args(["--values", file.to_str().unwrap()]);
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn done(&self, args: &[&str], values: &str) -> String {
        let output = self.run(args, values);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str], values: &str) -> String {
        let output = self.run(args, values);
        assert!(!output.status.success(), "{args:?} with {values}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What the release `waykeeper` in the namespace `waykeeper` renders.
    fn render(&self, values: &str) -> Vec<Value> {
        let with = ["--api-versions", "gateway.networking.k8s.io/v1/GatewayClass", "--kube-version", "v1.36.3"];
        let text = self.done(&[&["template", "waykeeper", "waykeeper", "-n", "waykeeper"], &with[..]].concat(), values);
        objects(&text)
    }
}

fn objects(text: &str) -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap());
    documents.filter(|one| !one.is_null()).collect()
}

fn of<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found: Vec<&Value> =
        objects.iter().filter(|one| one["kind"] == kind && one["metadata"]["name"] == name).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// The container of a server, if it is rendered.
fn container<'a>(objects: &'a [Value], server: &str) -> Option<&'a Value> {
    let deployments = objects.iter().filter(|one| one["kind"] == "Deployment");
    let mut containers = deployments.map(|one| &one["spec"]["template"]["spec"]["containers"][0]);
    containers.find(|one| one["name"] == server)
}

/// Runs what a container runs, on this machine, where it ends at once: it is in no cluster.
fn told(server: &str, args: &[String], env: &Value) -> Output {
    let mut command = Command::new(binary(server));
    command.args(args).env_clear().stdin(Stdio::null());
    for one in env.as_array().into_iter().flatten() {
        let value =
            one["value"].as_str().or(one["valueFrom"]["secretKeyRef"]["key"].as_str().map(|_| "redis://redis:6379"));
        command.env(one["name"].as_str().unwrap(), value.unwrap_or("waykeeper"));
    }
    command.output().unwrap()
}

#[test]
fn what_is_rendered_is_what_the_servers_take() {
    let helm = Helm::of("/nowhere".into());
    helm.done(&["lint", "--strict", "waykeeper-crds"], "");
    for values in VALUES {
        helm.done(&["lint", "--strict", "waykeeper"], values);
        let objects = helm.render(values);
        let mut seen = 0;
        for server in SERVERS {
            let Some(container) = container(&objects, server) else { continue };
            seen += 1;
            // Usage is 64: flags, their values and the environment are all known, and then there is no cluster.
            let output = told(server, &strings(&container["args"]), &container["env"]);
            assert_eq!(output.status.code(), Some(1), "{server} of {values}: {output:?}");
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let command = strings(&container[probe]["exec"]["command"]);
                assert_eq!(command[0], format!("/{server}"), "as the image has it");
                let output = told(server, &command[1..], &Value::Null);
                assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
                let admin = command.last().unwrap().rsplit_once(':').unwrap().1;
                let bound = strings(&container["args"]).into_iter().find(|one| one.starts_with("--admin=")).unwrap();
                assert!(bound.ends_with(&format!(":{admin}")), "{command:?} asks {bound}");
            }
        }
        assert!(seen > 0, "{values}");
        // Envoys are told of the ports that there are.
        if let Some(waypoint) = container(&objects, "waypoint") {
            let args = strings(&waypoint["args"]);
            for asked in args.iter().filter(|one| one.contains(".svc.") && !one.starts_with("--tls-host=")) {
                let asked = asked.split_once('=').unwrap().1;
                let (host, port) = asked.trim_start_matches("mtls://").rsplit_once(':').unwrap();
                let service = of(&objects, "Service", host.split('.').next().unwrap());
                assert_eq!(service["spec"]["ports"][0]["port"].to_string(), port);
            }
        }
    }
    let secret = of(&helm.render(VALUES[3]), "Secret", "gate-redis").clone();
    assert!(secret["data"]["url"].is_string());
    let images = helm.render(VALUES[3]);
    let image = |server| container(&images, server).unwrap()["image"].as_str().unwrap().to_owned();
    let digest = "a".repeat(64);
    assert_eq!(image("extauth"), format!("mirror.example/images/waykeeper/extauth@sha256:{digest}"));
    assert_eq!(image("waypoint"), "mirror.example/images/waykeeper/waypoint:v9");
}

#[test]
fn a_value_that_would_do_something_else_than_it_says_is_refused() {
    let helm = Helm::of("/nowhere".into());
    let template = ["template", "waykeeper", "waykeeper", "--kube-version", "v1.36.3"];
    for (values, said) in [
        ("{extuath: {}}", "extuath"),
        ("{extauth: {replica: 3}}", "replica"),
        ("{extauth: {image: {tags: x}}}", "tags"),
        ("{extauth: {secretNamespaces: keys}}", "secretNamespaces"),
        ("{extauth: {secretNamespaces: [Keys]}}", "secretNamespaces"),
        ("{waypoint: {redis: {}}}", "redis"),
        ("{networkPolicy: {enabled: 'no'}}", "networkPolicy"),
        ("{image: {pullPolicy: Sometimes}}", "pullPolicy"),
        ("{ratelimit: {image: {digest: abc}}}", "digest"),
        ("{bindAddress: 127.0.0.1}", "bindAddress"),
        // What no schema can say.
        ("{ratelimit: {replicas: 2}}", "several replicas need a Redis"),
        ("{ratelimit: {autoscaling: {enabled: true}}}", "several replicas need a Redis"),
        ("{ratelimit: {redis: {existingSecret: {name: a}, embedded: {enabled: true}}}}", "two Redis"),
        ("{metrics: {serviceMonitor: {enabled: true}}}", "metrics.enabled"),
        ("{metrics: {enabled: true}}", "metricsFrom"),
        ("{extauth: {tlsSecret: a}}", "waypoint.extauth"),
        ("{gateways: {deploy: false}, waypoint: {identity: certificate}}", "waypoint.tlsSecret"),
        ("{networkPolicy: {alsoFrom: [{namespaceSelector: {}}]}}", "extauth refuses it"),
        ("{networkPolicy: {alsoFrom: [{namespaceSelector: {}}]}, extauth: {enabled: false}}", "ratelimit refuses it"),
        ("{mutualTls: maybe}", "mutualTls"),
        ("{waypoint: {identity: certificate}}", "gateways.deploy"),
        ("{waypoint: {identity: passport}}", "identity"),
        ("{gateways: {replicas: 2}}", "replicas"),
    ] {
        let stderr = helm.fails(&template, values);
        assert!(stderr.contains(said), "{values}: {stderr}");
    }
    let stderr = helm
        .fails(&["template", "crds", "waykeeper-crds", "--kube-version", "v1.36.3"], "{groups: {gloo.solo.io: true}}");
    assert!(stderr.contains("gloo.solo.io"), "{stderr}");
}

/// The rules of all ClusterRoles and Roles, by the server whose they are.
fn rules(objects: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for role in objects.iter().filter(|one| one["kind"] == "ClusterRole" || one["kind"] == "Role") {
        let server = role["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap();
        let own = found.entry(server.to_owned()).or_default();
        own.extend(role["rules"].as_array().unwrap().iter().map(Value::to_string));
        own.sort();
    }
    found
}

/// `deploy/rbac` is held to what the servers ask for by a test beside the code; here the chart is held to `deploy/rbac`.
#[test]
fn the_rights_are_those_that_the_servers_ask_for_and_no_others() {
    let helm = Helm::of("/nowhere".into());
    let rendered = rules(&helm.render("{}"));
    let published = |name: &str| {
        let text = fs::read_to_string(root().join("deploy/rbac").join(format!("{name}.yaml"))).unwrap();
        objects(&text).iter().flat_map(|role| role["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let wanted = |files: &[&str]| {
        let files = files.iter().chain(&["leases", "events"]);
        let mut wanted: Vec<String> = files.flat_map(|file| published(file)).map(|rule| rule.to_string()).collect();
        wanted.sort();
        wanted
    };
    for (rendered, of_waypoint) in [
        (rendered, &["xds", "deployer", "authority"][..]),
        (rules(&helm.render("{gateways: {deploy: false}}")), &["xds", "authority"]),
        (rules(&helm.render("{waypoint: {tlsSecret: a}}")), &["xds", "deployer", "authority"]),
        (rules(&helm.render("{waypoint: {tlsSecret: a}, mutualTls: false}")), &["xds", "deployer"]),
        (
            rules(&helm.render(
                "{gateways: {deploy: false}, mutualTls: false, waypoint: {identity: certificate, tlsSecret: a}}",
            )),
            &[],
        ),
    ] {
        assert_eq!(rendered["waypoint"], wanted(&[&["waypoint"], of_waypoint].concat()), "{of_waypoint:?}");
        for server in ["extauth", "ratelimit"] {
            assert_eq!(rendered[server], wanted(&[server]), "{server} {of_waypoint:?}");
        }
    }
    // To write statuses to the objects themselves takes a right of its own.
    let on_objects = rules(&helm.render("{statuses: {onObjects: true}}"));
    assert_eq!(on_objects["waypoint"], wanted(&["waypoint", "xds", "deployer", "authority", "waypoint-on-objects"]));
    assert_eq!(on_objects["extauth"], wanted(&["extauth", "extauth-on-objects"]));
    assert_eq!(on_objects["ratelimit"], wanted(&["ratelimit"]));
    // Secrets of all namespaces, or of those that are named.
    let bindings = |objects: &[Value]| -> Vec<(String, String)> {
        let of_secrets = |one: &&Value| one["roleRef"]["name"].as_str().is_some_and(|name| name.ends_with("-secrets"));
        let text = |one: &Value, field: &str| one["metadata"][field].as_str().unwrap_or_default().to_owned();
        objects
            .iter()
            .filter(of_secrets)
            .map(|one| (one["kind"].as_str().unwrap().into(), text(one, "namespace")))
            .collect()
    };
    assert_eq!(bindings(&helm.render("{}")), [("ClusterRoleBinding".to_owned(), String::new())]);
    let narrow = helm.render("{extauth: {secretNamespaces: [keys, more]}}");
    let wanted = ["keys", "more"].map(|namespace| ("RoleBinding".to_owned(), namespace.to_owned()));
    assert_eq!(bindings(&narrow), wanted);
    assert!(
        strings(&container(&narrow, "extauth").unwrap()["args"]).contains(&"--secret-namespaces=keys,more".to_owned())
    );
}

/// The control plane of the first release, which listens at `grpc`, is known by its certificate under the name that
/// Envoys are told, and makes the pods of a Gateway.
fn pods_are_made(cluster: &Cluster, grpc: &str, dir: &Path) {
    let authority =
        cluster.call("GET", "/api/v1/namespaces/install-0/secrets/waykeeper-waypoint-authority", None).json();
    let ca = dir.join("authority.crt");
    fs::write(&ca, decoded(authority["data"]["ca.crt"].as_str().unwrap())).unwrap();
    let (host, port) = ("waykeeper-waypoint.install-0.svc.cluster.local", grpc.rsplit_once(':').unwrap().1);
    let trusted = |host: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "--noproxy", "*", "--max-time", "10", "--cacert", ca.to_str().unwrap()]);
        curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")]);
        curl.output().unwrap()
    };
    assert!(trusted(host).status.success(), "{:?}", trusted(host));
    assert_eq!(trusted("other.example").status.code(), Some(60), "{:?}", trusted("other.example"));

    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: w, namespace: keys}\n";
    cluster.apply(&format!(
        "{gateway}spec:\n  gatewayClassName: gloo-waypoint\n  \
         listeners: [{{name: proxy, port: 15088, protocol: istio.io/PROXY}}]\n"
    ));
    let made = eventually("the pods of a Gateway", READY, || {
        let answer = cluster.call("GET", "/apis/apps/v1/namespaces/keys/deployments/gloo-proxy-w", None);
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.body) }
    });
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "waykeeper/proxy:0.1.0");
    assert!(container["args"].to_string().contains(&format!("{host}:9977")), "{container}");
    pods_are_let_in(cluster, &[made], "keys");
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: gloo-waypoint}\n";
    eventually("the class", READY, || match cluster.get(class) {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.body),
    });
    let said = check(&cluster.admin(None), &["-n", "install-0"], 1);
    assert!(said.contains("‼ Gateway keys/w does not serve: "), "{said}");
    cluster.delete(gateway);
}

/// What `waykeeper check` prints.
fn check(kubeconfig: &Path, args: &[&str], code: i32) -> String {
    let mut command = Command::new(binary("waykeeper"));
    command.arg("check").args(args).args(["--kubeconfig", kubeconfig.to_str().unwrap()]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `waykeeper check` of the first release, of which each server has held its Lease.
fn checked_installation(cluster: &Cluster, helm: &Helm) {
    let own = ["-n", "install-0"];
    let said = check(&helm.kubeconfig, &own, 1);
    let cure = "\n    kubectl -n install-0 describe pods -l app.kubernetes.io/component=extauth\n";
    assert!(said.contains(&format!("✘ Deployment install-0/waykeeper-extauth: 0 of 2 pods are ready{cure}")), "{said}");
    // Nobody starts pods here: it is said that they are ready.
    for (server, replicas) in [("extauth", 2), ("ratelimit", 1), ("waypoint", 2)] {
        let status = json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
                            "readyReplicas": replicas, "availableReplicas": replicas});
        let path = format!("/apis/apps/v1/namespaces/install-0/deployments/waykeeper-{server}/status");
        let patch = json!({"status": status}).to_string();
        let answer = cluster.call("PATCH", &path, Some(("application/merge-patch+json", &patch)));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let said = check(&helm.kubeconfig, &own, 0);
    for wanted in [
        "✔ Deployment install-0/waykeeper-extauth: 2 of 2 pods are ready",
        "✔ extauth (system:serviceaccount:install-0:waykeeper-extauth) may do all that is needed",
        "✔ ratelimit (system:serviceaccount:install-0:waykeeper-ratelimit) may do all that is needed",
        "✔ waypoint (system:serviceaccount:install-0:waykeeper-waypoint) may do all that is needed",
        "✔ authconfigs.enterprise.gloo.solo.io is Waykeeper's, of this version",
        "✔ GatewayClass gloo-waypoint is Waykeeper's",
        " writes statuses\n",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    assert!(!said.contains('✘') && said.matches('‼').count() == 1, "{said}");
    check(&helm.kubeconfig, &[&own[..], &["--strict"]].concat(), 1);
    let read: Value = serde_json::from_str(&check(&helm.kubeconfig, &[&own[..], &["-o", "json"]].concat(), 0)).unwrap();
    assert_eq!((&read["success"], &read["categories"][0]["checks"][0]["result"]), (&json!(true), &json!("success")));
    let everywhere = check(&helm.kubeconfig, &[], 1);
    assert!(
        everywhere.contains("install-0/waykeeper-extauth") && everywhere.contains("install-3/gate-extauth"),
        "{everywhere}"
    );
    // `helm test` does the same, with rights of its own that go as far as that.
    let hooks = objects(&helm.done(&["get", "hooks", "waykeeper", "-n", "install-0"], ""));
    let of_hook = |kind: &'static str| hooks.iter().filter(move |one| one["kind"] == kind);
    let rights = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    rights.into_iter().flat_map(of_hook).for_each(|one| cluster.apply(&one.to_string()));
    let pod = of_hook("Pod").next().unwrap();
    let path = "/api/v1/namespaces/install-0/pods?dryRun=All&fieldValidation=Strict";
    assert_eq!(cluster.call("POST", path, Some(("application/json", &pod.to_string()))).status, 201);
    let args = strings(&pod["spec"]["containers"][0]["args"]);
    let args: Vec<&str> = args[1..].iter().map(String::as_str).collect();
    let account = cluster.service_account("install-0", "waykeeper-check", None);
    let tested = check(&account, &args, 0);
    assert_eq!(tested.lines().skip(2).collect::<Vec<_>>(), said.lines().skip(2).collect::<Vec<_>>());
    rights.into_iter().flat_map(of_hook).for_each(|one| cluster.delete(&one.to_string()));

    // A right of one namespace is asked about in it, and one that is missing is named.
    let said = check(&helm.kubeconfig, &["-n", "install-3"], 1);
    assert!(said.contains("✔ extauth (system:serviceaccount:install-3:gate-extauth) may do"), "{said}");
    let binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
                   metadata: {name: waykeeper.install-0-extauth-secrets}\n";
    cluster.delete(binding);
    eventually("a word of it", READY, || {
        let output = Command::new(binary("waykeeper"))
            .args(["check", "-n", "install-0", "--kubeconfig", helm.kubeconfig.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains("waykeeper-extauth) may not list secrets, watch secrets\n") { Ok(()) } else { Err(said) }
    });
}

fn namespace(cluster: &Cluster, name: &str) {
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n    pod-security.kubernetes.io/enforce-version: latest\n"
    ));
}

/// The pods of all Deployments and StatefulSets are let into a namespace for restricted ones.
fn pods_are_let_in(cluster: &Cluster, objects: &[Value], namespace: &str) {
    let mut seen = 0;
    for one in objects.iter().filter(|one| one["kind"] == "Deployment" || one["kind"] == "StatefulSet") {
        let mut pod = one["spec"]["template"].clone();
        (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
        pod["metadata"]["name"] = one["metadata"]["name"].clone();
        if one["kind"] == "StatefulSet" && one["spec"]["volumeClaimTemplates"].is_array() {
            let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
            pod["spec"]["volumes"].as_array_mut().unwrap().push(claim);
        }
        // Its class is somebody else's.
        pod["spec"].as_object_mut().unwrap().remove("priorityClassName");
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict");
        let answer = cluster.call("POST", &path, Some(("application/json", &pod.to_string())));
        assert_eq!(answer.status, 201, "{}: {answer:?}", one["metadata"]["name"]);
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn a_real_api_server_takes_what_is_rendered_and_refuses_what_is_somebody_elses() {
    let _turn = turn();
    let cluster = Cluster::start();
    let helm = Helm::of(cluster.admin(None));
    let dir = TempDir::new().unwrap();

    // Before anything is there it is told what is missing, and whether one may install.
    let said = check(&helm.kubeconfig, &["--pre"], 1);
    assert!(said.contains("✔ whoever installs into namespace default may do all that is needed"), "{said}");
    assert!(said.contains("✘ httproutes.gateway.networking.k8s.io is not there\n    install Gateway API's"), "{said}");
    gateway_crds(&cluster);
    let said = check(&helm.kubeconfig, &["--pre", "--strict"], 0);
    assert!(said.contains("routeoptions.gateway.solo.io is not there, and nobody else's"), "{said}");
    assert!(said.ends_with("Status check results are ✔\n"), "{said}");
    let nobody = cluster.service_account("default", "nobody", None);
    let said = check(&nobody, &["--pre"], 1);
    assert!(said.contains("may not create customresourcedefinitions.apiextensions.k8s.io, "), "{said}");
    assert!(said.contains("‼ routeoptions.gateway.solo.io cannot be looked at: "), "{said}");
    let said = check(&cluster.admin(Some(free_port())), &["--pre"], 1);
    assert!(said.contains("does not answer") && !said.contains("Gateway API"), "{said}");

    // Definitions of another owner stay as they are, and nothing beside them is installed.
    let crds = files("deploy/crds");
    let of_group = |group: &str| crds.iter().find(|text| text.contains(&format!("\n  group: {group}\n"))).unwrap();
    let mut gloo: Value = serde_norway::from_str(of_group("gateway.solo.io")).unwrap();
    gloo["spec"]["versions"][0].as_object_mut().unwrap().remove("subresources");
    let theirs = &gloo.to_string();
    cluster.define(theirs);
    let said = check(&helm.kubeconfig, &["--pre"], 0);
    assert!(said.contains("‼ routeoptions.gateway.solo.io is another owner's, such as Gloo's: no status"), "{said}");
    let version = || cluster.get(theirs).json()["metadata"]["resourceVersion"].to_string();
    let before = version();
    let install = ["install", "crds", "waykeeper-crds", "-n", "default"];
    let said = helm.fails(&install, "");
    assert!(said.contains("routeoptions.gateway.solo.io") && said.contains("invalid ownership metadata"), "{said}");
    assert_eq!((version(), cluster.get(of_group("ratelimit.solo.io")).status), (before.clone(), 404));
    helm.done(
        &["install", "crds", "waykeeper-crds", "-n", "default"],
        "{groups: {gateway.solo.io: false}, admission: true}",
    );
    assert_eq!(version(), before);
    // Ours are as published, and stay when the release goes; another one takes them up again.
    let stored = |crd: &str| cluster.get(crd).json();
    for crd in crds.iter().filter(|text| *text != of_group("gateway.solo.io")) {
        let wanted: Value = serde_norway::from_str(crd).unwrap();
        let schema = |one: &Value| one["spec"]["versions"][0]["schema"].clone();
        assert_eq!(schema(&stored(crd)), schema(&wanted), "{}", wanted["metadata"]["name"]);
    }
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    assert_eq!(cluster.call("GET", policies, None).json()["items"].as_array().unwrap().len(), 3);
    helm.done(&["uninstall", "crds", "-n", "default"], "");
    assert_eq!(cluster.call("GET", policies, None).json()["items"].as_array().unwrap().len(), 0);
    for crd in &crds {
        assert_eq!(cluster.get(crd).status, 200);
    }
    helm.done(&["install", "crds", "waykeeper-crds", "-n", "default"], "{groups: {gateway.solo.io: false}}");

    // Every value set, as a release of its own, beside the others.
    cluster.define(&lax_crd("ServiceMonitor", "monitoring.coreos.com", "v1", "Namespaced"));
    for name in ["keys", "more-keys"] {
        namespace(&cluster, name);
    }
    for (number, values) in VALUES.iter().enumerate() {
        let own = format!("install-{number}");
        namespace(&cluster, &own);
        let said = helm.run(&["install", "waykeeper", "waykeeper", "-n", &own], values);
        let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success() && !stderr.contains("would violate PodSecurity"), "{values}: {stderr}");
        let manifest = helm.done(&["get", "manifest", "waykeeper", "-n", &own], "");
        pods_are_let_in(&cluster, &objects(&manifest), &own);
    }
    let class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: own}\n";
    assert_eq!(cluster.get(class).json()["spec"]["controllerName"], "waykeeper.dev/gateway-controller");

    // Upgrades keep the password that was made.
    let secrets = || {
        let all = cluster.call("GET", "/api/v1/namespaces/install-5/secrets", None).json();
        let made = all["items"].as_array().unwrap().iter().filter(|one| one["type"] != "helm.sh/release.v1");
        made.map(|one| (one["metadata"]["name"].to_string(), one["data"].clone())).collect::<BTreeMap<_, _>>()
    };
    let made = secrets();
    assert_eq!(made.len(), 1, "{:?}", made.keys());
    helm.done(
        &["upgrade", "waykeeper", "waykeeper", "-n", "install-5", "--set", "waypoint.makeClass=false"],
        VALUES[5],
    );
    assert_eq!(secrets(), made);

    // Each server runs with what the release gives it: its arguments, and the rights of its ServiceAccount.
    let manifest = objects(&helm.done(&["get", "manifest", "waykeeper", "-n", "install-0"], ""));
    // The one first that makes what the others mount.
    for server in ["waypoint", "extauth", "ratelimit"] {
        let tls = mounted(&cluster, &manifest, server, dir.path());
        let kubeconfig = cluster.service_account("install-0", &format!("waykeeper-{server}"), None);
        let (grpc, admin, log) = (free(), free(), dir.path().join(server));
        let given = strings(&container(&manifest, server).unwrap()["args"]);
        let given = given.into_iter().filter(|one| !one.starts_with("--grpc=") && !one.starts_with("--admin="));
        let mut args: Vec<String> = given.map(|one| one.replace("/etc/waykeeper/tls", &tls)).collect();
        args.extend(["--own-namespace", "install-0", "--grpc", &grpc, "--admin", &admin].map(str::to_owned));
        args.extend(["--kubeconfig".to_owned(), kubeconfig.display().to_string()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let _server = start(&binary(server), &args, &log);
        let page = |path: &str| Curl::to(&format!("http://{admin}{path}")).send();
        let logged = || fs::read_to_string(&log).unwrap();
        eventually(server, READY, || match page("/readyz") {
            reply if reply.status == 200 && !reply.body.contains("not ") => Ok(()),
            reply => Err(format!("{reply:?}\n{}", logged())),
        });
        eventually("the Lease", READY, || {
            let metrics = page("/metrics").body;
            let leads = metrics.lines().any(|line| line == "waykeeper_kubernetes_leading 1");
            if leads { Ok(()) } else { Err(format!("{}\n{}", page("/readyz").body, logged())) }
        });
        if server == "waypoint" {
            pods_are_made(&cluster, &grpc, dir.path());
            for secret in ["waykeeper-extauth-tls", "waykeeper-ratelimit-tls"] {
                eventually(secret, READY, || {
                    let path = format!("/api/v1/namespaces/install-0/secrets/{secret}");
                    let answer = cluster.call("GET", &path, None);
                    if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}\n{}", logged())) }
                });
            }
        } else {
            // Whoever shows no certificate is not answered.
            let host = format!("waykeeper-{server}.install-0.svc.cluster.local");
            let port = grpc.rsplit_once(':').unwrap().1;
            let (to, ca) = (format!("{host}:{port}:127.0.0.1"), format!("{tls}/ca.crt"));
            let args = ["--http2", "--tls-max", "1.2", "--resolve", &to, "--cacert", &ca];
            let reply = Curl::to(&format!("https://{host}:{port}/")).args(&args).send();
            assert!(reply.error.as_ref().is_some_and(|why| why.contains("alert")), "{reply:?}");
        }
    }
    checked_installation(&cluster, &helm);

    // What is said of Secrets of other namespaces is not theirs to know.
    let narrow = cluster.service_account("install-3", "gate-extauth", None);
    let log = dir.path().join("narrow");
    let (grpc, admin) = (free(), free());
    let args = ["--kubernetes", "--kubeconfig", narrow.to_str().unwrap(), "--grpc", &grpc, "--admin", &admin];
    let _narrow = start(&binary("extauth"), &args, &log);
    eventually("a refusal", READY, || {
        let reply = Curl::to(&format!("http://{admin}/readyz")).send();
        if reply.status == 503 && reply.body.contains("secrets") && reply.body.contains("403") {
            Ok(())
        } else {
            Err(format!("{reply:?}"))
        }
    });

    // What was installed goes, and nothing stays.
    for number in 0..VALUES.len() {
        helm.done(&["uninstall", "waykeeper", "-n", &format!("install-{number}")], "");
    }
    for list in [
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/statefulsets",
        "/api/v1/services",
        "/api/v1/secrets",
        "/api/v1/serviceaccounts",
        "/apis/rbac.authorization.k8s.io/v1/roles",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/networking.k8s.io/v1/networkpolicies",
        "/apis/policy/v1/poddisruptionbudgets",
        "/apis/autoscaling/v2/horizontalpodautoscalers",
        "/apis/monitoring.coreos.com/v1/servicemonitors",
        "/apis/gateway.networking.k8s.io/v1/gatewayclasses",
        "/api/v1/pods",
    ] {
        let left =
            cluster.call("GET", &format!("{list}?labelSelector=app.kubernetes.io/managed-by%3DHelm"), None).json();
        assert_eq!(left["items"], json!([]), "{list}");
    }
}

/// The embedded Redis takes what it is given, and answers to whoever has the password of the URL alone.
#[test]
fn the_embedded_redis_asks_for_the_password_that_ratelimit_has() {
    let helm = Helm::of("/nowhere".into());
    let dir = TempDir::new().unwrap();
    for values in [VALUES[3], VALUES[5]] {
        let rendered = helm.render(values);
        let secret = rendered.iter().find(|one| one["kind"] == "Secret" && one["data"]["url"].is_string()).unwrap();
        let text = |key: &str| String::from_utf8(decoded(secret["data"][key].as_str().unwrap())).unwrap();
        let (config, port) = (dir.path().join("redis.conf"), free_port().to_string());
        fs::write(&config, text("redis.conf").replace("/data", dir.path().to_str().unwrap())).unwrap();
        let own = [config.to_str().unwrap(), "--port", &port, "--bind", "127.0.0.1"];
        let program = on_path("redis-server").expect("redis-server is missing: apt-get install redis-server");
        let _redis = start(&program, &own, &dir.path().join("redis"));
        let ask = |password: &str| {
            let mut command = Command::new("redis-cli");
            let output = command.args(["-p", &port, "ping"]).env("REDISCLI_AUTH", password).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        let password = text("password");
        eventually("Redis", READY, || match ask(&password) {
            answer if answer.trim() == "PONG" => Ok(()),
            answer => Err(answer),
        });
        assert!(ask("").contains("NOAUTH"));
        let service = rendered.iter().find(|one| {
            one["kind"] == "Service" && one["metadata"]["labels"]["app.kubernetes.io/component"] == "redis"
        });
        let name = service.unwrap()["metadata"]["name"].as_str().unwrap();
        assert!(text("url").starts_with(&format!("redis://:{password}@{name}.waykeeper.svc.")), "{}", text("url"));
        assert!(text("url").ends_with(":6379"));
    }
}

/// One of several Redis, or the Sentinel beside it, as its pod would run it: at an address of its own, by its own name.
struct Peer<'a> {
    dir: &'a Path,
    env: &'a BTreeMap<String, String>,
    number: usize,
}

impl Peer<'_> {
    fn begin(&self, what: &str) -> waykeeper_tests::parts::Process {
        let (dir, home) = (self.dir.display(), self.dir.join(format!("{what}-{}", self.number)));
        fs::create_dir_all(&home).unwrap();
        let script = format!(
            "hostname waykeeper-redis-{} && mount --bind {dir}/hosts /etc/hosts && mount --bind {dir}/etc /etc/redis || exit 1
            exec sh /etc/redis/begin.sh {what} --bind 127.0.60.{} --dir {} --protected-mode no",
            self.number,
            self.number + 1,
            home.display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--uts", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
        command.envs(self.env).env("HOME_DIR", &home).stdin(Stdio::null());
        let log = fs::File::create(self.dir.join(format!("{what}-{}.log", self.number))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        waykeeper_tests::parts::Process(command.spawn().unwrap())
    }

    fn ask(&self, port: &str, words: &[&str]) -> String {
        let host = format!("127.0.60.{}", self.number + 1);
        let mut command = Command::new("redis-cli");
        command.args(["-h", &host, "-p", port]).args(words).env("REDISCLI_AUTH", &self.env["REDISCLI_AUTH"]);
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

/// The script and the settings that the chart gives to the pods, on this machine.
#[test]
fn of_several_embedded_redis_the_sentinels_choose_another_when_one_is_lost() {
    let _turn = turn();
    let rendered = Helm::of("/nowhere".into())
        .render("{ratelimit: {redis: {embedded: {enabled: true, mode: sentinel}}, replicas: 2}}");
    let dir = TempDir::new().unwrap();
    let secret = rendered.iter().find(|one| one["kind"] == "Secret" && one["data"]["url"].is_string()).unwrap();
    let text = |key: &str| String::from_utf8(decoded(secret["data"][key].as_str().unwrap())).unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    for key in ["redis.conf", "sentinel.conf", "begin.sh"] {
        let own = text(key)
            .lines()
            .filter(|line| !line.starts_with("dir "))
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        fs::write(dir.path().join("etc").join(key), own).unwrap();
    }
    let set = rendered.iter().find(|one| one["kind"] == "StatefulSet").unwrap();
    let containers = set["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), ["redis", "sentinel"]);
    let said = containers[1]["env"].as_array().unwrap().iter();
    let mut env: BTreeMap<String, String> =
        said.filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"].as_str()?.to_owned()))).collect();
    env.insert("REDISCLI_AUTH".to_owned(), text("password"));
    let names: Vec<String> = env["PEERS"].split(' ').map(|peer| format!("{peer}.{}", env["DOMAIN"])).collect();
    let hosts = names.iter().enumerate().map(|(at, name)| format!("127.0.60.{} {name}\n", at + 1)).collect::<String>();
    fs::write(dir.path().join("hosts"), format!("127.0.0.1 localhost\n{hosts}")).unwrap();

    let peers: Vec<Peer<'_>> = (0..3).map(|number| Peer { dir: dir.path(), env: &env, number }).collect();
    let logs = || {
        let all = ["redis", "sentinel"].map(|what| {
            (0..3)
                .map(|at| fs::read_to_string(dir.path().join(format!("{what}-{at}.log"))).unwrap_or_default())
                .collect::<String>()
        });
        all.concat()
    };
    let mut redis: Vec<_> = peers.iter().map(|peer| Some(peer.begin("redis"))).collect();
    let replicas = |peer: &Peer<'_>, count: usize| {
        eventually("replicas", READY, || match peer.ask("6379", &["info", "replication"]) {
            said if said.contains(&format!("role:master\r\nconnected_slaves:{count}")) => Ok(()),
            said => Err(format!("{said}\n{}", logs())),
        });
    };
    replicas(&peers[0], 2);
    let sentinels: Vec<_> = peers.iter().map(|peer| peer.begin("sentinel")).collect();
    let master = |peer: &Peer<'_>| peer.ask("26379", &["sentinel", "get-master-addr-by-name", &env["NAME"]]);
    for peer in &peers {
        eventually("a quorum", READY, || match peer.ask("26379", &["sentinel", "ckquorum", &env["NAME"]]) {
            said if said.starts_with("OK 3 usable Sentinels") => Ok(()),
            said => Err(format!("{said}\n{}", logs())),
        });
        assert!(master(peer).starts_with(&names[0]), "{}", master(peer));
    }
    // Nobody without the password is told anything, or tells anything.
    let mut anyone = Command::new("redis-cli");
    let said =
        anyone.args(["-h", "127.0.60.1", "-p", "26379", "sentinel", "masters"]).env_remove("REDISCLI_AUTH").output();
    assert!(String::from_utf8_lossy(&said.unwrap().stdout).contains("NOAUTH"));

    redis[0] = None;
    let found = eventually("another master", Duration::from_secs(60), || match master(&peers[1]) {
        said if !said.starts_with(&names[0]) && said.contains(&env["DOMAIN"]) => Ok(said),
        said => Err(format!("{said}\n{}", logs())),
    });
    let now = peers.iter().position(|peer| found.starts_with(&names[peer.number])).unwrap();
    assert_ne!(now, 0);
    // It comes back as one of those that copy, which the script found out by itself, and no Sentinel counts it twice.
    redis[0] = Some(peers[0].begin("redis"));
    replicas(&peers[now], 2);
    assert!(peers[0].ask("6379", &["role"]).starts_with("slave"), "{}", logs());
    drop(sentinels);
    let _again: Vec<_> = peers.iter().map(|peer| peer.begin("sentinel")).collect();
    eventually("the same quorum", READY, || match peers[2].ask("26379", &["sentinel", "ckquorum", &env["NAME"]]) {
        said if said.starts_with("OK 3 usable Sentinels") => Ok(()),
        said => Err(format!("{said}\n{}", logs())),
    });
    // What ratelimit is told names them all.
    let (url, ports) = (text("url"), names.iter().map(|name| format!("{name}:26379")).collect::<Vec<_>>().join(","));
    assert_eq!(url, format!("redis+sentinel://:{}@{}/waykeeper", text("password"), ports));
}

/// What a server of the first release mounts of a Secret, in a folder.
fn mounted(cluster: &Cluster, manifest: &[Value], server: &str, dir: &Path) -> String {
    let folder = dir.join(format!("mounted-{server}"));
    fs::create_dir(&folder).unwrap();
    let deployment = of(manifest, "Deployment", &format!("waykeeper-{server}"));
    for volume in deployment["spec"]["template"]["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = volume["secret"]["secretName"].as_str().unwrap();
        let secret = cluster.call("GET", &format!("/api/v1/namespaces/install-0/secrets/{name}"), None).json();
        for item in volume["secret"]["items"].as_array().unwrap() {
            let (key, path) = (item["key"].as_str().unwrap(), item["path"].as_str().unwrap());
            fs::write(folder.join(path), decoded(secret["data"][key].as_str().unwrap())).unwrap();
        }
    }
    folder.display().to_string()
}

fn decoded(base64: &str) -> Vec<u8> {
    let mut child =
        Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), base64.as_bytes()).unwrap();
    child.wait_with_output().unwrap().stdout
}
