//! The service over gRPC, as Envoy speaks to it.

use std::sync::Arc;
use std::time::Duration;

use extauth::Settings;
use proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use provider::StatusBoard;
use runtime::{Addr, Listener, Readiness, Shutdown};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::support::{check, one_key, read, snapshot};

struct Running {
    client: AuthorizationClient<Channel>,
    publish: watch::Sender<Arc<api::Snapshot>>,
    board: StatusBoard,
    readiness: Readiness,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
}

async fn start() -> Running {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("not TCP") };
    let (publish, snapshots) = watch::channel(Arc::new(api::Snapshot::default()));
    let (board, readiness, shutdown) = (StatusBoard::new(), Readiness::new(), Shutdown::new());
    let served = tokio::spawn({
        let (board, readiness, shutdown) = (board.clone(), readiness.clone(), shutdown.clone());
        async move { extauth::serve(listener, None, &Settings::default(), snapshots, board, readiness, shutdown).await }
    });
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
    assert!(server.readiness.is_ready());
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
