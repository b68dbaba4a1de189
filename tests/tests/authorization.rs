//! Who may come in, as a client of the real Envoy sees it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use waykeeper_tests::echo::{Echo, get};
use waykeeper_tests::{Folder, Waykeeper, turn};

/// Service `a` behind a waypoint, and a key `good` of user `ann`.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: t}
spec:
  clusterIP: 127.0.20.51
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.51]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: a}]
  rules: [{backendRefs: [{name: a, port: 8000}]}]
---
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: ann, namespace: t, labels: {for: keys}}
stringData: {api-key: good}
";

const A: &str = "127.0.20.51:8000";

/// An AuthConfig called `name`, and the RouteOption that asks for it.
fn policy(name: &str, config: &str) -> String {
    format!(
        "apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {{name: {name}, namespace: t}}
spec: {{configs: [{config}]}}
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {{name: auth, namespace: t}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}}]
  options: {{extauth: {{configRef: {{name: {name}}}}}}}
"
    )
}

fn town(policy: &str) -> (Folder, Echo) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    folder.apply("policy.yaml", policy);
    (folder, Echo::start("127.0.10.51:8080"))
}

#[test]
fn users_come_in_with_their_passwords() {
    let _turn = turn();
    // "password" by Apache's MD5.
    let users =
        "{basicAuth: {realm: town, apr: {users: {bob: {salt: TYiryv0/, hashedPassword: 8BvzLUO9IfGPGGsPnAgSu1}}}}}";
    let (folder, _echo) = town(&policy("people", users));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let ask = |headers: &[&str]| get(A, "/", "a", headers);

    for wrong in [
        &[][..],
        &["authorization: Basic Ym9iOndyb25n"],
        &["authorization: Basic YW5uOnBhc3N3b3Jk"],
        &["api-key: good"],
    ] {
        let answer = ask(wrong);
        assert_eq!(answer.status(), 401, "{wrong:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"town\""), "{answer:?}");
    }
    for _ in 0..3 {
        let answer = ask(&["authorization: Basic Ym9iOnBhc3N3b3Jk", "x-user-id: root", "X_User-Id: root"]);
        assert_eq!((answer.status(), answer.saw("x-user-id")), (200, vec!["bob"]), "{answer:?}");
        assert_eq!(answer.saw("x_user-id"), [""; 0]);
    }
}

/// Saved over and over under load, with a new name each time, in one file with its reference.
#[test]
fn renaming_a_policy_fails_no_good_key_and_lets_no_bad_one_in() {
    let _turn = turn();
    let keys = |number: usize| policy(&format!("keys-{number}"), "{apiKeyAuth: {labelSelector: {for: keys}}}");
    let (folder, _echo) = town(&keys(0));
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        [("api-key: good", 200), ("api-key: bad", 401), ("api-key: good", 200), ("api-key: bad", 401)]
            .into_iter()
            .map(|(key, expected)| {
                let done = done.clone();
                std::thread::spawn(move || {
                    let mut answers = 0;
                    while !done.load(Ordering::Relaxed) {
                        let answer = get(A, "/", "a", &[key]);
                        assert_eq!(answer.status(), expected, "{answer:?}");
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
    for number in 1..=25 {
        folder.apply("policy.yaml", &keys(number));
        std::thread::sleep(Duration::from_millis(200));
    }
    done.store(true, Ordering::Relaxed);
    let answers: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(answers.iter().all(|answers| *answers > 100), "{answers:?}");
    println!("{answers:?} answers");
}
