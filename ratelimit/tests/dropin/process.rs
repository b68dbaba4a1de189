//! Our binary with their environment.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::transport::Channel;
use waykeeper_tests::free_port;

/// A process of ours, killed with its handle.
pub struct Ours {
    process: Child,
    pub grpc: u16,
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ours {
    pub fn start(env: &[(&str, &str)]) -> Ours {
        Self::logging(env, Stdio::null())
    }

    /// The same, with what it logs going to `log`.
    pub fn logging(env: &[(&str, &str)], log: impl Into<Stdio>) -> Ours {
        let [http, grpc, debug] = [(); 3].map(|()| free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_ratelimit"))
            .env_clear()
            .envs([("BACKEND_TYPE", "memory"), ("USE_STATSD", "false"), ("LOG_LEVEL", "error"), ("HOST", "127.0.0.1")])
            .envs([("GRPC_HOST", "127.0.0.1"), ("DEBUG_HOST", "127.0.0.1")])
            .envs(env.iter().copied())
            .envs([("PORT", http), ("GRPC_PORT", grpc), ("DEBUG_PORT", debug)].map(|(k, v)| (k, v.to_string())))
            .stderr(log)
            .spawn()
            .unwrap();
        let ours = Ours { process, grpc };
        let open = || [http, grpc, debug].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !open() {
            assert!(Instant::now() < deadline, "the ports were not opened");
            std::thread::sleep(Duration::from_millis(20));
        }
        ours
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://127.0.0.1:{}", self.grpc)).unwrap().connect().await.unwrap()
    }
}

pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks for `key` in `domain`.
pub async fn ask(channel: &Channel, domain: &str, key: &str) -> Result<RateLimitResponse, tonic::Status> {
    let descriptors = vec![RateLimitDescriptor {
        entries: vec![Entry { key: key.to_owned(), value: String::new() }],
        ..Default::default()
    }];
    let request = RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 0 };
    Ok(RateLimitServiceClient::new(channel.clone()).should_rate_limit(request).await?.into_inner())
}

/// The limit in the answer for `key` in `domain`.
pub async fn limit(channel: &Channel, domain: &str, key: &str) -> Option<u32> {
    let response = ask(channel, domain, key).await.ok()?;
    response.statuses.first()?.current_limit.as_ref().map(|limit| limit.requests_per_unit)
}

pub fn write(folder: &Path, name: &str, requests: &str) {
    let text =
        format!("domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: year, requests_per_unit: {requests}}}}}]\n");
    std::fs::write(folder.join(name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_file_takes_effect_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("app/config");
    std::fs::create_dir_all(&config).unwrap();
    write(&config, "a.yaml", "5");
    let root = folder.path().to_str().unwrap();
    let ours = Ours::start(&[("RUNTIME_ROOT", root), ("RUNTIME_SUBDIRECTORY", "app")]);
    let channel = ours.channel().await;
    until("the file", async || limit(&channel, "d", "k").await.filter(|limit| *limit == 5)).await;
    write(&config, "a.yaml", "-1");
    std::fs::write(
        config.join("b.yaml"),
        "domain: e\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 7}}]",
    )
    .unwrap();
    until("the other file", async || limit(&channel, "e", "k").await.filter(|limit| *limit == 7)).await;
    assert_eq!(limit(&channel, "d", "k").await, Some(5), "the last good version");
    write(&config, "a.yaml", "6");
    until("the cure", async || limit(&channel, "d", "k").await.filter(|limit| *limit == 6)).await;
    let unknown = ask(&channel, "", "k").await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (tonic::Code::Unknown, "rate limit domain must not be empty"));
}

#[test]
fn every_mistake_in_the_environment_is_told_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_ratelimit"))
        .env_clear()
        .envs([("RUNTIME_ROOT", "/nowhere"), ("GRPC_PORT", "many"), ("SHADOW_MODE", "so so"), ("REDIS_AUTH", "canary")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for name in ["GRPC_PORT", "SHADOW_MODE", "RUNTIME_SUBDIRECTORY"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
    }
    assert!(!text.contains("canary"));
}

#[test]
fn every_mistake_in_a_mapping_file_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mapping.yaml");
    std::fs::write(&file, "mappings:\n- {match: 'a.*', name: '9'}\n- {match: 'a(', match_type: regex, name: a}\n")
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ratelimit"))
        .env_clear()
        .envs([("RUNTIME_ROOT", "/nowhere"), ("RUNTIME_SUBDIRECTORY", "x"), ("USE_STATSD", "false")])
        .envs([("USE_PROMETHEUS", "true"), ("BACKEND_TYPE", "memory")])
        .env("PROMETHEUS_MAPPER_YAML", &file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for mistake in ["PROMETHEUS_MAPPER_YAML", "mapping.yaml: mappings[0].name", "mapping.yaml: mappings[1].match"] {
        assert!(text.contains(mistake), "{mistake}: {text}");
    }
}
