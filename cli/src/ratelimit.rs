//! `waykeeper ratelimit`: why a request is limited, and what rules would do, asked of a server or of files.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what these commands are for")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use ratelimit::check::check;
use ratelimit::rules::config::{Index, WeightScope};
use ratelimit::rules::explain::ask::Ask;
use ratelimit::rules::explain::{Explanation, Question};
use ratelimit::rules::request::Request;
use ratelimit::server::explain::counters::Counters;
use ratelimit::server::explain::http::{Reset, WasReset, default_domain};
use ratelimit::server::explain::rehearsal;
use ratelimit::server::explain::simulation::{Rate, Span, simulate};
use ratelimit::server::{Clock as _, SystemClock};
use runtime::Addr;
use serde::Serialize;

use crate::ask;
use crate::table::table;

/// `waykeeper ratelimit`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say which rules a request meets, what is left of them and what would be answered; spends nothing
    Explain(Explain),
    /// Play requests from files and compare the answers with those written there: exit 0 when all agree
    Test(Test),
    /// List the counters in use
    Counters {
        /// Only those whose names begin so, e.g. shop.limits
        #[arg(long, default_value = "", value_name = "TEXT")]
        prefix: String,
        /// Which server.
        #[command(flatten)]
        server: Server,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Empty counters: those a request would move, or all whose names begin with a text
    Reset(ResetArgs),
    /// Make one request at a steady rate, in no time, and say how many pass in each window
    Simulate(Simulate),
    /// Check RateLimitConfigs and exit: 0 when all can be used, 1 when one cannot
    Validate(provider::validate::ValidateArgs),
}

/// `waykeeper ratelimit explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// What the request is described by, e.g. 'shop.limits: type=a, number=1' or 'shop.limits set: …'
    #[arg(required = true, value_name = "DESCRIPTOR")]
    descriptors: Vec<String>,
    /// Ask these manifests instead of a server: no counter is used then
    #[arg(long = "file", value_name = "PATH", conflicts_with = "admin")]
    files: Vec<PathBuf>,
    /// Which server.
    #[command(flatten)]
    server: Server,
    /// The domain [default: the first that is served]
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// How many hits the request stands for
    #[arg(long, value_name = "N")]
    hits: Option<u32>,
    /// How weights are compared, with --file.
    #[command(flatten)]
    weights: Weights,
    /// How to print.
    #[command(flatten)]
    output: Output,
}

/// `waykeeper ratelimit test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Files of steps: send, times, after, answer
    #[arg(required = true, value_name = "FILE")]
    steps: Vec<PathBuf>,
    /// The rules [default: the other files of the folder of the steps]
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// How weights are compared.
    #[command(flatten)]
    weights: Weights,
}

/// `waykeeper ratelimit reset`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["descriptors", "prefix", "all"]))]
pub struct ResetArgs {
    /// A request: the counters it would move are emptied
    #[arg(value_name = "DESCRIPTOR")]
    descriptors: Vec<String>,
    /// All whose names begin so, e.g. shop.limits
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    prefix: Option<String>,
    /// All there are
    #[arg(long)]
    all: bool,
    /// Which server.
    #[command(flatten)]
    server: Server,
}

/// `waykeeper ratelimit simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// What the request is described by; several are one request
    #[arg(required = true, value_name = "DESCRIPTOR")]
    descriptors: Vec<String>,
    /// The rules
    #[arg(long = "file", required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// How often it is made, e.g. 10/s, 600/m, 1000/h
    #[arg(long, value_name = "RATE")]
    rate: Rate,
    /// For how long, e.g. 90s, 15m, 1h
    #[arg(long = "for", value_name = "TIME", default_value = "1m")]
    span: Span,
    /// How weights are compared.
    #[command(flatten)]
    weights: Weights,
    /// How to print.
    #[command(flatten)]
    output: Output,
}

/// The server to ask.
#[derive(Debug, Args)]
pub struct Server {
    /// The admin address of `waykeeper up` or `ratelimit`: an address, or unix:PATH
    #[arg(long, env = "WAYKEEPER_ADMIN", default_value = "127.0.0.1:15000", value_name = "ADDR")]
    admin: Addr,
}

/// How weights are compared where no server says it.
#[derive(Debug, Args)]
pub struct Weights {
    /// Among which rules a weight is compared
    #[arg(long, env = "RATELIMIT_WEIGHT_SCOPE", value_enum, default_value_t = Among::Config)]
    weight_scope: Among,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Among {
    /// Of the same RateLimitConfig.
    Config,
    /// All the request matches.
    Request,
}

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON instead of text
    #[arg(short = 'o', long, value_parser = ["table", "json"], default_value = "table")]
    output: String,
}

