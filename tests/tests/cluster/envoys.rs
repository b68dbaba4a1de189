//! Envoys of Gateways in a cluster: by which token they get what, and how one runs in a pod.

use serde_json::json;
use waykeeper_tests::alone::envoy;

use super::*;

/// For whom the tokens are that Envoys show.
pub const AUDIENCE: &str = "xds.waykeeper.dev";

/// A certificate for `localhost`, its key and who signed it, in a folder.
pub struct Certificates(PathBuf);

impl Certificates {
    pub fn new(dir: &Path) -> Certificates {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "who signs");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let this = Certificates(dir.to_owned());
        fs::write(this.at("ca.crt"), authority.pem()).unwrap();
        fs::write(this.at("tls.crt"), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(this.at("tls.key"), key.serialize_pem()).unwrap();
        this
    }

    pub fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// The process of a pod; it ends with the test, and its Envoy with it.
pub struct Pod {
    process: Process,
    admin: String,
    log: PathBuf,
}

impl Pod {
    /// `waypoint proxy` with these arguments; `name` tells its files from those of others.
    pub fn start(dir: &Path, name: &str, args: &[&str]) -> Pod {
        let (admin, log, run) = (free(), dir.join(name), dir.join(format!("{name}.run")).display().to_string());
        let (program, envoy) = (binary("waypoint").display().to_string(), envoy().display().to_string());
        let own = ["--pid", "--fork", "--kill-child", &program, "proxy", "--admin", &admin, "--run-dir", &run];
        let own = [&own[..], &["--envoy", &envoy, "--concurrency", "1"], args].concat();
        Pod { process: start(Path::new("unshare"), &own, &log), admin, log }
    }

    /// The same in a network of its own, which reaches ours at 10.245.NUMBER.1 and is reached at 10.245.NUMBER.2: several
    /// Envoys of one Gateway listen at the same address.
    pub fn with_a_network(dir: &Path, number: u8, args: &[&str]) -> Pod {
        let (log, run) =
            (dir.join(format!("pod-{number}")), dir.join(format!("pod-{number}.run")).display().to_string());
        let (program, envoy) = (binary("waypoint").display().to_string(), envoy().display().to_string());
        let (here, there, admin) = (format!("out{number}"), format!("in{number}"), format!("10.245.{number}.2:15021"));
        let ip = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let status = std::process::Command::new("ip")
                .args(&words)
                .status()
                .expect("ip is missing: apt-get install iproute2");
            assert!(status.success(), "ip {line}");
        };
        ip(&format!("link add {here} type veth peer name {there}"));
        ip(&format!("addr add 10.245.{number}.1/24 dev {here}"));
        ip(&format!("link set {here} up"));
        let script = format!(
            "ip link set lo up; until ip link set {there} up 2> /dev/null; do sleep 0.05; done
            ip addr add 10.245.{number}.2/24 dev {there}
            exec {program} proxy --admin {admin} --run-dir {run} --envoy {envoy} --concurrency 1 {}",
            args.join(" ")
        );
        let process =
            start(Path::new("unshare"), &["--net", "--pid", "--fork", "--kill-child", "sh", "-c", &script], &log);
        let network = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).map_err(|error| error.to_string());
        let ours = network("self").unwrap();
        eventually("its network", CHANGE, || match network(&process.0.id().to_string())? {
            its if its != ours => Ok(()),
            _ => Err("it has ours".to_owned()),
        });
        ip(&format!("link set {there} netns {}", process.0.id()));
        Pod { process, admin, log }
    }

    /// One of the Gateway `t/NAME`, with this token.
    pub fn of(dir: &Path, gateway: &str, token: &str, xds: &str, ca: &str) -> Pod {
        let name = format!("pod-{gateway}-{}", free().rsplit(':').next().unwrap());
        let file = dir.join(format!("{name}.token"));
        fs::write(&file, token).unwrap();
        let (gateway, xds) = (format!("t/{gateway}"), xds.replace("127.0.0.1", "localhost"));
        let args = ["--gateway", &gateway, "--xds", &xds, "--ca", ca, "--token", file.to_str().unwrap()];
        Pod::start(dir, &name, &args)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn page(&self, path: &str) -> (u16, String) {
        let reply = Curl::to(&format!("http://{}{path}", self.admin)).send();
        (reply.status, reply.body)
    }

    pub fn ready(&self) {
        eventually("a ready pod", RETURN, || match self.page("/readyz") {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}\n{}", self.log())),
        });
    }

    /// The process itself.
    fn child(&self) -> String {
        let parent = self.process.0.id();
        fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap().trim().to_owned()
    }

    /// Ends its Envoy alone, as a machine without memory would.
    pub fn kill_envoy(&self) {
        let child = self.child();
        let envoys = fs::read_to_string(format!("/proc/{child}/task/{child}/children")).unwrap();
        // Started by one of its threads.
        let threads = fs::read_dir(format!("/proc/{child}/task")).unwrap();
        let all = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default());
        let all: String = all.chain([envoys]).collect::<Vec<_>>().join(" ");
        let envoy = all.split_whitespace().next().unwrap();
        assert!(std::process::Command::new("kill").args(["-KILL", envoy]).status().unwrap().success());
    }

    /// Replaces a file below its /run, as a kubelet would.
    fn mount(&self, name: &str, text: &str) {
        let file = PathBuf::from(format!("/proc/{}/root/run/{name}", self.child()));
        let beside = file.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, file).unwrap();
    }

    /// SIGTERM to the process itself, which drains and ends well.
    pub fn stop(mut self) {
        let child = self.child();
        assert!(std::process::Command::new("kill").args(["-TERM", &child]).status().unwrap().success());
        let status = eventually("the end of the pod", Duration::from_secs(60), || {
            self.process.0.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "still running".into())
        });
        assert!(status.success(), "{status}: {}", self.log());
    }
}

