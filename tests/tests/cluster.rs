//! The servers on a real API server: what they read, what they may, and what they do when it goes away.
#![allow(clippy::unwrap_used)]

#[path = "cluster/acknowledged.rs"]
mod acknowledged;
#[path = "cluster/envoys.rs"]
mod envoys;
#[path = "cluster/foreign.rs"]
mod foreign;
#[path = "cluster/kept.rs"]
mod kept;
#[path = "cluster/mutual.rs"]
mod mutual;
#[path = "cluster/policies.rs"]
mod policies;
#[path = "cluster/side_by_side.rs"]
mod side_by_side;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::envoy::service::auth::v3 as pb;
use tempfile::TempDir;
use waykeeper_tests::alone::{envoy_of, free, start};
use waykeeper_tests::kubernetes::{Cluster, Wire, address, files, gateway_crds, lax_crd};
use waykeeper_tests::manifests::documents;
use waykeeper_tests::parts::{Process, binary};
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Curl, eventually, turn};

/// How long a change may take from the API server to the first answer under it, on a busy machine.
const CHANGE: Duration = Duration::from_secs(10);
/// After an API server was away, with the longest wait between two attempts.
const RETURN: Duration = Duration::from_secs(60);

/// A server that reads from Kubernetes.
struct Server {
    process: Process,
    grpc: String,
    admin: String,
    log: PathBuf,
}

impl Server {
    fn start(program: &str, kubeconfig: &Path, dir: &Path, args: &[&str]) -> Server {
        Server::at(free(), program, kubeconfig, dir, args)
    }

    fn at(grpc: String, program: &str, kubeconfig: &Path, dir: &Path, args: &[&str]) -> Server {
        let admin = free();
        let log = dir.join(format!("{program}-{}", admin.replace(':', "-")));
        let own = ["--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap(), "--grpc", &grpc, "--admin", &admin];
        let own = [&own[..], &["--own-namespace", "default"]].concat();
        let process = start(&binary(program), &[&own[..], args].concat(), &log);
        Server { process, grpc, admin, log }
    }

    fn page(&self, path: &str) -> (u16, String) {
        let reply = Curl::to(&format!("http://{}{path}", self.admin)).send();
        (reply.status, reply.body)
    }

    fn ready(&self) {
        eventually("readiness", RETURN, || match self.page("/readyz") {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}\n{}", self.log())),
        });
    }

    /// SIGTERM; it ends well, or what it logged is shown.
    fn stop(&mut self, deadline: Duration) {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.process.terminate(deadline)));
        assert!(ended.is_ok(), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// What extauth answers to a request with this key under the AuthConfig: the HTTP status, 200 for a pass.
    fn check(&self, config: &str, key: Option<&str>) -> i32 {
        let headers = key.map(|key| ("api-key".to_owned(), key.to_owned())).into_iter().collect();
        let http = pb::attribute_context::HttpRequest {
            method: "GET".into(),
            path: "/".into(),
            headers,
            ..Default::default()
        };
        let request = pb::CheckRequest {
            attributes: Some(pb::AttributeContext {
                request: Some(pb::attribute_context::Request { http: Some(http), ..Default::default() }),
                context_extensions: [("config_id".to_owned(), config.to_owned())].into(),
                ..Default::default()
            }),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let channel = tonic::transport::Channel::from_shared(format!("http://{}", self.grpc)).unwrap();
            let mut client = pb::authorization_client::AuthorizationClient::new(channel.connect().await.unwrap());
            client.check(request).await.unwrap().into_inner()
        });
        match answer.http_response {
            Some(pb::check_response::HttpResponse::DeniedResponse(denied)) => {
                denied.status.map_or(403, |status| status.code)
            }
            _ => {
                assert_eq!(answer.status.unwrap().code, 0, "a denial is explicit");
                200
            }
        }
    }

    fn until(&self, config: &str, key: Option<&str>, wanted: i32, deadline: Duration) {
        eventually(&format!("{wanted} for {key:?} under {config}"), deadline, || match self.check(config, key) {
            got if got == wanted => Ok(()),
            got => Err(format!("{got}\n{}", self.log())),
        });
    }
}

fn secret(name: &str, key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: t}}\ntype: extauth.solo.io/apikey\n\
         stringData: {{api-key: {key}}}\n"
    )
}

fn labelled_secret(name: &str, key: &str) -> String {
    secret(name, key)
        .replace("metadata: {", "metadata:\n  labels: {team: x}\n  ")
        .replace(", namespace: t}", "\n  namespace: t")
}

