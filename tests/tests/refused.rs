//! What passes admission and Envoy refuses all the same hits only what is guilty of it.
//! The Envoy here is one with a stricter bound on regular expressions than ours have.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use api::loopback::{Range, candidate};
use serde_json::Value;
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::ports::free_port;
use waykeeper_tests::wait::eventually;
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, turn};

/// Writes a program that runs Envoy with that bound.
fn strict_envoy(dir: &Path) -> PathBuf {
    let envoy = std::env::var_os("ENVOY").map(PathBuf::from).or_else(|| waykeeper_tests::parts::on_path("envoy"));
    let envoy = envoy.expect("no Envoy: set $ENVOY to the binary, or put it on the path");
    let script = dir.join("envoy");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec {} \"$@\"\nsed -i 's/\"error_level\":1000/\"error_level\":300/' \"$2\"\ngrep -q '\"error_level\":300' \"$2\" || exit 3\nexec {} \"$@\"\n",
        envoy.display(),
        envoy.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Too large for the strict Envoy, well within what is admitted.
const LARGE: &str = "/zz(a|b|c){1,120}";

fn route(name: &str, service: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: {service}}}]\n  rules:\n{rules}"
    )
}

fn rule(matches: &str) -> String {
    format!("  - matches: [{{path: {matches}}}]\n    backendRefs: [{{name: httpbin2, port: 8000}}]\n")
}

fn expression(value: &str) -> String {
    rule(&format!("{{type: RegularExpression, value: '{value}'}}"))
}

fn prefix(value: &str) -> String {
    rule(&format!("{{type: PathPrefix, value: {value}}}"))
}

fn guard(route: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: {route}, namespace: httpbin}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {route}}}]\n  options: {{extauth: {{configRef: {{name: apikeys, namespace: httpbin}}}}}}\n"
    )
}

fn get(path: &str) -> Curl {
    Curl::to(&format!("http://httpbin2:8000{path}"))
}

fn status(path: &str) -> u16 {
    get(path).send().status
}

/// `Programmed` of an HTTPRoute: status and message.
fn programmed(waykeeper: &Waykeeper, name: &str) -> (String, String) {
    let status = waykeeper.status();
    let objects = status["objects"].as_array().unwrap();
    let object = objects.iter().find(|object| object["kind"] == "HTTPRoute" && object["name"] == name).unwrap();
    let conditions = object["statuses"].as_array().unwrap().iter().flat_map(|status| status["conditions"].as_array());
    let condition: &Value = conditions.flatten().find(|condition| condition["type"] == "Programmed").unwrap();
    (condition["status"].as_str().unwrap().to_owned(), condition["message"].as_str().unwrap_or_default().to_owned())
}

