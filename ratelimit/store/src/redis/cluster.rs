//! A Cluster: a [`Node`] for each master, a map of who has which slot, and what to do when it is wrong.
//!
//! Requests read the map and leave their hits with the right node. What a node
//! refuses as not its own was not executed; it comes back here and is sent
//! where it belongs, as long as somebody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use redis::{AsyncConnectionConfig, RedisError, Value};
use runtime::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::access::{Access, Place};
use super::node::{Node, NodeEvent, Source};
use super::slots::{Range, SLOTS, covered, near, ranges};
use super::{Lane, Letter, Way};
use crate::StoreError;

/// How often the map is asked for when all is well.
const REFRESH: Duration = Duration::from_secs(5);
/// And while it is not, or has been seen to be wrong.
const REFRESH_SOON: Duration = Duration::from_millis(100);
/// How long a node may take to answer with its map.
const WITHIN: Duration = Duration::from_millis(500);
/// Nodes asked at once.
const MOST_ASKED: usize = 3;
/// How long a hit waits before it is tried again.
const AGAIN: Duration = Duration::from_millis(3);
/// Misplaced batches that may wait for us.
const MOST_STRAYS: usize = 1024;
/// In the map: nobody.
const NOBODY: u16 = u16::MAX;

/// Who has which slot.
#[derive(Debug)]
pub(super) struct Map {
    /// For each slot, the number of its master in `nodes`.
    owners: Box<[u16]>,
    nodes: Vec<(Place, Lane)>,
}

impl Default for Map {
    fn default() -> Self {
        Self { owners: vec![NOBODY; SLOTS.into()].into(), nodes: Vec::new() }
    }
}

impl Map {
    /// The lane to the master of `slot`.
    pub(super) fn lane(&self, slot: u16) -> Option<&Lane> {
        let node = self.owners.get(usize::from(slot))?;
        self.nodes.get(usize::from(*node)).map(|(_, lane)| lane)
    }

    /// Whether every slot has a master and all of them are connected.
    pub(super) fn is_up(&self) -> bool {
        !self.nodes.is_empty()
            && self.owners.iter().all(|owner| *owner != NOBODY)
            && self.nodes.iter().all(|(_, lane)| lane.gate.is_up())
    }

    /// The master of `slot`.
    pub(super) fn place(&self, slot: u16) -> Option<&Place> {
        let node = self.owners.get(usize::from(slot))?;
        self.nodes.get(usize::from(*node)).map(|(place, _)| place)
    }

    /// All masters.
    pub(super) fn places(&self) -> Vec<Place> {
        self.nodes.iter().map(|(place, _)| place.clone()).collect()
    }

    fn at(&self, place: &Place) -> Option<&Lane> {
        self.nodes.iter().find(|(at, _)| at == place).map(|(_, lane)| lane)
    }
}

/// The task that keeps the map and the nodes.
#[derive(Debug)]
pub(super) struct Router {
    seeds: Vec<Place>,
    access: Access,
    budget: Duration,
    map: Arc<ArcSwap<Map>>,
    events: (mpsc::Sender<NodeEvent>, mpsc::Receiver<NodeEvent>),
    /// Hits to be tried again, and where; nowhere means where the map says.
    held: Vec<(Letter, Option<Place>)>,
    nodes: JoinSet<()>,
    /// Whose turn it is to be asked.
    turn: usize,
}

impl Router {
    pub(super) fn new(seeds: Vec<Place>, access: Access, budget: Duration) -> (Router, Arc<ArcSwap<Map>>) {
        let map = Arc::new(ArcSwap::from_pointee(Map::default()));
        let events = mpsc::channel(MOST_STRAYS);
        let nodes = JoinSet::new();
        (Router { seeds, access, budget, map: map.clone(), events, held: Vec::new(), nodes, turn: 0 }, map)
    }

