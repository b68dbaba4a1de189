//! Who takes how much: connections by source address and by Service, so that
//! neither one caller nor one Service takes the room of all others.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::Reason;
use crate::limits::Limits;

/// The room of a tunnel, and who has taken how much of it.
#[derive(Clone)]
pub(crate) struct Shares {
    room: Arc<Semaphore>,
    sources: Arc<Taken>,
    services: Arc<Taken>,
}

/// How many connections each address has.
struct Taken {
    most: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's part; given back when dropped.
pub(crate) struct Share {
    _room: OwnedSemaphorePermit,
    _of_source: One,
    _of_service: One,
}

/// One connection of an address.
struct One {
    taken: Arc<Taken>,
    address: IpAddr,
}

impl Shares {
    pub fn new(limits: &Limits) -> Self {
        let taken = |most| Arc::new(Taken { most, by_address: Mutex::default() });
        Self {
            room: Arc::new(Semaphore::new(limits.connections)),
            sources: taken(limits.per_source),
            services: taken(limits.per_service),
        }
    }

    /// Room for one more connection of `source` to the Service at `binding`, or what it is that has too many.
    pub fn take(&self, source: SocketAddr, binding: SocketAddr) -> Result<Share, Reason> {
        let of_source = self.sources.one_more(source.ip()).ok_or(Reason::SourceLimit)?;
        let of_service = self.services.one_more(binding.ip()).ok_or(Reason::ServiceLimit)?;
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Reason::Limit)?;
        Ok(Share { _room: room, _of_source: of_source, _of_service: of_service })
    }
}

impl Taken {
    fn one_more(self: &Arc<Self>, address: IpAddr) -> Option<One> {
        let address = address.to_canonical();
        let mut by_address = self.by_address.lock();
        let taken = by_address.entry(address).or_default();
        if *taken >= self.most {
            if *taken == 0 {
                by_address.remove(&address);
            }
            return None;
        }
        *taken += 1;
        Some(One { taken: Arc::clone(self), address })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut by_address = self.taken.by_address.lock();
        if let Some(taken) = by_address.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
