//! All files together: each step looks at the disk and says whether anything changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::{Admission, Kind, ObjectRef, Problem, Severity, admit};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use status::Report;

use super::FolderSettings;
use super::assemble::{Assembled, Memory};
use super::files::{FileRecord, Look};
use super::scan::{Listing, list};
use super::watching::{Interest, Round, Touch};
use crate::assembly::digest;
use crate::board::FileProblem;
use crate::manifest::{Document, Parsed};

/// One object as one document declares it.
#[derive(Debug)]
pub(crate) struct Declared {
    pub reference: ObjectRef,
    /// Number of the document in its file, from 1.
    pub document: usize,
    /// Line where the document begins, from 1.
    pub line: usize,
    /// What the API server would say to it.
    pub admission: Admission,
    /// Equal for equal contents.
    pub digest: blake3::Hash,
}

/// A file with the objects it declares, as last read whole.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub record: FileRecord,
    pub declared: Vec<Arc<Declared>>,
    /// What is said of documents that name no object.
    pub unnamed: Vec<FileProblem>,
}

/// What came of one step.
pub(crate) struct Step {
    /// Whether anything is to be assembled anew.
    pub changed: bool,
    /// When to look again, if not just by the poll.
    pub again: Option<Duration>,
    /// What to watch from now on.
    pub interest: Interest,
}

/// The files below some paths, and the memory of what they declared.
pub(crate) struct Engine {
    roots: Vec<PathBuf>,
    settings: FolderSettings,
    sources: BTreeMap<PathBuf, Source>,
    /// Paths that could not be looked at.
    unknown: BTreeMap<PathBuf, String>,
    /// Paths given that do not exist.
    missing: BTreeSet<PathBuf>,
    /// Files of which something else is known than when everything was put together the last time.
    changed: BTreeSet<PathBuf>,
    memory: Memory,
}

impl Engine {
    pub(crate) fn new(roots: Vec<PathBuf>, settings: FolderSettings) -> Self {
        let memory = Memory::new(settings.allocate_vips);
        Self {
            roots,
            settings,
            sources: BTreeMap::new(),
            unknown: BTreeMap::new(),
            missing: BTreeSet::new(),
            changed: BTreeSet::new(),
            memory,
        }
    }

    /// What is to be watched as of now.
    pub(crate) fn interest(&self) -> Interest {
        Interest::of(&list(&self.roots, self.settings.max_files))
    }

