//! All files together: each step looks at the disk and says whether anything changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::problem::has_errors;
use api::reach::Reach;
use api::{Admission, Object, ObjectRef, Problem, Severity, admit};
use status::Report;

use super::FolderSettings;
use super::assemble::{Assembled, Memory};
use super::files::{FileRecord, Look};
use super::scan::{Asked, Listing, list};
use super::watching::{Interest, Round, Touch};
use crate::assembly::digest;
use crate::board::FileProblem;
use crate::manifest::{Document, Parsed};

/// How long the first reading waits for files that are being written.
const LOAD_PATIENCE: Duration = Duration::from_secs(2);

/// One object as one document declares it.
#[derive(Debug)]
pub(crate) struct Declared {
    /// Shared by all that is known of the object: there may be very many.
    pub reference: Arc<ObjectRef>,
    /// Number of the document in its file, from 1.
    pub document: u32,
    /// Line where the document begins, from 1.
    pub line: u32,
    /// The object; when [`Declared::is_rejected`], what could be read of it.
    pub object: Option<Object>,
    /// Equal for equal contents.
    pub digest: blake3::Hash,
    /// What else is known, if that is anything.
    rest: Option<Box<Rest>>,
}

/// What most objects have none of.
#[derive(Debug)]
struct Rest {
    /// What the API server would say to it.
    problems: Vec<Problem>,
    /// What it governs by its own references.
    reach: Reach,
}

impl Declared {
    /// Whether the object must not be used as it stands.
    pub(crate) fn is_rejected(&self) -> bool {
        self.object.is_none() || has_errors(self.problems())
    }

    /// What the API server would say to it.
    pub(crate) fn problems(&self) -> &[Problem] {
        self.rest.as_ref().map(|rest| rest.problems.as_slice()).unwrap_or_default()
    }

    /// What it governs by its own references.
    pub(crate) fn reach(&self) -> Reach {
        self.rest.as_ref().map_or_else(|| Reach::Known(Vec::new()), |rest| rest.reach.clone())
    }
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
    /// What to watch from now on, if everything was looked at.
    pub interest: Option<Interest>,
}

