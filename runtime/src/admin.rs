//! The admin port: health, readiness, metrics, log level, and what a server adds.

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::telemetry::Telemetry;
use crate::{Listener, Readiness, Shutdown};

/// Builds the admin server.
#[derive(Debug)]
pub struct Admin {
    router: Router,
}

#[derive(Debug, Clone)]
struct Shared {
    readiness: Readiness,
    telemetry: Telemetry,
}

impl Admin {
    /// `/livez`, `/readyz`, `/metrics` and `/logging`.
    pub fn new(readiness: Readiness, telemetry: Telemetry) -> Self {
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/logging", get(log_level).post(set_log_level))
            .with_state(Shared { readiness, telemetry });
        Self { router }
    }

    /// Adds routes of a server's own.
    pub fn merge(self, router: Router) -> Self {
        Self { router: self.router.merge(router) }
    }

    /// Serves until shutdown begins.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: Listener, shutdown: Shutdown) -> anyhow::Result<()> {
        let drained = async move { shutdown.begun().await };
        match listener {
            Listener::Tcp(tcp) => axum::serve(tcp, self.router).with_graceful_shutdown(drained).await,
            Listener::Unix(unix, path) => {
                let served = axum::serve(unix, self.router).with_graceful_shutdown(drained).await;
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
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.telemetry.render_metrics())
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
