//! Manifests in files and folders, watched.
//!
//! ```text
//! notify, a slow poll ─▶ task ─▶ scan ─▶ files (settled, parsed) ─▶ assemble ─▶ watch, board
//! ```
//! The task only waits; each step of reading runs on a blocking thread.

mod addresses;
mod assemble;
mod creation;
mod decision;
mod declarations;
mod engine;
mod files;
mod namespaces;
mod scan;
mod watching;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Snapshot;
use parking_lot::Mutex;
use runtime::{Gate, Readiness};
use status::Report;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::board::{Files, Origins, StatusBoard};
use crate::{Snapshots, StartError};
use assemble::{Mistake, MistakeKey};
use engine::Engine;
use watching::{Hints, Interest, Watching};

/// How a folder is read.
#[derive(Debug, Clone)]
pub struct FolderSettings {
    /// Gives each Service without a loopback `spec.clusterIP` a loopback address of its own.
    pub allocate_vips: bool,
    /// How long the file system must be quiet before changes are read.
    pub quiet: Duration,
    /// After how long changes are read although it is not quiet.
    pub max_delay: Duration,
    /// How long a file must stay empty or gone before its objects count as deleted.
    pub vanish: Duration,
    /// How long a file someone still holds open for writing is left alone after its last write.
    pub held_open: Duration,
    /// How often everything is looked at even without events.
    pub poll: Duration,
    /// Logs mistakes in manifests; not where someone else shows them.
    pub log_mistakes: bool,
    /// More files than this are not read: a start with more serves nothing but refusals.
    pub max_files: usize,
}

impl Default for FolderSettings {
    fn default() -> Self {
        Self {
            allocate_vips: true,
            quiet: Duration::from_millis(60),
            max_delay: Duration::from_millis(500),
            vanish: Duration::from_millis(300),
            held_open: Duration::from_secs(2),
            poll: Duration::from_secs(2),
            log_mistakes: true,
            max_files: 100_000,
        }
    }
}

/// What one reading of files and folders gave.
#[derive(Debug)]
pub struct Loaded {
    /// What is declared.
    pub snapshot: Snapshot,
    /// What is to be said of each object that is not simply accepted.
    pub report: Report,
    /// The files and what is wrong with them as files.
    pub files: Files,
    /// Where each object is declared.
    pub origins: Origins,
}

/// Reads `paths` once, for `validate PATH…`. Blocks.
pub fn load(paths: &[PathBuf]) -> Loaded {
    load_as(paths, FolderSettings::default())
}

/// [`load`] with other settings.
pub fn load_as(paths: &[PathBuf], settings: FolderSettings) -> Loaded {
    let mut engine = Engine::new(paths.to_vec(), settings);
    engine.load();
    let assembled = engine.assemble();
    Loaded {
        snapshot: assembled.snapshot,
        report: engine.report().clone(),
        files: assembled.files,
        origins: assembled.origins,
    }
}

/// Loads everything once, and gives what follows changes until `shutdown`.
pub(crate) async fn start(
    paths: Vec<PathBuf>,
    settings: FolderSettings,
    board: StatusBoard,
    readiness: &Readiness,
    shutdown: runtime::Shutdown,
) -> Result<(Snapshots, impl Future<Output = anyhow::Result<()>> + Send + 'static), StartError> {
    if paths.is_empty() {
        return Err(StartError::NoPaths);
    }
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let mut watching = Watching::start();
    let mut engine = Engine::new(paths, settings.clone());
    let (engine, watching, interest) = tokio::task::spawn_blocking(move || {
        // Watch first, read second: what changes in between is seen by one of the two.
        let interest = engine.interest();
        watching.follow(&interest);
        engine.load();
        (engine, watching, interest)
    })
    .await
    .map_err(StartError::FirstLoad)?;
    let mut follower = Follower {
        engine: Arc::new(Mutex::new(engine)),
        publish,
        board,
        settings,
        readiness: readiness.clone(),
        gates: Vec::new(),
        logged: BTreeSet::new(),
    };
    follower.publish();
    let following = async move {
        tokio::select! {
            () = shutdown.begun() => Ok(()),
            // Never.
            () = follower.follow(watching, interest) => Ok(()),
        }
    };
    Ok((snapshots, following))
}

