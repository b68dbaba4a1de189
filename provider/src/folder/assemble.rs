//! From all files to one snapshot: who wins, what stays, what is refused, and what is said about it.
//!
//! Only objects that a changed file declares or has declared are decided anew, and Services whose
//! address depends on theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use api::{Kind, Name, ObjectRef, Problem, Snapshot, Withheld};
use serde_json::Value;
use status::{Diff, Report};

use super::addresses::{ServiceAddresses, requested};
use super::creation::CreationTimes;
use super::decision::Decision;
use super::declarations::Declarations;
use super::engine::Source;
use super::namespaces::{self, Namespaces};
use crate::assembly::Assembly;
use crate::board::{FileProblem, FileStatus, Files, Origins};

/// The state kept between one reading and the next.
#[derive(Default)]
pub(crate) struct Memory {
    allocate: bool,
    creations: CreationTimes,
    addresses: ServiceAddresses,
    namespaces: Namespaces,
    declarations: Declarations,
    assembly: Assembly,
    /// What is to be said of objects that are not simply accepted.
    report: Report,
    /// Where each object is declared, by the declaration that counts.
    origins: Origins,
    files: Files,
    /// Files that were never read whole.
    unread_files: BTreeSet<PathBuf>,
    /// Paths of which nothing could be learnt the last time.
    unknown: BTreeSet<PathBuf>,
    /// Objects of which what was written last is not served.
    rejected: BTreeSet<Arc<ObjectRef>>,
    /// Objects with something wrong.
    wrong: BTreeSet<Arc<ObjectRef>>,
}

/// The outcome of one reading.
pub(crate) struct Assembled {
    pub snapshot: Snapshot,
    /// Whether it says anything else than the one before.
    pub differs: bool,
    /// What is said differently from before.
    pub said: Diff,
    pub files: Files,
    pub origins: Origins,
    /// Everything that is wrong with the manifests themselves.
    pub mistakes: Vec<Mistake>,
    /// Of how many objects what was written last is not served.
    pub rejected: usize,
    kinds: BTreeMap<Kind, usize>,
}

impl Memory {
    pub(crate) fn new(allocate: bool) -> Self {
        Self { allocate, ..Self::default() }
    }

    pub(crate) fn give_creation_time(&mut self, value: &mut Value, modified: SystemTime) {
        self.creations.give(value, modified);
    }

    /// The reference that everything known of the object shares.
    pub(crate) fn shared(&self, reference: ObjectRef) -> Arc<ObjectRef> {
        let known = self.creations.key(&reference).or_else(|| self.declarations.key(&reference));
        known.cloned().unwrap_or_else(|| Arc::new(reference))
    }

    /// What is to be said of each object that is not simply accepted.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Decides about every object that one of the `changed` files declares or has declared.
    pub(crate) fn assemble(
        &mut self,
        sources: &BTreeMap<PathBuf, Source>,
        unread: &BTreeMap<&PathBuf, &str>,
        changed: &BTreeSet<PathBuf>,
    ) -> Assembled {
        let mut due = self.declarations.note(sources, changed);
        due.extend(self.creations.take_recent());
        for reference in &due {
            let (was, is) = (self.origins.contains_key(reference), self.declarations.contain(reference));
            if !is {
                self.assembly.forget_good(reference);
            }
            self.namespaces.count(reference, was, is);
        }
        if self.allocate {
            let moved = self.give_addresses(sources, &due);
            due.extend(moved);
        }
        let mut said = Diff::default();
        for reference in &due {
            let decision = self.decide(sources, reference).map(|decision| self.with_address(reference, decision));
            self.say(reference, decision.as_ref(), &mut said);
            if let Some(decision) = &decision
                && let (Some(object), false) = (&decision.object, decision.fallback)
            {
                self.assembly.keep_good(reference.clone(), object.clone());
            }
            // A namespace that is there because objects are in it is none of these.
            if decision.is_some() || !self.namespaces.hold(reference) {
                self.assembly.put(reference.clone(), decision.map(Decision::version));
            }
        }
        self.settle_namespaces(sources, &due);
        self.list_files(sources, unread, changed);
        let (snapshot, differs) = self.assembly.assemble(self.withheld(sources, unread));
        let kinds = Kind::ALL.iter().map(|kind| (*kind, snapshot.count(*kind)));
        Assembled {
            differs,
            said,
            files: self.files.clone(),
            origins: self.origins.clone(),
            mistakes: self.mistakes(),
            rejected: self.rejected.len(),
            kinds: kinds.collect(),
            snapshot,
        }
    }

    /// What is decided about the object, but for its address; none if it is not declared.
    fn decide(&self, sources: &BTreeMap<PathBuf, Source>, reference: &ObjectRef) -> Option<Decision> {
        Decision::of(&self.declarations.of(sources, reference), self.assembly.last_good(reference))
    }

