//! Which process is the master: what Sentinels say, asked for all the time.
//!
//! Every Sentinel is asked four times a second over a connection that is kept.
//! The answer that belongs to the latest failover (the highest config epoch)
//! counts; of equals, the one most Sentinels give. Nobody is believed without
//! the process itself saying that it is a master.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::access::{Access, Place};

/// How often a Sentinel is asked.
const ASK: Duration = Duration::from_millis(250);
/// How long an answer may take.
const WITHIN: Duration = Duration::from_millis(500);

/// What one Sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Vote {
    epoch: u64,
    master: Place,
}

/// Who is to be asked for what.
#[derive(Debug, Clone)]
pub(super) struct Sentinels {
    /// The name they know the master by.
    pub(super) master: String,
    /// Where they are.
    pub(super) places: Vec<Place>,
    /// How they are reached.
    pub(super) ask_as: Access,
    /// How masters are reached.
    pub(super) access: Access,
}

impl Sentinels {
    /// Whom they name now: of what they say, what comes from the latest failover.
    pub(super) async fn master_now(&self) -> Option<Place> {
        let mut latest: Option<Vote> = None;
        for place in &self.places {
            if let Ok(vote) = ask(&mut None, place, &self.ask_as, &self.master).await
                && latest.as_ref().is_none_or(|latest| latest.epoch < vote.epoch)
            {
                latest = Some(vote);
            }
        }
        latest.map(|vote| vote.master)
    }
}

/// What they say together.
#[derive(Debug)]
pub(super) struct Watch {
    sentinels: Sentinels,
    voices: watch::Sender<HashMap<usize, Vote>>,
    votes: watch::Receiver<HashMap<usize, Vote>>,
    current: Option<Place>,
    asking: JoinSet<()>,
}

impl Watch {
    pub(super) fn new(sentinels: Sentinels) -> Watch {
        let (voices, votes) = watch::channel(HashMap::new());
        Watch { sentinels, voices, votes, current: None, asking: JoinSet::new() }
    }

    /// How masters are reached.
    pub(super) fn access(&self) -> &Access {
        &self.sentinels.access
    }

    /// Begins to ask, until this is dropped.
    pub(super) fn start(&mut self) {
        let Sentinels { master, places, ask_as, .. } = &self.sentinels;
        for (n, place) in places.iter().enumerate() {
            self.asking.spawn(follow(n, place.clone(), ask_as.clone(), master.clone(), self.voices.clone()));
        }
    }

    /// Who may be the master, the likeliest first. The first voices are waited for, but not for ever.
    pub(super) async fn candidates(&mut self) -> Vec<Place> {
        self.current = None;
        let _ = tokio::time::timeout(2 * WITHIN, self.votes.wait_for(|votes| !votes.is_empty())).await;
        ranked(&self.votes.borrow_and_update())
    }

    pub(super) fn connected_to(&mut self, place: Place) {
        self.current = Some(place);
    }

    /// Returns when a later failover made another the master than the one we
    /// are connected to, or, if we are not, when anything has changed.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.votes.changed().await.is_err() {
                return std::future::pending().await;
            }
            let Some(current) = &self.current else { return };
            if is_outdated(current, &self.votes.borrow_and_update()) {
                return;
            }
        }
    }
}

/// Whether another was made master after `current`. That some still name
/// another, while a failover is under way, is no reason to leave.
fn is_outdated(current: &Place, votes: &HashMap<usize, Vote>) -> bool {
    let latest = votes.values().map(|vote| vote.epoch).max();
    let mut of_latest = votes.values().filter(|vote| Some(vote.epoch) == latest);
    !votes.is_empty() && !of_latest.any(|vote| vote.master == *current)
}

/// By epoch, then by how many say so.
fn ranked(votes: &HashMap<usize, Vote>) -> Vec<Place> {
    let mut standing: HashMap<&Place, (u64, usize)> = HashMap::new();
    for vote in votes.values() {
        let (epoch, count) = standing.entry(&vote.master).or_default();
        *epoch = vote.epoch.max(*epoch);
        *count += 1;
    }
    let mut places: Vec<_> = standing.into_iter().collect();
    places.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    places.into_iter().map(|(place, _)| place.clone()).collect()
}

async fn follow(n: usize, at: Place, access: Access, master: String, votes: watch::Sender<HashMap<usize, Vote>>) {
    let mut connection: Option<MultiplexedConnection> = None;
    let mut complained = false;
    loop {
        let vote = tokio::time::timeout(WITHIN, ask(&mut connection, &at, &access, &master)).await;
        let vote = vote.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        if vote.is_err() {
            connection = None;
        }
        match (&vote, complained) {
            (Err(why), false) => tracing::warn!(sentinel = %at, why, "cannot be asked, trying again"),
            (Ok(_), true) => tracing::info!(sentinel = %at, "answers again"),
            _ => {}
        }
        complained = vote.is_err();
        // What a Sentinel said last stands while it is away: it may be all we know.
        if let Ok(vote) = vote {
            votes.send_if_modified(|votes| votes.insert(n, vote.clone()).as_ref() != Some(&vote));
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn ask(
    kept: &mut Option<MultiplexedConnection>,
    at: &Place,
    access: &Access,
    master: &str,
) -> Result<Vote, String> {
    let word = |error: RedisError| super::connect::why(&error);
    let connection = match kept {
        Some(connection) => connection,
        None => {
            let config = AsyncConnectionConfig::new().set_connection_timeout(Some(WITHIN)).set_response_timeout(None);
            kept.insert(access.connect(at, &config).await?)
        }
    };
    let mut both = redis::pipe();
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).cmd("SENTINEL").arg("MASTER").arg(master);
    let (address, state): (Option<(String, u16)>, HashMap<String, String>) =
        both.query_async(connection).await.map_err(word)?;
    let (host, port) = address.ok_or("it knows no master of that name")?;
    let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    Ok(Vote { epoch, master: Place::Tcp(host, port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_failover_counts_and_then_the_most_voices() {
        let vote = |epoch, port| Vote { epoch, master: Place::Tcp("h".to_owned(), port) };
        let of = |votes: &[Vote]| -> Vec<u16> {
            let places = ranked(&votes.iter().cloned().enumerate().collect());
            places.into_iter().map(|place| if let Place::Tcp(_, port) = place { port } else { 0 }).collect()
        };
        assert_eq!(of(&[vote(1, 7), vote(1, 7), vote(2, 8)]), [8, 7]);
        assert_eq!(of(&[vote(1, 8), vote(1, 7), vote(1, 7)]), [7, 8]);
        assert_eq!(of(&[]), [0u16; 0]);

        let outdated = |votes: &[Vote]| {
            let current = Place::Tcp("h".to_owned(), 7);
            is_outdated(&current, &votes.iter().cloned().enumerate().collect())
        };
        assert!(outdated(&[vote(1, 7), vote(1, 7), vote(2, 8)]));
        assert!(!outdated(&[vote(1, 7), vote(1, 8), vote(1, 8)]));
        assert!(!outdated(&[]));
    }
}
