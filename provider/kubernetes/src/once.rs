//! What is declared on an API server, read once, by whoever is not about to serve it: a command that describes it.
//!
//! It is what a server would have read by the same machinery, and just as complete: what is missing could be what
//! guards the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::{Reader, Snapshot};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Client;
use crate::machine::Failure;
use crate::pump;
use crate::source::Source;
use crate::world::World;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Batches of objects that wait to be taken in.
const WAITING: usize = 64;

/// All that `reader` reads.
///
/// # Errors
/// When a list may not be read, or does not come in time.
pub async fn read(client: &Client, reader: Reader) -> anyhow::Result<Snapshot> {
    let sources = Source::read_by(reader, &BTreeSet::new());
    let (news, mut heard) = mpsc::channel(WAITING);
    let mut pumps = JoinSet::new();
    for (number, source) in sources.iter().enumerate() {
        pumps.spawn(pump::run(client.server().clone(), source.clone(), number, news.clone()));
    }
    let mut world = World::new(sources.clone());
    let all = async {
        while !world.is_settled() {
            let one = heard.recv().await.context("a list is not read any more, by a fault of ours")?;
            if let Some(Failure::Status { code: code @ (401 | 403), .. }) = &one.failing {
                let source = sources.get(one.source).map(ToString::to_string).unwrap_or_default();
                bail!("{source} may not be listed and watched by whom the kubeconfig names ({code})");
            }
            world.take(one);
        }
        Ok(())
    };
    match timeout(PATIENCE, all).await {
        Ok(read) => read?,
        Err(_) => bail!("not everything could be read in time: {}", world.remarks().join("; ")),
    }
    Ok(world.assemble().context("nothing could be put together, by a fault of ours")?.snapshot)
}
