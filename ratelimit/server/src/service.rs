//! The gRPC edge: `envoy.service.ratelimit.v3.RateLimitService`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proto::envoy::service::ratelimit::v3 as pb;
use proto::envoy::service::ratelimit::v3::rate_limit_response as pb_response;
use tonic::{Request as GrpcRequest, Response as GrpcResponse, Status as GrpcStatus};
use tracing::Instrument as _;

use crate::book::Book;
use crate::clock::Clock;
use crate::meters;
use rules::config::Index;
use rules::decide::{Response, Status, decide};
use rules::plan::plan;
use rules::request::{Descriptor, Malformed, Request};
use store::{CounterStore, StoreError};

/// The name under which gRPC clients and health checks know the service.
pub const SERVICE_NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";

/// Answers requests from the rules being served.
#[derive(Debug)]
pub struct Service<S, C> {
    index: Arc<ArcSwap<Index>>,
    store: S,
    clock: C,
    book: Option<Arc<Book>>,
}

/// How long a RateLimitConfig nobody knows is waited for: it leaves Envoy, which waits 100 ms, time for the answer.
const PATIENCE: Duration = Duration::from_millis(50);
/// Characters of a name that are logged.
const MOST_LOGGED: usize = 320;
/// How often is looked meanwhile.
const GLANCE: Duration = Duration::from_millis(5);

/// Whether every RateLimitConfig that `request` names is known, or nobody is asked for one.
fn knows_all(index: &Index, request: &Request<'_>) -> bool {
    let known = |descriptor: &Descriptor<'_>| {
        let first = descriptor.entries.first().filter(|first| first.key == "generic_key");
        first.is_none_or(|first| index.config(&first.value).is_some())
    };
    index.domain(request.domain).is_none() || request.descriptors.iter().all(known)
}

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is not a request we can read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It could not be counted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<S: CounterStore, C: Clock> Service<S, C> {
    /// Serves what `index` holds at any time.
    pub fn new(index: Arc<ArcSwap<Index>>, store: S, clock: C) -> Self {
        Self { index, store, clock, book: None }
    }

    /// Notes in `book` what counters stand for.
    pub fn noting(self, book: Arc<Book>) -> Self {
        Self { book: Some(book), ..self }
    }

    /// The rules being served. Envoy may hear of a new RateLimitConfig a moment before they are compiled:
    /// then the moment is waited for.
    async fn index_for(&self, request: &Request<'_>) -> Arc<Index> {
        let mut index = self.index.load_full();
        if knows_all(&index, request) {
            return index;
        }
        let patience = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < patience {
            tokio::time::sleep(GLANCE).await;
            let next = self.index.load_full();
            if !Arc::ptr_eq(&next, &index) && knows_all(&next, request) {
                return next;
            }
            index = next;
        }
        index
    }

    /// Whether there is room for what `message` describes.
    ///
    /// # Errors
    /// When that cannot be said.
    pub async fn answer(&self, message: &pb::RateLimitRequest) -> Result<Response, Failure> {
        let request = Request::read(message)?;
        let index = self.index_for(&request).await;
        let moment = self.clock.now();
        let now = moment.secs();
        let plan = plan(&index, &request, now);
        let counts = self.store.hit(&plan.hits(), moment).await?;
        if let Some(book) = &self.book {
            book.note(&request, &plan, &counts, now);
        }
        let response = decide(&plan, &counts, request.domain, now);
        let known_as = plan.domain.and_then(|number| index.domains().get(number));
        meters::count(&plan, &counts, known_as.map_or("", |name| name));
        if let Some(refused) = plan.outcomes.iter().position(|outcome| outcome.is_refused()) {
            self.say_why(&index, &request, refused);
        }
        Ok(response)
    }

    /// Says once for each index that nobody can say what limits a request.
    fn say_why(&self, index: &Arc<Index>, request: &Request<'_>, descriptor: usize) {
        if index.is_said_first() {
            let first = request.descriptors.get(descriptor).and_then(|descriptor| descriptor.entries.first());
            let config = first.map(|first| first.value.chars().take(MOST_LOGGED).collect::<String>());
            let loaded = index.is_loaded();
            tracing::warn!(config, loaded, "a RateLimitConfig that is not known, or cannot be used, refuses requests");
        }
    }
}

#[tonic::async_trait]
impl<S: CounterStore, C: Clock> pb::rate_limit_service_server::RateLimitService for Service<S, C> {
    async fn should_rate_limit(
        &self,
        request: GrpcRequest<pb::RateLimitRequest>,
    ) -> Result<GrpcResponse<pb::RateLimitResponse>, GrpcStatus> {
        let began = Instant::now();
        let metadata = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let span = runtime::trace::call("ratelimit.should_rate_limit", metadata);
        let answer = self.answer(request.get_ref()).instrument(span.clone()).await;
        meters::call(began.elapsed());
        let _entered = span.enter();
        if runtime::trace::is_on() {
            runtime::trace::note("domain", request.get_ref().domain.clone());
            runtime::trace::note(
                "answer",
                match &answer {
                    Ok(response) if response.over => "OVER_LIMIT",
                    Ok(_) => "OK",
                    Err(_) => "error",
                },
            );
        }
        match answer {
            Ok(response) => Ok(GrpcResponse::new(to_wire(response))),
            Err(failure) => {
                tracing::debug!(%failure, "answered with an error");
                meters::failed(match failure {
                    Failure::Store(_) => "redis_error",
                    Failure::Malformed(_) => "service_error",
                });
                Err(to_status(&failure))
            }
        }
    }
}

/// The one place where a failure becomes a gRPC status. Whatever the code,
/// Envoy lets the request pass, or answers 500 if `failure_mode_deny` is set;
/// an `overall_code` of UNKNOWN would let it pass in either case.
fn to_status(failure: &Failure) -> GrpcStatus {
    match failure {
        Failure::Malformed(why) => GrpcStatus::invalid_argument(why.to_string()),
        Failure::Store(why) => GrpcStatus::unavailable(why.to_string()),
    }
}

fn to_wire(response: Response) -> pb::RateLimitResponse {
    pb::RateLimitResponse {
        overall_code: code(response.over),
        statuses: response.statuses.into_iter().map(status_to_wire).collect(),
        ..Default::default()
    }
}

fn status_to_wire(status: Status) -> pb_response::DescriptorStatus {
    let code = code(status.over);
    match status.tightest {
        Some(tightest) => pb_response::DescriptorStatus {
            code,
            limit_remaining: tightest.remaining,
            duration_until_reset: Some(proto::google::protobuf::Duration {
                seconds: i64::try_from(tightest.reset.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            current_limit: Some(pb_response::RateLimit {
                name: tightest.name,
                requests_per_unit: tightest.limit.requests_per_unit,
                // A window of several units has no name here; better none than a wrong one.
                unit: if tightest.limit.units() == 1 { tightest.limit.unit().number() } else { 0 },
            }),
            quota: None,
        },
        None => pb_response::DescriptorStatus {
            code,
            limit_remaining: if status.unlimited { u32::MAX } else { 0 },
            ..Default::default()
        },
    }
}

fn code(over: bool) -> i32 {
    if over { pb_response::Code::OverLimit as i32 } else { pb_response::Code::Ok as i32 }
}
