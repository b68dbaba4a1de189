//! Logins at a provider, as a browser sees them through the real Envoy and the application behind it. The AuthConfigs are those of
//! `docs/oidc.md`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::browser::Cookies;
use waykeeper_tests::echo::{Answer, Echo, get};
use waykeeper_tests::provider::{CLIENT, Provider};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// Services `a` and `b`, on one application.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: t}
spec:
  clusterIP: 127.0.20.65
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.65]}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: t}
spec:
  clusterIP: 127.0.20.66
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b, namespace: t, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.65]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: a}]
  rules: [{backendRefs: [{name: a, port: 8000}]}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: auth, namespace: t}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]
  options: {extauth: {configRef: {name: login}}}
";

const A: &str = "127.0.20.65:8000";
const B: &str = "127.0.20.66:8000";
const IDP: &str = "127.0.10.75:9004";
const APP: &str = "https://app.example";

/// The manifests on the page, of which each has the text `kind`, asking the provider of this test.
fn documented(kinds: &[&str]) -> String {
    let page = std::fs::read_to_string(root().join("docs/oidc.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let chosen: Vec<&str> = blocks.filter(|block| kinds.iter().any(|kind| block.contains(kind))).collect();
    assert_eq!(chosen.len(), kinds.len());
    chosen.join("---\n").replace("https://idp.example", &format!("http://{IDP}")).replace("change-me", CLIENT.1)
}

/// A browser at the application.
#[derive(Default)]
struct Browser(Cookies);

impl Browser {
    fn open_with(&mut self, path: &str, headers: &[&str]) -> Answer {
        let cookie = format!("cookie: {}", self.0.header());
        let cookie: &[&str] = if self.0.0.is_empty() { &[] } else { &[&cookie] };
        let answer = get(A, path, "app.example", &[cookie, headers].concat());
        let head = answer.text.split("\r\n\r\n").next().unwrap().to_owned();
        self.0.keep(head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")));
        answer
    }

    fn open(&mut self, path: &str) -> Answer {
        self.open_with(path, &[])
    }

    /// `user` logs in on the way to `path`: where the browser goes then.
    fn logs_in(&mut self, provider: &Provider, path: &str, user: &str) -> String {
        let answer = self.open(path);
        assert_eq!(answer.status(), 302, "{answer:?}");
        let back = provider.log_in(answer.header("location").unwrap(), user);
        let mut path = back.strip_prefix(APP).unwrap().to_owned();
        // As long as the provider is slow the browser is sent to ask again.
        for _ in 0..20 {
            let answer = self.open(&path);
            assert_eq!(answer.status(), 302, "{answer:?}");
            let to = answer.header("location").unwrap().strip_prefix(APP).unwrap().to_owned();
            if !to.starts_with("/callback") {
                return to;
            }
            path = to;
        }
        panic!("too many redirects");
    }
}

fn is_out(browser: &mut Browser) -> bool {
    let answer = browser.open("/");
    answer.status() == 302 && answer.header("location").unwrap().starts_with(&format!("http://{IDP}/auth?"))
}

#[test]
fn a_person_logs_in_is_known_to_the_application_and_logs_out() {
    let _turn = turn();
    let provider = Provider::start(IDP);
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    folder.apply("policy.yaml", &documented(&["name: login,", "name: login-client,", "name: login-key,"]));
    let echo = Echo::start("127.0.10.65:8080");
    let _waykeeper = Waykeeper::up(&folder, &[]);

    let evil = ["x-mail: root", "X_Mail: root", "x-user-id: root", "x-id-token: root", "authorization: Bearer root"];
    let mut ann = Browser::default();
    let answer = ann.open_with("/orders?page=2", &evil);
    assert_eq!((answer.status(), answer.header("cache-control")), (302, Some("no-store")), "{answer:?}");
    assert_eq!(get(A, "/", "a", &["sec-fetch-mode: cors"]).status(), 401);
    assert_eq!(echo.reached().len(), 0);
    assert_eq!(ann.logs_in(&provider, "/orders?page=2", "ann"), "/orders?page=2");
    ann.0.keep(["theme=dark; Path=/"]);
    let answer = ann.open_with("/orders?page=2", &evil);
    assert_eq!(answer.status(), 200, "{answer:?}");
    let reached = answer.reached().unwrap();
    assert!(!reached.contains("root") && !reached.contains("oidc_session"), "{reached}");
    assert_eq!(
        (answer.saw("x-user-id"), answer.saw("x-mail")),
        (vec![&*format!("http://{IDP};ann")], vec!["ann@example"])
    );
    assert_eq!((answer.saw("cookie"), answer.saw("x-id-token").len()), (vec!["theme=dark"], 1));
    assert!(answer.saw("authorization")[0].starts_with("Bearer canary-access-"), "{answer:?}");
    // By a Service without authorization nobody is Ann.
    let answer = get(B, "/", "b", &evil);
    assert!(answer.status() == 200 && !answer.text.contains("root"), "{answer:?}");

    // Mallory gives Ann's browser his own login, and takes her cookie to another client.
    let mut mallory = Browser::default();
    let back = provider.log_in(mallory.open("/").header("location").unwrap(), "mallory");
    let mut bob = Browser::default();
    bob.open("/");
    assert_eq!(bob.open(back.strip_prefix(APP).unwrap()).status(), 403);
    assert!(is_out(&mut bob));
    let (name, value) = ann.0.0.iter().find(|(name, _)| name.ends_with("oidc_session")).unwrap();
    let cut = format!("cookie: {name}={}", &value[..value.len() - 2]);
    assert_eq!(get(A, "/", "a", &[&cut]).status(), 302);
    let twice = format!("cookie: {name}={value}; {name}={value}");
    assert_eq!(get(A, "/", "a", &[&twice]).status(), 302);

    // Her tokens are over, and replaced while she goes on.
    let mut carl = Browser::default();
    provider.lives(600, 5);
    carl.logs_in(&provider, "/", "carl");
    provider.lives(600, 600);
    provider.asked();
    let answer = carl.open("/");
    assert_eq!(
        (answer.status(), carl.open("/").status(), provider.asked_for_tokens().len()),
        (200, 200, 1),
        "{answer:?}"
    );
    assert!(answer.header("set-cookie").unwrap().starts_with("__Host-oidc_session="));

    // A provider that takes longer than Envoy waits.
    provider.is_late(Duration::from_millis(700));
    let mut dora = Browser::default();
    assert_eq!(dora.logs_in(&provider, "/late", "dora"), "/late");
    assert_eq!(dora.open("/late").status(), 200);
    provider.is_late(Duration::ZERO);

    assert_eq!(ann.open_with("/logout", &["sec-fetch-site: cross-site"]).status(), 403);
    assert_eq!(ann.open("/").status(), 200);
    let answer = ann.open("/logout");
    assert_eq!((answer.status(), answer.header("location")), (302, Some("https://www.example/bye")), "{answer:?}");
    assert!(is_out(&mut ann));
    let asked = provider.asked_for_tokens();
    assert!(asked.iter().filter(|line| line.starts_with("POST /revoke")).count() == 2, "{asked:?}");
    // The two paths never reach the application.
    let reached = echo.reached();
    assert!(
        !reached.iter().any(|head| head.starts_with("get /callback") || head.starts_with("get /logout")),
        "{reached:?}"
    );

    // The provider is gone: who is in stays in, nobody comes in.
    drop(provider);
    assert_eq!(carl.open("/").status(), 200);
    // What it has said of itself is known for a while.
    assert_eq!(ann.open("/").status(), 302);
}

#[test]
fn without_a_provider_nobody_passes_until_it_is_there() {
    let _turn = turn();
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    let policy = documented(&["name: login,", "name: login-client,", "name: login-key,"]);
    folder.apply("policy.yaml", &policy);
    let echo = Echo::start("127.0.10.65:8080");
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let mut ann = Browser::default();
    for path in ["/", "/callback?code=x&state=y", "/"] {
        assert!(matches!(ann.open(path).status(), 403 | 503), "{path}");
    }
    assert_eq!(echo.reached().len(), 0);
    let provider = Provider::start(IDP);
    eventually("the provider is asked again", Duration::from_secs(60), || {
        let answer = ann.open("/");
        if answer.status() == 302 { Ok(()) } else { Err(answer.text) }
    });
    assert_eq!(ann.logs_in(&provider, "/a", "ann"), "/a");
    assert_eq!(ann.open("/a").status(), 200);
    // Without the key nobody is known; with it, also after that, everybody is who was.
    folder.apply("policy.yaml", &policy.replace("login-key, namespace", "another-key, namespace"));
    eventually("the edit is in force", Duration::from_secs(10), || {
        let answer = ann.open("/a");
        if answer.status() == 503 { Ok(()) } else { Err(answer.text) }
    });
    folder.apply("policy.yaml", &policy);
    eventually("all is as before", Duration::from_secs(10), || {
        let answer = ann.open("/a");
        if answer.status() == 200 { Ok(()) } else { Err(answer.text) }
    });
}
