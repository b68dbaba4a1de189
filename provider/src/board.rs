//! Where everyone writes what became of the objects, and `/status` reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{ObjectRef, Severity, Table};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use status::board::Author;
use status::{Board, Condition, Diff, ObjectStatus, Report, Writer};
use tokio::sync::watch;

use crate::AUTHOR;

/// A file that was read, and what is wrong with it as a file.
///
/// What is wrong with the objects in it stands with the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// The path, as it was found below the paths given.
    pub path: PathBuf,
    /// How many objects of the file count.
    pub objects: usize,
    /// What keeps the file, or a document of it, from being read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FileProblem>,
}

/// One mistake in a file that cannot be put on an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileProblem {
    /// Whether it keeps something from being served, or is advice.
    pub severity: Severity,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong and what to write instead. Never holds contents of a Secret.
    pub message: String,
}

impl FileProblem {
    /// A mistake of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, line: None, column: None, message: message.into() }
    }

    /// Whether this is more than advice.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for FileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: {}", self.message),
            (Some(line), None) => write!(f, "line {line}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

/// Where an object is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file, as it was found below the paths given.
    pub path: Arc<Path>,
    /// Line where its document begins, from 1.
    pub line: usize,
    /// Number of that document, from 1.
    pub document: usize,
}

impl Origin {
    /// File, line and document, for people.
    pub fn place(&self) -> String {
        format!("{}:{} (document {})", self.path.display(), self.line, self.document)
    }

    /// What is said of an object of which there is nothing else to say than where it is declared.
    fn accepted(&self) -> ObjectStatus {
        let mut condition = Condition::accepted(Vec::new());
        condition.message = self.place();
        ObjectStatus::new(vec![condition])
    }
}

/// Where each object is declared.
pub type Origins = Table<Origin, Arc<ObjectRef>>;

/// The files that were read, by path.
pub type Files = Table<FileStatus, PathBuf>;

/// All that is said about all objects, by everyone. Clones share it.
#[derive(Clone)]
pub struct StatusBoard(Arc<Inner>);

impl std::fmt::Debug for StatusBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusBoard").finish_non_exhaustive()
    }
}

struct Inner {
    said: RwLock<Board>,
    writers: Mutex<Vec<Box<dyn Writer>>>,
    files: RwLock<Files>,
    origins: RwLock<Arc<Origins>>,
    changes: watch::Sender<u64>,
    serving: watch::Sender<BTreeMap<Author, u64>>,
}

impl Default for StatusBoard {
    fn default() -> Self {
        Self(Arc::new(Inner {
            said: RwLock::default(),
            writers: Mutex::default(),
            files: RwLock::default(),
            origins: RwLock::default(),
            changes: watch::Sender::new(0),
            serving: watch::Sender::default(),
        }))
    }
}

impl StatusBoard {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all that `author` has said.
    pub fn publish(&self, author: Author, report: Report) {
        self.write(|board| board.publish(author, report));
    }

    /// Takes over what `author` says differently from before; other objects are not looked at.
    pub fn apply(&self, author: Author, diff: Diff) {
        self.write(|board| board.apply(author, diff));
    }

    /// Has `writer` write all that stands, and from now on whatever changes.
    pub fn write_by(&self, mut writer: Box<dyn Writer>) {
        // No change is missed or comes twice: both locks are held from the first to the last.
        let said = self.0.said.write();
        let mut writers = self.0.writers.lock();
        writer.write(said.stands(said.objects()));
        writers.push(writer);
    }

    fn write(&self, change: impl FnOnce(&mut Board) -> Vec<ObjectRef>) {
        let differs = {
            let mut said = self.0.said.write();
            let objects = change(&mut said);
            if !objects.is_empty() {
                for writer in self.0.writers.lock().iter_mut() {
                    writer.write(said.stands(&objects));
                }
            }
            !objects.is_empty()
        };
        self.changed(differs);
    }

    fn changed(&self, differs: bool) {
        if differs {
            self.0.changes.send_modify(|count| *count += 1);
        }
    }

    /// Everything said about each object, with who said it, authors in alphabetical order.
    ///
    /// That an object is declared where its origin says, and accepted, the provider does not say of each: it
    /// is so of whatever has an origin and of which the provider says nothing else.
    pub fn merged(&self) -> BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> {
        let (origins, mut merged) = {
            // Both as they were at one moment.
            let origins = self.0.origins.read();
            (origins.clone(), self.0.said.read().merged())
        };
        for (object, origin) in origins.iter() {
            let said = merged.entry(ObjectRef::clone(object)).or_default();
            let place = said.partition_point(|(author, _)| author.as_str() < AUTHOR);
            if said.get(place).is_none_or(|(author, _)| author != AUTHOR) {
                said.insert(place, (AUTHOR.to_owned(), origin.accepted()));
            }
        }
        merged
    }

