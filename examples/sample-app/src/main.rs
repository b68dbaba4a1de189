//! `sample-app --listen ADDR…`: runs the sample application.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use sample_app::App;
use tokio::signal::unix::{SignalKind, signal};

/// An HTTP application that shows what reached it, as go-httpbin does.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on; may be given several times.
    #[arg(long, env = "SAMPLE_APP_LISTEN", value_name = "ADDR", value_delimiter = ',',
          default_values = ["127.0.10.2:8080", "127.0.10.3:8080"])]
    listen: Vec<SocketAddr>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let app = App::bind(&arguments.listen).await?;
    for address in app.local_addrs()? {
        eprintln!("listening on {address}");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    app.serve(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    })
    .await
}
