//! The gRPC service: pumps a [`Session`] between an Envoy and the [`Hub`].

use std::time::Duration;

use metrics::{counter, gauge};
use proto::ResourceType;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use runtime::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::hub::{Hub, Membership, Target};
use crate::peer::{Admission, Authorizer, Peer};
use crate::session::{Limits, Session};

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct Options {
    /// What one client may make a session hold.
    pub limits: Limits,
    /// How long a session may stay unsettled before it stops waiting for
    /// clusters to warm; see [`Session::release`].
    pub patience: Duration,
    /// How long a client may take to say who it is.
    pub introduction: Duration,
    /// The largest request: a reconnecting Envoy names everything it has.
    pub max_request: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            patience: Duration::from_secs(5),
            introduction: Duration::from_secs(10),
            max_request: 64 << 20,
        }
    }
}

/// The aggregated discovery service over a hub.
#[derive(Debug, Clone)]
pub struct Service {
    hub: Hub,
    authorizer: Authorizer,
    options: Options,
    shutdown: Shutdown,
    turn: Option<watch::Receiver<bool>>,
}

impl Service {
    /// A service that gives each node what `hub` holds for it, until `shutdown` begins.
    pub fn new(hub: Hub, authorizer: Authorizer, options: Options, shutdown: Shutdown) -> Self {
        Self { hub, authorizer, options, shutdown, turn: None }
    }

    /// The same, only while `turn` is true: else streams are turned away, and those there are end.
    #[must_use]
    pub fn while_it_is_our_turn(self, turn: Option<watch::Receiver<bool>>) -> Self {
        Self { turn, ..self }
    }

    /// The service as a tonic server takes it.
    pub fn into_server(self) -> AggregatedDiscoveryServiceServer<Self> {
        let max = self.options.max_request;
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(max)
    }
}

type Responses = mpsc::Sender<Result<pb::DeltaDiscoveryResponse, Status>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<pb::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<pb::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "only delta xDS is served: set dynamic_resources.ads_config.api_type to DELTA_GRPC in Envoy's bootstrap",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut turn = self.turn.clone();
        if turn.as_ref().is_some_and(|turn| !*turn.borrow()) {
            counter!("waykeeper_xds_turned_away_total").increment(1);
            return Err(Status::unavailable("another replica serves Envoys; connect anew to reach it"));
        }
        let peer = Peer::of(&request);
        let requests = request.into_inner();
        let (responses, stream) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            let shutdown = service.shutdown.clone();
            let ended = tokio::select! {
                ended = service.pump(peer, requests, &responses) => ended,
                () = shutdown.begun() => Ok(()),
                () = over(turn.as_mut()) => Ok(()),
            };
            if let Err(status) = ended {
                tracing::warn!(reason = status.message(), "an xDS stream was ended");
                let _ = responses.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Service {
    async fn pump(
        self,
        peer: Peer,
        mut requests: Streaming<pb::DeltaDiscoveryRequest>,
        responses: &Responses,
    ) -> Result<(), Status> {
        let first = match timeout(self.options.introduction, requests.next()).await {
            Err(_) => return Err(Status::deadline_exceeded("no request came")),
            Ok(None | Some(Err(_))) => return Ok(()),
            Ok(Some(Ok(first))) => first,
        };
        let node = first.node.as_ref().map(|node| node.id.clone()).unwrap_or_default();
        // Who cannot be found out about in time is nobody.
        let admission = timeout(self.options.introduction, self.authorizer.admits(&peer, &node)).await;
        let instance = match admission.unwrap_or(Admission::Refused) {
            Admission::Refused => {
                counter!("waykeeper_xds_refused_streams_total").increment(1);
                let words = format!("this client may not have the resources of node {node:?}");
                return Err(Status::permission_denied(words));
            }
            Admission::Admitted => None,
            Admission::As(instance) => Some(instance),
        };
        tracing::debug!(node, "an xDS stream began");
        let mut has_nothing = first.initial_resource_versions.is_empty();
        let (mut target, membership) = self.hub.join(&node, instance, !has_nothing);
        let mut waiting = target.borrow().is_none().then(Waiting::begin);
        let mut pump = Pump { session: self.hub.session(self.options.limits), node: &node, membership, responses };
        let mut patience: Option<Instant> = None;
        // What comes after what such a client is sent first.
        let mut next: Option<Target> = None;
        pump.request(first).await?;
        loop {
            tokio::select! {
                request = requests.next() => match request {
                    // Envoy went away; it says so by a reset as often as by an end.
                    None | Some(Err(_)) => return Ok(()),
                    Some(Ok(request)) => pump.request(request).await?,
                },
                changed = target.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let now = target.borrow_and_update().clone();
                    if let Some(now) = now {
                        waiting = None;
                        match now.first.clone().filter(|_| has_nothing) {
                            Some(first) => {
                                let out = pump.session.on_resources(&first, now.generation.saturating_sub(1));
                                next = Some(now);
                                pump.send(out).await?;
                            }
                            None => {
                                next = None;
                                pump.offer(&now).await?;
                            }
                        }
                    }
                },
                () = until(patience) => {
                    let out = pump.session.release();
                    if !out.is_empty() {
                        counter!("waykeeper_xds_released_total").increment(1);
                        tracing::warn!(node, "Envoy did not acknowledge its clusters in time, going on without");
                    }
                    patience = None;
                    pump.send(out).await?;
                },
            }
            if pump.session.is_settled() {
                has_nothing = false;
                if let Some(next) = next.take() {
                    pump.offer(&next).await?;
                }
            }
            patience = if pump.session.is_settled() || waiting.is_some() {
                None
            } else {
                patience.or_else(|| Some(Instant::now() + self.options.patience))
            };
        }
    }
}

