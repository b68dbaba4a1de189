//! `extauth validate PATH…`: what is wrong with the manifests, as the service would see them.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use api::{Kind, Snapshot};
use provider::validate::{Author, ValidateArgs};
use status::Report;

use crate::Settings;
use crate::compile::{Compilation, Compiler};

/// Prints everything that is wrong with AuthConfigs and Secrets.
pub fn validate(args: &ValidateArgs, out: &mut impl Write) -> ExitCode {
    provider::validate::run(
        args,
        Some(&Kind::read_by(api::Reader::Authorization)),
        &[Author::new(crate::AUTHOR, report)],
        out,
    )
}

/// What this service would say of what is declared.
pub fn report(snapshot: &Snapshot) -> Report {
    let compiled = Compiler::new(&Settings::default()).compile(Compilation::default(), snapshot, Instant::now());
    crate::report::report(&compiled.index)
}
