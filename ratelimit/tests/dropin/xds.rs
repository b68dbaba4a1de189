//! Configuration from a management server, which here is a few lines of our own.

use std::pin::Pin;
use std::sync::Arc;

use prost::Message as _;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server as server;
use proto::google::protobuf::Any;
use proto::ratelimit::config::ratelimit::v3 as pb_config;
use ratelimit::dropin::xds::TYPE_URL;
use rcgen::{CertifiedIssuer, KeyPair};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::process::{Ours, ask, limit, until};
use crate::tls::{authority, leaf, put};

type Heard = (pb::DiscoveryRequest, Option<String>);
type Sent = mpsc::Receiver<pb::DiscoveryResponse>;

/// Sends what it is told to; hands on what it hears.
#[derive(Clone)]
struct Manager {
    to_send: Arc<Mutex<Option<Sent>>>,
    heard: mpsc::Sender<Heard>,
}

type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl server::AggregatedDiscoveryService for Manager {
    type StreamAggregatedResourcesStream = Stream<pb::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Stream<pb::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let header = request.metadata().get("x-tenant").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut requests = request.into_inner();
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let _ = heard.send((request, header.clone())).await;
            }
        });
        let to_send = self.to_send.lock().await.take().ok_or_else(|| Status::unavailable("one stream is enough"))?;
        let responses = tokio_stream::StreamExt::map(ReceiverStream::new(to_send), Ok);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}

fn resource(domain: &str, unit: i32, requests_per_unit: u32) -> Any {
    let policy = pb_config::RateLimitPolicy { unit, requests_per_unit, ..Default::default() };
    let config = pb_config::RateLimitConfig {
        name: format!("config-{domain}"),
        domain: domain.to_owned(),
        descriptors: vec![pb_config::RateLimitDescriptor {
            key: "k".to_owned(),
            rate_limit: Some(policy),
            ..Default::default()
        }],
    };
    Any { type_url: TYPE_URL.to_owned(), value: config.encode_to_vec() }
}

fn version(version: &str, resources: Vec<Any>) -> pb::DiscoveryResponse {
    pb::DiscoveryResponse {
        version_info: version.to_owned(),
        nonce: format!("nonce-{version}"),
        type_url: TYPE_URL.to_owned(),
        resources,
        ..Default::default()
    }
}

/// A management server that sends what it is given, and where it listens.
async fn manager() -> (mpsc::Sender<pb::DiscoveryResponse>, mpsc::Receiver<Heard>, String) {
    let (sender, hears, at, _) = manager_at("127.0.0.1:0", None).await;
    (sender, hears, at)
}

/// A management server at `address`, with TLS if it is to have that, and what accepts there.
async fn manager_at(
    address: &str,
    tls: Option<ServerTlsConfig>,
) -> (mpsc::Sender<pb::DiscoveryResponse>, mpsc::Receiver<Heard>, String, JoinHandle<()>) {
    let (sender, to_send) = mpsc::channel(4);
    let (heard, hears) = mpsc::channel(16);
    let manager = Manager { to_send: Arc::new(Mutex::new(Some(to_send))), heard };
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let mut builder = tonic::transport::Server::builder();
    if let Some(tls) = tls {
        builder = builder.tls_config(tls).unwrap();
    }
    let serving = builder.add_service(server::AggregatedDiscoveryServiceServer::new(manager));
    let accepting = tokio::spawn(async move {
        serving.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    (sender, hears, at, accepting)
}

/// An authority in a file of PEM, and a server's certificate with its key.
fn authority_and_identity(file: &std::path::Path) -> ServerTlsConfig {
    let authority = authority("an authority");
    std::fs::write(file, authority.pem()).unwrap();
    manager_by(&authority)
}

/// With a certificate signed by `authority`.
fn manager_by(authority: &CertifiedIssuer<'static, KeyPair>) -> ServerTlsConfig {
    let (certificate, key) = leaf(authority, "manager");
    ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_file_of_authorities_is_read_for_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let identity = authority_and_identity(&ca);
    let (sender, mut hears, at, accepting) = manager_at("127.0.0.1:0", Some(identity)).await;
    let _ours = Ours::start(&[
        ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
        ("CONFIG_GRPC_XDS_SERVER_URL", &at),
        ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
        ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", ca.to_str().unwrap()),
        ("CONFIG_GRPC_XDS_SERVER_TLS_SAN", "manager"),
        ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "100ms"),
    ]);
    hears.recv().await.unwrap();
    accepting.abort();
    let _ = accepting.await;
    let identity = authority_and_identity(&ca);
    let (_sender, mut hears, ..) = manager_at(&at, Some(identity)).await;
    drop(sender);
    until("a connection to the server with the new certificate", async || hears.recv().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_client_certificate_is_shown_at_the_next_connection_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (servers, first, second) = (authority("servers"), authority("first"), authority("second"));
    std::fs::write(file("ca.pem"), servers.pem()).unwrap();
    put(folder.path(), &leaf(&first, "ratelimit"));
    let trusting = |clients: &CertifiedIssuer<'static, KeyPair>| {
        Some(manager_by(&servers).client_ca_root(Certificate::from_pem(clients.pem())))
    };
    let (sender, mut hears, at, accepting) = manager_at("127.0.0.1:0", trusting(&first)).await;
    let env = [
        ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
        ("CONFIG_GRPC_XDS_SERVER_URL", &at),
        ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
        ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", &file("ca.pem")),
        ("CONFIG_GRPC_XDS_SERVER_TLS_SAN", "manager"),
        ("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", &file("tls.crt")),
        ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", &file("tls.key")),
        ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "100ms"),
    ];
    let _ours = Ours::logging(&env, std::fs::File::create(file("log")).unwrap());
    hears.recv().await.unwrap();
    let log = || std::fs::read_to_string(file("log")).unwrap();

    std::fs::write(file("tls.crt"), "broken").unwrap();
    accepting.abort();
    let _ = accepting.await;
    let (next, mut hears, _, accepting) = manager_at(&at, trusting(&first)).await;
    drop(sender);
    until("a connection with the last good one", async || hears.recv().await).await;
    assert_eq!(log().matches("the last good ones serve on").count(), 1, "{}", log());

    put(folder.path(), &leaf(&second, "ratelimit"));
    accepting.abort();
    let _ = accepting.await;
    let (last, mut hears, _, accepting) = manager_at(&at, trusting(&second)).await;
    drop(next);
    until("a connection with the new one", async || hears.recv().await).await;

    accepting.abort();
    let _ = accepting.await;
    let (_stranger, mut hears, ..) = manager_at(&at, Some(manager_by(&authority("strangers")))).await;
    drop(last);
    let said = "none of the authorities that are trusted signed the server's certificate";
    until("what is wrong is said", async || log().contains(said).then_some(())).await;
    assert!(hears.try_recv().is_err(), "nothing is asked of a stranger");
}

