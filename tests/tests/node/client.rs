//! The client's pod, and what carries its connections to the waypoint.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use waykeeper_tests::node::Node;
use waykeeper_tests::parts::{Process, binary, on_path};
use waykeeper_tests::{Reply, eventually};

use crate::PODS;

/// Where the tunnel says how it is, in the pod's network namespace.
const ADMIN: &str = "127.0.0.1:9100";

/// A pod whose connections to `httpbin2` and `httpbin3` go the way of a mesh.
pub struct Client<'n> {
    /// Where it runs.
    pub node: &'n Node,
    /// Its address.
    pub pod: String,
    services: Vec<(&'static str, String)>,
    tunnel: Process,
    dir: TempDir,
}

impl<'n> Client<'n> {
    /// Starts the tunnel beside the client's container, ready.
    pub fn start(node: &'n Node) -> Self {
        println!(
            "there is no ztunnel here: `waykeeper tunnel` plays its part in the network namespace of the client's pod"
        );
        let of = |kind: &str, path: &str| node.run(&format!("kubectl -n httpbin get {kind} -o jsonpath='{{{path}}}'"));
        let pod = of("pods -l app=client", ".items[0].status.podIP");
        let waypoint = of("gateway gloo-waypoint", ".status.addresses[0].value");
        // Connections to these addresses are delivered in the pod's own namespace, from its own address.
        let services =
            ["httpbin2", "httpbin3"].map(|service| (service, of(&format!("svc {service}"), ".spec.clusterIP")));
        for (_, vip) in &services {
            let mut route = node.in_network_of(&pod, &on_path("ip").unwrap());
            route.args(["route", "add", "local", vip, "dev", "lo", "src", &pod, "table", "local"]);
            assert!(route.status().unwrap().success());
        }
        let dir = TempDir::new().unwrap();
        let kubeconfig = node.cluster.admin(None);
        let mut command = node.in_network_of(&pod, &binary("waykeeper"));
        command.args(["tunnel", "--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap(), "--admin", ADMIN]);
        command.args(["--to", &format!("httpbin/gloo-waypoint={waypoint}:15088")]);
        let log = fs::File::create(dir.path().join("tunnel")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let client = Client { node, pod, services: services.into(), tunnel: Process(command.spawn().unwrap()), dir };
        eventually("the tunnel", PODS, || {
            let ready =
                client.inside(&["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{ADMIN}/readyz")]);
            if ready.stdout == b"200" { Ok(()) } else { Err(client.log()) }
        });
        client
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("tunnel")).unwrap()
    }

    /// curl in the pod's network namespace, without a container.
    fn inside(&self, args: &[&str]) -> std::process::Output {
        self.curl(args).output().unwrap()
    }

    /// The same, in the making.
    pub fn curl(&self, args: &[&str]) -> Command {
        let mut command = self.node.in_network_of(&self.pod, &curl());
        for (service, vip) in &self.services {
            command.args(["--resolve", &format!("{service}:8000:{vip}")]);
        }
        command.args(["--noproxy", "*"]).args(args);
        command
    }

    /// What a `kubectl … exec … curl` printed, with the response's head if it asked for that.
    pub fn send(&self, line: &str) -> Reply {
        let said = self.node.shell(line);
        let mut reply = if said.out.starts_with("HTTP/") {
            Reply::read(&said.out)
        } else {
            Reply { status_line: String::new(), status: 0, headers: vec![], body: said.out, error: None }
        };
        reply.error = (!said.well).then_some(said.err);
        reply
    }
}

fn curl() -> PathBuf {
    on_path("curl").expect("curl is missing: apt-get install curl")
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- tunnel ---\n{}", self.log());
        }
        let _ = self.tunnel.0.kill();
    }
}
