//! The tunnel: keeps the listeners what the plan says they are.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::binding::{Shared, accept, listen};
use crate::connection::Binding;
use crate::counters::{Counters, Reason};
use crate::limits::Limits;
use crate::plan::Plan;
use crate::shares::Shares;

/// The first retry of a bind comes soon: an address given up by the last plan
/// is free a moment later.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// How one binding of the plan is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingStatus {
    /// The service's address.
    pub addr: SocketAddr,
    /// Whether it listens; if not, why not and what to do.
    pub bound: Result<(), String>,
    /// Connections open now.
    pub connections: usize,
    /// Connections reset instead of carried, by reason.
    pub failed: Vec<(Reason, u64)>,
}

/// How the connections ended when the tunnel stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections still open when the time was up, and reset.
    pub cut: usize,
}

/// Why the tunnel stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// A listener's task ended by itself, which is a fault of ours.
    #[error("a listener of the tunnel stopped: {0}")]
    ListenerStopped(String),
}

/// A tunnel. Clones are handles to the same one; [`Tunnel::run`] does the work.
#[derive(Clone)]
pub struct Tunnel {
    limits: Limits,
    plans: watch::Receiver<Arc<Plan>>,
    applied: Arc<watch::Sender<Option<Arc<Plan>>>>,
    bindings: Arc<Mutex<BTreeMap<SocketAddr, State>>>,
}

/// A binding of the plan and what came of it.
struct State {
    binding: Arc<Binding>,
    /// Stops the listener when dropped.
    bound: Result<DropGuard, String>,
}

impl Tunnel {
    /// A tunnel for `plans`, not yet running.
    pub fn new(plans: watch::Receiver<Arc<Plan>>, limits: Limits) -> Self {
        Self { limits, plans, applied: Arc::new(watch::Sender::new(None)), bindings: Arc::default() }
    }

    /// Every binding of the plan that was applied last.
    pub fn status(&self) -> Vec<BindingStatus> {
        let bindings = self.bindings.lock();
        bindings
            .iter()
            .map(|(addr, state)| BindingStatus {
                addr: *addr,
                bound: state.bound.as_ref().map(drop).map_err(Clone::clone),
                connections: state.binding.counters.open(),
                failed: state.binding.counters.failures(),
            })
            .collect()
    }

    /// Waits until the newest plan has been applied: every listener bound or known to have failed.
    pub async fn caught_up(&self) {
        let mut applied = self.applied.subscribe();
        let newest = |now: &Option<Arc<Plan>>| now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &self.plans.borrow()));
        // The sender lives as long as `self`.
        let _ = applied.wait_for(newest).await;
    }

    /// Serves until `shutdown`, then stops accepting and lets connections
    /// finish until [`Limits::drain`] has passed; what is left is reset.
    ///
    /// Dropping the future closes every listener and connection at once.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<Drained, TunnelError> {
        let shared = Shared {
            shares: Shares::new(&self.limits),
            connections: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        let _cut_on_drop = shared.cut.clone().drop_guard();
        let mut listeners = JoinSet::new();
        let served = self.serve(&shared, &mut listeners, shutdown).await;

        self.bindings.lock().clear();
        while listeners.join_next().await.is_some() {}
        served?;
        shared.connections.close();
        let finished = timeout(self.limits.drain, shared.connections.wait()).await.is_ok();
        let cut = if finished { 0 } else { shared.connections.len() };
        shared.cut.cancel();
        shared.connections.wait().await;
        Ok(Drained { cut })
    }

    async fn serve(
        &self,
        shared: &Shared,
        listeners: &mut JoinSet<()>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), TunnelError> {
        let mut plans = self.plans.clone();
        let mut planning = true;
        let mut patience = FIRST_RETRY;
        tokio::pin!(shutdown);
        loop {
            let plan = plans.borrow_and_update().clone();
            let all_bound = self.apply(&plan, shared, listeners);
            self.applied.send_replace(Some(plan));

            let retry = Instant::now() + patience.min(self.limits.bind_retry);
            patience = patience.saturating_mul(2).min(self.limits.bind_retry);
            loop {
                tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    changed = plans.changed(), if planning => match changed {
                        Ok(()) => {
                            patience = FIRST_RETRY;
                            break;
                        }
                        // Whoever planned has gone; what was last planned stands.
                        Err(_) => planning = false,
                    },
                    () = sleep_until(retry), if !all_bound => break,
                    Some(ended) = listeners.join_next() => {
                        ended.map_err(|error| TunnelError::ListenerStopped(error.to_string()))?;
                    }
                }
            }
        }
    }

    /// Opens and closes listeners until they are those of `plan`. Others are
    /// not touched, nor is any connection. Says whether all are bound.
    fn apply(&self, plan: &Plan, shared: &Shared, listeners: &mut JoinSet<()>) -> bool {
        let mut bindings = self.bindings.lock();
        let wanted: BTreeSet<SocketAddr> = plan.addresses().collect();
        bindings.retain(|address, _| wanted.contains(address));
        let mut all_bound = true;
        for address in wanted {
            let state = bindings.entry(address).or_insert_with(|| self.unbound(address));
            let Err(before) = &state.bound else { continue };
            match listen(address) {
                Ok(listener) => state.bound = Ok(start(listener, &state.binding, shared, listeners)),
                Err(why) => {
                    all_bound = false;
                    if *before != why {
                        tracing::warn!(binding = %address, "{why}");
                    }
                    state.bound = Err(why);
                }
            }
        }
        all_bound
    }

    fn unbound(&self, address: SocketAddr) -> State {
        let binding = Binding {
            address,
            counters: Counters::new(address),
            turn: AtomicUsize::new(0),
            plans: self.plans.clone(),
            limits: self.limits.clone(),
        };
        State { binding: Arc::new(binding), bound: Err(String::new()) }
    }
}

fn start(listener: TcpListener, binding: &Arc<Binding>, shared: &Shared, listeners: &mut JoinSet<()>) -> DropGuard {
    let stop = CancellationToken::new();
    listeners.spawn(accept(listener, Arc::clone(binding), shared.clone(), stop.clone()));
    stop.drop_guard()
}
