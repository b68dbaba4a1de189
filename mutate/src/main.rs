//! `mutate`: tries mutants of the code that decides; `mutate list` only lists them. See CONTRIBUTING.
//!
//! Variables: `MUTANTS` (`all`, how many, a part of their names, or `@target/mutants/lives` for those that lived), `MUTANTS_SEED`, `MUTANTS_WORKERS`,
//! `MUTANTS_SECONDS` (how long the tests of one mutant may take).
#![allow(clippy::print_stdout)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use waykeeper_mutate::{build, judge, reasons, recorded, report, sample, scope, suite, tree};

/// How many are tried if nothing is said.
const DEFAULT: usize = 400;

/// Tests that take longer by themselves are not used.
const LONGEST_TEST: Duration = Duration::from_secs(45);

/// One test in so many may fail with no mutant on.
const MOST_BROKEN_IN: usize = 50;

fn main() -> Result<ExitCode> {
    let root = env::current_dir().context("no current folder")?;
    ensure!(root.join("mutate/src/scope.rs").is_file(), "run it at the root of the workspace");
    let setting = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let choice = setting("MUTANTS").map_or(sample::Choice::Some(DEFAULT), |text| sample::Choice::read(&text));
    let seed = setting("MUTANTS_SEED").unwrap_or_else(|| "1".into());
    let workers = setting("MUTANTS_WORKERS").map_or(Ok(2), |text| text.parse()).context("MUTANTS_WORKERS")?;
    let budget = setting("MUTANTS_SECONDS").map_or(Ok(60), |text| text.parse()).context("MUTANTS_SECONDS")?;
    let begin = Instant::now();
    let say = |text: String| println!("[{:>4} s] {text}", begin.elapsed().as_secs());

    let target = root.join("target/mutants");
    fs::create_dir_all(&target).context("making a folder for mutants")?;
    let target = target.canonicalize().context("no folder for mutants")?;
    let remembered = target.join("does-not-compile");
    let without = fs::read_to_string(&remembered).unwrap_or_default().lines().map(str::to_owned).collect();
    let mut tree = tree::Tree::copy(&root, &target.join("tree"), &without)?;
    for path in scope::gone(&root) {
        say(format!("{path} is not there any more: mend mutate/src/scope.rs"));
    }
    say(format!("{} mutants in {} files", tree.mutants.len(), tree.sources.len()));
    if env::args().nth(1).is_some_and(|word| word == "list") {
        tree.mutants.iter().for_each(|mutant| println!("{:>6} line {:>4} {}", mutant.id, mutant.line, mutant.key()));
        return Ok(ExitCode::SUCCESS);
    }
    let binaries = build::build(&mut tree, &target.join("build"), &say)?;
    let (mut usable, left_out) = (tree.usable(), tree.left_out());
    fs::write(&remembered, left_out.iter().map(|name| format!("{name}\n")).collect::<String>())?;
    say(format!("built {} test binaries; {} mutants do not compile", binaries.len(), left_out.len()));

    let most = tree.mutants.iter().map(|mutant| mutant.id + 1).max().unwrap_or_default();
    let runner = suite::Runner { alone: suite::alone(), scratch: scratch(&target)?, most };
    let mut known = recorded::read(&target.join("recorded"));
    let (tests, broken) = runner.record(&binaries, &mut known, workers, LONGEST_TEST)?;
    recorded::write(&target.join("recorded"), &known)?;
    broken.iter().for_each(|why| say(format!("not used: {why}")));
    say(format!("recorded {} tests", tests.len()));
    ensure!(
        broken.len() * MOST_BROKEN_IN <= tests.len(),
        "{} tests fail with no mutant on: what they would notice would seem to live",
        broken.len()
    );

    let same = recorded::same(&tests);
    say(format!("{} mutants mean the same, for there is one thing at most where they take the first", same.len()));
    usable.retain(|mutant| !same.contains(&mutant.id));
    let chosen = sample::sample(&usable, &choice, &seed);
    let judge = judge::Judge {
        binaries: &binaries,
        tests: &tests,
        runner: &runner,
        budget: Duration::from_secs(budget),
        unsteady: Default::default(),
    };
    let tried = AtomicUsize::new(0);
    let judged = judge.judge(&chosen, workers, &|mutant, verdict| {
        let number = tried.fetch_add(1, Ordering::Relaxed) + 1;
        if number.is_multiple_of(25) {
            say(format!("{number} of {} tried", chosen.len()));
        }
        if verdict.lives() {
            say(format!("lives: line {:>3}, {}", mutant.line, mutant.key()));
        }
    })?;
    for (binary, test) in suite::lock(&judge.unsteady).iter() {
        let binary = binaries.get(*binary).map_or("", |binary| &binary.name);
        say(format!("not used any more, for it fails without mutants too: {binary} {test}"));
    }

    let page = fs::read_to_string(root.join("docs/mutants.md")).unwrap_or_default();
    let reasons = reasons::read(&page);
    write_all(&target, &judged)?;
    let text = report::report(&judged, &reasons);
    fs::write(target.join("report.txt"), &text).context("writing the report")?;
    let keys: Vec<String> = tree.mutants.iter().map(|mutant| mutant.key()).collect();
    for name in reasons::stale(&reasons, &keys) {
        println!("docs/mutants.md names a mutant that is not there: {name}");
    }
    print!("{text}");
    Ok(if report::counts(&judged, &reasons).0.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scratch(target: &Path) -> Result<PathBuf> {
    let scratch = target.join("scratch");
    fs::create_dir_all(&scratch).context("making a folder for records")?;
    Ok(scratch)
}

/// Every mutant with what became of it, one a line.
fn write_all(target: &Path, judged: &[(&waykeeper_mutate::find::Mutant, judge::Verdict)]) -> Result<()> {
    let line = |(mutant, verdict): &(&waykeeper_mutate::find::Mutant, judge::Verdict)| {
        format!("{verdict:?}\t{}\t{}\n", mutant.line, mutant.key())
    };
    let living = judged.iter().filter(|(_, verdict)| verdict.lives());
    let living: String = living.map(|(mutant, _)| format!("{}\n", mutant.key())).collect();
    fs::write(target.join("lives"), living).context("writing what lives")?;
    fs::write(target.join("mutants.tsv"), judged.iter().map(line).collect::<String>()).context("writing the list")
}
