//! The gRPC edge of quotas: `envoy.service.rate_limit_quota.v3.RateLimitQuotaService`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use proto::envoy::service::rate_limit_quota::v3 as pb;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_response::{BucketAction, bucket_action};
use proto::envoy::r#type::v3::rate_limit_strategy as pb_strategy;
use proto::envoy::r#type::v3::{RateLimitStrategy, TokenBucket};
use runtime::Shutdown;
use tokio::sync::mpsc;
use tonic::{Request as GrpcRequest, Response as GrpcResponse, Status as GrpcStatus};

use super::{Action, Ledger, Order, Strategy, StreamId, TIME_TO_LIVE, Usage};
use crate::clock::Clock;
use limit::UnixSecs;
use rules::bounds;
use rules::config::Index;

/// The name under which gRPC clients and health checks know the service.
pub const SERVICE_NAME: &str = "envoy.service.rate_limit_quota.v3.RateLimitQuotaService";

/// Answers that wait to be sent on a stream; one that cannot take more is ended, and comes again.
const MOST_WAITING: usize = 256;
/// How often time is seen to pass.
const TICK: Duration = Duration::from_secs(1);

type Answer = Result<pb::RateLimitQuotaResponse, GrpcStatus>;

/// Hands out quotas from the rules being served.
#[derive(Debug, Clone)]
pub(crate) struct Quotas<C> {
    index: Arc<ArcSwap<Index>>,
    open: Arc<Mutex<Open>>,
    clock: C,
    shutdown: Shutdown,
}

/// The open streams, and what each was given.
#[derive(Debug)]
struct Open {
    ledger: Ledger,
    streams: HashMap<StreamId, mpsc::Sender<Answer>>,
}

impl<C: Clock + Clone> Quotas<C> {
    /// Serves what `index` holds at any time, as one of so many servers; streams end when `shutdown` begins.
    pub fn new(index: Arc<ArcSwap<Index>>, replicas: NonZeroU32, clock: C, shutdown: Shutdown) -> Self {
        let open = Open { ledger: Ledger::one_of(replicas), streams: HashMap::new() };
        Self { index, open: Arc::new(Mutex::new(open)), clock, shutdown }
    }

    /// Renews, divides and abandons as time passes, until shutdown begins.
    ///
    /// # Errors
    /// Never.
    pub async fn run(self) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => self.tick(),
                () = self.shutdown.begun() => return Ok(()),
            }
        }
    }

    /// Does what is due now.
    pub fn tick(&self) {
        let index = self.index.load_full();
        let mut open = self.open.lock();
        let orders = open.ledger.tick(&index, self.now());
        open.send(orders);
    }

    fn now(&self) -> UnixSecs {
        self.clock.now().secs()
    }

    /// Reads the reports of one stream until it ends.
    async fn follow(
        self,
        stream: StreamId,
        mut reports: impl Stream<Item = Result<pb::RateLimitQuotaUsageReports, GrpcStatus>> + Unpin,
    ) {
        let mut domain: Option<Arc<str>> = None;
        loop {
            let message = tokio::select! {
                message = reports.next() => message,
                () = self.shutdown.begun() => break,
            };
            let Some(Ok(message)) = message else { break };
            // Only the first report must name it.
            if !message.domain.is_empty() && message.domain.len() <= bounds::MOST_DOMAIN_BYTES {
                domain.get_or_insert_with(|| message.domain.as_str().into());
            }
            let Some(domain) = &domain else {
                let why = GrpcStatus::invalid_argument("the first report must name a domain of at most 256 bytes");
                let sender = self.open.lock().streams.remove(&stream);
                if let Some(sender) = sender {
                    let _ = sender.try_send(Err(why));
                }
                break;
            };
            let (index, now) = (self.index.load_full(), self.now());
            let mut open = self.open.lock();
            if !open.streams.contains_key(&stream) {
                break;
            }
            let mut orders = Vec::new();
            for said in message.bucket_quota_usages {
                let usage = usage(&said);
                let Some(bucket) = said.bucket_id.map(|id| id.bucket.into_iter().collect()) else { continue };
                orders.extend(open.ledger.report(&index, stream, domain, bucket, usage, now));
            }
            open.send(orders);
        }
        let mut open = self.open.lock();
        open.streams.remove(&stream);
        let orders = open.ledger.close(stream, self.now());
        open.send(orders);
    }
}

