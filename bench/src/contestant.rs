//! Who is compared, and how each is started.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::message::{Dialect, Messages, Set, Shape};
use crate::rules::Files;
use waykeeper_bench::load::{self, Load, Stop};
use waykeeper_bench::process::{Process, free_address};

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(20);

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// This one, for the server that does nothing.
    pub bench: PathBuf,
    /// Ours.
    pub ours: PathBuf,
    /// envoyproxy/ratelimit.
    pub peer: PathBuf,
    /// Whose rules ours reads when it counts in Redis.
    pub dialect: Dialect,
    /// Settings of the peer beyond its defaults.
    pub peer_env: Vec<(String, String)>,
}

/// Who is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contestant {
    /// tonic, answering OK at once.
    Noop,
    /// Ours, counting in memory.
    Memory,
    /// Ours, counting in Redis.
    Redis,
    /// envoyproxy/ratelimit, counting in Redis.
    Peer,
}

impl Contestant {
    /// All, in the order of the table.
    pub const ALL: [Contestant; 4] = [Contestant::Noop, Contestant::Memory, Contestant::Redis, Contestant::Peer];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Noop => "no-op",
            Contestant::Memory => "ours, memory",
            Contestant::Redis => "ours, Redis",
            Contestant::Peer => "peer, Redis",
        }
    }
}

/// A server that answers as it should.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Where it serves gRPC.
    pub address: SocketAddr,
    /// What requests to it look like.
    pub dialect: Dialect,
}

impl Server {
    /// Starts `who` and waits until it answers, and answers rightly.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(
        who: Contestant,
        programs: &Programs,
        files: &Files,
        redis: SocketAddr,
        work: &Path,
    ) -> anyhow::Result<Server> {
        // Between our finding a free port and a server's taking it, somebody else may have.
        let taken = |error: &anyhow::Error| format!("{error:#}").to_lowercase().contains("address already in use");
        match Server::try_start(who, programs, files, redis, work) {
            Err(error) if taken(&error) => Server::try_start(who, programs, files, redis, work),
            started => started,
        }
    }

    fn try_start(
        who: Contestant,
        programs: &Programs,
        files: &Files,
        redis: SocketAddr,
        work: &Path,
    ) -> anyhow::Result<Server> {
        let (address, web, debug) = (free_address()?, free_address()?, free_address()?);
        let (mut command, dialect) = match who {
            Contestant::Noop => {
                let mut command = Command::new(&programs.bench);
                command.arg("noop").arg(address.to_string());
                (command, Dialect::Envoy)
            }
            Contestant::Redis if programs.dialect == Dialect::Envoy => {
                (as_envoys(&programs.ours, files, redis, [address, web, debug]), Dialect::Envoy)
            }
            Contestant::Memory | Contestant::Redis => {
                let mut command = Command::new(&programs.ours);
                command.env_clear().args(["--grpc", &address.to_string(), "--admin", &web.to_string()]);
                command.args(["--counters", "20000000", "--log-level", "warn"]);
                if who == Contestant::Redis {
                    command.arg("--redis").arg(format!("redis://{redis}"));
                }
                command.arg(&files.objects);
                (command, Dialect::Gloo)
            }
            Contestant::Peer => {
                let mut command = as_envoys(&programs.peer, files, redis, [address, web, debug]);
                command.envs(programs.peer_env.iter().cloned());
                (command, Dialect::Envoy)
            }
        };
        let log = work.join("server.log");
        let process = Process::start(&mut command, &log)?;
        let server = Server { process, address, dialect };
        server.wait(who).with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("{} is not ready; it said: {}", who.name(), said.get(..2000).unwrap_or(&said))
        })?;
        Ok(server)
    }

    /// Waits until a request is let through, and asks for one to be refused.
    fn wait(&self, who: Contestant) -> anyhow::Result<()> {
        let began = Instant::now();
        let once = Load { connections: 1, streams: 1, stop: Stop::Calls(1) };
        let shape = |refused_in_ten| Shape {
            descriptors: 1,
            keys: 1,
            rules: 1,
            refused_in_ten,
            set: Set::Open,
            counting: false,
        };
        let ask = |refused| load::drive(self.address, once, &Messages::new(shape(refused), self.dialect, 1));
        loop {
            if self.process.has_ended() {
                bail!("it ended");
            }
            // The peer serves while it has no rules yet, and lets all pass: only a refusal tells that it is ready.
            if let (Ok(pass), Ok(refuse)) = (ask(0), ask(10))
                && pass.failed == 0
                && pass.refused == 0
                && (refuse.refused == 1 || who == Contestant::Noop)
            {
                return Ok(());
            }
            ensure!(began.elapsed() < START, "no proper answer in {START:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// As envoyproxy/ratelimit is started.
fn as_envoys(program: &Path, files: &Files, redis: SocketAddr, ports: [SocketAddr; 3]) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for (name, address) in ["GRPC_", "", "DEBUG_"].into_iter().zip(ports) {
        command.env(format!("{name}HOST"), address.ip().to_string());
        command.env(format!("{name}PORT"), address.port().to_string());
    }
    command.env("RUNTIME_ROOT", &files.root).envs([
        ("RUNTIME_SUBDIRECTORY", "rules"),
        ("RUNTIME_WATCH_ROOT", "false"),
        ("BACKEND_TYPE", "redis"),
        ("REDIS_SOCKET_TYPE", "tcp"),
        ("REDIS_URL", &redis.to_string()),
        ("USE_STATSD", "false"),
        ("LOG_LEVEL", "error"),
    ]);
    command
}

/// A Redis of our own.
#[derive(Debug)]
pub struct RedisServer {
    /// Its process.
    pub process: Process,
    /// Where it is.
    pub address: SocketAddr,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(work: &Path) -> anyhow::Result<RedisServer> {
        let address = free_address()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &address.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--maxmemory-policy", "noeviction", "--dir"]).arg(work);
        let process = Process::start(&mut command, &work.join("redis.log"))?;
        let redis = RedisServer { process, address };
        let began = Instant::now();
        while redis.ask("PING").is_err() {
            ensure!(began.elapsed() < START && !redis.process.has_ended(), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.ask("FLUSHALL").map(drop)
    }

    /// How many keys there are, and how many of them will end.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn keys(&self) -> anyhow::Result<(u64, u64)> {
        let told = self.ask("INFO keyspace")?;
        let number = |name: &str| -> u64 {
            let after = told.split(name).nth(1).unwrap_or_default();
            after.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        Ok((number("keys="), number("expires=")))
    }

    fn ask(&self, command: &str) -> anyhow::Result<String> {
        let mut socket = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = [0; 4096];
        let read = socket.read(&mut answer)?;
        let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned();
        ensure!(!answer.is_empty() && !answer.starts_with('-'), "{command}: {answer}");
        Ok(answer)
    }
}
