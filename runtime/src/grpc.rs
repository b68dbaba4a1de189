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

/// What besides the services themselves a gRPC server is to have.
#[derive(Debug, Default)]
pub struct GrpcOptions {
    /// Names under which grpc.health.v1 answers, besides the empty one.
    pub health_services: Vec<String>,
    /// Encoded file descriptor sets for reflection; none, no reflection.
    pub descriptors: Vec<&'static [u8]>,
    /// TLS; none, plaintext.
    pub tls: Option<ServerTlsConfig>,
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
    let router = server.add_routes(routes);
    let drained = async {
        shutdown.begun().await;
        tokio::time::sleep(LAME_DUCK).await;
    };
    let serving = async {
        match listener {
            Listener::Tcp(tcp) => {
                let stream = nodelay(TcpListenerStream::new(tcp));
                router.serve_with_incoming_shutdown(stream, drained).await
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
