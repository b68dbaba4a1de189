//! What is declared and cannot be understood is refused, from the first start and after a restart.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::parts::Application;
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
