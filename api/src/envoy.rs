//! What Envoy takes: rules for the text that ends up in its configuration.
//!
//! Envoy refuses a whole resource for one expression it cannot compile or one
//! operator it does not know, and goes on with what it had: the routes of a
//! Service freeze, and a later, valid policy never takes effect. So admission
//! applies Envoy's rules first, to the object that is wrong. They are pure and
//! know no protobuf; where we cannot follow Envoy exactly we refuse more than it does.
//!
//! [`Checks`] is what validation holds: it collects problems, by field, and
//! spends one [`Budget`] for everything that an object makes Envoy compile.

pub mod duration;
pub mod format;
pub mod regex;
pub mod text;

use crate::header::{self, HeaderUse};
use crate::problem::Problem;
use crate::proto_json::ProtoDuration;

/// Entries in a list of headers, origins or names that a route may hold.
pub const MOST_ENTRIES: usize = 256;

/// What one object may make Envoy compile, in instructions of regular expressions.
///
/// Compiling it all takes Envoy some tens of milliseconds, in the thread that also takes updates of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(64_000)
    }
}

/// Collects what Envoy would not take from one object.
#[derive(Debug, Default)]
pub struct Checks {
    /// Everything found so far.
    pub problems: Vec<Problem>,
    budget: Budget,
    spent: bool,
}

impl Checks {
    /// Notes that `field` is wrong.
    pub fn error(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(Problem::error(field, message));
    }

    /// Notes that `field` may do something else than its author expects.
    pub fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(Problem::warning(field, message));
    }

    fn note(&mut self, field: &str, found: Result<(), impl Into<String>>) {
        if let Err(why) = found {
            self.error(field, why);
        }
    }

    /// A regular expression, in RE2's syntax.
    pub fn regex(&mut self, field: &str, pattern: &str) {
        if self.spent {
            return;
        }
        match regex::check(pattern) {
            Err(why) => self.error(field, why),
            Ok(instructions) => match self.budget.0.checked_sub(instructions) {
                Some(left) => self.budget.0 = left,
                None => {
                    self.spent = true;
                    self.error(
                        field,
                        "the regular expressions up to here are too large taken together: write fewer or simpler ones, or split the object",
                    );
                }
            },
        }
    }

    /// A header's name and what is to be done with it.
    pub fn header_name(&mut self, field: &str, name: &str, header_use: HeaderUse) {
        self.note(field, header::check(name, header_use));
    }

    /// A header's name where nothing is done with it but to look at it, or to name it to others.
    pub(crate) fn header_mentioned(&mut self, field: &str, name: &str) {
        self.note(field, header::reserved(name));
    }

    /// The name of a header by which rules tell requests apart.
    pub(crate) fn header_matched(&mut self, field: &str, name: &str) {
        self.note(field, header::tells_apart(name));
    }

    /// The value of a header as it is written.
    pub(crate) fn header_value(&mut self, field: &str, value: &str) {
        self.note(field, text::value(value));
    }

    /// The value of a header with command operators, e.g. `%REQ(x-a)%`.
    pub(crate) fn header_format(&mut self, field: &str, value: &str) {
        self.note(field, text::value(value).and_then(|()| format::check(value)));
    }

    /// A path that is matched whole or by its beginning.
    pub fn match_path(&mut self, field: &str, path: &str) {
        self.note(field, text::match_path(path));
    }

    /// What is put in the place of a path.
    pub fn new_path(&mut self, field: &str, path: &str) {
        self.note(field, text::new_path(path));
    }

    /// What is put in the place of a host name.
    pub fn new_host(&mut self, field: &str, host: &str) {
        self.note(field, text::new_host(host));
    }

    /// A time to wait.
    pub fn duration(&mut self, field: &str, duration: ProtoDuration) {
        self.note(field, duration::check(duration.0));
    }

    /// At most `most` entries in a list.
    pub(crate) fn at_most(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            self.error(field, format!("{count} of them; at most {most} are allowed"));
        }
    }
}
