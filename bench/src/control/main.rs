//! `bench-control`: how long `waykeeper up` takes over folders of many Services.
//!
//! For each size it writes a folder, starts the real thing with its Envoy, edits
//! the folder as a person would, and asks through the services' own addresses
//! until the edit is in force. Everything on loopback, bounded in time, and ended.

mod folder;
mod handmade;
mod process;
mod table;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;

use folder::Folder;
use process::Running;
use table::{Figures, Sample};
use waykeeper_bench::{backend, client, page};

/// The longest that a start may take.
const START: Duration = Duration::from_secs(180);
/// The longest that an edit may take.
const EDIT: Duration = Duration::from_secs(60);

/// Measures the control plane: start, one edit, one more Service, memory.
#[derive(Debug, Parser)]
struct Cli {
    /// Our command [default: the one beside this program].
    #[arg(long, env = "BENCH_OURS", value_name = "PATH")]
    ours: Option<PathBuf>,
    /// How many Services, each with an HTTPRoute and an EndpointSlice; one run for each number.
    #[arg(long, env = "BENCH_SERVICES", value_delimiter = ',', default_value = "1000,10000", value_name = "N")]
    services: Vec<usize>,
    /// How many edits are measured.
    #[arg(long, env = "BENCH_EDITS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2000), value_name = "N")]
    edits: u32,
    /// Also write the table into this file, in place of the one it has.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let ours = match &cli.ours {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("waykeeper"),
    };
    anyhow::ensure!(ours.is_file(), "{} is missing; run `make bench-control`", ours.display());
    let (envoy, backend) = (handmade::envoy()?, backend::start(Ipv4Addr::LOCALHOST)?);
    let mut figures = Vec::new();
    for &services in &cli.services {
        let measured = measure(&ours, &envoy, services, cli.edits, backend)?;
        say(&measured.line());
        figures.push(measured);
    }
    let table = table::markdown(&figures, cli.edits);
    say(&table);
    if let Some(file) = &cli.write {
        page::replace(file, "bench-control", &table)?;
    }
    Ok(())
}

/// One run over a folder of `services`.
fn measure(
    ours: &Path,
    envoy: &Path,
    services: usize,
    edits: u32,
    backend: std::net::SocketAddr,
) -> anyhow::Result<Figures> {
    let mut folder = Folder::write(services, backend).context("writing the folder")?;
    let begun = Instant::now();
    let running = Running::start(ours, folder.path())?;
    running.wait_until_ready(START)?;
    for at in folder.some_services() {
        client::until(at, &[], EDIT, |reply| reply.status == 200)?;
    }
    let start = begun.elapsed();
    let ready = running.memory();

    let (control_before, envoy_before) = running.cpu();
    let mut routes = Vec::new();
    // The routes are written with 0.
    for edit in 1..=edits {
        let at = folder.edit_route(edit)?;
        let begun = Instant::now();
        let value = edit.to_string();
        client::until(at, &[], EDIT, |reply| reply.header("x-edit") == Some(value.as_str()))
            .with_context(|| format!("edit {edit}"))?;
        routes.push(Sample { whole: begun.elapsed(), after_reading: running.since_last_reading() });
    }
    let (control_after, envoy_after) = running.cpu();

    let mut added = Vec::new();
    for _ in 0..edits.min(10) {
        let at = folder.add_service()?;
        let begun = Instant::now();
        client::until(at, &[], EDIT, |reply| reply.status == 200).context("one more Service")?;
        added.push(Sample { whole: begun.elapsed(), after_reading: running.since_last_reading() });
    }
    Ok(Figures {
        services,
        start,
        routes,
        added,
        control_cpu: (control_after.saturating_sub(control_before)) / edits,
        envoy_cpu: (envoy_after.saturating_sub(envoy_before)) / edits,
        ready,
        memory: running.memory(),
        handmade: {
            drop(running);
            handmade::resident(envoy, &folder.services().collect::<Vec<_>>(), backend, START)?
        },
    })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
