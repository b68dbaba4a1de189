//! A control plane that is away stops nobody: an Envoy that begins anew in its pod serves what the one before it had
//! acknowledged, and nothing older.

use std::os::unix::fs::PermissionsExt as _;

use api::contract::ENVOYS;
use base64::Engine as _;

use super::envoys::{AUDIENCE, Certificates, Pod, bind, gateway, programmed};
use super::mutual::{POLICIES, ask, service};
use super::*;

/// A policy that takes the keys of the team `z` alone.
fn other_policy() -> String {
    let keys = config(GROUP, "others").replace("{team: x}", "{team: z}");
    let secret = labelled_secret("o", "other-key").replace("{team: x}", "{team: z}");
    let option = POLICIES.split("---\n").nth(1).unwrap().replace("name: keys", "name: others");
    format!("{keys}\n---\n{secret}\n---\n{option}")
}

/// Puts what a Secret has into a folder.
fn mount(cluster: &Cluster, name: &str, folder: &Path) {
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\n");
    let data = eventually(name, CHANGE, || match cluster.get(&secret) {
        answer if answer.status == 200 => Ok(answer.json()["data"].take()),
        answer => Err(format!("{answer:?}")),
    });
    fs::create_dir_all(folder).unwrap();
    for (name, coded) in data.as_object().unwrap() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(coded.as_str().unwrap()).unwrap();
        fs::write(folder.join(name), decoded).unwrap();
    }
}

