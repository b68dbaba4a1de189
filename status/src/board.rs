//! The reports of all authors, put together by object.

use std::collections::BTreeMap;

use api::ObjectRef;

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
    /// Replaces all that `author` has said; the answer is what differs from before.
    pub fn publish(&mut self, author: Author, report: Report) -> Diff {
        let held = self.reports.entry(author).or_default();
        let diff = diff(held, &report);
        if !diff.is_empty() {
            *held = report;
        }
        diff
    }

    /// Takes over what `author` says differently from before; the answer is whether anything did differ.
    pub fn apply(&mut self, author: Author, diff: Diff) -> bool {
        let held = self.reports.entry(author).or_default();
        let mut changed = false;
        for (object, statuses) in diff.said {
            if held.get(&object) != Some(&statuses) {
                held.insert(object, statuses);
                changed = true;
            }
        }
        for object in &diff.silent {
            changed |= held.remove(object).is_some();
        }
        changed
    }

    /// Everything said about each object, with who said it, authors in alphabetical order.
    pub fn merged(&self) -> BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> {
        let mut merged: BTreeMap<ObjectRef, Vec<(String, ObjectStatus)>> = BTreeMap::new();
        for (author, report) in &self.reports {
            for (object, statuses) in report {
                let said = merged.entry(object.clone()).or_default();
                said.extend(statuses.iter().map(|status| ((*author).to_owned(), status.clone())));
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;
    use api::Kind;

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
        assert_eq!(board.publish("extauth", again.clone()).said.len(), 1);
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
        assert!(board.apply("waypoint", diff.clone()));
        assert!(!board.apply("waypoint", diff), "said before");
        let said: Vec<String> = words(&board).into_iter().map(|(_, message)| message).collect();
        assert_eq!(said, ["programmed", "pending"]);
        assert!(board.apply("waypoint", Diff { said: vec![], silent: vec![shelf] }));
        assert_eq!(words(&board).len(), 1);
    }
}
