//! The gRPC edge in place of envoyproxy/ratelimit.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use proto::envoy::service::ratelimit::v3 as pb;
use smallvec::SmallVec;
use tonic::{Request as GrpcRequest, Response as GrpcResponse, Status as GrpcStatus};

use super::answer::{Policy, Standing, answer, count};
use super::domains::Domains;
use super::exhausted::Exhausted;
use super::plan::{Counted, NotLoaded, Plan, plan};
use super::stats::Stats;
use limit::{Change, CountPolicy, CounterId, Hit, Moment};
use rules::request::{Malformed, Request};
use server::Clock;
use server::meters;
use store::{CounterStore, StoreError};

/// Answers requests from the domains being served.
#[derive(Debug)]
pub struct Service<S, C> {
    domains: Arc<ArcSwap<Domains>>,
    store: S,
    clock: C,
    policy: Policy,
    stats: Arc<Stats>,
    exhausted: Option<Arc<Exhausted>>,
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
    /// There is no configuration yet.
    #[error("no rate limit configuration loaded")]
    NotLoaded,
    /// What may govern it cannot be used.
    #[error("rate limit configuration {0} cannot be used as it is written; see the log")]
    Broken(Box<str>),
}

impl From<NotLoaded> for Failure {
    fn from(_: NotLoaded) -> Self {
        Failure::NotLoaded
    }
}

impl<S: CounterStore, C: Clock> Service<S, C> {
    /// Serves what `domains` holds at any time.
    pub fn new(
        domains: Arc<ArcSwap<Domains>>,
        store: S,
        clock: C,
        policy: Policy,
        stats: Arc<Stats>,
        exhausted: Option<Arc<Exhausted>>,
    ) -> Self {
        Self { domains, store, clock, policy, stats, exhausted }
    }

    /// Whether there is room for what `message` describes.
    ///
    /// # Errors
    /// When that cannot be said.
    pub async fn answer(&self, message: &pb::RateLimitRequest) -> Result<pb::RateLimitResponse, Failure> {
        let answered = self.try_answer(message).await;
        if let Err(failure) = &answered {
            tracing::debug!(%failure, "answered with an error");
            let cause = match failure {
                Failure::Store(_) => "redis_error",
                Failure::Malformed(_) | Failure::NotLoaded | Failure::Broken(_) => "service_error",
            };
            self.stats.failure(cause).add(1);
            meters::failed(cause);
        }
        answered
    }

    async fn try_answer(&self, message: &pb::RateLimitRequest) -> Result<pb::RateLimitResponse, Failure> {
        let request = Request::read_leniently(message)?;
        let domains = self.domains.load_full();
        let moment = self.clock.now();
        let now = moment.secs();
        let plan = plan(&domains, &request, now)?;
        if !plan.domain_known {
            self.stats.domain_not_found(request.domain, request.descriptors.len() as u64);
        }
        let standings = self.standings(&plan, request.domain, moment).await?;
        count(&plan, &standings, request.domain, &self.policy, &self.stats);
        let (response, told) = answer(message, &plan, &standings, &self.policy, now);
        if told.shadowed {
            self.stats.service("global_shadow_mode").add(1);
        }
        match plan.broken {
            // What is known to be over stays over, whatever else is broken.
            Some(source) if !told.over => Err(Failure::Broken((&**source).into())),
            _ => Ok(response),
        }
    }

