//! From all files to one snapshot: who wins, what stays, what is refused, and what is said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use api::core::{Namespace, ObjectMeta, Time};
use api::{Broken, Kind, Name, Object, ObjectRef, Problem, Snapshot, Withheld};
use blake3::Hash;
use serde_json::Value;
use status::{Condition, ObjectStatus, Report};

use super::addresses::{Addresses, Wish, replaced, with_address};
use super::engine::{Births, Declared, Source};
use crate::assembly::{Assembly, Version};
use crate::board::{FileProblem, FileStatus, Origin, Origins};

/// Label by which selectors find a namespace by its name; every API server sets it.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The state kept between one reading and the next.
#[derive(Default)]
pub(crate) struct Memory {
    allocate: bool,
    births: Births,
    addresses: Addresses,
    assembly: Assembly,
}

/// The outcome of one reading.
pub(crate) struct Assembled {
    pub snapshot: Snapshot,
    /// Whether it says anything else than the one before.
    pub differs: bool,
    pub report: Report,
    pub files: Vec<FileStatus>,
    pub origins: Origins,
    rejected: usize,
    kinds: BTreeMap<Kind, usize>,
}

/// One declaration of an object among possibly several.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    path: &'a Path,
    source: &'a Source,
    declared: &'a Declared,
}

impl Candidate<'_> {
    fn age(&self) -> (Option<SystemTime>, &Path, usize) {
        (self.source.record.modified, self.path, self.declared.document)
    }

    fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.declared.line)
    }

    fn origin(&self) -> Origin {
        Origin { path: self.path.to_owned(), line: self.declared.line }
    }

    fn usable(&self) -> Option<(Object, Hash)> {
        let admission = &self.declared.admission;
        let object = admission.object.as_ref().filter(|_| !admission.rejected())?;
        Some((object.clone(), self.declared.digest))
    }
}

/// What was decided about one object.
struct Decision<'a> {
    winner: Candidate<'a>,
    /// What to serve.
    object: Option<(Object, Hash)>,
    /// Whether that is not what was written last.
    fallback: bool,
    problems: Vec<Problem>,
    address: String,
}

impl Memory {
    pub(crate) fn new(allocate: bool) -> Self {
        Self { allocate, ..Self::default() }
    }

    pub(crate) fn give_creation_time(&mut self, value: &mut Value, modified: SystemTime) {
        self.births.give(value, modified);
    }

    /// Decides about every object declared in `sources`.
    pub(crate) fn assemble(
        &mut self,
        sources: &BTreeMap<PathBuf, Source>,
        unread: &BTreeMap<&PathBuf, &str>,
    ) -> Assembled {
        let candidates = candidates(sources);
        self.assembly.retain_good(|reference| candidates.contains_key(reference));
        let mut decisions: BTreeMap<ObjectRef, Decision<'_>> =
            candidates.into_iter().map(|(reference, all)| (reference.clone(), self.decide(&reference, &all))).collect();
        if self.allocate {
            self.give_addresses(&mut decisions);
        }
        for (reference, decision) in &decisions {
            if let (Some(object), false) = (&decision.object, decision.fallback) {
                self.assembly.keep_good(reference.clone(), object.clone());
            }
        }
        let implicit = self.namespaces(&mut decisions);
        let report =
            decisions.iter().map(|(reference, decision)| (reference.clone(), vec![decision.status()])).collect();
        let origins =
            decisions.iter().map(|(reference, decision)| (reference.clone(), decision.winner.origin())).collect();
        let rejected = decisions.values().filter(|d| d.fallback || d.object.is_none()).count();
        let declared = decisions.into_iter().map(|(reference, decision)| (reference, decision.version()));
        let implicit = implicit
            .into_iter()
            .map(|object| (object.reference(), Version::Good { object, digest: None, made: String::new() }));
        let (snapshot, differs) = self.assembly.assemble(declared.chain(implicit), withheld(sources, unread));
        let kinds = Kind::ALL.iter().map(|kind| (*kind, snapshot.count(*kind)));
        Assembled {
            differs,
            report,
            files: files(sources, unread),
            origins,
            rejected,
            kinds: kinds.collect(),
            snapshot,
        }
    }

