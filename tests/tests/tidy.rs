//! The shape of the workspace, as ARCHITECTURE.md draws it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use waykeeper_tests::waykeeper::root;

/// Who may depend on whom, of ours.
const ARROWS: &[(&str, &[&str])] = &[
    ("table", &[]),
    ("api", &["table"]),
    ("status", &["api"]),
    ("proto", &["table"]),
    ("runtime", &[]),
    ("provider", &["api", "status", "runtime"]),
    ("provider/kubernetes", &["api", "status", "runtime", "provider"]),
    ("xds", &["proto", "runtime"]),
    ("outbound", &[]),
    ("extauth", &["api", "status", "proto", "runtime", "provider", "kubernetes"]),
    ("ratelimit/limit", &["api"]),
    ("ratelimit/rules", &["limit", "api", "status", "proto"]),
    ("ratelimit/store", &["limit", "api", "runtime"]),
    ("ratelimit/server", &["limit", "rules", "store", "api", "proto", "runtime", "provider"]),
    ("ratelimit/dropin", &["limit", "rules", "store", "server", "api", "proto", "runtime", "provider"]),
    (
        "ratelimit",
        &["limit", "rules", "store", "server", "dropin", "api", "status", "runtime", "provider", "kubernetes"],
    ),
    ("waypoint/ir", &["api"]),
    ("waypoint/resolve", &["ir", "api", "status"]),
    ("waypoint/emit", &["ir", "proto"]),
    ("waypoint/translate", &["resolve", "emit", "ir", "api", "status"]),
    ("waypoint", &["waypoint-translate", "api", "status", "proto", "runtime", "provider", "kubernetes", "xds"]),
    ("tunnel", &["runtime"]),
    ("tests", &[]),
    ("bench", &["proto"]),
    ("mutate", &[]),
];

const OURS: &[&str] = &[
    "table",
    "api",
    "status",
    "proto",
    "runtime",
    "provider",
    "kubernetes",
    "xds",
    "outbound",
    "extauth",
    "ratelimit",
    "limit",
    "rules",
    "store",
    "server",
    "dropin",
    "waypoint",
    "ir",
    "resolve",
    "emit",
    "waypoint-translate",
    "tunnel",
    "sample-app",
    "waykeeper",
];

/// Names of the dependencies in the `[dependencies]` section, without dev-dependencies.
fn dependencies(crate_dir: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join(crate_dir).join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        } else if section == "[dependencies]"
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
            && !name.starts_with('#')
        {
            found.insert(name.trim().to_owned());
        }
    }
    found
}

#[test]
fn crates_depend_only_on_whom_they_may() {
    for (dir, allowed) in ARROWS {
        for dependency in dependencies(dir) {
            let ours = OURS.contains(&dependency.as_str());
            assert!(!ours || allowed.contains(&dependency.as_str()), "{dir} must not depend on {dependency}");
        }
    }
}

#[test]
fn what_decides_cannot_name_io_or_time() {
    let pure = [
        "waypoint/ir",
        "waypoint/resolve",
        "waypoint/emit",
        "waypoint/translate",
        "ratelimit/limit",
        "ratelimit/rules",
    ];
    for dir in pure {
        for dependency in dependencies(dir) {
            let impure = ["tokio", "kube", "tonic", "chrono", "jiff", "notify", "rand", "metrics", "tracing"];
            assert!(!impure.contains(&dependency.as_str()), "{dir} lists {dependency}");
        }
        visit(&root().join(dir).join("src"), &mut |file| {
            let text = fs::read_to_string(file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for reached in ["::now()", "std::env", "std::fs", "std::process"] {
                assert!(!code.contains(reached), "{} reaches for {reached}", file.display());
            }
        });
    }
}

#[test]
fn versions_stand_once() {
    for (dir, _) in ARROWS {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("version = \""), "{dir}/Cargo.toml pins a version; pin it in the root Cargo.toml");
    }
}

