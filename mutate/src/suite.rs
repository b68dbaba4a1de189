//! The tests: which there are, which switches each reaches, and how a few of them are run.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::build::TestBinary;
use crate::recorded::{self, Recorded, Test};

/// What became of a run of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All passed.
    Passed,
    /// This test, or the whole executable, did not.
    Failed(String),
    /// They were not done in time.
    Late,
}

/// How tests are run.
#[derive(Debug, Clone)]
pub struct Runner {
    /// What is put in front of a command, so that it has a network of its own.
    pub alone: Vec<String>,
    /// Where output and records go.
    pub scratch: PathBuf,
    /// All mutants have smaller numbers.
    pub most: u32,
}

impl Runner {
    /// Runs some tests of a binary with `mutant` on, for `most` at the longest.
    pub fn run(
        &self,
        binary: &TestBinary,
        tests: &[&str],
        mutant: Option<u32>,
        worker: usize,
        most: Duration,
    ) -> Result<Outcome> {
        let output = self.scratch.join(format!("output-{worker}"));
        let mut command = self.command(binary)?;
        command.args(tests).args(["--exact", "--test-threads=2"]);
        command.stdout(File::create(&output)?).stderr(Stdio::null());
        if let Some(id) = mutant {
            command.env("MUTANT", id.to_string());
        }
        let ended = wait(command.spawn().context("running tests")?, most)?;
        Ok(match ended {
            None => Outcome::Late,
            Some(true) => Outcome::Passed,
            Some(false) => Outcome::Failed(failing(&output).unwrap_or_else(|| "the executable".into())),
        })
    }

    fn command(&self, binary: &TestBinary) -> Result<Command> {
        let mut words = self.alone.iter().map(String::as_str).chain(["nice", "-n", "10"]);
        let mut command = Command::new(words.next().context("no command")?);
        command.args(words).arg(&binary.path).current_dir(&binary.folder).stdin(Stdio::null()).process_group(0);
        command.env("CARGO_MANIFEST_DIR", &binary.folder).env("PROPTEST_RNG_SEED", "1").env("RUST_BACKTRACE", "0");
        Ok(command)
    }

    /// The names of a binary's tests.
    fn list(&self, binary: &TestBinary) -> Result<Vec<String>> {
        let listed = self.command(binary)?.args(["--list", "--format", "terse"]).output().context("listing tests")?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Runs every test by itself, if its executable is not in `recorded`; those that pass, and what is
    /// wrong with the others.
    pub fn record(
        &self,
        binaries: &[TestBinary],
        recorded: &mut Recorded,
        workers: usize,
        most: Duration,
    ) -> Result<(Vec<Test>, Vec<String>)> {
        let (mut all, mut known, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for (number, binary) in binaries.iter().enumerate() {
            let digest = recorded::digest(binary)?;
            match recorded.get(&digest) {
                Some(tests) => known.extend(tests.iter().cloned().map(|test| Test { binary: number, ..test })),
                None => all.extend(self.list(binary)?.into_iter().map(|name| (number, name))),
            }
            digests.push(digest);
        }
        let (next, done, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let work = |worker: usize| -> Result<()> {
            while let Some((number, name)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some(binary) = binaries.get(*number) else { continue };
                let reached = self.scratch.join(format!("reached-{worker}"));
                let _ = fs::remove_file(&reached);
                let mut command = self.command(binary)?;
                command
                    .args([name.as_str(), "--exact"])
                    .env("MUTANTS_REACHED", &reached)
                    .env("MUTANTS_MOST", self.most.to_string());
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let begin = Instant::now();
                let ended = wait(command.spawn().context("running a test")?, most)?;
                let (took, binary_name) = (begin.elapsed(), &binary.name);
                let list = fs::read_to_string(&reached).unwrap_or_default();
                let reaches = list.lines().filter_map(|line| line.parse().ok()).collect();
                let same = list.lines().filter_map(|line| line.strip_prefix("same ")?.parse().ok()).collect();
                match ended {
                    Some(true) => lock(&done).push(Test { binary: *number, name: name.clone(), took, reaches, same }),
                    Some(false) => {
                        lock(&broken).push((*number, format!("{binary_name} {name} fails with no mutant on")))
                    }
                    None => lock(&broken).push((*number, format!("{binary_name} {name} takes too long"))),
                }
            }
            Ok(())
        };
        in_parallel(workers, &work)?;
        let mut tests = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        tests.extend(known);
        tests.sort_by(|one, other| (one.binary, &one.name).cmp(&(other.binary, &other.name)));
        let broken = broken.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        recorded.clear();
        for (number, digest) in digests.into_iter().enumerate() {
            // What fails now is tried again.
            if broken.iter().all(|(binary, _)| *binary != number) {
                let of_binary = tests.iter().filter(|test| test.binary == number);
                recorded.insert(digest, of_binary.cloned().collect());
            }
        }
        Ok((tests, broken.into_iter().map(|(_, why)| why).collect()))
    }
}

/// Does `work` in so many threads; the first error is the outcome.
pub fn in_parallel(workers: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked")))
    })
}

/// A lock that a panic elsewhere does not close.
pub fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Waits for a process: whether it succeeded, or none if it was killed at the deadline. Its children are killed in any case.
fn wait(mut child: Child, most: Duration) -> Result<Option<bool>> {
    let group = rustix::process::Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    let waiting = thread::spawn(move || ended.send(child.wait()));
    let outcome = match end.recv_timeout(most) {
        Ok(status) => Some(status.context("waiting for tests")?.success()),
        Err(_) => None,
    };
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = waiting.join();
    Ok(outcome)
}

/// The first test that an output calls failed.
fn failing(output: &Path) -> Option<String> {
    let text = fs::read(output).ok()?;
    let text = String::from_utf8_lossy(&text);
    let found = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    found.map(|name| name.trim_end_matches(" - should panic").to_owned())
}

/// What makes a network of its own for a command; nothing where none can be made.
pub fn alone() -> Vec<String> {
    let inside = r#"ip link set lo up 2>/dev/null || ifconfig lo up; exec "$@""#;
    for form in [&["unshare", "--net"][..], &["unshare", "--map-root-user", "--net"]] {
        let words = form.iter().copied().chain(["sh", "-c", inside, "alone"]).map(str::to_owned);
        let words: Vec<String> = words.collect();
        let tried = words.split_first().map(|(program, rest)| Command::new(program).args(rest).arg("true").status());
        if matches!(tried, Some(Ok(status)) if status.success()) {
            return words;
        }
    }
    Vec::new()
}
