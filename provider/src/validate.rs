//! `validate PATH…`, the same for every program: manifests are read once, whoever would serve them
//! says what is wrong, and the outcome is printed.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::{Kind, Snapshot};
use clap::ValueEnum;
use serde_json::json;
use status::Report;

use crate::board::StatusBoard;
use crate::findings::{Finding, count, findings, near, tally};
use crate::folder::load;

/// More than this on standard input is no manifest.
const MAX_STDIN: u64 = 64 << 20;

/// What to check, and how to say what is wrong.
#[derive(Debug, Clone, clap::Args)]
pub struct ValidateArgs {
    /// Manifests: files, or folders with all they hold; - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print text or JSON
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text, value_name = "HOW")]
    pub output: Output,
    /// Exit 1 for warnings, too
    #[arg(long)]
    pub strict: bool,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line for each finding, for people.
    Text,
    /// One JSON object with all findings.
    Json,
}

/// A server that would read the manifests, and the report it would make of them.
pub struct Author<'a> {
    /// The name under which they write to the status board.
    pub name: &'static str,
    /// What they say.
    pub says: Box<dyn Fn(&Snapshot) -> Report + 'a>,
}

impl<'a> Author<'a> {
    /// `name` says what `says` returns.
    pub fn new(name: &'static str, says: impl Fn(&Snapshot) -> Report + 'a) -> Self {
        Self { name, says: Box::new(says) }
    }
}

impl std::fmt::Debug for Author<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that is wrong or likely not meant.
    pub findings: Vec<Finding>,
    /// Files read.
    pub files: usize,
    /// Objects of the kinds asked about.
    pub objects: usize,
    /// Whether anything is declared at all.
    pub empty: bool,
}

/// Reads `paths` and asks every author; `kinds` are those this program serves, nothing for all of them.
pub fn check(paths: &[PathBuf], kinds: Option<&[Kind]>, authors: &[Author<'_>]) -> Outcome {
    let loaded = load(paths);
    let board = StatusBoard::new();
    for author in authors {
        board.publish(author.name, (author.says)(&loaded.snapshot));
    }
    board.declare(loaded.origins, status::diff(&Report::new(), &loaded.report));
    board.publish_files(loaded.files);
    let ours = |kind: &Kind| kinds.is_none_or(|kinds| kinds.contains(kind));
    let mut findings = findings(&board, paths);
    findings.retain(|finding| finding.object.as_ref().is_none_or(|object| ours(&object.kind)));
    let origins = board.origins();
    let objects = origins.keys().filter(|object| ours(&object.kind)).count();
    Outcome { findings, files: board.files().len(), objects, empty: origins.is_empty() }
}

/// Checks and prints. Exits 0 when all is valid, 1 when something is not, 64 when a path does not exist.
pub fn run(args: &ValidateArgs, kinds: Option<&[Kind]>, authors: &[Author<'_>], out: &mut impl Write) -> ExitCode {
    let usage = ExitCode::from(runtime::EXIT_USAGE);
    let mut paths = args.paths.clone();
    let mut stdin = None;
    for path in &mut paths {
        if path == Path::new("-") {
            match from_stdin() {
                Ok(file) => {
                    *path = file.path().to_owned();
                    stdin = Some(file);
                }
                Err(why) => {
                    complain(&format!("error: reading standard input: {why}"));
                    return usage;
                }
            }
        } else if !path.exists() {
            let hint = near(path).map(|near| format!("; did you mean {}?", near.display())).unwrap_or_default();
            complain(&format!("error: {} does not exist{hint}", path.display()));
            return usage;
        }
    }
    let mut outcome = check(&paths, kinds, authors);
    if let Some(stdin) = &stdin {
        for finding in outcome.findings.iter_mut().filter(|finding| finding.file.as_deref() == Some(stdin.path())) {
            finding.file = Some("-".into());
        }
    }
    let (errors, warnings) = count(&outcome.findings);
    let good = !outcome.empty && errors == 0 && !(args.strict && warnings > 0);
    // A reader that went away is no reason to change the verdict.
    let _ = match args.output {
        Output::Json => print_json(&outcome, good, out),
        Output::Text => print_text(&outcome, good, out),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_json(outcome: &Outcome, good: bool, out: &mut impl Write) -> std::io::Result<()> {
    let (errors, warnings) = count(&outcome.findings);
    let value = json!({"valid": good, "files": outcome.files, "objects": outcome.objects, "errors": errors,
        "warnings": warnings, "problems": outcome.findings});
    writeln!(out, "{value:#}")
}

fn print_text(outcome: &Outcome, good: bool, out: &mut impl Write) -> std::io::Result<()> {
    for finding in &outcome.findings {
        writeln!(out, "{finding}")?;
    }
    let plural = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let read = format!("{} in {}", plural(outcome.objects, "object"), plural(outcome.files, "file"));
    match tally(&outcome.findings) {
        None if outcome.empty => writeln!(out, "nothing to check: {read}"),
        None => writeln!(out, "valid: {read}"),
        Some(tally) if good => writeln!(out, "valid: {read}; {tally}"),
        Some(tally) => writeln!(out, "not valid: {read}; {tally}"),
    }
}

/// Standard input as a file, for lines to be shown. YAML reads JSON as well.
fn from_stdin() -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("stdin-").suffix(".yaml").tempfile()?;
    let bytes = std::io::copy(&mut std::io::stdin().lock().take(MAX_STDIN + 1), &mut file)?;
    if bytes > MAX_STDIN {
        return Err(std::io::Error::other(format!("more than {} MiB", MAX_STDIN >> 20)));
    }
    file.flush()?;
    Ok(file)
}

#[allow(clippy::print_stderr, reason = "that is where mistakes on the command line are said")]
fn complain(text: &str) {
    eprintln!("{text}");
}
