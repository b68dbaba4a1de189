//! The peer, ours and Redis as processes of their own.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::envoy::service::ratelimit::v3 as pb;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use waykeeper_tests::free_port;

/// Where ours counts.
#[derive(Debug, Clone, Copy)]
pub enum Backend {
    Memory,
    Redis,
}

/// A process that is killed with its handle.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of the servers.
pub struct Server {
    pub name: String,
    _process: Process,
    http: u16,
    debug: u16,
    prometheus: u16,
    client: RateLimitServiceClient<Channel>,
}

/// The peer and ours, on the same files.
pub struct Servers {
    pub peer: Server,
    pub ours: Vec<Server>,
    _redis: Process,
    _folder: TempDir,
}

fn peer_binary() -> PathBuf {
    let path = std::env::var_os("RATELIMIT_PEER").map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/ratelimit-peer"));
    assert!(
        path.is_file(),
        "no envoyproxy/ratelimit at {}: run scripts/tools.sh ratelimit-peer, or set RATELIMIT_PEER",
        path.display()
    );
    path
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Servers {
    /// Starts the peer and one of ours for each of `backends`.
    pub async fn start(files: &BTreeMap<String, String>, env: &[(&str, &str)], backends: &[Backend]) -> Servers {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("app/config");
        std::fs::create_dir_all(&config).unwrap();
        for (name, text) in files {
            std::fs::write(config.join(name), text).unwrap();
        }
        let port = free_port();
        let redis = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .map(Process)
            .expect("redis-server is missing: run scripts/tools.sh redis");
        wait_for("Redis", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let redis_url = format!("127.0.0.1:{port}");
        let common = [
            ("RUNTIME_ROOT", folder.path().to_str().unwrap()),
            ("RUNTIME_SUBDIRECTORY", "app"),
            ("REDIS_SOCKET_TYPE", "tcp"),
            ("REDIS_URL", &redis_url),
            ("REDIS_BUDGET_MS", "5000"),
            ("USE_STATSD", "false"),
            ("USE_PROMETHEUS", "true"),
            ("STATS_FLUSH_INTERVAL", "1s"),
            ("LOG_LEVEL", "error"),
            ("HOST", "127.0.0.1"),
            ("GRPC_HOST", "127.0.0.1"),
            ("DEBUG_HOST", "127.0.0.1"),
        ];
        let env: Vec<(&str, &str)> = common.into_iter().chain(env.iter().copied()).collect();
        let peer = Server::start("peer", &peer_binary(), &env).await;
        let mut ours = Vec::new();
        for backend in backends {
            let kind = match backend {
                Backend::Memory => "memory",
                Backend::Redis => "redis",
            };
            let env: Vec<_> = env.iter().copied().chain([("BACKEND_TYPE", kind)]).collect();
            ours.push(Server::start(kind, Path::new(env!("CARGO_BIN_EXE_ratelimit")), &env).await);
        }
        Servers { peer, ours, _redis: redis, _folder: folder }
    }
}

impl Server {
    async fn start(name: &str, binary: &Path, env: &[(&str, &str)]) -> Server {
        let [http, grpc, debug, prometheus] = [(); 4].map(|()| free_port());
        let process = Command::new(binary)
            .env_clear()
            .envs(env.iter().copied())
            .env("PORT", http.to_string())
            .env("GRPC_PORT", grpc.to_string())
            .env("DEBUG_PORT", debug.to_string())
            .env("PROMETHEUS_ADDR", format!("127.0.0.1:{prometheus}"))
            .stdout(Stdio::null())
            .stderr(if name == "peer" { Stdio::null() } else { Stdio::inherit() })
            .spawn()
            .map(Process)
            .unwrap();
        wait_for(&format!("health of {name}"), || {
            [http, grpc, debug, prometheus].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
                && get(http, "/healthcheck").0 == 200
        });
        let channel = Channel::from_shared(format!("http://127.0.0.1:{grpc}")).unwrap().connect().await.unwrap();
        let client = RateLimitServiceClient::new(channel);
        Server { name: name.to_owned(), _process: process, http, debug, prometheus, client }
    }

    /// Asks by gRPC.
    pub async fn ask(&self, request: pb::RateLimitRequest) -> Result<pb::RateLimitResponse, (tonic::Code, String)> {
        let answer = self.client.clone().should_rate_limit(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| (status.code(), status.message().to_owned()))
    }

    /// Asks by HTTP: the status and the body.
    pub fn json(&self, body: &str) -> (u16, String) {
        exchange(self.http, &format!("POST /json HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// A page of the debug port.
    pub fn debug(&self, path: &str) -> String {
        get(self.debug, path).1
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        get(self.prometheus, "/metrics").1
    }
}

fn get(port: u16, path: &str) -> (u16, String) {
    exchange(port, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

fn exchange(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}