    /// The newest declaration wins; if it cannot be used, what was good last stays.
    fn decide<'a>(&self, reference: &ObjectRef, all: &[Candidate<'a>]) -> Decision<'a> {
        let winner = all[0];
        let mut problems = winner.declared.admission.problems.clone();
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
        Decision { winner, object, fallback, problems, address: String::new() }
    }

    fn give_addresses(&mut self, decisions: &mut BTreeMap<ObjectRef, Decision<'_>>) {
        let wishes_of = |decisions: &BTreeMap<ObjectRef, Decision<'_>>| -> BTreeMap<Name, Wish> {
            let service = |decision: &Decision<'_>| match &decision.object {
                Some((Object::Service(service), _)) => Some(Wish::of(service)),
                _ => None,
            };
            decisions.iter().filter_map(|(r, d)| Some((r.name.clone(), service(d)?))).collect()
        };
        let mut answers = self.addresses.decide(&wishes_of(decisions));
        let mut refused = false;
        for (reference, decision) in decisions.iter_mut().filter(|(r, _)| r.kind == Kind::Service) {
            if let Some(Err(problem)) = answers.get(&reference.name) {
                decision.problems.push(problem.clone());
                let partial = decision.object.take();
                // The version before may have asked for another address.
                decision.object = self.assembly.last_good(reference).filter(|_| !decision.fallback).cloned();
                refused |= decision.object.is_some();
                decision.fallback = true;
                drop(partial);
            }
        }
        if refused {
            answers = self.addresses.decide(&wishes_of(decisions));
        }
        for (reference, decision) in decisions.iter_mut() {
            let Some((Object::Service(service), digest)) = &decision.object else { continue };
            match answers.get(&reference.name) {
                Some(Ok(Some(ip))) => {
                    if Wish::of(service) == Wish::Foreign {
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
        }
    }

    /// Labels declared namespaces and makes those that objects are in without being declared.
    fn namespaces(&mut self, decisions: &mut BTreeMap<ObjectRef, Decision<'_>>) -> Vec<Object> {
        let mut needed: BTreeMap<String, SystemTime> = BTreeMap::new();
        for (reference, decision) in decisions.iter_mut() {
            if let Some((Object::Namespace(namespace), _)) = &mut decision.object {
                let mut labelled = Namespace::clone(namespace);
                label(&mut labelled.metadata, &reference.name.name);
                *namespace = Arc::new(labelled);
            } else if reference.kind.namespaced() {
                let since = decision.winner.source.record.modified.unwrap_or(SystemTime::UNIX_EPOCH);
                let oldest = needed.entry(reference.name.namespace.clone()).or_insert(since);
                *oldest = since.min(*oldest);
            }
        }
        let namespace_of = |name: &str| ObjectRef::new(Kind::Namespace, "", name);
        needed.retain(|name, _| !decisions.contains_key(&namespace_of(name)));
        self.births
            .retain(|r| decisions.contains_key(r) || r.kind == Kind::Namespace && needed.contains_key(&r.name.name));
        let make = |(name, since): (String, SystemTime)| {
            let created = self.births.of(&namespace_of(&name), since);
            let mut namespace = Namespace::default();
            label(&mut namespace.metadata, &name);
            namespace.metadata.name = Some(name);
            namespace.metadata.creation_timestamp = Some(Time(created));
            Object::Namespace(Arc::new(namespace))
        };
        needed.into_iter().map(make).collect()
    }
}

impl Decision<'_> {
    fn version(self) -> Version {
        match self.object {
            Some((object, digest)) => Version::Good { object, digest: Some(digest), made: self.address },
            None => {
                let Declared { admission, digest, .. } = self.winner.declared;
                let (partial, reach) = (admission.object.clone(), admission.reach.clone());
                Version::Broken(Broken { problems: self.problems, partial, reach }, *digest)
            }
        }
    }

    fn status(&self) -> ObjectStatus {
        let mut problems = self.problems.clone();
        problems.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
        problems.dedup();
        let mut condition = Condition::accepted(problems);
        let mut place = format!("{} (document {})", self.winner.place(), self.winner.declared.document);
        if self.fallback && self.object.is_some() {
            place.push_str("; serving the last good version");
        }
        condition.message = match condition.message.as_str() {
            "" => place,
            message => format!("{message} [{place}]"),
        };
        ObjectStatus::new(vec![condition])
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
    /// Everything that is wrong with the manifests themselves.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let of_files = self.files.iter().flat_map(|file| {
            file.problems.iter().map(|problem| Mistake {
                file: file.path.clone(),
                line: problem.line,
                object: None,
                problem: Problem { severity: problem.severity, field: String::new(), message: problem.message.clone() },
            })
        });
        let of_objects = self.report.iter().flat_map(|(object, statuses)| {
            let origin = self.origins.get(object);
            let problems = statuses.iter().flat_map(|status| &status.conditions).flat_map(|c| &c.problems);
            problems.map(move |problem| Mistake {
                file: origin.map(|origin| origin.path.clone()).unwrap_or_default(),
                line: origin.map(|origin| origin.line),
                object: Some(object.clone()),
                problem: problem.clone(),
            })
        });
        of_files.chain(of_objects).collect()
    }

    /// Writes the metrics.
    pub(crate) fn record(&self) {
        if self.differs {
            metrics::counter!("waykeeper_provider_reloads_total").increment(1);
        }
        for (kind, count) in &self.kinds {
            metrics::gauge!("waykeeper_provider_objects", "kind" => kind.as_str()).set(*count as f64);
        }
        metrics::gauge!("waykeeper_provider_rejected_objects").set(self.rejected as f64);
        let broken_files = self.files.iter().filter(|file| file.problems.iter().any(FileProblem::is_error)).count();
        metrics::gauge!("waykeeper_provider_broken_files").set(broken_files as f64);
    }
}