pub fn gateway(name: &str, port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  \
         gatewayClassName: gloo-waypoint\n  listeners: [{{name: proxy, port: {port}, protocol: istio.io/PROXY}}]\n"
    )
}

pub fn programmed(status: &serde_json::Value) -> bool {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == "Programmed" && one["status"] == "True")
}

fn counted(server: &Server, metric: &str) -> f64 {
    let (_, metrics) = server.page("/metrics");
    metrics.lines().find_map(|line| line.strip_prefix(&format!("{metric} "))?.parse().ok()).unwrap_or_default()
}

pub fn bind(cluster: &Cluster, role: &str) {
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
         subjects: [{{kind: ServiceAccount, name: waypoint, namespace: default}}]\n"
    ));
}

#[test]
fn an_envoy_gets_what_the_token_of_its_service_account_is_good_for() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let certificates = Certificates::new(dir.path());
    namespace(&cluster);
    gateway_crds(&cluster);
    let kubeconfig = account(&cluster, "waypoint", None);
    let (cert, key) = (certificates.at("tls.crt"), certificates.at("tls.key"));
    let mut waypoint = Server::start("waypoint", &kubeconfig, dir.path(), &["--tls-cert", &cert, "--tls-key", &key]);
    waypoint.ready();
    let ports = [(); 2].map(|()| free().rsplit(':').next().unwrap().parse().unwrap());
    cluster.apply(&gateway("a", ports[0]));
    cluster.apply(&gateway("b", ports[1]));
    let token = |account: &str| cluster.token_for("t", account, AUDIENCE);
    let ca = certificates.at("ca.crt");
    let pod = |gateway: &str, token: &str| Pod::of(dir.path(), gateway, token, &waypoint.grpc, &ca);

    // Whoever asks about tokens needs the right to: without it, nobody is anybody.
    let first = pod("a", &token("gloo-proxy-a"));
    refused(&waypoint, 0.0, &first);
    assert!(waypoint.log().contains("a token cannot be reviewed"), "{}", waypoint.log());
    assert_eq!(first.page("/readyz").0, 503, "an Envoy that was told nothing serves nothing");
    assert_eq!(first.page("/livez").0, 200, "and is not killed for it");
    bind(&cluster, "waykeeper-waypoint-xds");
    first.ready();
    told(&cluster, &gateway("a", ports[0]), "programmed", programmed);
    let (_, stats) = first.page("/stats/prometheus");
    assert!(stats.contains("envoy_listener_manager"), "{stats}");

    // A token of another Gateway's ServiceAccount, one for another audience, and one that nobody made.
    let other = cluster.token("t", "gloo-proxy-b");
    let forged = format!("{}x", token("gloo-proxy-b"));
    for (what, wrong) in [("account", token("gloo-proxy-a")), ("audience", other), ("signature", forged)] {
        let before = counted(&waypoint, "waykeeper_xds_refused_streams_total");
        let stranger = pod("b", &wrong);
        refused(&waypoint, before, &stranger);
        assert_eq!(stranger.page("/readyz").0, 503, "{what}");
        assert!(!waypoint.log().contains(&wrong), "{what}: a token is in the log");
    }
    let status = cluster.get(&gateway("b", ports[1])).json()["status"].take();
    assert!(!programmed(&status), "{status}");
    let second = pod("b", &token("gloo-proxy-b"));
    second.ready();
    told(&cluster, &gateway("b", ports[1]), "programmed", programmed);

    // Of two replicas one serves Envoys, so that what they answer comes together in one place; when it leaves, the other.
    let own = ["--tls-cert", &cert, "--tls-key", &key];
    let standby = Server::start("waypoint", &kubeconfig, dir.path(), &own);
    standby.ready();
    let early = Pod::of(dir.path(), "b", &token("gloo-proxy-b"), &standby.grpc, &ca);
    eventually("it to be turned away", CHANGE, || match counted(&standby, "waykeeper_xds_turned_away_total") {
        count if count > 0.0 => Ok(()),
        count => Err(format!("{count}\n{}\n{}", standby.log(), early.log())),
    });
    assert_eq!(early.page("/readyz").0, 503);
    waypoint.stop(Duration::from_secs(20));
    early.ready();
    assert!(standby.page("/config").1.contains("\"envoys\":1"), "{}", standby.page("/config").1);
    early.stop();
    let waypoint = standby;

    // While the API server is away, who was let in stays, and whoever comes anew waits.
    cluster.kill_server();
    let before = counted(&waypoint, "waykeeper_xds_refused_streams_total");
    let late = Pod::of(dir.path(), "b", &token_of_nobody(), &waypoint.grpc, &ca);
    refused(&waypoint, before, &late);
    assert_eq!(late.page("/readyz").0, 503);
    assert_eq!(first.page("/readyz").0, 200);
    first.stop();
    second.stop();
}

