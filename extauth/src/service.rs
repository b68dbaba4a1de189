//! `envoy.service.auth.v3.Authorization`: one load of the index per request, and no waiting for
//! what is known at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use tokio::sync::watch;
use tokio::time::timeout_at;
use tracing::{debug, error, warn};

use crate::Settings;
use crate::answer;
use crate::chain::{Chain, Decision, Known, Progress, Question};
use crate::compile::{Index, NoChain};
use crate::meters::Meters;
use crate::patience;
use crate::request::Request;
use crate::sealed::AlwaysAnswers;
use crate::step::{Denial, Fault, Outcome};

/// The full name of the gRPC service.
pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// Larger requests are denied unread. Envoy sends headers and at most the body it was told to.
pub const MOST_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Answers checks from the index it holds. Empty at first: everything is denied.
#[derive(Debug)]
pub struct Authority {
    index: ArcSwap<Index>,
    /// The revision of the index.
    installed: watch::Sender<u64>,
    /// How long a question waits for an AuthConfig, or the version of it that reads what the question brings.
    unknown_patience: Duration,
    meters: Meters,
    /// Revision at which it was last logged that no AuthConfig answers, plus one: once for each index is enough.
    complained: AtomicU64,
}

/// How far a decision has come at once.
enum Begun {
    Decided(Decision),
    /// There is no such AuthConfig yet, or not the version that is asked.
    NotYet(NoChain),
    Waits(Arc<Chain>, usize, BoxFuture<'static, Outcome>),
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// An authority that denies everything until it has an index.
    pub fn new() -> Self {
        Self::with(&Settings::default())
    }

    /// One that knows nothing yet, in a process with these settings.
    pub fn with(settings: &Settings) -> Self {
        Self {
            index: ArcSwap::default(),
            installed: watch::Sender::new(0),
            unknown_patience: settings.unknown_patience,
            meters: Meters::new(),
            complained: AtomicU64::default(),
        }
    }

    /// The index that answers now.
    pub fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// From now on `index` answers.
    pub fn install(&self, index: Arc<Index>) {
        let revision = index.revision;
        self.index.store(index);
        self.installed.send_replace(revision);
    }

    /// Answers one check, by `deadline`. Never fails: whatever goes wrong is a denied response.
    pub async fn answer(&self, check: &pb::CheckRequest, deadline: Instant) -> pb::CheckResponse {
        self.meters.started();
        let began = Instant::now();
        let request = Request::new(check);
        let decision = match self.guarded(|| self.begin(request, began, deadline)) {
            Begun::Decided(decision) => decision,
            Begun::NotYet(_) => self.once_there(request, began, deadline).await,
            Begun::Waits(chain, place, waited) => self.finish(&chain, request, deadline, place, waited).await,
        };
        self.handled(request, &decision, began.elapsed());
        answer::answer(&decision, request)
    }

    /// The answer to a message that could not be decoded.
    pub fn unreadable(&self) -> pb::CheckResponse {
        self.meters.unreadable();
        warn!("a check could not be read and was denied; see grpc max size and versions of Envoy");
        answer::deny(&Denial::UNREADABLE)
    }

    fn begin(&self, request: Request<'_>, now: Instant, deadline: Instant) -> Begun {
        let index = self.index.load();
        match index.find(request.config_id(), request.brings(), now) {
            Ok(chain) => match chain.decide(Question { request, deadline, now: SystemTime::now() }, &Known::new()) {
                Progress::Decided(decision) => {
                    self.decided(chain, &decision, now.elapsed());
                    Begun::Decided(decision)
                }
                Progress::Waits(place, waited) => Begun::Waits(chain.clone(), place, waited),
            },
            Err(why @ (NoChain::Unknown | NoChain::ReadsOther)) => Begun::NotYet(why),
            Err(why) => Begun::Decided(self.no_chain(&index, request, why)),
        }
    }

    /// Decides as soon as there is an AuthConfig of that name, in the version that reads what the question brings.
    async fn once_there(&self, request: Request<'_>, began: Instant, deadline: Instant) -> Decision {
        let until = deadline.min(began + self.unknown_patience);
        let mut installed = self.installed.subscribe();
        loop {
            // Looked at after subscribing, so that none is missed.
            let why = match self.guarded(|| self.begin(request, Instant::now(), deadline)) {
                Begun::Decided(decision) => return decision,
                Begun::Waits(chain, place, waited) => {
                    return self.finish(&chain, request, deadline, place, waited).await;
                }
                Begun::NotYet(why) => why,
            };
            let changed = timeout_at(until.into(), installed.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return self.no_chain(&self.index.load(), request, why);
            }
        }
    }

    /// Decides once steps that need time have answered.
    async fn finish(
        &self,
        chain: &Arc<Chain>,
        request: Request<'_>,
        deadline: Instant,
        mut place: usize,
        mut waited: BoxFuture<'static, Outcome>,
    ) -> Decision {
        let began = Instant::now();
        let mut known = Known::new();
        let decision = loop {
            let outcome = match timeout_at(deadline.into(), AssertUnwindSafe(waited).catch_unwind()).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => {
                    self.panicked();
                    Outcome::Fault(Fault::Internal)
                }
                Err(_) => Outcome::Fault(Fault::TooLate),
            };
            known.push((place, outcome));
            match self.guarded(|| go_on(chain, Question { request, deadline, now: SystemTime::now() }, &known)) {
                Begun::Waits(_, next, wait) => (place, waited) = (next, wait),
                Begun::Decided(decision) => break decision,
                Begun::NotYet(_) => break Decision::Deny(Fault::Internal.denial()),
            }
        };
        self.decided(chain, &decision, began.elapsed());
        decision
    }

