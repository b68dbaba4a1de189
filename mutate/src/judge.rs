//! Tries mutants: each with the tests that reach it, until one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::build::TestBinary;
use crate::find::Mutant;
use crate::recorded::Test;
use crate::suite::{Outcome, Runner, in_parallel, lock};

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

/// What mutants are tried with.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The executables.
    pub binaries: &'a [TestBinary],
    /// Their tests.
    pub tests: &'a [Test],
    /// How they are run.
    pub runner: &'a Runner,
    /// How long the tests of one mutant may take in all, by what each took when no mutant was on. The
    /// quickest are tried; what is beyond that is not.
    pub budget: Duration,
    /// Tests that fail, or are late, with no mutant on as well: full disks, busy machines, races. They kill nothing.
    pub unsteady: Mutex<BTreeSet<(usize, String)>>,
}

impl Judge<'_> {
    /// Tries each of `mutants`, so many at a time; `tell` hears of each.
    pub fn judge<'m>(
        &self,
        mutants: &[&'m Mutant],
        workers: usize,
        tell: &(dyn Fn(&Mutant, &Verdict) + Sync),
    ) -> Result<Vec<(&'m Mutant, Verdict)>> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = |worker: usize| -> Result<()> {
            while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                let verdict = self.try_one(mutant, worker)?;
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

    fn try_one(&self, mutant: &Mutant, worker: usize) -> Result<Verdict> {
        let mut spent = Duration::ZERO;
        let mut order = order(mutant, self.binaries, self.tests);
        order.retain(|test| {
            spent += test.took;
            spent <= self.budget
        });
        let (mut rest, mut passed) = (order.as_slice(), 0);
        for batch in BATCHES {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            rest = later;
            let mut by_binary: BTreeMap<usize, Vec<&Test>> = BTreeMap::new();
            for test in now {
                by_binary.entry(test.binary).or_default().push(test);
            }
            for (number, mut tests) in by_binary {
                loop {
                    tests.retain(|test| !lock(&self.unsteady).contains(&(number, test.name.clone())));
                    if tests.is_empty() {
                        break;
                    }
                    match self.run(number, &tests, Some(mutant), worker)? {
                        Outcome::Passed => {
                            passed += tests.len();
                            break;
                        }
                        Outcome::Failed(name) => {
                            let alone: Vec<&Test> = tests.iter().filter(|test| test.name == name).copied().collect();
                            let suspects = if alone.is_empty() { &tests } else { &alone };
                            if self.are_steady(number, suspects, worker)? {
                                let binary = self.binaries.get(number).map_or("", |binary| &binary.name);
                                return Ok(Verdict::Killed(format!("{binary} {name}")));
                            }
                        }
                        Outcome::Late if self.are_steady(number, &tests, worker)? => return Ok(Verdict::Hung),
                        Outcome::Late => {}
                    }
                }
            }
        }
        Ok(if passed == 0 { Verdict::Unreached } else { Verdict::Survived(passed) })
    }

    fn run(&self, number: usize, tests: &[&Test], mutant: Option<&Mutant>, worker: usize) -> Result<Outcome> {
        let Some(binary) = self.binaries.get(number) else { return Ok(Outcome::Passed) };
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        let most = patience(tests.iter().map(|test| test.took).sum());
        self.runner.run(binary, &names, mutant.map(|mutant| mutant.id), worker, most)
    }

    /// Whether these tests pass here and now with no mutant on. If not, they are not used any more.
    fn are_steady(&self, number: usize, tests: &[&Test], worker: usize) -> Result<bool> {
        if self.run(number, tests, None, worker)? == Outcome::Passed {
            return Ok(true);
        }
        lock(&self.unsteady).extend(tests.iter().map(|test| (number, test.name.clone())));
        Ok(false)
    }
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
