//! The `waykeeper` command: runs everything on one machine, and looks inside.

mod args;
mod banner;
mod become_program;
mod carry;
mod certificate;
mod client;
mod inspect;
mod plan;
mod ratelimit;
mod report;
mod services;
mod status;
mod up;
mod validate;

use std::process::ExitCode;

use crate::args::{Admin, Cli, Command};

fn main() -> ExitCode {
    let cli: Cli = match runtime::command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Command::Become { parent, command } = &cli.command {
        eprintln!("waykeeper: {:#}", become_program::run(*parent, command));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waykeeper: starting: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match cli.command {
        Command::Up(up) => runtime.block_on(up::run(*up)).map(|()| ExitCode::SUCCESS),
        Command::Tunnel(tunnel) => runtime.block_on(carry::run(*tunnel)).map(|()| ExitCode::SUCCESS),
        Command::Certificate(certificate) => certificate::run(&certificate).map(|()| ExitCode::SUCCESS),
        Command::Health(Admin { admin, wait }) => Ok(runtime::health::ask(&admin, wait)),
        Command::Become { .. } => unreachable!("handled above"),
        Command::Validate { paths } => Ok(validate::run(&paths)),
        Command::Ratelimit(command) => runtime.block_on(crate::ratelimit::run(command)),
        Command::Ps(client) => runtime.block_on(inspect::ps(&client)),
        Command::Status(client) => runtime.block_on(inspect::status(&client, None)),
        Command::Get { kind, client } => runtime.block_on(inspect::get(&client, &kind)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("waykeeper: {error:#}");
        ExitCode::FAILURE
    })
}