    /// Counts, and says how each counter then stands.
    async fn standings(
        &self,
        plan: &Plan<'_>,
        domain: &str,
        now: Moment,
    ) -> Result<SmallVec<[Standing; 4]>, StoreError> {
        let mut standings: SmallVec<[Standing; 4]> = plan.counted.iter().map(|_| Standing::Count(0)).collect();
        let mut asked: SmallVec<[usize; 4]> = SmallVec::new();
        for (at, counted) in plan.counted.iter().enumerate() {
            if self.exhausted.as_ref().is_some_and(|exhausted| exhausted.holds(counted)) {
                if let Some(standing) = standings.get_mut(at) {
                    *standing = Standing::UsedUp;
                }
            } else {
                asked.push(at);
            }
        }
        let hits = self.hits(plan, &asked, domain, now).await?;
        let counts = self.store.hit(&hits, now).await?;
        for (at, after) in asked.into_iter().zip(counts) {
            let (Some(standing), Some(counted)) = (standings.get_mut(at), plan.counted.get(at)) else { continue };
            *standing = Standing::Count(after);
            if let Some(exhausted) = &self.exhausted {
                match counted.change {
                    Change::Refund(_) => exhausted.forget(counted.counter),
                    Change::Add(_) if standing.is_over(counted) => exhausted.remember(counted, now.secs()),
                    Change::Add(_) => {}
                }
            }
        }
        Ok(standings)
    }

    /// The hits to make on those `asked` about. Under the stop policy, once a
    /// counter is over or would be, only what would be over is counted.
    async fn hits<'p>(
        &self,
        plan: &'p Plan<'_>,
        asked: &[usize],
        domain: &'p str,
        now: Moment,
    ) -> Result<SmallVec<[Hit<'p>; 4]>, StoreError> {
        let hit = |at: &usize| {
            let counted = plan.counted.get(*at)?;
            let hit = Hit {
                config: domain,
                counter: counted.counter,
                rule: counted.rule.map_or(CounterId::NO_RULE, |rule| rule.id),
                limit: counted.limit,
                window: counted.window,
                change: counted.change,
                policy: CountPolicy::Always,
                shadow: counted.rule.is_some_and(|rule| rule.shadow),
            };
            Some((counted, hit))
        };
        let all = asked.iter().filter_map(hit);
        if !self.policy.stop {
            return Ok(all.map(|(_, hit)| hit).collect());
        }
        let all: SmallVec<[_; 4]> = all.collect();
        let look = |hit: &Hit<'p>| match hit.change {
            Change::Add(_) => Hit { change: Change::Add(0), ..*hit },
            Change::Refund(_) => *hit,
        };
        if asked.len() < plan.counted.len() {
            return Ok(all.iter().map(|(_, hit)| look(hit)).collect());
        }
        let looks: SmallVec<[Hit<'_>; 4]> = all.iter().map(|(_, hit)| Hit { change: Change::Add(0), ..*hit }).collect();
        let before = self.store.hit(&looks, now).await?;
        let would_be_over = |(counted, hit): &(&Counted<'_>, Hit<'_>), before: u64| match hit.change {
            Change::Add(hits) => before + u64::from(hits) > u64::from(counted.limit.requests_per_unit),
            Change::Refund(_) => false,
        };
        let over: SmallVec<[bool; 4]> =
            all.iter().zip(before).map(|(one, before)| would_be_over(one, before)).collect();
        let any = over.contains(&true);
        Ok(all.iter().zip(over).map(|((_, hit), over)| if any && !over { look(hit) } else { *hit }).collect())
    }
}

/// The service as gRPC and HTTP share it.
#[derive(Debug)]
pub struct Shared<S, C>(pub Arc<Service<S, C>>);

impl<S, C> Clone for Shared<S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[tonic::async_trait]
impl<S: CounterStore, C: Clock> pb::rate_limit_service_server::RateLimitService for Shared<S, C> {
    async fn should_rate_limit(
        &self,
        request: GrpcRequest<pb::RateLimitRequest>,
    ) -> Result<GrpcResponse<pb::RateLimitResponse>, GrpcStatus> {
        let began = Instant::now();
        let answer = self.0.answer(request.get_ref()).await;
        let took = began.elapsed();
        meters::call(took);
        self.0.stats.call(took);
        // Whatever is wrong, that server says UNKNOWN. Envoy lets the request
        // pass then, or answers 500 if `failure_mode_deny` is set.
        answer.map(GrpcResponse::new).map_err(|failure| GrpcStatus::unknown(failure.to_string()))
    }
}