impl Weights {
    fn scope(&self) -> WeightScope {
        match self.weight_scope {
            Among::Config => WeightScope::Config,
            Among::Request => WeightScope::Request,
        }
    }
}

impl Output {
    fn print<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        if self.output == "json" {
            println!("{}", serde_json::to_string_pretty(value)?);
        } else {
            print!("{}", text(value));
        }
        Ok(())
    }
}

/// Does what is asked.
///
/// # Errors
/// When it cannot be done.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Explain(args) => explain(args).await.map(|()| ExitCode::SUCCESS),
        Command::Test(args) => test(&args).await,
        Command::Counters { prefix, server, output } => {
            let path = format!("/counters?prefix={}", ask::encode(&prefix));
            let counters: Counters = ask::get(&server.admin, &path).await?;
            output.print(&counters, listing).map(|()| ExitCode::SUCCESS)
        }
        Command::Reset(args) => reset(args).await.map(|()| ExitCode::SUCCESS),
        Command::Simulate(args) => run_simulation(args).await.map(|()| ExitCode::SUCCESS),
        Command::Validate(args) => Ok(ratelimit::check::validate(&args, &mut std::io::stdout())),
    }
}

async fn explain(args: Explain) -> anyhow::Result<()> {
    let ask = Ask { domain: args.domain, hits: args.hits, ..question(&args.descriptors)? };
    let explanation: Explanation = if args.files.is_empty() {
        ask::post(&args.server.admin, "/explain", &ask).await?
    } else {
        let index = rules(&args.files, &args.weights);
        let message = ask.message(default_domain(&index));
        let request = Request::read(&message)?;
        Question::new(&index, &request, SystemClock.now().secs()).answer(None)
    };
    args.output.print(&explanation, ToString::to_string)
}

async fn test(args: &Test) -> anyhow::Result<ExitCode> {
    let mut good = true;
    for file in &args.steps {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let steps = rehearsal::read(&text).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
        let paths = if args.files.is_empty() { beside(file)? } else { args.files.clone() };
        let differences = rehearsal::play(rules(&paths, &args.weights), &steps).await;
        match differences.len() {
            0 => println!("{}: {} steps answered as written", file.display(), steps.len()),
            found => println!("{}: {found} of {} steps answered otherwise", file.display(), steps.len()),
        }
        differences.iter().for_each(|difference| println!("{difference}"));
        good &= differences.is_empty();
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The other YAML files of a file's folder.
fn beside(file: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        path.extension().is_some_and(|end| end == "yaml" || end == "yml") && path.file_name() != file.file_name()
    });
    paths.sort();
    if paths.is_empty() {
        bail!("no rules beside {}; name them with --file", file.display());
    }
    Ok(paths)
}

async fn reset(args: ResetArgs) -> anyhow::Result<()> {
    let wanted = Reset {
        domain: None,
        descriptors: question(&args.descriptors)?.descriptors,
        prefix: if args.all { Some(String::new()) } else { args.prefix },
    };
    let WasReset { reset } = ask::post(&args.server.admin, "/counters/reset", &wanted).await?;
    println!("{reset} counters were in use and are empty now");
    Ok(())
}

async fn run_simulation(args: Simulate) -> anyhow::Result<()> {
    let ask = question(&args.descriptors)?;
    let index = rules(&args.files, &args.weights);
    let simulation = simulate(index, &ask, args.rate, args.span).await.map_err(anyhow::Error::msg)?;
    args.output.print(&simulation, ToString::to_string)
}

fn question(descriptors: &[String]) -> anyhow::Result<Ask> {
    Ask::of(descriptors).map_err(anyhow::Error::msg)
}

/// What would be served from these files; what is wrong with them is said, and answered as the server would.
fn rules(paths: &[PathBuf], weights: &Weights) -> Index {
    let checked = check(paths, weights.scope());
    checked.errors.iter().for_each(|error| eprintln!("{error}"));
    checked.index
}

fn listing(counters: &Counters) -> String {
    if counters.counters.is_empty() {
        return format!("no counters in use ({})\n", counters.store);
    }
    let header = ["COUNTER", "USED", "LIMIT", "LEFT", "STARTS OVER IN"];
    let rows: Vec<Vec<String>> = (counters.counters.iter())
        .map(|one| {
            // What only the store knows goes by its digest.
            let name = one.counter.clone().unwrap_or_else(|| format!("{} ({})", one.config, one.digest));
            let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let limit = one.limit.clone().unwrap_or_else(|| "-".to_owned());
            vec![name, number(one.used), limit, number(one.left), format!("{} s", one.resets_in_seconds)]
        })
        .collect();
    let mut text = table(&header, &rows);
    if counters.more {
        text.push_str("… and more; name a --prefix\n");
    }
    text
}
