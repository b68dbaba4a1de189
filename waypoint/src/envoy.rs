//! Envoy processes, one for each Gateway, where no orchestrator runs them.
//!
//! The fleet follows the translation: a new Gateway gets an Envoy, a deleted one
//! loses its own after a drain, and one that dies is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use api::Name;
use claim::Claim;
use runtime::{Shutdown, Tasks};
use states::Watch;
use tokio::sync::watch;
use tokio::task::JoinSet;
use waypoint_translate::{Admin, AdsServer, BootstrapSettings, Translation, bootstrap};

mod admin;
mod claim;
mod find;
mod process;
mod states;

pub use admin::request as admin_request;
pub use find::{FindError, VERSION, find_envoy, must_run};

/// After how long an address that somebody else has is asked for again.
const CLAIM_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// How Envoys are run.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// The Envoy binary.
    pub envoy: PathBuf,
    /// A program with its first arguments, to be given the Envoy binary and its
    /// arguments. It becomes that Envoy once it has arranged that Envoy ends when
    /// we do, however we end. Empty: Envoy is run directly.
    pub guard: Vec<std::ffi::OsString>,
    /// A private folder for bootstraps and admin sockets, with a short path.
    pub run_dir: PathBuf,
    /// Writes the bootstrap of a Gateway's Envoy.
    pub bootstrap: Bootstrap,
    /// Worker threads of each Envoy.
    pub concurrency: u32,
    /// How long connections may take to finish when an Envoy is stopped.
    pub drain: std::time::Duration,
    /// Begins once the tunnel, which passes connections on to these Envoys, has closed its
    /// last one. While everything stops, an Envoy without connections does not end before:
    /// the tunnel may be about to open one.
    pub callers_gone: Shutdown,
}

/// Writes the bootstrap of a Gateway's Envoy, given where its admin socket is to be.
#[derive(Clone)]
pub struct Bootstrap(Arc<Write>);

type Write = dyn Fn(&Name, &std::path::Path) -> serde_json::Value + Send + Sync;

impl Bootstrap {
    /// A bootstrap written by `write`.
    pub fn new(write: impl Fn(&Name, &std::path::Path) -> serde_json::Value + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// The usual bootstrap of an Envoy that asks for its resources on the Unix socket `xds`.
    pub fn unix(xds: PathBuf) -> Self {
        Self::new(move |gateway, admin| {
            let ads = AdsServer::Unix(xds.display().to_string());
            let admin = Admin::Unix(admin.display().to_string());
            bootstrap(gateway, &BootstrapSettings { admin, ads, memory: None })
        })
    }
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bootstrap")
    }
}

/// What is known of one Envoy.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct EnvoyState {
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Whether its admin says it is live.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Its admin socket.
    pub admin: PathBuf,
}

/// What is known of all Envoys, by Gateway.
pub type States = Arc<BTreeMap<Name, EnvoyState>>;

/// A running fleet.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// What is known of each Envoy.
    pub states: watch::Receiver<States>,
}

impl Fleet {
    /// Starts the task that keeps one Envoy for each Gateway of `translation`.
    /// They drain when the tasks' shutdown begins.
    ///
    /// # Errors
    /// When the run folder cannot be created.
    pub fn start(
        settings: FleetSettings,
        translation: watch::Receiver<Arc<Translation>>,
        tasks: &mut Tasks,
    ) -> anyhow::Result<Fleet> {
        let (fleet, states) = Fleet::new(&settings)?;
        tasks.spawn("envoys", follow(settings, translation, states, tasks.shutdown().clone()));
        Ok(fleet)
    }

    /// Starts the task that keeps the Envoy of `gateway` and no other. It drains when the tasks' shutdown begins.
    ///
    /// # Errors
    /// When the run folder cannot be created.
    pub(crate) fn of_one(settings: FleetSettings, gateway: Name, tasks: &mut Tasks) -> anyhow::Result<Fleet> {
        let (fleet, states) = Fleet::new(&settings)?;
        let stop = tasks.shutdown().clone();
        tasks.spawn("envoy", async move {
            process::supervise(gateway, settings, states, stop.clone(), stop).await;
            Ok(())
        });
        Ok(fleet)
    }

    fn new(settings: &FleetSettings) -> anyhow::Result<(Fleet, Watch)> {
        crate::tls::private_dir(&settings.run_dir)?;
        let states = Watch::default();
        Ok((Fleet { states: states.subscribe() }, states))
    }
}

async fn follow(
    settings: FleetSettings,
    mut translation: watch::Receiver<Arc<Translation>>,
    states: Watch,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut running: BTreeMap<Name, Shutdown> = BTreeMap::new();
    let mut stopping: BTreeSet<Name> = BTreeSet::new();
    let mut envoys: JoinSet<Name> = JoinSet::new();
    let mut claims: BTreeMap<Name, Claim> = BTreeMap::new();
    let mut first = true;
    let mut retry = tokio::time::interval(CLAIM_AGAIN);
    translation.mark_changed();
    loop {
        let unclaimed = translation.borrow().gateways.keys().any(|name| !claims.contains_key(name));
        tokio::select! {
            () = shutdown.begun() => break,
            changed = translation.changed() => if changed.is_err() { break },
            Some(ended) = envoys.join_next(), if !envoys.is_empty() => {
                let name = ended.context("an Envoy's supervisor panicked")?;
                running.remove(&name);
                stopping.remove(&name);
                states.remove(&name);
                claims.remove(&name);
            },
            _ = retry.tick(), if unclaimed => {},
        }
        let now = translation.borrow_and_update().clone();
        for (name, output) in &now.gateways {
            let Some(address) = output.address else { continue };
            if claims.get(name).is_some_and(|claim| claim.address == address) {
                continue;
            }
            match Claim::take(address) {
                Ok(claim) => drop(claims.insert(name.clone(), claim)),
                Err(why) if first => anyhow::bail!("Gateway {name}: {why}"),
                Err(why) => tracing::error!(gateway = %name, why = %why, "this Gateway's Envoy cannot be started"),
            }
        }
        first &= now.revision == 0;
        // One that has an Envoy keeps it: it will refuse the address if that is taken.
        let wanted: Vec<Name> = now
            .gateways
            .keys()
            .filter(|name| claims.contains_key(*name) || running.contains_key(*name))
            .cloned()
            .collect();
        for (name, stop) in &running {
            if !wanted.contains(name) && stopping.insert(name.clone()) {
                stop.begin();
            }
        }
        // A Gateway that comes back while its Envoy drains is started once that has ended.
        for name in wanted {
            if !running.contains_key(&name) {
                let stop = shutdown.child();
                running.insert(name.clone(), stop.clone());
                envoys.spawn(process::supervise(name, settings.clone(), states.clone(), stop, shutdown.clone()));
            }
        }
    }
    while envoys.join_next().await.is_some() {}
    Ok(())
}
