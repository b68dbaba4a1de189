//! One delta ADS stream as a pure state machine: requests and resources in, responses out.
//!
//! The order is make before break. Clusters go first, with their secrets and
//! endpoints. Envoy withholds its acknowledgement of clusters until they are
//! warm, so listeners, filter chains and routes wait for it. Scopes come before the
//! listener that sends requests to them. Removals come last,
//! in reverse, once every addition was answered, and wait longer while Envoy
//! keeps serving the old version of something it rejected, which may need them.
//!
//! What is to be sent is never stored: it is the difference between what the
//! client was told and what it is to have, worked out when there is room to send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::envoy::service::discovery::v3 as pb;
use proto::resource::Named;
use proto::{ResourceSet, ResourceType};

mod rejection;
mod subscription;

pub use rejection::Nack;
pub use subscription::OnDemand;
pub(crate) use subscription::by_wildcard;
use subscription::{InFlight, Subscription};

/// Types sent as soon as they change, in this order: they name nothing that must be there first.
const FREE: [ResourceType; 3] = [ResourceType::Cluster, ResourceType::Secret, ResourceType::Endpoint];
/// Types that name clusters, sent in this order once clusters are acknowledged.
const GATED: [ResourceType; 4] =
    [ResourceType::Scope, ResourceType::Listener, ResourceType::FilterChain, ResourceType::Route];
/// The order of removals: who names others goes before those it names.
const REMOVALS: [ResourceType; 7] = [
    ResourceType::Route,
    ResourceType::FilterChain,
    ResourceType::Listener,
    ResourceType::Scope,
    ResourceType::Endpoint,
    ResourceType::Cluster,
    ResourceType::Secret,
];

/// What one client may make a session hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Names subscribed to, per type.
    pub names: usize,
    /// Responses sent and not answered yet, per type; beyond it the session waits.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 200_000, in_flight: 32 }
    }
}

/// Why a stream must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionError {
    /// The client subscribed to more names of a type than [`Limits::names`].
    TooManyNames(ResourceType),
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SessionError::TooManyNames(kind) => write!(f, "too many names subscribed to for {}", kind.type_url()),
        }
    }
}

impl std::error::Error for SessionError {}

/// How far a session's client has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The newest generation of which everything was sent and answered; 0 for none.
    pub generation: u64,
    /// What the client refuses at present.
    pub nacks: Vec<Nack>,
}

/// What happened on a stream, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rejected responses.
    pub rejected: u64,
    /// Requests whose nonce was not that of a response under way.
    pub stale_nonces: u64,
}

/// The protocol state of one stream.
#[derive(Debug, Default)]
pub struct Session {
    limits: Limits,
    types: BTreeMap<ResourceType, Subscription>,
    target: Option<Target>,
    last_nonce: u64,
    settled: u64,
    /// The wait for Envoy to acknowledge clusters is over: routes are sent without.
    released: bool,
    /// The wait for subscriptions that never came is over, for this generation.
    forgiven: bool,
    counts: Counts,
    on_demand: Option<OnDemand>,
}

#[derive(Debug, Clone)]
struct Target {
    resources: Arc<ResourceSet>,
    generation: u64,
    /// The types of which there is something that every client is to have.
    needed: BTreeSet<ResourceType>,
}

impl Session {
    /// A stream on which nothing was said yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The same, whose client is told of some resources only if it asks for them by name.
    #[must_use]
    pub fn with_on_demand(self, on_demand: Option<OnDemand>) -> Self {
        Self { on_demand, ..self }
    }

    /// Takes a request: subscriptions, and the answer to an earlier response.
    ///
    /// # Errors
    /// When the client asks for more than the limits allow; the stream must end.
    pub fn on_request(
        &mut self,
        request: pb::DeltaDiscoveryRequest,
    ) -> Result<Vec<pb::DeltaDiscoveryResponse>, SessionError> {
        let Some(kind) = ResourceType::of_type_url(&request.type_url) else {
            return Ok(self.answer_unknown_type(request));
        };
        let first = !self.types.contains_key(&kind);
        let target = self.target.as_ref().and_then(|target| target.resources.get(&kind));
        let subscription = self.types.entry(kind).or_default();
        if first {
            subscription.on_demand = self.on_demand.map(|on_demand| (kind, on_demand));
            subscription.greet(kind, &request);
        }
        subscription.subscribe(&request.resource_names_subscribe, &request.resource_names_unsubscribe, first);
        if first {
            subscription.begin(target);
        } else {
            let asked = request.resource_names_subscribe.iter().chain(&request.resource_names_unsubscribe);
            subscription.look(asked, target);
        }
        if subscription.names.len() > self.limits.names {
            return Err(SessionError::TooManyNames(kind));
        }
        if !request.response_nonce.is_empty() {
            self.answered(kind, &request.response_nonce, request.error_detail.map(|status| status.message));
        }
        Ok(self.advance())
    }