/// Ends when it is not our turn any more.
async fn over(turn: Option<&mut watch::Receiver<bool>>) {
    if let Some(turn) = turn
        && turn.wait_for(|ours| !ours).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Counts a stream that waits because nothing is known of its node yet.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        gauge!("waykeeper_xds_waiting").increment(1.0);
        Waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        gauge!("waykeeper_xds_waiting").decrement(1.0);
    }
}

struct Pump<'a> {
    session: Session,
    node: &'a str,
    membership: Membership,
    responses: &'a Responses,
}

impl Pump<'_> {
    async fn request(&mut self, request: pb::DeltaDiscoveryRequest) -> Result<(), Status> {
        let label = label(&request.type_url);
        if let Some(error) = request.error_detail.as_ref().filter(|_| !request.response_nonce.is_empty()) {
            counter!("pilot_total_xds_rejects", "type" => label).increment(1);
            tracing::debug!(node = self.node, r#type = label, code = error.code, "Envoy rejected a response");
        }
        let before = self.session.counts().stale_nonces;
        let out = self.session.on_request(request).map_err(|error| Status::resource_exhausted(error.to_string()))?;
        if self.session.counts().stale_nonces > before {
            counter!("pilot_xds_expired_nonce", "type" => label).increment(1);
        }
        self.send(out).await
    }

    async fn offer(&mut self, target: &Target) -> Result<(), Status> {
        let out = self.session.on_resources(&target.resources, target.generation);
        self.send(out).await
    }

    async fn send(&mut self, responses: Vec<pb::DeltaDiscoveryResponse>) -> Result<(), Status> {
        for response in responses {
            let label = label(&response.type_url);
            counter!("pilot_xds_pushes", "type" => label).increment(1);
            tracing::debug!(
                node = self.node,
                r#type = label,
                resources = response.resources.len(),
                removed = response.removed_resources.len(),
                "sending"
            );
            let gone = |_| Status::cancelled("the client went away");
            self.responses.send(Ok(response)).await.map_err(gone)?;
        }
        self.membership.report(self.session.state());
        Ok(())
    }
}

/// A type as metrics name it.
fn label(type_url: &str) -> &'static str {
    match ResourceType::of_type_url(type_url) {
        Some(ResourceType::Cluster) => "cds",
        Some(ResourceType::Endpoint) => "eds",
        Some(ResourceType::Scope) => "srds",
        Some(ResourceType::Listener) => "lds",
        Some(ResourceType::FilterChain) => "fcds",
        Some(ResourceType::Route) => "rds",
        Some(ResourceType::Secret) => "sds",
        None => "other",
    }
}
