//! The shape of the workspace, as ARCHITECTURE.md draws it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    ("extauth", &["api", "status", "proto", "runtime", "outbound", "provider", "kubernetes"]),
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
    ("tunnel", &[]),
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
fn crates_depend_on_whom_the_arrows_say_and_on_nobody_else() {
    for (dir, arrows) in ARROWS {
        let arrows: BTreeSet<&str> = arrows.iter().copied().collect();
        let dependencies = dependencies(dir);
        let ours: BTreeSet<&str> = dependencies.iter().map(String::as_str).filter(|name| OURS.contains(name)).collect();
        assert_eq!(ours, arrows, "{dir} depends on the crates to the left; ARROWS and ARCHITECTURE.md say the right");
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
            let code = code(file);
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
        if code(file).contains(kind) {
            named.insert(file.strip_prefix(root().join("api/src")).unwrap().display().to_string());
        }
    });
    let expected = ["gateway.rs", "kinds.rs", "rules/reference_grant.rs"].map(str::to_owned);
    assert_eq!(named, BTreeSet::from(expected), "a kind is named in more places than its row");
}

/// Kinds that `api` names outside of rows and rules.
const NAMED_BESIDE_ROWS: &[(&str, &str, &str)] = &[
    ("admit.rs", "Namespace", "its name has no dots"),
    ("admit.rs", "Service", "its name has no dots"),
    ("admit.rs", "Pod", "its status is read: the address is its identity"),
    ("crd.rs", "AuthConfig", "Gloo's short names and columns"),
    ("crd.rs", "RateLimitConfig", "Gloo's short names and columns"),
    ("crd.rs", "RouteOption", "Gloo's short names and columns"),
];

/// So a new kind is a row, the line that declares its module of rules, and that module.
#[test]
fn a_kind_is_named_in_rows_and_rules_alone_and_refused_by_what_its_row_says() {
    let rows = fs::read_to_string(root().join("api/src/kinds.rs")).unwrap();
    let kinds: Vec<&str> =
        rows.lines().filter_map(|line| line.strip_prefix("            ")?.strip_suffix(" {")).collect();
    assert!(kinds.len() > 10 && kinds.contains(&"HttpRoute"), "{kinds:?}");
    let mut elsewhere = BTreeSet::new();
    let src = root().join("api/src");
    visit(&src, &mut |file| {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let code = code(file);
        let named = kinds.iter().filter(|kind| ["Kind", "Object"].iter().any(|of| names(&code, of, kind)));
        if !name.starts_with("rules/") {
            elsewhere.extend(named.map(|kind| (name.clone(), (*kind).to_owned())));
        }
    });
    let known = NAMED_BESIDE_ROWS.iter().map(|(file, kind, _)| ((*file).to_owned(), (*kind).to_owned()));
    assert_eq!(elsewhere, known.collect(), "what is said of one kind belongs into its row or its rules");
    let refusals = code(&root().join("waypoint/resolve/src/refusals.rs"));
    assert!(!refusals.contains("all_broken(Kind::"), "what a kind governs is said by its row");
}

/// Whether `code` holds `of::kind`.
fn names(code: &str, of: &str, kind: &str) -> bool {
    let path = format!("{of}::{kind}");
    code.match_indices(&path).any(|(at, _)| !code[at + path.len()..].starts_with(|c: char| c.is_alphanumeric()))
}

/// What `code` names of the top of its crate: by `crate::…`, or by as many `super::` as lead there from its file.
fn named_at_the_top(code: &str, ups: usize) -> BTreeSet<String> {
    let code = code.replace('\n', "");
    let supers = "super::".repeat(ups);
    let paths = ["crate::", &supers].into_iter().flat_map(|top| code.split(top).skip(1));
    let mut named = BTreeSet::new();
    for after in paths {
        let path = after.split(';').next().unwrap_or_default();
        let listed = path.strip_prefix('{').map(|list| list.split(',').map(str::trim).collect());
        for path in listed.unwrap_or_else(|| vec![path]) {
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
            named.insert(path[..end].to_owned());
        }
    }
    named
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    for (ups, one) in [
        (1, "use crate::found::Thing;"),
        (3, "use crate::found;"),
        (1, "use crate::{\n    found::{self, Thing},\n    other,\n};"),
        (1, "let thing = crate::found::thing();"),
        (1, "use super::found::Thing;"),
        (1, "use super::{other, found};"),
        (2, "use super::super::found::Thing;"),
        (1, "let thing = super::found::thing();"),
    ] {
        assert!(named_at_the_top(one, ups).contains("found"), "{one}");
    }
    let beside = named_at_the_top("use super::found::Thing;", 2);
    assert!(beside.is_empty(), "a module of the same folder is not at the top: {beside:?}");
}

