//! What a step of an AuthConfig is: asked about a request it passes, denies or fails, at once or later.
//!
//! A step returns what it has to say and changes nothing; the chain merges.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::headers::{Mutations, Value};
use crate::request::Request;

/// A compiled step.
pub trait Step: fmt::Debug + Send + Sync {
    /// Whether the request may pass.
    fn check(&self, ask: &Ask<'_>) -> Answer;
}

/// What a step is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The request as the client sent it.
    pub request: Request<'a>,
    /// What the steps before this one grant.
    pub granted: Option<&'a Grant>,
    /// An answer that comes later than this is not heard, and the request is denied.
    pub deadline: Instant,
}

impl<'a> Ask<'a> {
    /// The value of the header `name`, given in lower case, as the steps before this one leave it.
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let sent = self.request.header(name);
        match self.granted {
            Some(granted) => granted.headers.seen(name, sent),
            None => sent,
        }
    }
}

/// What a step answers.
pub enum Answer {
    /// It knows.
    Now(Outcome),
    /// It has to compute for long, or to ask somebody.
    Later(BoxFuture<'static, Outcome>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Now(outcome) => f.debug_tuple("Now").field(outcome).finish(),
            Answer::Later(_) => f.write_str("Later"),
        }
    }
}

/// What a step has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass, and this goes with it.
    Pass(Arc<Grant>),
    /// The client gets this answer instead.
    Deny(Denial),
    /// Nothing was found out, so that neither the step nor its negation holds.
    Fault(Fault),
}

/// What a passing request gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Changes to its headers, but for the one that tells who the user is.
    pub headers: Mutations,
    /// Who the user is: for that header and for Envoy's metadata.
    pub user: Option<Value>,
}

impl Grant {
    /// What `earlier` grants and then this: headers merge in order, and the last to name a user wins.
    #[must_use]
    pub fn after(&self, earlier: &Grant) -> Grant {
        let mut headers = earlier.headers.clone();
        for (name, mutation) in self.headers.iter() {
            headers.apply(name, mutation.clone());
        }
        Grant { headers, user: self.user.clone().or_else(|| earlier.user.clone()) }
    }
}

/// How a request is answered instead of passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Denial {
    /// HTTP status.
    pub status: u16,
    /// Headers of the answer; a name may come several times.
    pub headers: Cow<'static, [Header]>,
    /// Body of the answer.
    pub body: Cow<'static, str>,
    /// For logs and metrics; the client does not see it.
    pub reason: &'static str,
}

/// Name and value of a header of an answer.
pub type Header = (Cow<'static, str>, Cow<'static, str>);

impl Denial {
    /// A negated step passed.
    pub(crate) const NEGATED: Denial = Denial::plain(403, "a negated config passed");
    /// The message is too large or malformed.
    pub(crate) const UNREADABLE: Denial = Denial::plain(403, "unreadable request");

    /// A status and nothing else.
    pub const fn plain(status: u16, reason: &'static str) -> Denial {
        Denial { status, headers: Cow::Borrowed(&[]), body: Cow::Borrowed(""), reason }
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Denial({}, {})", self.status, self.reason)
    }
}

/// Why a step could not find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A panic, or something that cannot happen.
    Internal,
    /// It took longer than Envoy waits.
    TooLate,
    /// More is under way already than this server does at a time.
    Busy,
}

impl Fault {
    /// A fault is a denial, whatever the steps would have said.
    pub(crate) fn denial(self) -> Denial {
        match self {
            Fault::Internal => Denial::plain(403, "internal fault"),
            Fault::TooLate => Denial::plain(503, "not decided in time"),
            Fault::Busy => Denial::plain(503, "too much under way"),
        }
    }
}
