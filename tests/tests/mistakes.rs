//! Mistakes in manifests are said where a person looks: in the terminal of `waykeeper up` when they
//! are made and when they are mended, in `status` and in `validate`, with file, line and cure.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use waykeeper_tests::parts::binary;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// A mistake: the file it is in, what stands there, the line to be named, and words that must be said.
struct Mistake {
    file: &'static str,
    text: String,
    line: usize,
    says: &'static str,
}

fn mistake(file: &'static str, text: impl Into<String>, line: usize, says: &'static str) -> Mistake {
    Mistake { file, text: text.into(), line, says }
}

fn route(name: &str, parent: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  parentRefs:\n  - {parent}\n  rules:\n{rules}"
    )
}

fn option(name: &str, target: &str, options: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  targetRefs:\n  - {{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {target}}}\n  options:\n{options}\n"
    )
}

fn service(name: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: httpbin\n{rest}")
}

fn slice(name: &str, service: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  namespace: httpbin\n  labels:\n    kubernetes.io/service-name: {service}\naddressType: IPv4\nendpoints:\n- addresses: [{address}]\n"
    )
}

fn auth_config(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n{spec}\n"
    )
}

fn limit(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  raw:\n{spec}\n"
    )
}

const HTTPBIN2: &str = "{group: '', kind: Service, name: httpbin2}";
const FORWARD: &str = "  - backendRefs: [{name: httpbin2, port: 8000}]\n";

/// What people write, and is not what they mean.
fn mistakes() -> Vec<Mistake> {
    let prefix = "  - matches:\n    - path:\n        type: Prefx\n        value: /a\n";
    vec![
        mistake("tab.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: a\n", 4, "spaces, not tabs"),
        mistake("brace.json", "{\"apiVersion\": \"v1\",\n \"kind\": }\n", 2, "not valid JSON"),
        mistake("kind.yaml", "apiVersion: v1\nkind: Servise\nmetadata: {name: a}\n", 1, "Servise"),
        mistake(
            "version.yaml",
            "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: HTTPRoute\nmetadata: {name: a}\n",
            1,
            "write gateway.networking.k8s.io/v1",
        ),
        mistake("no-version.yaml", "kind: Service\nmetadata: {name: a}\n", 1, "apiVersion"),
        mistake("nameless.yaml", "apiVersion: v1\nkind: Service\nmetadata: {namespace: httpbin}\n", 1, "has a name"),
        mistake("port.yaml", service("port", "spec:\n  ports:\n  - name: http\n    port: 0\n"), 9, "write 1 to 65535"),
        mistake("address.yaml", slice("address", "httpbin2", "localhost"), 10, "write addressType: FQDN"),
        mistake("slice.yaml", slice("slice", "httpbin4", "127.0.9.9"), 7, "did you mean httpbin"),
        mistake("bare.yaml", service("bare", "spec:\n  ports: [{port: 80}]\n"), 1, "no EndpointSlice"),
        mistake("type.yaml", route("type", HTTPBIN2, prefix), 10, "PathPrefix"),
        mistake(
            "parent.yaml",
            route("parent", "{group: '', kind: Service, name: nobody}", FORWARD),
            1,
            "httpbin/nobody",
        ),
        mistake(
            "backend.yaml",
            route("backend", HTTPBIN2, "  - backendRefs:\n    - name: httpbin9\n      port: 8000\n"),
            9,
            "httpbin/httpbin9",
        ),
        mistake("target.yaml", option("target", "nobody", "    timeout: 1s"), 1, "httpbin/nobody"),
        mistake(
            "config.yaml",
            option("config", "governed", "    extauth:\n      configRef: {name: nobody, namespace: httpbin}"),
            9,
            "AuthConfig httpbin/nobody does not exist",
        ),
        mistake(
            "limits.yaml",
            option("limits", "governed", "    rateLimitConfigs:\n      refs:\n      - {name: nobody}"),
            10,
            "RateLimitConfig httpbin/nobody does not exist",
        ),
        mistake("field.yaml", option("field", "governed", "    extAuth:\n      disable: true"), 8, "extAuth"),
        mistake("duration.yaml", option("duration", "governed", "    timeout: soon"), 8, "write for example"),
        mistake("empty.yaml", auth_config("empty", "  configs: []"), 5, "write at least one config"),
        mistake("method.yaml", auth_config("method", "  configs:\n  - ldap: {address: 'ldap://x'}"), 6, "ldap"),
        mistake(
            "selector.yaml",
            auth_config(
                "selector",
                "  configs:\n  - apiKeyAuth:\n      headerName: api key\n      labelSelector: {a: b}",
            ),
            7,
            "header",
        ),
        mistake(
            "unit.yaml",
            limit(
                "unit",
                "    descriptors:\n    - key: a\n      rateLimit:\n        requestsPerUnit: 1\n        unit: FORTNIGHT\n    rateLimits:\n    - actions: [{genericKey: {descriptorValue: a}}]",
            ),
            10,
            "FORTNIGHT",
        ),
        mistake(
            "base64.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: base64, namespace: httpbin}\ndata:\n  api-key: hunter2 is not base64\n",
            5,
            "stringData",
        ),
        mistake(
            "label.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: label\n  labels:\n    team: not a label\n",
            6,
            "label",
        ),
        mistake(
            "waypoint.yaml",
            service("lost", "  labels:\n    istio.io/use-waypoint: gloo-waypoin\nspec:\n  ports: [{port: 80}]\n"),
            1,
            "gloo-waypoin",
        ),
        mistake(
            "class.yaml",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: class, namespace: httpbin}\nspec:\n  gatewayClassName: gloo-waypont\n  listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]\n",
            5,
            "write gloo-waypoint",
        ),
        mistake(
            "twice.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: httpbin}\n",
            1,
            "declared more than once",
        ),
    ]
}

