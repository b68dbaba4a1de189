//! The one place with sockets: an HTTP client that keeps connections, follows nothing, and reads
//! no more and waits no longer than it was told.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::{Forbidden, Resolver, literal};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout_at;

use crate::{Outcome, Unavailable, Why};

pub use rustls::RootCertStore as Authorities;

/// Every request bears it: who writes a manifest says whom we ask, and our own admin ports answer nobody who does.
const ASKS: &str = "x-waykeeper-asks";

/// What a server may do to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long connecting may take, TLS aside.
    pub connect: Duration,
    /// Bytes of an answer's head.
    pub head: usize,
    /// Bytes of its body.
    pub body: usize,
    /// Connections that wait for the next call, to each server.
    pub idle: usize,
    /// How long they wait.
    pub idle_for: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            head: 32 << 10,
            body: 1 << 20,
            idle: 8,
            idle_for: Duration::from_secs(30),
        }
    }
}

/// An HTTP client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    pooled: Pooled<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    limits: Limits,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1, or over TLS what the server chooses.
    Either,
    /// HTTP/1.
    Http1,
    /// HTTP/2 from the first byte, as gRPC does.
    Http2,
}

impl Client {
    /// A client that trusts the authorities in `roots`.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new(limits: Limits, roots: impl Into<Arc<RootCertStore>>) -> Result<Client, rustls::Error> {
        Client::speaking(Speaks::Either, limits, roots)
    }

    /// One that speaks as it is told.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn speaking(
        speaks: Speaks,
        limits: Limits,
        roots: impl Into<Arc<RootCertStore>>,
    ) -> Result<Client, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new());
        tcp.set_connect_timeout(Some(limits.connect));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match speaks {
            Speaks::Either => connector.enable_http1().enable_http2().wrap_connector(tcp),
            Speaks::Http1 => connector.enable_http1().wrap_connector(tcp),
            Speaks::Http2 => connector.enable_http2().wrap_connector(tcp),
        };
        let pooled = Pooled::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_only(speaks == Speaks::Http2)
            .pool_max_idle_per_host(limits.idle)
            .pool_idle_timeout(limits.idle_for)
            .http1_max_buf_size(limits.head.max(8 << 10))
            .http2_max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .build(connector);
        Ok(Client { pooled, limits })
    }

    /// Sends `request` and reads the whole answer, all by `deadline`. A redirect is an answer like another.
    pub async fn call(&self, request: Request<Bytes>, deadline: Instant) -> Outcome<Response<Bytes>> {
        self.exchange(request, deadline).await.map(|(answer, _)| answer)
    }

    /// The same, with what came after the body.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Bytes>,
        deadline: Instant,
    ) -> Outcome<(Response<Bytes>, HeaderMap)> {
        request.headers_mut().insert(ASKS, HeaderValue::from_static("for-a-manifest"));
        let who: Arc<str> = who(request.uri());
        let failed = |why, detail: String| Outcome::Unavailable(Unavailable::new(&who, why, detail));
        if let Some(forbidden) = request.uri().host().and_then(literal).and_then(Forbidden::of) {
            return failed(Why::Forbidden, forbidden.to_string());
        }
        let exchange = async {
            let answer = match self.pooled.request(request.map(Full::new)).await {
                Ok(answer) => answer,
                Err(error) if is_forbidden(&error) => return failed(Why::Forbidden, cause(&error)),
                Err(error) if error.is_connect() => return failed(Why::Unreachable, cause(&error)),
                Err(error) => return failed(broken(&error), cause(&error)),
            };
            let (head, body) = answer.into_parts();
            let too_large = || failed(Why::TooLarge, format!("the body has more than {} bytes", self.limits.body));
            // What it says it will send need not be waited for.
            if body.size_hint().lower() > u64::try_from(self.limits.body).unwrap_or(u64::MAX) {
                return too_large();
            }
            match Limited::new(body, self.limits.body).collect().await {
                Ok(body) => {
                    let after = body.trailers().cloned().unwrap_or_default();
                    Outcome::Answered((Response::from_parts(head, body.to_bytes()), after))
                }
                Err(error) if error.is::<LengthLimitError>() => too_large(),
                Err(error) => failed(Why::Broken, innermost(&*error)),
            }
        };
        match timeout_at(deadline.into(), exchange).await {
            Ok(outcome) => outcome,
            Err(_) => failed(Why::TooLate, String::new()),
        }
    }
}

/// Host and port: the rest of a URL may hold secrets.
fn who(uri: &Uri) -> Arc<str> {
    let host = uri.host().unwrap_or_default();
    uri.port().map_or_else(|| host.into(), |port| format!("{host}:{port}").into())
}

fn is_forbidden(error: &hyper_util::client::legacy::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<Forbidden>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn broken(error: &hyper_util::client::legacy::Error) -> Why {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return match error {
                error if error.is_parse_too_large() => Why::TooLarge,
                error if error.is_parse() => Why::Unreadable,
                _ => Why::Broken,
            };
        }
        source = error.source();
    }
    Why::Broken
}

fn cause(error: &hyper_util::client::legacy::Error) -> String {
    innermost(error)
}

/// The words of the innermost cause: what is around it says "client error".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
