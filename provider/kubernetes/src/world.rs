//! What all sources say, put together: pure, from changes to snapshots.
//!
//! Nothing is said before every source was read once: what is missing could be what guards the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::core::Time;
use api::unserved::UnservedRef;
use api::{Governs, Kind, Object, ObjectRef, Problem, Snapshot};
use provider::assembly::{Assembly, LAST_GOOD, Version, judged};
use status::{Diff, ObjectStatus};

use crate::machine::{Change, Entry};
use crate::pump::News;
use crate::source::{Source, Subject};
use crate::wire::Item;

/// So many objects are named where it is said what may be out of date.
const SHOWN: usize = 10;

/// The state of all sources.
#[derive(Debug)]
pub struct World {
    sources: Vec<Standing>,
    /// Each object as each source has it that has one of that name.
    held: BTreeMap<ObjectRef, Vec<(usize, Box<Item>)>>,
    due: BTreeSet<ObjectRef>,
    assembly: Assembly,
    /// Objects of which something is said.
    said: BTreeMap<ObjectRef, ObjectStatus>,
    /// Objects of which the newest version is not served.
    rejected: BTreeSet<ObjectRef>,
}

#[derive(Debug)]
struct Standing {
    source: Source,
    settled: bool,
    absent: bool,
    failing: Option<String>,
}

/// A state of everything.
#[derive(Debug)]
pub struct Assembled {
    /// What is declared.
    pub snapshot: Snapshot,
    /// Whether it says anything else than the one before.
    pub differs: bool,
    /// What is said of objects differently from before.
    pub said: Diff,
    /// Of how many objects the newest version is not served.
    pub rejected: usize,
}

impl World {
    /// Nothing was read yet.
    pub fn new(sources: Vec<Source>) -> Self {
        let standing = |source| Standing { source, settled: false, absent: false, failing: None };
        Self {
            sources: sources.into_iter().map(standing).collect(),
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            assembly: Assembly::default(),
            said: BTreeMap::new(),
            rejected: BTreeSet::new(),
        }
    }

