//! A gRPC server with health, reflection and drain, over TCP or a Unix socket.

mod connection;
mod gathered;
mod handover;
mod services;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, FuturesUnordered, Stream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::either::Either;
use tonic::transport::server::Connected as _;
use tonic_health::server::HealthReporter;

use crate::{Listener, Readiness, Shutdown, Workers};
use connection::{Client, Terms};
use gathered::{Accepted, Gathered, Socket};

pub use connection::Age;
pub use services::Services;

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
    /// TLS; none, plaintext. See [`crate::tls`].
    pub acceptor: Option<TlsAcceptor>,
    /// How old connections may become; none, as old as they like.
    pub max_connection_age: Option<Age>,
}

impl std::fmt::Debug for GrpcOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.acceptor.is_some();
        f.debug_struct("GrpcOptions")
            .field("health_services", &self.health_services)
            .field("tls", &tls)
            .finish_non_exhaustive()
    }
}

/// [`serve_on`] the thread this is called on.
///
/// # Errors
/// When the server cannot be built or the listener fails.
pub async fn serve(
    listener: Listener,
    services: impl Into<Services>,
    options: GrpcOptions,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    serve_on(None, listener, vec![services.into()], options, readiness, shutdown).await
}

/// Serves until shutdown begins and every call under way has ended.
///
/// Each connection is answered on one of `workers`, by that worker's own `services`, of which
/// there are as many; without workers, on the thread this is called on, by the only ones.
/// Health follows `readiness` and turns to NOT_SERVING when shutdown begins.
///
/// # Errors
/// When the server cannot be built or the listener fails.
pub async fn serve_on(
    workers: Option<Arc<Workers>>,
    listener: Listener,
    services: Vec<Services>,
    options: GrpcOptions,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (plan, mut services) = Plan::new(services, options)?;
    let (sockets, left_over) = accept(listener);
    match workers {
        None => {
            let sockets = sockets.map(|accepted| Ok(Gathered::of(accepted)));
            let services = services.pop().context("nothing to serve")?;
            let serving = answer(plan.terms.clone(), services, sockets, plan.acceptor.clone(), shutdown.clone());
            plan.with_health(serving, readiness, &shutdown).await?;
        }
        Some(workers) => {
            let serving = answer_on(&workers, sockets, services, plan.terms.clone(), plan.acceptor.clone(), &shutdown);
            plan.with_health(serving, readiness, &shutdown).await?;
        }
    }
    if let Some(path) = left_over {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// [`answer`] on all of `workers`.
async fn answer_on(
    workers: &Workers,
    sockets: BoxStream<'static, Accepted>,
    services: Vec<Services>,
    terms: Terms,
    acceptor: Option<TlsAcceptor>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut queues = Vec::new();
    let mut answering = FuturesUnordered::new();
    for (worker, services) in services.into_iter().enumerate() {
        let (queue, handed) = handover::queue();
        queues.push(queue);
        let work = answer(terms.clone(), services, handed, acceptor.clone(), shutdown.clone());
        answering.push(workers.run(worker, work));
    }
    let handing_over = async {
        tokio::select! {
            () = handover::hand_over(sockets, &queues) => {}
            () = drained(shutdown) => {}
        }
        Ok(())
    };
    let answered = async {
        while let Some(ended) = answering.next().await {
            ended??;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(handing_over, answered).map(|_| ())
}

/// What all that answer have in common.
struct Plan {
    terms: Terms,
    acceptor: Option<TlsAcceptor>,
    reporter: HealthReporter,
    names: Vec<String>,
}

impl Plan {
    /// With `services` completed by health and reflection.
    fn new(services: Vec<Services>, options: GrpcOptions) -> anyhow::Result<(Plan, Vec<Services>)> {
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut names = options.health_services;
        names.push(String::new());
        let services = services.into_iter().map(|services| {
            let services = services.add_service(health.clone());
            if options.descriptors.is_empty() {
                return Ok(services.prepared());
            }
            let mut builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            for descriptors in &options.descriptors {
                builder = builder.register_encoded_file_descriptor_set(descriptors);
            }
            Ok(services.add_service(builder.build_v1().context("building gRPC reflection")?).prepared())
        });
        let services = services.collect::<anyhow::Result<_>>()?;
        let terms = Terms::new(options.max_connection_age);
        Ok((Plan { terms, acceptor: options.acceptor, reporter, names }, services))
    }

    /// Serves, with health that follows `readiness`.
    async fn with_health(
        self,
        serving: impl Future<Output = anyhow::Result<()>>,
        readiness: Readiness,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        tokio::select! {
            served = serving => served,
            never = follow_readiness(self.reporter, self.names, readiness, shutdown.clone()) => never,
        }
    }
}

/// Answers on these connections until shutdown begins, then finishes the calls under way.
async fn answer(
    terms: Terms,
    services: Services,
    sockets: impl Stream<Item = io::Result<Socket>> + Send + 'static,
    acceptor: Option<TlsAcceptor>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    // Ends with this, and all connections with it.
    let mut open = JoinSet::new();
    let mut sockets = match acceptor {
        None => sockets.map(|socket| Ok((Either::Left(socket?), None))).boxed(),
        Some(acceptor) => secured(sockets, acceptor).boxed(),
    };
    let mut drained = std::pin::pin!(drained(&shutdown));
    loop {
        tokio::select! {
            () = &mut drained => break,
            _ = open.join_next(), if !open.is_empty() => {}
            socket = sockets.next() => match socket {
                None => break,
                Some(Ok((io, client))) => {
                    drop(open.spawn(terms.clone().serve(io, client, services.clone(), shutdown.clone())));
                }
                Some(Err(error)) => tracing::debug!(%error, "a connection that could not be served"),
            },
        }
    }
    drop(sockets);
    while open.join_next().await.is_some() {}
    Ok(())
}

async fn drained(shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(LAME_DUCK).await;
}

/// How long nothing is accepted after the system refused, as when there are no more file descriptors.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// The connections that are accepted, and the socket file to remove once accepting ends.
fn accept(listener: Listener) -> (BoxStream<'static, Accepted>, Option<PathBuf>) {
    let (accepted, left_over) = match listener {
        Listener::Tcp(tcp) => {
            let accepted = TcpListenerStream::new(tcp).map(|stream| {
                let stream = stream?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            });
            (accepted.boxed(), None)
        }
        Listener::Unix(unix, path) => {
            (UnixListenerStream::new(unix).map(|stream| stream.map(Either::Right)).boxed(), Some(path))
        }
    };
    let accepted = accepted.filter_map(|accepted: io::Result<Accepted>| async move {
        match accepted {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(AFTER_REFUSAL).await;
                None
            }
        }
    });
    (accepted.boxed(), left_over)
}

/// A connection to be answered on, and what its handshake said about the client.
type Ready = (Either<Socket, Gathered<TlsStream<Socket>>>, Option<Client>);

/// Connections after their handshake. Many shake hands at once; one that fails
/// or dawdles is dropped and holds up no other.
fn secured(
    incoming: impl Stream<Item = io::Result<Socket>> + Send + 'static,
    acceptor: TlsAcceptor,
) -> impl Stream<Item = io::Result<Ready>> + Send {
    let shake = move |socket: io::Result<Socket>| {
        let acceptor = acceptor.clone();
        async move {
            let secure = tokio::time::timeout(MOST_HANDSHAKE, acceptor.accept(socket?)).await??;
            let client = secure.connect_info();
            Ok::<_, io::Error>((Either::Right(Gathered::of(secure)), Some(client)))
        }
    };
    incoming.map(shake).buffer_unordered(MOST_HANDSHAKES)
}

async fn follow_readiness(
    reporter: HealthReporter,
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
