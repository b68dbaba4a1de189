//! Manifests with one accident each, through the real Envoy.
//!
//! Each mutant has a namespace of its own with a Service that asks for a key, one whose limit is used up, one that is for a
//! caller with an identity, one that looks at tokens, and one that is called by gRPC and asks for a key. Nothing that the intact manifest refuses may be let through because of the accident,
//! unless the reference to the policy itself is gone; then the status says so. What the namespace
//! has nothing to do with is answered as before.
//!
//! `make mutants-of-manifests` runs all; `WAYKEEPER_MUTANTS`, a number, and `WAYKEEPER_MUTANTS_SEED`
//! choose some.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use waykeeper_tests::mutate::{Accident, Mutant, mutants};
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::{Backends, Folder, Waykeeper, eventually, turn};

/// How many mutants one `waykeeper up` is given.
const BATCH: usize = 120;
/// How many are run unless told otherwise.
const USUAL: usize = 360;

/// The namespace of mutant `n` and the addresses of its Services.
struct Plot {
    namespace: String,
    /// Where its Gateway is: a route that cannot be read closes all that its Gateway serves, and
    /// must not hide what other mutants do.
    gateway: String,
    guarded: SocketAddr,
    limited: SocketAddr,
    policed: SocketAddr,
    signed: SocketAddr,
    called: SocketAddr,
}

fn plot(n: usize, object: &str) -> Plot {
    let (high, low) = (n / 200, n % 200 + 2);
    let address = |third: usize| format!("127.6{third}.{high}.{low}:80").parse().unwrap();
    let namespace = format!("m{n}");
    let gateway = if ["route", "calls"].contains(&object) { namespace.clone() } else { SHARED.to_owned() };
    let [guarded, limited, policed, signed, called] = [0, 1, 2, 3, 4].map(address);
    Plot { namespace, gateway, guarded, limited, policed, signed, called }
}

/// The namespace of the Gateway that most share.
const SHARED: &str = "gateways";

/// The objects of a namespace, each with the name of its file.
fn intact(plot: &Plot) -> Vec<(&'static str, Value)> {
    let (namespace, gateway) = (&plot.namespace, &plot.gateway);
    let labels = json!({"istio.io/use-waypoint": "wp", "istio.io/use-waypoint-namespace": gateway});
    let meta = |name: &str| json!({"name": name, "namespace": namespace});
    let service = |name: &str, at: SocketAddr| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace,
                "labels": labels},
            "spec": {"clusterIP": at.ip().to_string(), "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
    };
    let slice = |name: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name,
                "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["127.0.10.2"]}]})
    };
    let route = |name: &str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta(name),
            "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": name, "port": 80}],
                "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"name": name, "port": 80}]}]}})
    };
    let option_of = |kind: &str, name: &str, options: Value| {
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": meta(name),
            "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": kind, "name": name}],
                "options": options}})
    };
    let option = |name: &str, options: Value| option_of("HTTPRoute", name, options);
    vec![
        // By this label alone the namespace is enrolled; its Services say so themselves, too.
        (
            "namespace",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace,
            "labels": {"istio.io/use-waypoint": "wp", "istio.io/use-waypoint-namespace": gateway, "gateway": gateway}}}),
        ),
        ("service", service("guarded", plot.guarded)),
        ("limited-service", service("limited", plot.limited)),
        ("policed-service", service("policed", plot.policed)),
        ("signed-service", service("signed", plot.signed)),
        ("policed-slice", slice("policed")),
        ("signed-slice", slice("signed")),
        (
            "policy",
            json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta("policed"),
            "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "policed"}], "action": "ALLOW",
                "rules": [{"from": [{"source": {"principals": [format!("cluster.local/ns/{namespace}/sa/ann")]}}],
                    "to": [{"operation": {"methods": ["GET"]}}]}]}}),
        ),
        (
            "tokens",
            json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": meta("signed"),
            "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "signed"}],
                "jwtRules": [{"issuer": namespace, "jwks": KEYS, "forwardOriginalToken": true}]}}),
        ),
        ("called-service", service("called", plot.called)),
        ("called-slice", slice("called")),
        (
            "calls",
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": meta("called"),
            "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "called", "port": 80}],
                "rules": [{"matches": [{"method": {"service": "anything", "method": "get"}}],
                    "backendRefs": [{"name": "called", "port": 80}]}]}}),
        ),
        (
            "called-option",
            option_of(
                "GRPCRoute",
                "called",
                json!({"extauth": {"configRef": {"name": "keys", "namespace": namespace}}}),
            ),
        ),
        ("slice", slice("guarded")),
        ("limited-slice", slice("limited")),
        ("route", route("guarded")),
        ("limited-route", route("limited")),
        ("option", option("guarded", json!({"extauth": {"configRef": {"name": "keys", "namespace": namespace}}}))),
        (
            "limited-option",
            option("limited", json!({"rateLimitConfigs": {"refs": [{"name": "none", "namespace": namespace}]}})),
        ),
        (
            "keys",
            json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig", "metadata": meta("keys"),
            "spec": {"configs": [{"apiKeyAuth": {"headerName": "api-key", "labelSelector": {"team": namespace},
                "headersFromMetadataEntry": {"X-Organization": {"name": "organization"}}}}]}}),
        ),
        (
            "secret",
            json!({"apiVersion": "v1", "kind": "Secret", "type": "extauth.solo.io/apikey",
            "metadata": {"name": "key", "namespace": namespace, "labels": {"team": namespace}},
            "stringData": {"api-key": format!("good-{namespace}"), "organization": "solo.io"}}),
        ),
        (
            "limit",
            json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig", "metadata": meta("none"),
            "spec": {"raw": {"descriptors": [{"key": "generic_key", "value": "all",
                    "rateLimit": {"requestsPerUnit": 0, "unit": "HOUR"}}],
                "rateLimits": [{"actions": [{"genericKey": {"descriptorValue": "all"}}]}]}}}),
        ),
    ]
}