    /// Reads everything; blocks until files written right now have settled.
    pub(crate) fn load(&mut self) -> Interest {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let step = self.step(&Round::default());
            match step.again {
                Some(again) if Instant::now() + again < deadline => std::thread::sleep(again),
                _ => return step.interest,
            }
        }
    }

    /// Looks at every file and takes in what has settled.
    pub(crate) fn step(&mut self, round: &Round) -> Step {
        let listing = list(&self.roots, self.settings.max_files);
        let mut changed = self.unknown != listing.unknown || self.missing != listing.missing;
        let mut again: Option<Duration> = None;
        let mut later = |wait: Duration| again = Some(again.map_or(wait, |a| a.min(wait)));

        // Oldest first, so that creation times follow the files' ages.
        let mut files: Vec<_> = listing.files.iter().collect();
        files.sort_by_key(|(path, found)| (found.stamp.modified, *path));
        for (path, found) in files {
            if let Some(wait) = round.open_for(&found.canonical) {
                later(wait);
                continue;
            }
            let source = self.sources.entry(path.clone()).or_default();
            let written = source.record.modified;
            match source.record.look(path, found, round.of(&found.canonical), self.settings.vanish) {
                Look::Same => {}
                Look::Later(wait) => later(wait),
                Look::Unreadable(problem) => {
                    changed |= source.record.problem.as_ref() != Some(&problem);
                    source.record.problem = Some(problem);
                    self.changed.insert(path.clone());
                }
                Look::New(parsed, modified) => {
                    source.take(parsed, modified, &mut self.memory);
                    changed = true;
                    self.changed.insert(path.clone());
                }
            }
            // Of several declarations the newest counts.
            if source.record.modified != written {
                self.changed.insert(path.clone());
            }
        }
        let vanish = self.settings.vanish;
        self.sources.retain(|path, source| {
            if listing.files.contains_key(path) || is_unknown(&listing, path) {
                return true;
            }
            let wait = source.record.gone(round.of(&source.record.canonical) != Touch::None, vanish);
            wait.into_iter().for_each(&mut later);
            if wait.is_none() {
                changed = true;
                self.changed.insert(path.clone());
            }
            wait.is_some()
        });
        let interest = Interest::of(&listing);
        self.unknown = listing.unknown;
        self.missing = listing.missing;
        Step { changed, again, interest }
    }

    /// Takes in whatever is there, settled or not.
    #[cfg(test)]
    pub(crate) fn look_at_once(&mut self) {
        self.settings.vanish = Duration::ZERO;
        let files = list(&self.roots, self.settings.max_files).files;
        let found = files.values().map(|found| found.canonical.clone());
        self.step(&Round::placed(found));
    }

    /// Has everything decided anew the next time.
    #[cfg(test)]
    pub(crate) fn all_changed(&mut self) {
        self.changed.extend(self.sources.keys().cloned());
    }

    /// The snapshot and statuses of what was read so far.
    pub(crate) fn assemble(&mut self) -> Assembled {
        let missing = self.missing.iter().map(|path| (path, "does not exist (yet); it is read as soon as it does"));
        let unread = self.unknown.iter().map(|(path, why)| (path, why.as_str())).chain(missing).collect();
        self.memory.assemble(&self.sources, &unread, &std::mem::take(&mut self.changed))
    }

    /// What is to be said of each object, as of the last time everything was put together.
    pub(crate) fn report(&self) -> &Report {
        self.memory.report()
    }
}

/// Whether `path` is or lies below one about which nothing could be learnt.
fn is_unknown(listing: &Listing, path: &Path) -> bool {
    path.ancestors().any(|above| listing.unknown.contains_key(above))
}

impl Source {
    /// Takes in a file's new contents: whole, or not at all.
    fn take(&mut self, parsed: Parsed, modified: SystemTime, memory: &mut Memory) {
        let Parsed { documents, error } = parsed;
        let mut admitted = Vec::with_capacity(documents.len());
        for Document { number, line, mut value } in documents {
            memory.give_creation_time(&mut value, modified);
            let (digest, admission) = (digest(&value), admit(&value));
            admitted.push(Admitted { document: number, line, digest, admission, of_part: None });
            // From here on there is only what was admitted, which has forgotten what it need not know.
            api::secret::wipe(&mut value);
        }
        // A document of which nobody knows what it would govern is like one that cannot be read.
        let unclear = admitted.iter().find(|one| one.admission.withholds).map(Admitted::unnamed);
        let error = error.or(unclear);
        self.record.problem = error.clone();
        match error {
            // The last whole version stays, objects and all.
            Some(_) if self.record.good => {}
            // There is none. What can be read is kept, but only to be refused.
            Some(error) => {
                let mut admitted = admitted;
                for one in &mut admitted {
                    let problem = Problem::error("", format!("its file cannot be read as a whole: {error}"));
                    one.of_part = Some(problem);
                }
                self.declare(admitted, modified);
            }
            None => {
                self.record.good = true;
                self.declare(admitted, modified);
            }
        }
    }

    fn declare(&mut self, admitted: Vec<Admitted>, modified: SystemTime) {
        self.record.modified = Some(modified);
        self.declared.clear();
        self.unnamed.clear();
        for one in admitted {
            match one.admission.reference.clone() {
                Some(reference) => {
                    let Admitted { document, line, digest, mut admission, of_part } = one;
                    of_part.into_iter().for_each(|problem| admission.problems.insert(0, problem));
                    self.declared.push(Arc::new(Declared { reference, document, line, digest, admission }));
                }
                None => self.unnamed.push(one.unnamed()),
            }
        }
    }
}

