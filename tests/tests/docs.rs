//! What the pages in docs/ say is so.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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
fn every_page_is_in_the_index_and_every_link_leads_somewhere() {
    let index = page("README.md");
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("({name})")), "docs/README.md does not name {name}");
        }
    }
    for file in ["README.md", "docs/README.md", "docs/start.md", "docs/kinds.md", "docs/troubleshooting.md"] {
        let path = root().join(file);
        let text = fs::read_to_string(&path).unwrap();
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
        assert!(lower.contains(&format!("`{singular}`")), "docs/kinds.md does not name {singular}");
    }
    let source = fs::read_to_string(root().join("api/src/gloo/route_option/unsupported.rs")).unwrap();
    let listed = source.split_once("route_options! {\n").unwrap().1;
    for option in listed.lines().filter_map(|line| line.split('"').nth(1)) {
        assert!(kinds.contains(&format!("`{option}`")), "docs/kinds.md does not name the option {option}");
    }
}

#[test]
fn the_folder_in_five_files_does_what_the_page_says() {
    let _turn = turn();
    let page = page("start.md");
    let folder = Folder::empty();
    fs::create_dir(folder.path().join("shop")).unwrap();
    let shop = Folder::at(&folder.path().join("shop"));
    for (before, text) in blocks(&page, "yaml") {
        let name = before.rsplit("\n`").next().and_then(|rest| rest.split('`').next()).unwrap();
        shop.apply(name, text);
    }
    let mut application = Command::new(binary("sample-app"));
    application.args(["--listen", "127.0.77.1:8080"]).stdout(Stdio::null()).stderr(Stdio::null());
    let _application = Process(application.spawn().unwrap());
    eventually("the application", std::time::Duration::from_secs(10), || {
        std::net::TcpStream::connect("127.0.77.1:8080").map(drop).map_err(|error| error.to_string())
    });
    let mut running = None;
    let mut printed = String::new();
    for line in blocks(&page, "console")[0].1.lines() {
        if let Some(expected) = line.strip_prefix("=> ") {
            assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
            continue;
        }
        let command = line.strip_prefix("$ ").unwrap();
        printed = if command == "waykeeper up shop" {
            let up = Waykeeper::up(&shop, &[]);
            let banner = up.banner.clone();
            running = Some(up);
            banner
        } else {
            let programs = binary("waykeeper").parent().map(PathBuf::from).unwrap();
            let path = std::env::join_paths(
                std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
            );
            let output =
                Command::new("sh").args(["-c", command]).env("PATH", path.unwrap()).current_dir(folder.path()).output();
            String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
        };
    }
    assert!(running.is_some());
}
