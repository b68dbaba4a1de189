//! `waykeeper become`: runs a program that the kernel ends together with its parent, also when the parent is killed.
//!
//! `waykeeper` starts its Envoys by this command: an Envoy that outlived it would go on serving policies that nobody
//! can change any more.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Parser as _;

use crate::args::Become;

/// Reads the command line and becomes what it names; the exit code says that this failed.
pub fn main() -> ExitCode {
    let args = std::env::args_os().enumerate().filter(|(index, _)| *index != 1).map(|(_, arg)| arg);
    let Become { parent, command } = match Become::try_parse_from(args) {
        Ok(wanted) => wanted,
        Err(mistake) => {
            eprintln!("{mistake}");
            return ExitCode::from(runtime::EXIT_USAGE);
        }
    };
    eprintln!("waykeeper: {:#}", run(parent, &command));
    ExitCode::FAILURE
}

/// Becomes `command`, which ends with the process `parent`; returns only why that failed.
fn run(parent: i32, command: &[OsString]) -> anyhow::Error {
    match try_run(parent, command) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn try_run(parent: i32, command: &[OsString]) -> anyhow::Result<Infallible> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let (program, arguments) = command.split_first().context("no program to become")?;
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to end with the parent")?;
    // The parent may have ended before the kernel was asked.
    anyhow::ensure!(getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent), "the parent has ended already");
    // The program would inherit this choice, which is made for our own memory.
    runtime::memory::in_small_pages(false);
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("running {}", program.display()))
}
