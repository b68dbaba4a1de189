//! What the images hold, what they do not, and as whom they run.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::Duration;

use waykeeper_tests::docker::{Engine, IMAGES, TAG, turn};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Folder, eventually};

/// What an engine itself puts into every container.
const ENGINES: [&str; 6] = [".dockerenv", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"];

/// What each may weigh, in millions of bytes, without optimisation: a tenth more than it does.
const MOST: [(&str, u64); 4] = [("extauth", 102), ("ratelimit", 111), ("waypoint", 121), ("waykeeper", 138)];

/// The files in an image: mode as `tar` prints it, owner, name.
fn files(engine: &Engine, image: &str) -> Vec<(String, String, String)> {
    let container = engine.run(&["create", image]);
    let mut export = engine.docker().args(["export", container.trim()]).stdout(Stdio::piped()).spawn().unwrap();
    let listing = Command::new("tar").args(["-tv", "--numeric-owner"]).stdin(export.stdout.take().unwrap()).output();
    assert!(export.wait().unwrap().success());
    engine.run(&["rm", container.trim()]);
    let text = String::from_utf8(listing.unwrap().stdout).unwrap();
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (mode, owner) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some((mode, owner, words.nth(3)?.trim_start_matches("./").to_owned()))
    };
    text.lines().filter_map(parse).collect()
}

#[test]
fn they_hold_a_binary_and_authorities_to_trust_and_nothing_else() {
    let (_turn, engine) = turn();
    let mut heavy = Vec::new();
    for name in IMAGES {
        let image = format!("waykeeper/{name}:{TAG}");
        let all = files(&engine, &image);
        let kept: Vec<&str> = all
            .iter()
            .filter(|(mode, _, file)| !mode.starts_with('d') && !ENGINES.contains(&file.as_str()))
            .map(|(_, _, file)| file.as_str())
            .collect();
        // So: no shell, no package manager, no library, no key, no source.
        let mut wanted = [name, "etc/ssl/certs/ca-certificates.crt"];
        wanted.sort_unstable();
        let mut kept = kept;
        kept.sort_unstable();
        assert_eq!(kept, wanted, "{name}");
        for (mode, owner, file) in &all {
            assert!(!mode.contains(['s', 'S']), "{name}: {file} is setuid or setgid: {mode}");
            let others_write = !mode.starts_with('l') && mode.chars().nth(8) == Some('w');
            assert!(!others_write, "{name}: anyone may write to {file}: {mode}");
            if !mode.starts_with('d') {
                assert_eq!(owner, "0/0", "{name}: {file} can be changed by the user it runs as");
            }
        }
        let inspect = |what: &str| engine.run(&["inspect", "--format", what, &image]).trim().to_owned();
        assert_eq!(inspect("{{.Config.User}}"), "65532:65532");
        assert_eq!(inspect("{{json .Config.Healthcheck.Test}}"), format!("[\"CMD\",\"/{name}\",\"health\"]"));
        assert_eq!(inspect("{{index .Config.Labels \"org.opencontainers.image.title\"}}"), name);
        for label in ["description", "licenses", "version", "revision", "vendor"] {
            let value = inspect(&format!("{{{{index .Config.Labels \"org.opencontainers.image.{label}\"}}}}"));
            assert!(!value.is_empty(), "{name} has no label {label}");
        }
        let size: u64 = inspect("{{.Size}}").parse().unwrap();
        let most = MOST.iter().find(|(image, _)| *image == name).unwrap_or_else(|| panic!("{name} is not in MOST")).1;
        if size >= most * 1_000_000 {
            heavy.push(format!("{name} has {size} bytes; it may have {most} million"));
        }
    }
    assert!(heavy.is_empty(), "{heavy:#?}");
}

#[test]
fn they_run_as_any_user_on_a_read_only_root_without_capabilities() {
    let (_turn, engine) = turn();
    let bare = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=12345:54321"];
    let bare = [&bare[..], &["--network=none", "--memory=128m", "--pids-limit=64"]].concat();
    for name in IMAGES {
        let image = format!("waykeeper/{name}:{TAG}");
        let version = engine.run(&[&["run", "--rm"], &bare[..], &[image.as_str(), "--version"]].concat());
        assert!(version.starts_with(name), "{version}");
    }

    // And not only to say its version: a server that answers its own health check.
    let folder = Folder::example();
    readable(folder.path());
    let mount = format!("--volume={}:/manifests:ro", folder.path().display());
    let image = format!("waykeeper/extauth:{TAG}");
    let started = engine.run(&[&["run", "--detach"], &bare[..], &[mount.as_str(), &image, "/manifests"]].concat());
    let container = started.trim();
    let ready = || engine.docker().args(["exec", container, "/extauth", "health"]).output().unwrap();
    eventually("ready", Duration::from_secs(10), || {
        let output = ready();
        if output.stdout == b"ready\n" && output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    });
    let shell = engine.docker().args(["exec", container, "sh", "-c", "true"]).output().unwrap();
    assert!(!shell.status.success(), "there is a shell");
    engine.run(&["stop", container]);
    let code = engine.run(&["inspect", "--format", "{{.State.ExitCode}}", container]);
    assert_eq!(code.trim(), "0", "SIGTERM drains");
    assert!(!ready().status.success());
    engine.run(&["rm", container]);
}

/// The one that is more than a binary: Envoy's own image, with what starts it.
#[test]
fn the_image_of_gateways_pods_has_an_envoy_and_the_process_that_starts_it() {
    let (_turn, engine) = turn();
    let image = format!("waykeeper/proxy:{TAG}");
    let mut build = engine.docker();
    build
        .env("DOCKER_BUILDKIT", "1")
        .current_dir(root())
        .args(["build", "--quiet", "--target", "proxy", "--tag", &image]);
    let built = build.args(["--build-arg", "PROFILE=dev", "."]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let inspect = |what: &str| engine.run(&["inspect", "--format", what, &image]).trim().to_owned();
    assert_eq!(inspect("{{.Config.User}}"), "65532:65532");
    assert_eq!(inspect("{{json .Config.Entrypoint}}"), "[\"/waypoint\"]");
    // As pods run it: as any user, with one folder to write to.
    let pod = ["run", "--rm", "--read-only", "--tmpfs=/run/waypoint:mode=1777", "--cap-drop=ALL"];
    let pod = [&pod[..], &["--security-opt=no-new-privileges", "--user=12345:54321", "--network=none"]].concat();
    let said = engine.run(&[&pod[..], &[image.as_str(), "proxy", "--help"]].concat());
    assert!(said.contains("/usr/local/bin/envoy"), "{said}");
    let envoy = ["--entrypoint", "/usr/local/bin/envoy", &image, "--version"];
    let said = engine.run(&[&pod[..], &envoy[..]].concat());
    assert!(said.contains("/1.40.0/"), "{said}");
}

fn readable(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}
