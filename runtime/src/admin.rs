//! The admin port: health, readiness, metrics, log level, and what a server adds.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::telemetry::Telemetry;
use crate::{Listener, Readiness, Shutdown};

/// Builds the admin server.
#[derive(Debug)]
pub struct Admin {
    router: Router,
    shared: Shared,
    log_level: bool,
}

/// What makes a part of the metrics page when it is read.
type Maker = Arc<dyn Fn() -> BoxFuture<'static, Arc<str>> + Send + Sync>;

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    telemetry: Telemetry,
    metrics: Vec<Maker>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

impl Admin {
    /// `/livez`, `/readyz`, `/metrics` and `/logging`.
    pub fn new(readiness: Readiness, telemetry: Telemetry) -> Self {
        Self { router: Router::new(), shared: Shared { readiness, telemetry, metrics: Vec::new() }, log_level: true }
    }

    /// Without `/logging`: for a port that is open to more than those who operate the server.
    pub(crate) fn without_log_level(self) -> Self {
        Self { log_level: false, ..self }
    }

    /// Adds routes of a server's own.
    pub fn merge(self, router: Router) -> Self {
        Self { router: self.router.merge(router), ..self }
    }

    /// Adds what `make` makes to the metrics page, in Prometheus' text format, each time it is read;
    /// before the rest of the page is made, so that it may set metrics, too.
    pub fn metrics<F>(mut self, make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Arc<str>> + Send + 'static,
    {
        self.shared.metrics.push(Arc::new(move || make().boxed()));
        self
    }

    fn into_router(self) -> Router {
        let mut own = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics));
        if self.log_level {
            own = own.route("/logging", get(log_level).post(set_log_level));
        }
        // Whatever a server adds is guarded as well.
        own.with_state(self.shared).merge(self.router).layer(from_fn(guard))
    }

    /// Serves until shutdown begins.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: Listener, shutdown: Shutdown) -> anyhow::Result<()> {
        let drained = async move { shutdown.begun().await };
        let router = self.into_router();
        match listener {
            Listener::Tcp(tcp) => axum::serve(tcp, router).with_graceful_shutdown(drained).await,
            Listener::Unix(unix, path) => {
                let served = axum::serve(unix, router).with_graceful_shutdown(drained).await;
                let _ = std::fs::remove_file(path);
                served
            }
        }
        .context("serving the admin port")
    }
}

/// Requests that a server makes because somebody's manifest says so bear this header.
const ASKED_FOR: &str = "x-waykeeper-asks";

/// Answers nobody who makes a server of ours ask for him, and lets no web page change anything, on whatever machine it is
/// looked at.
///
/// Who may write an AuthConfig says whom `extauth` asks, and that could be its own admin port, which nobody else reaches.
///
/// A page may send requests to 127.0.0.1, or make its own name resolve to it. Its browser says in
/// `Origin` whose page asks whenever something is to be changed, so that a request without comes
/// from no page. What asks with one must be a page of this very port, opened by an address or as
/// localhost and by no name that others could have pointed here.
async fn guard(request: Request, next: Next) -> Response {
    if request.headers().contains_key(ASKED_FOR) {
        return (StatusCode::FORBIDDEN, "refused: this port is for those who operate the server\n").into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if reads || is_ours(request.headers()) {
        return next.run(request).await;
    }
    let why = "refused: this request comes from a web page, and only those of this port may change anything; \
               use curl or the command line\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

fn is_ours(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).unwrap_or_default();
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None, None) = (hosts.next(), hosts.next(), origins.next()) else { return false };
    let host = text(host);
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_address = bare.parse::<IpAddr>().is_ok() || bare == "localhost";
    is_address && text(origin).strip_prefix("http://") == Some(host.as_str())
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let waiting = shared.readiness.waiting_for();
    let (code, mut said) = if waiting.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")))
    };
    for remark in shared.readiness.remarks() {
        said.push_str(&format!("not in force: {}\n", remark.replace('\n', " ")));
    }
    (code, said)
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let mut added = String::new();
    for make in &shared.metrics {
        added.push_str(&make().await);
    }
    let mut page = shared.telemetry.render_metrics();
    page.push_str(&added);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}

