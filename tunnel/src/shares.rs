//! Who takes how much: connections by source address, by Service, and by both, so that
//! neither one caller nor one Service takes the room of all others, and no caller the whole of a Service's.

use std::collections::HashMap;
use std::hash::Hash;
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
    sources: Arc<Taken<IpAddr>>,
    services: Arc<Taken<IpAddr>>,
    /// Of a Service's share, what each source has of it.
    pairs: Arc<Taken<(IpAddr, IpAddr)>>,
}

/// How many connections each of whatever is counted has.
struct Taken<K: Copy + Eq + Hash> {
    most: usize,
    by: Mutex<HashMap<K, usize>>,
}

/// One connection's part; given back when dropped.
pub(crate) struct Share {
    _room: OwnedSemaphorePermit,
    _of_source: One<IpAddr>,
    _of_service: One<IpAddr>,
    _of_pair: One<(IpAddr, IpAddr)>,
}

/// One connection of whatever is counted.
struct One<K: Copy + Eq + Hash> {
    taken: Arc<Taken<K>>,
    key: K,
}

impl Shares {
    pub fn new(limits: &Limits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limits.connections)),
            sources: Taken::most(limits.per_source),
            services: Taken::most(limits.per_service),
            // A quarter of each Service is left for others.
            pairs: Taken::most(limits.per_service - limits.per_service / 4),
        }
    }

    /// Counts one more connection from `source` to the Service at `binding`; the error says which of them has too many.
    pub fn take(&self, source: SocketAddr, binding: SocketAddr) -> Result<Share, Reason> {
        let (source, service) = (source.ip().to_canonical(), binding.ip().to_canonical());
        let of_source = self.sources.one_more(source).ok_or(Reason::SourceLimit)?;
        let of_pair = self.pairs.one_more((source, service)).ok_or(Reason::SourceLimit)?;
        let of_service = self.services.one_more(service).ok_or(Reason::ServiceLimit)?;
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Reason::Limit)?;
        Ok(Share { _room: room, _of_source: of_source, _of_service: of_service, _of_pair: of_pair })
    }
}

impl<K: Copy + Eq + Hash> Taken<K> {
    fn most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, by: Mutex::default() })
    }

    fn one_more(self: &Arc<Self>, key: K) -> Option<One<K>> {
        let mut by = self.by.lock();
        let taken = by.entry(key).or_default();
        if *taken >= self.most {
            if *taken == 0 {
                by.remove(&key);
            }
            return None;
        }
        *taken += 1;
        Some(One { taken: Arc::clone(self), key })
    }
}

impl<K: Copy + Eq + Hash> Drop for One<K> {
    fn drop(&mut self) {
        let mut by = self.taken.by.lock();
        if let Some(taken) = by.get_mut(&self.key) {
            *taken -= 1;
            if *taken == 0 {
                by.remove(&self.key);
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
        assert_eq!(shares.sources.by.lock().len(), 3);
        drop((second, third, fourth));
        assert_eq!((shares.sources.by.lock().len(), shares.services.by.lock().len()), (0, 0));
        assert_eq!(shares.room.available_permits(), 3);
        assert!(take("127.0.0.1:1", "127.1.0.1:80").is_ok());
    }

    #[test]
    fn one_source_leaves_others_a_part_of_each_service() {
        let shares = Shares::new(&Limits { per_source: 100, per_service: 4, ..Limits::default() });
        let take = |source: &str, service: &str| shares.take(at(source), at(service));
        let held: Vec<_> = (1..=3).map(|_| take("127.0.0.1:1", "127.1.0.1:80").ok().unwrap()).collect();
        assert_eq!(take("127.0.0.1:1", "127.1.0.1:81").err(), Some(Reason::SourceLimit));
        let other = take("127.0.0.2:1", "127.1.0.1:80").ok().unwrap();
        assert_eq!(take("127.0.0.3:1", "127.1.0.1:80").err(), Some(Reason::ServiceLimit));
        assert!(take("127.0.0.1:1", "127.1.0.2:80").is_ok(), "another Service");
        drop((held, other));
        assert!(shares.pairs.by.lock().is_empty());
    }

    #[test]
    fn who_has_no_share_is_not_remembered() {
        let shares = Shares::new(&Limits { per_source: 0, ..Limits::default() });
        assert_eq!(shares.take(at("127.0.0.1:1"), at("127.1.0.1:80")).err(), Some(Reason::SourceLimit));
        assert!(shares.sources.by.lock().is_empty());
    }
}
