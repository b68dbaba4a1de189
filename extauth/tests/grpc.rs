//! The service over gRPC, as Envoy speaks to it.

use std::sync::Arc;
use std::time::Duration;

use extauth::{Front, Settings};
use proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use provider::StatusBoard;
use runtime::{Addr, Listener, Process, Readiness, Shutdown, Workers};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::support::{bringing, check, one_key, read, snapshot};

struct Running {
    client: AuthorizationClient<Channel>,
    publish: watch::Sender<Arc<api::Snapshot>>,
    board: StatusBoard,
    readiness: Readiness,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
}

async fn start() -> Running {
    start_with(Settings { removed_grace: 0, ..Settings::default() }).await
}

async fn start_with(settings: Settings) -> Running {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("not TCP") };
    let (publish, snapshots) = watch::channel(Arc::new(api::Snapshot::default()));
    let (board, mut process) = (StatusBoard::new(), Process::detached().unwrap());
    let front = Front { listener, tls: None, workers: Some(Workers::start(2).unwrap()) };
    extauth::build(front, &settings, snapshots, board.clone(), &mut process).unwrap();
    let (readiness, shutdown) = (process.readiness().clone(), process.stopping());
    let served = tokio::spawn(process.run());
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { client: AuthorizationClient::new(channel), publish, board, readiness, shutdown, served }
}

impl Running {
    async fn ask(&self, key: &str) -> i32 {
        let request = check(Some("default.keys"), &[("api-key", key)]);
        read(&self.client.clone().check(request).await.unwrap().into_inner()).status
    }

