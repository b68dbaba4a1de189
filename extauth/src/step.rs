//! What a step of an AuthConfig is: asked about a request it passes, denies or fails, at once or later.
//!
//! A step returns what it has to say and changes nothing; the chain merges.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::BoxFuture;

use crate::headers::{Mutation, Mutations, Seal, Value};
use crate::request::Request;
use crate::state::State;

/// A compiled step.
pub trait Step: fmt::Debug + Send + Sync {
    /// Whether the request may pass.
    fn check(&self, ask: &Ask<'_>) -> Answer;

    /// What steps after this one learn from its having passed with `grant`, beside the headers and what is in `grant`
    /// already. Asked only where a step is interested.
    fn tells(&self, ask: &Ask<'_>, grant: &Grant) -> State {
        let _ = (ask, grant);
        State::default()
    }

    /// Begins to get what it will need, before anybody asks it.
    fn prepare(&self) {}
}

/// What a step is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The request as the client sent it.
    pub request: Request<'a>,
    /// What the steps before this one grant.
    pub granted: Option<&'a Arc<Grant>>,
    /// The header that tells upstream who the user is.
    pub user_header: &'a str,
    /// The headers that are filled from what is declared alone, and that one.
    pub declared: &'a Seal,
    /// An answer that comes later than this is not heard, and the request is denied.
    pub deadline: Instant,
    /// The time by the clock.
    pub now: SystemTime,
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

    /// The header that tells who the user is, in lower case.
    pub(crate) fn user(&self) -> Arc<str> {
        self.user_header.to_ascii_lowercase().into()
    }

    /// What the steps before this one do to the request's headers, the user's among them.
    pub(crate) fn changes(&self) -> Mutations {
        let mut changes = self.granted.map(|granted| granted.headers.clone()).unwrap_or_default();
        if let Some(user) = self.granted.and_then(|granted| granted.user.clone()) {
            changes.apply(&self.user(), Mutation::Overwrite(user));
        }
        changes
    }

    /// The headers that another server is not shown as the client sent them, in every spelling: what is declared says
    /// them, and where it has not said them nobody has. `changes` is what the steps before this one do.
    pub(crate) fn hidden(&self, changes: &Mutations) -> BTreeSet<String> {
        let user = Seal::new([self.user()]);
        let seals = [self.declared, &user];
        let hidden = |seal: &Seal| -> Vec<String> {
            let set = |name: &str| changes.touches(name);
            seal.removed(set, self.request.header_names()).map(str::to_owned).collect()
        };
        seals.into_iter().flat_map(hidden).collect()
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
    /// What most steps do not grant.
    pub more: Option<Box<More>>,
}

/// What few steps grant. None of it is printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    /// Headers of the response that the client gets in the end. Cookies are added to the application's, anything else
    /// replaces what has the same name.
    pub response: Vec<(Arc<str>, Value)>,
    /// What steps after this one may know.
    pub state: State,
    /// Metadata for Envoy, by the name of the step.
    pub metadata: State,
}

impl More {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.response.is_empty() && self.state.is_empty() && self.metadata.is_empty()
    }

    fn after(&self, earlier: &More) -> More {
        let mut all = earlier.clone();
        let again = |name: &str| name != SET_COOKIE && self.response.iter().any(|(own, _)| **own == *name);
        all.response.retain(|(name, _)| !again(name));
        all.response.extend(self.response.iter().cloned());
        all.state.extend(&self.state);
        all.metadata.extend(&self.metadata);
        all
    }
}

/// The header of which a response may have several that are not one.
pub(crate) const SET_COOKIE: &str = "set-cookie";

impl Grant {
    /// What `earlier` grants and then this: headers merge in order, and the last to name a user wins.
    #[must_use]
    pub fn after(&self, earlier: &Grant) -> Grant {
        let mut headers = earlier.headers.clone();
        for (name, mutation) in self.headers.iter() {
            headers.apply(name, mutation.clone());
        }
        let more = match (&self.more, &earlier.more) {
            (Some(own), Some(earlier)) => Some(Box::new(own.after(earlier))),
            (own, earlier) => own.clone().or_else(|| earlier.clone()),
        };
        Grant { headers, user: self.user.clone().or_else(|| earlier.user.clone()), more }
    }

    /// The same, from which steps after it learn `told` as well.
    #[must_use]
    pub fn telling(&self, told: &State) -> Grant {
        let mut grant = self.clone();
        grant.more.get_or_insert_default().state.extend(told);
        grant
    }

    /// What steps after it may know.
    pub fn state(&self) -> Option<&State> {
        self.more.as_ref().map(|more| &more.state)
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
    /// A step would have sent the client elsewhere, and its AuthConfig says not to.
    pub(crate) const NO_REDIRECT: Denial = Denial::plain(401, "a redirect, which failOnRedirect refuses");
    /// The message is too large or malformed.
    pub(crate) const UNREADABLE: Denial = Denial::plain(403, "unreadable request");

    /// A status and nothing else.
    pub const fn plain(status: u16, reason: &'static str) -> Denial {
        Denial { status, headers: Cow::Borrowed(&[]), body: Cow::Borrowed(""), reason }
    }
}

impl Denial {
    /// Whether the client is sent elsewhere.
    pub(crate) fn is_redirect(&self) -> bool {
        (300..400).contains(&self.status)
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
    /// Another server has to be asked, and cannot be, or says nothing that can be used.
    Unavailable,
}

impl Fault {
    /// A fault is a denial, whatever the steps would have said.
    pub(crate) fn denial(self) -> Denial {
        match self {
            Fault::Internal => Denial::plain(403, "internal fault"),
            Fault::TooLate => Denial::plain(503, "not decided in time"),
            Fault::Busy => Denial::plain(503, "too much under way"),
            Fault::Unavailable => Denial::plain(503, "another server could not be asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn grant(response: &[(&str, &str)], told: serde_json::Value, user: Option<&str>) -> Grant {
        let facts = |value: &serde_json::Value| State::from(value.as_object().cloned().unwrap());
        let response = response.iter().map(|(name, value)| ((*name).into(), Value::new(value).unwrap())).collect();
        let more = More { response, state: facts(&told["state"]), metadata: facts(&told["metadata"]) };
        Grant { headers: Mutations::default(), user: user.and_then(Value::new), more: Some(Box::new(more)) }
    }

    #[test]
    fn a_later_grant_replaces_what_has_the_same_name_and_adds_to_cookies() {
        let earlier = grant(
            &[("x-one", "a"), ("x-two", "a"), ("x-two", "b"), (SET_COOKIE, "a=1")],
            json!({"state": {"a": 1, "b": 1}, "metadata": {"step": 1}}),
            Some("first"),
        );
        let later = grant(
            &[("x-two", "c"), (SET_COOKIE, "b=2"), ("x-three", "d")],
            json!({"state": {"b": 2}, "metadata": {"other": 2}}),
            None,
        );
        let both = later.after(&earlier);
        let expected = grant(
            &[("x-one", "a"), (SET_COOKIE, "a=1"), ("x-two", "c"), (SET_COOKIE, "b=2"), ("x-three", "d")],
            json!({"state": {"a": 1, "b": 2}, "metadata": {"step": 1, "other": 2}}),
            Some("first"),
        );
        assert!(both == expected, "{:?}", both.more.unwrap().response);
        let renamed = grant(&[], json!({"state": {}, "metadata": {}}), Some("second")).after(&earlier);
        assert_eq!(renamed.user, Value::new("second"));
    }
}
