//! One connection from its handshake to its end: asked to end when it is old, when the client's certificate has ended
//! or when shutdown begins, and cut only if it is still open after a grace.

use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::services::Services;
use crate::Shutdown;

/// How long a connection may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// After this it is asked to end: GOAWAY, and calls under way are finished.
    pub most: Duration,
    /// It is cut if it is still open so much later.
    pub grace: Duration,
}

/// How long calls may still take once a client's certificate has ended.
const GRACE: Duration = Duration::from_secs(10);

/// What the handshake said about a client.
pub(super) type Client = TlsConnectInfo<TcpConnectInfo>;

/// What all connections have in common.
#[derive(Clone)]
pub(super) struct Terms {
    http2: Builder<TokioExecutor>,
    age: Option<Age>,
}

impl Terms {
    pub(super) fn new(age: Option<Age>) -> Terms {
        let mut http2 = Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(4096);
        Terms { http2, age }
    }

    /// Answers what comes over `io` with `services` until the connection ends. `client` is known only behind TLS.
    pub(super) async fn serve(
        self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        client: Option<Client>,
        services: Services,
        shutdown: Shutdown,
    ) {
        // Who a client is was looked at in the handshake: what it was let in by must not be outlived.
        let good = client.as_ref().and_then(|client| good_for(client, SystemTime::now()));
        let grace = self.age.map_or(GRACE, |age| age.grace);
        let most = [self.age.map(|age| age.most), good].into_iter().flatten().min();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            if let Some(client) = &client {
                request.extensions_mut().insert(client.clone());
            }
            let answered = services.answer(request.map(Body::new));
            async move { Ok::<Response<Body>, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
        });
        let mut connection = pin!(self.http2.serve_connection(TokioIo::new(io), answer));
        let mut old = pin!(elapsed(most));
        let mut too_old = pin!(elapsed(most.map(|most| most.saturating_add(grace))));
        let mut stopping = pin!(super::drained(&shutdown));
        let mut asked = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended in another way than agreed");
                    }
                    return;
                }
                () = &mut old, if !asked => {}
                () = &mut stopping, if !asked => {}
                () = &mut too_old => {
                    tracing::debug!("a connection was cut: its calls took longer than its age and grace");
                    return;
                }
            }
            asked = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// For how long the certificates that a client has shown are still good; none where it has shown none. One that cannot
/// be read is good no longer.
fn good_for(client: &Client, now: SystemTime) -> Option<Duration> {
    let shown = client.peer_certs().filter(|shown| !shown.is_empty())?;
    let ends = shown.iter().map(|certificate| match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default(),
        Err(_) => 0,
    });
    let end = UNIX_EPOCH + Duration::from_secs(ends.min().unwrap_or_default());
    Some(end.duration_since(now).unwrap_or_default())
}

async fn elapsed(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}