/// The control plane has refused more streams than before.
/// What Envoys have taken is known to one that begins anew once they have come to it; until then it writes nothing else,
/// and if they do not come, not for ever.
#[test]
fn a_control_plane_that_begins_again_writes_no_status_that_stands() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let certificates = Certificates::new(dir.path());
    namespace(&cluster);
    gateway_crds(&cluster);
    for file in files("deploy/crds") {
        cluster.apply(&file);
    }
    let kubeconfig = account(&cluster, "waypoint", None);
    bind(&cluster, "waykeeper-waypoint-xds");
    let (cert, key) = (certificates.at("tls.crt"), certificates.at("tls.key"));
    let own = ["--tls-cert", cert.as_str(), "--tls-key", &key];
    let mut waypoint = Server::start("waypoint", &kubeconfig, dir.path(), &own);
    waypoint.ready();
    let gateway = gateway("a", free().rsplit(':').next().unwrap().parse().unwrap());
    cluster.apply(&gateway);
    cluster.apply(&mutual::service("192.0.2.1"));
    let routes: Vec<String> = (0..3).map(routed).collect();
    routes.iter().for_each(|route| cluster.apply(route));
    let option = gloo(
        "RouteOption",
        "o",
        "{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r0}], options: {timeout: 5s}}",
    );
    cluster.apply(&option);
    let token = cluster.token_for("t", "gloo-proxy-a", AUDIENCE);
    let pod = Pod::of(dir.path(), "a", &token, &waypoint.grpc, &certificates.at("ca.crt"));
    pod.ready();
    told(&cluster, &gateway, "programmed", programmed);
    for route in &routes {
        told(&cluster, route, "programmed", |status| programmed(&status["parents"][0]));
    }
    let accepted = |status: &serde_json::Value| status["statuses"]["default"]["state"] == "Accepted";
    told(&cluster, &option, "accepted", accepted);
    let all: Vec<&String> = routes.iter().chain([&gateway, &option]).collect();
    let versions = || -> Vec<String> {
        all.iter().map(|object| cluster.get(object).json()["metadata"]["resourceVersion"].to_string()).collect()
    };
    let before = versions();

    let written = |server: &Server, outcome: &str| {
        let (_, metrics) = server.page("/metrics");
        let all = metrics.lines().filter(|line| {
            line.starts_with("waykeeper_kubernetes_statuses_total") && line.contains(&format!("outcome=\"{outcome}\""))
        });
        all.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    waypoint.stop(Duration::from_secs(20));
    let mut waypoint = Server::at(waypoint.grpc.clone(), "waypoint", &kubeconfig, dir.path(), &own);
    eventually("the Envoy to come back", RETURN, || match waypoint.page("/config") {
        (200, body) if body.contains("\"envoys\":1") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually("all to be compared", CHANGE, || match written(&waypoint, "stands") {
        count if count >= all.len() as f64 => Ok(()),
        count => Err(format!("{count}\n{}\n{}", waypoint.page("/metrics").1, waypoint.log())),
    });
    cluster.apply(&routed(3));
    told(&cluster, &routed(3), "programmed", |status| programmed(&status["parents"][0]));
    assert_eq!(written(&waypoint, "failed"), 0.0);
    let gateway_at = all.iter().position(|object| **object == gateway).unwrap();
    let unchanged = |now: Vec<String>| {
        // Of the Gateway one route more is to be said.
        let others = |versions: &[String]| [&versions[..gateway_at], &versions[gateway_at + 1..]].concat();
        assert_eq!(others(&now), others(&before));
    };
    unchanged(versions());

    // Nobody comes: what is not known any more is not said for ever.
    waypoint.stop(Duration::from_secs(20));
    pod.stop();
    let mut waypoint = Server::at(waypoint.grpc.clone(), "waypoint", &kubeconfig, dir.path(), &own);
    waypoint.ready();
    eventually("all to be compared", CHANGE, || match written(&waypoint, "stands") {
        count if count >= all.len() as f64 => Ok(()),
        count => Err(format!("{count}\n{}", waypoint.log())),
    });
    unchanged(versions());
    for object in [&routes[0], &gateway] {
        eventually("the end of what is not known", RETURN, || {
            let status = cluster.get(object).json()["status"].take();
            let of = if *object == gateway { &status } else { &status["parents"][0] };
            if programmed(of) { Err(status.to_string()) } else { Ok(()) }
        });
    }
    waypoint.stop(Duration::from_secs(20));
}

/// A route of the Service `app`.
pub fn routed(number: usize) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{number}, namespace: t}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, name: app}}]\n  rules:\n  - matches: [{{path: {{value: /{number}}}}}]\n    \
         backendRefs: [{{name: app, port: 8000}}]\n"
    )
}