    /// `decision` with the address that was decided.
    fn with_address(&self, reference: &ObjectRef, decision: Decision) -> Decision {
        match self.addresses.of(&reference.name).filter(|_| reference.kind == Kind::Service) {
            Some(addressed) => decision.with_address(addressed, self.assembly.last_good(reference)),
            None => decision,
        }
    }

    /// Decides about addresses, of all Services if one of those that are `due` asks for something else
    /// than before. The answer is the Services for which it is decided otherwise than before.
    fn give_addresses(
        &mut self,
        sources: &BTreeMap<PathBuf, Source>,
        due: &BTreeSet<Arc<ObjectRef>>,
    ) -> Vec<Arc<ObjectRef>> {
        let mut differs = false;
        for reference in due.iter().filter(|reference| reference.kind == Kind::Service) {
            let request = self.decide(sources, reference).and_then(|decision| decision.requested());
            differs |= self.addresses.ask(&reference.name, request);
        }
        if !differs {
            return Vec::new();
        }
        let of = |name: &Name| ObjectRef { kind: Kind::Service, name: name.clone() };
        let (declarations, assembly) = (&self.declarations, &self.assembly);
        let moved = self.addresses.decide(|name| {
            let last_good = assembly.last_good(&of(name));
            let decision = Decision::of(&declarations.of(sources, &of(name)), last_good)?;
            requested(decision.without_address(last_good).as_ref())
        });
        moved.iter().map(|name| self.shared(of(name))).collect()
    }

    /// Lets Namespaces come that objects are in without being declared, and those go in which there is nothing any
    /// more.
    fn settle_namespaces(&mut self, sources: &BTreeMap<PathBuf, Source>, due: &BTreeSet<Arc<ObjectRef>>) {
        let moves = self.namespaces.settle(due, |reference| self.declarations.contain(reference));
        for reference in &moves.gone {
            self.creations.forget(reference);
            let shared = self.shared(reference.clone());
            self.assembly.put(shared, None);
        }
        for reference in due {
            if !self.namespaces.hold(reference) && !self.declarations.contain(reference) {
                self.creations.forget(reference);
            }
        }
        let oldest = self.oldest(sources, &moves.come);
        for name in moves.come {
            let since = oldest.get(&name).copied().unwrap_or(SystemTime::UNIX_EPOCH);
            let version = namespaces::made(&name, since, &mut self.creations);
            let shared = self.shared(namespaces::reference(&name));
            self.assembly.put(shared, Some(version));
        }
    }

    /// When the oldest object of each of these `namespaces` was written.
    fn oldest(
        &self,
        sources: &BTreeMap<PathBuf, Source>,
        namespaces: &BTreeSet<String>,
    ) -> BTreeMap<String, SystemTime> {
        let mut oldest: BTreeMap<String, SystemTime> = BTreeMap::new();
        if namespaces.is_empty() {
            return oldest;
        }
        for reference in self.declarations.objects().filter(|reference| reference.kind.namespaced()) {
            if namespaces.contains(&reference.name.namespace)
                && let Some(winner) = self.declarations.of(sources, reference).first()
            {
                let since = winner.source.record.modified.unwrap_or(SystemTime::UNIX_EPOCH);
                let known = oldest.entry(reference.name.namespace.clone()).or_insert(since);
                *known = since.min(*known);
            }
        }
        oldest
    }

    /// Notes what is to be said about an object.
    fn say(&mut self, reference: &Arc<ObjectRef>, decision: Option<&Decision>, said: &mut Diff) {
        match decision {
            None => drop(self.origins.remove(reference)),
            Some(decision) => {
                let origin = decision.origin();
                if self.origins.get(reference).is_none_or(|known| **known != origin) {
                    self.origins.insert(reference.clone(), origin);
                }
            }
        }
        let put = |set: &mut BTreeSet<Arc<ObjectRef>>, is: bool| {
            if is {
                set.insert(reference.clone());
            } else {
                set.remove(reference);
            }
        };
        put(&mut self.rejected, decision.is_some_and(Decision::is_rejected));
        put(&mut self.wrong, decision.is_some_and(|decision| !decision.problems.is_empty()));
        // That an object is simply accepted is not said: it follows from where it is declared.
        match decision.filter(|decision| !decision.is_simply_accepted()) {
            None if self.report.remove(&**reference).is_some() => said.silent.push(ObjectRef::clone(reference)),
            None => {}
            Some(decision) => {
                let status = vec![decision.status()];
                if self.report.get(&**reference) != Some(&status) {
                    self.report.insert(ObjectRef::clone(reference), status.clone());
                    said.said.push((ObjectRef::clone(reference), status));
                }
            }
        }
    }