    /// Runs until `shutdown` begins; `connected` is called once, when all slots are served.
    pub(super) async fn run(mut self, shutdown: Shutdown, connected: impl FnOnce() + Send) {
        let mut connected = Some(connected);
        let mut asking: Option<BoxFuture<'static, Option<Vec<Range>>>> = None;
        let mut next = Instant::now();
        let mut last = None::<Instant>;
        let mut complained = false;
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waiting = !self.held.is_empty() || connected.is_some();
            tokio::select! {
                found = async { match &mut asking { Some(asking) => asking.await, None => std::future::pending().await } } => {
                    asking = None;
                    last = Some(Instant::now());
                    match found {
                        Some(ranges) => {
                            complained = false;
                            self.adopt(&ranges, &shutdown);
                        }
                        None if !complained => {
                            complained = true;
                            warn!(seeds = ?self.seeds, "no node of the Cluster tells its slots, asking again");
                        }
                        None => {}
                    }
                    next = Instant::now() + if self.map.load().is_up() { REFRESH } else { REFRESH_SOON };
                }
                () = tokio::time::sleep_until(next.into()), if asking.is_none() => asking = Some(self.ask()),
                Some(event) = self.events.1.recv() => {
                    if let NodeEvent::Misplaced(letters, why) = event {
                        self.redirect(letters, &why, &shutdown);
                        if matches!(why.code(), Some("ASK" | "TRYAGAIN")) {
                            // A slot on the move; the map changes when it has arrived.
                            continue;
                        }
                    }
                    next = next.min(last.map_or_else(Instant::now, |last| last + REFRESH_SOON));
                }
                _ = again.tick(), if waiting => {
                    self.try_again();
                    if self.map.load().is_up() && let Some(connected) = connected.take() {
                        connected();
                    }
                }
                Some(_) = self.nodes.join_next() => {}
                () = shutdown.begun() => break,
            }
        }
        // The nodes finish what is under way.
        while self.nodes.join_next().await.is_some() {}
    }

    /// Asks some nodes for their map; the first whole one counts, or else the fullest.
    fn ask(&mut self) -> BoxFuture<'static, Option<Vec<Range>>> {
        let map = self.map.load();
        let up = map.nodes.iter().filter(|(_, lane)| lane.gate.is_up()).map(|(place, _)| place);
        let mut places: Vec<Place> = up.cloned().collect();
        if places.len() < MOST_ASKED {
            // Replicas are not in the map; the hosts we were told of may be some.
            places.extend(self.seeds.iter().filter(|seed| map.at(seed).is_none()).cloned());
        }
        if places.is_empty() {
            places.clone_from(&self.seeds);
        }
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn % places.len().max(1);
        places.rotate_left(turn);
        places.truncate(MOST_ASKED);
        let access = self.access.clone();
        Box::pin(async move {
            let mut answers: FuturesUnordered<_> =
                places.iter().map(|place| tokio::time::timeout(WITHIN, slots_of(&access, place))).collect();
            let mut best: Option<Vec<Range>> = None;
            while let Some(answer) = answers.next().await {
                let Ok(Ok(ranges)) = answer else { continue };
                let slots = covered(&ranges);
                if best.as_ref().is_none_or(|best| covered(best) < slots) {
                    best = Some(ranges);
                }
                if slots == u32::from(SLOTS) {
                    break;
                }
            }
            best.filter(|ranges| !ranges.is_empty())
        })
    }

    /// Puts `ranges` in force. Nodes without slots are let go.
    fn adopt(&mut self, ranges: &[Range], shutdown: &Shutdown) {
        let old = self.map.load_full();
        let mut map = Map::default();
        for range in ranges {
            let node = map.nodes.iter().position(|(place, _)| *place == range.master).unwrap_or_else(|| {
                let lane = old.at(&range.master).cloned().unwrap_or_else(|| self.open(&range.master, shutdown));
                map.nodes.push((range.master.clone(), lane));
                map.nodes.len() - 1
            });
            for slot in range.first..=range.last {
                if let Some(owner) = map.owners.get_mut(usize::from(slot)) {
                    *owner = u16::try_from(node).unwrap_or(NOBODY);
                }
            }
        }
        let places = |map: &Map| map.nodes.iter().map(|(place, _)| place.to_string()).collect::<Vec<_>>();
        if places(&old) != places(&map) {
            info!(masters = ?places(&map), "the Cluster's masters");
        }
        self.map.store(Arc::new(map));
    }

    fn open(&mut self, place: &Place, shutdown: &Shutdown) -> Lane {
        let source = Source::Fixed(self.access.clone(), place.clone());
        let (node, lane) = Node::new(source, self.budget, place.to_string(), Some(self.events.0.clone()));
        self.nodes.spawn(node.run(shutdown.clone(), || ()));
        lane
    }

    /// The lane to a node that was named to us, whether the map has it or not.
    fn lane_to(&mut self, place: &Place, slot: Option<u16>, shutdown: &Shutdown) -> Lane {
        let old = self.map.load_full();
        let (number, lane, nodes) = match old.nodes.iter().position(|(at, _)| at == place) {
            Some(number) => (number, old.at(place).cloned(), old.nodes.clone()),
            None => {
                let lane = self.open(place, shutdown);
                let mut nodes = old.nodes.clone();
                nodes.push((place.clone(), lane.clone()));
                (nodes.len() - 1, Some(lane), nodes)
            }
        };
        let mut owners = old.owners.clone();
        if let Some(owner) = slot.and_then(|slot| owners.get_mut(usize::from(slot))) {
            *owner = u16::try_from(number).unwrap_or(NOBODY);
        }
        self.map.store(Arc::new(Map { owners, nodes }));
        lane.unwrap_or_else(|| self.open(place, shutdown))
    }

    /// Sends what a node refused where it says, or holds it back for a moment.
    fn redirect(&mut self, letters: Vec<Letter>, why: &RedisError, shutdown: &Shutdown) {
        let target = why.redirect_node().and_then(|(at, slot)| {
            let (host, port) = at.rsplit_once(':')?;
            let asked = self.seeds.first()?;
            Some((near(host, port.parse().ok()?, asked)?, slot))
        });
        let (way, place) = match (why.code(), target) {
            (Some("MOVED"), Some((place, slot))) => {
                self.lane_to(&place, Some(slot), shutdown);
                (Way::Together, None)
            }
            (Some("ASK"), Some((place, _))) => {
                self.lane_to(&place, None, shutdown);
                (Way::Asking, Some(place))
            }
            // Several keys, some of which have moved: alone, a request may have all its keys in one place.
            (Some("TRYAGAIN"), _) => (Way::Alone, None),
            _ => (Way::Together, None),
        };
        // Moved hits go at once; the others have to wait for something to change.
        let at_once = matches!(why.code(), Some("MOVED" | "ASK")) || letters.len() > 1;
        self.held.extend(letters.into_iter().map(|letter| (Letter { way, ..letter }, place.clone())));
        if at_once {
            self.try_again();
        }
    }

    /// Sends the held-back hits that have a node by now, and drops those that nobody waits for any more.
    fn try_again(&mut self) {
        let map = self.map.load_full();
        let now = Instant::now();
        for (letter, place) in std::mem::take(&mut self.held) {
            if letter.job.reply.is_closed() {
                continue;
            }
            if letter.job.until <= now {
                let _ = letter.job.reply.send(Err(StoreError::Down));
                continue;
            }
            let lane = match &place {
                Some(place) => map.at(place),
                None => map.lane(letter.slot),
            };
            match lane {
                Some(lane) if lane.gate.is_up() => {
                    if let Err(letter) = lane.try_send(letter) {
                        self.held.push((letter, place));
                    }
                }
                _ => self.held.push((letter, place)),
            }
        }
    }
}

async fn slots_of(access: &Access, place: &Place) -> Result<Vec<Range>, String> {
    let word = |error: RedisError| super::connect::why(&error);
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(WITHIN)).set_response_timeout(None);
    let mut connection = access.connect(place, &config).await?;
    let answer: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await.map_err(word)?;
    Ok(ranges(&answer, place))
}