    /// Takes what the client is to have from now on.
    pub fn on_resources(&mut self, resources: &Arc<ResourceSet>, generation: u64) -> Vec<pb::DeltaDiscoveryResponse> {
        let needed = needed(resources, self.on_demand);
        let old = self.target.replace(Target { resources: resources.clone(), generation, needed });
        for (kind, subscription) in &mut self.types {
            let target = resources.get(kind);
            match &old {
                Some(old) => {
                    let changed = proto::resource::changed(&old.resources, resources, *kind);
                    subscription.retarget(changed, target);
                }
                None => subscription.begin(target),
            }
        }
        self.forgiven = false;
        self.advance()
    }

    /// Stops waiting: for clusters to be acknowledged before what names them is
    /// sent, and for resources nobody has asked for. Whoever pumps the session
    /// calls this when it has been unsettled for too long, so that one cluster
    /// that never warms cannot hold up every later change.
    pub fn release(&mut self) -> Vec<pb::DeltaDiscoveryResponse> {
        self.released = true;
        self.forgiven = true;
        self.advance()
    }

    /// Whether everything of the newest generation was sent and answered.
    pub fn is_settled(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.generation == self.settled)
    }

    /// How far the client has come.
    pub fn state(&self) -> SessionState {
        let nacks = self.types.iter().flat_map(|(kind, subscription)| subscription.nacks(*kind)).collect();
        SessionState { generation: self.settled, nacks }
    }

    /// The version of a resource that the client acknowledged last.
    pub fn acked_version(&self, kind: ResourceType, name: &str) -> Option<&str> {
        self.types.get(&kind)?.entries.get(name)?.acked.as_deref()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn answered(&mut self, kind: ResourceType, nonce: &str, error: Option<String>) {
        let subscription = self.types.entry(kind).or_default();
        let Some(answered) = nonce.parse().ok().and_then(|nonce: u64| subscription.in_flight.remove(&nonce)) else {
            self.counts.stale_nonces += 1;
            return;
        };
        let names: Vec<String> = answered.sent.iter().map(|(name, _)| name.clone()).collect();
        match error {
            None => subscription.accepted(answered),
            Some(message) => {
                self.counts.rejected += 1;
                subscription.rejected(kind, answered, &message);
            }
        }
        subscription.look(names.iter(), self.target.as_ref().and_then(|target| target.resources.get(&kind)));
    }

    /// Sends what may be sent now.
    fn advance(&mut self) -> Vec<pb::DeltaDiscoveryResponse> {
        let Some(target) = self.target.clone() else { return Vec::new() };
        let mut responses = Vec::new();
        for kind in FREE {
            self.add(kind, &target, &mut responses);
        }
        if self.types.get(&ResourceType::Cluster).is_none_or(Subscription::additions_answered) {
            self.released = false;
        } else if !self.released {
            return responses;
        }
        for kind in GATED {
            self.add(kind, &target, &mut responses);
        }
        let answered = self.introduced(&target) && self.types.values().all(Subscription::additions_answered);
        if answered || self.forgiven {
            for kind in REMOVALS {
                self.remove(kind, &target, &mut responses);
            }
        }
        if self.everything_answered(&target) {
            self.settled = target.generation;
        }
        responses
    }

    fn add(&mut self, kind: ResourceType, target: &Target, responses: &mut Vec<pb::DeltaDiscoveryResponse>) {
        while let Some(subscription) = self.types.get_mut(&kind)
            && subscription.in_flight.len() < self.limits.in_flight
        {
            let Some(batch) = subscription.next_additions(target.resources.get(&kind)) else { break };
            if kind == ResourceType::Cluster {
                let sent: Vec<String> = batch.resources.iter().map(|resource| resource.name.clone()).collect();
                self.resend_endpoints(&sent);
            }
            let resources = batch.resources.iter().map(|resource| subscription::wire(resource)).collect();
            let in_flight = InFlight {
                sent: batch.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect(),
                generation: target.generation,
            };
            responses.push(self.response(kind, in_flight, resources, batch.absent));
        }
    }

    /// Envoy keeps a changed cluster warming until it is sent endpoints again,
    /// and does not ask for them again, since it has not stopped wanting them.
    /// A cluster and its endpoints bear the same name.
    fn resend_endpoints(&mut self, clusters: &[String]) {
        let Some(endpoints) = self.types.get_mut(&ResourceType::Endpoint) else { return };
        for cluster in clusters {
            endpoints.forget(cluster);
        }
    }

    fn remove(&mut self, kind: ResourceType, target: &Target, responses: &mut Vec<pb::DeltaDiscoveryResponse>) {
        if self.old_versions_may_need(kind) {
            return;
        }
        let Some(subscription) = self.types.get_mut(&kind) else { return };
        if subscription.in_flight.len() >= self.limits.in_flight {
            return;
        }
        let removed = subscription.next_removals(target.resources.get(&kind));
        if !removed.is_empty() {
            let in_flight = InFlight { sent: Vec::new(), generation: target.generation };
            responses.push(self.response(kind, in_flight, Vec::new(), removed));
        }
    }

    /// Whether the client has spoken of every type that may name others. On a new
    /// stream it speaks of clusters first, and its routes may still name those
    /// that are no longer there.
    fn introduced(&self, target: &Target) -> bool {
        let spoken = |kind: ResourceType| self.types.contains_key(&kind);
        spoken(ResourceType::Listener) && target.needed.iter().copied().all(spoken)
    }

    /// Whether Envoy serves the old version of something it rejected that may name resources of `kind`.
    fn old_versions_may_need(&self, kind: ResourceType) -> bool {
        use ResourceType::{Cluster, Endpoint, FilterChain, Listener, Route, Scope, Secret};
        let by: &[ResourceType] = match kind {
            Cluster => &[Listener, FilterChain, Route, Scope],
            Endpoint | Secret => &[Cluster, Listener, FilterChain, Route, Scope],
            Route => &[Listener, FilterChain],
            FilterChain => &[Listener],
            // A request whose scope is gone is answered 404: nothing is served that was to end.
            Listener | Scope => &[],
        };
        by.iter().any(|kind| self.types.get(kind).is_some_and(Subscription::serves_old_versions))
    }

    fn response(
        &mut self,
        kind: ResourceType,
        in_flight: InFlight,
        resources: Vec<pb::Resource>,
        removed_resources: Vec<String>,
    ) -> pb::DeltaDiscoveryResponse {
        self.last_nonce += 1;
        let system_version_info = in_flight.generation.to_string();
        self.types.entry(kind).or_default().in_flight.insert(self.last_nonce, in_flight);
        pb::DeltaDiscoveryResponse {
            system_version_info,
            resources,
            type_url: kind.type_url().to_owned(),
            removed_resources,
            nonce: self.last_nonce.to_string(),
            ..Default::default()
        }
    }

    fn everything_answered(&self, target: &Target) -> bool {
        let subscriptions = self.types.values();
        if subscriptions.clone().any(|s| !s.in_flight.is_empty() || !s.additions_answered()) {
            return false;
        }
        if self.types.iter().any(|(kind, s)| !s.removals.is_empty() && !self.old_versions_may_need(*kind)) {
            return false;
        }
        let refusing = subscriptions.clone().any(|s| !s.rejections.is_empty());
        target.resources.keys().all(|kind| match self.types.get(kind) {
            // Names that only a rejected resource would have asked for are never asked for.
            None => !target.needed.contains(kind) || (!subscription::unprompted(*kind) && (refusing || self.forgiven)),
            Some(subscription) => {
                subscription.open.iter().all(|name| !subscription.wants(name) && (refusing || self.forgiven))
            }
        })
    }

    /// Says of a type we do not serve that there is nothing, so that the client does not wait for it.
    fn answer_unknown_type(&mut self, request: pb::DeltaDiscoveryRequest) -> Vec<pb::DeltaDiscoveryResponse> {
        let asks = !request.resource_names_subscribe.is_empty();
        if !asks || self.target.is_none() {
            return Vec::new();
        }
        self.last_nonce += 1;
        vec![pb::DeltaDiscoveryResponse {
            type_url: request.type_url,
            removed_resources: request.resource_names_subscribe.into_iter().filter(|name| name != "*").collect(),
            nonce: self.last_nonce.to_string(),
            ..Default::default()
        }]
    }
}

/// The types of which there is something that every client is to have, whatever it asks for.
fn needed(resources: &ResourceSet, on_demand: Option<OnDemand>) -> BTreeSet<ResourceType> {
    let is_needed = |kind: ResourceType, name: &str| on_demand.is_none_or(|on_demand| !on_demand(kind, name));
    let some = |(kind, named): &(&ResourceType, &Named)| named.keys().any(|name| is_needed(**kind, name));
    resources.iter().filter(some).map(|(kind, _)| *kind).collect()
}