fn refused(waypoint: &Server, before: f64, pod: &Pod) {
    eventually("a refusal", CHANGE, || match counted(waypoint, "waykeeper_xds_refused_streams_total") {
        now if now > before => Ok(()),
        now => Err(format!("{now}\n{}\n{}", waypoint.log(), pod.log())),
    });
}

/// What has the form of a token.
fn token_of_nobody() -> String {
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl".to_owned()
}

/// What a Gateway's proxy consists of.
fn object(kind: &str, name: &str) -> String {
    let version = match kind {
        "Deployment" => "apps/v1",
        "PodDisruptionBudget" => "policy/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        _ => "v1",
    };
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: t}}\n")
}

const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: gloo-waypoint}\n";
const KINDS: [&str; 5] = ["ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment"];

/// The object, once it is so.
fn becomes(
    cluster: &Cluster,
    object: &str,
    what: &str,
    is_so: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    eventually(&format!("{what}: {object}"), CHANGE, || match cluster.get(object) {
        answer if answer.status == 200 && is_so(&answer.json()) => Ok(answer.json()),
        answer => Err(format!("{answer:?}")),
    })
}

pub fn merge(cluster: &Cluster, path: &str, patch: &serde_json::Value) {
    let answer = cluster.call("PATCH", path, Some(("application/merge-patch+json", &patch.to_string())));
    assert_eq!(answer.status, 200, "{patch}: {answer:?}");
}