    /// The objects that are there in a new version by `news`.
    pub fn put_by<'n>(&self, news: &'n News) -> impl Iterator<Item = ObjectRef> + use<'n> {
        let kind = self.sources.get(news.source).and_then(|standing| match standing.source.subject {
            Subject::Kind(kind) => Some(kind),
            Subject::Unserved(_) => None,
        });
        news.changes.iter().filter_map(move |change| match change {
            Change::Put(entry) => Some(ObjectRef { kind: kind?, name: entry.name.clone() }),
            Change::Gone(_) => None,
        })
    }

    /// Takes in what one source says.
    pub fn take(&mut self, news: News) {
        let News { source, changes, settled, absent, failing } = news;
        let Some(standing) = self.sources.get_mut(source) else { return };
        (standing.settled, standing.absent) = (settled, absent);
        standing.failing = failing.map(|failure| failure.to_string());
        let kind = match standing.source.subject {
            Subject::Kind(kind) => kind,
            Subject::Unserved(unserved) => return self.take_unserved(unserved.kind, changes),
        };
        for change in changes {
            match change {
                // Whoever deletes a key means it: it is not good until its finalizers have run, too.
                Change::Put(Entry { name, object, .. }) if kind == Kind::Secret && object.deleting => {
                    self.gone(source, ObjectRef { kind, name });
                }
                Change::Gone(name) => self.gone(source, ObjectRef { kind, name }),
                Change::Put(Entry { name, object, .. }) => self.put(source, ObjectRef { kind, name }, object),
            }
        }
    }

    fn take_unserved(&mut self, kind: &'static str, changes: Vec<Change<Item>>) {
        for change in changes {
            let (name, reach) = match change {
                Change::Put(Entry { name, object, .. }) => (name, Some(object.admission.reach)),
                Change::Gone(name) => (name, None),
            };
            self.assembly.put_unserved(UnservedRef { kind, name }, reach);
        }
    }

    fn put(&mut self, source: usize, reference: ObjectRef, object: Item) {
        let held = self.held.entry(reference.clone()).or_default();
        let before = held.first().map(|(holder, _)| *holder);
        held.retain(|(holder, _)| *holder != source);
        held.push((source, Box::new(object)));
        // The oldest counts; of equals the one of the preferred group.
        held.sort_by(|(a, x), (b, y)| age(x).cmp(&age(y)).then(a.cmp(b)));
        let Some((winner, item)) = held.first() else { return };
        if before != Some(*winner) {
            self.assembly.forget_good(&reference);
        }
        // At once: the next version may be there, and be a broken one, before anything is put together.
        if let (Some(object), false) = (&item.admission.object, item.admission.rejected()) {
            self.assembly.keep_good(Arc::new(reference.clone()), (object.clone(), item.digest));
        }
        self.due.insert(reference);
    }

    fn gone(&mut self, source: usize, reference: ObjectRef) {
        if let Some(held) = self.held.get_mut(&reference) {
            if held.first().is_some_and(|(holder, _)| *holder == source) {
                // Whatever comes in its place under its name is another object.
                self.assembly.forget_good(&reference);
            }
            held.retain(|(holder, _)| *holder != source);
            if held.is_empty() {
                self.held.remove(&reference);
            }
        }
        self.due.insert(reference);
    }

    /// Whether every source was read once, or is known not to be served.
    pub fn is_settled(&self) -> bool {
        self.sources.iter().all(|standing| standing.settled)
    }

    /// Whether this source was read once, or is known not to be served.
    pub fn settled(&self, source: usize) -> bool {
        self.sources.get(source).is_some_and(|standing| standing.settled)
    }

    /// What may be out of date, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |standing: &Standing| {
            let why = standing.failing.as_ref()?;
            let source = &standing.source;
            Some(match standing.settled {
                true => format!("changes of {source}: {why}; what was read last is served"),
                false => format!("{source}: {why}"),
            })
        };
        let later = self.due.iter().map(|object| format!("{object}: waits until policies can be read again"));
        let unserved =
            self.assembly.unserved().filter(|(_, reach)| reach.known().is_none_or(|targets| !targets.is_empty()));
        let unserved = unserved.map(|(object, _)| {
            format!("{object}: objects of that kind are not served yet, so what it is to govern is refused")
        });
        let all = self.sources.iter().filter_map(remark).chain(later.take(SHOWN)).chain(unserved.take(SHOWN));
        all.collect()
    }

    /// Each source, whether it is not served, and whether it may be out of date.
    pub fn standings(&self) -> impl Iterator<Item = (&Source, bool, bool)> {
        self.sources.iter().map(|standing| (&standing.source, standing.absent, standing.failing.is_some()))
    }

    /// The snapshot of what all sources say; none as long as one was never read.
    pub fn assemble(&mut self) -> Option<Assembled> {
        if !self.is_settled() {
            return None;
        }
        let mut said = Diff::default();
        let (due, later) = self.due_now();
        self.due = later;
        for reference in due {
            let mut generation = None;
            let (version, problems, fallback) = match self.held.get(&reference).and_then(|held| held.split_first()) {
                None => (None, Vec::new(), false),
                Some(((winner, item), others)) => {
                    generation = item.admission.object.as_ref().and_then(Object::generation);
                    let mut problems = item.admission.problems.clone();
                    if !others.is_empty() {
                        problems.push(self.rivals(*winner, others));
                    }
                    let fallback = item.admission.rejected();
                    (Some(self.version(&reference, item)), problems, fallback)
                }
            };
            if fallback {
                self.rejected.insert(reference.clone());
            } else {
                self.rejected.remove(&reference);
            }
            let old = fallback && matches!(version, Some(Version::Good { .. }));
            let status = (!problems.is_empty()).then(|| {
                let condition = judged(problems, if old { LAST_GOOD } else { "" });
                ObjectStatus::new(vec![condition]).observing(generation)
            });
            self.say(&reference, status, &mut said);
            self.assembly.put(reference, version);
        }
        let (snapshot, differs) = self.assembly.assemble(Vec::new());
        Some(Assembled { snapshot, differs, said, rejected: self.rejected.len() })
    }

    /// Of the objects that have changed those that may go out now, and the others: as long as policies may have been
    /// missed, no route comes or changes, for a policy may be what closes it.
    fn due_now(&mut self) -> (BTreeSet<ObjectRef>, BTreeSet<ObjectRef>) {
        let due = std::mem::take(&mut self.due);
        let missed = |standing: &Standing| standing.failing.is_some() && standing.source.subject.is_policy();
        if !self.sources.iter().any(missed) {
            return (due, BTreeSet::new());
        }
        // A policy of callers guards Services by themselves, without a route.
        let callers = |subject: Subject| matches!(subject, Subject::Kind(kind) if kind.governs() == Governs::Callers);
        let callers = self.sources.iter().any(|standing| missed(standing) && callers(standing.source.subject));
        let opens = |reference: &ObjectRef| {
            let kind = reference.kind;
            let opens = kind.governs() == Governs::Parents || callers && kind == Kind::Service;
            opens && self.held.contains_key(reference)
        };
        due.into_iter().partition(|reference| !opens(reference))
    }

    /// What is to be served of an object: its newest version, or the last good one.
    fn version(&self, reference: &ObjectRef, item: &Item) -> Version {
        let admission = &item.admission;
        if let (Some(object), false) = (&admission.object, admission.rejected()) {
            return Version::Good { object: object.clone(), digest: Some(item.digest), made: String::new() };
        }
        match self.assembly.last_good(reference) {
            Some((object, digest)) => {
                Version::Good { object: object.clone(), digest: Some(*digest), made: String::new() }
            }
            None => Version::Broken(admission.clone().into_broken(), item.digest),
        }
    }

    fn rivals(&self, winner: usize, others: &[(usize, Box<Item>)]) -> Problem {
        let shown = |number: usize| self.sources.get(number).map(|s| s.source.to_string()).unwrap_or_default();
        let others: Vec<String> = others.iter().map(|(number, _)| shown(*number)).collect();
        Problem::warning(
            "",
            format!(
                "declared more than once: the one among {} is oldest and counts, not that among {}; keep one",
                shown(winner),
                others.join(", ")
            ),
        )
    }

    /// Notes what is to be said of an object: nothing, where nothing is wrong.
    fn say(&mut self, reference: &ObjectRef, status: Option<ObjectStatus>, said: &mut Diff) {
        match status {
            None => {
                if self.said.remove(reference).is_some() {
                    said.silent.push(reference.clone());
                }
            }
            Some(status) => {
                if self.said.get(reference) != Some(&status) {
                    self.said.insert(reference.clone(), status.clone());
                    said.said.push((reference.clone(), vec![status]));
                }
            }
        }
    }
}

fn age(item: &Item) -> (bool, Option<&Time>) {
    // One without a time is none of an API server's: it does not count as older.
    (item.created.is_none(), item.created.as_ref())
}

#[cfg(test)]
mod tests;
