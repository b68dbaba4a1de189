//! Events of the file system: which folders are watched, and what the events tell.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use super::scan::{Listing, is_read};

/// Which folders to watch, and which events there matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interest {
    folders: BTreeSet<PathBuf>,
    contents: BTreeSet<PathBuf>,
    awaited: BTreeSet<PathBuf>,
}

impl Interest {
    pub(crate) fn of(listing: &Listing) -> Self {
        Self { folders: listing.watched(), contents: listing.directories.clone(), awaited: listing.awaited.clone() }
    }

    /// The folder above a root is watched for the root alone, whatever else happens there.
    fn includes(&self, path: &Path) -> bool {
        self.awaited.contains(path)
            || self.contents.contains(path)
            || path.parent().is_some_and(|folder| self.contents.contains(folder))
    }
}

/// The watched folders. Without a working watcher, the poll still sees every change.
pub(crate) struct Watching {
    watcher: Option<RecommendedWatcher>,
    /// Canonical folders with what tells a folder from another that took its place.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    events: Events,
}

/// The events, in order.
#[derive(Clone)]
pub(crate) struct Events {
    receiver: Arc<Mutex<UnboundedReceiver<Event>>>,
    /// Keeps the channel open even if there is no watcher.
    _sender: UnboundedSender<Event>,
}

impl Events {
    pub(crate) async fn next(&self) -> Event {
        match self.receiver.lock().await.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// The events that are there already.
    pub(crate) async fn queued(&self) -> Vec<Event> {
        let mut receiver = self.receiver.lock().await;
        // Counted first: who writes faster than this takes must not keep it here.
        (0..receiver.len()).map_while(|_| receiver.try_recv().ok()).collect()
    }
}

impl Watching {
    pub(crate) fn start() -> Self {
        let (sender, receiver) = unbounded_channel();
        let events = Events { receiver: Arc::new(Mutex::new(receiver)), _sender: sender.clone() };
        let handler = move |event: notify::Result<Event>| {
            // An error says that events may be missing: look at everything.
            let event = event.unwrap_or_else(|_| Event::new(EventKind::Other));
            // Our own reading makes events, too.
            let reading = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
            if !reading {
                drop(sender.send(event));
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| warn!(%error, "no file events on this system, looking every few seconds instead"))
            .ok();
        Self { watcher, folders: BTreeMap::new(), events }
    }

    pub(crate) fn events(&self) -> Events {
        self.events.clone()
    }

    /// Watches exactly `wanted`. True if a folder is watched now that was not before.
    pub(crate) fn follow(&mut self, interest: &Interest) -> bool {
        let wanted = &interest.folders;
        let Some(watcher) = &mut self.watcher else { return false };
        let mut fresh = false;
        self.folders.retain(|path, identity| {
            let same = wanted.contains(path) && identity_of(path) == Some(*identity);
            if !same {
                drop(watcher.unwatch(path));
            }
            same
        });
        for path in wanted {
            if self.folders.contains_key(path) {
                continue;
            }
            let Some(identity) = identity_of(path) else { continue };
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(path.clone(), identity);
                    fresh = true;
                }
                // Gone meanwhile, or no watches left: the poll covers it.
                Err(error) => tracing::debug!(path = %path.display(), %error, "not watched"),
            }
        }
        fresh
    }

    /// Drops the watch of a folder that was removed or moved: one of the same name is another folder.
    pub(crate) fn forget(&mut self, path: &Path) {
        if self.folders.remove(path).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            drop(watcher.unwatch(path));
        }
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What the events since the last round say about files, by canonical path.
pub(crate) struct Hints {
    patience: Duration,
    /// Whether events were lost, so that anything may have happened.
    anything: bool,
    touched: BTreeSet<PathBuf>,
    lost: BTreeSet<PathBuf>,
    /// Renamed to this name, and not written to since.
    placed: BTreeSet<PathBuf>,
    /// Written to and not closed since.
    open: BTreeMap<PathBuf, Instant>,
}

/// What the events say of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    /// Nothing.
    None,
    /// Something happened to it.
    Some,
    /// It was renamed into its place, so it is whole.
    Placed,
}