/// The objects of which mutants are made; those left out guard nothing.
const MUTATED: [&str; 12] = [
    "namespace",
    "service",
    "route",
    "option",
    "limited-option",
    "keys",
    "secret",
    "limit",
    "policy",
    "tokens",
    "calls",
    "called-option",
];

/// Somebody's public key, and a token that is not signed with it.
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const FORGED: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.eyJpc3MiOiJpIn0.AAAA";

fn gateway(namespace: &str) -> Value {
    let admits = json!({"from": "Selector", "selector": {"matchLabels": {"gateway": namespace}}});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "wp", "namespace": namespace},
        "spec": {"gatewayClassName": "gloo-waypoint", "listeners": [{"name": "proxy", "port": 15088,
            "protocol": "istio.io/PROXY", "allowedRoutes": {"namespaces": admits}}]}})
}

/// A mutant, and what it is a mutant of.
struct Case {
    object: &'static str,
    mutant: Mutant,
}

impl Case {
    fn text(&self) -> String {
        format!("{} {:?} {}", self.object, self.mutant.accident, self.mutant.path)
    }

    /// Whether the reference to the policy may be gone by what was done, so that the policy is no
    /// longer asked for: the wish of whoever edits, as far as anybody can tell.
    fn may_let_go(&self) -> bool {
        use Accident::{Changed, Dropped, Retyped, Truncated};
        let path = self.mutant.path.as_str();
        let (dropped, changed) = (self.mutant.accident == Dropped, self.mutant.accident == Changed);
        let emptied = changed && (self.mutant.text.contains("[]") || path == "spec" && self.mutant.text.contains("{}"));
        // `null` is how YAML writes that a field is not there.
        let nothing = self.mutant.accident == Retyped && self.mutant.text.contains("null");
        // A manifest cut off between two fields is a manifest without the later ones.
        if self.mutant.accident == Truncated {
            return true;
        }
        let gone = |paths: &[&str]| (dropped || nothing || changed) && paths.contains(&path);
        // A different, valid name refers to something else.
        let renamed =
            |paths: &[&str]| (changed || self.mutant.accident == Accident::OverFilled) && paths.contains(&path);
        let moved = gone(&["metadata.namespace"]) || renamed(&["metadata.namespace"]);
        match self.object {
            // Named by its label, no Service needs the Namespace's.
            "namespace" | "keys" | "secret" => false,
            "service" => {
                moved
                    || renamed(&["metadata.name"])
                    || gone(&["metadata.labels", "metadata.labels.istio.io/use-waypoint", "metadata"])
            }
            "route" | "calls" => {
                moved
                    || renamed(&["metadata.name", "spec.parentRefs[0].name", "spec.parentRefs[0].port"])
                    || gone(&["spec.parentRefs", "spec.parentRefs[0]"])
                    || emptied
            }
            "option" | "limited-option" | "called-option" => {
                moved
                    || renamed(&["spec.targetRefs[0].name"])
                    || gone(&["spec.targetRefs", "spec.targetRefs[0]", "spec.options", "spec.options.extauth"])
                    || gone(&["spec.options.rateLimitConfigs", "spec.options.rateLimitConfigs.refs", "spec.options.rateLimitConfigs.refs[0]"])
                    // A limit that does not exist limits nothing, as in Gloo.
                    || renamed(&["spec.options.rateLimitConfigs.refs[0].name", "spec.options.rateLimitConfigs.refs[0].namespace"])
                    || emptied
            }
            // What a limit counts, and how much is let through, is what its author writes.
            "limit" => {
                // A second action describes something else, which no rule of this config is about.
                let doubled = self.mutant.accident == Accident::Duplicated;
                moved
                    || renamed(&["metadata.name"])
                    || path.starts_with("spec") && (dropped || changed || nothing || doubled)
            }
            // Whom it is for is what its author writes.
            "policy" => {
                let doubled = self.mutant.accident == Accident::Duplicated;
                moved
                    || renamed(&["spec.targetRefs[0].name"])
                    || gone(&["spec.targetRefs", "spec.targetRefs[0]", "spec.action", "spec"])
                    || path.starts_with("spec.rules") && (dropped || changed || nothing || doubled)
                    || emptied
            }
            "tokens" => {
                moved
                    || renamed(&["spec.targetRefs[0].name"])
                    || gone(&["spec.targetRefs", "spec.targetRefs[0]", "spec.jwtRules", "spec.jwtRules[0]", "spec"])
                    || emptied
            }
            _ => unreachable!("{}", self.object),
        }
    }
}

