//! A copy of the workspace, in which the chosen modules are mutated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::edit::{Edited, Edits};
use crate::find::{self, Mutant};
use crate::scope;

/// Numbers set aside for each file.
const PER_FILE: u32 = 2_000;

/// What a mutated crate declares.
const DECLARED: &str = "\nmod mutant_switch;\n";

/// A file that is mutated.
#[derive(Debug)]
pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    text: String,
    edits: Edits,
    /// Groups of edits with which it does not compile.
    pub without: BTreeSet<usize>,
    /// As it was last written.
    pub edited: Edited,
}

/// The copy.
#[derive(Debug)]
pub struct Tree {
    /// Where it is.
    pub root: PathBuf,
    /// The files that are mutated.
    pub sources: Vec<Source>,
    /// All mutants that were found.
    pub mutants: Vec<Mutant>,
}

impl Tree {
    /// Copies the workspace at `from` to `root` and mutates it, but for the mutants of these names.
    pub fn copy(from: &Path, root: &Path, without: &BTreeSet<String>) -> Result<Tree> {
        let files = files(from)?;
        let mut tree = Tree { root: root.to_owned(), sources: Vec::new(), mutants: Vec::new() };
        let mut crates = BTreeSet::new();
        for path in &files {
            if scope::area(path).is_some() {
                let mut text = fs::read_to_string(from.join(path)).with_context(|| format!("reading {path}"))?;
                if path.ends_with("/src/lib.rs") {
                    text.push_str(DECLARED);
                }
                let base = tree.sources.len() as u32 * PER_FILE;
                let found = find::find(path, &text, base).with_context(|| format!("reading {path}"))?;
                ensure!(found.mutants.len() < PER_FILE as usize, "{path} has too many mutants");
                tree.mutants.extend(found.mutants);
                let (without, edited) = Default::default();
                tree.sources.push(Source { path: path.clone(), text, edits: found.edits, without, edited });
                crates.extend(path.split_once("/src/").map(|(of, _)| of.to_owned()));
            }
        }
        let mutated: BTreeSet<&str> = tree.sources.iter().map(|source| source.path.as_str()).collect();
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for path in &files {
            kept.insert(root.join(path));
            if mutated.contains(path.as_str()) {
                continue;
            }
            let mut bytes = fs::read(from.join(path)).with_context(|| format!("reading {path}"))?;
            if path.strip_suffix("/src/lib.rs").is_some_and(|of| crates.contains(of)) {
                bytes.extend_from_slice(DECLARED.as_bytes());
            }
            write(&root.join(path), &bytes)?;
        }
        for of in &crates {
            let switch = root.join(of).join("src/mutant_switch.rs");
            write(&switch, include_bytes!("switch.rs"))?;
            kept.insert(switch);
        }
        forget_others(root, root, &kept)?;
        tree.leave_out(without)?;
        Ok(tree)
    }

    /// Writes a source anew, without the groups that do not compile.
    pub fn write(&mut self, index: usize) -> Result<()> {
        let Some(source) = self.sources.get_mut(index) else { return Ok(()) };
        source.edited = source.edits.apply(&source.text, &source.without);
        write(&self.root.join(&source.path), source.edited.text.as_bytes())
    }

    /// Takes out what did not compile last time, by name, so that it need not be found again.
    fn leave_out(&mut self, names: &BTreeSet<String>) -> Result<()> {
        for mutant in self.mutants.iter().filter(|mutant| names.contains(&mutant.key())) {
            if let Some(source) = self.sources.iter_mut().find(|source| source.path == mutant.file) {
                source.without.insert(mutant.group);
            }
        }
        (0..self.sources.len()).try_for_each(|index| self.write(index))
    }

    /// The names of the mutants that do not compile.
    pub fn left_out(&self) -> BTreeSet<String> {
        let usable: BTreeSet<u32> = self.usable().iter().map(|mutant| mutant.id).collect();
        self.mutants.iter().filter(|mutant| !usable.contains(&mutant.id)).map(Mutant::key).collect()
    }

    /// The mutants that compile.
    pub fn usable(&self) -> Vec<Mutant> {
        let without: BTreeMap<&str, &BTreeSet<usize>> =
            self.sources.iter().map(|source| (source.path.as_str(), &source.without)).collect();
        let usable = |mutant: &&Mutant| !without.get(mutant.file.as_str()).is_some_and(|w| w.contains(&mutant.group));
        self.mutants.iter().filter(usable).cloned().collect()
    }
}

/// Every file that git knows or would add.
fn files(root: &Path) -> Result<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root).output().context("listing files with git")?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    let mut files: Vec<String> = text.split('\0').filter(|path| root.join(path).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Writes only what differs, so that cargo builds only that anew.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Removes what the workspace does not have any more.
fn forget_others(root: &Path, folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        } else if path.is_dir() {
            forget_others(root, &path, kept)?;
        } else if !kept.contains(&path) && path != root.join("Cargo.lock") {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
