//! What earlier runs have recorded, so that only executables that changed are recorded anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::build::TestBinary;

/// One test, as it was when no mutant was on.
#[derive(Debug, Clone)]
pub struct Test {
    /// The number of its binary.
    pub binary: usize,
    /// Its name there.
    pub name: String,
    /// How long it took by itself.
    pub took: Duration,
    /// The mutants it reaches.
    pub reaches: BTreeSet<u32>,
    /// The mutants it reaches where they mean the same as the code, by the types it goes through.
    pub same: BTreeSet<u32>,
}

/// The mutants that mean the same wherever a test reaches them.
pub fn same(tests: &[Test]) -> BTreeSet<u32> {
    let differ: BTreeSet<u32> = tests.iter().flat_map(|test| &test.reaches).copied().collect();
    tests.iter().flat_map(|test| &test.same).copied().filter(|id| !differ.contains(id)).collect()
}

/// Tests by a digest of their executable and of the files beside it.
pub type Recorded = BTreeMap<String, Vec<Test>>;

/// Reads what `write` wrote; nothing if it cannot be read.
pub fn read(path: &Path) -> Recorded {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut recorded = Recorded::new();
    for row in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let tests = recorded.entry(row["digest"].as_str().unwrap_or_default().to_owned()).or_default();
        if let (Some(name), Some(micros)) = (row["name"].as_str(), row["micros"].as_u64()) {
            let ids = |of: &str| {
                let ids = row[of].as_array().into_iter().flatten().filter_map(Value::as_u64);
                ids.filter_map(|id| u32::try_from(id).ok()).collect()
            };
            let (took, reaches, same) = (Duration::from_micros(micros), ids("reaches"), ids("same"));
            tests.push(Test { binary: 0, name: name.to_owned(), took, reaches, same });
        }
    }
    recorded
}

/// Writes the tests of each digest.
pub fn write(path: &Path, recorded: &Recorded) -> Result<()> {
    let rows = recorded.iter().flat_map(|(digest, tests)| {
        tests.iter().map(move |test| {
            let micros = u64::try_from(test.took.as_micros()).unwrap_or(u64::MAX);
            json!({"digest": digest, "name": test.name, "micros": micros, "reaches": test.reaches, "same": test.same})
        })
    });
    fs::write(path, rows.map(|row| format!("{row}\n")).collect::<String>()).context("writing what was recorded")
}

/// A digest of an executable and of what its tests read.
pub fn digest(binary: &TestBinary) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    take(&mut hasher, &binary.path)?;
    take_folder(&mut hasher, &binary.folder)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Its size and when it was written: cargo writes an executable anew only if something in it changed.
fn take(hasher: &mut blake3::Hasher, path: &Path) -> Result<()> {
    let about = fs::metadata(path).with_context(|| path.display().to_string())?;
    let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.update(format!(" {} {}\n", about.len(), written.as_nanos()).as_bytes());
    Ok(())
}

/// Everything below a package but its sources, which are in the executable.
fn take_folder(hasher: &mut blake3::Hasher, folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            take_folder(hasher, &path)?;
        } else if path.extension().is_none_or(|extension| extension != "rs") {
            take(hasher, &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_means_the_same_only_if_no_test_reaches_it_where_it_does_not() {
        let of = |reaches: &[u32], same: &[u32]| Test {
            binary: 0,
            name: String::new(),
            took: Duration::ZERO,
            reaches: reaches.iter().copied().collect(),
            same: same.iter().copied().collect(),
        };
        assert_eq!(super::same(&[of(&[1], &[2, 3]), of(&[3], &[2, 4])]), BTreeSet::from([2, 4]));
    }
}
