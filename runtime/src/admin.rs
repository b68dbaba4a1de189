//! The admin port: health, readiness, metrics, log level, and what a server adds.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
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
        Self { router: Router::new(), shared: Shared { readiness, telemetry, metrics: Vec::new() } }
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
        let own = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/logging", get(log_level).post(set_log_level))
            .with_state(self.shared);
        own.merge(self.router)
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

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let waiting = shared.readiness.waiting_for();
    if waiting.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")))
    }
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

    #[tokio::test]
    async fn what_a_server_adds_to_the_metrics_page_is_made_when_it_is_read() {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let crate::Addr::Tcp(address) = listener.local_addr().unwrap() else { panic!("TCP") };
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let admin = Admin::new(Readiness::new(), Telemetry::detached().unwrap()).metrics(move || {
            let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { format!("made {count}\n").into() }
        });
        let shutdown = Shutdown::new();
        let served = tokio::spawn(admin.serve(listener, shutdown.clone()));
        for number in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            assert!(page.ends_with(&format!("made {number}\n")), "{page}");
        }
        shutdown.begin();
        served.await.unwrap().unwrap();
    }
}
