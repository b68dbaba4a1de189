//! The steps of walkthrough 000, numbered as its cases are.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use waykeeper_tests::node::Node;
use waykeeper_tests::walkthrough::{PLAIN, assert_unauthorized, with};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Reply, eventually, fresh_minute};

use crate::client::Client;
use crate::{CHANGE, PODS};

/// The line with which the walkthrough makes objects of these files of `examples/walkthrough-000`.
fn apply(files: &[&str]) -> String {
    let text = |file: &&str| fs::read_to_string(root().join("examples/walkthrough-000").join(file)).unwrap();
    let documents: Vec<String> = files.iter().map(text).collect();
    format!("kubectl apply -f - <<EOF\n{}EOF", documents.join("---\n"))
}

/// S0-02: a waypoint, and the pods that run it.
pub fn gateway(node: &Node) {
    node.run(
        "kubectl apply -f - <<EOF
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: gloo-waypoint
  namespace: httpbin
spec:
  gatewayClassName: gloo-waypoint
  listeners:
  - name: proxy
    port: 15088
    protocol: istio.io/PROXY
EOF",
    );
    // A person is a second slower than this.
    eventually("the Deployment", CHANGE, || {
        let said = node.shell("kubectl -n httpbin get deploy gloo-proxy-gloo-waypoint");
        if said.well { Ok(()) } else { Err(said.err) }
    });
    let said = node.run("timeout 90 kubectl -n httpbin rollout status deploy gloo-proxy-gloo-waypoint");
    assert!(said.ends_with("deployment \"gloo-proxy-gloo-waypoint\" successfully rolled out\n"), "{said}");
    let gateway = "kubectl -n httpbin get gateway gloo-waypoint --no-headers";
    eventually("a Gateway that serves, with an address", PODS, || {
        let said = node.run(gateway);
        let words: Vec<&str> = said.split_whitespace().collect();
        if words[1] == "gloo-waypoint" && words[2].starts_with("10.96.") && words[3] == "True" {
            Ok(())
        } else {
            Err(said)
        }
    });
}

/// What the application saw, of a reply whose head was not asked for.
fn plain(reply: &Reply) -> Result<(), String> {
    let is = reply.error.is_none() && reply.body.starts_with('{') && reply.seen_names() == PLAIN;
    if is { Ok(()) } else { Err(format!("{reply:?}")) }
}

fn deleted(client: &Client<'_>, lines: &[&str]) {
    for line in lines {
        let said = client.node.run(line);
        assert!(said.lines().all(|line| line.contains(" deleted")), "{line}: {said}");
    }
}

