//! Whoever writes statuses where their readers look: it is handed what changed, object by object.

use std::collections::{BTreeMap, BTreeSet};

use api::ObjectRef;

use crate::diff::Diff;
use crate::report::{ObjectStatus, Report};

/// Writes what stands about objects.
pub trait Writer: Send {
    /// Takes over what stands about each object in `diff` from now on: all authors together, whole, one
    /// status for each place. Other objects stay as they were written. It must not wait.
    fn write(&mut self, diff: Diff);
}

/// Keeps what is written.
impl Writer for Report {
    fn write(&mut self, diff: Diff) {
        self.extend(diff.said);
        for object in &diff.silent {
            self.remove(object);
        }
    }
}

/// What is still to be written by somebody slower than what happens: each object once, in its latest
/// state, and not at all if that is how it was last written.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    /// What is to stand.
    wanted: Report,
    /// What was taken last, of each object; nothing stands of those that are missing.
    taken: BTreeMap<ObjectRef, Standing>,
    due: BTreeSet<ObjectRef>,
}

/// What stands about an object where its readers look.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// This was written.
    Said(Vec<ObjectStatus>),
    /// Something could not be written, or nobody heard whether it was: this, what stood before it, or nothing.
    Unknown,
}

impl Writer for Outbox {
    fn write(&mut self, diff: Diff) {
        let objects: Vec<ObjectRef> = diff.said.iter().map(|(object, _)| object).chain(&diff.silent).cloned().collect();
        self.wanted.write(diff);
        for object in objects {
            let stands = match (self.wanted.get(&object), self.taken.get(&object)) {
                (Some(wanted), Some(Standing::Said(said))) => wanted == said,
                (None, None) => true,
                (_, Some(Standing::Unknown)) | (Some(_), None) | (None, Some(Standing::Said(_))) => false,
            };
            if stands {
                self.due.remove(&object);
            } else {
                self.due.insert(object);
            }
        }
    }
}

impl Outbox {
    /// The next object to write, with all that is said about it, which is nothing if it is silence.
    pub fn take(&mut self) -> Option<(ObjectRef, Vec<ObjectStatus>)> {
        self.take_if(|_| true)
    }

    fn taken(&mut self, object: ObjectRef) -> (ObjectRef, Vec<ObjectStatus>) {
        self.due.remove(&object);
        let statuses = match self.wanted.get(&object) {
            Some(statuses) => {
                self.taken.insert(object.clone(), Standing::Said(statuses.clone()));
                statuses.clone()
            }
            None => {
                self.taken.remove(&object);
                Vec::new()
            }
        };
        (object, statuses)
    }

    /// The first object to write of those that `may` be written, as [`take`](Self::take) takes it.
    pub fn take_if(&mut self, may: impl Fn(&ObjectRef) -> bool) -> Option<(ObjectRef, Vec<ObjectStatus>)> {
        let object = self.due.iter().find(|object| may(object))?.clone();
        Some(self.taken(object))
    }

    /// Notes that others may have written: everything that is said is due.
    pub fn all_again(&mut self) {
        let said: Vec<ObjectRef> = self.wanted.keys().cloned().collect();
        said.into_iter().for_each(|object| self.put_back(object));
    }

    /// Notes that others may have written about `object`: if something is said of it, that is due.
    pub fn again(&mut self, object: ObjectRef) {
        if self.wanted.contains_key(&object) {
            self.put_back(object);
        }
    }

    /// Notes that something stands about `object` and nobody here has written it: if nothing is said of it, that is due.
    pub fn stands(&mut self, object: ObjectRef) {
        if !self.wanted.contains_key(&object) {
            self.put_back(object);
        }
    }

    /// Notes that `object`, which was taken, could not be written, or may not have been: it is due, whatever is
    /// said of it from now on, until it is taken again.
    pub fn put_back(&mut self, object: ObjectRef) {
        self.taken.insert(object.clone(), Standing::Unknown);
        self.due.insert(object);
    }

    /// How many objects are to be written.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;
    use api::Kind;

    fn object(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::Service, "shop", name)
    }

    fn says(message: &str) -> Vec<ObjectStatus> {
        vec![ObjectStatus::new(vec![Condition::holds("Accepted", "Accepted", message)])]
    }

    #[test]
    fn each_object_is_due_once_in_its_latest_state_and_not_if_that_was_written() {
        let mut outbox = Outbox::default();
        let say = |outbox: &mut Outbox, name: &str, message: &str| {
            outbox.write(Diff { said: vec![(object(name), says(message))], silent: vec![] });
        };
        say(&mut outbox, "a", "one");
        say(&mut outbox, "b", "one");
        say(&mut outbox, "a", "two");
        assert_eq!(outbox.len(), 2);
        assert_eq!(outbox.take(), Some((object("a"), says("two"))));
        say(&mut outbox, "a", "three");
        say(&mut outbox, "a", "two");
        assert_eq!(outbox.take(), Some((object("b"), says("one"))), "a says again what was written");
        assert!(outbox.is_empty());

        outbox.put_back(object("b"));
        assert_eq!(outbox.take(), Some((object("b"), says("one"))), "it could not be written");
        outbox.write(Diff { said: vec![], silent: vec![object("a")] });
        assert_eq!(outbox.take(), Some((object("a"), vec![])), "nothing is said of it any more");
        assert_eq!(outbox.take(), None);

        say(&mut outbox, "b", "two");
        let taken = outbox.take().unwrap();
        outbox.put_back(taken.0);
        outbox.write(Diff { said: vec![], silent: vec![object("b")] });
        assert_eq!(outbox.take(), Some((object("b"), vec![])), "one or two stands there, and is to go");
        outbox.put_back(object("b"));
        say(&mut outbox, "b", "one");
        outbox.write(Diff { said: vec![], silent: vec![object("b")] });
        assert_eq!(outbox.take(), Some((object("b"), vec![])), "it may not have gone");
        assert_eq!(outbox.take(), None);

        say(&mut outbox, "c", "one");
        outbox.take().unwrap();
        outbox.again(object("c"));
        outbox.again(object("b"));
        assert_eq!(outbox.take(), Some((object("c"), says("one"))), "others wrote to it");
        assert_eq!(outbox.take(), None, "and to one of which nothing is said");
    }
}
