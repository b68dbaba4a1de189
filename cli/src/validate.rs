//! `waykeeper validate`: everything that can be said of manifests without running them.

use std::process::ExitCode;

use provider::validate::{Author, ValidateArgs};

use crate::advice;

/// Reads the manifests, asks everyone who would serve them, and prints what is wrong.
pub fn run(args: &ValidateArgs) -> ExitCode {
    let settings = crate::plan::translate_settings("cluster.local");
    let authors = [
        Author::new(extauth::AUTHOR, extauth::validate::report),
        Author::new(ratelimit::rules::config::AUTHOR, ratelimit::check::report),
        Author::new(waypoint::AUTHOR, |snapshot| waypoint_translate::translate(snapshot, &settings).into_report()),
        Author::new(advice::AUTHOR, advice::advise),
    ];
    provider::validate::run(args, None, &authors, &mut std::io::stdout())
}