fn config(group: &str, name: &str) -> String {
    format!(
        "apiVersion: {group}/v1\nkind: AuthConfig\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  configs:\n  \
         - apiKeyAuth:\n      headerName: api-key\n      labelSelector: {{team: x}}\n"
    )
}

const GROUP: &str = "enterprise.gloo.solo.io";

fn crd(cluster: &Cluster, name: &str) {
    let all = files("deploy/crds");
    let found: Vec<&String> = all.iter().filter(|text| text.contains(&format!("\n  name: {name}\n"))).collect();
    assert_eq!(found.len(), 1, "{name}");
    cluster.define(found[0]);
}

fn namespace(cluster: &Cluster) {
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: t}\n");
}

/// A ServiceAccount with the ClusterRoles of this server, everywhere, and Leases in its own namespace.
fn account(cluster: &Cluster, server: &str, port: Option<u16>) -> PathBuf {
    files("deploy/rbac").iter().for_each(|role| cluster.apply(role));
    let config = cluster.service_account("default", server, port);
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {server}, namespace: default}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waykeeper-leases}}\n\
         subjects: [{{kind: ServiceAccount, name: {server}, namespace: default}}]\n"
    ));
    let mut roles = vec![(server.to_owned(), format!("waykeeper-{server}"))];
    roles.extend((server == "extauth").then(|| ("extauth-secrets".to_owned(), "waykeeper-extauth-secrets".to_owned())));
    roles.push((format!("{server}-events"), "waykeeper-events".to_owned()));
    for (binding, role) in roles {
        cluster.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {binding}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
             subjects: [{{kind: ServiceAccount, name: {server}, namespace: default}}]\n"
        ));
    }
    config
}

