//! What happens to pods: they are replaced, killed and taken away, while requests go on.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use waykeeper_tests::node::Node;
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Curl, eventually};

use crate::client::Client;
use crate::{CHANGE, PODS};

/// What requests are asked for, over and over: the rest of their line, and the answer that is the only right one.
const REQUESTS: [(&str, &str, &str); 4] = [
    ("without a key", "http://httpbin2:8000/get", "401"),
    ("with a key", "-H api-key:mykey http://httpbin2:8000/get", "200"),
    // `ratelimit` that is not reached lets pass: one that is replaced must be reached.
    ("beyond the limit", "-H X-Organization:none http://httpbin3:8000/get", "429"),
    ("within no limit", "http://httpbin3:8000/delay/0.1?[1-20]", "200"),
];

/// Answers by what was asked for: how many of each there were.
type Answers = BTreeMap<(&'static str, String), u32>;

/// Sends each kind of request for as long as `what` takes, one after the other and four kinds at a time.
fn meanwhile(client: &Client<'_>, what: impl FnOnce()) -> Answers {
    let (over, answers) = (AtomicBool::new(false), Mutex::new(Answers::new()));
    std::thread::scope(|scope| {
        for (name, line, _) in REQUESTS {
            let (over, answers) = (&over, &answers);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // Each transfer on a line of its own, with why it failed if it did.
                    let args = ["-s", "-m", "10", "-w", "%{http_code} %{exitcode}\n", "-o", "/dev/null"];
                    let words: Vec<&str> = line.split(' ').collect();
                    let output = client.curl(&[&args[..], &words].concat()).output().unwrap();
                    let mut answers = answers.lock().unwrap();
                    for line in String::from_utf8_lossy(&output.stdout).lines() {
                        let code = line.strip_suffix(" 0").unwrap_or(line).to_owned();
                        *answers.entry((name, code)).or_default() += 1;
                    }
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        over.store(true, Ordering::Relaxed);
        ended
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    answers.into_inner().unwrap()
}

/// Every request had the only right answer, and there were many. Where `late` answers of `extauth` came, as on a machine
/// that does other things, so many may have been refused.
fn all_right(what: &str, answers: &Answers, late: u32) {
    println!("{what}: {answers:?}, {late} late");
    let mut refusals = 0;
    for (name, _, right) in REQUESTS {
        let count = |code: &str| answers.get(&(name, code.to_owned())).copied().unwrap_or_default();
        let of: u32 = answers.iter().filter(|((asked, _), _)| *asked == name).map(|(_, count)| count).sum();
        let refused = if name.ends_with("key") { count("403") } else { 0 };
        refusals += refused;
        assert!(count(right) >= 20 && count(right) + refused == of, "{what}: {name}: {answers:?}");
    }
    assert!(refusals <= late, "{what}: {answers:?}, {late} late");
}

/// What the Envoys of the Gateway count of `extauth` and `ratelimit` that is not as it should be.
fn troubles(node: &Node) -> BTreeMap<String, u32> {
    const ALL: [&str; 5] = [
        "upstream_rq_timeout",
        "upstream_cx_connect_fail",
        "upstream_rq_rx_reset",
        "upstream_rq_pending_failure_eject",
        "upstream_cx_destroy_remote_with_active_rq",
    ];
    let ips = node.run("kubectl -n httpbin get pods -l gateway.networking.k8s.io/gateway-name=gloo-waypoint -o jsonpath='{.items[*].status.podIP}'");
    let mut counted = BTreeMap::new();
    for ip in ips.split_whitespace() {
        let page = Curl::to(&format!("http://{ip}:15021/stats/prometheus")).send().body;
        for line in page.lines().filter(|line| line.contains("extauth") || line.contains("ratelimit")) {
            let Some((name, count)) = line.rsplit_once(' ') else { continue };
            let of = ALL.iter().find(|one| name.starts_with(&format!("envoy_cluster_{one}{{")));
            if let (Some(of), Ok(count @ 1..)) = (of, count.parse::<u32>()) {
                let server = if name.contains("extauth") { "extauth" } else { "ratelimit" };
                *counted.entry(format!("{server} {of}")).or_default() += count;
            }
        }
    }
    counted
}

/// None was let pass that should not have been, whatever became of the others.
fn none_passed(what: &str, answers: &Answers) {
    println!("{what}: {answers:?}");
    assert!(!answers.contains_key(&("without a key", "200".to_owned())), "{what}: {answers:?}");
}

/// Pods of this kind, as kubectl lists them.
fn pods(node: &Node, of: &str) -> Vec<String> {
    node.run(&format!("kubectl get pods --no-headers {of}")).lines().map(str::to_owned).collect()
}

/// Nobody has changed anything lately: as many pods as there are to be, all of them ready.
fn settled(node: &Node, of: &str, count: usize) {
    eventually(&format!("{count} pods: {of}"), PODS, || {
        let all = pods(node, of);
        let ready = all.iter().all(|line| line.contains(" 1/1 ") && line.contains(" Running "));
        if all.len() == count && ready { Ok(()) } else { Err(all.join("\n")) }
    });
}

/// The Deployments that there are, the pods of each, and how many.
const ALL: [(&str, &str, usize); 4] = [
    ("-n waykeeper deploy/waykeeper-extauth", "-n waykeeper -l app.kubernetes.io/component=extauth", 2),
    ("-n waykeeper deploy/waykeeper-ratelimit", "-n waykeeper -l app.kubernetes.io/component=ratelimit", 1),
    ("-n waykeeper deploy/waykeeper-waypoint", "-n waykeeper -l app.kubernetes.io/component=waypoint", 2),
    (
        "-n httpbin deploy/gloo-proxy-gloo-waypoint",
        "-n httpbin -l gateway.networking.k8s.io/gateway-name=gloo-waypoint",
        1,
    ),
];

/// A policy that denies, and a limit that nothing passes.
fn policies(client: &Client<'_>) {
    let file = |name: &str| fs::read_to_string(root().join("examples/walkthrough-000").join(name)).unwrap();
    let all = [
        file("apikeys/01-authconfig-and-secret.yaml"),
        file("apikeys/02-routeoption-httpbin2.yaml"),
        file("apikeys/03-httproute-httpbin2.yaml"),
        file("ratelimit-httpbin3/01-ratelimitconfig.yaml")
            .replace("myorg", "none")
            .replace("requestsPerUnit: 1", "requestsPerUnit: 0"),
        file("ratelimit-httpbin3/02-routeoption-httpbin3.yaml"),
        file("ratelimit-httpbin3/03-httproute-httpbin3.yaml"),
    ];
    client.node.run(&format!("kubectl apply -f - <<EOF\n{}EOF", all.join("---\n")));
    for (name, line, right) in REQUESTS {
        eventually(name, CHANGE, || {
            let args = ["-s", "-m", "5", "-w", "%{http_code} ", "-o", "/dev/null"];
            let words: Vec<&str> = line.split(' ').collect();
            let output = client.curl(&[&args[..], &words].concat()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if said.split_whitespace().all(|code| code == right) { Ok(()) } else { Err(said) }
        });
    }
}

/// Every Deployment is rolled while requests go on, none of which is lost or answered otherwise.
pub fn are_replaced(client: &Client<'_>) {
    policies(client);
    let node = client.node;
    for (deployment, of, count) in ALL {
        settled(node, of, count);
        let (before, was) = (pods(node, of), troubles(node));
        let answers = meanwhile(client, || {
            node.run(&format!("kubectl rollout restart {deployment}"));
            node.run(&format!("timeout 120 kubectl rollout status {deployment}"));
            // Those that go are asked for a while more.
            settled(node, of, count);
        });
        let name = |line: &String| line.split_whitespace().next().unwrap().to_owned();
        let (before, after): (Vec<_>, Vec<_>) =
            (before.iter().map(name).collect(), pods(node, of).iter().map(name).collect());
        assert!(before.iter().all(|pod| !after.contains(pod)), "{deployment}: {before:?} {after:?}");
        let is = troubles(node);
        println!("{was:?} {is:?}");
        let timeouts =
            |all: &BTreeMap<String, u32>| all.get("extauth upstream_rq_timeout").copied().unwrap_or_default();
        all_right(deployment, &answers, timeouts(&is).saturating_sub(timeouts(&was)));
    }
}

/// A pod is killed without a word: nothing passes for that, and soon everything is as it was.
pub fn are_killed(client: &Client<'_>) {
    let node = client.node;
    for (deployment, of, count) in ALL {
        let answers = meanwhile(client, || {
            let first = pods(node, of)[0].split_whitespace().next().unwrap().to_owned();
            let namespace = of.split(" -l ").next().unwrap();
            node.run(&format!("kubectl {namespace} delete pod {first} --grace-period=0 --force"));
            settled(node, of, count);
        });
        none_passed(&format!("a pod of {deployment} killed"), &answers);
        eventually("all as before", PODS, || {
            let answers = meanwhile(client, || std::thread::sleep(Duration::from_millis(300)));
            let wrong = REQUESTS
                .iter()
                .find(|(name, _, right)| answers.keys().any(|(asked, code)| asked == name && code != right));
            wrong.map_or(Ok(()), |_| Err(format!("{answers:?}")))
        });
    }
}

/// The control plane is away, and so is the container of an Envoy for a while: what begins in its place serves by the same
/// policy. What is declared meanwhile is in force once the control plane is back.
pub fn outlive_their_control_plane(client: &Client<'_>) {
    policies(client);
    let node = client.node;
    let [.., (waypoint, of_waypoint, replicas), (proxy, of_proxy, count)] = ALL;
    settled(node, of_proxy, count);
    node.run(&format!("kubectl scale {waypoint} --replicas=0"));
    settled(node, of_waypoint, 0);
    let restarts = || {
        let path = "jsonpath='{.items[0].status.containerStatuses[0].restartCount}'";
        node.run(&format!("kubectl get pods {of_proxy} -o {path}")).trim().parse::<u32>().unwrap()
    };
    let before = restarts();
    let answers = meanwhile(client, || {
        node.run(&format!("kubectl exec {proxy} -- sh -c 'kill -TERM 1'"));
        eventually("another container", PODS, || match restarts() {
            now if now > before => Ok(()),
            now => Err(now.to_string()),
        });
        settled(node, of_proxy, count);
    });
    none_passed("its container begins anew", &answers);
    let answers = meanwhile(client, || std::thread::sleep(Duration::from_secs(3)));
    let late = troubles(node).get("extauth upstream_rq_timeout").copied().unwrap_or_default();
    all_right("without a control plane", &answers, late);
    let logs = node.run(&format!("kubectl logs {proxy}"));
    assert!(logs.contains("Envoy is told what was acknowledged last"), "{logs}");

    node.run("kubectl -n httpbin delete routeoption httpbin2");
    let open = "-s -m 5 -w %{http_code} -o /dev/null http://httpbin2:8000/get";
    let ask = || {
        let words: Vec<&str> = open.split(' ').collect();
        String::from_utf8_lossy(&client.curl(&words).output().unwrap().stdout).into_owned()
    };
    assert_eq!(ask(), "401", "nobody has told it of that");
    node.run(&format!("kubectl scale {waypoint} --replicas={replicas}"));
    settled(node, of_waypoint, replicas);
    eventually("what was declared meanwhile", PODS, || match ask().as_str() {
        "200" => Ok(()),
        code => Err(format!("{code}\n{}", node.run(&format!("kubectl logs {proxy}")))),
    });
    policies(client);
}

/// Nobody but the Envoys of Gateways reaches the servers.
pub fn are_reached_by_envoys_alone(client: &Client<'_>) {
    for (server, port) in [("extauth", 8083), ("ratelimit", 18081), ("waypoint", 9977)] {
        let line = format!(
            "kubectl -n httpbin exec deploy/client -- curl -sS -m 2 http://waykeeper-{server}.waykeeper:{port}/"
        );
        let said = client.node.shell(&line);
        assert!(!said.well && said.err.contains("timed out"), "{server}: {said:?}");
    }
}

/// What a Gateway had goes with it, and what it guarded is not reached past it.
pub fn go_with_their_gateway(client: &Client<'_>) {
    let node = client.node;
    node.run("kubectl -n httpbin delete gateway gloo-waypoint");
    eventually("nothing of it", PODS, || {
        let own = "-n httpbin -l gateway.networking.k8s.io/gateway-name=gloo-waypoint";
        let said = node.run(&format!("kubectl get sa,cm,svc,pdb,deploy,rs,pods {own} -o name"));
        if said.is_empty() { Ok(()) } else { Err(said) }
    });
    let reply = client.send("kubectl -n httpbin exec deploy/client -- curl -s -m 5 http://httpbin2:8000/get");
    assert!(reply.error.is_some() && reply.body.is_empty(), "{reply:?}");
}
