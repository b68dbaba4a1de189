//! `waykeeper validate`: everything that can be said of manifests without running them.
#![allow(clippy::print_stdout, reason = "printing is what this command is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use crate::report;

/// Loads, translates, and prints what is wrong. Exit 0 when nothing is.
pub fn run(paths: &[PathBuf]) -> ExitCode {
    let loaded = provider::load(paths);
    let board = provider::StatusBoard::new();
    let translation = waypoint_translate::translate(&loaded.snapshot, &crate::up::translate_settings("cluster.local"));
    board.publish(provider::AUTHOR, loaded.report);
    board.publish("waypoint", translation.report);
    board.publish_files(loaded.files);
    let status = report::status(&board, &[], &[]);
    let (text, _) = report::objects(&status, None);
    print!("{text}");
    // Nothing is programmed here, so only refusals count.
    let refused = status["objects"].as_array().into_iter().flatten().any(report::is_refused);
    let unreadable = status["files"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|file| file["problems"].as_array().is_some_and(|problems| !problems.is_empty()));
    if refused || unreadable { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
