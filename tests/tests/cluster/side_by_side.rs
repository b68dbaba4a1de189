//! Two installations in one cluster, each with classes and a controller's name of its own: neither touches what the other
//! has said or made.

use serde_json::Value;

use super::envoys::{AUDIENCE, Certificates, Pod, bind, condition, programmed};
use super::*;

/// An installation.
struct Installation {
    /// Its namespace, its class, and what its Services and routes are called.
    name: &'static str,
    controller: &'static str,
    waypoint: Server,
}

fn gateway_of(name: &str, port: u16) -> String {
    super::envoys::gateway(name, port).replace("gatewayClassName: gloo-waypoint", &format!("gatewayClassName: {name}"))
}

/// A Service that uses the Gateway of this name.
fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: t, labels: {{istio.io/use-waypoint: {name}}}}}\n\
         spec: {{ports: [{{name: http, port: 8000}}]}}\n"
    )
}

/// A route of these Services.
fn route(name: &str, services: &[&str]) -> String {
    let parents: Vec<String> =
        services.iter().map(|service| format!("{{group: '', kind: Service, name: {service}}}")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: t}}\nspec:\n  \
         parentRefs: [{}]\n  rules: [{{matches: [{{path: {{value: /{name}}}}}]}}]\n",
        parents.join(", ")
    )
}

/// What this controller says of a route's parents, by their names.
fn said(status: &Value, controller: &str) -> Vec<(String, bool)> {
    let parents = status["parents"].as_array().cloned().unwrap_or_default();
    let own = parents.iter().filter(|parent| parent["controllerName"] == controller);
    own.map(|parent| (parent["parentRef"]["name"].as_str().unwrap().to_owned(), programmed(parent))).collect()
}

#[test]
fn two_installations_leave_each_others_statuses_and_objects_alone() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let certificates = Certificates::new(dir.path());
    namespace(&cluster);
    gateway_crds(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    // Both have the rights of this account, for whom nothing is forbidden that the other has.
    let kubeconfig = account(&cluster, "waypoint", None);
    for role in ["waykeeper-waypoint-xds", "waykeeper-waypoint-deployer"] {
        bind(&cluster, role);
    }
    let names = [("one", "one.example/waypoints"), ("two", "two.example/waypoints")];
    for (name, _) in names {
        cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"));
        cluster.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: leases, namespace: {name}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waykeeper-leases}}\n\
             subjects: [{{kind: ServiceAccount, name: waypoint, namespace: default}}]\n"
        ));
    }
    let (cert, key, ca) = (certificates.at("tls.crt"), certificates.at("tls.key"), certificates.at("ca.crt"));
    let begin = |(name, controller): (&'static str, &'static str)| {
        let (grpc, admin) = (free(), free());
        let log = dir.path().join(name);
        let own = ["--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap(), "--grpc", &grpc, "--admin", &admin];
        let tls = ["--tls-cert", &cert, "--tls-key", &key, "--proxy-ca", &ca, "--proxy-image", "none", "--deploy"];
        let its = ["--own-namespace", name, "--class", name, "--controller-name", controller];
        let xds = ["--proxy-xds", &grpc];
        let process = start(&binary("waypoint"), &[&own[..], &tls, &its, &xds].concat(), &log);
        let waypoint = Server { process, grpc, admin, log };
        waypoint.ready();
        Installation { name, controller, waypoint }
    };
    let all = names.map(begin);
    let port = || free().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let gateways: Vec<String> = all.iter().map(|one| gateway_of(one.name, port())).collect();
    for (one, gateway) in all.iter().zip(&gateways) {
        cluster.apply(gateway);
        cluster.apply(&service(one.name));
    }
    let both = route("both", &["one", "two"]);
    for route in [&both, &route("only-one", &["one"]), &route("only-two", &["two"])] {
        cluster.apply(route);
    }
    let pods: Vec<Pod> = all
        .iter()
        .map(|one| {
            let token = cluster.token_for("t", &format!("gloo-proxy-{}", one.name), AUDIENCE);
            let pod = Pod::of(dir.path(), one.name, &token, &one.waypoint.grpc, &ca);
            pod.ready();
            pod
        })
        .collect();

    // Each says of its own what it knows, and nothing of the other's.
    for (one, gateway) in all.iter().zip(&gateways) {
        told(&cluster, gateway, "programmed", programmed);
        let class =
            format!("apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {}}}\n", one.name);
        let class = cluster.get(&class).json();
        assert_eq!(class["spec"]["controllerName"], one.controller);
        assert_eq!(condition(&class["status"], "Accepted")["status"], "True", "{class}");
        let own = vec![(one.name.to_owned(), true)];
        told(&cluster, &both, "both", |status| said(status, one.controller) == own);
        let only = route(&format!("only-{}", one.name), &[]);
        let status = told(&cluster, &only, "its own", |status| said(status, one.controller) == own);
        assert_eq!(status["parents"].as_array().unwrap().len(), 1, "{status}");
    }
    let objects: Vec<String> = names
        .iter()
        .flat_map(|(name, _)| {
            ["ServiceAccount", "ConfigMap", "Service"].map(|kind| {
                format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: gloo-proxy-{name}, namespace: t}}\n")
            })
        })
        .collect();
    let version = |object: &String| cluster.get(object).json()["metadata"]["resourceVersion"].to_string();
    let stands: Vec<String> = objects.iter().chain(&gateways[..1]).cloned().chain([both.clone()]).collect();
    let before: Vec<String> = stands.iter().map(version).collect();
    assert!(!before.iter().any(|version| version == "null"), "{before:?}");

    // One of them begins anew, and looks through everything: what the other has said stands, and so does its own.
    let [mut one, mut two] = all;
    two.waypoint.stop(Duration::from_secs(20));
    two.waypoint = {
        let (grpc, admin) = (two.waypoint.grpc.clone(), free());
        let log = dir.path().join("two-again");
        let own = ["--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap(), "--grpc", &grpc, "--admin", &admin];
        let tls = ["--tls-cert", &cert, "--tls-key", &key, "--proxy-ca", &ca, "--proxy-image", "none", "--deploy"];
        let its = ["--own-namespace", "two", "--class", "two", "--controller-name", two.controller];
        let process = start(&binary("waypoint"), &[&own[..], &tls, &its, &["--proxy-xds", &grpc]].concat(), &log);
        Server { process, grpc, admin, log }
    };
    two.waypoint.ready();
    let later = route("later", &["two"]);
    cluster.apply(&later);
    told(&cluster, &later, "its own", |status| said(status, two.controller) == [("two".to_owned(), true)]);
    assert_eq!(stands.iter().map(version).collect::<Vec<_>>(), before);

    // What is taken from one goes from it alone.
    cluster.delete(&gateways[1]);
    cluster.delete(&service("two"));
    told(&cluster, &both, "nothing of the second", |status| {
        let gone = said(status, two.controller).iter().all(|(_, programmed)| !programmed);
        gone && said(status, one.controller).contains(&("one".to_owned(), true))
    });
    for object in &objects[..3] {
        assert_eq!(cluster.get(object).status, 200, "{object}");
    }
    pods.into_iter().for_each(Pod::stop);
    for installation in [&mut one, &mut two] {
        installation.waypoint.stop(Duration::from_secs(20));
    }
}