/// Every declaration by object, the newest first. Ties go to the later path, then the later document:
/// the order in which `kubectl apply` would have applied them.
fn candidates(sources: &BTreeMap<PathBuf, Source>) -> BTreeMap<ObjectRef, Vec<Candidate<'_>>> {
    let mut candidates: BTreeMap<ObjectRef, Vec<Candidate<'_>>> = BTreeMap::new();
    for (path, source) in sources {
        for declared in &source.declared {
            candidates.entry(declared.reference.clone()).or_default().push(Candidate { path, source, declared });
        }
    }
    for all in candidates.values_mut() {
        // Stable, so that of a list's items, which share a document, the later one comes first, too.
        all.reverse();
        all.sort_by(|a, b| b.age().cmp(&a.age()));
    }
    candidates
}

/// Why not all that is there could be read: files that never were, and paths that cannot be looked at.
fn withheld(sources: &BTreeMap<PathBuf, Source>, unread: &BTreeMap<&PathBuf, &str>) -> Vec<Withheld> {
    let mut reasons: Vec<Withheld> = Vec::new();
    for (path, source) in sources.iter().filter(|(_, source)| !source.record.good) {
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

fn label(metadata: &mut ObjectMeta, name: &str) {
    metadata.labels.get_or_insert_default().insert(NAMESPACE_NAME.to_owned(), name.to_owned());
}

fn files(sources: &BTreeMap<PathBuf, Source>, unread: &BTreeMap<&PathBuf, &str>) -> Vec<FileStatus> {
    let mut files: BTreeMap<&Path, FileStatus> = BTreeMap::new();
    for (path, source) in sources {
        let mut problems: Vec<FileProblem> = source.record.problem.iter().cloned().collect();
        problems.extend(source.strays.iter().filter(|stray| Some(*stray) != source.record.problem.as_ref()).cloned());
        files.insert(path, FileStatus { path: path.clone(), objects: source.declared.len(), problems });
    }
    for (&path, &why) in unread {
        let file = files.entry(path).or_insert_with(|| FileStatus { path: path.clone(), objects: 0, problems: vec![] });
        file.problems.push(FileProblem::whole(why));
    }
    files.into_values().collect()
}
