//! The other commands of `waykeeper`, and how they exit.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;
use waykeeper_tests::curl::Curl;
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::{Backends, Folder, Waykeeper, turn};

fn waykeeper(arguments: &[&str]) -> Output {
    Command::new(binary("waykeeper")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn usage_is_64_and_the_command_alone_prints_its_help() {
    let alone = waykeeper(&[]);
    assert_eq!(alone.status.code(), Some(64));
    assert!(stdout(&alone).contains("Usage: waykeeper") && stdout(&alone).contains("validate"), "{alone:?}");
    for wrong in [
        &["frobnicate"][..],
        &["get", "nonsense"],
        &["up"],
        &["up", "--redis", "redis://:x@", "x"],
        &["ps", "-o", "xml"],
    ] {
        assert_eq!(waykeeper(wrong).status.code(), Some(64), "{wrong:?}");
    }
    for program in ["extauth", "ratelimit", "waypoint"] {
        for wrong in [&["--colour"][..], &[]] {
            let output = Command::new(binary(program)).args(wrong).output().unwrap();
            assert_eq!(output.status.code(), Some(64), "{program} {wrong:?}: {output:?}");
        }
    }
    let said = String::from_utf8_lossy(&waykeeper(&["get", "httproutse"]).stderr).into_owned();
    assert!(said.contains("did you mean httproutes?"), "{said}");
}

#[test]
fn what_the_program_says_of_itself_can_be_read_by_shells_and_man() {
    let version = waykeeper(&["version", "-o", "json"]);
    let version: Value = serde_json::from_slice(&version.stdout).unwrap();
    assert!(version["version"].is_string() && version["envoy"].is_string(), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&waykeeper(&["completion", shell]));
        assert!(script.contains("waykeeper") && script.contains("validate"), "{shell}");
        assert!(!script.contains("become"), "{shell} offers a command that is not for people");
    }
    let folder = Folder::empty();
    let written = waykeeper(&["man", "--dir", folder.path().to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    let page = std::fs::read_to_string(folder.path().join("waykeeper-up.1")).unwrap();
    assert!(page.contains("sample"), "{page}");
    assert!(stdout(&waykeeper(&["man"])).contains(".TH waykeeper 1"));
}

#[test]
fn objects_are_found_by_kind_name_and_namespace_and_printed_as_asked() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let running = Waykeeper::up(&folder, &[]);
    let ask = |arguments: &[&str]| waykeeper(&[arguments, &["--admin", &running.admin]].concat());
    let names = stdout(&ask(&["get", "httproutes", "-o", "name"]));
    assert_eq!(names, "httproute.gateway.networking.k8s.io/httpbin2\n");
    let one: Value = serde_json::from_slice(&ask(&["get", "ac", "apikeys", "-o", "json"]).stdout).unwrap();
    assert_eq!((&one["kind"], &one["name"]), (&"AuthConfig".into(), &"apikeys".into()));
    assert!(one["file"].as_str().unwrap().ends_with(".yaml") && one["line"].is_u64(), "{one}");
    let yaml = stdout(&ask(&["get", "authconfig", "apikeys", "-o", "yaml"]));
    assert!(yaml.contains("kind: AuthConfig\n") && !yaml.contains("mykey"), "{yaml}");
    let missing = ask(&["get", "authconfigs", "apikey"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("did you mean apikeys?"), "{missing:?}");
    let secrets = |more: &[&str]| stdout(&ask(&[&["get", "secrets"], more].concat()));
    assert!(secrets(&["-n", "gloo-system"]).contains("apikey") && !secrets(&["-n", "httpbin"]).contains("apikey"));
    assert!(secrets(&["-A"]).contains("apikey"));
    let all: Value = serde_json::from_slice(&ask(&["get", "all", "-o", "json"]).stdout).unwrap();
    assert!(all.as_array().unwrap().len() > 18);
    assert!(stdout(&ask(&["ps"])).contains("waypoint httpbin/gloo-waypoint"));
}

#[test]
fn keys_are_made_rotated_and_revoked_and_take_effect_at_once() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let running = Waykeeper::up(&folder, &[]);
    let (dir, aside) = (folder.path().to_str().unwrap(), Folder::empty());
    let apikey = |arguments: &[&str]| waykeeper(&[&["apikey"], arguments, &["-d", dir]].concat());
    let done = |arguments: &[&str]| {
        let output = apikey(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        stdout(&output)
    };
    let verified = |key: &str| {
        let file = aside.path().join("to-verify");
        std::fs::write(&file, key).unwrap();
        let output = apikey(&["verify", "--key-file", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        assert!(!stdout(&output).contains(key.trim()), "{output:?}");
        (output.status.code(), stdout(&output))
    };
    let asks = |key: &str, status: u16| {
        let curl = Curl::to("http://127.0.20.2:8000/headers").header(&format!("api-key: {key}"));
        running.within_a_second(&format!("{status}"), &curl, |reply| reply.status == status)
    };

    let ann = done(&["create", "ann", "-l", "team=infrastructure", "-s", "organization=acme"]);
    let ann = ann.trim_end();
    assert!(asks(ann, 200).body.contains("acme"), "its entries become headers");
    let other = done(&["create", "other", "-l", "team=other"]);
    asks(other.trim_end(), 401);
    assert_eq!(verified(&format!("{ann}\r\n")).0, Some(0));
    assert_eq!(verified(other.trim_end()).0, Some(1), "nobody accepts it");
    assert_eq!(verified("unknown").0, Some(1));
    let listed = done(&["list"]);
    assert!(listed.contains("httpbin/apikeys") && listed.contains("team=other"), "{listed}");
    assert!(!listed.contains(ann) && !listed.contains("mykey") && !listed.contains("acme"), "{listed}");
    assert_eq!(done(&["list", "-n", "default", "-l", "team=other", "-o", "name"]), "secret/other\n");

    let over = done(&["create", "over", "-l", "team=infrastructure", "--expires", "2020-01-31"]);
    asks(over.trim_end(), 401);
    let (code, said) = verified(over.trim_end());
    assert!(code == Some(1) && said.contains("it has expired"), "{said}");

    let new = done(&["rotate", "ann", "--grace", "24h"]);
    let old = done(&["list", "-n", "default", "-o", "json"]);
    let old: Value = serde_json::from_str(&old).unwrap();
    let ends = old.as_array().unwrap().iter().find(|one| one["name"] == "ann").unwrap()["expires"].clone();
    assert!(ends.as_str().is_some_and(|time| time.starts_with("20")), "{old}");
    let new = new.trim_end();
    asks(ann, 200);
    assert!(asks(new, 200).body.contains("acme"), "it has what the other has");
    done(&["revoke", "ann"]);
    asks(ann, 401);
    asks(new, 200);

    // A key that would be another's, that nobody can send, or that is somewhere else as well.
    let given = aside.path().join("given");
    let create = |name: &str, key: &str| {
        std::fs::write(&given, key).unwrap();
        apikey(&["create", name, "--key-file", given.to_str().unwrap(), "-l", "team=infrastructure"])
    };
    for (name, key) in
        [("twin", new), ("empty", "\n"), ("spaces", " a"), ("UPPER", "k"), ("../up", "k"), ("other", "k")]
    {
        let output = create(name, key);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{name}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains(new), "{output:?}");
    }
    assert!(create("given", "a-key-of-theirs\n").status.success());
    asks("a-key-of-theirs", 200);
    folder.apply(
        "twice.yaml",
        "# two\napiVersion: v1\nkind: Secret\ntype: extauth.solo.io/apikey\nmetadata: {name: given, labels: {team: infrastructure}}\n\
         stringData: {api-key: a-key-of-theirs}\n---\n# stays\napiVersion: v1\nkind: Secret\ntype: extauth.solo.io/apikey\n\
         metadata: {name: last, labels: {team: infrastructure}}\nstringData: {api-key: last-key}\n",
    );
    done(&["rotate", "last", "--grace", "1h"]);
    asks("last-key", 200);
    let half = apikey(&["revoke", "given", "last", "nobody"]);
    assert_eq!(half.status.code(), Some(1), "{half:?}");
    asks("last-key", 200);
    let again = apikey(&["revoke", "given"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("in another place as well"), "{again:?}");
    asks("a-key-of-theirs", 200);
    done(&["revoke", "given"]);
    asks("a-key-of-theirs", 401);
    asks("last-key", 200);
    let left = std::fs::read_to_string(folder.path().join("twice.yaml")).unwrap();
    assert!(left.starts_with("---\n") && left.contains("name: last\n") && !left.contains("theirs"), "{left}");

    // Only kept when that is asked for.
    let printed = done(&["create", "dry", "--dry-run", "-l", "team=infrastructure"]);
    assert!(printed.contains("kind: Secret") && !done(&["list"]).contains("dry"), "{printed}");
}

#[test]
fn it_is_said_what_an_edit_would_change_before_anybody_makes_it() {
    let (now, then) = (Folder::example(), Folder::example());
    let diff = |now: &Folder, then: &Folder| {
        waykeeper(&["config", "diff", "--from", now.path().to_str().unwrap(), "-f", then.path().to_str().unwrap()])
    };
    let same = diff(&now, &then);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), String::new()), "{same:?}");

    then.apply_walkthrough("apikeys");
    let guarded = diff(&now, &then);
    assert_eq!(guarded.status.code(), Some(1));
    let said = stdout(&guarded);
    for line in [
        "+ RouteOption httpbin/httpbin2\n",
        "+ RouteOption httpbin/httpbin2: Service httpbin/httpbin2: Accepted is True (Accepted): governs HTTPRoute",
        "Envoys of Gateway httpbin/gloo-waypoint:\n~ Scope httpbin/httpbin2/8000\n",
        "    +              config_id: httpbin.apikeys\n",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert!(!said.contains("httpbin3") && !said.contains("~ Service"), "what stays as it is: {said}");
    assert!(!said.contains("mykey"), "a key");

    // The other way round everything is said to go, and a policy that would be refused is seen to be.
    let opened = stdout(&diff(&then, &now));
    assert!(opened.starts_with("- Secret gloo-system/apikey\n") && opened.contains("    -              config_id"));
    now.apply_walkthrough("apikeys");
    let option = "apikeys-02-routeoption-httpbin2.yaml";
    let text = std::fs::read_to_string(then.path().join(option)).unwrap();
    then.apply(option, &text.replace("name: apikeys", "name: nobody"));
    let refused = stdout(&diff(&now, &then));
    assert!(
        refused.contains("+ RouteOption httpbin/httpbin2: Service httpbin/httpbin2: ResolvedRefs is False"),
        "{refused}"
    );

    then.apply(
        "mistake.yaml",
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {name: a, namespace: httpbin}\nspec: []\n",
    );
    let wrong = diff(&now, &then);
    assert_eq!(wrong.status.code(), Some(2), "nobody can tell: {wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("waykeeper validate"), "{wrong:?}");
    let nowhere = waykeeper(&["config", "diff", "-f", "/nowhere", "--from", now.path().to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
}

/// Who sets once how commands print means all of them.
#[test]
fn every_command_prints_in_every_way_that_the_environment_may_name() {
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let dir = folder.path().to_str().unwrap();
    for how in ["table", "json", "yaml", "name"] {
        for arguments in [&["config", "dump", "-f", dir][..], &["apikey", "list", "-d", dir], &["version"]] {
            let output =
                Command::new(binary("waykeeper")).args(arguments).env("WAYKEEPER_OUTPUT", how).output().unwrap();
            assert!(output.status.success() && !output.stdout.is_empty(), "{how} {arguments:?}: {output:?}");
        }
    }
}

#[test]
fn what_envoys_are_configured_with_is_printed() {
    let folder = Folder::example();
    let dump = |more: &[&str]| waykeeper(&[&["config", "dump", "-f", folder.path().to_str().unwrap()], more].concat());
    let names = stdout(&dump(&["-o", "name"]));
    assert!(names.contains("httpbin/gloo-waypoint Scope httpbin/httpbin2/8000\n"), "{names}");
    let scopes = dump(&["gloo-waypoint", "-n", "httpbin", "--type", "scope", "-o", "json"]);
    let scopes: Value = serde_json::from_slice(&scopes.stdout).unwrap();
    let types: Vec<&Value> = scopes[0]["resources"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["Scope", "Scope"]);
    assert!(scopes[0]["resources"][0]["resource"]["route_configuration"]["virtual_hosts"].is_array());
    let none = dump(&["gloo-waypoint"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("these are: httpbin/gloo-waypoint"), "{none:?}");
}

#[test]
fn what_cannot_start_says_why_and_guesses_nothing() {
    let _turn = turn();
    let folder = Folder::example();
    let path = folder.path().to_str().unwrap();
    let started = |arguments: &[&str]| {
        let output = waykeeper(&[&["up", path], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let said = started(&["--admin", &taken]);
    assert!(said.contains("listens at") && said.contains("--admin"), "{said}");
    drop(listener);
    let said = started(&["--admin", "192.0.2.1:1"]);
    assert!(!said.contains("another `waykeeper up`"), "a cause is guessed: {said}");
    for (envoy, why) in
        [("/bin/false", "cannot be run"), ("/bin/true", "does not answer as Envoy"), ("/nowhere", "no file")]
    {
        let said = started(&["--admin", "127.0.0.1:0", "--envoy", envoy]);
        assert!(said.contains(why), "{envoy}: {said}");
        assert!(said.contains("--envoy") && !said.contains("panicked"), "{said}");
    }
    let said = waykeeper(&["ps", "--admin", "127.0.0.1:1"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("nothing answers at 127.0.0.1:1"), "{said:?}");
}
