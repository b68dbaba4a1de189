//! The `passThroughAuth` step: another server decides, over gRPC or HTTP.
//!
//! Whoever is asked is shown the request as the steps before this one leave it, and of the headers that are filled from
//! Secrets, and of the user's, only what those steps have said. Of its answer counts what the AuthConfig lists; an answer
//! with more, or one that makes no sense, is none. Where there is none the request is refused, unless `failureModeAllow`
//! says otherwise and the server is to blame.

mod grpc;
mod http;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::gloo::auth_config::{PassThroughAuth, Target};
use api::header::{self, HeaderUse};
use api::proto_json::ProtoDuration;
use api::{Problem, Redacted};
use futures_util::future::BoxFuture;
use metrics::counter;
use outbound::address::{Forbidden, literal};
use outbound::http::{Authorities, Client, Limits, Speaks};
use outbound::{Server, Unavailable, Why, server};
use serde_json::{Map, Value as Json};

use super::complaints::{self, Complaints, in_time};
use super::granting::{Before, Granting};
use super::{Accepts, Compiled, Context, Credentials, Method, Never, Read, Whose};
use crate::headers::Value;
use crate::step::{Answer, Ask, Fault, Header, Outcome, Step};

/// How long connecting may take, unless written.
const CONNECT: Duration = Duration::from_secs(5);
/// Of an answer, its body or message.
const MOST_BYTES: usize = 256 * 1024;
/// Headers of an answer that are used.
const MOST_HEADERS: usize = 64;
/// Calls to one server over HTTP at a time, unless written.
const MOST_CALLS: usize = 100;
/// So many connections are kept that nobody uses.
const MOST_IDLE: usize = 32;
/// What a question over gRPC says in its context extensions, which no client can: that it comes from such a step.
const ASKED: &str = "waykeeper.asked";

/// A compiled `passThroughAuth`.
#[derive(Debug)]
struct PassThrough {
    how: How,
    asked: Arc<Asked>,
}

#[derive(Debug)]
enum How {
    Grpc(grpc::Grpc),
    Http(http::Http),
}

/// What both ways have in common.
#[derive(Debug)]
struct Asked {
    /// Of the step.
    name: String,
    server: Server,
    client: Client,
    /// Handed to the server.
    config: Option<Map<String, Json>>,
    /// Whether requests pass while the server cannot be asked.
    open: bool,
    /// What counts those, as Gloo calls it.
    bypassed: &'static str,
    complaints: Complaints,
}

/// What came of asking.
enum Heard {
    /// The server decided.
    Decided(Outcome),
    /// It is to blame that nothing was found out.
    Failed(Fault, Cow<'static, str>),
    /// Nothing was found out, and the request or the AuthConfig may be to blame: no owner chose to let that pass.
    Unusable(Fault, Cow<'static, str>),
}

impl Step for PassThrough {
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let said = ask.request.attributes().map(|attributes| &attributes.context_extensions);
        if said.is_some_and(|said| said.contains_key(ASKED)) {
            // It may be ourselves who ask, and would do so for ever.
            return Answer::Now(self.asked.outcome(unusable("the question comes from such a step already")));
        }
        let before = Before::of(ask);
        let deadline = in_time(ask.deadline);
        let heard: Option<BoxFuture<'static, Heard>> = match &self.how {
            How::Grpc(grpc) => grpc.ask(ask, before, self.asked.clone(), deadline),
            How::Http(http) => http.ask(ask, before, self.asked.clone(), deadline),
        };
        let Some(heard) = heard else { return Answer::Now(Outcome::Fault(Fault::Internal)) };
        let asked = self.asked.clone();
        Answer::Later(Box::pin(async move { asked.outcome(heard.await) }))
    }
}

impl Asked {
    fn outcome(&self, heard: Heard) -> Outcome {
        match heard {
            Heard::Decided(outcome) => outcome,
            Heard::Failed(_, why) if self.open => {
                counter!(self.bypassed).increment(1);
                self.complaints.warn(&why, "a request passes unasked, as failureModeAllow says");
                Outcome::Pass(Arc::default())
            }
            Heard::Failed(fault, why) | Heard::Unusable(fault, why) => {
                self.complaints.warn(&why, "another server's answer cannot be used; denying");
                Outcome::Fault(fault)
            }
        }
    }
}

