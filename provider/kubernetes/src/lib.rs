//! Kubernetes as a source of what is declared: the API server's objects in, [`api::Snapshot`]s out.
//!
//! ```text
//! API server ─▶ server (bytes) ─▶ wire (objects, judged) ─▶ pump ─▶ world ─▶ watch, board
//!                    ▲                                       ▲ │
//!                    └────────── what to ask ── machine ─────┘ (pure)
//! ```
//! One pump for each list that is followed; what they say comes together in one place, and goes out
//! once all of them have been read. What is good of an object, and what is broken, is decided as in
//! a folder. When the API server is away, what was read last goes on being served.

pub mod authority;
pub mod client;
pub mod identity;
mod machine;
pub mod managing;
pub mod once;
mod pump;
pub mod rights;
mod server;
mod settings;
mod source;
mod wire;
mod world;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use api::{Kind, Reader, Snapshot, name::is_namespace};
use provider::{AUTHOR, FolderSettings, Snapshots, StatusBoard};
use runtime::{Gate, Process, Readiness, Stage};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use pump::News;
use server::Server;
pub use settings::{KubernetesArgs, SecretArgs};
use source::Source;
use world::World;
pub use writing::Leading;

/// How long it must be quiet before what has changed goes out.
const QUIET: Duration = Duration::from_millis(5);
/// After how long it goes out although it is not quiet.
const LONGEST_DELAY: Duration = Duration::from_millis(50);
/// Batches of changes that wait to be taken in.
const WAITING: usize = 64;
/// By this name `/readyz` is told what may be out of date.
const REMARKS: &str = "kubernetes";

