//! `bench-extauth`: the ext_authz service over many Secrets and AuthConfigs, beside a server that does nothing.
//!
//! It writes a folder, starts the real server on it, asks as an Envoy would, then edits one Secret
//! again and again and asks until the edit is in force. Everything on loopback, bounded in time, and ended.

mod checks;
mod folder;
mod noop;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};

use checks::Checks;
use folder::Folder;
use waykeeper_bench::load::{self, Answers, Load, Stop};
use waykeeper_bench::process::{self, Process, free_address};

/// The longest that a start may take.
const START: Duration = Duration::from_secs(180);
/// The longest that an edit may take.
const EDIT: Duration = Duration::from_secs(60);
/// So many different keys are asked with.
const ASKED: usize = 10_000;

/// Measures the ext_authz service: answers, one edit, memory.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the gRPC server that does nothing.
    Noop {
        /// Where.
        address: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Our server [default: the one beside this program].
    #[arg(long, env = "BENCH_OURS", value_name = "PATH")]
    ours: Option<PathBuf>,
    /// How many Secrets, each with a key.
    #[arg(long, env = "BENCH_SECRETS", default_value_t = 100_000, value_name = "N")]
    secrets: usize,
    /// How many AuthConfigs, each of which reads as many of them.
    #[arg(long, env = "BENCH_CONFIGS", default_value_t = 10_000, value_name = "N")]
    configs: usize,
    /// How many edits are measured.
    #[arg(long, env = "BENCH_EDITS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2000), value_name = "N")]
    edits: u32,
    /// Seconds of load; each is measured twice.
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60), value_name = "N")]
    seconds: u64,
    /// Connections: an Envoy has one for each of its threads.
    #[arg(long, default_value_t = 4, value_name = "N")]
    connections: usize,
    /// Calls under way on each connection.
    #[arg(long, default_value_t = 16, value_name = "N")]
    streams: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Noop { address }) => noop::serve(address),
        None => process::end_with_signals().and_then(|()| run(&cli.run)),
    };
    process::end_all();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench-extauth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(run: &Run) -> anyhow::Result<()> {
    let bench = std::env::current_exe()?;
    let ours = run.ours.clone().unwrap_or_else(|| bench.with_file_name("extauth"));
    ensure!(ours.is_file(), "{} is missing; run `make bench-extauth`", ours.display());
    ensure!(run.secrets > 0 && run.configs > 0 && run.configs <= run.secrets, "1 ≤ configs ≤ secrets");
    let folder = Folder::write(run.secrets, run.configs).context("writing the folder")?;
    let work = tempfile::tempdir()?;
    let heading = format!("{} Secrets, {} AuthConfigs", run.secrets, run.configs);

    let nothing = Server::start_noop(&bench, &work.path().join("noop.log"))?;
    let begun = Instant::now();
    let server = Server::start(&ours, folder.path(), &work.path().join("extauth.log"))?;
    server.until(&Checks::new(folder.some(1)), START).context("starting")?;
    let start = begun.elapsed();
    let begin = server.process.resident();

    let load = Load {
        connections: run.connections.max(1),
        streams: run.streams.max(1),
        stop: Stop::After(Duration::from_secs(run.seconds)),
    };
    let checks = Checks::new(folder.some(ASKED));
    let (mut of_nothing, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        of_nothing.push(load::drive(nothing.address, load, &checks)?);
        ours.push(load::drive(server.address, load, &checks)?);
    }
    let (of_nothing, ours) = (better(of_nothing), better(ours));
    ensure!(ours.failed == 0 && ours.refused == 0, "{} refused and {} failed", ours.refused, ours.failed);
    drop(nothing);

    let (mut whole, mut after, cpu) = (Vec::new(), Vec::new(), server.process.cpu());
    let mut last = folder::key(0);
    for edit in 0..run.edits {
        let next = format!("key-{edit}-of-the-edits");
        let begun = Instant::now();
        folder.rekey(&next)?;
        let asked = |key: &str| Checks::new([(folder.config_of(0), key.to_owned())]);
        server.until(&asked(&next), EDIT).with_context(|| format!("edit {edit}"))?;
        whole.push(begun.elapsed());
        after.extend(server.since_last_reading());
        ensure!(!server.passes(&asked(&last))?, "the former key still passes");
        last = next;
    }
    let cpu = (server.process.cpu() - cpu) / run.edits;

    let rate = |answers: &Answers| format!("{:.0}/s", answers.rate());
    let micros = |answers: &Answers, share| format!("{} µs", answers.latency.quantile(share).as_micros());
    let millis = |times: &mut Vec<Duration>| {
        times.sort();
        let of = |at: usize| times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        format!("{:.0} ms, {:.0} ms", of(times.len() / 2), of(times.len().saturating_sub(1)))
    };
    let megabytes = |bytes: u64| format!("{} MB", bytes >> 20);
    let rows = [
        ("start to the first answer", format!("{:.2} s", start.as_secs_f64())),
        ("answers: a server that does nothing, ours", format!("{}, {}", rate(&of_nothing), rate(&ours))),
        ("ours as a share of that", format!("{:.2}", ours.rate() / of_nothing.rate().max(1.0))),
        ("latency at 50 %: of nothing, ours", format!("{}, {}", micros(&of_nothing, 0.5), micros(&ours, 0.5))),
        ("latency at 99 %: of nothing, ours", format!("{}, {}", micros(&of_nothing, 0.99), micros(&ours, 0.99))),
        ("one Secret changed, until its key counts: median, longest", millis(&mut whole)),
        ("of which after the provider had read the folder", millis(&mut after)),
        ("CPU for one changed Secret", format!("{:.0} ms", cpu.as_secs_f64() * 1e3)),
        (
            "resident: once ready, at the end, peak",
            [begin, server.process.resident(), server.process.peak()].map(megabytes).join(", "),
        ),
    ];
    say(&format!("| | {heading} |\n|---|---|"));
    rows.iter().for_each(|(name, value)| say(&format!("| {name} | {value} |")));
    Ok(())
}

