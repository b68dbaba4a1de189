//! The sample application: answers as go-httpbin v2.14.0 does, for the
//! endpoints that a walkthrough or a test of a waypoint calls.
//!
//! It shows what reached it (headers, origin, URL), and gives back what it is
//! asked for (a status, a delay, some bytes).

mod answer;
mod endpoints;
mod go;
mod request;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bodies longer than this are refused, as go-httpbin does by default.
pub(crate) const MAX_BODY_SIZE: usize = 1024 * 1024;

/// No answer takes longer than this.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(10);

/// How long requests in progress may go on after the shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// The application, bound to its addresses but not yet serving.
#[derive(Debug)]
pub struct App {
    listeners: Vec<TcpListener>,
}

impl App {
    /// Binds every address; port 0 lets the system choose.
    pub async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<App> {
        let mut listeners = Vec::new();
        for address in addresses {
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            listeners.push(listener);
        }
        Ok(App { listeners })
    }

    /// Where it listens, in the order given to [`App::bind`].
    pub fn local_addrs(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|listener| listener.local_addr().context("listener without address")).collect()
    }

    /// Serves until `shutdown`, then finishes what it is answering.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        for listener in self.listeners {
            let app = Router::new().fallback(endpoints::answer).into_make_service_with_connect_info::<SocketAddr>();
            let mut stopped = stopped.clone();
            let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            servers.spawn(async move { axum::serve(listener, app).with_graceful_shutdown(stopped).await });
        }
        tokio::select! {
            () = shutdown => {}
            Some(ended) = servers.join_next() => return ended.context("a server failed")?.context("a server failed"),
        }
        stop.send_replace(true);
        // A caller that never ends its request does not hold the application up.
        let _ = tokio::time::timeout(DRAIN, async { while servers.join_next().await.is_some() {} }).await;
        Ok(())
    }
}

/// Binds `addresses` and serves on them until `shutdown`.
pub async fn serve(addresses: Vec<SocketAddr>, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    App::bind(&addresses).await?.serve(shutdown).await
}