    /// Keeps up the list of files.
    fn list_files(
        &mut self,
        sources: &BTreeMap<PathBuf, Source>,
        unread: &BTreeMap<&PathBuf, &str>,
        changed: &BTreeSet<PathBuf>,
    ) {
        let before = std::mem::replace(&mut self.unknown, unread.keys().map(|path| (*path).clone()).collect());
        let paths: BTreeSet<PathBuf> = changed.iter().chain(&before).chain(&self.unknown).cloned().collect();
        for path in paths {
            let source = sources.get(&path);
            match source.filter(|source| !source.record.good) {
                Some(_) => drop(self.unread_files.insert(path.clone())),
                None => drop(self.unread_files.remove(&path)),
            }
            let mut file = source.map(|source| {
                let mut problems: Vec<FileProblem> = Vec::new();
                problems.extend(source.record.problem.clone());
                let unnamed = source.unnamed.iter().filter(|one| Some(*one) != source.record.problem.as_ref());
                problems.extend(unnamed.cloned());
                FileStatus { path: path.clone(), objects: source.declared.len(), problems }
            });
            if let Some(why) = unread.get(&path) {
                let file = file.get_or_insert_with(|| FileStatus { path: path.clone(), objects: 0, problems: vec![] });
                file.problems.push(FileProblem::whole(*why));
            }
            match file {
                Some(file) if self.files.get(&path).is_some_and(|known| **known == file) => {}
                Some(file) => drop(self.files.insert(path, file)),
                None => drop(self.files.remove(&path)),
            }
        }
    }

    /// Why not all that is there could be read: files that never were, and paths that cannot be looked at.
    fn withheld(&self, sources: &BTreeMap<PathBuf, Source>, unread: &BTreeMap<&PathBuf, &str>) -> Vec<Withheld> {
        let mut reasons: Vec<Withheld> = Vec::new();
        for (path, source) in self.unread_files.iter().filter_map(|path| sources.get_key_value(path)) {
            reasons.push(match &source.record.problem {
                Some(problem) => Withheld {
                    place: problem.line.map_or(path.display().to_string(), |line| format!("{}:{line}", path.display())),
                    why: problem.message.clone(),
                },
                None => Withheld { place: path.display().to_string(), why: "is still being written to".to_owned() },
            });
        }
        for (path, why) in unread {
            reasons.push(Withheld { place: path.display().to_string(), why: (*why).to_owned() });
        }
        reasons.sort();
        reasons
    }

    /// Everything that is wrong with the manifests themselves.
    fn mistakes(&self) -> Vec<Mistake> {
        let of_files = self.files.values().flat_map(|file| {
            file.problems.iter().map(|problem| Mistake {
                file: file.path.clone(),
                line: problem.line,
                object: None,
                problem: Problem { severity: problem.severity, field: String::new(), message: problem.message.clone() },
            })
        });
        let of_objects = self.wrong.iter().flat_map(|object| {
            let origin = self.origins.get(object);
            let statuses = self.report.get(&**object).into_iter().flatten();
            let problems = statuses.flat_map(|status| &status.conditions).flat_map(|condition| &condition.problems);
            problems.map(move |problem| Mistake {
                file: origin.map(|origin| origin.path.to_path_buf()).unwrap_or_default(),
                line: origin.map(|origin| origin.line),
                object: Some(ObjectRef::clone(object)),
                problem: problem.clone(),
            })
        });
        of_files.chain(of_objects).collect()
    }
}

/// One mistake of an object or of a file, to be logged.
pub(crate) struct Mistake {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub object: Option<ObjectRef>,
    pub problem: Problem,
}

/// What tells a mistake from another, wherever in its file it moves.
pub(crate) type MistakeKey = (PathBuf, Option<ObjectRef>, Problem);

impl Mistake {
    pub(crate) fn key(&self) -> MistakeKey {
        (self.file.clone(), self.object.clone(), self.problem.clone())
    }
}

impl Assembled {
    /// Writes the metrics.
    pub(crate) fn record(&self) {
        if self.differs {
            metrics::counter!("waykeeper_provider_reloads_total").increment(1);
        }
        for (kind, count) in &self.kinds {
            metrics::gauge!("waykeeper_provider_objects", "kind" => kind.as_str()).set(*count as f64);
        }
        metrics::gauge!("waykeeper_provider_rejected_objects").set(self.rejected as f64);
        let broken_files = self.files.values().filter(|file| file.problems.iter().any(FileProblem::is_error)).count();
        metrics::gauge!("waykeeper_provider_broken_files").set(broken_files as f64);
    }
}