/// One API server for all of it: it takes longer to begin than everything that is asked of it.
#[test]
fn extauth_follows_an_api_server_through_all_that_happens_to_it() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    namespace(&cluster);

    // Rights first: without any it reads nothing, serves nothing and says why.
    let wire = Wire::to(cluster.port());
    files("deploy/rbac").iter().for_each(|role| cluster.apply(role));
    let kubeconfig = cluster.service_account("default", "extauth", Some(wire.port));
    let extauth = Server::start("extauth", &kubeconfig, dir.path(), &[]);
    eventually("the reason", CHANGE, || {
        let (status, body) = extauth.page("/readyz");
        let named = body.contains("kubernetes: secrets") && body.contains("403");
        if status == 503 && named { Ok(()) } else { Err(format!("{status} {body}\n{}", extauth.log())) }
    });
    assert_eq!(extauth.check("t.keys", Some("good-key")), 403, "nothing passes before everything was read");

    // No AuthConfig is known to this API server: that is known, and enough to begin.
    account(&cluster, "extauth", Some(wire.port));
    extauth.ready();
    assert_eq!(extauth.check("t.keys", Some("good-key")), 403);

    // The definition comes late, and what is written under it counts.
    crd(&cluster, "authconfigs.enterprise.gloo.solo.io");
    cluster.apply(&config(GROUP, "keys"));
    cluster.apply(&labelled_secret("a", "good-key"));
    extauth.until("t.keys", Some("good-key"), 200, CHANGE);
    assert_eq!(extauth.check("t.keys", Some("bad-key")), 401);
    assert_eq!(extauth.check("t.keys", None), 401);

    // A key that is deleted is good no longer; one without its label never was.
    cluster.apply(&labelled_secret("b", "other-key"));
    extauth.until("t.keys", Some("other-key"), 200, CHANGE);
    cluster.delete(&secret("a", ""));
    extauth.until("t.keys", Some("good-key"), 401, CHANGE);
    assert_eq!(extauth.check("t.keys", Some("other-key")), 200);
    // One of another type is not even sent, whatever its labels.
    cluster.apply(&labelled_secret("c", "opaque-key").replace("extauth.solo.io/apikey", "Opaque"));
    // One that waits for a finalizer is deleted for its owner already.
    cluster.apply(
        &labelled_secret("d", "held-key").replace("  namespace: t", "  namespace: t\n  finalizers: [example.com/held]"),
    );
    extauth.until("t.keys", Some("held-key"), 200, CHANGE);
    cluster.delete(&secret("d", ""));
    extauth.until("t.keys", Some("held-key"), 401, CHANGE);
    assert_eq!(cluster.get(&secret("d", "")).status, 200, "it is still there");
    assert_eq!(extauth.check("t.keys", Some("opaque-key")), 401);

    // What cannot be used is refused alone; a mistake in a good one leaves it as it was.
    cluster.apply(&config(GROUP, "wrong").replace("labelSelector: {team: x}", "labelSelector: [team]"));
    cluster.apply(&config(GROUP, "typo").replace("labelSelector", "labelSelectors"));
    cluster.apply(
        &config(GROUP, "deep")
            .replace("{team: x}", &format!("{{team: x}}\n    extra: {}1{}", "[".repeat(500), "]".repeat(500))),
    );
    cluster
        .apply(&config(GROUP, "fine").replace("apiKeyAuth", "api_key_auth").replace("labelSelector", "label_selector"));
    extauth.until("t.fine", Some("other-key"), 200, CHANGE);
    for broken in ["t.wrong", "t.typo", "t.deep"] {
        assert_eq!(extauth.check(broken, Some("other-key")), 403, "{broken}");
    }
    cluster.apply(&config(GROUP, "fine").replace("labelSelector", "labelSelectors"));
    cluster.apply(&labelled_secret("e", "later-key"));
    extauth.until("t.fine", Some("later-key"), 200, CHANGE);
    assert_eq!(extauth.check("t.fine", Some("bad-key")), 401);

    // Connections are cut, again and again, and nothing is missed.
    for round in 0..5 {
        wire.cut();
        cluster.apply(&labelled_secret("f", &format!("round-{round}")));
        extauth.until("t.keys", Some(&format!("round-{round}")), 200, CHANGE);
        if round > 0 {
            let before = format!("round-{}", round - 1);
            assert_eq!(extauth.check("t.keys", Some(&before)), 401, "a key that was replaced");
        }
    }

    // The API server is killed: what was read last is served, and it is said that it may be old.
    cluster.kill_server();
    eventually("a word of it", CHANGE, || {
        let (status, body) = extauth.page("/readyz");
        if status == 200 && body.contains("what was read last is served") {
            Ok(())
        } else {
            Err(format!("{status} {body}"))
        }
    });
    assert_eq!(extauth.check("t.keys", Some("other-key")), 200);
    assert_eq!(extauth.check("t.keys", Some("bad-key")), 401);
    let (_, metrics) = extauth.page("/metrics");
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("waykeeper_kubernetes_failing{kind=\"Secret\"") && line.ends_with(" 1"))
    );
    // One that begins now has nothing to serve.
    let late = Server::start("extauth", &kubeconfig, dir.path(), &[]);
    eventually("a word of it", CHANGE, || match late.page("/readyz") {
        (503, body) if body.contains("kubernetes: secrets") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(late.check("t.keys", Some("other-key")), 403);
    // etcd goes, too, and both come back; meanwhile nobody forgets anything.
    cluster.kill_etcd();
    cluster.start_etcd();
    cluster.start_server();
    late.ready();
    assert_eq!(late.check("t.keys", Some("other-key")), 200);
    cluster.delete(&secret("b", ""));
    extauth.until("t.keys", Some("other-key"), 401, RETURN);
    late.until("t.keys", Some("other-key"), 401, CHANGE);
    eventually("silence", RETURN, || match extauth.page("/readyz") {
        (200, body) if !body.contains("what was read last") => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // Its rights are taken away: it goes on, and says so.
    let binding =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: extauth-secrets}\n";
    cluster.delete(binding);
    wire.cut();
    eventually("a word of it", RETURN, || {
        let (status, body) = extauth.page("/readyz");
        if status == 200 && body.contains("403") { Ok(()) } else { Err(format!("{status} {body}")) }
    });
    assert_eq!(extauth.check("t.keys", Some("round-4")), 200);
    account(&cluster, "extauth", Some(wire.port));
    cluster.delete(&secret("f", ""));
    extauth.until("t.keys", Some("round-4"), 401, RETURN);

    // Nothing of a key was written anywhere.
    for server in [&extauth, &late] {
        let written = format!("{}{}{}", server.log(), server.page("/metrics").1, server.page("/readyz").1);
        for key in ["good-key", "other-key", "held-key", "later-key", "round-4", "opaque-key"] {
            assert!(!written.contains(key), "{key}: {written}");
        }
    }
    for mut server in [extauth, late] {
        server.stop(Duration::from_secs(15));
    }
}

/// As in a pod: the token and the authorities are where a kubelet puts them, and there is no kubeconfig.
fn in_pod(cluster: &Cluster, token: &str, dir: &Path, args: &str) -> Server {
    let (grpc, admin, log) = (free(), free(), dir.join("pod"));
    let (port, ca, program) = (cluster.port(), cluster.ca(), binary("extauth").display().to_string());
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount || exit 1
        cd /run/secrets/kubernetes.io/serviceaccount && printf %s {token} > token && printf t > namespace && cp {ca} ca.crt
        export KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT={port}
        exec {program} --kubernetes --grpc {grpc} --admin {admin} {args}"
    );
    let process = start(Path::new("unshare"), &["--mount", "sh", "-c", &script], &log);
    Server { process, grpc, admin, log }
}

/// More Secrets than are on one page, of one namespace out of two, with rights in that one alone.
#[test]
fn a_pod_reads_many_secrets_of_the_namespace_that_is_named() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    namespace(&cluster);
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n");
    crd(&cluster, "authconfigs.enterprise.gloo.solo.io");
    cluster.apply(&config(GROUP, "keys"));
    let secrets = |namespace: &str, count: usize| {
        let one = |number: usize| {
            serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": "extauth.solo.io/apikey",
                "metadata": {"name": format!("s{number:04}"), "labels": {"team": "x"}},
                "stringData": {"api-key": format!("{namespace}-key-{number}")}})
        };
        let all: Vec<_> = (0..count).map(one).collect();
        cluster.create_all(&format!("/api/v1/namespaces/{namespace}/secrets"), &all);
    };
    secrets("t", 1_201);
    secrets("other", 2);

    deployed_rights(&cluster);
    let token = cluster.token("t", "extauth");
    let mut extauth = in_pod(&cluster, &token, dir.path(), "--secret-namespaces t");
    extauth.ready();
    let (_, metrics) = extauth.page("/metrics");
    assert!(metrics.lines().any(|line| line == "waykeeper_provider_objects{kind=\"Secret\"} 1201"), "{metrics}");
    for number in [0, 499, 500, 999, 1_000, 1_200] {
        assert_eq!(extauth.check("t.keys", Some(&format!("t-key-{number}"))), 200, "{number}");
    }
    assert_eq!(extauth.check("t.keys", Some("other-key-1")), 401, "of a namespace that is not read");
    cluster.delete(&secret("s1200", ""));
    extauth.until("t.keys", Some("t-key-1200"), 401, CHANGE);

    // Everywhere it may not read.
    let everywhere = in_pod(&cluster, &token, dir.path(), "");
    eventually("a refusal", CHANGE, || match everywhere.page("/readyz") {
        (503, body) if body.contains("403") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    extauth.stop(Duration::from_secs(15));
}

/// The ServiceAccount extauth of the namespace t may read Secrets there, and AuthConfigs everywhere.
fn deployed_rights(cluster: &Cluster) {
    files("deploy/rbac").iter().for_each(|role| cluster.apply(role));
    for (kind, role, namespace) in [
        ("ClusterRoleBinding", "waykeeper-extauth", ""),
        ("RoleBinding", "waykeeper-extauth-secrets", ", namespace: t"),
    ] {
        cluster.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: extauth{namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
             subjects: [{{kind: ServiceAccount, name: extauth, namespace: t}}]\n"
        ));
    }
}

