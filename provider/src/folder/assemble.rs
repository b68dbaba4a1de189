//! From all files to one snapshot: who wins, what stays, what is refused, and what is said about it.
//!
//! Only objects that a changed file declares or has declared are decided anew, and Services whose
//! address depends on theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use api::core::{Namespace, ObjectMeta, Time};
use api::{Broken, Kind, Name, Object, ObjectRef, Problem, Snapshot, Withheld};
use blake3::Hash;
use serde_json::Value;
use smallvec::SmallVec;
use status::{Condition, Diff, ObjectStatus, Report};

use super::addresses::{Addresses, Answer, Requested, replaced, with_address};
use super::engine::{CreationTimes, Declared, Source};
use crate::assembly::{Assembly, Version};
use crate::board::{FileProblem, FileStatus, Files, Origin, Origins};

/// Label by which selectors find a namespace by its name; every API server sets it.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The state kept between one reading and the next.
#[derive(Default)]
pub(crate) struct Memory {
    allocate: bool,
    creations: CreationTimes,
    addresses: Addresses,
    assembly: Assembly,
    places: HashMap<Arc<ObjectRef>, Places>,
    /// What each file declares.
    declared: HashMap<Arc<Path>, Vec<Arc<ObjectRef>>>,
    /// What each Service asks for.
    requests: BTreeMap<Name, Requested>,
    /// What each Service gets.
    addressed: BTreeMap<Name, Addressed>,
    /// How many declared objects are in each namespace.
    population: BTreeMap<String, usize>,
    /// Namespaces that are there because objects are in them.
    implicit: BTreeSet<String>,
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

/// Where an object is declared: files, and numbers in what they declare. Almost always there is one.
type Places = SmallVec<[(Arc<Path>, usize); 1]>;

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
    rejected: usize,
    kinds: BTreeMap<Kind, usize>,
}

/// One declaration of an object among possibly several.
#[derive(Clone)]
struct Candidate<'a> {
    path: &'a Arc<Path>,
    source: &'a Source,
    declared: &'a Arc<Declared>,
    index: usize,
}

impl Candidate<'_> {
    fn age(&self) -> (Option<SystemTime>, &Path, u32, usize) {
        (self.source.record.modified, self.path, self.declared.document, self.index)
    }

    fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.declared.line)
    }

    fn usable(&self) -> Option<(Object, Hash)> {
        let object = self.declared.object.as_ref().filter(|_| !self.declared.is_rejected())?;
        Some((object.clone(), self.declared.digest))
    }
}

/// What is decided about one object. It is not kept: it follows from the files and from the last good version.
struct Decision {
    path: Arc<Path>,
    declared: Arc<Declared>,
    /// What to serve.
    object: Option<(Object, Hash)>,
    /// Whether that is not what was written last.
    fallback: bool,
    problems: Vec<Problem>,
    address: String,
}

/// The address that one Service gets.
#[derive(Clone, PartialEq)]
struct Addressed {
    /// Why it does not get the one that is written: then its last good version counts, if it may.
    refused: Option<Problem>,
    answer: Option<Answer>,
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
        let known =
            self.creations.key(&reference).or_else(|| self.places.get_key_value(&reference).map(|(key, _)| key));
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
        let mut due = self.locate(sources, changed);
        due.extend(self.creations.take_recent());
        for reference in &due {
            let (was, is) = (self.origins.contains_key(reference), self.places.contains_key(reference));
            if !is {
                self.assembly.forget_good(reference);
            }
            self.count(reference, was, is);
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
            let implicit = reference.kind == Kind::Namespace && self.implicit.contains(&reference.name.name);
            if decision.is_some() || !implicit {
                self.assembly.put(reference.clone(), decision.map(Decision::version));
            }
        }
        for (reference, version) in self.namespaces(sources, &due) {
            self.assembly.put(reference, version);
        }
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