impl Open {
    /// One message to each stream; the last word about each bucket holds.
    fn send(&mut self, orders: Vec<Order>) {
        let mut messages: HashMap<StreamId, Vec<BucketAction>> = HashMap::new();
        for order in orders {
            messages.entry(order.stream).or_default().extend(to_wire(order));
        }
        for (stream, bucket_action) in messages {
            let sent = self
                .streams
                .get(&stream)
                .map(|sender| sender.try_send(Ok(pb::RateLimitQuotaResponse { bucket_action })));
            if let Some(Err(_)) = sent {
                // Its reader notices, and what it had is divided then.
                tracing::warn!("a stream of quotas does not keep up and is ended");
                self.streams.remove(&stream);
            }
        }
    }
}

#[tonic::async_trait]
impl<C: Clock + Clone> pb::rate_limit_quota_service_server::RateLimitQuotaService for Quotas<C> {
    type StreamRateLimitQuotasStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn stream_rate_limit_quotas(
        &self,
        request: GrpcRequest<tonic::Streaming<pb::RateLimitQuotaUsageReports>>,
    ) -> Result<GrpcResponse<Self::StreamRateLimitQuotasStream>, GrpcStatus> {
        let (sender, mut receiver) = mpsc::channel(MOST_WAITING);
        let stream = {
            let mut open = self.open.lock();
            let stream = open.ledger.open();
            open.streams.insert(stream, sender);
            stream
        };
        // Ends with its stream, or when shutdown begins.
        tokio::spawn(self.clone().follow(stream, request.into_inner()));
        let answers = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        Ok(GrpcResponse::new(Box::pin(answers)))
    }
}

/// Envoy speaks of all its buckets in every report, used or not; of a new one it speaks at once, after no time.
fn usage(said: &pb::rate_limit_quota_usage_reports::BucketQuotaUsage) -> Usage {
    let new = said.time_elapsed.is_none_or(|elapsed| elapsed.seconds == 0 && elapsed.nanos == 0);
    Usage { allowed: said.num_requests_allowed, denied: said.num_requests_denied, new }
}

fn to_wire(order: Order) -> Vec<BucketAction> {
    let bucket: HashMap<String, String> =
        order.bucket.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let said =
        |action| BucketAction { bucket_id: Some(pb::BucketId { bucket: bucket.clone() }), bucket_action: Some(action) };
    let assigned = |strategy| {
        said(bucket_action::BucketAction::QuotaAssignmentAction(bucket_action::QuotaAssignmentAction {
            assignment_time_to_live: Some(duration(Duration::from_secs(TIME_TO_LIVE))),
            rate_limit_strategy: Some(RateLimitStrategy { strategy: Some(strategy_to_wire(strategy)) }),
        }))
    };
    match order.action {
        Action::Abandon => vec![said(bucket_action::BucketAction::AbandonAction(bucket_action::AbandonAction {}))],
        Action::Assign(strategy) if order.fill => vec![assigned(Strategy::DenyAll), assigned(strategy)],
        Action::Assign(strategy) => vec![assigned(strategy)],
    }
}

fn strategy_to_wire(strategy: Strategy) -> pb_strategy::Strategy {
    match strategy {
        Strategy::AllowAll => pb_strategy::Strategy::BlanketRule(pb_strategy::BlanketRule::AllowAll as i32),
        Strategy::DenyAll => pb_strategy::Strategy::BlanketRule(pb_strategy::BlanketRule::DenyAll as i32),
        Strategy::Tokens { most, tokens, every } => pb_strategy::Strategy::TokenBucket(TokenBucket {
            max_tokens: most,
            tokens_per_fill: Some(proto::google::protobuf::UInt32Value { value: tokens }),
            fill_interval: Some(duration(every)),
        }),
    }
}

fn duration(duration: Duration) -> proto::google::protobuf::Duration {
    proto::google::protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
