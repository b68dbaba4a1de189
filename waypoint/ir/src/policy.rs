//! What happens to a request besides being routed.

use std::collections::BTreeSet;
use std::time::Duration;

use api::Name;
use api::contract::Reads;

use crate::Descriptor;

/// What happens to the requests of a route besides being routed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Changes to the request's headers.
    pub request: HeaderChanges,
    /// Changes to the response's headers.
    pub response: HeaderChanges,
    /// Headers that the applications behind this route believe, or may take for another part of the request than the
    /// rules looked at: clients' values do not reach them.
    pub disowned: BTreeSet<Disowned>,
    /// What must pass it.
    pub auth: Option<Auth>,
    /// How it is described to the rate-limit service.
    pub limits: Vec<Descriptor>,
    /// Cross-origin policy.
    pub cors: Option<Cors>,
    /// Faults to inject.
    pub faults: Option<Faults>,
}

/// A header that does not reach an application as clients say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disowned {
    /// Its name, in lower case.
    pub name: String,
    /// Whether it stays as it is spelt here, and only other spellings go: this route's own authorization sets it or takes it
    /// out, or it is looked at by rules or limits, which look at this spelling alone.
    pub spelling_stays: bool,
}

/// Authorization by an AuthConfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The AuthConfig.
    pub config: Name,
    /// The header in which it says who the user is, in lower case.
    pub user_header: String,
    /// The request headers that it reads; none if it reads all.
    pub reads: Option<Reads>,
}

/// Changes to headers: what is removed goes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Names to remove.
    pub remove: Vec<String>,
    /// Headers to set or add, in order.
    pub put: Vec<HeaderPut>,
}

/// One header to set or add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPut {
    /// Its name.
    pub name: String,
    /// Its value as an Envoy format string: a literal `%` is doubled.
    pub format: String,
    /// Whether values it already has stay.
    pub append: bool,
}

/// Which origins' scripts may read responses, and what else they may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    /// The origins.
    pub origins: Vec<Origin>,
    /// Methods.
    pub methods: Vec<String>,
    /// Request headers.
    pub headers: Vec<String>,
    /// Response headers that scripts may read.
    pub exposed: Vec<String>,
    /// Seconds a preflight's answer may be kept.
    pub max_age: Option<u64>,
    /// Whether cookies and credentials may be sent.
    pub credentials: bool,
    /// What becomes of preflights of other origins.
    pub strangers: Strangers,
}

/// What becomes of preflights of origins that are not named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strangers {
    /// They go on as every request does.
    #[default]
    PassedOn,
    /// They are answered, without leave for anything.
    Answered,
}

/// Which origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// All of them.
    Any,
    /// This one.
    Exact(String),
    /// Those that match this expression as a whole.
    Regex(String),
}

/// Mistakes made on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Some requests are answered with an error.
    pub abort: Option<Abort>,
    /// Some requests are held back.
    pub delay: Option<Delay>,
}

/// Answers some requests with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// Of a million requests, how many.
    pub millionths: u32,
    /// The status.
    pub status: u32,
}

/// Holds some requests back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// Of a million requests, how many.
    pub millionths: u32,
    /// For how long.
    pub time: Duration,
}

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// After what.
    pub on: RetryOn,
    /// How often.
    pub times: u32,
    /// Which statuses are worth another try.
    pub statuses: Vec<u32>,
    /// Pauses between tries.
    pub pauses: Option<Pauses>,
}

/// After what it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryOn {
    /// What went wrong, by Envoy's names.
    Named(Vec<String>),
    /// No answer came, or one with a status that is worth another try.
    NoAnswer,
}

/// Pauses between tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pauses {
    /// The first.
    pub first: Duration,
    /// The longest.
    pub longest: Option<Duration>,
}
