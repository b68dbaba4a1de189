//! Where what is wrong with one step is collected.

use crate::problem::Problem;

/// Problems of the step that stands at `field`.
pub(super) struct Said<'a> {
    pub field: &'a str,
    pub problems: &'a mut Vec<Problem>,
}

impl Said<'_> {
    /// What stands at `at`, below the step, is a mistake.
    pub fn wrong(&mut self, at: &str, why: impl AsRef<str>) {
        self.problems.push(Problem::error(format!("{}{at}", self.field), why.as_ref()));
    }

    /// It is none, and nobody would enforce it.
    pub fn refused(&mut self, at: &str, why: &str) {
        self.wrong(at, format!("{why}; this AuthConfig is refused so that nothing passes unchecked"));
    }

    /// It is worth knowing.
    pub fn warn(&mut self, at: &str, why: impl AsRef<str>) {
        self.problems.push(Problem::warning(format!("{}{at}", self.field), why.as_ref()));
    }
}
