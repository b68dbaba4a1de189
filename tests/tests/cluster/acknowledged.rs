//! What is programmed is what the Envoy of every ready pod of the Gateway has acknowledged.

use super::envoys::{AUDIENCE, Certificates, Pod, bind, condition, gateway, programmed, routed};
use super::*;

/// The EndpointSlice of the Gateway's own Service, with these pods and whether each is ready.
fn slice(pods: &[(&str, bool)]) -> String {
    let endpoint = |(number, (name, ready)): (usize, &(&str, bool))| {
        format!(
            "- {{addresses: [10.244.1.{number}], conditions: {{ready: {ready}}}, targetRef: {{kind: Pod, name: {name}}}}}\n"
        )
    };
    let endpoints: String = pods.iter().enumerate().map(endpoint).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: gloo-proxy-a-1\n  namespace: t\n  \
         labels: {{kubernetes.io/service-name: gloo-proxy-a}}\naddressType: IPv4\n\
         ports: [{{name: status-port, port: 15021}}]\nendpoints:\n{endpoints}"
    )
}

#[test]
fn what_is_programmed_every_ready_pod_has_acknowledged() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let certificates = Certificates::new(dir.path());
    namespace(&cluster);
    gateway_crds(&cluster);
    let kubeconfig = account(&cluster, "waypoint", None);
    bind(&cluster, "waykeeper-waypoint-xds");
    let (cert, key) = (certificates.at("tls.crt"), certificates.at("tls.key"));
    // Pods have networks of their own.
    let grpc = free().replace("127.0.0.1", "0.0.0.0");
    let args = ["--tls-cert", &cert, "--tls-key", &key];
    let mut waypoint = Server::at(grpc.clone(), "waypoint", &kubeconfig, dir.path(), &args);
    waypoint.ready();
    let port = || free().rsplit(':').next().unwrap().parse().unwrap();
    let gateway = gateway("a", port());
    cluster.apply(&gateway);
    cluster.apply(&mutual::service("192.0.2.1"));
    cluster.apply(&routed(0));
    let pod = |number: u8, name: &str| {
        let token = dir.path().join(format!("{name}.token"));
        fs::write(&token, cluster.token_in_pod("t", "gloo-proxy-a", AUDIENCE, name)).unwrap();
        let (xds, ca) = (grpc.replace("0.0.0.0", &format!("10.245.{number}.1")), certificates.at("ca.crt"));
        let token = token.display().to_string();
        let args = ["--gateway", "t/a", "--xds", &xds, "--xds-name", "localhost", "--ca", &ca, "--token", &token];
        Pod::with_a_network(dir.path(), number, &args)
    };
    let of_route = |status: &serde_json::Value| status["parents"][0].clone();
    let waits_for = |status: &serde_json::Value, pods: &str| {
        let said = condition(status, "Programmed");
        said["status"] == "Unknown" && said["message"].as_str().unwrap_or_default().contains(pods)
    };

    // One that is not ready yet is not waited for.
    cluster.apply(&slice(&[("a-one", true), ("a-two", false)]));
    told(&cluster, &gateway, "waiting", |status| waits_for(status, "Gateway t/a"));
    let one = pod(1, "a-one");
    one.ready();
    told(&cluster, &gateway, "programmed", programmed);
    told(&cluster, &routed(0), "programmed", |status| programmed(&of_route(status)));

    // A ready one that is not connected is, by its name: of what it serves nobody knows.
    cluster.apply(&slice(&[("a-one", true), ("a-two", true)]));
    let words = "in pod a-two, which is ready and not connected";
    told(&cluster, &gateway, "waiting for it", |status| waits_for(status, words));
    told(&cluster, &routed(0), "waiting for it", |status| waits_for(&of_route(status), words));
    // Another one of the Gateway is not it.
    let three = pod(3, "a-three");
    three.ready();
    cluster.apply(&routed(1));
    told(&cluster, &routed(1), "waiting for it", |status| waits_for(&of_route(status), words));
    let two = pod(2, "a-two");
    two.ready();
    told(&cluster, &gateway, "programmed", programmed);
    told(&cluster, &routed(1), "programmed", |status| programmed(&of_route(status)));

    // It is gone, and said to be ready still. What it had it has; what is new it has not.
    drop(two);
    eventually("its end", CHANGE, || match waypoint.page("/config").1 {
        config if config.contains("\"envoys\":2") => Ok(()),
        config => Err(config),
    });
    assert!(programmed(&cluster.get(&gateway).json()["status"]));
    cluster.apply(&routed(2));
    told(&cluster, &routed(2), "waiting for it", |status| waits_for(&of_route(status), words));
    assert!(waypoint.page("/config").1.contains("\"missing\":[\"a-two\"]"), "{}", waypoint.page("/config").1);
    cluster.apply(&slice(&[("a-one", true), ("a-two", false)]));
    told(&cluster, &gateway, "programmed", programmed);
    told(&cluster, &routed(2), "programmed", |status| programmed(&of_route(status)));
    one.stop();
    three.stop();
    waypoint.stop(Duration::from_secs(20));
}
