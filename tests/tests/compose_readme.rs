//! README's section on Docker Compose, line by line.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::docker::{Compose, turn};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{eventually, fresh_minute};

const HEADING: &str = "## With Docker Compose";

/// A line to run, and what its output holds (true) or does not (false).
#[derive(Debug)]
struct Step {
    line: String,
    seen: Vec<(bool, String)>,
}

fn steps(readme: &str) -> Vec<Step> {
    let section = readme.split_once(HEADING).unwrap().1;
    let block = section.split_once("```console\n").unwrap().1.split_once("```").unwrap().0;
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines().filter(|line| !line.is_empty()) {
        if let Some(line) = line.strip_prefix("$ ") {
            steps.push(Step { line: line.to_owned(), seen: vec![] });
            continue;
        }
        let (mark, text) = line.split_once(' ').unwrap();
        assert!(["=>", "=/"].contains(&mark), "{line:?} is neither a command nor what is seen");
        steps.last_mut().unwrap().seen.push((mark == "=>", text.to_owned()));
    }
    steps
}

#[test]
fn the_lines_of_the_readme_do_what_it_says() {
    let _turn = turn();
    let steps = steps(&std::fs::read_to_string(root().join("README.md")).unwrap());
    assert!(steps.iter().filter(|step| step.line.starts_with("curl ")).count() >= 10, "{steps:#?}");
    let compose = Compose::copied("redis");
    for Step { line, seen } in steps {
        if line.starts_with("cp ") {
            // A limit is per minute of the clock.
            fresh_minute(Duration::from_secs(10));
        }
        // A person is a second slower than this test: what was edited may take as long.
        eventually(&line, Duration::from_millis(if seen.is_empty() { 0 } else { 1500 }), || {
            let output = compose.shell(&line);
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let wrong: Vec<_> = seen.iter().filter(|(there, text)| printed.contains(text.as_str()) != *there).collect();
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() && wrong.is_empty() {
                Ok(())
            } else {
                Err(format!("{wrong:?}\n{printed}{said}"))
            }
        });
    }
    assert_eq!(compose.left(), "", "nothing is left");
}