#[test]
fn an_envoy_that_begins_while_the_control_plane_is_away_serves_what_was_acknowledged_last() {
    let _turn = turn();
    let endpoint = address("10.244.0.3");
    let mut cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    namespace(&cluster);
    gateway_crds(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    let kubeconfig = account(&cluster, "waypoint", None);
    bind(&cluster, "waykeeper-waypoint-xds");
    cluster.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: authority, namespace: default}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waykeeper-waypoint-authority}\n\
         subjects: [{kind: ServiceAccount, name: waypoint, namespace: default}]\n",
    );
    let port: u16 = free().rsplit(':').next().unwrap().parse().unwrap();
    cluster.apply(&gateway("a", port));
    for manifest in [&service(&endpoint), POLICIES, &config(GROUP, "keys"), &labelled_secret("k", "good-key")] {
        cluster.apply(manifest);
    }
    let app = cluster.get("apiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: t}\n").json();
    let vip = app["spec"]["clusterIP"].as_str().unwrap().parse::<std::net::Ipv4Addr>().unwrap().octets();
    let _application = start(&binary("sample-app"), &["--listen", &format!("{endpoint}:8080")], &at("app"));

    let own = Certificates::new(dir.path());
    let (xds, auth, limit) = (free(), free(), free());
    let extauth_at = format!("mtls://{}", auth.replace("127.0.0.1", "localhost"));
    let ratelimit_at = format!("mtls://{}", limit.replace("127.0.0.1", "localhost"));
    let (cert, key) = (own.at("tls.crt"), own.at("tls.key"));
    let args = ["--tls-cert", &cert, "--tls-key", &key, "--extauth", &extauth_at, "--ratelimit", &ratelimit_at];
    let begin = || {
        let waypoint = Server::at(xds.clone(), "waypoint", &kubeconfig, dir.path(), &args);
        waypoint.ready();
        waypoint
    };
    let waypoint = begin();
    let mut servers = Vec::new();
    for (program, grpc) in [("extauth", &auth), ("ratelimit", &limit)] {
        mount(&cluster, &format!("waykeeper-{program}-tls"), &at(program));
        let (folder, ca) = (text(program), format!("{}/ca.crt", text(program)));
        let args = ["--grpc-tls", &folder, "--grpc-client-ca", &ca, "--grpc-client-name", ENVOYS];
        let kubeconfig = account(&cluster, program, None);
        let server = Server::at(grpc.clone(), program, &kubeconfig, dir.path(), &args);
        server.ready();
        servers.push(server);
    }
    // The folders of a pod outlive its container.
    fs::write(at("token"), cluster.token_for("t", "gloo-proxy-a", AUDIENCE)).unwrap();
    let (ca, token, control) = (own.at("ca.crt"), text("token"), xds.replace("127.0.0.1", "localhost"));
    let container = |pod: &str| {
        let kept = text(&format!("{pod}.kept"));
        let args = ["--gateway", "t/a", "--xds", &control, "--ca", &ca, "--token", &token, "--secrets-dir", &kept];
        Pod::start(dir.path(), pod, &args)
    };
    let pod = container("pod");
    // One that was killed holds its Lease for a while.
    let answers = |pod: &Pod, headers: &str, wanted: &str| {
        eventually(&format!("{wanted} for {headers:?}"), RETURN, || match ask(port, vip, headers) {
            got if got == wanted => Ok(()),
            got => Err(format!("{got:?}\n{}", pod.log())),
        });
    };
    let (good, other) = ("api-key: good-key\r\n", "api-key: other-key\r\n");
    pod.ready();
    answers(&pod, good, "200");
    answers(&pod, "", "401");
    told(&cluster, &gateway("a", port), "programmed", programmed);

    // What is written down of it can be read by nobody else, and keys are in a folder of their own.
    for (folder, has_keys) in [("pod.run", false), ("pod.kept", true)] {
        let file = at(folder).join("acknowledged");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let held = String::from_utf8_lossy(&fs::read(&file).unwrap()).contains("PRIVATE KEY");
        assert_eq!(held, has_keys, "{folder}");
    }

    // The control plane is killed, and so is the container. The next one serves as soon as it is ready, by the same policy.
    drop(waypoint);
    answers(&pod, good, "200");
    drop(pod);
    let pod = container("pod");
    pod.ready();
    for _ in 0..20 {
        assert_eq!((ask(port, vip, good), ask(port, vip, "")), ("200".to_owned(), "401".to_owned()), "{}", pod.log());
    }
    let (_, said) = pod.page("/readyz");
    assert!(said.contains("what it said last is served"), "{said}");
    // So does an Envoy that died alone, and so with an API server that is away as well.
    cluster.kill_server();
    pod.kill_envoy();
    eventually("a pod that notices", CHANGE, || match pod.page("/readyz") {
        (503, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pod.ready();
    assert_eq!((ask(port, vip, good), ask(port, vip, "")), ("200".to_owned(), "401".to_owned()));
    cluster.start_server();

    // One in another pod, which has nothing, is not ready.
    let elsewhere = container("elsewhere");
    eventually("its Envoy", CHANGE, || match elsewhere.log() {
        log if log.contains("DeltaAggregatedResources") => Ok(()),
        log => Err(log),
    });
    assert_eq!((elsewhere.page("/readyz").0, elsewhere.page("/livez").0), (503, 200));
    drop(elsewhere);

    // It comes back, and meanwhile another policy was declared: that is in force, without a restart.
    cluster.apply(&other_policy());
    let waypoint = begin();
    answers(&pod, other, "200");
    answers(&pod, good, "401");
    told(&cluster, &gateway("a", port), "programmed", programmed);
    eventually("silence", CHANGE, || match pod.page("/readyz") {
        (200, said) if !said.contains("what it said last") => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // What is served next time is that one, and not the one before.
    drop(waypoint);
    drop(pod);
    let pod = container("pod");
    pod.ready();
    for _ in 0..20 {
        assert_eq!(
            (ask(port, vip, other), ask(port, vip, good)),
            ("200".to_owned(), "401".to_owned()),
            "{}",
            pod.log()
        );
    }
    // A control plane that is there and says nothing is none: it has not read anything.
    cluster.kill_server();
    let silent = Server::at(xds.clone(), "waypoint", &kubeconfig, dir.path(), &args);
    drop(pod);
    let pod = container("pod");
    pod.ready();
    assert_eq!((ask(port, vip, other), ask(port, vip, good)), ("200".to_owned(), "401".to_owned()), "{}", pod.log());
    cluster.start_server();
    silent.ready();
    eventually("silence", RETURN, || match pod.page("/readyz") {
        (200, said) if !said.contains("what it said last") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.apply(POLICIES.split("---\n").nth(1).unwrap());
    answers(&pod, good, "200");
    answers(&pod, other, "401");
    // Nothing of a key was logged.
    assert!(!pod.log().contains("PRIVATE KEY"), "{}", pod.log());
    pod.stop();
}