/// A server that sends the same again as soon as it was refused, as some do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_again_and_again_is_answered_later_and_later_and_logged_once() {
    let (sender, mut hears, at) = manager().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let env = [("CONFIG_TYPE", "GRPC_XDS_SOTW"), ("CONFIG_GRPC_XDS_SERVER_URL", at.as_str()), ("LOG_LEVEL", "warn")];
    let _ours = Ours::logging(&env, std::fs::File::create(&log).unwrap());
    hears.recv().await.unwrap();
    let logged = |domain: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains(&format!("config-{domain}"))).count()
    };
    let mut number = 0;
    let mut pauses = Vec::new();
    for (domain, times) in [("bad", 5), ("worse", 2)] {
        for _ in 0..times {
            number += 1;
            let sent = std::time::Instant::now();
            sender.send(version(&number.to_string(), vec![resource(domain, 0, 9)])).await.unwrap();
            let (nack, _) = hears.recv().await.unwrap();
            assert!(nack.error_detail.is_some(), "{nack:?}");
            pauses.push(sent.elapsed().as_millis());
        }
    }
    for (pause, least) in pauses.iter().zip([0, 100, 200, 400, 800, 1600, 3200]) {
        assert!(*pause + 20 >= least, "{pauses:?}");
    }
    assert_eq!((logged("bad"), logged("worse")), (1, 1), "{}", std::fs::read_to_string(&log).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_served_and_a_bad_one_is_refused_by_name_alone() {
    let (sender, mut hears, at) = manager().await;
    let ours = Ours::start(&[
        ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
        ("CONFIG_GRPC_XDS_SERVER_URL", &at),
        ("CONFIG_GRPC_XDS_NODE_ID", "tester"),
        ("CONFIG_GRPC_XDS_NODE_METADATA", "zone=a"),
        ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "x-tenant:me"),
        ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "100ms"),
    ]);
    let channel = ours.channel().await;
    let (first, tenant) = hears.recv().await.unwrap();
    assert_eq!((first.type_url.as_str(), tenant.as_deref()), (TYPE_URL, Some("me")));
    let node = first.node.unwrap();
    assert_eq!((node.id.as_str(), node.metadata.unwrap().fields.len()), ("tester", 1));
    let none = ask(&channel, "a", "k").await.unwrap_err();
    assert_eq!((none.code(), none.message()), (tonic::Code::Unknown, "no rate limit configuration loaded"));

    sender.send(version("1", vec![resource("a", 4, 3), resource("b", 4, 3)])).await.unwrap();
    let (ack, _) = hears.recv().await.unwrap();
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str(), ack.error_detail), ("1", "nonce-1", None));
    assert_eq!(limit(&channel, "a", "k").await, Some(3));

    sender.send(version("2", vec![resource("a", 0, 9), resource("b", 4, 9)])).await.unwrap();
    let (nack, _) = hears.recv().await.unwrap();
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "nonce-2"));
    let why = nack.error_detail.unwrap().message;
    assert!(why.contains("config-a") && why.contains("invalid rate limit unit 'UNKNOWN'"), "{why}");
    assert!(!why.contains("config-b"), "{why}");
    assert_eq!(limit(&channel, "a", "k").await, Some(3), "the last good version");
    assert_eq!(limit(&channel, "b", "k").await, Some(9), "harmed by nobody");

    drop(sender);
    let again = until("asking again", async || hears.recv().await).await;
    assert_eq!(again.0.response_nonce, "", "a new stream");
    assert_eq!(limit(&channel, "b", "k").await, Some(9), "served meanwhile");
}
