//! What is wrong with an object, in words its author can act on.

use std::fmt;

use serde::Serialize;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The object is served, but something in it does not do what its author may expect.
    Warning,
    /// The object, or the named part of it, cannot be used as written.
    Error,
}

/// One mistake: where it is, what is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Problem {
    /// Whether the object can be used all the same.
    pub severity: Severity,
    /// Path of the field inside the object, e.g. `spec.configs[0].apiKeyAuth.headerName`.
    /// Empty when the object as a whole is meant.
    pub field: String,
    /// What is wrong and what to write instead. Never holds a secret's value.
    pub message: String,
}

/// Of a longer text the beginning and the end are kept, in bytes: what is wrong may be very long itself, and many are told of it.
const LONGEST: usize = 800;

/// `text`, its middle left out if it is too long.
fn shortened(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let (begin, end) = (text.floor_char_boundary(LONGEST / 2), text.ceil_char_boundary(text.len() - LONGEST / 4));
    format!("{} … {}", &text[..begin], &text[end..])
}

impl Problem {
    /// A mistake that keeps the object, or the named part of it, from being used.
    pub fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, field.into(), message.into())
    }

    /// Something the author should know although the object is served.
    pub fn warning(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, field.into(), message.into())
    }

    fn new(severity: Severity, field: String, message: String) -> Self {
        Self { severity, field: shortened(field), message: shortened(message) }
    }

    /// Whether this is an error rather than a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

/// Whether any of `problems` is an error.
pub fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(Problem::is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_very_long_the_beginning_and_the_end_are_told() {
        let problem = Problem::error("spec.".to_owned() + &"ü".repeat(5000), "x".repeat(LONGEST));
        assert_eq!(problem.message.len(), LONGEST);
        assert!(problem.field.starts_with("spec.ü") && problem.field.contains(" … ") && problem.field.len() < LONGEST);
        let message = Problem::warning("", format!("{:?} is no name; write a shorter one", "a".repeat(9000))).message;
        assert!(message.starts_with("\"aaa") && message.ends_with("\" is no name; write a shorter one"), "{message}");
    }
}
