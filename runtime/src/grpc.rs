//! A gRPC server with health, reflection and drain, over TCP or a Unix socket.

use std::time::Duration;

use anyhow::Context as _;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::{Server, ServerTlsConfig};

use crate::{Listener, Readiness, Shutdown};

/// How long after shutdown begins connections are still accepted, so that a
/// client told NOT_SERVING has moved on before the socket closes.
const LAME_DUCK: Duration = Duration::from_millis(100);

/// How long a TLS handshake may take.
const MOST_HANDSHAKE: Duration = Duration::from_secs(10);
/// How many handshakes may be under way.
const MOST_HANDSHAKES: usize = 1024;

/// What besides the services themselves a gRPC server is to have.
#[derive(Default)]
pub struct GrpcOptions {
    /// Names under which grpc.health.v1 answers, besides the empty one.
    pub health_services: Vec<String>,
    /// Encoded file descriptor sets for reflection; none, no reflection.
    pub descriptors: Vec<&'static [u8]>,
    /// TLS; none, plaintext.
    pub tls: Option<ServerTlsConfig>,
    /// TLS whose certificates may change while serving; TCP only, and instead of `tls`.
    pub acceptor: Option<tokio_rustls::TlsAcceptor>,
    /// After how long a connection is asked to end, and after how much longer it is ended.
    pub max_connection_age: Option<(Duration, Duration)>,
}

impl std::fmt::Debug for GrpcOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.tls.is_some() || self.acceptor.is_some();
        f.debug_struct("GrpcOptions")
            .field("health_services", &self.health_services)
            .field("tls", &tls)
            .finish_non_exhaustive()
    }
}

/// Serves `routes` until shutdown begins and every call under way has ended.
///
/// Health follows `readiness` and turns to NOT_SERVING when shutdown begins.
///
/// # Errors
/// When the server cannot be built or the listener fails.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    options: GrpcOptions,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut names = options.health_services;
    names.push(String::new());
    let mut routes = routes.add_service(health);
    if !options.descriptors.is_empty() {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        for descriptors in options.descriptors {
            builder = builder.register_encoded_file_descriptor_set(descriptors);
        }
        routes = routes.add_service(builder.build_v1().context("building gRPC reflection")?);
    }

    let follow = follow_readiness(reporter, names, readiness, shutdown.clone());
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(Some(4096))
        .tcp_nodelay(true);
    if let Some(tls) = options.tls {
        server = server.tls_config(tls).context("TLS of the gRPC server")?;
    }
    if let Some((age, grace)) = options.max_connection_age {
        server = server.max_connection_age(age).max_connection_age_grace(grace);
    }
    let router = server.add_routes(routes);
    let acceptor = options.acceptor;
    let drained = async {
        shutdown.begun().await;
        tokio::time::sleep(LAME_DUCK).await;
    };
    let serving = async {
        match listener {
            Listener::Tcp(tcp) => {
                let stream = nodelay(TcpListenerStream::new(tcp));
                match acceptor {
                    None => router.serve_with_incoming_shutdown(stream, drained).await,
                    Some(acceptor) => router.serve_with_incoming_shutdown(secured(stream, acceptor), drained).await,
                }
            }
            Listener::Unix(unix, path) => {
                let served = router.serve_with_incoming_shutdown(UnixListenerStream::new(unix), drained).await;
                let _ = std::fs::remove_file(path);
                served
            }
        }
    };
    tokio::select! {
        served = serving => served.context("serving gRPC"),
        never = follow => never,
    }
}

/// With a listener of our own, tonic leaves the sockets' options to us.
fn nodelay(
    incoming: TcpListenerStream,
) -> impl futures_util::Stream<Item = std::io::Result<tokio::net::TcpStream>> + Send {
    use futures_util::StreamExt as _;
    incoming.map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Connections after their handshake. Many shake hands at once; one that fails
/// or dawdles is dropped and holds up no other.
fn secured(
    incoming: impl futures_util::Stream<Item = std::io::Result<tokio::net::TcpStream>> + Send + 'static,
    acceptor: tokio_rustls::TlsAcceptor,
) -> impl futures_util::Stream<Item = std::io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>> + Send {
    use futures_util::StreamExt as _;
    let shake = move |stream: std::io::Result<tokio::net::TcpStream>| {
        let acceptor = acceptor.clone();
        async move { tokio::time::timeout(MOST_HANDSHAKE, acceptor.accept(stream?)).await? }
    };
    incoming.map(shake).buffer_unordered(MOST_HANDSHAKES).filter_map(|shaken| async move {
        match shaken {
            Ok(stream) => Some(Ok(stream)),
            Err(error) => {
                tracing::debug!(%error, "a connection that did not become secure");
                None
            }
        }
    })
}

async fn follow_readiness(
    reporter: tonic_health::server::HealthReporter,
    names: Vec<String>,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let mut said = None;
    loop {
        let ready = readiness.is_ready() && !shutdown.is_begun();
        if said != Some(ready) {
            for name in &names {
                reporter.set_service_status(name.as_str(), if ready { Serving } else { NotServing }).await;
            }
            said = Some(ready);
        }
        tokio::select! {
            () = shutdown.begun(), if !shutdown.is_begun() => {}
            () = tokio::time::sleep(Duration::from_millis(25)) => {}
        }
    }
}
