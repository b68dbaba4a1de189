//! With their environment: what is said when Redis is not what the settings say, and that the ports
//! open when requests can be answered.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::cluster::cluster_of;
use super::sentinel::sentinel;
use super::servers::*;
use super::tls::{certificates, tls_server};

/// A process that ends with its test.
struct Ours {
    process: Child,
    grpc: u16,
    log: PathBuf,
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ours {
    /// With one rule, that of the key `k` in the domain `d`, and this environment besides.
    fn start(dir: &Path, env: &[(&str, &str)]) -> Ours {
        let config = dir.join("config");
        std::fs::create_dir_all(&config).unwrap();
        let rule = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: year, requests_per_unit: 1000000}}]\n";
        std::fs::write(config.join("d.yaml"), rule).unwrap();
        let log = dir.join(format!("log-{}", free_port()));
        let [http, grpc, debug] = [(); 3].map(|()| free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_ratelimit"))
            .env_clear()
            .envs([("BACKEND_TYPE", "redis"), ("USE_STATSD", "false"), ("LOG_LEVEL", "warn"), ("HOST", "127.0.0.1")])
            .envs([("GRPC_HOST", "127.0.0.1"), ("DEBUG_HOST", "127.0.0.1"), ("REDIS_SOCKET_TYPE", "tcp")])
            .envs([
                ("RUNTIME_ROOT", dir.to_str().unwrap()),
                ("RUNTIME_SUBDIRECTORY", ""),
                ("RUNTIME_APPDIRECTORY", "config"),
            ])
            .envs([("RUNTIME_WATCH_ROOT", "false")])
            .envs(env.iter().copied())
            .envs([("PORT", http), ("GRPC_PORT", grpc), ("DEBUG_PORT", debug)].map(|(k, v)| (k, v.to_string())))
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Ours { process, grpc, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log holds `text`.
    async fn says(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A connection as soon as the port is open.
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.grpc)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(_) => assert!(Instant::now() < deadline, "the port was not opened:\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A connection over which is answered by the rules, whatever Redis says: they come from elsewhere, and have nothing to
/// do with it.
async fn answering(ours: &Ours) -> Channel {
    let channel = ours.channel().await;
    until("the rules are read", async || {
        let unread = |status: tonic::Status| status.message().contains("no rate limit configuration loaded");
        !ask(&channel, "first").await.err().is_some_and(unread)
    })
    .await;
    channel
}

async fn ask(channel: &Channel, value: &str) -> Result<(), tonic::Status> {
    let entries = vec![Entry { key: "k".to_owned(), value: value.to_owned() }];
    let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
    let request = RateLimitRequest { domain: "d".to_owned(), descriptors, hits_addend: 0 };
    RateLimitServiceClient::new(channel.clone()).should_rate_limit(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_that_is_taken_for_a_single_server_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = cluster_of(dir.path(), &[], |dir, args| Server::start(dir, free_port(), args)).await;
    let ours = Ours::start(dir.path(), &[("REDIS_URL", &format!("127.0.0.1:{}", nodes[0].port))]);
    let channel = answering(&ours).await;
    let mut said = Vec::new();
    for number in 0..40 {
        said.extend(ask(&channel, &number.to_string()).await.err());
    }
    assert!(!said.is_empty(), "some counters are on another node");
    let cure = "this is a node of a Cluster; write redis+cluster://host:port, or REDIS_TYPE=CLUSTER";
    let explained = |status: &tonic::Status| status.message().contains(cure);
    assert!(said.iter().any(explained), "{said:?}");
    // On a machine that is busy, an answer may also come too late, and says that and nothing else.
    let late = ratelimit::store::StoreError::Late.to_string();
    let other: Vec<_> = said.iter().filter(|status| !explained(status) && status.message() != late).collect();
    assert!(other.is_empty(), "{other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_where_none_is_spoken_and_none_where_it_is_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificates(dir.path(), &["127.0.0.1"]);
    let plain = Server::plain(dir.path()).await;
    let secure = tls_server(dir.path(), dir.path(), "127.0.0.1", &["--tls-auth-clients", "no"]);
    let (plain, secure) = (format!("127.0.0.1:{}", plain.port), (format!("127.0.0.1:{}", secure.port), &secure));
    let ca = ca.to_str().unwrap();
    for env in [vec![("REDIS_TLS", "true"), ("REDIS_TLS_CACERT", ca)], vec![("REDIS_TLS", "true")]] {
        let ours = Ours::start(dir.path(), &[&env[..], &[("REDIS_URL", plain.as_str())]].concat());
        ours.says("name its TLS port, or turn TLS off").await;
    }
    let ours = Ours::start(dir.path(), &[("REDIS_URL", secure.0.as_str())]);
    ours.says("it may want TLS: rediss://, or REDIS_TLS=true").await;
    let right = [("REDIS_URL", secure.0.as_str()), ("REDIS_TLS", "true"), ("REDIS_TLS_CACERT", ca)];
    let ours = Ours::start(dir.path(), &right);
    assert!(ask(&answering(&ours).await, "a").await.is_ok(), "{}", ours.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sentinels_the_ports_open_once_one_has_said_who_the_master_is() {
    let dir = tempfile::tempdir().unwrap();
    let master = Server::start(dir.path(), free_port(), &["--requirepass", "servers"]);
    until("redis-server answers", async || master.cli(&["-a", "servers", "PING"]).ends_with("PONG")).await;
    let sentinel = sentinel(dir.path(), 1, master.port);
    let url = format!("main,127.0.0.1:{}", sentinel.port);
    for _ in 0..3 {
        let logins = [("REDIS_AUTH", "servers"), ("REDIS_SENTINEL_AUTH", "sentinels")];
        let ours = Ours::start(dir.path(), &[&logins[..], &[("REDIS_TYPE", "SENTINEL"), ("REDIS_URL", &url)]].concat());
        let channel = answering(&ours).await;
        for number in 0..50 {
            let answer = ask(&channel, &number.to_string()).await;
            assert!(answer.is_ok(), "request {number}: {answer:?}\n{}", ours.log());
        }
    }
}
