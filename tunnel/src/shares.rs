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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_has_its_share_and_gives_it_back_also_when_others_are_in_the_way() {
        let shares = Shares::new(&Limits { connections: 3, per_source: 2, per_service: 2, ..Limits::default() });
        let take = |source: &str, service: &str| shares.take(at(source), at(service));
        let first = take("127.0.0.1:1", "127.1.0.1:80").ok().unwrap();
        let second = take("[::ffff:127.0.0.1]:2", "127.1.0.2:80").ok().unwrap();
        assert_eq!(take("127.0.0.1:3", "127.1.0.3:80").err(), Some(Reason::SourceLimit));
        let third = take("127.0.0.2:1", "127.1.0.1:81").ok().unwrap();
        assert_eq!(take("127.0.0.3:1", "127.1.0.1:82").err(), Some(Reason::ServiceLimit), "whichever its port");
        assert_eq!(take("127.0.0.3:1", "127.1.0.3:80").err(), Some(Reason::Limit));
        // Whoever was turned away has taken nothing.
        drop(first);
        let fourth = take("127.0.0.3:1", "127.1.0.1:80").ok().unwrap();
        assert_eq!(shares.sources.by_address.lock().len(), 3);
        drop((second, third, fourth));
        assert_eq!((shares.sources.by_address.lock().len(), shares.services.by_address.lock().len()), (0, 0));
        assert_eq!(shares.room.available_permits(), 3);
        assert!(take("127.0.0.1:1", "127.1.0.1:80").is_ok());
    }

    #[test]
    fn who_has_no_share_is_not_remembered() {
        let shares = Shares::new(&Limits { per_source: 0, ..Limits::default() });
        assert_eq!(shares.take(at("127.0.0.1:1"), at("127.1.0.1:80")).err(), Some(Reason::SourceLimit));
        assert!(shares.sources.by_address.lock().is_empty());
    }
}