/// Waits until the server that judges it says that this object is in force.
fn in_force(node: &Node, what: &str, path: &str, wanted: &str) {
    eventually(&format!("{what} in force"), CHANGE, || {
        let said = node.run(&format!("kubectl -n httpbin get {what} -o jsonpath='{{{path}}}'"));
        if said == wanted { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

/// `for i in {1..3}` of the walkthrough's: one line for each request.
fn three_times(client: &Client<'_>, line: &str) -> Vec<String> {
    let said = client.node.run(&format!("for i in {{1..3}}; do {line} ; done"));
    said.lines().filter(|line| line.starts_with("HTTP/1.1 ")).map(|line| line.trim_end().to_owned()).collect()
}

/// The minute of the clock, by which limits are counted.
fn minute() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60
}

const OK: &str = "HTTP/1.1 200 OK";
const LIMITED: &str = "HTTP/1.1 429 Too Many Requests";

/// S0-03 to S0-16.
pub fn follow(client: &Client<'_>) {
    let node = client.node;
    let send = |line: &str| client.send(line);
    // S0-03: through the waypoint.
    node.run("kubectl -n httpbin label svc httpbin2 istio.io/use-waypoint=gloo-waypoint");
    node.run("kubectl -n httpbin label svc httpbin3 istio.io/use-waypoint=gloo-waypoint");
    let get = |service: &str| format!("kubectl -n httpbin exec deploy/client -- curl -s http://{service}:8000/get");
    for service in ["httpbin2", "httpbin3"] {
        let reply = eventually("S0-03", CHANGE, || {
            let reply = send(&get(service));
            plain(&reply).map(|()| reply)
        });
        assert_eq!(reply.seen("Host").as_deref(), Some(format!("{service}:8000").as_str()));
        assert_eq!(reply.seen("X-Envoy-Expected-Rq-Timeout-Ms").as_deref(), Some("15000"));
        let origin = reply.json()["origin"].as_str().unwrap().to_owned();
        assert!(origin.starts_with("10.97."), "{origin}");
    }

    // S0-04, S0-05: headers, for each service its own.
    node.run(&apply(&["header-control/01-httproute-httpbin2.yaml"]));
    node.run(&apply(&["header-control/02-httproute-httpbin3.yaml"]));
    let with_header = |service: &str| format!("{} -H \"X-Remove: this header\"", get(service));
    let changed = |service: &str| {
        eventually("S0-04", CHANGE, || match send(&with_header(service)) {
            reply if reply.body.starts_with('{') && reply.seen("App").is_some() => Ok(reply),
            reply => Err(format!("{reply:?}")),
        })
    };
    let reply = changed("httpbin2");
    assert_eq!(reply.seen("App").as_deref(), Some("httpbin2"));
    assert_eq!(reply.seen("User-Agent").as_deref(), Some("custom"));
    assert_eq!(reply.seen_names(), with(&["App"]));
    let reply = changed("httpbin3");
    assert_eq!(reply.seen("App").as_deref(), Some("httpbin3"));
    assert_eq!(reply.seen("X-Remove").as_deref(), Some("this header"));
    assert!(reply.seen("User-Agent").unwrap().starts_with("curl/"));

    // S0-06.
    deleted(client, &["kubectl delete httproutes httpbin2 httpbin3 -n httpbin"]);
    for service in ["httpbin2", "httpbin3"] {
        eventually("S0-06", CHANGE, || plain(&send(&get(service))));
    }

    // S0-07 to S0-10: API keys.
    node.run("kubectl create ns gloo-system");
    node.run(&apply(&["apikeys/01-authconfig-and-secret.yaml"]));
    node.run(&apply(&["apikeys/02-routeoption-httpbin2.yaml"]));
    node.run(&apply(&["apikeys/03-httproute-httpbin2.yaml"]));
    let without = "kubectl -n httpbin exec deploy/client -- curl -vik http://httpbin2:8000/get";
    let key = format!("{without} \\\n-H \"api-key: mykey\"");
    let reply = eventually("S0-07", CHANGE, || match send(without) {
        reply if reply.status == 401 => Ok(reply),
        reply => Err(format!("{reply:?}")),
    });
    assert_unauthorized(&reply);
    let reply = eventually("S0-08", CHANGE, || match send(&key) {
        reply if reply.status == 200 => Ok(reply),
        reply => Err(format!("{reply:?}")),
    });
    assert_eq!(reply.seen_names(), with(&["Api-Key", "X-Organization", "X-User-Id"]));
    assert_eq!(reply.seen("Api-Key").as_deref(), Some("mykey"));
    assert_eq!(reply.seen("X-Organization").as_deref(), Some("solo.io"));
    assert_eq!(reply.seen("X-User-Id").as_deref(), Some("apikey"));
    assert_unauthorized(&send(&key.replace("mykey", "wrong")));
    plain(&send(&get("httpbin3"))).unwrap();

    // S0-11: the key is revoked, then the policy goes.
    deleted(client, &["kubectl delete secret apikey -n gloo-system"]);
    let reply = eventually("a revoked key", CHANGE, || match send(&key) {
        reply if reply.status == 401 => Ok(reply),
        reply => Err(format!("{reply:?}")),
    });
    assert_unauthorized(&reply);
    deleted(
        client,
        &[
            "kubectl delete routeoption httpbin2 -n httpbin",
            "kubectl delete authconfig apikeys -n httpbin",
            "kubectl delete httproute httpbin2 -n httpbin",
        ],
    );
    eventually("S0-11", CHANGE, || plain(&send(&get("httpbin2"))));

    // S0-12: one request a minute.
    node.run(&apply(&["ratelimit-httpbin2/01-ratelimitconfig.yaml"]));
    node.run(&apply(&["ratelimit-httpbin2/02-routeoption-httpbin2.yaml"]));
    node.run(&apply(&["ratelimit-httpbin2/03-httproute-httpbin2.yaml"]));
    in_force(node, "ratelimitconfig ratelimit-httpbin2", ".status.state", "ACCEPTED");
    in_force(node, "routeoption httpbin2", ".status.statuses.waykeeper.state", "Accepted");
    fresh_minute(Duration::from_secs(15));
    let counted = minute();
    assert_eq!(three_times(client, without), [OK, LIMITED, LIMITED]);

    // S0-13 to S0-15: by a header's value.
    node.run(&apply(&["ratelimit-httpbin3/01-ratelimitconfig.yaml"]));
    node.run(&apply(&["ratelimit-httpbin3/02-routeoption-httpbin3.yaml"]));
    node.run(&apply(&["ratelimit-httpbin3/03-httproute-httpbin3.yaml"]));
    in_force(node, "ratelimitconfig ratelimit-httpbin3", ".status.state", "ACCEPTED");
    in_force(node, "routeoption httpbin3", ".status.statuses.waykeeper.state", "Accepted");
    let third = without.replace("httpbin2", "httpbin3");
    assert_eq!(three_times(client, &third), [OK; 3]);
    eventually(
        "another minute",
        Duration::from_secs(61),
        || if minute() > counted { Ok(()) } else { Err(String::new()) },
    );
    fresh_minute(Duration::from_secs(25));
    assert_eq!(three_times(client, &format!("{third} -H \"X-Organization: myorg\"")), [OK, LIMITED, LIMITED]);
    assert_eq!(three_times(client, &format!("{third} -H \"X-Organization: other\"")), [OK; 3]);
    // As misprinted, to httpbin2: in this minute it has one request of its own.
    assert_eq!(three_times(client, &format!("{without} -H \"X-Organization: myorg\"")), [OK, LIMITED, LIMITED]);

    // S0-16.
    deleted(
        client,
        &[
            "kubectl delete ratelimitconfig ratelimit-httpbin2 ratelimit-httpbin3 -n httpbin",
            "kubectl delete routeoption httpbin2 httpbin3 -n httpbin",
            "kubectl delete httproutes httpbin2 httpbin3 -n httpbin",
        ],
    );
    for service in ["httpbin2", "httpbin3"] {
        eventually("S0-16", CHANGE, || plain(&send(&get(service))));
    }
}
