//! The reports of all authors, put together by object.

use std::collections::{BTreeMap, BTreeSet};

use api::ObjectRef;

use crate::combine::combine;
use crate::diff::{Diff, diff};
use crate::report::{ObjectStatus, Report};

/// Who says something, e.g. `waypoint`.
pub type Author = &'static str;

/// All that is said about all objects, by everyone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    reports: BTreeMap<Author, Report>,
}

impl Board {
    /// Replaces all that `author` has said; the answer is the objects of which it says something else than before.
    pub fn publish(&mut self, author: Author, report: Report) -> Vec<ObjectRef> {
        let held = self.reports.get(author);
        self.apply(author, diff(held.unwrap_or(&Report::new()), &report))
    }

    /// Takes over what `author` says differently from before; the answer is the objects of which that is true.
    pub fn apply(&mut self, author: Author, diff: Diff) -> Vec<ObjectRef> {
        let held = self.reports.entry(author).or_default();
        let mut changed = Vec::new();
        for (object, statuses) in diff.said {
            if held.get(&object) != Some(&statuses) {
                held.insert(object.clone(), statuses);
                changed.push(object);
            }
        }
        changed.extend(diff.silent.into_iter().filter(|object| held.remove(object).is_some()));
        changed
    }

    /// What stands about `objects`, all authors together, one status for each place: what a
    /// [`Writer`](crate::Writer) takes of those that changed.
    pub fn stands<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectRef>) -> Diff {
        let mut stands = Diff::default();
        for object in objects {
            match combine(self.reports.values().filter_map(|report| report.get(object)).flatten()) {
                statuses if statuses.is_empty() => stands.silent.push(object.clone()),
                statuses => stands.said.push((object.clone(), statuses)),
            }
        }
        stands
    }

    /// The objects of which anything is said.
    pub fn objects(&self) -> BTreeSet<&ObjectRef> {
        self.reports.values().flat_map(BTreeMap::keys).collect()
    }

    /// Everything said about each object, with who said it, authors in alphabetical order.
    pub fn merged(&self) -> BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> {
        self.those(|_| true)
    }

    /// The statuses that are not simply good, of each object that has one.
    pub fn remarks(&self) -> BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> {
        self.those(|status| !status.is_simply_good())
    }

    fn those(&self, wanted: impl Fn(&ObjectStatus) -> bool) -> BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> {
        let mut merged: BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> = BTreeMap::new();
        for (author, report) in &self.reports {
            for (object, statuses) in report {
                let statuses: Vec<_> = statuses.iter().filter(|status| wanted(status)).collect();
                if !statuses.is_empty() {
                    let said = merged.entry(object.clone()).or_default();
                    said.extend(statuses.into_iter().map(|status| ((*author).to_owned(), status.clone())));
                }
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;
    use crate::writer::{Outbox, Writer};
    use api::Kind;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn cart() -> ObjectRef {
        ObjectRef::new(Kind::Service, "shop", "cart")
    }

    fn says(message: &str) -> Vec<ObjectStatus> {
        vec![ObjectStatus::new(vec![Condition::holds("Accepted", "Accepted", message)])]
    }

    fn words(board: &Board) -> Vec<(String, String)> {
        let merged = board.merged();
        merged.into_values().flatten().map(|(author, status)| (author, status.conditions[0].message.clone())).collect()
    }

    #[test]
    fn an_author_replaces_only_what_it_said_itself() {
        let mut board = Board::default();
        board.publish("waypoint", Report::from([(cart(), says("programmed"))]));
        board.publish("extauth", Report::from([(cart(), says("compiled"))]));
        let again = Report::from([(cart(), says("compiled again"))]);
        assert_eq!(board.publish("extauth", again.clone()), [cart()]);
        let said = |author: &str, message: &str| (author.to_owned(), message.to_owned());
        assert_eq!(words(&board), [said("extauth", "compiled again"), said("waypoint", "programmed")]);
        assert!(board.publish("extauth", again).is_empty(), "the same words are no change");
        board.publish("extauth", Report::new());
        assert_eq!(words(&board), [said("waypoint", "programmed")]);
    }

    #[test]
    fn a_diff_touches_only_the_objects_it_names() {
        let mut board = Board::default();
        let shelf = ObjectRef::new(Kind::Service, "shop", "shelf");
        board.publish("waypoint", Report::from([(cart(), says("pending")), (shelf.clone(), says("pending"))]));
        let diff = Diff { said: vec![(cart(), says("programmed"))], silent: vec![] };
        assert_eq!(board.apply("waypoint", diff.clone()), [cart()]);
        assert!(board.apply("waypoint", diff).is_empty(), "said before");
        let said: Vec<String> = words(&board).into_iter().map(|(_, message)| message).collect();
        assert_eq!(said, ["programmed", "pending"]);
        let gone = Diff { said: vec![], silent: vec![shelf] };
        assert_eq!(board.apply("waypoint", gone.clone()), gone.silent);
        assert_eq!(words(&board).len(), 1);
    }

    /// Who says next about which object whether it is accepted and why, or nothing any more; whether as a whole
    /// report; and what becomes of the next object to write, if that is tried then.
    type Edit = (Author, u8, Option<(bool, String)>, bool, Option<Fate>);

    /// What becomes of something to write.
    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Written,
        /// The answer was lost: it was written, and nobody knows.
        WrittenUnheard,
        Lost,
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let author = select(vec!["provider", "waypoint", "extauth"]);
        let fate = option::of(select(vec![Fate::Written, Fate::WrittenUnheard, Fate::Lost]));
        vec((author, 0..3_u8, option::of((any::<bool>(), "[ab]")), any::<bool>(), fate), 0..24)
    }

    proptest! {
        #[test]
        fn a_writer_that_takes_every_change_has_what_stands_and_is_told_of_nothing_else(edits in edits()) {
            let (mut board, mut written, mut outbox) = (Board::default(), Report::new(), Outbox::default());
            let (mut reports, mut slow) = (BTreeMap::<Author, Report>::new(), Report::new());
            for (author, number, says, whole, fate) in edits {
                let object = ObjectRef::new(Kind::Service, "shop", number.to_string());
                let report = reports.entry(author).or_default();
                match &says {
                    Some((holds, message)) => {
                        let condition = Condition { status: Some(*holds), ..Condition::holds("Accepted", "Said", message) };
                        report.insert(object.clone(), vec![ObjectStatus::new(vec![condition])]);
                    }
                    None => drop(report.remove(&object)),
                }
                let changed = match report.get(&object) {
                    _ if whole => board.publish(author, report.clone()),
                    Some(statuses) => board.apply(author, Diff { said: vec![(object.clone(), statuses.clone())], silent: vec![] }),
                    None => board.apply(author, Diff { said: vec![], silent: vec![object.clone()] }),
                };
                prop_assert!(changed.iter().all(|named| *named == object) && changed.len() < 2);
                let diff = board.stands(&changed);
                written.write(diff.clone());
                outbox.write(diff);
                prop_assert_eq!(&written, &board.stands(board.objects()).said.into_iter().collect::<Report>());
                if let Some(fate) = fate && let Some((object, statuses)) = outbox.take() {
                    if matches!(fate, Fate::Written | Fate::WrittenUnheard) {
                        slow.insert(object.clone(), statuses);
                    }
                    if matches!(fate, Fate::WrittenUnheard | Fate::Lost) {
                        outbox.put_back(object);
                    }
                }
            }
            while let Some((object, statuses)) = outbox.take() {
                slow.insert(object, statuses);
            }
            slow.retain(|_, statuses| !statuses.is_empty());
            prop_assert_eq!(slow, written);
        }
    }
}
