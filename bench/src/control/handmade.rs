//! The measure for Envoy's memory: an Envoy of the same version with a configuration written by hand for the
//! same services. One listener, a scope of routes for each address, a cluster and endpoints for each
//! Service, by delta ADS; no policies, no filters but the router.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use prost::{Message, Name};
use proto::envoy::config::cluster::v3 as cluster;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::config::route::v3 as route;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::google::protobuf::{Any, Duration as Seconds};
use tempfile::TempDir;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use waykeeper_bench::process::{Process, free_address};

/// What tells one service from another here: the address, in a header.
const KEY: &str = "x-at";

/// How much memory an Envoy takes for `services`, each answered by `backend`.
///
/// # Errors
/// When it does not serve all of them within `patience`.
pub fn resident(envoy: &Path, services: &[SocketAddr], backend: SocketAddr, patience: Duration) -> anyhow::Result<u64> {
    let work = TempDir::new()?;
    let (ads, listener) = (free_address()?, free_address()?);
    let resources = Arc::new(Resources::of(services, backend));
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = AggregatedDiscoveryServiceServer::new(Ads(resources));
    serving.spawn(tonic::transport::Server::builder().add_service(server).serve(ads));
    let bootstrap = work.path().join("bootstrap.yaml");
    fs::write(
        &bootstrap,
        BOOTSTRAP.replace("{ads}", &ads.port().to_string()).replace("{at}", &listener.port().to_string()),
    )?;
    let mut command = Command::new(envoy);
    command
        .args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error", "--config-path"])
        .arg(&bootstrap);
    let log = work.path().join("log");
    let process = Process::start(&mut command, &log)?;
    // The last to come are all there once the last scope's cluster answers.
    for at in services.iter().step_by((services.len() / 20).max(1)).chain(services.last()) {
        let begun = Instant::now();
        while !answers(listener, *at) {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            ensure!(
                !process.has_ended() && begun.elapsed() < patience,
                "the hand-made Envoy does not serve {at}:\n{}",
                said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let resident = process.resident();
    drop(process);
    serving.shutdown_background();
    Ok(resident)
}

fn answers(listener: SocketAddr, at: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect_timeout(&listener, Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(connection, "GET / HTTP/1.1\r\nhost: bench\r\n{KEY}: {at}\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        connection.take(64 << 10).read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}

/// The resources of each type, by name.
#[derive(Debug, Default)]
struct Resources(BTreeMap<String, BTreeMap<String, Any>>);

impl Resources {
    fn of(services: &[SocketAddr], backend: SocketAddr) -> Resources {
        let mut all = Resources::default();
        for at in services {
            let name = format!("bench/{at}");
            let ads = core::ConfigSource {
                config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
                    core::AggregatedConfigSource::default(),
                )),
                resource_api_version: core::ApiVersion::V3.into(),
                ..core::ConfigSource::default()
            };
            all.add(
                &name,
                &cluster::Cluster {
                    name: name.clone(),
                    connect_timeout: Some(Seconds { seconds: 5, nanos: 0 }),
                    cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
                        cluster::cluster::DiscoveryType::Eds.into(),
                    )),
                    eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
                        eds_config: Some(ads),
                        service_name: name.clone(),
                    }),
                    ..cluster::Cluster::default()
                },
            );
            all.add(&name, &assignment(&name, backend));
            all.add(&at.to_string(), &scope(&name, *at));
        }
        all
    }

    fn add<M: Message + Name>(&mut self, name: &str, message: &M) {
        let packed = Any { type_url: M::type_url(), value: message.encode_to_vec() };
        self.0.entry(M::type_url()).or_default().insert(name.to_owned(), packed);
    }
}

