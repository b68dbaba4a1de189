//! `envoy.service.auth.v3.Authorization`: one load of the index per request, no waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use tracing::{debug, error, warn};

use crate::answer;
use crate::chain::{Denial, State};
use crate::compile::Index;
use crate::meters::{ConfigMeters, Meters};
use crate::request::Request;
use crate::sealed::AlwaysAnswers;

/// The full name of the gRPC service.
pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// Larger requests are denied unread. Envoy sends headers and at most the body it was told to.
pub const MOST_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Answers checks from the index it holds. Empty at first: everything is denied.
#[derive(Debug, Default)]
pub struct Authority {
    index: ArcSwap<Index>,
    meters: Meters,
    /// Revision at which an unknown `config_id` was last logged, plus one: once for each index is enough.
    complained: AtomicU64,
}

impl Authority {
    /// An authority that denies everything until it has an index.
    pub fn new() -> Self {
        Self::default()
    }

    /// The index that answers now.
    pub fn index(&self) -> Arc<Index> {
        self.index.load_full()
    }

    /// From now on `index` answers.
    pub fn install(&self, index: Arc<Index>) {
        self.index.store(index);
    }

    /// Answers one check. Never fails: whatever goes wrong is a denied response.
    pub fn answer(&self, check: &pb::CheckRequest) -> pb::CheckResponse {
        self.meters.started();
        let began = Instant::now();
        let request = Request::new(check);
        let decision = self.guarded(|| self.decide(request));
        let status = answer::status(&decision);
        let took = began.elapsed();
        self.meters.handled(status, took);
        if runtime::trace::is_on() {
            runtime::trace::note("authconfig", request.config_id().unwrap_or_default().to_owned());
            runtime::trace::note("allowed", decision.is_ok());
            runtime::trace::note("reason", decision.as_ref().err().map_or("", |denial| denial.reason));
        }
        debug!(
            config = request.config_id().unwrap_or_default(),
            allowed = decision.is_ok(),
            status = decision.as_ref().map_or_else(|denial| denial.status, |_| 200),
            reason = decision.as_ref().err().map(|denial| denial.reason),
            request_id = ?request.id(),
            method = ?request.method(),
            host = ?request.host(),
            path = ?request.path(),
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "decided"
        );
        match &decision {
            Ok(state) => answer::allow(state, request),
            Err(denial) => answer::deny(*denial),
        }
    }

    /// The answer to a message that could not be decoded.
    pub fn unreadable(&self) -> pb::CheckResponse {
        self.meters.unreadable();
        warn!("a check could not be read and was denied; see grpc max size and versions of Envoy");
        answer::deny(Denial::UNREADABLE)
    }

    fn decide(&self, request: Request<'_>) -> Result<State, Denial> {
        let began = Instant::now();
        let index = self.index.load();
        let chain = index.find(request.config_id()).inspect_err(|denial| self.complain(&index, request, *denial))?;
        let decision = chain.decide(request);
        let meters = chain.meters.get_or_init(|| ConfigMeters::new(&chain.name));
        meters.decided(answer::status(&decision), began.elapsed());
        decision
    }

    fn complain(&self, index: &Index, request: Request<'_>, denial: Denial) {
        self.meters.no_such_config();
        if self.complained.swap(index.revision + 1, Ordering::Relaxed) != index.revision + 1 {
            let config = request.config_id().unwrap_or_default();
            warn!(config, reason = denial.reason, "a route asks for an AuthConfig that is not served; denying");
        }
    }

    /// A panic is a denial as well.
    fn guarded(&self, decide: impl FnOnce() -> Result<State, Denial>) -> Result<State, Denial> {
        catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|_| {
            self.meters.panicked();
            error!("a check panicked and was denied");
            Err(Denial::FAULT)
        })
    }
}

#[tonic::async_trait]
impl Authorization for Authority {
    async fn check(
        &self,
        request: tonic::Request<pb::CheckRequest>,
    ) -> Result<tonic::Response<pb::CheckResponse>, tonic::Status> {
        let check = request.get_ref();
        // Envoy passes on the request's own headers; that it traces its question too is rare.
        let http = Request::new(check);
        let asked = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let span = runtime::trace::call("ext_authz.check", |name| http.header_text(name).or_else(|| asked(name)));
        Ok(tonic::Response::new(span.in_scope(|| self.answer(check))))
    }
}

/// The gRPC service of `authority`, sealed so that Envoy never sees a gRPC error.
pub fn services(authority: Arc<Authority>) -> runtime::grpc::Services {
    let server = AuthorizationServer::from_arc(authority.clone()).max_decoding_message_size(MOST_REQUEST_BYTES);
    runtime::grpc::Services::hot(AlwaysAnswers::new(server, authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_denial() {
        let authority = Authority::new();
        let decision = authority.guarded(|| panic!("deliberate"));
        assert_eq!(decision.err(), Some(Denial::FAULT));
    }

    #[test]
    fn before_the_first_snapshot_everything_is_denied() {
        let answer = Authority::new().answer(&pb::CheckRequest::default());
        assert_eq!(answer, answer::deny(Denial::NO_CONFIG_ID));
    }
}