/// Which modules at the top of a crate name which others.
fn modules(dir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let src = root().join(dir).join("src");
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    visit(&src, &mut |file| {
        let path = file.strip_prefix(&src).unwrap();
        let first = path.components().next().unwrap().as_os_str().to_string_lossy();
        let own = named.entry(first.trim_end_matches(".rs").to_owned()).or_default();
        own.extend(named_at_the_top(&code(file), path.components().count()));
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
        assert!(
            circle.is_empty(),
            "modules of {dir} need each other in a circle; put what they share below them both: {circle:?}"
        );
    }
}

/// Folders beside the crates of [`ARROWS`] whose sources may use what those show.
const USERS: &[&str] = &["cli", "examples/sample-app", "fuzz"];

/// What is `pub` although no other crate names it; what another crate names by now is taken out of here.
const SHOWN_TO_NOBODY: &[(&str, &str, &str)] = &[];

/// The words of the sources of a crate, by what of it a file is.
struct Words {
    /// The files of the library, each with its code.
    library: Vec<(PathBuf, String)>,
    /// Words of the library and of the tests in it.
    within: BTreeSet<String>,
    /// Words of its programs, tests, examples and benches.
    beside: BTreeSet<String>,
}

impl Words {
    fn of(dir: &str) -> Words {
        let at = root().join(dir);
        let mut words = Words { library: Vec::new(), within: BTreeSet::new(), beside: BTreeSet::new() };
        let src = at.join("src");
        visit_crate(&at, &mut |file| {
            // This file names what nobody uses.
            if file.ends_with("tests/tests/tidy.rs") {
                return;
            }
            let text = fs::read_to_string(file).unwrap();
            let of_library = file.starts_with(&src) && *file != src.join("main.rs");
            let named = if of_library { &mut words.within } else { &mut words.beside };
            named.extend(split(&text).map(str::to_owned));
            if of_library {
                words.library.push((file.clone(), code(file)));
            }
        });
        words
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What a line of a library shows to other crates: whether it is a type, and its name.
fn shown(line: &str) -> Option<(bool, &str)> {
    let mut words = split(line.trim_start().strip_prefix("pub ")?);
    let keyword = words.by_ref().find(|word| !["const", "async", "unsafe"].contains(word));
    match keyword? {
        "struct" | "enum" | "trait" | "type" => Some((true, words.next()?)),
        "fn" | "static" | "mod" => Some((false, words.next()?)),
        // A constant: its name is what followed `const`.
        name if line.contains("pub const ") => Some((false, name)),
        _ => None,
    }
}

#[test]
fn nothing_is_public_that_no_other_crate_names() {
    let dirs = ARROWS.iter().map(|(dir, _)| *dir).chain(USERS.iter().copied());
    let crates: Vec<(&str, Words)> = dirs.map(|dir| (dir, Words::of(dir))).collect();
    // Each word with the crates in whose library it is; what stands beside libraries uses them from outside.
    let mut named: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for (dir, words) in &crates {
        for word in &words.within {
            named.entry(word).or_default().insert(dir);
        }
        for word in &words.beside {
            named.entry(word).or_default().insert("beside");
        }
    }
    let mut hidden = BTreeSet::new();
    for (dir, words) in &crates {
        if !root().join(dir).join("src/lib.rs").exists() || ["tests", "bench", "mutate"].contains(dir) {
            continue;
        }
        let modules = public_modules(dir);
        for (file, code) in words.library.iter().filter(|(file, _)| modules.contains(file)) {
            for (is_type, name) in code.lines().filter_map(shown) {
                let outside = named.get(name).is_some_and(|crates| crates.iter().any(|named_in| named_in != dir));
                // A type may be what something else that is shown takes, gives or holds.
                if outside || is_type && words.mentions(name) {
                    continue;
                }
                hidden.insert(format!("{}: {name}", file.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    let known = SHOWN_TO_NOBODY.iter().map(|(file, name, _)| format!("{file}: {name}")).collect();
    assert_eq!(hidden, known, "pub, and named in no other crate: write pub(crate), or say why in SHOWN_TO_NOBODY");
}

impl Words {
    /// Whether anything but its declaration names `item` in the library.
    fn mentions(&self, item: &str) -> bool {
        let lines = self.library.iter().flat_map(|(_, code)| code.lines());
        let mut naming = lines.filter(|line| shown(line).is_none_or(|(_, name)| name != item));
        naming.any(|line| !line.trim_start().starts_with("impl") && split(line).any(|word| word == item))
    }
}

/// The files of a library that are reached from its `lib.rs` by `pub mod` alone.
fn public_modules(dir: &str) -> BTreeSet<PathBuf> {
    let src = root().join(dir).join("src");
    let mut found = BTreeSet::new();
    let mut left = vec![(src.join("lib.rs"), src)];
    while let Some((file, folder)) = left.pop() {
        for line in code(&file).lines() {
            if let Some(name) = line.trim_start().strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
                left.push((folder.join(format!("{name}.rs")), folder.join(name)));
            }
        }
        found.insert(file);
    }
    found
}

/// Where something is started that no [`runtime::Tasks`] owns, how often, and who waits for it or ends it.
const OWNED_OTHERWISE: &[(&str, usize, &str)] = &[
    ("cli/src/terminal.rs", 1, "waited for at once"),
    ("examples/sample-app/src/lib.rs", 1, "`App::serve` waits for the first to end, and ends the others"),
    ("extauth/src/methods/hashing.rs", 1, "waited for by the check; its permit bounds those that nobody waits for"),
    ("outbound/src/source.rs", 1, "the source holds the calls, and ends them when it is dropped"),
    (
        "provider/kubernetes/src/lib.rs",
        2,
        "the task `kubernetes` notices the end of each pump; the other is waited for",
    ),
    ("provider/kubernetes/src/once.rs", 1, "whoever reads holds them, and ends them when it has read"),
    ("provider/kubernetes/src/pump.rs", 2, "both are waited for at once"),
    (
        "provider/kubernetes/src/writing.rs",
        3,
        "the task `statuses` holds what is under way, and waits for it; whoever looks for what is left over, and an Event that \
         is being written, end with it",
    ),
    ("provider/src/folder.rs", 2, "both are waited for at once"),
    ("provider/src/page.rs", 1, "waited for by whoever asks for the page"),
    ("ratelimit/dropin/src/files.rs", 2, "both are waited for at once"),
    ("ratelimit/dropin/src/process.rs", 1, "waited for by whoever asks for the page"),
    ("ratelimit/dropin/src/xds.rs", 1, "waited for at once"),
    ("ratelimit/server/src/assemble.rs", 1, "waited for at once"),
    ("ratelimit/server/src/explain/gauges.rs", 1, "waited for by whoever asks for the page"),
    ("ratelimit/server/src/quota/service.rs", 1, "ends with its stream"),
    ("ratelimit/store/src/redis/cluster.rs", 1, "nodes end with the driver that holds them"),
    ("ratelimit/store/src/redis/connect.rs", 1, "ends with the last handle on the connection"),
    ("ratelimit/store/src/redis/sentinel.rs", 1, "those who ask end with the watch that holds them"),
    ("runtime/src/follow.rs", 1, "waited for at once"),
    ("runtime/src/grpc.rs", 1, "connections are held by the server, which waits for them when it stops"),
    ("runtime/src/otlp.rs", 1, "waited for by the exporter of spans"),
    ("runtime/src/process.rs", 1, "hands it to `Tasks`"),
    ("runtime/src/shutdown.rs", 1, "the handle ends it, and the process holds that"),
    ("runtime/src/tasks.rs", 1, "this is the owner"),
    ("runtime/src/telemetry.rs", 1, "goes on as long as the process; all that it does is to keep metrics small"),
    ("runtime/src/tls/client.rs", 1, "waited for by whoever connects; of those that hang there is one at most"),
    ("runtime/src/workers.rs", 2, "threads end with the `Workers`; what runs on them ends with whoever waits for it"),
    ("tunnel/src/binding.rs", 1, "connections are held by the tunnel, which waits for them when it stops"),
    ("tunnel/src/tunnel.rs", 1, "listeners are held by the tunnel, which notices the end of each"),
    ("waypoint/src/deploy.rs", 1, "the task `deployer` holds them, and notices the end of each"),
    ("waypoint/src/envoy.rs", 1, "the task `envoys` holds them, and waits for them when it stops"),
    ("waypoint/src/envoy/process.rs", 2, "an Envoy, which is held; whoever passes on its output ends with it"),
    ("waypoint/src/proxy/relay.rs", 1, "ends with its stream"),
    ("xds/src/service.rs", 1, "ends with its stream"),
];

/// How often `code` starts a task, thread or process by itself: every word that begins with `spawn`, unless it is
/// [`Process::spawn`] with its stage, [`Tasks::spawn`] with its name, or declares one of them.
fn started(code: &str) -> usize {
    let begins = |(at, _): &(usize, &str)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let words = code.match_indices("spawn").filter(begins);
    let loose = words.filter(|(at, word)| {
        let (before, after) = (&code[..*at], code[at + word.len()..].strip_prefix('('));
        let given = after.map(str::trim_start).unwrap_or_default();
        let owned = before.ends_with('.') && (given.starts_with("Stage::") || given.starts_with('"'));
        !owned && !before.ends_with("fn ")
    });
    loose.count()
}

#[test]
fn every_way_to_start_something_is_seen() {
    for one in [
        "tokio::spawn(work)",
        "tokio::task::spawn(work)",
        "set.spawn(work)",
        "self.tasks\n    .spawn(work())",
        "scope.spawn(|| 1)",
        "std::thread::spawn(|| 1)",
        "spawn_blocking(|| 1)",
        "tokio::task::spawn_blocking(move || 1)",
        "local.spawn_local(work)",
        "set.spawn_on(work, handle)",
        "futures.into_iter().map(tokio::spawn)",
        "use tokio::spawn;",
        "command.spawn()",
        "Tasks::spawn(tasks, \"name\", work)",
    ] {
        assert_eq!(started(one), 1, "{one}");
    }
    for owned in [
        "process.spawn(Stage::Front, \"name\", work)",
        "process.spawn(\n        Stage::Front,\n",
        "tasks.spawn(\"name\", work)",
        "pub fn spawn(&mut self)",
        "respawn(work)",
    ] {
        assert_eq!(started(owned), 0, "{owned}");
    }
}

#[test]
fn every_task_has_an_owner() {
    let mut loose = BTreeMap::new();
    let dirs = ARROWS.iter().map(|(dir, _)| *dir).chain(["cli", "examples/sample-app"]);
    for dir in dirs.filter(|dir| !["tests", "bench", "mutate"].contains(dir)) {
        visit_crate(&root().join(dir).join("src"), &mut |file| {
            let count = started(&code(file));
            if count > 0 {
                loose.insert(file.strip_prefix(root()).unwrap().display().to_string(), count);
            }
        });
    }
    let known = OWNED_OTHERWISE.iter().map(|(file, count, _)| ((*file).to_owned(), *count)).collect();
    assert_eq!(loose, known, "spawn on `Tasks`, so that the end of it is noticed, or say who owns it");
}

/// What a source file says to the compiler outside of tests.
fn code(file: &Path) -> String {
    if file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests") {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    // Tests within the file stand at its end; those in a file of their own are declared anywhere.
    let mut end = text.len();
    for (at, test) in text.match_indices("#[cfg(test)]\nmod ") {
        if text[at + test.len()..].lines().next().is_some_and(|line| line.ends_with('{')) {
            end = at;
            break;
        }
    }
    let code = &text[..end];
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// [`visit`], without crates within the crate.
fn visit_crate(dir: &Path, look: &mut impl FnMut(&PathBuf)) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && !path.join("Cargo.toml").exists() {
            visit_crate(&path, look);
        } else if path.extension().is_some_and(|e| e == "rs") {
            look(&path);
        }
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
