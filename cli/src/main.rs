//! The `waykeeper` command: runs everything on one machine, and looks inside.

mod advice;
mod apikeys;
mod args;
mod ask;
mod banner;
mod become_program;
mod bundle;
mod certificate;
mod check;
mod cluster;
mod config;
mod describe;
mod format;
mod inspect;
mod kinds;
mod places;
mod plan;
mod ratelimit;
mod reference;
mod report;
mod services;
mod table;
mod terminal;
mod tunnel;
mod up;
mod validate;
mod waypoints;

use std::process::ExitCode;

use crate::args::{Admin, Cli, Command};

/// Thousands of objects are kept in very many small allocations. mimalloc takes less memory for each than the system's
/// allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        None => return reference::help(),
        Some(command) if command == "become" => return become_program::main(),
        Some(_) => {}
    }
    runtime::memory::in_small_pages(true);
    let cli: Cli = match runtime::command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waykeeper: starting: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match cli.command {
        Command::Up(up) => runtime.block_on(up::run(*up)).map(|()| ExitCode::SUCCESS),
        Command::Tunnel(args) => runtime.block_on(crate::tunnel::run(*args)).map(|()| ExitCode::SUCCESS),
        Command::Certificate(certificate) => certificate::run(&certificate).map(|()| ExitCode::SUCCESS),
        Command::Health { at: Admin { admin }, wait } => Ok(runtime::health::ask(&admin, wait)),
        Command::Validate(args) => Ok(validate::run(&args)),
        Command::Ratelimit(command) => runtime.block_on(crate::ratelimit::run(command)),
        Command::Apikey(command) => runtime.block_on(apikeys::run(command)),
        Command::Describe(args) => runtime.block_on(describe::run(&args)),
        Command::Config(command) => config::run(command, &runtime),
        Command::Bundle(args) => runtime.block_on(bundle::run(&args)),
        Command::Check(args) => runtime.block_on(check::run(&args)),
        Command::Waypoint(command) => runtime.block_on(waypoints::run(command)),
        Command::Ps(client) => runtime.block_on(inspect::ps(&client)),
        Command::Status(args) => runtime.block_on(inspect::status(&args)),
        Command::Get(args) => runtime.block_on(inspect::get(&args)),
        Command::Version { output } => reference::version(output).map(|()| ExitCode::SUCCESS),
        Command::Completion { shell } => {
            reference::completion(shell);
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { dir } => reference::man(dir.as_deref()).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("waykeeper: {error:#}");
        ExitCode::FAILURE
    })
}