async fn log_level(State(shared): State<Shared>) -> String {
    format!("{}\n", shared.telemetry.log_filter())
}

/// `POST /logging?level=debug` or `?level=ratelimit=trace,info`; `?reset` goes back.
async fn set_log_level(State(shared): State<Shared>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let result = match query.strip_prefix("level=") {
        Some(level) => shared.telemetry.set_log_filter(&level.replace("%3D", "=").replace("%2C", ",")),
        None if query == "reset" => shared.telemetry.reset_log_filter(),
        None => Err("write ?level=info, ?level=ratelimit=debug,info or ?reset".to_owned()),
    };
    match result {
        Ok(filter) => (StatusCode::OK, format!("{filter}\n")),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What a detached server answers to `requests`, whole, in turn.
    async fn answers(make: impl FnOnce(Admin) -> Admin, requests: &[&str]) -> Vec<String> {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let crate::Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("TCP") };
        let shutdown = Shutdown::new();
        let admin = make(Admin::new(Readiness::new(), Telemetry::detached().unwrap()));
        let served = tokio::spawn(admin.serve(listener, shutdown.clone()));
        let mut answers = Vec::new();
        for request in requests {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answers.push(answer);
        }
        shutdown.begin();
        served.await.unwrap().unwrap();
        answers
    }

    #[tokio::test]
    async fn what_a_server_adds_to_the_metrics_page_is_made_when_it_is_read() {
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let add = move || {
            let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { format!("made {count}\n").into() }
        };
        let get = "GET /metrics HTTP/1.0\r\n\r\n";
        let pages = answers(|admin| admin.metrics(add), &[get, get]).await;
        for (number, page) in pages.iter().enumerate() {
            assert!(page.ends_with(&format!("made {number}\n")), "{page}");
        }
    }

    #[tokio::test]
    async fn no_web_page_changes_anything() {
        let post = |path: &str, headers: &str| format!("POST {path} HTTP/1.0\r\n{headers}\r\n");
        let added = |admin: Admin| admin.merge(Router::new().route("/reset", axum::routing::post(|| async { "done" })));
        let path = "/logging?level=debug";
        let refused = [
            post(path, "Host: 127.0.0.1:9091\r\nOrigin: https://evil.example\r\n"),
            post(path, "Host: 127.0.0.1:9091\r\nOrigin: null\r\n"),
            // The page's own name was made to resolve to this machine.
            post(path, "Host: evil.example:9091\r\nOrigin: http://evil.example:9091\r\n"),
            post(path, "Host: localhost.evil.example\r\nOrigin: http://localhost.evil.example\r\n"),
            post(path, "Host: 127.0.0.1:9091\r\nOrigin: http://127.0.0.1:8000\r\n"),
            post(path, "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: https://evil.example\r\n"),
            post(path, "Origin: http://127.0.0.1\r\n"),
            post("/reset", "Host: 127.0.0.1\r\nOrigin: https://evil.example\r\n"),
            "DELETE /reset HTTP/1.0\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n\r\n".to_owned(),
        ];
        let obeyed = [
            post(path, ""),
            post(path, "Host: ratelimit.internal:8080\r\n"),
            post(path, "Host: LocalHost:9091\r\nOrigin: http://localhost:9091\r\n"),
            post(path, "Host: [::1]:9091\r\nOrigin: http://[::1]:9091\r\n"),
            post("/reset", "Host: 127.0.0.1\r\n"),
            "GET /logging HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n".to_owned(),
        ];
        let all: Vec<&str> = refused.iter().chain(&obeyed).map(String::as_str).collect();
        let answers = answers(added, &all).await;
        for (number, (request, answer)) in all.iter().zip(answers).enumerate() {
            let status = if number < refused.len() { " 403 " } else { " 200 " };
            assert!(answer.lines().next().unwrap().contains(status), "{request}{answer}");
        }
    }

    #[tokio::test]
    async fn a_port_without_log_level_has_none() {
        let requests = ["GET /logging HTTP/1.0\r\n\r\n", "POST /logging?level=trace HTTP/1.0\r\n\r\n"];
        for answer in answers(Admin::without_log_level, &requests).await {
            assert!(answer.contains(" 404 "), "{answer}");
        }
    }
}
