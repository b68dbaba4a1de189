//! `bench-cluster`: how long the control plane takes on a real API server with many Services.
//!
//! For each size it starts etcd and an API server, makes the objects, starts `waypoint` as in a cluster, statuses and
//! all, and one Envoy with it; edits routes by way of the API server, and asks through the Envoy until the edit is in
//! force. Then the control plane is started again while the Envoy runs. Everything in a network namespace of its own.

mod objects;
mod parts;
mod table;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use waykeeper_bench::{backend, page, process};
use waykeeper_tests::kubernetes::{Cluster, address};

use objects::Objects;
use parts::{Envoy, Waypoint, Workplace};
use table::{Edit, Figures};

/// The address of the application: an API server takes none of loopback as an endpoint's.
const APPLICATION: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 3);
/// The longest that a start may take.
const START: Duration = Duration::from_secs(180);
/// The longest that an edit may take.
const EDIT: Duration = Duration::from_secs(60);

/// Measures the control plane on an API server: start, one edit, memory, statuses written.
#[derive(Debug, Parser)]
struct Cli {
    /// The control plane [default: the one beside this program].
    #[arg(long, env = "BENCH_OURS", value_name = "PATH")]
    ours: Option<PathBuf>,
    /// How many Services, each with an HTTPRoute and an EndpointSlice; one run for each number.
    #[arg(long, env = "BENCH_SERVICES", value_delimiter = ',', default_value = "1000,10000", value_name = "N")]
    services: Vec<usize>,
    /// How many edits are measured.
    #[arg(long, env = "BENCH_EDITS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=2000), value_name = "N")]
    edits: u32,
    /// Also write the table into this file, in place of the one it has.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let ours = match &cli.ours {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("waypoint"),
    };
    anyhow::ensure!(ours.is_file(), "{} is missing; run `make bench-cluster`", ours.display());
    process::end_with_signals()?;
    address(&APPLICATION.to_string());
    let application = backend::start(APPLICATION)?;
    let mut figures = Vec::new();
    for &services in &cli.services {
        let measured = measure(&ours, services, cli.edits, application.port())?;
        say(&measured.line());
        figures.push(measured);
    }
    let table = table::markdown(&figures, cli.edits);
    say(&table);
    if let Some(file) = &cli.write {
        page::replace(file, "bench-cluster", &table)?;
    }
    Ok(())
}

/// One run over an API server with so many Services.
fn measure(ours: &std::path::Path, services: usize, edits: u32, application: u16) -> anyhow::Result<Figures> {
    let cluster = Cluster::start();
    let objects = Objects::make(&cluster, services, (APPLICATION, application))?;
    say(&format!("{services} Services are there"));
    let place = Workplace::new(&cluster)?;

    let begun = Instant::now();
    let waypoint = Waypoint::start(ours, &place)?;
    waypoint.until_ready(START)?;
    let ready_after = begun.elapsed();
    let envoy = Envoy::start(ours, &place)?;
    let served = |patience| -> anyhow::Result<()> {
        objects.some().try_for_each(|service| envoy.until(service, patience, |reply| reply.status == 200))
    };
    served(START).with_context(|| waypoint.log())?;
    let start = begun.elapsed();
    // All that is to be said of the objects is said: each route once it is accepted, or once it is in force as well.
    waypoint.until_statuses_rest(services, START)?;
    let (ready, first_writes) = (waypoint.memory(), waypoint.statuses("written")?);

    let mut routes = Vec::new();
    for edit in 1..=edits {
        // Spread over all of them, from both ends.
        let number = (edit as usize * 7_919) % services;
        let value = edit.to_string();
        let before = Instant::now();
        objects.edit_route(&cluster, number, &value)?;
        let answered = Instant::now();
        envoy
            .until(objects.service(number), EDIT, |reply| reply.header("x-edit") == Some(value.as_str()))
            .with_context(|| format!("edit {edit}\n{}", waypoint.log()))?;
        routes.push(Edit { from_request: before.elapsed(), from_answer: answered.elapsed() });
    }
    let memory = waypoint.memory();
    waypoint.until_statuses_rest(0, START)?;

    waypoint.stop()?;
    let begun = Instant::now();
    let waypoint = Waypoint::start(ours, &place)?;
    waypoint.until_ready(START)?;
    let restart = begun.elapsed();
    waypoint.until_statuses_rest(services, START)?;
    let restart_writes = waypoint.statuses("written")?;
    // The Envoy that went on with what it had is told by the new one.
    objects.edit_route(&cluster, 0, "restarted")?;
    envoy.until(objects.service(0), EDIT, |reply| reply.header("x-edit") == Some("restarted"))?;
    Ok(Figures { services, ready_after, start, routes, ready, memory, first_writes, restart, restart_writes })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
