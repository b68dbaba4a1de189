//! Our own server as a process, on manifests of the test's, and clients that ask it all the time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::transport::{Channel, Endpoint};

use super::servers::{free_port, until};

/// A process that ends with its test.
pub struct Ours {
    process: Child,
    grpc: u16,
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ours {
    /// On the manifests in `folder`, answering on `grpc`, when it is ready.
    pub async fn start(folder: &Path, grpc: u16, args: &[&str]) -> Ours {
        let admin = free_port();
        let process = Command::new(env!("CARGO_BIN_EXE_ratelimit"))
            .arg(folder)
            .args(["--grpc", &format!("127.0.0.1:{grpc}"), "--admin", &format!("127.0.0.1:{admin}")])
            .args(["--log-level", "off", "--redis-budget-ms", "2000"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ours = Ours { process, grpc };
        until("ready", async || is_ready(admin)).await;
        ours
    }

    /// Ends it as SIGKILL does: it has no say in it.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A connection, made when it is needed and again when it has broken.
    pub fn client(&self) -> RateLimitServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.grpc)).unwrap();
        RateLimitServiceClient::new(endpoint.connect_lazy())
    }
}

fn is_ready(admin: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin)) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// One RateLimitConfig `ns.<name>` with these rules; a limit is for a year, so that no window ends during a test.
pub fn manifest(name: &str, descriptors: &str) -> String {
    format!(
        "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: {name}, namespace: ns}}\n\
         spec:\n  raw:\n    descriptors:\n{descriptors}\n    rateLimits:\n    \
         - actions: [{{requestHeaders: {{headerName: user, descriptorKey: user}}}}]\n"
    )
}

/// A rule of so many requests for each user.
pub fn users(limit: u32) -> String {
    format!("    - {{key: user, rateLimit: {{requestsPerUnit: {limit}, unit: YEAR}}}}")
}

/// A request of `user` under `ns.<name>`.
pub fn request(name: &str, user: &str) -> RateLimitRequest {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    let entries = vec![entry("generic_key", &format!("ns.{name}")), entry("user", user)];
    let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
    RateLimitRequest { domain: "solo.io".to_owned(), descriptors, hits_addend: 0 }
}

pub fn passes(answer: &RateLimitResponse) -> bool {
    answer.overall_code == Code::Ok as i32
}

/// Clients that ask for one user of a RateLimitConfig without pause, until they are told to stop.
pub struct Load {
    pub passed: Arc<AtomicU64>,
    pub refused: Arc<AtomicU64>,
    pub failed: Arc<AtomicU64>,
    /// What failed last.
    pub why: Arc<Mutex<Option<tonic::Status>>>,
    stop: Arc<AtomicBool>,
    clients: tokio::task::JoinSet<()>,
}

impl Load {
    pub fn start(client: &RateLimitServiceClient<Channel>, name: &str, clients: usize) -> Load {
        let mut load = Load {
            passed: Arc::default(),
            refused: Arc::default(),
            failed: Arc::default(),
            why: Arc::default(),
            stop: Arc::default(),
            clients: tokio::task::JoinSet::new(),
        };
        for _ in 0..clients {
            let (passed, refused, failed) = (load.passed.clone(), load.refused.clone(), load.failed.clone());
            let (why, stop, mut client, name) = (load.why.clone(), load.stop.clone(), client.clone(), name.to_owned());
            load.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let count = match client.should_rate_limit(request(&name, "ann")).await {
                        Ok(answer) if passes(answer.get_ref()) => &passed,
                        Ok(_) => &refused,
                        Err(status) => {
                            *why.lock().unwrap() = Some(status);
                            &failed
                        }
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    if !Arc::ptr_eq(count, &passed) {
                        // The others have work to do.
                        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                    }
                }
            });
        }
        load
    }

    /// So many have passed, been refused, failed.
    pub fn so_far(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.passed), of(&self.refused), of(&self.failed))
    }

    /// Returns when `n` more have been answered.
    pub async fn answers(&self, n: u64) {
        let answered = || self.so_far().0 + self.so_far().1;
        let enough = answered() + n;
        until("answers", async || answered() >= enough).await;
    }

    /// Stops and returns what it came to.
    pub async fn end(self) -> (u64, u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let Load { clients, passed, refused, failed, .. } = self;
        clients.join_all().await;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&passed), of(&refused), of(&failed))
    }
}