/// Images are built from what `.dockerignore` lets through.
#[test]
fn images_are_built_from_every_crate() {
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    for member in members.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty()) {
        let let_through = ignored.lines().filter_map(|line| line.strip_prefix('!')).any(|path| {
            path == member || member.starts_with(&format!("{path}/")) || path == format!("{member}/Cargo.toml")
        });
        assert!(let_through, ".dockerignore leaves out {member}: write !{member}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut silent = Vec::new();
    visit(&root(), &mut |file| {
        let text = fs::read_to_string(file).unwrap();
        if !text.starts_with("//!") {
            silent.push(file.to_owned());
        }
    });
    assert!(silent.is_empty(), "files without an opening //! line: {silent:#?}");
}

#[test]
fn a_kind_is_a_row_and_a_module_of_rules() {
    // A kind of which everything stands in the table: outside of it, of its module and of the type itself,
    // `api` does not name it.
    let kind = "ReferenceGrant";
    let mut named = BTreeSet::new();
    visit(&root().join("api/src"), &mut |file| {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(kind)) {
            named.insert(file.strip_prefix(root().join("api/src")).unwrap().display().to_string());
        }
    });
    let expected = ["gateway.rs", "kinds.rs", "kinds/reference_grant.rs"].map(str::to_owned);
    assert_eq!(named, BTreeSet::from(expected), "a kind is named in more places than its row");
}

/// Modules of a crate that still need each other in a circle, by the first module's crate. It may only get shorter.
const CIRCLES: &[(&str, &[&str])] = &[
    ("api", &["admit", "gloo", "kinds", "object", "reach", "secret", "snapshot"]),
    ("extauth", &["sealed", "service"]),
    ("runtime", &["otlp", "telemetry"]),
    // A decision is made through the view, and the view keeps the decisions.
    (
        "waypoint/resolve",
        &["enrolment", "gateways", "options", "parents", "refusals", "services", "status", "units", "view"],
    ),
    ("mutate", &["recorded", "suite"]),
    ("cli", &["args", "banner", "carry", "up"]),
];

/// Which modules at the top of a crate name which others, by `crate::…`.
fn modules(dir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let src = root().join(dir).join("src");
    let module = |path: &Path| {
        let first =
            path.strip_prefix(&src).unwrap().components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    visit(&src, &mut |file| {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let own = named.entry(module(file)).or_default();
        for after in code.split("crate::").skip(1) {
            let path = after.split(';').next().unwrap_or_default();
            let listed = path.strip_prefix('{').map(|list| list.split(',').map(str::trim).collect());
            for path in listed.unwrap_or_else(|| vec![path]) {
                let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
                own.insert(path[..end].to_owned());
            }
        }
    });
    named.remove("lib");
    named.remove("main");
    let known: BTreeSet<String> = named.keys().cloned().collect();
    for (module, others) in &mut named {
        others.retain(|other| known.contains(other) && other != module);
    }
    named
}

#[test]
fn modules_do_not_need_each_other_in_circles() {
    let dirs = ARROWS.iter().map(|(dir, _)| *dir).chain(["cli"]);
    for dir in dirs {
        let named = modules(dir);
        let reached = |from: &str| {
            let mut reached = BTreeSet::new();
            let mut left = vec![from];
            while let Some(module) = left.pop() {
                for other in &named[module] {
                    if reached.insert(other.as_str()) {
                        left.push(other);
                    }
                }
            }
            reached
        };
        let circle: Vec<&str> =
            named.keys().map(String::as_str).filter(|module| reached(module).contains(module)).collect();
        let known = CIRCLES.iter().find(|(known, _)| *known == dir).map_or([].as_slice(), |(_, circle)| circle);
        assert_eq!(circle, known, "modules of {dir} need each other in a circle; put what they share below them both");
    }
}

fn visit(dir: &Path, look: &mut impl FnMut(&PathBuf)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            visit(&path, look);
        } else if path.extension().is_some_and(|e| e == "rs") {
            look(&path);
        }
    }
}
