//! The certificate of a control plane in a cluster: signed by an authority that its replicas keep in a Secret.
//!
//! One replica makes the authority and its successors ([`state`] says when); each signs for itself what it shows. Until
//! the Secret could be read nothing is shown, so that nobody is let in. While it cannot be read what was read last goes on.

mod state;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kubernetes::Leading;
use kubernetes::authority::{Kept, Store};
use kubernetes::managing::Failure;
use runtime::tls::Shown;
use runtime::{Gate, Readiness, Shutdown};
use state::{Authorities, Leaf};
use tokio::sync::watch;

/// The Secret.
const NAME: &str = "waykeeper-waypoint-authority";
/// How often it is looked at, before and after there is something to show.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// By this name `/readyz` is told what is wrong with it.
const REMARKS: &str = "authority";

/// Where the authority is kept, and for whom it signs.
#[derive(Debug)]
pub struct Authority {
    /// The Secrets of the namespace.
    pub store: Store,
    /// The names and addresses by which Envoys know this server.
    pub names: Vec<String>,
    /// Whether this replica makes authorities.
    pub leading: Leading,
}

/// Shows certificates and says whom to trust, until `shutdown` begins.
///
/// # Errors
/// Never; it ends with `shutdown`.
pub async fn keep(
    authority: Authority,
    shown: Shown,
    trusted: watch::Sender<Option<String>>,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut keeper = Keeper { authority, shown, trusted, leaf: None, gate: Some(readiness.gate("the authority")) };
    loop {
        let looked = keeper.look().await;
        let remark = looked.err().map(|error| format!("{NAME}: {error:#}"));
        if let Some(remark) = &remark {
            tracing::warn!("{remark}");
        }
        readiness.remark(REMARKS, remark.into_iter().collect());
        let pause = if keeper.leaf.is_some() { LOOK.1 } else { LOOK.0 };
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Keeper {
    authority: Authority,
    shown: Shown,
    trusted: watch::Sender<Option<String>>,
    leaf: Option<Leaf>,
    gate: Option<Gate>,
}

impl Keeper {
    async fn look(&mut self) -> anyhow::Result<()> {
        let Authority { store, leading, .. } = &self.authority;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs();
        let read = store.read(NAME).await.context("reading it")?;
        let authorities = match read {
            None if !leading.holds() => return Ok(()),
            None => {
                let made = Authorities::new(now)?;
                written(store.create(NAME, &kept(&made)).await)?;
                made
            }
            Some((version, text)) => {
                let there = Authorities::read(&text)?;
                match there.due(now)? {
                    Some(due) if leading.holds() => {
                        written(store.replace(NAME, &version, &kept(&due)).await)?;
                        tracing::info!("other authorities are trusted from now on, or another one signs");
                        due
                    }
                    _ => there,
                }
            }
        };
        if let Some(leaf) = authorities.leaf(&self.authority.names, self.leaf.as_ref(), now)? {
            self.shown.show(&leaf.cert, &leaf.key)?;
            self.leaf = Some(leaf);
        }
        let bundle = Some(authorities.bundle());
        self.trusted.send_if_modified(|known| {
            let changed = *known != bundle;
            *known = bundle;
            changed
        });
        if let Some(gate) = self.gate.take() {
            gate.open();
        }
        Ok(())
    }
}

fn kept(authorities: &Authorities) -> Kept {
    Kept { authorities: authorities.written(), bundle: authorities.bundle() }
}

/// Another replica may have been faster: then nothing of ours counts, and it is looked at anew.
fn written(done: Result<(), Failure>) -> anyhow::Result<()> {
    done.context("writing it")
}
