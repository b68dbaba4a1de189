//! Stands between a pod's Envoy and the control plane: passes its stream on, and writes down what it acknowledges. An Envoy
//! that begins while the control plane is away is told what the one before it had acknowledged.
//!
//! ```text
//! Envoy ──▶ relay ──▶ control plane        what is acknowledged is written down, then passed on
//!             └─────▶ what was kept        while that is away, to an Envoy that serves nothing yet
//! ```
//! An Envoy that serves keeps what it has, as without us: its streams end as those to the control plane do. When the control
//! plane is back, streams to what was kept end, and Envoy comes anew, with what it has; what of it is to be another is told.

use std::sync::Arc;
use std::time::Duration;

use api::Name;
use metrics::gauge;
use parking_lot::Mutex;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3 as pb;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::{ResourceSet, ResourceType};
use runtime::{Readiness, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use xds::{Authorizer, Hub, Options, Recorder, Service, Target};

use super::kept::Kept;
use super::upstream::{Open, Upstream};
use crate::envoy::States;

/// The name under which it says what is not as it should be.
const AUTHOR: &str = "relay";
/// How long a control plane that was reached may say nothing to an Envoy that could be told what was kept.
const SILENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether a control plane that was away is back.
const LOOK: Duration = Duration::from_secs(1);
/// The largest request: an Envoy that comes anew names everything it has.
const MOST_REQUEST: usize = 64 << 20;
/// Without something of each of these an Envoy serves nothing.
const NEEDED: [ResourceType; 3] = [ResourceType::Cluster, ResourceType::Listener, ResourceType::Scope];

type Responses = mpsc::Sender<Result<pb::DeltaDiscoveryResponse, Status>>;

/// The relay of one Envoy.
#[derive(Debug, Clone)]
pub struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: String,
    gateway: Name,
    upstream: Upstream,
    written: Mutex<Written>,
    /// Whether the control plane is away, and what was kept stands in for it.
    away: watch::Sender<bool>,
    /// Counts streams: an Envoy has one, and a new one ends the one before.
    streams: watch::Sender<u64>,
    states: watch::Receiver<States>,
    /// Tells what was kept.
    hub: Hub,
    keeper: Service,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct Written {
    recorder: Recorder,
    kept: Kept,
}

impl Relay {
    /// One for the Envoy of `gateway`, of which `states` tells how it is, with what was kept of the one before.
    pub fn new(
        gateway: Name,
        upstream: Upstream,
        (kept, set): (Kept, Option<Arc<ResourceSet>>),
        states: watch::Receiver<States>,
        shutdown: Shutdown,
    ) -> Self {
        let node = crate::node_id(&gateway);
        let (hub, away) = (Hub::new(), watch::Sender::new(false));
        let keeper = Service::new(hub.clone(), Authorizer::local(), Options::default(), shutdown.clone());
        Self(Arc::new(Inner {
            node,
            gateway,
            upstream,
            written: Mutex::new(Written { recorder: Recorder::new(NEEDED, set), kept }),
            keeper: keeper.while_it_is_our_turn(Some(away.subscribe())),
            away,
            streams: watch::Sender::new(0),
            states,
            hub,
            shutdown,
        }))
    }

    /// As a tonic server takes it.
    pub fn into_server(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(MOST_REQUEST)
    }

    /// Looks, while the control plane is away, whether it is back; until `shutdown` begins.
    pub async fn look(self, readiness: Readiness, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut away = self.0.away.subscribe();
        let looking = async {
            while away.wait_for(|away| *away).await.is_ok() {
                let words = "what the control plane says now: it cannot be reached, and what it said last is served";
                readiness.remark(AUTHOR, vec![words.to_owned()]);
                gauge!("waypoint_proxy_control_plane_away").set(1.0);
                while !self.0.is_back().await {
                    sleep(LOOK).await;
                }
                tracing::info!("the control plane is back");
                readiness.remark(AUTHOR, Vec::new());
                gauge!("waypoint_proxy_control_plane_away").set(0.0);
                self.0.away.send_replace(false);
            }
        };
        tokio::select! {
            () = looking => {}
            () = shutdown.begun() => {}
        }
        Ok(())
    }
}

impl Inner {
    /// Whether there is something to tell an Envoy in place of the control plane, and one that needs it.
    fn stands_in(&self) -> bool {
        let serves = self.states.borrow().get(&self.gateway).is_some_and(|state| state.ready);
        let written = self.written.lock();
        let kept = written.recorder.kept().filter(|set| set.contains_key(&ResourceType::Listener));
        kept.is_some() && !serves
    }

    /// Says of the control plane that it is away.
    fn goes_away(&self, why: &str) {
        if !self.away.send_replace(true) {
            tracing::warn!(why, "the control plane cannot be reached; Envoy is told what was acknowledged last");
        }
    }

    /// Has what is kept now stand in for the control plane.
    fn keeper(&self) -> &Service {
        if let Some(resources) = self.written.lock().recorder.kept().cloned() {
            self.hub.set(&self.node, Target { resources, generation: 1, first: None });
        }
        &self.keeper
    }

    /// Whether the control plane has something to say.
    async fn is_back(&self) -> bool {
        let Ok((requests, mut responses)) = self.upstream.open().await else { return false };
        let kind = ResourceType::Listener;
        let node = Some(Node { id: self.node.clone(), cluster: self.node.clone(), ..Default::default() });
        let ask = pb::DeltaDiscoveryRequest { node, type_url: kind.type_url().to_owned(), ..Default::default() };
        if requests.send(ask).await.is_err() {
            return false;
        }
        matches!(timeout(SILENCE, responses.message()).await, Ok(Ok(Some(_))))
    }

    /// Passes on what comes, both ways, until one end goes away.
    async fn pass_on(
        &self,
        mut requests: Streaming<pb::DeltaDiscoveryRequest>,
        (to, mut from): Open,
        responses: &Responses,
        patient: bool,
    ) -> Result<(), Status> {
        let mut streams = self.streams.subscribe();
        let mut own = 0;
        self.streams.send_modify(|count| {
            *count += 1;
            own = *count;
        });
        self.written.lock().recorder.begin();
        let is_last = |count: &u64| *count == own;
        let up = async {
            while let Some(Ok(request)) = requests.next().await {
                if !is_last(&self.streams.borrow()) {
                    break;
                }
                self.written.lock().follow(&request);
                if to.send(request).await.is_err() {
                    break;
                }
            }
        };
        let down = async {
            let mut said = patient;
            loop {
                let response = if said {
                    from.message().await?
                } else {
                    let first = timeout(SILENCE, from.message()).await;
                    first.map_err(|_| Status::unavailable("the control plane says nothing"))??
                };
                said = true;
                let Some(response) = response else { return Ok(()) };
                if !is_last(&self.streams.borrow()) {
                    return Ok(());
                }
                self.written.lock().recorder.response(&response);
                let gone = |_| Status::cancelled("the client went away");
                responses.send(Ok(response)).await.map_err(gone)?;
            }
        };
        tokio::select! {
            () = up => Ok(()),
            ended = down => ended,
            _ = streams.wait_for(|count| !is_last(count)) => Ok(()),
            () = self.shutdown.begun() => Ok(()),
        }
    }
}

impl Written {
    /// Writes down what follows from a request.
    fn follow(&mut self, request: &pb::DeltaDiscoveryRequest) {
        let change = self.recorder.request(request);
        self.kept.follow(&change, self.recorder.kept());
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Relay {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<pb::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<pb::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only delta xDS is served"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let inner = self.0.clone();
        let stands_in = inner.stands_in();
        if stands_in && *inner.away.borrow() {
            return inner.keeper().delta_aggregated_resources(request).await;
        }
        let open = match inner.upstream.open().await {
            Ok(open) => open,
            Err(error) => {
                let why = format!("{error:#}");
                if stands_in {
                    inner.goes_away(&why);
                    return inner.keeper().delta_aggregated_resources(request).await;
                }
                tracing::debug!(why, "the control plane cannot be reached");
                return Err(Status::unavailable(format!("the control plane cannot be reached: {why}")));
            }
        };
        let (responses, stream) = mpsc::channel(16);
        let requests = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = inner.pass_on(requests, open, &responses, !stands_in).await {
                if stands_in && inner.stands_in() {
                    inner.goes_away(status.message());
                }
                let _ = responses.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