/// Follows all that `reader` reads for as long as `process` runs: reads nothing else, and needs no other right than to
/// list and watch that.
///
/// Returns at once. The snapshot has revision 0 until every kind has been listed, or is known not
/// to be served; as long as that takes, the process is not ready and names each of them. Whatever is wrong
/// with objects is said on `board`.
///
/// # Errors
/// When the settings name no API server.
async fn follow(
    args: &KubernetesArgs,
    secret_namespaces: &[String],
    reader: Reader,
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<(Snapshots, Leading)> {
    for namespace in secret_namespaces {
        ensure!(is_namespace(namespace), "{namespace:?} is not the name of a namespace");
    }
    let server = Server::new(args.kubeconfig.as_deref()).await?;
    let sources = Source::read_by(reader, &secret_namespaces.iter().cloned().collect());
    let readiness = process.readiness().clone();
    let gates = sources.iter().map(|source| Some(readiness.gate(format!("kubernetes: {source}")))).collect();
    let (lead, leading) = Leading::channel();
    let due = Arc::new(writing::Due::default());
    if args.statuses {
        let due = due.clone();
        let controller = args.controller.clone().unwrap_or_else(|| api::contract::CONTROLLER_NAME.to_owned());
        let settings = writing::Settings { reader, namespace: args.namespace.clone(), controller };
        let (server, board, readiness) = (server.clone(), board.clone(), readiness.clone());
        let shutdown = process.shutdown(Stage::Behind);
        process.spawn(Stage::Behind, "statuses", async move {
            writing::write(server, settings, &board, (readiness, lead, due), shutdown).await;
            Ok(())
        });
    }
    let (news, mut heard) = mpsc::channel(WAITING);
    let mut pumps = JoinSet::new();
    for (number, source) in sources.iter().enumerate() {
        pumps.spawn(pump::run(server.clone(), source.clone(), number, news.clone()));
    }
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let mut gatherer = Gatherer { world: Some(World::new(sources)), publish, board, readiness, gates, due };
    let shutdown = process.shutdown(Stage::Behind);
    process.spawn(Stage::Behind, "kubernetes", async move {
        tokio::select! {
            () = shutdown.begun() => {}
            () = gatherer.gather(&mut heard, &mut pumps) => anyhow::bail!("the API server is not followed any more"),
        }
        pumps.abort_all();
        Ok(())
    });
    Ok((snapshots, leading))
}

/// Follows what `args` say: all that `reader` reads from an API server, or the files and folders in `paths`.
///
/// # Errors
/// As those two.
pub async fn follow_either(
    cluster: (&KubernetesArgs, &[String], Reader),
    folder: (Vec<PathBuf>, FolderSettings),
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<Snapshots> {
    Ok(follow_and_lead(cluster, folder, board, process).await?.0)
}

/// The same, and whether this is the replica that acts, if there may be several.
///
/// # Errors
/// As [`follow_either`].
pub async fn follow_and_lead(
    (args, secret_namespaces, reader): (&KubernetesArgs, &[String], Reader),
    (paths, folder): (Vec<PathBuf>, FolderSettings),
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<(Snapshots, Option<Leading>)> {
    if args.kubernetes {
        let (snapshots, leading) = follow(args, secret_namespaces, reader, board, process).await?;
        return Ok((snapshots, args.statuses.then_some(leading)));
    }
    Ok((provider::follow_folder(paths, folder, board, process).await?, None))
}

/// Puts together what the pumps say.
struct Gatherer {
    /// Away while it is put together.
    world: Option<World>,
    publish: watch::Sender<Arc<Snapshot>>,
    board: StatusBoard,
    readiness: Readiness,
    /// One for each source, until it was read.
    gates: Vec<Option<Gate>>,
    /// The statuses that are to be written.
    due: Arc<writing::Due>,
}

impl Gatherer {
    /// Ends only by a fault of ours.
    async fn gather(&mut self, heard: &mut mpsc::Receiver<News>, pumps: &mut JoinSet<()>) {
        let mut first: Option<Instant> = None;
        let mut due = Instant::now();
        loop {
            tokio::select! {
                news = heard.recv() => {
                    let (Some(news), Some(world)) = (news, &mut self.world) else { return };
                    self.due.were_written(world.put_by(&news));
                    world.take(news);
                    let now = Instant::now();
                    let latest = *first.get_or_insert(now) + LONGEST_DELAY;
                    due = latest.min(now + QUIET);
                }
                () = sleep_until(due), if first.is_some() => {
                    first = None;
                    if !self.publish().await {
                        return;
                    }
                }
                ended = pumps.join_next() => {
                    let panicked = ended.and_then(Result::err).is_some_and(|error| error.is_panic());
                    error!(panicked, "one of the lists is not followed any more");
                    return;
                }
            }
        }
    }

    /// Publishes what is known, if that is enough. False after a fault of ours.
    async fn publish(&mut self) -> bool {
        let Some(mut world) = self.world.take() else { return false };
        let assembled = tokio::task::spawn_blocking(move || {
            let assembled = world.assemble();
            (world, assembled)
        });
        let Ok((world, assembled)) = assembled.await else {
            error!("what was read could not be put together");
            return false;
        };
        self.readiness.remark(REMARKS, world.remarks());
        for (source, absent, failing) in world.standings() {
            let (kind, list) = (source.subject.as_str(), source.to_string());
            metrics::gauge!("waykeeper_kubernetes_absent", "kind" => kind, "list" => list.clone())
                .set(f64::from(u8::from(absent)));
            metrics::gauge!("waykeeper_kubernetes_failing", "kind" => kind, "list" => list)
                .set(f64::from(u8::from(failing)));
        }
        if let Some(assembled) = assembled {
            for kind in Kind::ALL {
                let count = assembled.snapshot.count(*kind);
                metrics::gauge!("waykeeper_provider_objects", "kind" => kind.as_str()).set(count as f64);
            }
            metrics::gauge!("waykeeper_provider_rejected_objects").set(assembled.rejected as f64);
            // Statuses first, so that whoever reacts to the snapshot finds them.
            self.board.apply(AUTHOR, assembled.said);
            if assembled.differs {
                metrics::counter!("waykeeper_provider_reloads_total").increment(1);
                self.publish.send_replace(Arc::new(assembled.snapshot));
            }
        }
        self.open(&world);
        self.world = Some(world);
        true
    }

    /// Opens the gates of what has been read.
    fn open(&mut self, world: &World) {
        for (number, gate) in self.gates.iter_mut().enumerate() {
            if world.settled(number)
                && let Some(gate) = gate.take()
            {
                gate.open();
            }
        }
    }
}
