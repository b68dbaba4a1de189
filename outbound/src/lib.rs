//! Asking others: whatever a decision rests on that another server knows.
//!
//! ```text
//! ask ─▶ cache ─▶ single flight ─▶ breaker ─▶ fetch (http: pool, limits) ─▶ another server
//!          ▲                                     │
//!          └──────────── for a while ◀───────────┘
//! ```
//! [`Cache`] and [`Breaker`] are values that are told the time; [`Source`] puts them around a
//! [`Fetch`]. Where each question is another one there is no cache: [`Server`] is the breaker and a bound on
//! calls alone. [`http::Client`] is the one place with sockets, [`grpc`] a way to speak through it. The other
//! server may hang, lie about lengths, reset connections or be gone: whoever asks has an answer by its deadline.
//!
//! What could not be found out is [`Outcome::Unavailable`], and nothing turns that into a value: there
//! is no default, no conversion to an `Option` or `Result`, and no way past looking at it.

pub mod address;
pub mod breaker;
pub mod cache;
pub mod grpc;
pub mod http;
pub mod server;
pub mod source;
pub mod trust;

use std::fmt;
use std::sync::Arc;

pub use breaker::Breaker;
pub use cache::Cache;
pub use server::Server;
pub use source::{Fetch, Fetched, Source};

/// What came of asking.
///
/// Not a `Result`, on purpose: `ok()`, `unwrap_or_default()` and `is_err()` are how a failure becomes
/// a permission.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The other server said this.
    Answered(T),
    /// Nothing was found out. Whoever decides must not pass for it.
    Unavailable(Unavailable),
}

impl<T> Outcome<T> {
    /// This outcome with its answer, if it has one, changed by `change`.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        self.and_then(|answer| Outcome::Answered(change(answer)))
    }

    /// What `next` makes of the answer: it may find that it is none.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Outcome::Answered(answer) => next(answer),
            Outcome::Unavailable(unavailable) => Outcome::Unavailable(unavailable),
        }
    }
}

/// That somebody could not be asked, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// Who: a name or an address, never a path, which may hold secrets.
    pub who: Arc<str>,
    /// Why.
    pub why: Why,
    /// More of it, for logs.
    pub detail: Arc<str>,
}

impl Unavailable {
    /// That `who` could not be asked.
    pub fn new(who: &Arc<str>, why: Why, detail: impl Into<Arc<str>>) -> Self {
        Self { who: who.clone(), why, detail: detail.into() }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.who, self.why.said())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Why nothing was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There is no connection to it.
    Unreachable,
    /// The connection broke before all of the answer was there.
    Broken,
    /// It did not answer in time.
    TooLate,
    /// Its answer is larger than it may be.
    TooLarge,
    /// Its answer makes no sense.
    Unreadable,
    /// It failed so often that it is left alone for a while.
    Resting,
    /// So much is asked already that this was not.
    Busy,
    /// It is at an address at which nobody is asked.
    Forbidden,
    /// A fault of ours.
    Fault,
}

impl Why {
    /// Whether it speaks against the other server. What we did not ask does not.
    pub(crate) fn is_its_failure(self) -> bool {
        !matches!(self, Why::Resting | Why::Busy | Why::Forbidden | Why::Fault)
    }

    /// A label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Why::Unreachable => "unreachable",
            Why::Broken => "broken",
            Why::TooLate => "too_late",
            Why::TooLarge => "too_large",
            Why::Unreadable => "unreadable",
            Why::Resting => "resting",
            Why::Busy => "busy",
            Why::Forbidden => "forbidden",
            Why::Fault => "fault",
        }
    }

    fn said(self) -> &'static str {
        match self {
            Why::Unreachable => "cannot be reached",
            Why::Broken => "broke off its answer",
            Why::TooLate => "did not answer in time",
            Why::TooLarge => "answered with more than is read",
            Why::Unreadable => "answered with something that cannot be read",
            Why::Resting => "failed too often and is not asked for a while",
            Why::Busy => "was not asked, because too much is asked already",
            Why::Forbidden => "was not asked, because of its address",
            Why::Fault => "was not asked, by a fault of Waykeeper's",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_one_and_says_who_and_why() {
        let who: Arc<str> = "login.example:443".into();
        let failed: Outcome<u8> = Outcome::Unavailable(Unavailable::new(&who, Why::TooLate, ""));
        let after = failed.clone().map(|_| true).and_then(|_| Outcome::Answered(true));
        let Outcome::Unavailable(unavailable) = after else { panic!("it became an answer") };
        assert_eq!(unavailable.to_string(), "login.example:443 did not answer in time");
        assert_eq!(Outcome::Answered(1).map(|one| one + 1), Outcome::Answered(2));
        let nonsense = |_| Outcome::<()>::Unavailable(Unavailable::new(&who, Why::Unreadable, "not JSON"));
        let Outcome::Unavailable(unavailable) = Outcome::Answered(1).and_then(nonsense) else { panic!("answered") };
        assert!(unavailable.to_string().ends_with("cannot be read: not JSON"));
    }
}