/// The walkthrough's manifests through all three servers and an Envoy, each server with the rights it needs and no other.
#[test]
fn the_walkthrough_is_served_from_an_api_server() {
    let _turn = turn();
    // Addresses of endpoints may not be loopback ones for an API server: this one is on no other machine.
    let endpoint = address("10.244.0.2");
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    gateway_crds(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    for namespace in ["httpbin", "gloo-system"] {
        let labels = if namespace == "httpbin" { "{istio.io/use-waypoint: gloo-waypoint}" } else { "{}" };
        cluster
            .apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: {labels}\n"));
    }
    let extauth = Server::start("extauth", &account(&cluster, "extauth", None), dir.path(), &[]);
    let ratelimit = Server::start("ratelimit", &account(&cluster, "ratelimit", None), dir.path(), &[]);
    let tls = dir.path().join("tls").display().to_string();
    let servers = ["--extauth", &extauth.grpc, "--ratelimit", &ratelimit.grpc, "--tls-dir", &tls];
    let waypoint = Server::start("waypoint", &account(&cluster, "waypoint", None), dir.path(), &servers);
    [&extauth, &ratelimit, &waypoint].into_iter().for_each(Server::ready);

    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: httpbin2, namespace: httpbin}\nspec:\n  ports:\n  \
         - {name: http, port: 8000, targetPort: 8080}\n",
    );
    cluster.apply(&format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: httpbin2-1\n  namespace: httpbin\n  \
         labels: {{kubernetes.io/service-name: httpbin2}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints:\n- addresses: [{endpoint}]\n  conditions: {{ready: true}}\n"
    ));
    let application = start(&binary("sample-app"), &["--listen", &format!("{endpoint}:8080")], &dir.path().join("app"));
    let gateway = fs::read_to_string(waykeeper_tests::waykeeper::root().join("examples/httpbin/gateway.yaml")).unwrap();
    cluster.apply(&gateway);
    let service = cluster.get("apiVersion: v1\nkind: Service\nmetadata: {name: httpbin2, namespace: httpbin}\n").json();
    let vip: std::net::Ipv4Addr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();

    let _envoy = envoy_of("httpbin/gloo-waypoint", &waypoint.grpc, &tls, &free(), dir.path());
    let ask = |header: &str| {
        let request = format!("GET /get HTTP/1.1\r\nHost: httpbin2\r\n{header}Connection: close\r\n\r\n");
        let bytes = [proxy_header(vip.octets(), 8000, &[]), request.into_bytes()].concat();
        let answer = std::net::TcpStream::connect("127.0.0.1:15088").map(|_| send_raw("127.0.0.1:15088", &bytes));
        answer.unwrap_or_default()
    };
    let until = |header: &str, status: &str| {
        eventually(&format!("{status} for {header:?}"), CHANGE, || match ask(header) {
            answer if answer.starts_with(&format!("HTTP/1.1 {status}")) => Ok(answer),
            answer => Err(format!("{answer}\n{}", waypoint.log())),
        })
    };
    until("", "200");

    let apply = |step: &str| {
        files(&format!("examples/walkthrough-000/{step}")).iter().for_each(|manifest| cluster.apply(manifest))
    };
    apply("apikeys");
    until("", "401");
    assert!(until("api-key: mykey\r\n", "200").contains("X-Organization"));

    // What has become of each object is written to it.
    let object = |kind: &str, group: &str, name: &str| {
        format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: httpbin}}\n")
    };
    let route = object("HTTPRoute", "gateway.networking.k8s.io/v1", "httpbin2");
    let parents =
        told(&cluster, &route, "a parent", |status| status["parents"][0]["conditions"][0]["status"] == "True");
    assert_eq!(parents["parents"][0]["controllerName"], "waykeeper.dev/gateway-controller");
    assert_eq!(parents["parents"][0]["parentRef"]["name"], "httpbin2");
    let gateway = object("Gateway", "gateway.networking.k8s.io/v1", "gloo-waypoint");
    let programmed = |status: &serde_json::Value| {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Programmed" && one["status"] == "True")
    };
    told(&cluster, &gateway, "programmed", programmed);
    let state =
        |wanted: &'static str| move |status: &serde_json::Value| status["statuses"]["default"]["state"] == wanted;
    told(&cluster, &object("RouteOption", "gateway.solo.io/v1", "httpbin2"), "accepted", state("Accepted"));
    let config = cluster.get(&object("HTTPRoute", "gateway.networking.k8s.io/v1", "httpbin2")).json();
    assert_eq!(config["status"]["parents"].as_array().unwrap().len(), 1, "{config}");
    let option = "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {name: httpbin2, namespace: httpbin}\n";
    cluster.delete(option);
    until("", "200");
    apply("ratelimit-httpbin2");
    waykeeper_tests::fresh_minute(Duration::from_secs(20));
    until("", "429");
    cluster.delete(option);
    until("", "200");

    // A limit that stands in the RouteOption itself: requests are counted before they are refused.
    let within = || {
        let (_, metrics) = ratelimit.page("/metrics");
        let lines = metrics.lines().filter(|line| line.starts_with("ratelimit_service_rate_limit_within_limit{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = within();
    waykeeper_tests::fresh_minute(Duration::from_secs(20));
    cluster.apply(&format!(
        "{option}spec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbin2}}]\n  \
         options: {{ratelimitBasic: {{anonymousLimits: {{unit: MINUTE, requestsPerUnit: 3}}}}}}\n"
    ));
    until("", "429");
    assert_eq!(within() - before, 3, "{}", ratelimit.log());
    cluster.delete(option);
    until("", "200");

    // What a policy of a kind that is not served would have governed is closed, as soon as there is one of that kind.
    for (kind, group, target) in [
        ("HttpListenerOption", "gateway.solo.io", "{group: \"\", kind: Service, name: httpbin2}"),
        (
            "VirtualHostOption",
            "gateway.solo.io",
            "{group: gateway.networking.k8s.io, kind: Gateway, name: gloo-waypoint}",
        ),
    ] {
        cluster.define(&lax_crd(kind, group, "v1", "Namespaced"));
        let policy = format!(
            "apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: p, namespace: httpbin}}\nspec: {{targetRefs: [{target}]}}\n"
        );
        cluster.apply(&policy);
        until("", "500");
        assert!(waypoint.page("/readyz").1.contains(&format!("{kind} httpbin/p: ")), "{:?}", waypoint.page("/readyz"));
        cluster.delete(&policy);
        until("", "200");
    }

    // A policy that cannot be read closes what it would have governed, and nothing else.
    cluster.apply(&format!(
        "{option}spec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbin2}}]\n  \
         options: {{extAuth: 5}}\n"
    ));
    until("", "500");
    let rejected = told(&cluster, option, "rejected", state("Rejected"));
    assert!(rejected["statuses"]["default"]["reason"].as_str().unwrap().contains("spec.options"), "{rejected}");
    cluster.delete(option);
    until("", "200");

    // What one server needs is nothing to the others.
    for (server, other) in [("ratelimit", "extauth"), ("waypoint", "extauth"), ("extauth", "ratelimit")] {
        let lacking = Server::start(other, &account(&cluster, server, None), dir.path(), &[]);
        eventually("a refusal", CHANGE, || match lacking.page("/readyz") {
            (503, body) if body.contains("403") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    for mut server in [waypoint, ratelimit, extauth] {
        server.stop(Duration::from_secs(20));
    }
    drop(application);

    // What was said of a route is taken away when it has changed while nobody looked, and nothing is to be said now.
    cluster.apply(&format!("{route}spec: {{parentRefs: [{{group: example.com, kind: Mesh, name: other}}]}}\n"));
    let again = Server::start("waypoint", &account(&cluster, "waypoint", None), dir.path(), &["--tls-dir", &tls]);
    again.ready();
    told(&cluster, &route, "no parents", |status| status["parents"] == serde_json::json!([]));
}

/// The status of an object, once it is as wanted.
fn told(cluster: &Cluster, object: &str, what: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    eventually(&format!("{what}: {object}"), CHANGE, || match cluster.get(object).json()["status"].take() {
        status if is_so(&status) => Ok(status),
        status => Err(status.to_string()),
    })
}

/// The Events about an object of the namespace `t`: why, what is said, and how often.
fn events(cluster: &Cluster, name: &str) -> Vec<(String, String, u64)> {
    let path = format!("/api/v1/namespaces/t/events?fieldSelector=involvedObject.name%3D{name}");
    let all = cluster.call("GET", &path, None).json();
    let text = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap().to_owned();
    let event =
        |event: &serde_json::Value| (text(event, "reason"), text(event, "message"), event["count"].as_u64().unwrap());
    all["items"].as_array().unwrap().iter().map(event).collect()
}

/// An Event about an object, once there is one for this reason.
fn event(cluster: &Cluster, name: &str, reason: &str) -> (String, String, u64) {
    eventually(&format!("an Event {reason} about {name}"), CHANGE, || {
        let all = events(cluster, name);
        all.iter().find(|event| event.0 == reason).cloned().ok_or_else(|| format!("{all:?}"))
    })
}

/// Of two replicas one writes; when it leaves, the other one goes on at once, and writes nothing that stands.
#[test]
fn one_of_several_replicas_writes_statuses() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    namespace(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    let kubeconfig = account(&cluster, "extauth", None);
    let mut first = Server::start("extauth", &kubeconfig, dir.path(), &[]);
    first.ready();
    cluster.apply(&labelled_secret("b", "other-key"));
    cluster.apply(&config(GROUP, "keys"));
    cluster.apply(&config(GROUP, "broken").replace("labelSelector: {team: x}", "labelSelector: [team]"));
    let (keys, broken) = (config(GROUP, "keys"), config(GROUP, "broken"));
    let state =
        |wanted: &'static str| move |status: &serde_json::Value| status["statuses"]["default"]["state"] == wanted;
    told(&cluster, &keys, "accepted", state("Accepted"));
    let reason = told(&cluster, &broken, "rejected", state("Rejected"));
    assert!(reason["statuses"]["default"]["reason"].as_str().unwrap().contains("labelSelector"), "{reason}");

    // And told in an Event, which names the object and the field.
    let (_, message, count) = event(&cluster, "broken", "Refused");
    assert!(message.contains("labelSelector") && count == 1, "{message}");
    let list = cluster.call("GET", "/api/v1/namespaces/t/events", None).json();
    let uid = cluster.get(&broken).json()["metadata"]["uid"].clone();
    let told_of = list["items"].as_array().unwrap().iter().map(|event| event["involvedObject"]["uid"].clone());
    assert_eq!(told_of.collect::<Vec<_>>(), [uid], "nothing else happened: {list}");
    assert!(!list.to_string().contains("other-key"), "{list}");

    let second = Server::start("extauth", &kubeconfig, dir.path(), &[]);
    second.ready();
    let leading =
        |server: &Server| server.page("/metrics").1.lines().any(|line| line == "waykeeper_kubernetes_leading 1");
    assert!(leading(&first) && !leading(&second));
    let versions =
        || [&keys, &broken].map(|object| cluster.get(object).json()["metadata"]["resourceVersion"].to_string());
    let before = versions();
    first.stop(Duration::from_secs(15));
    eventually("the other one", CHANGE, || if leading(&second) { Ok(()) } else { Err(second.log()) });
    // It has compared everything once it has something else to write.
    cluster.apply(&config(GROUP, "later"));
    told(&cluster, &config(GROUP, "later"), "accepted", state("Accepted"));
    let stands = "waykeeper_kubernetes_statuses_total{kind=\"AuthConfig\",outcome=\"stands\"}";
    eventually("both", CHANGE, || {
        let (_, metrics) = second.page("/metrics");
        let line = metrics.lines().find(|line| line.starts_with(stands)).unwrap_or_default().to_owned();
        if line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()) >= Some(2) {
            Ok(())
        } else {
            Err(metrics)
        }
    });
    assert_eq!(versions(), before, "what stands is not written");
    assert_eq!(events(&cluster, "broken").len(), 1, "nor told again");
    cluster.apply(&broken);
    let (_, message, _) = event(&cluster, "broken", "Recovered");
    assert!(message.contains("Refused"), "{message}");

    // Without the right to Events there are none, and it is said.
    let events_binding =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: extauth-events}\n";
    cluster.delete(events_binding);
    cluster.apply(&config(GROUP, "worse").replace("labelSelector: {team: x}", "labelSelector: [team]"));
    eventually("a word of it", RETURN, || match second.page("/readyz") {
        (200, body) if body.contains("Events are not written") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    told(&cluster, &config(GROUP, "worse"), "rejected", state("Rejected"));
    assert_eq!(events(&cluster, "worse"), []);

    // Without the right to it nothing else is missing.
    cluster.delete(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: extauth, namespace: default}\n",
    );
    eventually("a word of it", RETURN, || match second.page("/readyz") {
        (200, body) if body.contains("statuses are not written") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.apply(&labelled_secret("a", "good-key"));
    second.until("t.keys", Some("good-key"), 200, CHANGE);
}

/// A document of one of Gloo's kinds, in the namespace t.
fn gloo(kind: &str, name: &str, spec: &str) -> String {
    let group = match kind {
        "RouteOption" => "gateway.solo.io/v1",
        "AuthConfig" => "enterprise.gloo.solo.io/v1",
        _ => "ratelimit.solo.io/v1alpha1",
    };
    format!("apiVersion: {group}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: t\nspec: {spec}\n")
}

/// Every manifest of those kinds that Gloo publishes or that we show, in the namespace t.
fn published() -> Vec<String> {
    let root = waykeeper_tests::waykeeper::root();
    let mut texts = vec![fs::read_to_string(root.join("waypoint/translate/tests/published/gloo.yaml")).unwrap()];
    for folder in ["apikeys", "ratelimit-httpbin2", "ratelimit-httpbin3"] {
        texts.extend(files(&format!("examples/walkthrough-000/{folder}")));
    }
    let documents = texts.iter().flat_map(|text| documents(text));
    let ours = ["RouteOption", "AuthConfig", "RateLimitConfig"];
    let documents = documents.filter(|one| ours.iter().any(|kind| one["kind"] == *kind));
    let text = |(number, one): (usize, serde_json::Value)| {
        gloo(one["kind"].as_str().unwrap(), &format!("p{number}"), &one["spec"].to_string())
    };
    documents.enumerate().map(text).collect()
}

/// With `deploy/admission` a typo comes back to the terminal that it was made in.
#[test]
fn a_misspelt_field_is_refused_where_it_is_applied() {
    let _turn = turn();
    let cluster = Cluster::start();
    namespace(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    files("deploy/admission").iter().for_each(|policy| cluster.apply(policy));
    let target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}";
    let mistakes = [
        ("RouteOption", format!("{{targetRef: {target}, options: {{timeout: 3s}}}}"), "spec has"),
        ("RouteOption", format!("{{targetrefs: [{target}]}}"), "spec has"),
        ("RouteOption", "{targetRefs: [{kind: HTTPRoute, names: r}]}".to_owned(), "spec.targetRefs[] has"),
        (
            "RouteOption",
            "{target_refs: [{kind: HTTPRoute, name: r, sectionname: x}]}".to_owned(),
            "spec.targetRefs[] has",
        ),
        ("RouteOption", format!("{{targetRefs: [{target}], options: {{extAuth: {{}}}}}}"), "spec.options has"),
        (
            "RouteOption",
            format!("{{targetRefs: [{target}], options: {{extauth: {{configref: {{name: k}}}}}}}}"),
            "spec.options.extauth has",
        ),
        ("RouteOption", format!("{{targetRefs: [{target}], option: {{extauth: {{disable: true}}}}}}"), "spec has"),
        ("RouteOption", "{targetRefs: {name: r}}".to_owned(), "targetRefs"),
        ("AuthConfig", "{config: []}".to_owned(), "spec has"),
        ("AuthConfig", "{configs: [{apiKeyauth: {}}]}".to_owned(), "spec.configs[] has"),
        ("AuthConfig", "{configs: [{name: a}, {api_key_auth: {headername: x}}]}".to_owned(), "apiKeyAuth has"),
        // In values of mappings, and in the second of two spellings.
        (
            "AuthConfig",
            "{configs: [{apiKeyAuth: {headersFromMetadataEntry: {x-org: {naem: org}}}}]}".to_owned(),
            "headersFromMetadataEntry.* has",
        ),
        (
            "AuthConfig",
            "{configs: [{basic_auth: {apr: {users: {u: {salt: s, hashed_pasword: h}}}}}]}".to_owned(),
            "basicAuth.apr.users.* has",
        ),
        (
            "AuthConfig",
            "{configs: [{apiKeyAuth: {}, api_key_auth: {headername: x}}]}".to_owned(),
            "spec.configs[].apiKeyAuth has",
        ),
        ("RateLimitConfig", "{raw: {descriptor: []}}".to_owned(), "spec.raw has"),
        (
            "RateLimitConfig",
            "{raw: {descriptors: [{key: a, descriptors: [{key: b, ratelimit: {}}]}]}}".to_owned(),
            "spec.raw.descriptors[].descriptors[] has",
        ),
        (
            "RateLimitConfig",
            "{raw: {descriptors: [{key: a, descriptors: [{key: b, descriptors: [{key: c, rateLimit: {units: DAY}}]}]}]}}"
                .to_owned(),
            "spec.raw.descriptors[].descriptors[].descriptors[].rateLimit has",
        ),
        (
            "RateLimitConfig",
            "{raw: {setDescriptors: [], set_descriptors: [{rateLimits: {}}]}}".to_owned(),
            "spec.raw.setDescriptors[] has",
        ),
        ("RateLimitConfig", "{raw: {set_descriptors: [{rateLimits: {}}]}}".to_owned(), "spec.raw.setDescriptors[] has"),
    ];
    // Policies are heeded a moment after they are stored.
    for (number, (kind, spec, said)) in mistakes.iter().enumerate() {
        let document = gloo(kind, &format!("m{number}"), spec);
        eventually("the mistake to be refused", CHANGE, || match cluster.try_apply(&document) {
            answer if answer.status >= 400 && answer.body.contains(said) => Ok(()),
            answer => Err(format!("{spec}: {answer:?}")),
        });
    }
    for document in published() {
        let answer = cluster.try_apply(&document);
        assert!((200..300).contains(&answer.status), "{document}: {answer:?}");
    }
}
