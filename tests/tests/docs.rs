//! What the pages in docs/ say is so.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use waykeeper_tests::alone::envoy;
use waykeeper_tests::parts::{Process, binary};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The fenced blocks of a page, each with the text that comes before it.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(&fence) {
        let (block, next) = after.split_once("```").unwrap();
        found.push((before, block));
        rest = next;
    }
    found
}

#[test]
fn every_decision_has_a_number_of_its_own() {
    let mut known = std::collections::BTreeMap::new();
    for entry in fs::read_dir(root().join("docs/adr")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let number: u32 = name.split('-').next().unwrap().parse().unwrap_or_else(|_| panic!("{name} has no number"));
        let title = page(&format!("adr/{name}")).lines().next().unwrap().to_owned();
        assert!(title.starts_with(&format!("# {number}. ")), "{name}: {title}");
        let before = known.insert(number, name.clone());
        assert_eq!(before, None, "the number of {name} as well");
    }
}

#[test]
fn every_page_is_in_the_index_and_every_link_leads_somewhere() {
    let index = page("README.md");
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("({name})")), "docs/README.md does not name {name}");
        }
    }
    let mut pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root().join(page)).to_vec();
    for folder in ["docs", "docs/adr"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        pages.extend(
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")),
        );
    }
    for path in pages {
        let (text, file) = (fs::read_to_string(&path).unwrap(), path.display());
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = rest.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(path.with_file_name(target).exists(), "{file} links to {target}");
            }
        }
    }
}

#[test]
fn every_kind_and_every_route_option_is_in_the_table() {
    let kinds = page("kinds.md");
    let output = Command::new(binary("waykeeper")).args(["get", "nothing-of-the-sort"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let plurals = said.split_once("write one of ").unwrap().1.trim().split(", ");
    let lower = kinds.to_lowercase();
    for plural in plurals {
        let singular = plural.strip_suffix("es").filter(|s| s.ends_with("ss")).or(plural.strip_suffix('s')).unwrap();
        let singular = singular.strip_suffix("ie").map_or(singular.to_owned(), |stem| format!("{stem}y"));
        assert!(lower.contains(&format!("`{singular}`")), "docs/kinds.md does not name {singular}");
    }
    let source = fs::read_to_string(root().join("api/src/gloo/route_option/options_by_name.rs")).unwrap();
    let listed = source.split_once("route_options! {\n").unwrap().1;
    for option in listed.lines().filter_map(|line| line.split('"').nth(1)) {
        assert!(kinds.contains(&format!("`{option}`")), "docs/kinds.md does not name the option {option}");
    }
}

/// The name of a file as a page gives it, in the paragraph before the file.
fn named(before: &str) -> &str {
    before.rsplit("\n`").next().and_then(|rest| rest.split('`').next()).unwrap()
}

/// A line of a page, as a shell in `folder` with our programs and Envoy on its path.
fn shell(line: &str, folder: &Path) -> Command {
    let programs = binary("waykeeper").parent().map(PathBuf::from).unwrap();
    let own = folder.join("bin");
    fs::create_dir_all(&own).unwrap();
    let _ = std::os::unix::fs::symlink(envoy(), own.join("envoy"));
    let before = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([own, programs].into_iter().chain(std::env::split_paths(&before)));
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("PATH", path.unwrap()).current_dir(folder);
    command
}

/// Runs the lines after `$`, and sees that what stands after `=>` is in what they print and what stands after
/// `=/` is not. `special` runs what is not simply run to its end, and gives what it has printed.
fn run(lines: &str, folder: &Path, mut special: impl FnMut(&str) -> Option<String>) {
    let mut printed = String::new();
    for line in lines.lines() {
        if let Some(expected) = line.strip_prefix("=> ") {
            assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
            continue;
        }
        if let Some(unexpected) = line.strip_prefix("=/ ") {
            assert!(!printed.contains(unexpected), "{unexpected} is in:\n{printed}");
            continue;
        }
        let command = line.strip_prefix("$ ").unwrap();
        printed = special(command).unwrap_or_else(|| {
            let output = shell(command, folder).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
    }
}

fn listens(address: &str) {
    eventually(address, Duration::from_secs(10), || {
        std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn the_folder_in_five_files_does_what_the_page_says() {
    let _turn = turn();
    let page = page("start.md");
    let folder = Folder::empty();
    fs::create_dir(folder.path().join("shop")).unwrap();
    let shop = Folder::at(&folder.path().join("shop"));
    for (before, text) in blocks(&page, "yaml") {
        shop.apply(named(before), text);
    }
    let mut application = Command::new(binary("sample-app"));
    application.args(["--listen", "127.0.77.1:8080"]).stdout(Stdio::null()).stderr(Stdio::null());
    let _application = Process(application.spawn().unwrap());
    listens("127.0.77.1:8080");
    let mut running = None;
    run(blocks(&page, "console")[0].1, folder.path(), |command| {
        (command == "waykeeper up shop").then(|| running.insert(Waykeeper::up(&shop, &[])).banner.clone())
    });
    assert!(running.is_some());
}

#[test]
fn a_bootstrap_of_ones_own_does_what_the_page_says() {
    let _turn = turn();
    let page = page("bootstrap.md");
    let folder = Folder::empty();
    fs::create_dir(folder.path().join("shop")).unwrap();
    for (before, text) in blocks(&page, "yaml") {
        fs::write(folder.path().join(named(before)), text).unwrap();
    }
    let mut running = Vec::new();
    run(blocks(&page, "console")[0].1, folder.path(), |command| {
        let line = command.strip_suffix(" &")?;
        let mut child = shell(&format!("exec {line}"), folder.path());
        running.push(Process(child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
        let is_envoy = line.starts_with("envoy");
        is_envoy.then(|| listens("127.0.0.1:10000"));
        Some(String::new())
    });
    assert_eq!(running.len(), 4);
}