/// A number from nobody's clock: splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The mutants to run, of every object about the same number.
fn chosen() -> Vec<Case> {
    let mut all: BTreeMap<&str, Vec<Mutant>> = BTreeMap::new();
    for (object, manifest) in intact(&plot(0, "")) {
        if MUTATED.contains(&object) {
            all.insert(object, mutants(&manifest));
        }
    }
    let total: usize = all.values().map(Vec::len).sum();
    let wanted = match std::env::var("WAYKEEPER_MUTANTS").as_deref() {
        Ok("all") => total,
        Ok(number) => number.parse().expect("WAYKEEPER_MUTANTS is a number, or all"),
        Err(_) => USUAL,
    };
    let seed = std::env::var("WAYKEEPER_MUTANTS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    eprintln!("{wanted} of {total} mutants, seed {seed}");
    let mut state: u64 = seed;
    let mut queues: Vec<(&'static str, Vec<Mutant>)> = MUTATED
        .iter()
        .map(|object| {
            let mut queue = all.remove(object).unwrap();
            for at in (1..queue.len()).rev() {
                queue.swap(at, usize::try_from(next(&mut state)).unwrap() % (at + 1));
            }
            (*object, queue)
        })
        .collect();
    let mut cases = Vec::new();
    while cases.len() < wanted && queues.iter().any(|(_, queue)| !queue.is_empty()) {
        for (object, queue) in &mut queues {
            cases.extend(queue.pop().map(|mutant| Case { object, mutant }));
        }
    }
    cases
}

/// The mutant with the names of its own namespace.
fn placed(case: &Case, plot: &Plot) -> String {
    let first = self::plot(0, "");
    let text = case.mutant.text.replace("good-m0", &format!("good-{}", plot.namespace));
    text.replace("\"m0", &format!("\"{}", plot.namespace))
        .replace(SHARED, &plot.gateway)
        .replace(&first.guarded.ip().to_string(), &plot.guarded.ip().to_string())
        .replace(&first.limited.ip().to_string(), &plot.limited.ip().to_string())
        .replace(&first.policed.ip().to_string(), &plot.policed.ip().to_string())
        .replace(&first.signed.ip().to_string(), &plot.signed.ip().to_string())
}

fn file(n: usize, object: &str) -> String {
    format!("m{n}-{object}.yaml")
}

/// Everything as it should be: the shared Gateway, two namespaces that stand by, one for each of `cases`.
fn lay_out(folder: &Folder, cases: &[&Case]) {
    folder.apply(
        "gateway.yaml",
        &format!(
            "{:#}
",
            gateway(SHARED)
        ),
    );
    let plots = cases.iter().enumerate().map(|(index, case)| (index + 1, plot(index + 1, case.object)));
    for (n, plot) in plots.chain([(0, plot(0, ""))]) {
        for (object, manifest) in intact(&plot) {
            folder.apply(
                &file(n, object),
                &format!(
                    "{manifest:#}
"
                ),
            );
        }
        if plot.gateway != SHARED {
            folder.apply(
                &file(n, "gateway"),
                &format!(
                    "{:#}
",
                    gateway(&plot.gateway)
                ),
            );
        }
    }
}

/// The status of a GET, 0 where there is no answer.
fn get(at: SocketAddr, header: Option<&str>) -> u16 {
    ask_for(at, "/get", header).0
}

/// The status that a call of gRPC has instead of the one that Envoy says to it.
fn call(at: SocketAddr, header: Option<&str>) -> u16 {
    let header = format!("{}\r\ncontent-type: application/grpc", header.unwrap_or("x-none: 1"));
    match ask_for(at, "/anything/get", Some(&header)) {
        (_, Some(16)) => 401,
        (_, Some(12)) => 404,
        (_, Some(_)) => 500,
        (status, None) => status,
    }
}

/// The status of a GET, and what it says of a call.
fn ask_for(at: SocketAddr, path: &str, header: Option<&str>) -> (u16, Option<u16>) {
    let Ok(mut stream) = TcpStream::connect_timeout(&at, Duration::from_secs(5)) else { return (0, None) };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let header = header.map(|header| format!("{header}\r\n")).unwrap_or_default();
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n{header}Connection: close\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let head = String::from_utf8_lossy(&answer);
    let says = head.lines().find_map(|line| line.strip_prefix("grpc-status: ")?.trim().parse().ok());
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), says)
}

