//! What has changed between two reports of one author.

use std::cmp::Ordering;

use api::ObjectRef;

use crate::report::{ObjectStatus, Report};

/// The objects about which something else is said than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Objects with all that is said about them from now on.
    pub said: Vec<(ObjectRef, Vec<ObjectStatus>)>,
    /// Objects about which nothing is said any more.
    pub silent: Vec<ObjectRef>,
}

impl Diff {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.silent.is_empty()
    }
}

/// What turns `old` into `new`.
pub fn diff(old: &Report, new: &Report) -> Diff {
    let mut diff = Diff::default();
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return diff,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let gone = if order.is_le() { before.next() } else { None };
        let come = if order.is_ge() { after.next() } else { None };
        match (gone, come) {
            (Some((object, _)), None) => diff.silent.push(object.clone()),
            (Some((_, was)), Some((_, is))) if was == is => {}
            (_, Some((object, is))) => diff.said.push((object.clone(), is.clone())),
            (None, None) => return diff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;
    use crate::place::Place;
    use api::Kind;
    use proptest::prelude::*;

    /// `web` is said to be `words[i]` in places 0..n.
    fn reports() -> impl Strategy<Value = Report> {
        let status = (0..3_u8, "[ab]").prop_map(|(place, message)| {
            let place = if place == 0 { Place::Object } else { Place::Listener(place.to_string()) };
            ObjectStatus::at(place, vec![Condition::holds("Accepted", "Accepted", message)])
        });
        let object = "[a-e]".prop_map(|name| ObjectRef::new(Kind::Service, "shop", name));
        proptest::collection::btree_map(object, proptest::collection::vec(status, 0..3), 0..5)
    }

    proptest! {
        #[test]
        fn the_diff_applied_to_the_old_report_gives_the_new_one_and_names_nothing_unchanged(
            old in reports(),
            new in reports(),
        ) {
            let diff = diff(&old, &new);
            let unchanged = |object: &ObjectRef| old.get(object) == new.get(object);
            prop_assert!(!diff.said.iter().any(|(object, _)| unchanged(object)));
            prop_assert!(!diff.silent.iter().any(unchanged));
            let mut applied = old;
            applied.extend(diff.said);
            for object in &diff.silent {
                applied.remove(object);
            }
            prop_assert_eq!(applied, new);
        }
    }
}
