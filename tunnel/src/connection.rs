//! One connection, from accepted to closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connect::Whom;
use crate::counters::{Counters, Reason};
use crate::limits::Limits;
use crate::plan::{Plan, Target};
use crate::splice::{reset_on_close, splice, tune};
use crate::{connect, header};

/// What the connections of one binding share.
pub(crate) struct Binding {
    /// Where callers connect: the service's VIP and port.
    pub address: SocketAddr,
    /// What this binding counted.
    pub counters: Counters,
    /// Whose turn it is among the endpoints.
    pub turn: AtomicUsize,
    /// The plan as it now stands: a change applies to the next connection.
    pub plans: watch::Receiver<Arc<Plan>>,
    /// Timeouts.
    pub limits: Limits,
}

/// Carries one connection to its end. When `cut` comes first, both sides are reset.
pub(crate) async fn carry(binding: &Binding, mut caller: TcpStream, peer: SocketAddr, cut: CancellationToken) {
    tune(&caller);
    let reached = tokio::select! {
        reached = reach(binding, peer) => reached,
        () = cut.cancelled() => Err(Reason::Refused),
    };
    let mut target = match reached {
        Ok(target) => target,
        Err(reason) => return refuse(binding, &caller, reason),
    };
    let open = binding.counters.opened();
    let counters = &binding.counters;
    let finished = tokio::select! {
        result = splice(&mut caller, &mut target, &counters.received, &counters.sent) => result.is_ok(),
        () = cut.cancelled() => false,
    };
    if !finished {
        reset_on_close(&caller);
        reset_on_close(&target);
    }
    drop((caller, target));
    drop(open);
}

/// Resets a connection that is not carried and counts why.
pub(crate) fn refuse(binding: &Binding, caller: &TcpStream, reason: Reason) {
    reset_on_close(caller);
    binding.counters.failed(reason);
    tracing::debug!(binding = %binding.address, reason = reason.as_str(), "connection reset");
}

/// Connects to the target and writes the PROXY header, if it expects one, before the first byte.
async fn reach(binding: &Binding, peer: SocketAddr) -> Result<TcpStream, Reason> {
    // One plan for the whole decision: target and identity belong together.
    let plan = binding.plans.borrow().clone();
    let limit = binding.limits.connect_timeout;
    let service = plan.service(binding.address);
    match plan.bindings.get(&service) {
        Some(Target::Waypoint(waypoint)) => {
            // Without its identity a caller would count as anonymous: better not at all.
            let head = header::write(peer, service, plan.identity(peer.ip())).map_err(|_| Reason::Identity)?;
            let mut stream =
                connect::to_one_of(std::slice::from_ref(waypoint), 0, binding.address, limit, Whom::Waypoint).await?;
            tune(&stream);
            match timeout(limit, stream.write_all(&head)).await {
                Ok(Ok(())) => Ok(stream),
                Ok(Err(_)) => Err(Reason::ConnectError),
                Err(_) => Err(Reason::ConnectTimeout),
            }
        }
        Some(Target::Direct(endpoints)) => {
            let turn = binding.turn.fetch_add(1, Ordering::Relaxed);
            let stream =
                connect::to_one_of(endpoints, turn, binding.address, limit, Whom::AnyoneBut(&plan.reserved)).await?;
            tune(&stream);
            Ok(stream)
        }
        Some(Target::Refuse(why)) => {
            tracing::debug!(binding = %binding.address, %why, "refused by plan");
            Err(Reason::Refused)
        }
        None => Err(Reason::Refused),
    }
}