fn until_programmed_is(waykeeper: &Waykeeper, name: &str, wanted: &str) -> String {
    eventually(&format!("{name} to be {wanted}"), Duration::from_secs(1), || match programmed(waykeeper, name) {
        (status, message) if status == wanted => Ok(message),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn a_rule_that_envoy_refuses_answers_500_and_everything_else_is_served() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let dir = tempfile::tempdir().unwrap();
    let envoy = strict_envoy(dir.path());
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.delete("apikeys-02-routeoption-httpbin2.yaml");
    folder.delete("apikeys-03-httproute-httpbin2.yaml");
    // As many rules as a route may have, the bad one among them.
    let many: String = (0..14).map(|number| prefix(&format!("/anything/{number}"))).collect();
    let rules = format!("{many}{}{}", expression(LARGE), prefix("/"));
    folder.apply("bad.yaml", &route("bad", "httpbin2", &rules));
    let waykeeper = Waykeeper::up(&folder, &["--envoy", envoy.to_str().unwrap()]);

    let only_the_bad_rule_is_refused = |when: &str| {
        assert_eq!(status("/zzab"), 500, "{when}");
        for path in ["/get", "/anything/0", "/anything/13", "/z"] {
            assert_ne!(status(path), 500, "{path} {when}");
        }
        assert_eq!(status("/get"), 200);
        assert_eq!(Curl::to("http://httpbin3:8000/get").send().status, 200, "the other service is left alone");
    };
    only_the_bad_rule_is_refused("at the start");
    let message = until_programmed_is(&waykeeper, "bad", "False");
    for part in ["HTTPRoute httpbin/bad rule 14", "RE2 program size", "answered 500"] {
        assert!(message.contains(part), "{message}");
    }

    // What is declared later takes effect.
    folder.apply("new.yaml", &route("new", "httpbin2", &prefix("/anything/new")));
    folder.apply("guard.yaml", &guard("new"));
    waykeeper.within_a_second("a later policy", &get("/anything/new"), |reply| reply.status == 401);
    assert_eq!(get("/anything/new").header("api-key: mykey").send().status, 200);
    until_programmed_is(&waykeeper, "new", "True");
    only_the_bad_rule_is_refused("beside a later policy");

    // A guard for the whole route, too, and the rule that is refused is not opened by it.
    folder.apply("guard-bad.yaml", &guard("bad"));
    waykeeper.within_a_second("a policy on the bad route", &get("/get"), |reply| reply.status == 401);
    // While the guilty one is looked for, others may be refused for a moment; none is open.
    waykeeper.within_a_second("it on the other rules", &get("/anything/7"), |reply| {
        assert_ne!(reply.status, 200);
        reply.status == 401
    });
    assert_eq!(get("/zzab").header("api-key: mykey").send().status, 500);
    folder.delete("guard-bad.yaml");
    // The guilty one is looked for again, and until it is found others answer 500.
    eventually("without it", Duration::from_secs(5), || {
        let others: Vec<u16> = (0..14).map(|number| status(&format!("/anything/{number}"))).collect();
        let (rule, all) = (programmed(&waykeeper, "bad").0, (status("/get"), status("/zzab")));
        let served = others.iter().all(|status| *status == 200) && all == (200, 500);
        if served && rule == "False" { Ok(()) } else { Err(format!("{others:?} {all:?} {rule}")) }
    });

    // An Envoy that starts again is sent what it will take at once.
    waykeeper.kill_envoys();
    eventually("Envoy to be back", Duration::from_secs(10), || match get("/get").send().status {
        200 => Ok(()),
        404 => panic!("the service is gone"),
        other => Err(other.to_string()),
    });
    only_the_bad_rule_is_refused("after Envoy started again");
    assert_eq!(status("/anything/new"), 401);

    // Mended, the rule is tried anew.
    let rules = format!("{many}{}{}", expression("/zz(a|b|c)+"), prefix("/"));
    folder.apply("bad.yaml", &route("bad", "httpbin2", &rules));
    waykeeper.within_a_second("the mended rule", &get("/zzab"), |reply| reply.status == 404);
    until_programmed_is(&waykeeper, "bad", "True");
}

#[test]
fn a_second_up_with_a_gateway_of_the_same_name_is_refused_and_reaches_nobody() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let first = Waykeeper::up(&folder, &[]);
    let output = Command::new(binary("waykeeper"))
        .arg("up")
        .arg(folder.path())
        .args(["--admin", &format!("127.0.0.1:{}", free_port())])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for part in ["httpbin/gloo-waypoint", "another `waykeeper up`", "rename the Gateway"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ready"));
    assert_eq!(status("/get"), 200, "the first goes on");
    drop(first);
    // What it had is free again.
    let _again = Waykeeper::up(&folder, &[]);
    assert_eq!(status("/get"), 200);
}

#[test]
fn where_an_envoy_cannot_listen_nothing_is_ready_and_nothing_is_sent_there() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let gateway = std::fs::read_to_string(folder.path().join("gateway.yaml")).unwrap();
    let waykeeper = Waykeeper::up(&folder, &[]);
    // A second Gateway comes to an address at which something else listens that takes all it is sent.
    let address = SocketAddr::new(candidate(Range::Gateways, "httpbin/other", 0).into(), 15088);
    let stranger = TcpListener::bind(address).unwrap();
    stranger.set_nonblocking(true).unwrap();
    folder.apply("other.yaml", &gateway.replace("name: gloo-waypoint", "name: other"));
    let apps = std::fs::read_to_string(folder.path().join("apps.yaml")).unwrap();
    folder.apply("apps.yaml", &apps.replacen("use-waypoint: gloo-waypoint", "use-waypoint: other", 1));
    eventually("the other Gateway to be waited for", Duration::from_secs(5), || {
        let reply = waykeeper.admin("/readyz");
        if reply.status == 503 && reply.body.contains("httpbin/other") { Ok(()) } else { Err(reply.body) }
    });
    eventually("its Service to be refused", Duration::from_secs(5), || match status("/get") {
        0 => Ok(()),
        other => Err(other.to_string()),
    });
    assert!(stranger.accept().is_err(), "nothing was sent to whoever listens there");
    assert_eq!(Curl::to("http://httpbin3:8000/get").send().status, 200, "the first Gateway goes on");
    // It is served once the address is free.
    drop(stranger);
    eventually("the other Gateway to be served", Duration::from_secs(10), || match status("/get") {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    eventually("ready", Duration::from_secs(5), || match waykeeper.admin("/readyz").status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
}
