//! `extauth validate PATH…`: what is wrong with the manifests, as the service would see them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use api::Kind;
use status::Report;

use crate::compile::{Compiler, Index};
use crate::report::report;

/// Prints everything that is wrong with AuthConfigs and Secrets under `paths`.
pub fn validate(paths: &[PathBuf], out: &mut impl Write) -> ExitCode {
    let loaded = provider::load(paths);
    let mut lines = Vec::new();
    let mut bad = false;
    for file in &loaded.files {
        for problem in &file.problems {
            bad = true;
            lines.push(format!("{}: {problem}", file.path.display()));
        }
    }
    let compiled = Compiler::new("x-user-id").compile(&loaded.snapshot, &Index::default());
    for said in [&loaded.report, &report(&compiled)] {
        bad |= describe(said, &mut lines);
    }
    lines.dedup();
    for line in &lines {
        // A reader that went away is no reason to change the verdict.
        let _ = writeln!(out, "{line}");
    }
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Adds a line for each statement about our kinds; says whether one of them does not hold.
fn describe(report: &Report, lines: &mut Vec<String>) -> bool {
    let mut bad = false;
    for (object, statuses) in report.iter().filter(|(o, _)| matches!(o.kind, Kind::AuthConfig | Kind::Secret)) {
        for condition in statuses.iter().flat_map(|status| &status.conditions) {
            bad |= condition.status == Some(false);
            if !condition.message.is_empty() {
                lines.push(format!("{object}: {}: {}", condition.reason, condition.message));
            }
        }
    }
    bad
}