/// One document of a file, judged.
struct Admitted {
    document: usize,
    line: usize,
    digest: blake3::Hash,
    admission: Admission,
    /// Why it does not count, though it can be read.
    of_part: Option<Problem>,
}

impl Admitted {
    /// What is said of a document that names no object.
    fn unnamed(&self) -> FileProblem {
        let problems = self.admission.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        // Another product's is none of ours to refuse.
        let severity = if self.admission.withholds { Severity::Error } else { Severity::Warning };
        let whole = FileProblem::whole(format!("document {}: {problems}", self.document));
        FileProblem { severity, line: Some(self.line), ..whole }
    }
}

/// When objects were first seen, so that "the oldest wins" means the same after every edit.
#[derive(Debug, Default)]
pub(crate) struct CreationTimes {
    times: BTreeMap<ObjectRef, Timestamp>,
    /// The last time given out and the age of the file it came from.
    last: Option<(SystemTime, Timestamp)>,
    /// Those that were given one since they were asked for.
    recent: BTreeSet<ObjectRef>,
}

impl CreationTimes {
    /// Writes `metadata.creationTimestamp` into a manifest that has none.
    pub(crate) fn give(&mut self, value: &mut Value, modified: SystemTime) {
        let Some(reference) = reference_of(value) else { return };
        let Some(Value::Object(metadata)) = value.get_mut("metadata") else { return };
        if metadata.get("creationTimestamp").is_some_and(|time| !time.is_null()) {
            return;
        }
        let time = self.of(&reference, modified);
        metadata.insert("creationTimestamp".to_owned(), time.to_string().into());
    }

    /// The time of `reference`, new ones as old as their file but each later than the one before.
    pub(crate) fn of(&mut self, reference: &ObjectRef, modified: SystemTime) -> Timestamp {
        if let Some(time) = self.times.get(reference) {
            return *time;
        }
        let mut time = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
        if let Some((file, last)) = self.last
            && file <= modified
            && time <= last
        {
            time = last.checked_add(SignedDuration::from_micros(1)).unwrap_or(last);
        }
        self.last = Some((modified, time));
        self.recent.insert(reference.clone());
        self.times.insert(reference.clone(), time);
        time
    }

    /// The objects that were given a time since this was asked the last time.
    pub(crate) fn take_recent(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.recent)
    }

    /// Forgets an object that is not declared any more.
    pub(crate) fn forget(&mut self, reference: &ObjectRef) {
        self.times.remove(reference);
    }
}

/// What a manifest names, before it is admitted.
fn reference_of(value: &Value) -> Option<ObjectRef> {
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let kind = Kind::find(&text(value, "apiVersion")?, &text(value, "kind")?)?;
    let metadata = value.get("metadata")?;
    let namespace = match text(metadata, "namespace") {
        _ if !kind.namespaced() => String::new(),
        Some(namespace) => namespace,
        None => "default".to_owned(),
    };
    Some(ObjectRef::new(kind, namespace, text(metadata, "name")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that vanish take what they declare with them: those of a folder that cannot be looked at have not.
    #[test]
    fn what_lies_below_what_cannot_be_looked_at_is_not_gone() {
        let mut listing = Listing::default();
        listing.unknown.insert("/m/closed".into(), "permission denied".to_owned());
        for path in ["/m/closed", "/m/closed/a.yaml", "/m/closed/deep/a.yaml"] {
            assert!(is_unknown(&listing, Path::new(path)), "{path}");
        }
        for path in ["/m/a.yaml", "/m", "/m/closed.yaml", "/closed/a.yaml"] {
            assert!(!is_unknown(&listing, Path::new(path)), "{path}");
        }
    }
}
