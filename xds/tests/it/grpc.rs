//! The service over a Unix socket, with a real gRPC client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::ResourceType::{Cluster, Route};
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use runtime::{Addr, Listener, Readiness, Shutdown};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Streaming};
use xds::{Authorizer, Hub, Options, Service};

use crate::support::{ack, set, show, subscribe, target};

const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `hub` on a Unix socket until `shutdown`.
pub async fn serve(hub: &Hub, socket: &Path, shutdown: &Shutdown) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    let service = Service::new(hub.clone(), Authorizer::local(), Options::default(), shutdown.clone());
    let routes = tonic::service::Routes::new(service.into_server());
    let listener = Listener::bind(&Addr::Unix(socket.to_owned())).await.unwrap();
    tokio::spawn(runtime::grpc::serve(listener, routes, Default::default(), Readiness::new(), shutdown.clone()))
}

async fn connect(socket: &Path) -> AggregatedDiscoveryServiceClient<Channel> {
    let path = Arc::new(socket.to_owned());
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path.as_path()).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://xds").connect_with_connector(connector).await.unwrap();
    AggregatedDiscoveryServiceClient::new(channel)
}

struct Stream {
    requests: mpsc::Sender<pb::DeltaDiscoveryRequest>,
    responses: Streaming<pb::DeltaDiscoveryResponse>,
}

impl Stream {
    async fn open(socket: &Path, node: &str) -> Stream {
        let (requests, stream) = mpsc::channel(8);
        let node = Node { id: node.to_owned(), ..Default::default() };
        requests.send(pb::DeltaDiscoveryRequest { node: Some(node), ..subscribe(Cluster, &[]) }).await.unwrap();
        let responses = connect(socket).await.delta_aggregated_resources(ReceiverStream::new(stream)).await;
        Stream { requests, responses: responses.unwrap().into_inner() }
    }

    async fn next(&mut self) -> Result<Option<pb::DeltaDiscoveryResponse>, tonic::Status> {
        timeout(PATIENCE, self.responses.message()).await.unwrap()
    }
}

#[tokio::test]
async fn a_client_is_served_its_nodes_resources_waits_for_them_and_is_drained() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("xds.sock");
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let server = serve(&hub, &socket, &shutdown).await;
    hub.set("other", target(set(&[(Cluster, "theirs", "1")]), 1));

    let mut stream = Stream::open(&socket, "shop~gateway").await;
    hub.set("shop~gateway", target(set(&[(Cluster, "ours", "1"), (Route, "r", "1")]), 2));
    let response = stream.next().await.unwrap().unwrap();
    assert_eq!(show(&response), "Cluster +ours@1");
    stream.requests.send(ack(&response)).await.unwrap();
    stream.requests.send(subscribe(proto::ResourceType::Listener, &[])).await.unwrap();
    let response = stream.next().await.unwrap().unwrap();
    stream.requests.send(ack(&response)).await.unwrap();
    stream.requests.send(subscribe(Route, &["r"])).await.unwrap();
    let response = stream.next().await.unwrap().unwrap();
    assert_eq!(show(&response), "Route +r@1");
    stream.requests.send(ack(&response)).await.unwrap();

    let mut acks = hub.watch_acks();
    let there = |acks: &xds::Acks| acks["shop~gateway"].sessions == 1 && acks["shop~gateway"].generation == 2;
    timeout(PATIENCE, acks.wait_for(there)).await.unwrap().unwrap();

    shutdown.begin();
    assert!(matches!(stream.next().await, Ok(None)), "a drained stream ends");
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_has_nothing_is_sent_first_what_it_is_sure_to_take() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("xds.sock");
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let _server = serve(&hub, &socket, &shutdown).await;
    let first = Some(set(&[(Cluster, "c", "sure")]));
    hub.set("a", xds::Target { first, ..target(set(&[(Cluster, "c", "tried")]), 5) });
    let listeners = || subscribe(proto::ResourceType::Listener, &[]);
    let reached = |generation: u64| {
        let mut acks = hub.watch_acks();
        async move {
            let found = acks.wait_for(|acks| acks["a"].generation == generation);
            timeout(PATIENCE, found).await.unwrap().unwrap().len()
        }
    };

    let mut fresh = Stream::open(&socket, "a").await;
    let sure = fresh.next().await.unwrap().unwrap();
    assert_eq!(show(&sure), "Cluster +c@sure");
    fresh.requests.send(ack(&sure)).await.unwrap();
    fresh.requests.send(listeners()).await.unwrap();
    let none = fresh.next().await.unwrap().unwrap();
    fresh.requests.send(ack(&none)).await.unwrap();
    let tried = fresh.next().await.unwrap().unwrap();
    assert_eq!(show(&tried), "Cluster +c@tried", "then what everybody is sent");
    assert_eq!(hub.watch_acks().borrow()["a"].generation, 4, "it has not answered that");
    fresh.requests.send(ack(&tried)).await.unwrap();
    reached(5).await;
    // It has something now.
    let first = Some(set(&[(Cluster, "c", "sure")]));
    hub.set("a", xds::Target { first, ..target(set(&[(Cluster, "c", "next")]), 6) });
    let next = fresh.next().await.unwrap().unwrap();
    assert_eq!(show(&next), "Cluster +c@next");
    drop(fresh);

    // So has one that comes back with what it was sent by another.
    let has = [("c".to_owned(), "old".to_owned())].into_iter().collect();
    let node = Some(Node { id: "a".to_owned(), ..Default::default() });
    let (requests, stream) = mpsc::channel(8);
    let hello = pb::DeltaDiscoveryRequest { node, initial_resource_versions: has, ..subscribe(Cluster, &[]) };
    requests.send(hello).await.unwrap();
    let responses = connect(&socket).await.delta_aggregated_resources(ReceiverStream::new(stream)).await;
    let mut back = Stream { requests, responses: responses.unwrap().into_inner() };
    assert_eq!(show(&back.next().await.unwrap().unwrap()), "Cluster +c@next");
}

#[tokio::test]
async fn while_it_is_anothers_turn_streams_are_turned_away_and_those_there_are_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("xds.sock");
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let (ours, turn) = tokio::sync::watch::channel(true);
    let service = Service::new(hub.clone(), Authorizer::local(), Options::default(), shutdown.clone());
    let routes = tonic::service::Routes::new(service.while_it_is_our_turn(Some(turn)).into_server());
    let listener = Listener::bind(&Addr::Unix(socket.clone())).await.unwrap();
    tokio::spawn(runtime::grpc::serve(listener, routes, Default::default(), Readiness::new(), shutdown));
    hub.set("a", target(set(&[(Cluster, "c", "1")]), 1));

    let mut stream = Stream::open(&socket, "a").await;
    assert_eq!(show(&stream.next().await.unwrap().unwrap()), "Cluster +c@1");
    ours.send_replace(false);
    assert!(matches!(stream.next().await, Ok(None)), "it ends");
    let requests = tokio_stream::empty::<pb::DeltaDiscoveryRequest>();
    let refused = connect(&socket).await.delta_aggregated_resources(requests).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    ours.send_replace(true);
    assert!(Stream::open(&socket, "a").await.next().await.unwrap().is_some());
}

#[tokio::test]
async fn a_stranger_and_the_whole_state_protocol_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("xds.sock");
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let _server = serve(&hub, &socket, &shutdown).await;
    let refused = Stream::open(&socket, "").await.next().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let requests = tokio_stream::empty::<pb::DiscoveryRequest>();
    let refused = connect(&socket).await.stream_aggregated_resources(requests).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("DELTA_GRPC"));
}
