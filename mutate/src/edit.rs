//! Edits of a source text, by byte. Lines stay where they are.

use std::collections::BTreeSet;
use std::ops::Range;

/// Where an edit's text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Behind what ends there.
    After,
    /// In front of what begins there.
    Before,
}

#[derive(Debug, Clone)]
struct Edit {
    /// What is replaced; empty for an insertion.
    range: Range<usize>,
    side: Side,
    group: usize,
    text: String,
}

/// Edits in groups: each group is made as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Edits(Vec<Edit>);

/// A text with edits made.
#[derive(Debug, Clone, Default)]
pub struct Edited {
    /// The text.
    pub text: String,
    /// For each group that was made, the bytes of `text` from its first edit to its last.
    pub groups: Vec<(usize, Range<usize>)>,
}

impl Edits {
    /// Puts `text` behind what ends at `at`. Of several, the one that was asked for first is outermost.
    pub fn after(&mut self, group: usize, at: usize, text: impl Into<String>) {
        self.0.push(Edit { range: at..at, side: Side::After, group, text: text.into() });
    }

    /// Puts `text` in front of what begins at `at`. Of several, the one that was asked for first is outermost.
    pub fn before(&mut self, group: usize, at: usize, text: impl Into<String>) {
        self.0.push(Edit { range: at..at, side: Side::Before, group, text: text.into() });
    }

    /// Puts `text` in place of `range`.
    pub fn instead(&mut self, group: usize, range: Range<usize>, text: impl Into<String>) {
        self.0.push(Edit { range, side: Side::Before, group, text: text.into() });
    }

    /// Puts `before` and `behind` around `range`.
    pub fn around(&mut self, group: usize, range: &Range<usize>, before: impl Into<String>, behind: impl Into<String>) {
        self.before(group, range.start, before);
        self.after(group, range.end, behind);
    }

    /// `source` with all edits but those of the groups `without`.
    pub fn apply(&self, source: &str, without: &BTreeSet<usize>) -> Edited {
        let mut order: Vec<(usize, &Edit)> =
            self.0.iter().enumerate().filter(|(_, edit)| !without.contains(&edit.group)).collect();
        order.sort_by_key(|(number, edit)| {
            let number = *number as isize;
            (edit.range.start, edit.side, if edit.side == Side::After { -number } else { number })
        });
        let mut edited = Edited::default();
        let mut done = 0;
        for (_, edit) in order {
            edited.text.push_str(source.get(done..edit.range.start).unwrap_or_default());
            let begin = edited.text.len();
            edited.text.push_str(&edit.text);
            let end = edited.text.len();
            done = edit.range.end.max(done);
            match edited.groups.iter_mut().find(|(group, _)| *group == edit.group) {
                Some((_, range)) => range.end = end,
                None => edited.groups.push((edit.group, begin..end)),
            }
        }
        edited.text.push_str(source.get(done..).unwrap_or_default());
        edited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_first_is_outermost() {
        let mut edits = Edits::default();
        edits.around(0, &(4..9), "outer(", ")");
        edits.around(1, &(4..5), "left(", ")");
        edits.around(2, &(8..9), "right(", ")");
        edits.instead(3, 6..7, "-");
        let all = edits.apply("x = a + b;", &BTreeSet::new());
        assert_eq!(all.text, "x = outer(left(a) - right(b));");
        assert_eq!(edits.apply("x = a + b;", &BTreeSet::from([0, 3])).text, "x = left(a) + right(b);");
        let outer = all.groups.iter().find(|(group, _)| *group == 0).map(|(_, range)| &all.text[range.clone()]);
        assert_eq!(outer, Some("outer(left(a) - right(b))"));
    }
}