/// The files below some paths, and the memory of what they declared.
pub(crate) struct Engine {
    roots: Vec<PathBuf>,
    settings: FolderSettings,
    sources: BTreeMap<PathBuf, Source>,
    /// What was found there.
    listing: Listing,
    /// Files to be looked at again although nothing may happen to them, with their canonical paths.
    waiting: BTreeMap<PathBuf, PathBuf>,
    asked: Asked,
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
            listing: Listing::default(),
            waiting: BTreeMap::new(),
            asked: Asked::default(),
            changed: BTreeSet::new(),
            memory,
        }
    }

    /// What is to be watched as of now.
    pub(crate) fn interest(&self) -> Interest {
        Interest::of(&list(&self.roots, self.settings.max_files, &self.asked))
    }

    /// Reads everything; blocks until files written right now have settled.
    pub(crate) fn load(&mut self) {
        let deadline = Instant::now() + LOAD_PATIENCE;
        while let Some(again) = self.step(&Round::default()).again {
            if Instant::now() + again >= deadline {
                return;
            }
            std::thread::sleep(again);
        }
    }

    /// Looks at the files to which something has happened, and at those that were not settled the last time;
    /// at all of them where it is not known what has happened. Takes in what has settled.
    pub(crate) fn step(&mut self, round: &Round) -> Step {
        let waiting = std::mem::take(&mut self.waiting);
        let touched: Option<BTreeSet<&Path>> =
            round.complete().map(|touched| touched.chain(waiting.values().map(PathBuf::as_path)).collect());
        let touched = touched.and_then(|touched| self.listing.update(touched, &self.asked)).map(|mut paths| {
            // Of those whose folder has gone with them the listing knows nothing any more.
            paths.extend(waiting.keys().cloned());
            paths
        });
        let mut changed = false;
        let looked_at = match touched {
            Some(touched) => (touched, None),
            None => {
                let listing = list(&self.roots, self.settings.max_files, &self.asked);
                changed |= (&self.listing.unknown, &self.listing.missing) != (&listing.unknown, &listing.missing);
                self.listing = listing;
                let all = self.listing.files.keys().chain(self.sources.keys()).cloned().collect();
                (all, Some(Interest::of(&self.listing)))
            }
        };
        let (looked_at, interest) = looked_at;
        let (found, gone): (Vec<PathBuf>, Vec<PathBuf>) =
            looked_at.into_iter().partition(|path| self.listing.files.contains_key(path));

        let mut again: Option<Duration> = None;
        let mut later = |path: &Path, canonical: &Path, wait: Duration| {
            again = Some(again.map_or(wait, |a| a.min(wait)));
            self.waiting.insert(path.to_owned(), canonical.to_owned());
        };
        // Oldest first, so that creation times follow the files' ages.
        let mut files: Vec<_> = found.iter().filter_map(|path| Some((path, self.listing.files.get(path)?))).collect();
        files.sort_by_key(|(path, found)| (found.stamp.modified, *path));
        for (path, found) in files {
            if let Some(wait) = round.open_for(&found.canonical) {
                later(path, &found.canonical, wait);
                continue;
            }
            let source = self.sources.entry(path.clone()).or_default();
            let written = source.record.modified;
            match source.record.look(path, found, round.of(&found.canonical), self.settings.vanish, &self.asked) {
                Look::Same => {}
                Look::Later(wait) => {
                    later(path, &found.canonical, wait);
                    // What it holds is not known; as long as it never was, it may hold anything.
                    if !source.record.good {
                        self.changed.insert(path.clone());
                    }
                }
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
        for path in gone {
            let Some(source) = self.sources.get_mut(&path).filter(|_| !is_unknown(&self.listing, &path)) else {
                continue;
            };
            let canonical = source.record.canonical.clone();
            match source.record.gone(round.of(&canonical) != Touch::None, self.settings.vanish) {
                Some(wait) => later(&path, &canonical, wait),
                None => {
                    self.sources.remove(&path);
                    changed = true;
                    self.changed.insert(path);
                }
            }
        }
        Step { changed, again, interest }
    }

    /// Takes in whatever is there, settled or not.
    #[cfg(test)]
    pub(crate) fn look_at_once(&mut self) {
        self.settings.vanish = Duration::ZERO;
        let files = list(&self.roots, self.settings.max_files, &self.asked).files;
        let found = files.values().map(|found| found.canonical.clone());
        self.step(&Round::placed(found));
    }

    /// Takes in what has happened to these files, settled or not, and nothing else.
    #[cfg(test)]
    pub(crate) fn look_at(&mut self, touched: impl IntoIterator<Item = PathBuf>) -> Step {
        self.settings.vanish = Duration::ZERO;
        self.step(&Round::only(touched))
    }

    /// How often the disk was asked so far: for folders, for stamps of files, for contents.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> [usize; 3] {
        let Asked { folders, stamps, contents } = &self.asked;
        [folders.get(), stamps.get(), contents.get()]
    }

    /// Has everything decided anew the next time.
    #[cfg(test)]
    pub(crate) fn all_changed(&mut self) {
        self.changed.extend(self.sources.keys().cloned());
    }

    /// The snapshot and statuses of what was read so far.
    pub(crate) fn assemble(&mut self) -> Assembled {
        let missing =
            self.listing.missing.iter().map(|path| (path, "does not exist (yet); it is read as soon as it does"));
        let unread = self.listing.unknown.iter().map(|(path, why)| (path, why.as_str())).chain(missing).collect();
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
                self.declare(admitted, modified, memory);
            }
            None => {
                self.record.good = true;
                self.declare(admitted, modified, memory);
            }
        }
    }

    fn declare(&mut self, admitted: Vec<Admitted>, modified: SystemTime, memory: &Memory) {
        self.record.modified = Some(modified);
        self.declared = Vec::with_capacity(admitted.len());
        self.unnamed.clear();
        for one in admitted {
            match one.admission.reference.clone() {
                Some(reference) => {
                    let Admitted { document, line, digest, admission, of_part } = one;
                    let Admission { object, mut problems, reach, .. } = admission;
                    of_part.into_iter().for_each(|problem| problems.insert(0, problem));
                    let reference = memory.shared(reference);
                    let anything = !problems.is_empty() || reach != Reach::Known(Vec::new());
                    let rest = anything.then(|| Box::new(Rest { problems, reach }));
                    // A file has fewer documents and lines than can be counted here.
                    let [document, line] = [document, line].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                    self.declared.push(Arc::new(Declared { reference, document, line, object, digest, rest }));
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