pub fn condition<'c>(status: &'c serde_json::Value, kind: &str) -> &'c serde_json::Value {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|one| one["type"] == kind).unwrap_or(&serde_json::Value::Null)
}

#[test]
fn a_gateway_becomes_pods_that_serve_it_and_what_others_made_is_left_alone() {
    let _turn = turn();
    let endpoint = address("10.244.0.3");
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: t, labels: {istio.io/use-waypoint: a}}\n");
    gateway_crds(&cluster);
    let kubeconfig = account(&cluster, "waypoint", None);
    for role in ["waykeeper-waypoint-xds", "waykeeper-waypoint-deployer"] {
        bind(&cluster, role);
    }
    cluster.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: authority, namespace: default}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waykeeper-waypoint-authority}\n\
         subjects: [{kind: ServiceAccount, name: waypoint, namespace: default}]\n",
    );
    // Nobody gives it a certificate: it keeps an authority of its own.
    let grpc = free();
    let xds = grpc.replace("127.0.0.1", "localhost");
    let args = ["--deploy", "--proxy-xds", &xds, "--proxy-image", "example.com/proxy:1", "--proxy-cpu", "1000m"];
    let begin = || Server::at(grpc.clone(), "waypoint", &kubeconfig, dir.path(), &args);
    let mut waypoint = begin();
    waypoint.ready();

    // A class that nobody made, or that is deleted while nobody uses it, is there again.
    let is_bound = |class: &serde_json::Value| {
        class["metadata"]["annotations"]["ambient.istio.io/waypoint-inbound-binding"] == "PROXY/15088"
            && condition(&class["status"], "Accepted")["status"] == "True"
    };
    let class = becomes(&cluster, CLASS, "a class", is_bound);
    cluster.delete(CLASS);
    let uid = class["metadata"]["uid"].clone();
    becomes(&cluster, CLASS, "another class", |class| is_bound(class) && class["metadata"]["uid"] != uid);

    // Where a stranger's object has a name that a Gateway's needs, nothing is made beside it.
    let stranger = format!("{}data: {{whose: mine}}\n", object("ConfigMap", "gloo-proxy-taken"));
    cluster.apply(&stranger);
    let before = cluster.get(&stranger).json();
    let taken = gateway("taken", 15099);
    cluster.apply(&taken);
    let status = told(&cluster, &taken, "a word of it", |status| condition(status, "Programmed")["status"] == "False");
    let message = condition(&status, "Programmed")["message"].as_str().unwrap();
    assert!(message.contains("ConfigMap gloo-proxy-taken"), "{message}");
    assert_eq!(cluster.get(&stranger).json(), before);
    for kind in KINDS.iter().filter(|kind| **kind != "ConfigMap") {
        assert_eq!(cluster.get(&object(kind, "gloo-proxy-taken")).status, 404, "{kind}");
    }
    cluster.delete(&stranger);
    KINDS.iter().for_each(|kind| drop(becomes(&cluster, &object(kind, "gloo-proxy-taken"), "made", |_| true)));
    told(&cluster, &taken, "silence", |status| condition(status, "Programmed")["status"] == "Unknown");

    // A Gateway becomes objects that belong to it; while there is one, its class stays.
    let a = format!("{}  infrastructure: {{labels: {{team: x}}}}\n", gateway("a", 15088));
    cluster.apply(&a);
    let uid = cluster.get(&a).json()["metadata"]["uid"].clone();
    for kind in KINDS {
        let made = becomes(&cluster, &object(kind, "gloo-proxy-a"), "made", |_| true);
        let labels = &made["metadata"]["labels"];
        assert_eq!((&labels["gateway.networking.k8s.io/gateway-name"], &labels["team"]), (&"a".into(), &"x".into()));
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], uid, "{made}");
    }
    let kept = becomes(&cluster, CLASS, "kept", |class| !class["metadata"]["finalizers"].is_null());
    cluster.delete(CLASS);
    assert_eq!(cluster.get(CLASS).json()["metadata"]["uid"], kept["metadata"]["uid"], "it is used");

    // What nobody edited is not written again, although the API server writes amounts in its own way.
    let deployment = object("Deployment", "gloo-proxy-a");
    let version = || cluster.get(&deployment).json()["metadata"]["resourceVersion"].clone();
    let before = version();
    let config = object("ConfigMap", "gloo-proxy-a");
    merge(&cluster, "/api/v1/namespaces/t/configmaps/gloo-proxy-a", &json!({"data": {"ca.crt": "another's"}}));
    becomes(&cluster, &config, "undone", |config| config["data"]["ca.crt"] != "another's");
    assert_eq!(version(), before);
    // Edits are undone, what is deleted is made again, and how many pods there are is not ours to say.
    let path = "/apis/apps/v1/namespaces/t/deployments/gloo-proxy-a";
    merge(&cluster, path, &json!({"spec": {"replicas": 3, "template": {"spec": {"hostNetwork": true}}}}));
    let mended = becomes(&cluster, &deployment, "undone", |deployment| {
        deployment["spec"]["template"]["spec"]["hostNetwork"] != true
            && deployment["metadata"]["resourceVersion"] != before
    });
    assert_eq!(mended["spec"]["replicas"], 3);
    cluster.delete(&object("Service", "gloo-proxy-a"));
    let service = becomes(&cluster, &object("Service", "gloo-proxy-a"), "made again", |_| true);

    // Its pod, with the arguments and at the paths that the Deployment says, on this machine.
    let pod = &mended["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["resources"]["requests"]["cpu"], "1");
    let memory = &pod["containers"][0]["env"][0];
    assert_eq!(
        (&memory["name"], &memory["valueFrom"]["resourceFieldRef"]["resource"]),
        (&"WAYPOINT_MEMORY".into(), &"limits.memory".into())
    );
    let args: Vec<&str> =
        pod["containers"][0]["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let sources =
        &pod["volumes"].as_array().unwrap().iter().find(|one| one["name"] == "token").unwrap()["projected"]["sources"];
    let audience = sources[0]["serviceAccountToken"]["audience"].as_str().unwrap();
    let token = cluster.token_for("t", pod["serviceAccountName"].as_str().unwrap(), audience);
    let proxy = in_its_pod(dir.path(), &args, &cluster.get(&config).json()["data"]["ca.crt"], &token);
    proxy.ready();
    // Envoy knows how much of it is in use: of what it may take by itself that would be next to nothing.
    eventually("a share of the memory", CHANGE, || {
        let (_, stats) = proxy.page("/stats/prometheus");
        let line =
            stats.lines().find(|line| line.starts_with("envoy_overload_envoy_resource_monitors_fixed_heap_pressure{"));
        let percent: Option<u64> = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        if percent >= Some(4) { Ok(()) } else { Err(format!("{line:?}\n{stats}")) }
    });
    let status = told(&cluster, &a, "programmed", programmed);
    assert_eq!(status.get("addresses"), None, "no pod is ready: {status}");

    // Addresses come with the first ready pod, and stay.
    let ready = |count: u32| {
        let status = json!({"status": {"replicas": 3, "updatedReplicas": 3, "readyReplicas": count, "availableReplicas": count}});
        merge(&cluster, &format!("{path}/status"), &status);
    };
    ready(1);
    let status = told(&cluster, &a, "addresses", |status| !status["addresses"].is_null());
    let host = json!({"type": "Hostname", "value": "gloo-proxy-a.t.svc.cluster.local"});
    let ip = json!({"type": "IPAddress", "value": service["spec"]["clusterIP"]});
    assert_eq!(status["addresses"], json!([ip, host]));
    ready(0);

    // A request through the real Envoy.
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: t}\nspec:\n  ports:\n  \
         - {name: http, port: 8000, targetPort: 8080}\n",
    );
    cluster.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: app-1\n  namespace: t\n  \
         labels: {{kubernetes.io/service-name: app}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints:\n- addresses: [{endpoint}]\n  conditions: {{ready: true}}\n"
    ));
    let _application =
        start(&binary("sample-app"), &["--listen", &format!("{endpoint}:8080")], &dir.path().join("app"));
    let service = cluster.get(&object("Service", "app")).json();
    let vip: std::net::Ipv4Addr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    eventually("an answer", CHANGE, || {
        let request = b"GET /get HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n".to_vec();
        let bytes = [proxy_header(vip.octets(), 8000, &[]), request].concat();
        let answer = std::net::TcpStream::connect("127.0.0.1:15088").map(|_| send_raw("127.0.0.1:15088", &bytes));
        match answer.unwrap_or_default() {
            answer if answer.starts_with("HTTP/1.1 200") => Ok(()),
            answer => Err(format!("{answer}\n{}\n{}", waypoint.log(), proxy.log())),
        }
    });
    let status = told(&cluster, &a, "addresses", |status| !status["addresses"].is_null());
    assert_eq!(status["addresses"], json!([ip, host]), "they stay while no pod is ready");

    // Pods that cannot be made are told of, and that they can.
    let failing = |status: &str| {
        let message = "pods \"gloo-proxy-a-x\" is forbidden: exceeded quota: small";
        let failure = json!({"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": message});
        merge(&cluster, &format!("{path}/status"), &json!({"status": {"conditions": [failure]}}));
    };
    failing("True");
    let status =
        told(&cluster, &a, "a word of it", |status| condition(status, "Programmed")["reason"] == "NoResources");
    assert_eq!(condition(&status, "Programmed")["message"], "its pods cannot be made: exceeded quota: small");
    event(&cluster, "a", "NoPods");
    failing("False");
    told(&cluster, &a, "programmed", programmed);
    event(&cluster, "a", "Recovered");

    // Authorities follow each other: everyone knows the next one before it signs, and it does.
    let bundle = |count: usize, what: &str| {
        let is_so = |config: &serde_json::Value| {
            config["data"]["ca.crt"].as_str().unwrap_or_default().matches("BEGIN CERTIFICATE").count() == count
        };
        let config = becomes(&cluster, &config, what, is_so);
        config["data"]["ca.crt"].as_str().unwrap().to_owned()
    };
    let first = bundle(1, "one authority");
    age(&cluster, |all| all["current"]["made"] = (all["current"]["made"].as_u64().unwrap() - 300 * 86_400).into());
    let both = bundle(2, "the next one beside it");
    assert!(both.starts_with(&first));
    proxy.mount("waypoint-ca/ca.crt", &both);
    age(&cluster, |all| all["next"]["made"] = (all["next"]["made"].as_u64().unwrap() - 2 * 86_400).into());
    eventually("another signer", CHANGE, || match bundle(2, "the old one behind it") {
        now if now.ends_with(&first) => Ok(()),
        now => Err(now),
    });
    waypoint.stop(Duration::from_secs(20));
    waypoint = begin();
    waypoint.ready();
    eventually("the Envoy to come back", CHANGE, || match waypoint.page("/config").1 {
        config if config.contains("\"envoys\":1") => Ok(()),
        config => Err(format!("{config}\n{}", proxy.log())),
    });

    // Parameters that nobody can read are said, and what runs is left as it is, until they are good.
    let before = version();
    let parameters = a.replace("{labels:", "{parametersRef: {group: \"\", kind: ConfigMap, name: p}, labels:");
    cluster.apply(&parameters);
    let wrong = |status: &serde_json::Value, said: &str| {
        let accepted = condition(status, "Accepted");
        accepted["reason"] == "InvalidParameters" && accepted["message"].to_string().contains(said)
    };
    told(&cluster, &a, "a word of it", |status| wrong(status, "there is no ConfigMap t/p"));
    let config_of = |fields: &str, more: &str| {
        let text = format!("{}data:\n  parameters: |\n    {fields}\n{more}", object("ConfigMap", "p"));
        cluster.apply(&text);
    };
    config_of("{replica: 2}", "");
    let status = told(&cluster, &a, "a word of it", |status| wrong(status, "parameters.replica: unknown field"));
    assert_eq!((condition(&status, "Accepted")["status"].as_str(), version()), (Some("False"), before), "{status}");
    let fields =
        "{autoscaling: {maxReplicas: 3}, nodeSelector: {disk: ssd}, service: {ipFamilyPolicy: PreferDualStack}}";
    config_of(fields, "  deployment: |\n    spec: {template: {spec: {priorityClassName: system-cluster-critical}}}\n");
    let changed = becomes(&cluster, &deployment, "so", |deployment| {
        deployment["spec"]["template"]["spec"]["nodeSelector"]["disk"] == "ssd"
    });
    let pod = &changed["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["priorityClassName"], &changed["spec"]["replicas"]),
        (&json!("system-cluster-critical"), &json!(3))
    );
    let scaler = object("HorizontalPodAutoscaler", "gloo-proxy-a");
    becomes(&cluster, &scaler, "made", |scaler| scaler["spec"]["maxReplicas"] == 3);
    becomes(&cluster, &object("Service", "gloo-proxy-a"), "so", |service| {
        service["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    });
    told(&cluster, &a, "accepted", |status| condition(status, "Accepted")["status"] == "True");
    // What is said once is not written again, and what is said no longer is taken away.
    let before = version();
    config_of("{nodeSelector: {}, autoscaling: {maxReplicas: 4}}", "");
    becomes(&cluster, &scaler, "changed", |scaler| scaler["spec"]["maxReplicas"] == 4);
    let changed = becomes(&cluster, &deployment, "changed", |one| one["metadata"]["resourceVersion"] != before);
    let pod = &changed["spec"]["template"]["spec"];
    assert_eq!((pod.get("nodeSelector"), pod.get("priorityClassName")), (None, None), "{pod}");
    let before = version();
    merge(&cluster, "/api/v1/namespaces/t/configmaps/gloo-proxy-a", &json!({"data": {"ca.crt": "another's"}}));
    becomes(&cluster, &config, "undone", |config| config["data"]["ca.crt"] != "another's");
    assert_eq!(version(), before);
    cluster.apply(&a);
    eventually("no autoscaler", CHANGE, || match cluster.get(&scaler) {
        answer if answer.status == 404 => Ok(()),
        answer => Err(answer.body),
    });

    // With its last Gateway the class goes, and comes again.
    proxy.stop();
    cluster.delete(&a);
    cluster.delete(&taken);
    becomes(&cluster, CLASS, "another class", |class| {
        is_bound(class)
            && class["metadata"]["uid"] != kept["metadata"]["uid"]
            && class["metadata"]["finalizers"].is_null()
    });
    waypoint.stop(Duration::from_secs(20));
}

/// Changes what is kept of authorities, as if time had passed.
pub fn age(cluster: &Cluster, change: impl Fn(&mut serde_json::Value)) {
    let path = "/api/v1/namespaces/default/secrets/waykeeper-waypoint-authority";
    let secret = cluster.call("GET", path, None).json();
    let coded = secret["data"]["authorities"].as_str().unwrap();
    let decoded = std::process::Command::new("sh").args(["-c", &format!("echo {coded} | base64 -d")]).output().unwrap();
    let mut all: serde_json::Value = serde_json::from_slice(&decoded.stdout).unwrap();
    change(&mut all);
    merge(cluster, path, &json!({"stringData": {"authorities": all.to_string()}}));
}

/// So much memory the pod has, in bytes, of which an Envoy that does nothing takes seven million.
const MEMORY: u64 = 96 << 20;

/// `waypoint` with these arguments of a container, and what a kubelet puts into one.
fn in_its_pod(dir: &Path, args: &[&str], ca: &serde_json::Value, token: &str) -> Pod {
    let (admin, log) = (free(), dir.join("pod-of-a"));
    fs::write(dir.join("pod.ca"), ca.as_str().unwrap()).unwrap();
    fs::write(dir.join("pod.token"), token).unwrap();
    let (program, envoy, dir) =
        (binary("waypoint").display().to_string(), envoy().display().to_string(), dir.display());
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/waypoint /run/waypoint-ca /run/secrets/waypoint || exit 1
        cp {dir}/pod.ca /run/waypoint-ca/ca.crt && cp {dir}/pod.token /run/secrets/waypoint/token || exit 1
        export ENVOY={envoy} WAYPOINT_ADMIN={admin} ENVOY_CONCURRENCY=1 WAYPOINT_MEMORY={MEMORY}
        exec {program} {}",
        args.join(" ")
    );
    let process =
        start(Path::new("unshare"), &["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script], &log);
    Pod { process, admin, log }
}