/// A server that was started.
#[derive(Debug)]
struct Server {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    fn start(ours: &Path, folder: &Path, log: &Path) -> anyhow::Result<Server> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut program = Program::new(ours);
        program.env_clear().args(["--grpc", &address.to_string(), "--admin", &admin.to_string()]).arg(folder);
        Ok(Server { process: Process::start(&mut program, log)?, address, log: log.to_owned() })
    }

    fn start_noop(bench: &Path, log: &Path) -> anyhow::Result<Server> {
        let address = free_address()?;
        let process = Process::start(Program::new(bench).arg("noop").arg(address.to_string()), log)?;
        let server = Server { process, address, log: log.to_owned() };
        server.until(&Checks::new([("x.y".to_owned(), String::new())]), START)?;
        Ok(server)
    }

    /// Whether one of these checks is let pass.
    fn passes(&self, checks: &Checks) -> anyhow::Result<bool> {
        let once = Load { connections: 1, streams: 1, stop: Stop::Calls(1) };
        let answers = load::drive(self.address, once, checks)?;
        Ok(answers.refused == 0 && answers.failed == 0)
    }

    /// Asks until one of these checks is let pass.
    fn until(&self, checks: &Checks, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.passes(checks).unwrap_or(false) {
            let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
            ensure!(!self.process.has_ended(), "it ended:\n{}", said());
            ensure!(begun.elapsed() < patience, "not within {patience:?}:\n{}", said());
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// How long ago the provider said that it had read the folder.
    fn since_last_reading(&self) -> Option<Duration> {
        let now = SystemTime::now();
        let log = std::fs::read_to_string(&self.log).ok()?;
        let line = log.lines().rev().find(|line| line.contains("manifests read"))?;
        let written = line.split_whitespace().find_map(seconds_of_day)?;
        let passed = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64() % 86_400.0 - written;
        Some(Duration::from_secs_f64(if passed < 0.0 { passed + 86_400.0 } else { passed }))
    }
}

/// Of two runs the one in which others disturbed less.
fn better(runs: Vec<Answers>) -> Answers {
    runs.into_iter().max_by(|one, other| one.rate().total_cmp(&other.rate())).unwrap_or_default()
}

/// The seconds since midnight of a time such as `2026-11-25T20:10:11.123456Z`.
fn seconds_of_day(word: &str) -> Option<f64> {
    let (time, _) = word.split_once('T')?.1.split_once('Z')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