/// Whether it is the server's failure that it is `unavailable`.
fn failed(unavailable: &Unavailable) -> Heard {
    let (fault, why) = (complaints::unavailable(unavailable), Cow::Owned(unavailable.to_string()));
    match unavailable.why {
        Why::TooLate | Why::Unreachable | Why::Broken | Why::Resting => Heard::Failed(fault, why),
        Why::Busy | Why::TooLarge | Why::Unreadable | Why::Forbidden | Why::Fault => Heard::Unusable(fault, why),
    }
}

/// An answer that is none.
fn unusable(why: impl Into<Cow<'static, str>>) -> Heard {
    Heard::Unusable(complaints::unusable(), why.into())
}

/// What was put together, if it is not too much.
fn granted(granting: Granting<'_>) -> Heard {
    granting.done().map_or_else(unusable, |grant| Heard::Decided(Outcome::Pass(grant)))
}

/// A header of an answer to the client, if it may have it: what frames a message is not another server's to say.
fn to_client(name: &str, value: &[u8]) -> Option<(String, Value)> {
    let name = name.to_ascii_lowercase();
    header::check(&name, HeaderUse::Write).ok()?;
    Some((name, std::str::from_utf8(value).ok().and_then(Value::new)?))
}

/// As a part of a denial.
fn told((name, value): (String, Value)) -> Header {
    (Cow::Owned(name), Cow::Owned(value.expose().to_owned()))
}

/// The client that asks `target`, and the bounds within which it is asked.
fn reach(
    target: &Target,
    speaks: Speaks,
    connect: Option<ProtoDuration>,
    idle: Option<Duration>,
    most_calls: usize,
    context: &Context,
) -> Option<(Client, Server)> {
    let defaults = Limits::default();
    let limits = Limits {
        connect: connect.map_or(CONNECT, |ProtoDuration(connect)| connect),
        body: MOST_BYTES,
        idle_for: idle.unwrap_or(defaults.idle_for),
        idle: MOST_IDLE,
        ..defaults
    };
    let trusted = if target.tls { context.trust.authorities() } else { Arc::new(Authorities::empty()) };
    let client = Client::speaking(speaks, limits, trusted).ok()?;
    let settings = server::Settings { most_calls, ..server::Settings::new(&target.authority()) };
    Some((client, Server::new(settings)))
}

impl Method for PassThroughAuth {
    fn lets_in(&self, _: &str) -> BTreeSet<Credentials<'_>> {
        let request = self.http.iter().filter_map(|http| http.request.as_ref());
        let added = request.flat_map(|request| &request.headers_to_add);
        let secrets = added.map(|(name, value)| (name.as_str(), Redacted::expose(value))).collect();
        BTreeSet::from([Credentials::Asked { text: serde_json::to_string(self).unwrap_or_default(), secrets }])
    }

    fn listens(&self) -> bool {
        let request = self.http.as_ref().and_then(|http| http.request.as_ref());
        self.grpc.is_some() || request.is_some_and(|request| request.pass_through_state)
    }

    fn compile(&self, field: &str, whose: Whose<'_>, _: &Read, context: &Context) -> Compiled {
        let name = whose.step;
        let made = match (&self.grpc, &self.http) {
            (Some(grpc), None) => grpc::Grpc::of(grpc, context),
            (None, Some(http)) => http::Http::of(http, context),
            _ => None,
        };
        let accepts = Accepts { servers: 1, ..Accepts::default() };
        let Some((how, target, client, server)) = made else {
            return Compiled { step: Box::new(Never(Fault::Internal)), accepts, problems: vec![Never::problem(field)] };
        };
        let forbidden = literal(&target.host).and_then(Forbidden::of);
        let problems = forbidden.map(|why| Problem::warning(field, format!("{why}; every request is answered 503")));
        let asked = Asked {
            name: name.to_owned(),
            complaints: Complaints::of(name, server.who()),
            server,
            client,
            config: self.config.as_ref().and_then(Json::as_object).cloned(),
            open: self.failure_mode_allow,
            bypassed: match how {
                How::Grpc(_) => "extauth_solo_io_passthrough_failure_bypass",
                How::Http(_) => "extauth_solo_io_http_passthrough_bypass_failure",
            },
        };
        let step = Box::new(PassThrough { how, asked: Arc::new(asked) });
        Compiled { step, accepts, problems: problems.into_iter().collect() }
    }
}