fn assignment(name: &str, backend: SocketAddr) -> endpoint::ClusterLoadAssignment {
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: backend.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(backend.port().into())),
            ..core::SocketAddress::default()
        })),
    };
    let one = endpoint::Endpoint { address: Some(address), ..endpoint::Endpoint::default() };
    let endpoints = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(one)),
        ..endpoint::LbEndpoint::default()
    };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoints],
            ..endpoint::LocalityLbEndpoints::default()
        }],
        ..endpoint::ClusterLoadAssignment::default()
    }
}

/// One route to the service's own cluster that sets a header, as the folder's routes do.
fn scope(name: &str, at: SocketAddr) -> route::ScopedRouteConfiguration {
    use route::scoped_route_configuration::key::{Fragment, fragment};
    let header = core::HeaderValueOption {
        header: Some(core::HeaderValue { key: "x-edit".into(), value: "0".into(), ..core::HeaderValue::default() }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..core::HeaderValueOption::default()
    };
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(name.to_owned())),
        ..route::RouteAction::default()
    };
    let all = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
        ..route::RouteMatch::default()
    };
    let one = route::Route {
        name: format!("HTTPRoute {name} rule 0"),
        r#match: Some(all),
        action: Some(route::route::Action::Route(action)),
        response_headers_to_add: vec![header],
        ..route::Route::default()
    };
    let host = route::VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".into()],
        routes: vec![one],
        ..route::VirtualHost::default()
    };
    let key = Fragment { r#type: Some(fragment::Type::StringKey(at.to_string())) };
    route::ScopedRouteConfiguration {
        name: at.to_string(),
        key: Some(route::scoped_route_configuration::Key { fragments: vec![key] }),
        route_configuration: Some(route::RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts: vec![host],
            ..route::RouteConfiguration::default()
        }),
        ..route::ScopedRouteConfiguration::default()
    }
}

/// Sends whoever asks for a type all of it, or what is asked for by name, and then nothing more.
#[derive(Debug)]
struct Ads(Arc<Resources>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<pb::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<pb::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (mut requests, resources) = (request.into_inner(), self.0.clone());
        let (send, responses) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let (mut nonce, mut known) = (0_u64, HashSet::new());
            while let Ok(Some(request)) = requests.message().await {
                let names: HashSet<&String> = request.resource_names_subscribe.iter().collect();
                let first = known.insert(request.type_url.clone());
                // An acknowledgement asks for nothing.
                if names.is_empty() && !first {
                    continue;
                }
                let all = resources.0.get(&request.type_url).into_iter().flatten();
                let everything = names.is_empty() || names.iter().any(|name| *name == "*");
                let wanted = all.filter(|(name, _)| everything || names.contains(name));
                let resource = |(name, any): (&String, &Any)| pb::Resource {
                    name: name.clone(),
                    version: "1".into(),
                    resource: Some(any.clone()),
                    ..pb::Resource::default()
                };
                nonce += 1;
                let response = pb::DeltaDiscoveryResponse {
                    resources: wanted.map(resource).collect(),
                    type_url: request.type_url.clone(),
                    nonce: nonce.to_string(),
                    ..pb::DeltaDiscoveryResponse::default()
                };
                if send.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// The Envoy to measure: the one that the environment names, or the one beside this checkout's tools.
///
/// # Errors
/// When there is none.
pub fn envoy() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("ENVOY").map_or_else(|| ".tools/envoy".into(), PathBuf::from);
    path.canonicalize().with_context(|| format!("no Envoy at {}; run `make bench-control`", path.display()))
}

/// Loopback alone; the listener is here, the rest comes by ADS.
const BOOTSTRAP: &str = r#"
node: {id: handmade, cluster: handmade}
deferred_stat_options: {enable_deferred_creation_stats: true}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: ads}}]
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: ads
    connect_timeout: 5s
    load_assignment:
      cluster_name: ads
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {ads}}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
  listeners:
  - name: all
    address: {socket_address: {address: 127.0.0.1, port_value: {at}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          scoped_routes:
            name: all
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-at, index: 0}}]}
            scoped_rds: {scoped_rds_config_source: {ads: {}, resource_api_version: V3}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;
