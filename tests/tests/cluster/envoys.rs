//! Envoys of Gateways in a cluster: by which token they get what, and how one runs in a pod.

use waykeeper_tests::alone::envoy;

use super::*;

/// For whom the tokens are that Envoys show.
const AUDIENCE: &str = "xds.waykeeper.dev";

/// A certificate for `localhost`, its key and who signed it, in a folder.
struct Certificates(PathBuf);

impl Certificates {
    fn new(dir: &Path) -> Certificates {
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

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// The process of a pod; it ends with the test, and its Envoy with it.
struct Pod {
    process: Process,
    admin: String,
    log: PathBuf,
}

impl Pod {
    /// `waypoint proxy` with these arguments; `name` tells its files from those of others.
    fn start(dir: &Path, name: &str, args: &[&str]) -> Pod {
        let (admin, log, run) = (free(), dir.join(name), dir.join(format!("{name}.run")).display().to_string());
        let (program, envoy) = (binary("waypoint").display().to_string(), envoy().display().to_string());
        let own = ["--pid", "--fork", "--kill-child", &program, "proxy", "--admin", &admin, "--run-dir", &run];
        let own = [&own[..], &["--envoy", &envoy, "--concurrency", "1"], args].concat();
        Pod { process: start(Path::new("unshare"), &own, &log), admin, log }
    }

    /// One of the Gateway `t/NAME`, with this token.
    fn of(dir: &Path, gateway: &str, token: &str, xds: &str, ca: &str) -> Pod {
        let name = format!("pod-{gateway}-{}", free().rsplit(':').next().unwrap());
        let file = dir.join(format!("{name}.token"));
        fs::write(&file, token).unwrap();
        let (gateway, xds) = (format!("t/{gateway}"), xds.replace("127.0.0.1", "localhost"));
        let args = ["--gateway", &gateway, "--xds", &xds, "--ca", ca, "--token", file.to_str().unwrap()];
        Pod::start(dir, &name, &args)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn page(&self, path: &str) -> (u16, String) {
        let reply = Curl::to(&format!("http://{}{path}", self.admin)).send();
        (reply.status, reply.body)
    }

    fn ready(&self) {
        eventually("a ready pod", RETURN, || match self.page("/readyz") {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}\n{}", self.log())),
        });
    }

    /// SIGTERM to the process itself, which drains and ends well.
    fn stop(mut self) {
        let parent = self.process.0.id();
        let child = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        assert!(std::process::Command::new("kill").args(["-TERM", child.trim()]).status().unwrap().success());
        let status = eventually("the end of the pod", Duration::from_secs(60), || {
            self.process.0.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "still running".into())
        });
        assert!(status.success(), "{status}: {}", self.log());
    }
}

fn gateway(name: &str, port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  \
         gatewayClassName: gloo-waypoint\n  listeners: [{{name: proxy, port: {port}, protocol: istio.io/PROXY}}]\n"
    )
}

fn programmed(status: &serde_json::Value) -> bool {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == "Programmed" && one["status"] == "True")
}

fn counted(server: &Server, metric: &str) -> f64 {
    let (_, metrics) = server.page("/metrics");
    metrics.lines().find_map(|line| line.strip_prefix(&format!("{metric} "))?.parse().ok()).unwrap_or_default()
}

fn bind(cluster: &Cluster, role: &str) {
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
    let waypoint = Server::start("waypoint", &kubeconfig, dir.path(), &["--tls-cert", &cert, "--tls-key", &key]);
    waypoint.ready();
    let ports = [(); 2].map(|()| free().rsplit(':').next().unwrap().parse().unwrap());
    cluster.apply(&gateway("a", ports[0]));
    cluster.apply(&gateway("b", ports[1]));
    let token = |account: &str| cluster.token_for("t", account, AUDIENCE);
    let ca = certificates.at("ca.crt");
    let pod = |gateway: &str, token: &str| Pod::of(dir.path(), gateway, token, &waypoint.grpc, &ca);

    // Whoever asks about tokens needs the right to: without it, nobody is anybody.
    let first = pod("a", &token("gloo-proxy-a"));
    let refused = |before: f64, pod: &Pod| {
        eventually("a refusal", CHANGE, || match counted(&waypoint, "waykeeper_xds_refused_streams_total") {
            now if now > before => Ok(now),
            now => Err(format!("{now}\n{}\n{}", waypoint.log(), pod.log())),
        })
    };
    refused(0.0, &first);
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
        refused(before, &stranger);
        assert_eq!(stranger.page("/readyz").0, 503, "{what}");
        assert!(!waypoint.log().contains(&wrong), "{what}: a token is in the log");
    }
    let status = cluster.get(&gateway("b", ports[1])).json()["status"].take();
    assert!(!programmed(&status), "{status}");
    let second = pod("b", &token("gloo-proxy-b"));
    second.ready();
    told(&cluster, &gateway("b", ports[1]), "programmed", programmed);

    // While the API server is away, who was let in stays, and whoever comes anew waits.
    cluster.kill_server();
    let before = counted(&waypoint, "waykeeper_xds_refused_streams_total");
    let late = pod("b", &token_of_nobody());
    refused(before, &late);
    assert_eq!(late.page("/readyz").0, 503);
    assert_eq!(first.page("/readyz").0, 200);
    first.stop();
    second.stop();
}

/// What has the form of a token.
fn token_of_nobody() -> String {
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl".to_owned()
}