    async fn until(&self, key: &str, status: i32) {
        let reached = async {
            while self.ask(key).await != status {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
    }

    /// Waits until it is ready and has said what it serves, which comes after the first answers.
    async fn until_said(&self) {
        let said = async {
            while !self.readiness.is_ready() || self.board.merged().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), said).await.unwrap();
    }

    async fn stop(self) {
        drop(self.client);
        self.shutdown.begin();
        tokio::time::timeout(Duration::from_secs(20), self.served).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denies_before_the_first_snapshot_then_decides_and_follows() {
    let server = start().await;
    assert_eq!(server.ask("mykey").await, 403);
    assert_eq!(server.readiness.waiting_for(), ["auth configs compiled"]);
    server.publish.send_replace(Arc::new(snapshot(1, &one_key("mykey"))));
    server.until("mykey", 200).await;
    server.until_said().await;
    assert_eq!(server.ask("other").await, 401);
    let said = server.board.merged().into_values().flatten().collect::<Vec<_>>();
    assert_eq!((said[0].0.as_str(), said[0].1.conditions[0].message.as_str()), ("extauth", "1 key from 1 Secret"));
    server.publish.send_replace(Arc::new(snapshot(2, &one_key("newkey"))));
    server.until("newkey", 200).await;
    assert_eq!(server.ask("mykey").await, 401);
    server.publish.send_replace(Arc::new(snapshot(3, "")));
    server.until("newkey", 403).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_request_is_denied_not_failed() {
    let server = start().await;
    server.publish.send_replace(Arc::new(snapshot(1, &one_key("mykey"))));
    server.until("mykey", 200).await;
    let padding = "x".repeat(extauth::service::MOST_REQUEST_BYTES + 1);
    let request = check(Some("default.keys"), &[("api-key", "mykey"), ("padding", &padding)]);
    let answer = server.client.clone().check(request).await.unwrap().into_inner();
    assert_eq!(read(&answer).status, 403);
    assert_eq!(server.ask("mykey").await, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloading_under_load_never_lets_a_wrong_key_pass_nor_fails_a_right_one() {
    let server = start().await;
    server.publish.send_replace(Arc::new(snapshot(1, &one_key("mykey"))));
    server.until("mykey", 200).await;
    let asking = (0..4).map(|worker| {
        let client = server.client.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                let (key, expected) = if worker % 2 == 0 { ("mykey", 200) } else { ("wrong", 401) };
                let request = check(Some("default.keys"), &[("api-key", key)]);
                let answer = client.clone().check(request).await.unwrap().into_inner();
                assert_eq!(read(&answer).status, expected);
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    for revision in 2..60 {
        server.publish.send_replace(Arc::new(snapshot(revision, &one_key("mykey"))));
        tokio::task::yield_now().await;
    }
    for worker in asking {
        worker.await.unwrap();
    }
    server.stop().await;
}

/// Envoy hears of a new name before this server has read it, and asks for the old one for a while after.
#[tokio::test(flavor = "multi_thread")]
async fn renaming_under_load_fails_no_right_key_and_lets_no_wrong_one_pass() {
    // How long a change takes to get here is the machine's matter, not this test's.
    let server = start_with(Settings { unknown_patience: Duration::from_secs(5), ..Settings::default() }).await;
    let named = |revision: u64| one_key("mykey").replace("name: keys}", &format!("name: keys-{revision}}}"));
    server.publish.send_replace(Arc::new(snapshot(1, &named(1))));
    // The control plane waits for the servers, too, before it tells of the next name.
    let reached = async |revision: u64| {
        let known = || check(Some(&format!("default.keys-{revision}")), &[("api-key", "mykey")]);
        while read(&server.client.clone().check(known()).await.unwrap().into_inner()).status != 200 {}
    };
    reached(1).await;
    // What Envoys ask for: one is ahead of this server, the others lag behind.
    let (told, asked_for) = watch::channel(1_u64);
    let asking = (0..6).map(|worker: u64| {
        let (client, asked_for) = (server.client.clone(), asked_for.clone());
        tokio::spawn(async move {
            let mut answers = 0;
            while *asked_for.borrow() < 40 {
                let (key, expected) = if worker.is_multiple_of(2) { ("mykey", 200) } else { ("wrong", 401) };
                let revision = asked_for.borrow().saturating_sub(worker / 2).max(1);
                let request = check(Some(&format!("default.keys-{revision}")), &[("api-key", key)]);
                let answer = client.clone().check(request).await.unwrap().into_inner();
                assert_eq!(read(&answer).status, expected, "{revision}");
                answers += 1;
            }
            answers
        })
    });
    let asking: Vec<_> = asking.collect();
    for revision in 2..=40 {
        told.send_replace(revision);
        tokio::time::sleep(Duration::from_millis(10)).await;
        server.publish.send_replace(Arc::new(snapshot(revision, &named(revision))));
        reached(revision).await;
    }
    for worker in asking {
        assert!(worker.await.unwrap() > 10);
    }
    server.stop().await;
}

/// Envoy hears that an AuthConfig reads another header before this server has read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_brings_what_the_next_version_reads_waits_for_it() {
    let server = start_with(Settings { unknown_patience: Duration::from_secs(20), ..Settings::default() }).await;
    let reading =
        |header: &str| one_key("mykey").replace("{apiKeyAuth: {", &format!("{{apiKeyAuth: {{headerName: {header}, "));
    server.publish.send_replace(Arc::new(snapshot(1, &reading("api-key"))));
    server.until("mykey", 200).await;
    let question = bringing("x-key,x-org", check(Some("default.keys"), &[("x-key", "mykey")]));
    let mut client = server.client.clone();
    let waiting = tokio::spawn(async move { client.check(question).await.unwrap().into_inner() });
    // Questions that can be answered overtake it.
    for _ in 0..50 {
        assert_eq!(server.ask("mykey").await, 200);
    }
    assert!(!waiting.is_finished());
    server.publish.send_replace(Arc::new(snapshot(2, &reading("x-key"))));
    let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_eq!(read(&answer).status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_config_is_forgotten_when_its_time_has_come_though_nothing_else_changes() {
    let server = start_with(Settings { removed_grace: 1, ..Settings::default() }).await;
    server.publish.send_replace(Arc::new(snapshot(1, &one_key("mykey"))));
    server.until("mykey", 200).await;
    let secret = one_key("mykey").split("---").next().unwrap().to_owned();
    server.publish.send_replace(Arc::new(snapshot(2, &secret)));
    let began = std::time::Instant::now();
    assert_eq!(server.ask("mykey").await, 200);
    server.until("mykey", 403).await;
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    server.stop().await;
}

/// As Envoy does, whose patience is in `grpc-timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_takes_too_long_to_check_is_denied_in_time() {
    let server = start().await;
    let slow = "$argon2id$v=19$m=65536,t=10,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAA";
    let yaml = format!(
        "{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: keys}}, spec: {{configs: [{{basicAuth: {{encryption: {{argon2: {{}}}}, userList: {{users: {{u: {{hashedPassword: {slow:?}}}}}}}}}}}]}}}}"
    );
    server.publish.send_replace(Arc::new(snapshot(1, &yaml)));
    server.until("", 401).await;
    let mut request = tonic::Request::new(check(Some("default.keys"), &[("authorization", "Basic dTpw")]));
    request.set_timeout(Duration::from_millis(1600));
    let answer = server.client.clone().check(request).await.unwrap().into_inner();
    assert_eq!(read(&answer).status, 503);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_declaring_anything_any_more_is_the_reason_to_exit() {
    let Running { publish, served, client: _client, .. } = start().await;
    drop(publish);
    let why = tokio::time::timeout(Duration::from_secs(20), served).await.unwrap().unwrap().unwrap_err();
    assert_eq!(format!("{why:#}"), "auth configs failed: nobody reads what is declared any more");
}
