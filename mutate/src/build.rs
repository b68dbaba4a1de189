//! One build of all mutants. What does not compile is taken out until the rest does.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::tree::Tree;

/// The packages whose tests are not to find mutants: what drives binaries, and what holds none and tests none.
pub const OTHERS: [&str; 7] = [
    "waykeeper",
    "waykeeper-bench",
    "waykeeper-mutate",
    "waykeeper-proto",
    "waykeeper-runtime",
    "waykeeper-tests",
    "sample-app",
];

/// More rounds than that would be a fault of the operators.
const MOST_ROUNDS: usize = 40;

/// An executable with tests.
#[derive(Debug, Clone)]
pub struct TestBinary {
    /// The package and the target.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// The package's folder, in which its tests run.
    pub folder: PathBuf,
}

/// Builds the tests of all packages but [`OTHERS`], and the binaries that they drive; says by `tell` what happens.
pub fn build(tree: &mut Tree, target: &Path, tell: &dyn Fn(String)) -> Result<Vec<TestBinary>> {
    for round in 1..=MOST_ROUNDS {
        let messages = cargo(tree, target)?;
        let errors: Vec<&Value> = messages.iter().filter_map(error).collect();
        if errors.is_empty() {
            let binaries = messages.iter().filter_map(test_binary).collect();
            return Ok(binaries);
        }
        let mut changed = BTreeSet::new();
        for error in &errors {
            for (index, group) in guilty(tree, error) {
                if tree.sources.get_mut(index).is_some_and(|source| source.without.insert(group)) {
                    changed.insert(index);
                }
            }
        }
        if changed.is_empty() {
            let texts: Vec<&str> = errors.iter().filter_map(|error| error["rendered"].as_str()).take(5).collect();
            bail!("the mutated workspace does not compile, and no mutant is to blame:\n{}", texts.join("\n"));
        }
        tell(format!("build, round {round}: {} errors, in {} files", errors.len(), changed.len()));
        for index in changed {
            tree.write(index)?;
        }
    }
    bail!("after {MOST_ROUNDS} rounds some mutants still do not compile")
}

fn cargo(tree: &Tree, target: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new("cargo");
    command.args(["build", "--tests", "--bins", "--keep-going", "--message-format=json", "--quiet"]);
    command.arg("--workspace").args(OTHERS.iter().flat_map(|package| ["--exclude", package]));
    command.env("CARGO_TARGET_DIR", target).env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    let built = command.current_dir(&tree.root).stderr(Stdio::piped()).output().context("running cargo")?;
    let messages: Vec<Value> =
        String::from_utf8_lossy(&built.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if !built.status.success() && !messages.iter().any(|message| error(message).is_some()) {
        bail!("cargo build: {}", String::from_utf8_lossy(&built.stderr));
    }
    Ok(messages)
}

fn error(message: &Value) -> Option<&Value> {
    let of_compiler = message["reason"] == "compiler-message" && message["message"]["level"] == "error";
    let located = message["message"]["spans"].as_array().is_some_and(|spans| !spans.is_empty());
    (of_compiler && located).then(|| &message["message"])
}

fn test_binary(message: &Value) -> Option<TestBinary> {
    let of_tests = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let path = PathBuf::from(message["executable"].as_str().filter(|_| of_tests)?);
    let folder = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = folder.file_name()?.to_string_lossy().into_owned();
    Some(TestBinary { name: format!("{package}/{}", message["target"]["name"].as_str()?), path, folder })
}

/// The groups of edits in which an error stands: the innermost for each place that it names.
fn guilty(tree: &Tree, error: &Value) -> Vec<(usize, usize)> {
    let spans: Vec<&Value> = error["spans"].as_array().into_iter().flatten().collect();
    let of = |primary: bool| -> Vec<(usize, usize)> {
        spans.iter().filter(|span| span["is_primary"] == primary).filter_map(|span| innermost(tree, span)).collect()
    };
    let mut found = of(true);
    if found.is_empty() {
        found = of(false);
    }
    if found.is_empty() {
        // A value that was moved, say, where a line further down uses it.
        found = spans.iter().flat_map(|span| nearby(tree, span)).collect();
    }
    found
}

fn place(tree: &Tree, span: &Value) -> Option<(usize, Range<usize>)> {
    let file = span["file_name"].as_str()?;
    let index = tree.sources.iter().position(|source| file.ends_with(&source.path))?;
    let byte = |end: &str| span[end].as_u64().and_then(|byte| usize::try_from(byte).ok());
    Some((index, byte("byte_start")?..byte("byte_end")?))
}

fn innermost(tree: &Tree, span: &Value) -> Option<(usize, usize)> {
    let (index, at) = place(tree, span)?;
    let holds = |range: &Range<usize>| range.start <= at.start && at.end <= range.end;
    let groups = tree.sources.get(index)?.edited.groups.iter();
    let found = groups.filter(|(group, range)| *group != 0 && holds(range)).min_by_key(|(_, range)| range.len());
    found.map(|(group, _)| (index, *group))
}

/// The groups that touch the line of an error or those beside it.
fn nearby(tree: &Tree, span: &Value) -> Vec<(usize, usize)> {
    const BYTES: usize = 200;
    let Some((index, at)) = place(tree, span) else { return Vec::new() };
    let near = at.start.saturating_sub(BYTES)..at.end + BYTES;
    let touches = |range: &Range<usize>| range.start < near.end && near.start < range.end;
    let groups = tree.sources.get(index).map(|source| source.edited.groups.iter()).into_iter().flatten();
    groups.filter(|(group, range)| *group != 0 && touches(range)).map(|(group, _)| (index, *group)).collect()
}