    /// What is said about objects that is not simply good, with who said it, authors in alphabetical order.
    pub fn remarks(&self) -> BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> {
        self.0.said.read().remarks()
    }

    /// Says that `author` answers by the snapshot of this revision from now on.
    pub fn serves(&self, author: Author, revision: u64) {
        self.0.serving.send_if_modified(|serving| serving.insert(author, revision) != Some(revision));
    }

    /// Waits until all others than `but` who say by which snapshot they answer do so by that of `revision` or a later one.
    pub async fn until_served(&self, but: Author, revision: u64) {
        let mut serving = self.0.serving.subscribe();
        let late = |(author, served): (&Author, &u64)| *author != but && *served < revision;
        // The sender lives as long as the board.
        let _ = serving.wait_for(|serving| !serving.iter().any(late)).await;
    }

    /// Waits until the author of this name has said what it makes of all that is declared, and answers by it.
    pub async fn until_judged(&self, author: &str) {
        let mut serving = self.0.serving.subscribe();
        let _ = serving.wait_for(|serving| serving.contains_key(author)).await;
    }

    /// Counts up with every change of what the board holds.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Where each object is declared.
    pub fn origins(&self) -> Arc<Origins> {
        self.0.origins.read().clone()
    }

    /// Replaces where each object is declared, and takes over what the provider says differently from before of
    /// those that are not simply accepted.
    pub fn declare(&self, origins: Origins, said: Diff) {
        let changed = {
            let mut held = self.0.origins.write();
            let changed = **held != origins;
            *held = Arc::new(origins);
            self.apply(AUTHOR, said);
            changed
        };
        self.changed(changed);
    }

    /// The files that were read, by path.
    pub fn files(&self) -> Vec<FileStatus> {
        self.0.files.read().values().map(|file| file.as_ref().clone()).collect()
    }

    /// Replaces the list of files.
    pub(crate) fn publish_files(&self, files: Files) {
        let changed = {
            let mut held = self.0.files.write();
            let changed = *held != files;
            *held = files;
            changed
        };
        self.changed(changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    fn report(message: &str) -> Report {
        let status = ObjectStatus::new(vec![Condition::holds("Accepted", "Accepted", message)]);
        Report::from([(ObjectRef::new(Kind::Service, "shop", "cart"), vec![status])])
    }

    #[tokio::test]
    async fn a_revision_is_served_once_all_who_answer_have_it() {
        let board = StatusBoard::new();
        board.until_served("waypoint", 7).await;
        board.serves("extauth", 7);
        board.serves("ratelimit", 6);
        // Whoever waits for the others does not wait for itself.
        board.serves("waypoint", 5);
        let waiting = tokio::spawn({
            let board = board.clone();
            async move { board.until_served("waypoint", 7).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        board.serves("ratelimit", 8);
        assert!(waiting.await.is_ok());
        board.until_judged("waypoint").await;
        let moment = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(moment, board.until_judged("somebody else")).await.is_err());
    }

    /// Sends what it is to write.
    struct Sender(std::sync::mpsc::Sender<Diff>);

    impl Writer for Sender {
        fn write(&mut self, diff: Diff) {
            self.0.send(diff).ok();
        }
    }

    #[test]
    fn a_writer_is_handed_what_stands_and_then_each_change() {
        let board = StatusBoard::new();
        board.publish("extauth", report("compiled"));
        let (sender, written) = std::sync::mpsc::channel();
        board.write_by(Box::new(Sender(sender)));
        let stands = |message| status::diff(&Report::new(), &report(message));
        assert_eq!(written.try_recv(), Ok(stands("compiled")));
        board.publish("extauth", report("compiled"));
        assert!(written.try_recv().is_err(), "the same words are no change");
        board.publish("waypoint", report("programmed"));
        assert_eq!(written.try_recv(), Ok(stands("compiled; programmed")), "all authors together");
        board.publish("extauth", Report::new());
        assert_eq!(written.try_recv(), Ok(stands("programmed")));
    }

    #[test]
    fn only_what_differs_wakes_those_who_watch() {
        let board = StatusBoard::new();
        let mut changes = board.subscribe();
        board.publish("extauth", report("compiled"));
        assert!(changes.has_changed().is_ok_and(|changed| changed));
        changes.mark_unchanged();
        board.publish("extauth", report("compiled"));
        board.apply("extauth", status::diff(&Report::new(), &report("compiled")));
        assert!(changes.has_changed().is_ok_and(|changed| !changed), "the same words are no change");
        board.apply("extauth", status::diff(&report("compiled"), &Report::new()));
        assert!(changes.has_changed().is_ok_and(|changed| changed));
        assert!(board.merged().is_empty());
    }
}
