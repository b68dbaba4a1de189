//! `bench-ratelimit`: our rate-limit service and envoyproxy/ratelimit side by side.
//!
//! The same load, Redis and rules for both, one after the other, and a server that
//! does nothing as the ceiling. Everything on loopback, bounded in time, and ended.

mod contestant;
mod cores;
mod endurance;
mod measure;
mod message;
mod mix;
mod noop;
mod report;
mod rules;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use contestant::{Programs, RedisServer};
use cores::Cores;
use measure::Lab;
use message::Dialect;
use mix::Mix;
use report::Row;
use waykeeper_bench::load::{Load, Stop};
use waykeeper_bench::process;

/// Drives our rate-limit service and envoyproxy/ratelimit with the same load, and compares.
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
    /// envoyproxy/ratelimit.
    #[arg(long, env = "RATELIMIT_PEER", default_value = ".tools/bin/ratelimit-peer", value_name = "PATH")]
    peer: PathBuf,
    /// A setting of the peer beyond its defaults; may be repeated.
    #[arg(long, env = "BENCH_PEER_ENV", value_delimiter = ',', value_name = "NAME=VALUE")]
    peer_env: Vec<String>,
    /// Whose rules ours reads when it counts in Redis.
    #[arg(long, env = "BENCH_RULES", value_enum, default_value_t = RulesOf::Gloo)]
    rules: RulesOf,
    /// Whether Redis has a core to itself, as on another machine, or shares all with the servers.
    #[arg(long, env = "BENCH_CORES", value_enum, default_value_t = Cores::Apart)]
    cores: Cores,
    /// Seconds of load in a cell; each is measured twice.
    #[arg(long, env = "BENCH_SECONDS", value_parser = clap::value_parser!(u64).range(1..=60), value_name = "N")]
    seconds: Option<u64>,
    /// Only the mixes that tell most, a second each: about two minutes.
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new())]
    quick: bool,
    /// Only mixes whose name has this in it.
    #[arg(long, env = "BENCH_ONLY", value_name = "TEXT")]
    only: Option<String>,
    /// Seconds of random keys; 0 for none, fewer than 25 tell nothing.
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 26, value_parser = clap::value_parser!(u64).range(0..=7200), value_name = "N")]
    soak_seconds: u64,
    /// Connections: an Envoy has one for each of its threads.
    #[arg(long, default_value_t = 8, value_name = "N")]
    connections: usize,
    /// Calls under way on each connection.
    #[arg(long, default_value_t = 16, value_name = "N")]
    streams: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RulesOf {
    /// The peer's own files and requests, in its place.
    Envoy,
    /// RateLimitConfigs with the same rules.
    Gloo,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Noop { address }) => noop::serve(address),
        None => process::end_with_signals().and_then(|()| compare(&cli.run)),
    };
    process::end_all();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(run: &Run) -> anyhow::Result<()> {
    let bench = std::env::current_exe()?;
    let ours = run.ours.clone().unwrap_or_else(|| bench.with_file_name("ratelimit"));
    let hints = [(&ours, "cargo build --release -p ratelimit"), (&run.peer, "scripts/tools.sh ratelimit-peer")];
    for (program, how) in hints {
        anyhow::ensure!(program.is_file(), "{} is missing; run `make bench-ratelimit`, or {how}", program.display());
    }
    let work = tempfile::tempdir()?;
    let seconds = run.seconds.unwrap_or(if run.quick { 1 } else { 3 });
    let start = || RedisServer::start(work.path()).context("is Redis installed? run scripts/tools.sh redis");
    let (redis, arranged) = cores::arrange(run.cores, start)?;
    let setting = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let lab = Lab {
        programs: Programs {
            bench,
            ours,
            peer: run.peer.clone(),
            dialect: match run.rules {
                RulesOf::Envoy => Dialect::Envoy,
                RulesOf::Gloo => Dialect::Gloo,
            },
            peer_env: run.peer_env.iter().filter_map(setting).collect(),
        },
        redis,
        load: Load {
            connections: run.connections.max(1),
            streams: run.streams.max(1),
            stop: Stop::After(Duration::from_secs(seconds)),
        },
    };
    say(&machine());
    say(&format!(
        "{} connections x {} calls under way, {seconds} s a cell, the better of two; everything on this machine, {arranged}\n",
        run.connections, run.streams
    ));
    say(&report::head());
    let mut rows = Vec::new();
    for mix in Mix::list(run.quick) {
        if run.only.as_ref().is_some_and(|only| !mix.to_string().contains(only.as_str())) {
            continue;
        }
        let files = rules::write(&work.path().join(mix.rules.to_string()), mix.rules)?;
        let row = Row { mix, cells: lab.better_of_two(&mix, &files, work.path())? };
        say(row.lines().trim_end());
        rows.push(row);
    }
    let of_rules = match rows.iter().any(|row| row.mix == mix::MANY_RULES) {
        true => lab.cost_of_rules(work.path()).context("measuring rules")?,
        false => Vec::new(),
    };
    let files = rules::write(&work.path().join("few"), 10)?;
    let per_key = endurance::per_key(&lab, &files, work.path()).context("filling memory")?;
    let growth = match run.soak_seconds {
        0 => None,
        time => Some(endurance::soak(&lab, &files, work.path(), Duration::from_secs(time)).context("soaking")?),
    };
    say("");
    for verdict in report::verdicts(&rows, &of_rules, Some(&per_key), growth.as_ref()) {
        let met = if verdict.met { "met" } else { "MISSED" };
        say(&format!("{met:6}  {}: {}", verdict.target, verdict.seen));
    }
    say(&machine());
    Ok(())
}

/// What this was measured on, and how busy that is.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let busy = read("/proc/loadavg");
    let busy = busy.split(' ').next().unwrap_or_default().to_owned();
    format!("{cores} cores, {}, load average {busy}", model.trim_start_matches(['\t', ' ', ':']))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