/// The hints one step works with.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Whether nothing may have happened but what is noted here.
    complete: bool,
    touched: BTreeSet<PathBuf>,
    lost: BTreeSet<PathBuf>,
    placed: BTreeSet<PathBuf>,
    open: BTreeMap<PathBuf, Duration>,
}

impl Hints {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            anything: false,
            touched: BTreeSet::new(),
            lost: BTreeSet::new(),
            placed: BTreeSet::new(),
            open: BTreeMap::new(),
        }
    }

    /// Notes an event. False if it says nothing of interest.
    pub(crate) fn take(&mut self, event: Event, interest: &Interest, now: Instant) -> bool {
        // Without a path it tells that events were lost.
        let mut matters = event.paths.is_empty();
        self.anything |= matters;
        for (index, path) in event.paths.into_iter().enumerate() {
            if !interest.includes(&path) {
                continue;
            }
            matters = true;
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => drop(self.open.insert(path.clone(), now)),
                EventKind::Access(_) | EventKind::Create(_) => drop(self.open.remove(&path)),
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                    self.open.remove(&path);
                    self.lost.insert(path.clone());
                }
                _ => {}
            }
            match event.kind {
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) => drop(self.placed.insert(path.clone())),
                EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if index == 1 => {
                    self.placed.insert(path.clone());
                }
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => {}
                _ => drop(self.placed.remove(&path)),
            }
            self.touched.insert(path);
        }
        matters
    }

    /// Whether all that has happened is that files were renamed into place: there is nothing to wait for.
    pub(crate) fn are_whole(&self) -> bool {
        let whole = |path: &&PathBuf| self.placed.contains(*path) || self.lost.contains(*path);
        !self.placed.is_empty() && self.touched.iter().filter(|path| is_read(path)).all(|path| whole(&path))
    }

    /// Hands over what was noted and begins anew.
    pub(crate) fn round(&mut self, now: Instant) -> Round {
        self.open.retain(|_, last| now.duration_since(*last) < self.patience);
        Round {
            complete: !std::mem::take(&mut self.anything),
            touched: std::mem::take(&mut self.touched),
            lost: std::mem::take(&mut self.lost),
            placed: std::mem::take(&mut self.placed),
            open: self.open.iter().map(|(p, last)| (p.clone(), self.patience - now.duration_since(*last))).collect(),
        }
    }
}

impl Round {
    /// All of these were renamed into place.
    #[cfg(test)]
    pub(crate) fn placed(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { placed: paths.into_iter().collect(), ..Self::default() }
    }

    /// All of these were renamed into place or away, and nothing else has happened.
    #[cfg(test)]
    pub(crate) fn only(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let touched: BTreeSet<PathBuf> = paths.into_iter().collect();
        Self { complete: true, placed: touched.clone(), touched, ..Self::default() }
    }

    /// All of these were written to and not closed: they are to be left alone for so long.
    #[cfg(test)]
    pub(crate) fn open(paths: impl IntoIterator<Item = PathBuf>, wait: Duration) -> Self {
        let open: std::collections::BTreeMap<PathBuf, Duration> = paths.into_iter().map(|path| (path, wait)).collect();
        Self {
            complete: true,
            touched: open.keys().cloned().collect(),
            open: open.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same, where more may have happened than was noted.
    pub(crate) fn incomplete(self) -> Self {
        Self { complete: false, ..self }
    }

    /// What has happened to which paths, if it is known that nothing else has.
    pub(crate) fn complete(&self) -> Option<impl Iterator<Item = &Path>> {
        self.complete.then(|| self.touched.iter().map(PathBuf::as_path))
    }

    /// What happened to the file.
    pub(crate) fn of(&self, path: &Path) -> Touch {
        match (self.placed.contains(path), self.touched.contains(path)) {
            (true, _) => Touch::Placed,
            (false, true) => Touch::Some,
            (false, false) => Touch::None,
        }
    }

    /// How long the file is to be left alone because its writer has not closed it.
    pub(crate) fn open_for(&self, path: &Path) -> Option<Duration> {
        self.open.get(path).copied()
    }

    /// Paths that were removed or renamed.
    pub(crate) fn lost(&self) -> impl Iterator<Item = &Path> {
        self.lost.iter().map(PathBuf::as_path)
    }
}