/// What is asked of each namespace, and what the intact one answers.
const QUESTIONS: [(&str, u16); 8] = [
    ("no key", 401),
    ("a wrong key", 401),
    ("a good key", 200),
    ("a used-up limit", 429),
    ("a caller without identity", 403),
    ("a forged token", 401),
    ("a call without a key", 401),
    ("a call with a good key", 200),
];

type Answers = [u16; QUESTIONS.len()];

fn answers(plot: &Plot) -> Answers {
    let good = format!("api-key: good-{}", plot.namespace);
    [
        get(plot.guarded, None),
        get(plot.guarded, Some("api-key: wrong")),
        get(plot.guarded, Some(&good)),
        get(plot.limited, None),
        get(plot.policed, None),
        get(plot.signed, Some(&format!("authorization: Bearer {FORGED}"))),
        call(plot.called, None),
        call(plot.called, Some(&good)),
    ]
}

/// Asks all namespaces, several at once.
fn ask(count: usize) -> BTreeMap<usize, Answers> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n > count {
                        break;
                    }
                    let answers = answers(&plot(n, ""));
                    found.lock().unwrap().insert(n, answers);
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// What was let through that must not be, as lines to read.
fn verdict(when: &str, cases: &[&Case], answers: &BTreeMap<usize, Answers>, status: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    // The one that stands by is the first.
    if answers[&0] != QUESTIONS.map(|(_, status)| status) {
        wrong.push(format!("{when}: a namespace that nobody touched answers {:?}", answers[&0]));
    }
    let problems = status["problems"].as_array().unwrap();
    for (index, case) in cases.iter().enumerate() {
        let n = index + 1;
        let let_through: Vec<&str> = QUESTIONS
            .iter()
            .zip(answers[&n])
            .filter(|((_, intact), now)| *intact >= 400 && (200..400).contains(now))
            .map(|((question, _), _)| *question)
            .collect();
        if let_through.is_empty() {
            continue;
        }
        let namespace = plot(n, "").namespace;
        let said = problems.iter().any(|problem| {
            problem["namespace"] == namespace.as_str()
                || problem["file"].as_str().is_some_and(|at| at.contains(&format!("/{namespace}-")))
        });
        if !case.may_let_go() {
            wrong.push(format!("{when}: {}: let through: {let_through:?}", case.text()));
        } else if !said && !removed_whole(case) {
            wrong.push(format!(
                "{when}: {}: let through {let_through:?}, and no status says that anything is amiss",
                case.text()
            ));
        }
    }
    wrong
}