    fn decided(&self, chain: &Chain, decision: &Decision, took: Duration) {
        let meters = chain.meters.get_or_init(|| self.meters.of(&chain.name));
        meters.decided(answer::status(decision), took);
    }

    fn handled(&self, request: Request<'_>, decision: &Decision, took: Duration) {
        self.meters.handled(answer::status(decision), took);
        let denial = match decision {
            Decision::Allow(_) => None,
            Decision::Deny(denial) => Some(denial),
        };
        if runtime::trace::is_on() {
            runtime::trace::note("authconfig", request.config_id().unwrap_or_default().to_owned());
            runtime::trace::note("allowed", denial.is_none());
            runtime::trace::note("reason", denial.map_or("", |denial| denial.reason));
        }
        debug!(
            config = request.config_id().unwrap_or_default(),
            allowed = denial.is_none(),
            status = denial.map_or(200, |denial| denial.status),
            reason = denial.map(|denial| denial.reason),
            request_id = ?request.id(),
            method = ?request.method(),
            host = ?request.host(),
            path = ?request.path(),
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "decided"
        );
    }

    fn no_chain(&self, index: &Index, request: Request<'_>, why: NoChain) -> Decision {
        self.meters.no_chain(why);
        let denial = why.denial();
        if self.complained.swap(index.revision + 1, Ordering::Relaxed) != index.revision + 1 {
            let config = request.config_id().unwrap_or_default();
            warn!(config, reason = denial.reason, "no AuthConfig answers what a route asks; denying");
        }
        Decision::Deny(denial)
    }

    /// A panic is a denial as well.
    fn guarded(&self, begin: impl FnOnce() -> Begun) -> Begun {
        catch_unwind(AssertUnwindSafe(begin)).unwrap_or_else(|_| {
            self.panicked();
            Begun::Decided(Decision::Deny(Fault::Internal.denial()))
        })
    }

    fn panicked(&self) {
        self.meters.panicked();
        error!("a check panicked and was denied");
    }
}

fn go_on(chain: &Arc<Chain>, question: Question<'_>, known: &Known) -> Begun {
    match chain.decide(question, known) {
        Progress::Decided(decision) => Begun::Decided(decision),
        Progress::Waits(place, waited) => Begun::Waits(chain.clone(), place, waited),
    }
}

#[tonic::async_trait]
impl Authorization for Authority {
    async fn check(
        &self,
        request: tonic::Request<pb::CheckRequest>,
    ) -> Result<tonic::Response<pb::CheckResponse>, tonic::Status> {
        let deadline = patience::deadline(request.metadata(), Instant::now());
        let check = request.get_ref();
        // Envoy passes on the request's own headers; that it traces its question too is rare.
        let http = Request::new(check);
        let asked = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let span = runtime::trace::call("ext_authz.check", |name| http.header_text(name).or_else(|| asked(name)));
        let answer = self.answer(check, deadline);
        Ok(tonic::Response::new(tracing::Instrument::instrument(answer, span).await))
    }
}

/// The gRPC service of `authority`, sealed so that Envoy never sees a gRPC error.
pub fn services(authority: Arc<Authority>) -> runtime::grpc::Services {
    let server = AuthorizationServer::from_arc(authority.clone()).max_decoding_message_size(MOST_REQUEST_BYTES);
    runtime::grpc::Services::hot(AlwaysAnswers::new(server, move || authority.unreadable()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_denial() {
        let authority = Authority::new();
        let begun = authority.guarded(|| panic!("deliberate"));
        assert!(matches!(begun, Begun::Decided(Decision::Deny(denial)) if denial == Fault::Internal.denial()));
    }

    #[tokio::test]
    async fn before_the_first_snapshot_everything_is_denied() {
        let deadline = Instant::now() + Duration::from_secs(1);
        let answer = Authority::new().answer(&pb::CheckRequest::default(), deadline).await;
        assert_eq!(answer, answer::deny(&NoChain::Unnamed.denial()));
    }
}
