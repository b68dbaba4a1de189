//! The certificates of a cluster: signed by an authority that the control plane's replicas keep in a Secret.
//!
//! One replica makes the authority and its successors ([`state`] says when), and the certificates of the servers that
//! Envoys ask, which are Secrets that these mount. Each replica signs for itself what it shows, and what it tells Envoys to
//! show. Until the Secret could be read nothing is shown, so that nobody is let in. While it cannot be read what was read
//! last goes on.

mod state;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use kubernetes::Leading;
use kubernetes::authority::{AUTHORITY, Entries, Form, Found, SERVERS, Store};
use kubernetes::managing::Failure;
use runtime::tls::Shown;
use runtime::{Gate, Readiness, Shutdown};
use tokio::sync::watch;
use waypoint_translate::GrpcTarget;
use zeroize::Zeroizing;

use state::Given;
pub use state::{Authorities, Leaf, Subject};

/// The entry of the Secret that is read again.
const ENTRY: &str = "authorities";
/// How often it is looked at, before and after it was there.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// By this name `/readyz` is told what is wrong with it.
const REMARKS: &str = "authority";

/// Who signs, as it is known now; none until that is known.
pub type Trusted = watch::Receiver<Option<Arc<Authorities>>>;

/// Where the authority is kept, and for whom it signs.
#[derive(Debug)]
pub struct Authority {
    /// The Secrets of the namespace.
    pub store: Store,
    /// Where this server's own certificate is shown, and the names and addresses by which Envoys know it; none if it has
    /// another.
    pub shows: Option<(Shown, Vec<String>)>,
    /// The servers that Envoys ask.
    pub servers: Vec<AskedServer>,
    /// Whether this replica makes authorities and certificates of servers.
    pub leading: Leading,
}

/// A server that Envoys ask by mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedServer {
    /// The Secret that it mounts.
    secret: &'static str,
    /// The name or address by which Envoys know it.
    name: String,
}

impl AskedServer {
    /// Those of `settings`.
    pub fn all(settings: &waypoint_translate::Settings) -> Vec<AskedServer> {
        let targets = [&settings.extauth, &settings.ratelimit].into_iter().zip(SERVERS);
        let server = |(target, secret): (&Option<GrpcTarget>, &'static str)| match target {
            Some(GrpcTarget::Mutual { server_name, .. }) => Some(AskedServer { secret, name: server_name.clone() }),
            _ => None,
        };
        targets.filter_map(server).collect()
    }
}

/// Shows certificates, gives them to servers and says whom to trust, until `shutdown` begins.
///
/// # Errors
/// Never; it ends with `shutdown`.
pub async fn keep(
    authority: Authority,
    trusted: watch::Sender<Option<Arc<Authorities>>>,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut keeper = Keeper { authority, trusted, leaf: None, gate: Some(readiness.gate("the authority")) };
    let mut said: Vec<String> = Vec::new();
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut remarks = Vec::new();
        if let Err(error) = keeper.look(now).await {
            remarks.push(format!("{AUTHORITY}: {error:#}"));
        }
        remarks.extend(keeper.give(now).await);
        for remark in remarks.iter().filter(|remark| !said.contains(*remark)) {
            tracing::warn!("{remark}");
        }
        said.clone_from(&remarks);
        readiness.remark(REMARKS, remarks);
        let pause = if keeper.gate.is_none() { LOOK.1 } else { LOOK.0 };
        tokio::select! {
            () = shutdown.begun() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Keeper {
    authority: Authority,
    trusted: watch::Sender<Option<Arc<Authorities>>>,
    leaf: Option<Leaf>,
    gate: Option<Gate>,
}

impl Keeper {
    async fn look(&mut self, now: u64) -> anyhow::Result<()> {
        let Authority { store, leading, shows, .. } = &self.authority;
        let read = store.read(AUTHORITY).await.context("reading it")?;
        let authorities = match read {
            None if !leading.holds() => return Ok(()),
            None => {
                let made = Authorities::new(now)?;
                written(store.create(AUTHORITY, Form::Opaque, &kept(&made)).await)?;
                made
            }
            Some(Found { version, entries, .. }) => {
                let there = Authorities::read(entries.of(ENTRY))?;
                match there.due(now)? {
                    Some(due) if leading.holds() => {
                        written(store.replace(AUTHORITY, &version, &kept(&due)).await)?;
                        tracing::info!("other authorities are trusted from now on, or another one signs");
                        due
                    }
                    _ => there,
                }
            }
        };
        if let Some((shown, names)) = shows
            && let Some(leaf) = authorities.leaf(&Subject::ControlPlane(names), self.leaf.as_ref(), now)?
        {
            shown.show(&leaf.cert, &leaf.key)?;
            self.leaf = Some(leaf);
        }
        self.trusted.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&authorities);
            if changed {
                *known = Some(Arc::new(authorities));
            }
            changed
        });
        if let Some(gate) = self.gate.take() {
            gate.open();
        }
        Ok(())
    }

    /// Gives each server that Envoys ask its certificate; what could not be done.
    async fn give(&self, now: u64) -> Vec<String> {
        let known = self.trusted.borrow().clone();
        let Some(authorities) = known.filter(|_| self.authority.leading.holds()) else { return Vec::new() };
        let mut failures = Vec::new();
        for AskedServer { secret, name } in &self.authority.servers {
            if let Err(error) = give(&self.authority.store, &authorities, secret, name, now).await {
                failures.push(format!("{secret}: {error:#}"));
            }
        }
        failures
    }
}

async fn give(store: &Store, authorities: &Authorities, secret: &str, name: &str, now: u64) -> anyhow::Result<()> {
    let there = store.read(secret).await.context("reading it")?;
    let given = there.as_ref().and_then(|found| given(&found.entries));
    let Some(due) = authorities.given(name, given.as_ref(), now)? else { return Ok(()) };
    let entries = Entries::default().with("tls.crt", &due.cert).with("tls.key", &due.key).with("ca.crt", &due.bundle);
    match there {
        None => written(store.create(secret, Form::Tls, &entries).await)?,
        Some(Found { ours: false, .. }) => {
            bail!(
                "it is somebody else's, and left as it is: delete it, or give the server a certificate by its own settings"
            )
        }
        Some(Found { version, .. }) => written(store.replace(secret, &version, &entries).await)?,
    }
    tracing::info!(secret, "a server has another certificate, or trusts others");
    Ok(())
}

/// What a server was given, as it stands in its Secret.
fn given(entries: &Entries) -> Option<Given> {
    let text = |name| entries.text(name).map(str::to_owned);
    Some(Given { cert: text("tls.crt")?, key: Zeroizing::new(text("tls.key")?), bundle: text("ca.crt")? })
}

fn kept(authorities: &Authorities) -> Entries {
    Entries::default().with(ENTRY, &authorities.written()).with("ca.crt", &authorities.bundle())
}

/// Another replica may have been faster: then nothing of ours counts, and it is looked at anew.
fn written(done: Result<(), Failure>) -> anyhow::Result<()> {
    done.context("writing it")
}