/// Whether what is left is a sound manifest that asks for nothing: there is nothing to say of it.
fn removed_whole(case: &Case) -> bool {
    let asks_for_nothing = matches!(
        case.object,
        "option" | "limited-option" | "called-option" | "service" | "limit" | "route" | "calls" | "policy" | "tokens"
    );
    asks_for_nothing && case.mutant.accident != Accident::Duplicated
}

/// The mutants that leave no manifest at all, or one of a kind nobody knows: at a start they close everything.
fn unreadable(cases: &[Case]) -> BTreeSet<usize> {
    let folder = Folder::empty();
    for (n, case) in cases.iter().enumerate() {
        folder.apply(&file(n, case.object), &placed(case, &plot(n, case.object)));
    }
    let output =
        Command::new(binary("waykeeper")).args(["validate", "-o", "json"]).arg(folder.path()).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |problem: &Value| {
        let at = problem["file"].as_str()?.rsplit_once("/m")?.1.split_once('-')?.0.parse::<usize>().ok()?;
        problem["kind"].is_null().then_some(at)
    };
    found["problems"].as_array().unwrap().iter().filter_map(number).collect()
}

/// Waits until everything that was written is in force: the last thing written is.
fn settled(folder: &Folder, running: &Waykeeper, mark: &str) {
    let mut route = intact(&plot(0, "")).into_iter().find(|(object, _)| *object == "route").unwrap().1;
    let header = json!([{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-mark", "value": mark}]}}]);
    route["spec"]["rules"][0]["filters"] = header;
    folder.apply(&file(0, "route"), &format!("{route:#}\n"));
    let at = plot(0, "").guarded;
    eventually("the last edit", Duration::from_secs(30), || {
        let url = format!("http://{at}/get");
        let reply = waykeeper_tests::Curl::to(&url).header("api-key: good-m0").send();
        let there = reply.header("x-mark") == Some(mark);
        if there { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    eventually("quiet", Duration::from_secs(30), || {
        let status = running.status();
        let waiting = status["waitingFor"].as_array().is_some_and(Vec::is_empty);
        let pending = status["objects"].to_string().contains("\"Pending\"");
        if waiting && !pending { Ok(()) } else { Err(status["waitingFor"].to_string()) }
    });
}

#[test]
fn no_accident_in_a_manifest_opens_what_it_guards() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let cases = chosen();
    let unreadable = unreadable(&cases);
    let mut wrong = Vec::new();
    let all: Vec<(usize, &Case)> = cases.iter().enumerate().collect();
    for batch in all.chunks(BATCH) {
        let cases: Vec<&Case> = batch.iter().map(|(_, case)| *case).collect();
        wrong.extend(as_an_edit(&cases));
        wrong.iter().for_each(|line| println!("{line}"));
        let readable: Vec<&Case> =
            batch.iter().filter(|(n, _)| !unreadable.contains(n)).map(|(_, case)| *case).collect();
        wrong.extend(at_a_start(&readable));
    }
    println!("{} mutants, {} of them unreadable", cases.len(), unreadable.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn as_an_edit(cases: &[&Case]) -> Vec<String> {
    let folder = Folder::empty();
    lay_out(&folder, cases);
    let running = Waykeeper::up(&folder, &["--envoy-concurrency", "1", "--ratelimit-timeout-ms", "2000"]);
    let before = ask(cases.len());
    let expected = QUESTIONS.map(|(_, status)| status);
    assert!(before.values().all(|answers| *answers == expected), "not even intact manifests do: {before:?}");
    for (index, case) in cases.iter().enumerate() {
        folder.apply(&file(index + 1, case.object), &placed(case, &plot(index + 1, case.object)));
    }
    settled(&folder, &running, "edited");
    verdict("edited", cases, &ask(cases.len()), &running.status())
}

fn at_a_start(cases: &[&Case]) -> Vec<String> {
    let folder = Folder::empty();
    lay_out(&folder, cases);
    for (index, case) in cases.iter().enumerate() {
        folder.apply(&file(index + 1, case.object), &placed(case, &plot(index + 1, case.object)));
    }
    let running = Waykeeper::up(&folder, &["--envoy-concurrency", "1", "--ratelimit-timeout-ms", "2000"]);
    settled(&folder, &running, "started");
    verdict("fresh start", cases, &ask(cases.len()), &running.status())
}
