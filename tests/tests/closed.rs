//! What is declared and cannot be understood is refused, from the first start and after a restart.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::parts::Application;
use waykeeper_tests::raw;
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, eventually, turn};

const OPTION: &str = "apikeys-02-routeoption-httpbin2.yaml";
const ROUTE: &str = "apikeys-03-httproute-httpbin2.yaml";

fn get(service: &str) -> Curl {
    Curl::to(&format!("http://{service}:8000/get"))
}

/// The example with keys asked for on httpbin2.
fn guarded() -> Folder {
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder
}

fn text(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

#[test]
fn a_restart_serves_no_less_strictly_than_what_ran_before_it() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = guarded();
    let good = text(&folder, OPTION);
    for (what, mistake) in [
        ("a tab", good.replace("  options:", "\toptions:")),
        ("a kind misspelt", good.replace("kind: RouteOption", "kind: RouteOptions")),
    ] {
        let running = Waykeeper::up(&folder, &[]);
        folder.apply(OPTION, &mistake);
        eventually("the mistake is said", Duration::from_secs(5), || {
            let status = running.status().to_string();
            if status.contains("the last good version is") { Ok(()) } else { Err(status) }
        });
        assert_eq!(get("httpbin2").send().status, 401, "{what}: the last good version stays");
        assert_eq!(running.admin("/readyz").status, 200, "{what}");
        running.stop();

        let restarted = Waykeeper::up_and_waiting(&folder, &[], OPTION);
        for service in ["httpbin2", "httpbin3"] {
            let reply = get(service).header("api-key: mykey").send();
            assert!(reply.status != 200, "{what}: {service} answers {reply:?}");
        }
        folder.apply(OPTION, &good);
        eventually("it is served once it is mended", Duration::from_secs(10), || {
            let (without, with) = (get("httpbin2").send(), get("httpbin2").header("api-key: mykey").send());
            let other = get("httpbin3").send();
            match (without.status, with.status, other.status) {
                (401, 200, 200) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        eventually("it is ready", Duration::from_secs(5), || {
            let reply = restarted.admin("/readyz");
            if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}")) }
        });
        restarted.stop();
    }
}

#[test]
fn objects_that_were_never_valid_close_what_they_would_have_governed() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let intact = guarded();
    let (option, route) = (text(&intact, OPTION), text(&intact, ROUTE));
    let many: String = (0..40).map(|n| format!("    wrong{n}: 1\n")).collect();
    let one_parent = "  parentRefs:\n    name: httpbin2\n    kind: Service\n    group: \"\"\n";
    let parents = route.find("  parentRefs:").unwrap()..route.find("  rules:").unwrap();
    let mut mapped = route.clone();
    mapped.replace_range(parents, one_parent);
    for (what, file, mistake, other) in [
        // Where the targets can be read, the other Service is served.
        ("more mistakes than are shown", OPTION, option.replace("  options:\n", &format!("  options:\n{many}")), true),
        ("targets in other case", OPTION, option.replace("targetRefs:", "targetrefs:"), true),
        (
            "parents as a mapping, and a rule of the wrong type",
            ROUTE,
            mapped.replace("type: PathPrefix", "type: Glob"),
            true,
        ),
        // Where they cannot, whatever could have been meant is closed; httpbin3 has no route to be closed by.
        ("a list for the spec", OPTION, option[..option.find("spec:").unwrap()].to_owned() + "spec: []\n", true),
        (
            "a list for a parent's name",
            ROUTE,
            route.replace("- name: httpbin2\n    kind", "- name: [httpbin2]\n    kind"),
            false,
        ),
    ] {
        let folder = guarded();
        folder.apply(file, &mistake);
        let running = Waykeeper::up(&folder, &[]);
        for curl in [get("httpbin2"), get("httpbin2").header("api-key: mykey")] {
            let reply = curl.send();
            assert!(reply.status != 200, "{what}: {reply:?}");
        }
        assert_eq!(get("httpbin3").send().status == 200, other, "{what}: the other Service");
        running.stop();
    }
}

/// A Service at 127.0.20.`host` port 8000 that leads to `address`, with a waypoint or without one.
fn leading_to(host: u8, kind: &str, address: &str, port: u16, waypoint: bool) -> String {
    let label = if waypoint { "gloo-waypoint" } else { "none" };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{host}, namespace: httpbin, labels: {{istio.io/use-waypoint: {label}}}}}\nspec: {{clusterIP: 127.0.20.{host}, ports: [{{name: http, port: 8000}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{host}, namespace: httpbin, labels: {{kubernetes.io/service-name: s{host}}}}}\naddressType: {kind}\nports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: [\"{address}\"]}}]\n"
    )
}

#[test]
fn our_own_addresses_are_behind_no_service_however_they_are_spelt() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let running = Waykeeper::up(&folder, &[]);
    let (_, admin) = running.admin.rsplit_once(':').unwrap();
    let admin: u16 = admin.parse().unwrap();
    let config = running.admin("/config").json().to_string();
    let listener = config.split('"').find(|text| text.ends_with(":15088")).expect("the listener's address in /config");
    let listener = listener.trim_end_matches(":15088").to_owned();
    let mut cases = vec![(listener.as_str(), "IPv4", 15088)];
    for (address, kind) in [
        ("127.0.0.1", "IPv4"),
        ("0.0.0.0", "IPv4"),
        ("::ffff:127.0.0.1", "IPv6"),
        ("localhost", "FQDN"),
        ("LOCALHOST", "FQDN"),
        ("a.localhost", "FQDN"),
        ("127.1", "FQDN"),
        ("2130706433", "FQDN"),
        ("0x7f000001", "FQDN"),
    ] {
        cases.push((address, kind, admin));
    }
    let mut host = 100;
    let mut services = Vec::new();
    for (address, kind, port) in cases {
        for waypoint in [true, false] {
            folder.apply(&format!("s{host}.yaml"), &leading_to(host, kind, address, port, waypoint));
            services.push((host, address, waypoint));
            host += 1;
        }
    }
    // Shows that the manifests are otherwise good: the application, by both ways.
    for waypoint in [true, false] {
        folder.apply(&format!("s{host}.yaml"), &leading_to(host, "IPv4", "127.0.10.2", 8080, waypoint));
        eventually("the application", Duration::from_secs(10), || {
            let reply = Curl::to(&format!("http://127.0.20.{host}:8000/get")).send();
            if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}\n{}", running.status())) }
        });
        host += 1;
    }
    for (host, address, waypoint) in services {
        for path in ["readyz", "status", "get"] {
            let reply = Curl::to(&format!("http://127.0.20.{host}:8000/{path}")).send();
            assert!(![200, 404].contains(&reply.status), "{address}, waypoint {waypoint}: {reply:?}");
        }
        // Whoever got to a waypoint's listener could say that he is anybody.
        if address == listener {
            let forged =
                [raw::proxy_header([127, 0, 20, 2], 8000, &[]), b"GET /get HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()];
            let answer = raw::send_raw(&format!("127.0.20.{host}:8000"), &forged.concat());
            assert!(!answer.contains("200 OK"), "{answer}");
        }
    }
}
