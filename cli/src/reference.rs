//! `version`, `completion` and `man`: what the program says of itself.
#![allow(clippy::print_stdout, reason = "printing is what these commands are for")]

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use serde_json::json;

use crate::args::Cli;
use crate::format::Format;

/// `waykeeper` alone: what there is to run. A script that left out the command has made a mistake.
pub fn help() -> ExitCode {
    println!("{}", Cli::command().render_help());
    ExitCode::from(runtime::EXIT_USAGE)
}

/// `waykeeper version`.
///
/// # Errors
/// Never.
pub fn version(output: Format) -> anyhow::Result<()> {
    let (ours, envoy) = (env!("CARGO_PKG_VERSION"), waypoint::envoy::VERSION);
    match output {
        Format::Table | Format::Name => println!("waykeeper {ours} (Envoy {envoy} where none is given)"),
        Format::Yaml => print!("{}", serde_norway::to_string(&json!({"version": ours, "envoy": envoy}))?),
        Format::Json => println!("{:#}", json!({"version": ours, "envoy": envoy})),
    }
    Ok(())
}

/// `waykeeper completion SHELL`: a script for the shell to read.
pub fn completion(shell: clap_complete::Shell) {
    // A shell that stops reading has all it wants.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "waykeeper", &mut script);
    let _ = std::io::stdout().write_all(&script);
}

/// `waykeeper man`: one page on standard output, or one for every command into a folder.
///
/// # Errors
/// When a page cannot be written.
pub fn man(folder: Option<&Path>) -> anyhow::Result<()> {
    match folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            let _ = std::io::stdout().write_all(&page);
        }
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
            clap_mangen::generate_to(Cli::command(), folder)
                .with_context(|| format!("writing pages into {}", folder.display()))?;
        }
    }
    Ok(())
}