    /// Notes what the `changed` files declare now; the answer is what they declare and have declared.
    fn locate(&mut self, sources: &BTreeMap<PathBuf, Source>, changed: &BTreeSet<PathBuf>) -> BTreeSet<Arc<ObjectRef>> {
        let mut due = BTreeSet::new();
        for path in changed {
            let path: Arc<Path> = Arc::from(path.as_path());
            for (index, reference) in self.declared.remove(&path).unwrap_or_default().into_iter().enumerate() {
                if let Some(places) = self.places.get_mut(&reference) {
                    places.retain(|(file, number)| (&*file, *number) != (&path, index));
                    if places.is_empty() {
                        self.places.remove(&reference);
                    }
                }
                due.insert(reference);
            }
            let Some(source) = sources.get(path.as_ref()) else { continue };
            let mut references = Vec::with_capacity(source.declared.len());
            for (index, declared) in source.declared.iter().enumerate() {
                let reference = declared.reference.clone();
                self.places.entry(reference.clone()).or_default().push((path.clone(), index));
                due.insert(reference.clone());
                references.push(reference);
            }
            self.declared.insert(path, references);
        }
        due
    }

    /// Every declaration of an object, the newest first. Ties go to the later path, then the later document:
    /// the order in which `kubectl apply` would have applied them. Of a list's items, which share a
    /// document, the later one comes first, too.
    fn candidates<'a>(
        &'a self,
        sources: &'a BTreeMap<PathBuf, Source>,
        reference: &ObjectRef,
    ) -> SmallVec<[Candidate<'a>; 1]> {
        let places = self.places.get(reference).into_iter().flatten();
        let mut all: SmallVec<[Candidate<'a>; 1]> = places
            .filter_map(|(path, index)| {
                let source = sources.get(path.as_ref())?;
                Some(Candidate { path, source, declared: source.declared.get(*index)?, index: *index })
            })
            .collect();
        all.sort_by(|a, b| b.age().cmp(&a.age()));
        all
    }

    /// The newest declaration wins; if it cannot be used, what was good last stays. None for an object
    /// that is not declared.
    fn decide(&self, sources: &BTreeMap<PathBuf, Source>, reference: &ObjectRef) -> Option<Decision> {
        let all = self.candidates(sources, reference);
        let winner = all.first()?;
        let mut problems = winner.declared.problems().to_vec();
        let others: BTreeSet<String> = all[1..].iter().map(Candidate::place).collect();
        if !others.is_empty() {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            problems.push(Problem::warning(
                "",
                format!("declared more than once: {} is newest and counts, not {others}; keep one", winner.place()),
            ));
        }
        if let (Some(problem), true) = (&winner.source.record.problem, winner.source.record.good) {
            problems.push(Problem::warning(
                "",
                format!(
                    "the latest edit of {} is not in use, the last good version is: {problem}",
                    winner.path.display()
                ),
            ));
        }
        let usable = winner.usable();
        let fallback = usable.is_none();
        let object = usable
            .or_else(|| self.assembly.last_good(reference).cloned())
            // As if the older file had been read before the newer one was written.
            .or_else(|| all[1..].iter().find_map(Candidate::usable));
        Some(Decision {
            path: winner.path.clone(),
            declared: winner.declared.clone(),
            object,
            fallback,
            problems,
            address: String::new(),
        })
    }

    /// Counts the objects of each namespace.
    fn count(&mut self, reference: &ObjectRef, was: bool, is: bool) {
        if was == is || !reference.kind.namespaced() {
            return;
        }
        let namespace = &reference.name.namespace;
        let population = self.population.entry(namespace.clone()).or_default();
        *population = if is { *population + 1 } else { *population - 1 };
        if *population == 0 {
            self.population.remove(namespace);
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
            let name = &reference.name;
            let request = self.decide(sources, reference).and_then(|decision| requested(decision.object.as_ref()));
            let refused = self.addressed.get(name).is_some_and(|addressed| addressed.refused.is_some());
            differs |= refused || self.requests.get(name) != request.as_ref();
            match request {
                Some(request) => drop(self.requests.insert(name.clone(), request)),
                None => drop(self.requests.remove(name)),
            }
        }
        if !differs {
            return Vec::new();
        }
        let mut answers = self.addresses.decide(&self.requests);
        let refused: BTreeMap<Name, Problem> =
            answers.iter().filter_map(|(name, answer)| Some((name.clone(), answer.clone().err()?))).collect();
        // The version before may have asked for another address.
        let mut again = None;
        for name in refused.keys() {
            let requests = again.get_or_insert_with(|| self.requests.clone());
            let decision = self.decide(sources, &ObjectRef { kind: Kind::Service, name: name.clone() });
            match requested(decision.and_then(|decision| self.without_address(name, &decision)).as_ref()) {
                Some(request) => drop(requests.insert(name.clone(), request)),
                None => drop(requests.remove(name)),
            }
        }
        if let Some(requests) = again.filter(|requests| refused.keys().any(|name| requests.contains_key(name))) {
            answers = self.addresses.decide(&requests);
        } else {
            answers.retain(|name, _| !refused.contains_key(name));
        }
        let mut addressed = BTreeMap::new();
        for name in self.requests.keys() {
            let answer = answers.remove(name);
            addressed.insert(name.clone(), Addressed { refused: refused.get(name).cloned(), answer });
        }
        let before = std::mem::replace(&mut self.addressed, addressed);
        let moved = self.addressed.iter().filter(|(name, now)| before.get(*name) != Some(now)).map(|(name, _)| name);
        moved.map(|name| self.shared(ObjectRef { kind: Kind::Service, name: name.clone() })).collect()
    }

    /// What is served of a Service that does not get the address that it asks for.
    fn without_address(&self, name: &Name, decision: &Decision) -> Option<(Object, Hash)> {
        let reference = ObjectRef { kind: Kind::Service, name: name.clone() };
        self.assembly.last_good(&reference).filter(|_| !decision.fallback).cloned()
    }

    /// `decision` with the address that was decided, and a Namespace with its label.
    fn with_address(&self, reference: &ObjectRef, mut decision: Decision) -> Decision {
        let addressed = self.addressed.get(&reference.name).filter(|_| reference.kind == Kind::Service);
        let Some(Addressed { refused, answer }) = addressed else { return decision };
        if let Some(problem) = refused {
            decision.problems.push(problem.clone());
            decision.object = self.without_address(&reference.name, &decision);
            decision.fallback = true;
        }
        let Some((Object::Service(service), digest)) = &decision.object else { return decision };
        match answer {
            Some(Ok(Some(ip))) => {
                if Requested::of(service) == Requested::Foreign {
                    decision.problems.push(replaced(service, *ip));
                }
                decision.address = ip.to_string();
                decision.object = Some((Object::Service(with_address(service, *ip)), *digest));
            }
            Some(Err(problem)) => {
                decision.problems.push(problem.clone());
                (decision.object, decision.fallback) = (None, true);
            }
            Some(Ok(None)) | None => {}
        }
        decision
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

    /// Makes namespaces that objects are in without being declared, and takes away those in which
    /// there is nothing any more. `due` are the objects that may have come or gone.
    fn namespaces(
        &mut self,
        sources: &BTreeMap<PathBuf, Source>,
        due: &BTreeSet<Arc<ObjectRef>>,
    ) -> Vec<(Arc<ObjectRef>, Option<Version>)> {
        let of = |name: &str| ObjectRef::new(Kind::Namespace, "", name);
        let named = |reference: &Arc<ObjectRef>| match reference.kind {
            Kind::Namespace => Some(reference.name.name.clone()),
            kind => kind.namespaced().then(|| reference.name.namespace.clone()),
        };
        let mut versions = Vec::new();
        let mut new: BTreeMap<String, SystemTime> = BTreeMap::new();
        for name in due.iter().filter_map(named).collect::<BTreeSet<String>>() {
            let declared = self.places.contains_key(&of(&name));
            let needed = self.population.contains_key(&name) && !declared;
            if needed && self.implicit.insert(name.clone()) {
                new.insert(name, SystemTime::UNIX_EPOCH);
            } else if !needed && self.implicit.remove(&name) && !declared {
                self.creations.forget(&of(&name));
                versions.push((self.shared(of(&name)), None));
            }
        }
        for reference in due {
            let implicit = reference.kind == Kind::Namespace && self.implicit.contains(&reference.name.name);
            if !implicit && !self.places.contains_key(reference) {
                self.creations.forget(reference);
            }
        }
        if new.is_empty() {
            return versions;
        }
        let mut oldest: BTreeMap<String, SystemTime> = BTreeMap::new();
        for reference in self.places.keys().filter(|reference| reference.kind.namespaced()) {
            if new.contains_key(&reference.name.namespace)
                && let Some(winner) = self.candidates(sources, reference).first()
            {
                let since = winner.source.record.modified.unwrap_or(SystemTime::UNIX_EPOCH);
                let known = oldest.entry(reference.name.namespace.clone()).or_insert(since);
                *known = since.min(*known);
            }
        }
        new.extend(oldest);
        for (name, since) in new {
            let created = self.creations.of(of(&name), since);
            let mut namespace = Namespace::default();
            label(&mut namespace.metadata, &name);
            namespace.metadata.name = Some(name.clone());
            namespace.metadata.creation_timestamp = Some(Time(created));
            let object = Object::Namespace(Arc::new(namespace));
            versions.push((self.shared(of(&name)), Some(Version::Good { object, digest: None, made: String::new() })));
        }
        versions
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
                let mut problems: Vec<FileProblem> = source.record.problem.iter().cloned().collect();
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

fn requested(object: Option<&(Object, Hash)>) -> Option<Requested> {
    match object {
        Some((Object::Service(service), _)) => Some(Requested::of(service)),
        _ => None,
    }
}

impl Decision {
    fn version(self) -> Version {
        match self.object {
            Some((Object::Namespace(namespace), digest)) => {
                let mut labelled = Namespace::clone(&namespace);
                let name = labelled.metadata.name.clone().unwrap_or_default();
                label(&mut labelled.metadata, &name);
                let object = Object::Namespace(Arc::new(labelled));
                Version::Good { object, digest: Some(digest), made: self.address }
            }
            Some((object, digest)) => Version::Good { object, digest: Some(digest), made: self.address },
            None => {
                let (partial, reach) = (self.declared.object.clone(), self.declared.reach());
                Version::Broken(Broken { problems: self.problems, partial, reach }, self.declared.digest)
            }
        }
    }

    /// Whether what was written last is not served.
    fn is_rejected(&self) -> bool {
        self.fallback || self.object.is_none()
    }

    fn origin(&self) -> Origin {
        let [line, document] = [self.declared.line, self.declared.document].map(|number| number as usize);
        Origin { path: self.path.clone(), line, document }
    }

    /// Whether there is nothing else to say of it than where it is declared.
    fn is_simply_accepted(&self) -> bool {
        !self.is_rejected() && self.problems.is_empty() && self.generation().is_none()
    }

    fn generation(&self) -> Option<i64> {
        self.declared.object.as_ref().and_then(Object::generation)
    }

    fn status(&self) -> ObjectStatus {
        let mut problems = self.problems.clone();
        problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
        problems.dedup();
        let mut condition = Condition::accepted(problems);
        let mut place = self.origin().place();
        if self.fallback && self.object.is_some() {
            place.push_str("; serving the last good version");
        }
        condition.message = match condition.message.as_str() {
            "" => place,
            message => format!("{message} [{place}]"),
        };
        ObjectStatus::new(vec![condition]).observing(self.generation())
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

fn label(metadata: &mut ObjectMeta, name: &str) {
    metadata.labels.get_or_insert_default().insert(NAMESPACE_NAME.to_owned(), name.to_owned());
}