struct Follower {
    engine: Arc<Mutex<Engine>>,
    publish: watch::Sender<Arc<Snapshot>>,
    board: StatusBoard,
    settings: FolderSettings,
    readiness: Readiness,
    /// One for each thing that withholds everything.
    gates: Vec<Gate>,
    /// Mistakes that were logged and are still there.
    logged: BTreeSet<MistakeKey>,
}

/// So many of the things that withhold everything are named by readiness.
const MAX_GATES: usize = 8;
/// So many mistakes are logged for one change.
const MAX_LOGGED: usize = 100;

impl Follower {
    async fn follow(&mut self, watching: Watching, mut interest: Interest) {
        let watching = Arc::new(Mutex::new(watching));
        let events = watching.lock().events();
        let mut hints = Hints::new(self.settings.held_open);
        // When everything is looked at, whatever events say. Right after the first reading once more: for
        // what changed while it ran.
        let mut whole = Instant::now() + self.settings.quiet;
        let mut due = whole;
        let mut first_event: Option<Instant> = None;
        loop {
            // Whatever was heard by now counts, even if the time was up first.
            let mut heard = tokio::select! {
                biased;
                event = events.next() => vec![event],
                () = tokio::time::sleep_until(due.into()) => Vec::new(),
            };
            heard.extend(events.queued().await);
            let now = Instant::now();
            for event in heard {
                if hints.take(event, &interest, now) {
                    let first = *first_event.get_or_insert(now);
                    due = (now + self.settings.quiet).min(first + self.settings.max_delay);
                }
            }
            if first_event.is_some() && hints.are_whole() {
                due = now;
            }
            if now < due {
                continue;
            }
            first_event = None;
            let now = Instant::now();
            let round = hints.round(now);
            let round = if now >= whole { round.incomplete() } else { round };
            for path in round.lost() {
                watching.lock().forget(path);
            }
            let (engine, watcher) = (self.engine.clone(), watching.clone());
            let step = tokio::task::spawn_blocking(move || {
                let step = engine.lock().step(&round);
                // A folder that was not watched until now may have changed unseen.
                let unseen = step.interest.as_ref().is_some_and(|interest| watcher.lock().follow(interest));
                (step, unseen)
            })
            .await;
            match step {
                Ok((step, unseen)) => {
                    if step.changed {
                        self.publish();
                    }
                    let now = Instant::now();
                    if let Some(listed) = step.interest {
                        interest = listed;
                        whole = if unseen { now } else { now + self.settings.poll };
                    }
                    due = step.again.map_or(whole, |again| whole.min(now + again));
                }
                Err(failure) => {
                    // A fault of ours: what was served last goes on being served.
                    error!(panicked = failure.is_panic(), "reading the manifests failed, trying again");
                    metrics::counter!("waykeeper_provider_errors_total").increment(1);
                    whole = Instant::now() + self.settings.poll;
                    due = whole;
                }
            }
        }
    }

    fn publish(&mut self) {
        let assembled = self.engine.lock().assemble();
        assembled.record();
        // The new ones first, so that it is never ready in between.
        let withheld = assembled.snapshot.withheld.iter().take(MAX_GATES);
        let gates = withheld.map(|withheld| self.readiness.gate(format!("manifests: {withheld}"))).collect();
        let before = std::mem::replace(&mut self.gates, gates);
        if self.settings.log_mistakes {
            self.log(assembled.mistakes);
        }
        // Statuses first, so that whoever reacts to the files or the snapshot finds them.
        self.board.declare(assembled.origins, assembled.said);
        self.board.publish_files(assembled.files);
        if assembled.differs {
            self.publish.send_replace(Arc::new(assembled.snapshot));
        }
        before.into_iter().for_each(Gate::open);
    }

    /// Logs each mistake when it is first read, and again only after it was mended.
    fn log(&mut self, mistakes: Vec<Mistake>) {
        let new: Vec<&Mistake> = mistakes.iter().filter(|mistake| !self.logged.contains(&mistake.key())).collect();
        for mistake in new.iter().take(MAX_LOGGED) {
            let Mistake { file, line, object, problem } = mistake;
            let object = object.as_ref().map(tracing::field::display);
            let (file, line) = (file.display(), *line);
            warn!(%file, line, object, field = problem.field, problem = problem.message, "mistake in a manifest");
        }
        if let Some(more @ 1..) = new.len().checked_sub(MAX_LOGGED) {
            warn!(more, "further mistakes in manifests are not logged; see /status");
        }
        self.logged = mistakes.iter().map(Mistake::key).collect();
    }
}
