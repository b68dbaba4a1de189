//! One statement about an object, in the form of Gateway API's conditions.

use std::cmp::Ordering;

use api::Problem;
use serde::Serialize;

/// `Accepted`: the object is valid and will be used.
pub const ACCEPTED: &str = "Accepted";
/// `ResolvedRefs`: everything the object points to exists and may be used.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// `Programmed`: what the object asks for has been acknowledged by Envoy.
pub const PROGRAMMED: &str = "Programmed";

/// The reason of a condition on an object, or for a parent, that another controller may serve: nothing of that is ours to say.
pub const OTHER_CONTROLLER: &str = "OtherController";

/// One statement about an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What is stated, e.g. [`ACCEPTED`].
    #[serde(rename = "type")]
    pub kind: String,
    /// True, false, or not yet known.
    #[serde(serialize_with = "as_status")]
    pub status: Option<bool>,
    /// One word in CamelCase, e.g. `BackendNotFound`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// What is wrong, field by field; empty when all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

fn as_status<S: serde::Serializer>(status: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    })
}

impl Condition {
    /// A condition that holds.
    pub fn holds(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), status: Some(true), reason: reason.into(), message: message.into(), problems: vec![] }
    }

    /// A condition that does not hold, and why.
    pub fn fails(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self { status: Some(false), ..Self::holds(kind, reason, message) }
    }

    /// A condition not decided yet.
    pub fn pending(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self { status: None, ..Self::holds(kind, reason, message) }
    }

    /// Smaller the more a reader must know of it: that it fails, that it is not known yet, that it holds.
    pub fn rank(&self) -> u8 {
        match self.status {
            Some(false) => 0,
            None => 1,
            Some(true) => 2,
        }
    }

    /// Of two conditions of one type the one that a reader must know of: that it fails, else that it is
    /// not known yet; with the words and mistakes of both where both say the same.
    pub fn worse(self, other: Self) -> Self {
        match self.rank().cmp(&other.rank()) {
            Ordering::Less => self,
            Ordering::Greater => other,
            Ordering::Equal => {
                let (mut one, other) =
                    if self.problems.len() < other.problems.len() { (other, self) } else { (self, other) };
                if one.message != other.message && !other.message.is_empty() {
                    let both = [one.message, other.message];
                    one.message = both.into_iter().filter(|message| !message.is_empty()).collect::<Vec<_>>().join("; ");
                }
                let new: Vec<Problem> = other.problems.into_iter().filter(|new| !one.problems.contains(new)).collect();
                one.problems.extend(new);
                one
            }
        }
    }

    /// This condition with the mistakes that are the reason for it.
    pub fn with(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// `Accepted` as the outcome of examining an object: false with all
    /// problems if one of them is an error, else true, with warnings if any.
    pub fn accepted(problems: Vec<Problem>) -> Self {
        if api::problem::has_errors(&problems) {
            let message =
                problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Self::fails(ACCEPTED, "Invalid", message).with(problems)
        } else if problems.is_empty() {
            Self::holds(ACCEPTED, "Accepted", "")
        } else {
            let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Self::holds(ACCEPTED, "AcceptedWithWarnings", message).with(problems)
        }
    }
}