fn waykeeper(arguments: &[&str]) -> Output {
    Command::new(binary("waykeeper")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a line of `said` names this mistake as it must be named.
fn named(said: &str, mistake: &Mistake) -> bool {
    let place = format!("/{}:{}", mistake.file, mistake.line);
    said.lines().any(|line| {
        let marked = line.starts_with("error: ") || line.starts_with("warning: ");
        let placed = line.split_once(&place).is_some_and(|(_, rest)| rest.starts_with(':'));
        marked && placed && line.contains(mistake.says)
    })
}

#[test]
fn twenty_five_mistakes_are_each_named_in_the_terminal_in_status_and_by_validate() {
    let _turn = turn();
    let folder = Folder::example();
    let running = Waykeeper::up(&folder, &[]);
    let status = |more: &[&str]| waykeeper(&[&["status", "--admin", &running.admin], more].concat());
    let healthy = status(&["--strict"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", text(&healthy.stdout));
    assert!(text(&healthy.stdout).ends_with("no problems in 18 objects\n"), "{}", text(&healthy.stdout));
    assert!(text(&healthy.stdout).contains("WaypointBound=True"), "{}", text(&healthy.stdout));

    let mistakes = mistakes();
    assert!(mistakes.len() >= 25);
    folder.apply("governed.yaml", &route("governed", HTTPBIN2, FORWARD));
    for mistake in &mistakes {
        folder.apply(mistake.file, &mistake.text);
    }
    eventually("each is named in the terminal", Duration::from_secs(5), || {
        let log = running.log();
        let missing: Vec<_> = mistakes.iter().filter(|m| !named(&log, m)).map(|m| m.file).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not named: {missing:?}; said:\n{log}")) }
    });
    let log = running.log();
    for line in log.lines().filter(|line| line.starts_with("error: ") || line.starts_with("warning: ")) {
        assert_eq!(log.lines().filter(|other| *other == line).count(), 1, "said twice: {line}");
    }
    assert!(!log.contains("hunter2"), "a Secret's value is in the log");
    assert!(!log.contains('\u{1b}'), "colours where no terminal is");

    let found = status(&[]);
    let said = text(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{said}");
    let validated = waykeeper(&["validate", folder.path().to_str().unwrap()]);
    assert_eq!(validated.status.code(), Some(1));
    for mistake in &mistakes {
        assert!(named(&said, mistake), "status does not name {}:\n{said}", mistake.file);
        assert!(named(&text(&validated.stdout), mistake), "validate does not name {}", mistake.file);
    }
    let json: Value = serde_json::from_slice(&status(&["-o", "json"]).stdout).unwrap();
    let problems = json["problems"].as_array().unwrap();
    assert!(said.trim_end().lines().last().unwrap().starts_with(&format!("{} errors, ", json["errors"])), "{said}");
    assert!(problems.iter().all(|p| p["code"].is_string() && p["message"].is_string() && p["severity"].is_string()));

    // One is mended, one is deleted, one moves down by a line: the first only is said.
    let before = running.log().lines().count();
    folder.apply("port.yaml", &service("port", "spec:\n  ports: [{name: http, port: 80}]\n"));
    folder.delete("duration.yaml");
    let unit = mistakes.iter().find(|m| m.file == "unit.yaml").unwrap();
    folder.apply("unit.yaml", &format!("# moved\n{}", unit.text));
    let mended = "port.yaml: Service httpbin/port: spec.ports[0].port";
    eventually("what is mended is said", Duration::from_secs(5), || {
        let log = running.log();
        let said = log.lines().skip(before).any(|line| line.starts_with("mended: ") && line.ends_with(mended));
        if said { Ok(()) } else { Err(log.lines().skip(before).collect::<Vec<_>>().join("\n")) }
    });
    let log = running.log();
    let after: Vec<&str> = log.lines().skip(before).collect();
    assert!(!after.iter().any(|line| line.contains("unit.yaml") || line.contains("duration.yaml")), "{after:#?}");
}

#[test]
fn a_folder_that_is_empty_or_not_there_is_said_at_once() {
    let _turn = turn();
    let parent = Folder::empty();
    std::fs::create_dir(parent.path().join("manifests")).unwrap();
    let empty = Folder::at(&parent.path().join("manifests"));
    let running = Waykeeper::up(&empty, &[]);
    eventually("that it is empty", Duration::from_secs(5), || {
        let log = running.log();
        if log.contains("/manifests: holds no manifests; put files ending in .yaml") { Ok(()) } else { Err(log) }
    });
    let misspelt = parent.path().join("manifets");
    let validated = waykeeper(&["validate", misspelt.to_str().unwrap()]);
    assert_eq!(validated.status.code(), Some(64), "{validated:?}");
    let said = text(&validated.stderr);
    assert!(said.contains("does not exist; did you mean ") && said.contains("/manifests?"), "{said}");
    assert_eq!(waykeeper(&["validate", empty.path().to_str().unwrap()]).status.code(), Some(1), "nothing is not valid");
}

#[test]
fn what_has_no_errors_says_so_and_warnings_count_when_asked() {
    let folder = Folder::example();
    let path = folder.path().to_str().unwrap().to_owned();
    let good = waykeeper(&["validate", &path]);
    assert_eq!((good.status.code(), text(&good.stdout).as_str()), (Some(0), "valid: 18 objects in 4 files\n"));
    folder.apply("bare.yaml", &service("bare", "spec:\n  ports: [{port: 80}]\n"));
    let warned = waykeeper(&["validate", &path]);
    assert_eq!(warned.status.code(), Some(0), "{warned:?}");
    assert!(text(&warned.stdout).ends_with("valid: 19 objects in 5 files; 1 warning\n"), "{warned:?}");
    assert_eq!(waykeeper(&["validate", "--strict", &path]).status.code(), Some(1));
    assert_eq!(waykeeper(&["validate"]).status.code(), Some(64));

    let apps = std::fs::File::open(folder.path().join("apps.yaml")).unwrap();
    let output = Command::new(binary("extauth")).args(["validate", "-o", "json", "-"]).stdin(apps).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &json["valid"], &json["problems"]),
        (Some(0), &true.into(), &serde_json::json!([]))
    );
}
