//! Tries mutants: each with the tests that reach it, until one fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::build::TestBinary;
use crate::find::Mutant;
use crate::suite::{Outcome, Runner, Test, in_parallel, lock};

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This test noticed it.
    Killed(String),
    /// Tests were not done in time with it.
    Hung,
    /// So many tests reach it, and all pass.
    Survived(usize),
    /// No test reaches it.
    Unreached,
}

impl Verdict {
    /// Whether no test noticed it.
    pub fn lives(&self) -> bool {
        matches!(self, Verdict::Survived(_) | Verdict::Unreached)
    }
}

/// How many tests are run before it is looked whether one failed.
const BATCHES: [usize; 4] = [6, 24, 100, usize::MAX];

/// Tries each of `mutants`; `tell` hears of each.
pub fn judge<'m>(
    mutants: &[&'m Mutant],
    binaries: &[TestBinary],
    tests: &[Test],
    runner: &Runner,
    workers: usize,
    tell: &(dyn Fn(&Mutant, &Verdict) + Sync),
) -> Result<Vec<(&'m Mutant, Verdict)>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = |worker: usize| -> Result<()> {
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = try_one(mutant, binaries, tests, runner, worker)?;
            tell(mutant, &verdict);
            lock(&done).push((*mutant, verdict));
        }
        Ok(())
    };
    in_parallel(workers, &work)?;
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(mutant, _)| mutant.id);
    Ok(done)
}

fn try_one(
    mutant: &Mutant,
    binaries: &[TestBinary],
    tests: &[Test],
    runner: &Runner,
    worker: usize,
) -> Result<Verdict> {
    let order = order(mutant, binaries, tests);
    let mut rest = order.as_slice();
    for batch in BATCHES {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        rest = later;
        let mut by_binary: BTreeMap<usize, Vec<&Test>> = BTreeMap::new();
        for test in now {
            by_binary.entry(test.binary).or_default().push(test);
        }
        for (number, tests) in by_binary {
            let Some(binary) = binaries.get(number) else { continue };
            let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
            let most = patience(tests.iter().map(|test| test.took).sum());
            match runner.run(binary, &names, Some(mutant.id), worker, most)? {
                Outcome::Passed => {}
                Outcome::Failed(test) => return Ok(Verdict::Killed(format!("{} {test}", binary.name))),
                Outcome::Late => return Ok(Verdict::Hung),
            }
        }
    }
    Ok(if order.is_empty() { Verdict::Unreached } else { Verdict::Survived(order.len()) })
}

/// The tests that reach a mutant: those of its own crate first, then the quick ones.
fn order<'t>(mutant: &Mutant, binaries: &[TestBinary], tests: &'t [Test]) -> Vec<&'t Test> {
    let mut order: Vec<&Test> = tests.iter().filter(|test| test.reaches.contains(&mutant.id)).collect();
    order.sort_by_key(|test| {
        let own = binaries.get(test.binary).is_some_and(|binary| {
            binary
                .folder
                .file_name()
                .is_some_and(|name| mutant.file.contains(&format!("{}/src/", name.to_string_lossy())))
        });
        (test.took > SLOW, !own, test.took)
    });
    order
}

/// Tests that take longer are tried last.
const SLOW: Duration = Duration::from_secs(2);

/// How long tests may take that took so long with no mutant on, each by itself.
fn patience(took: Duration) -> Duration {
    Duration::from_secs(20) + took * 5
}
