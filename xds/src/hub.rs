//! What each node is to have, and what its sessions made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use metrics::{gauge, histogram};
use parking_lot::Mutex;
use proto::ResourceSet;
use tokio::sync::watch;

use crate::session::{Limits, Nack, OnDemand, Session, SessionState};

/// What the sessions of one node have made of what was set for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AckState {
    /// How many streams speak for the node.
    pub sessions: usize,
    /// The newest generation that all clients which serve something have answered in full; 0 for none. One that begins with
    /// nothing serves from its first full answer on: until then it is not counted beside others.
    pub generation: u64,
    /// What any session refuses at present.
    pub nacks: Vec<Nack>,
    /// The clients that serve something, of those that have proved which one they are.
    pub serving: BTreeSet<String>,
    /// How many others serve something.
    pub unnamed: usize,
    /// Clients that served and went away: which generation each had answered in full.
    pub left: BTreeMap<String, u64>,
}

/// Of so many clients that went away it is known what they had, of each node.
const MOST_LEFT: usize = 256;

/// The state of every node, by node id.
pub type Acks = Arc<BTreeMap<String, AckState>>;

/// What one node is to have.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The resources.
    pub resources: Arc<ResourceSet>,
    /// Which version of them this is; it counts up.
    pub generation: u64,
    /// What a client that has nothing is sent before them, because it may refuse some of them; none if it may not.
    pub first: Option<Arc<ResourceSet>>,
}

/// Resources in, acknowledgements out; shared by all streams.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: Mutex<BTreeMap<String, Node>>,
    acks: watch::Sender<Acks>,
    next_session: AtomicU64,
    on_demand: Option<OnDemand>,
}

#[derive(Debug)]
struct Node {
    target: watch::Sender<Option<Target>>,
    set_at: Instant,
    sessions: BTreeMap<u64, Member>,
    /// With the session that each had last.
    left: BTreeMap<String, (u64, u64)>,
}

#[derive(Debug)]
struct Member {
    /// Which of the node's clients it is, if it has proved that.
    instance: Option<String>,
    /// Whether the client serves something, which it was told on this stream or on one before.
    serves: bool,
    state: SessionState,
}

impl Default for Node {
    fn default() -> Self {
        let target = watch::Sender::new(None);
        Self { target, set_at: Instant::now(), sessions: BTreeMap::new(), left: BTreeMap::new() }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// A hub in which no node has anything.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// A hub in which no node has anything, and whose clients are told of some resources on demand only.
    pub fn with(on_demand: Option<OnDemand>) -> Self {
        let acks = watch::Sender::new(Acks::default());
        Self(Arc::new(Inner { nodes: Mutex::default(), acks, next_session: AtomicU64::new(1), on_demand }))
    }

    /// A session of a client that has said nothing yet.
    pub(crate) fn session(&self, limits: Limits) -> Session {
        Session::new(limits).with_on_demand(self.0.on_demand)
    }

    /// Says what `node` is to have from now on.
    pub fn set(&self, node: &str, target: Target) {
        let mut nodes = self.0.nodes.lock();
        let entry = nodes.entry(node.to_owned()).or_default();
        entry.set_at = Instant::now();
        entry.target.send_replace(Some(target));
        self.publish(node, entry);
    }

    /// Says that `node` is to have nothing new. A session it still has keeps what it was given.
    pub fn remove(&self, node: &str) {
        let mut nodes = self.0.nodes.lock();
        let Some(entry) = nodes.get_mut(node) else { return };
        entry.target.send_replace(None);
        if entry.sessions.is_empty() {
            nodes.remove(node);
        }
        self.unpublish(node);
    }

    /// The nodes for which something was set.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.0.nodes.lock();
        nodes.iter().filter(|(_, node)| node.target.borrow().is_some()).map(|(id, _)| id.clone()).collect()
    }

    /// What each node acknowledged, from now on.
    pub fn watch_acks(&self) -> watch::Receiver<Acks> {
        self.0.acks.subscribe()
    }

    /// A new session of `node`, whose client may have proved which one it is, and has something already or not: what it
    /// is to have, and where it reports.
    pub(crate) fn join(
        &self,
        node: &str,
        instance: Option<String>,
        serves: bool,
    ) -> (watch::Receiver<Option<Target>>, Membership) {
        let id = self.0.next_session.fetch_add(1, Ordering::Relaxed);
        let mut nodes = self.0.nodes.lock();
        let entry = nodes.entry(node.to_owned()).or_default();
        if let Some(back) = &instance {
            entry.left.remove(back);
        }
        entry.sessions.insert(id, Member { instance, serves, state: SessionState::default() });
        gauge!("pilot_xds").increment(1.0);
        let mut target = entry.target.subscribe();
        // A session reads what stands before it waits for a change.
        target.mark_changed();
        self.publish(node, entry);
        (target, Membership { hub: self.clone(), node: node.to_owned(), id })
    }

    fn report(&self, node: &str, id: u64, state: SessionState) {
        let mut nodes = self.0.nodes.lock();
        let Some(entry) = nodes.get_mut(node) else { return };
        let Some(known) = entry.sessions.get_mut(&id) else { return };
        if state.generation > known.state.generation {
            histogram!("pilot_proxy_convergence_time").record(entry.set_at.elapsed().as_secs_f64());
        }
        known.serves |= state.generation > 0;
        known.state = state;
        self.publish(node, entry);
    }

    fn leave(&self, node: &str, id: u64) {
        gauge!("pilot_xds").decrement(1.0);
        let mut nodes = self.0.nodes.lock();
        let Some(entry) = nodes.get_mut(node) else { return };
        let gone = entry.sessions.remove(&id);
        let again = |instance: &String| entry.sessions.values().any(|other| other.instance.as_ref() == Some(instance));
        if let Some(Member { instance: Some(instance), serves: true, state }) = gone
            && !again(&instance)
        {
            entry.left.insert(instance, (id, state.generation));
            let oldest =
                entry.left.iter().min_by_key(|(_, (session, _))| *session).map(|(instance, _)| instance.clone());
            if entry.left.len() > MOST_LEFT
                && let Some(oldest) = oldest
            {
                entry.left.remove(&oldest);
            }
        }
        if entry.sessions.is_empty() && entry.target.borrow().is_none() {
            nodes.remove(node);
        } else {
            self.publish(node, entry);
        }
    }

    fn publish(&self, id: &str, node: &Node) {
        if node.target.borrow().is_none() {
            return;
        }
        let state = summary(node);
        self.0.acks.send_if_modified(|acks| {
            if acks.get(id) == Some(&state) {
                return false;
            }
            Arc::make_mut(acks).insert(id.to_owned(), state);
            true
        });
    }

    fn unpublish(&self, id: &str) {
        self.0.acks.send_if_modified(|acks| acks.contains_key(id) && Arc::make_mut(acks).remove(id).is_some());
    }
}

fn summary(node: &Node) -> AckState {
    let mut nacks: Vec<Nack> = Vec::new();
    for nack in node.sessions.values().flat_map(|session| &session.state.nacks) {
        if !nacks.contains(nack) {
            nacks.push(nack.clone());
        }
    }
    let serving = node.sessions.values().filter(|session| session.serves);
    let generation = serving.map(|session| session.state.generation).min().unwrap_or_default();
    let serving = node.sessions.values().filter(|session| session.serves);
    let serving: Vec<Option<&String>> = serving.map(|session| session.instance.as_ref()).collect();
    AckState {
        sessions: node.sessions.len(),
        generation,
        nacks,
        unnamed: serving.iter().filter(|instance| instance.is_none()).count(),
        serving: serving.into_iter().flatten().cloned().collect(),
        left: node.left.iter().map(|(instance, (_, generation))| (instance.clone(), *generation)).collect(),
    }
}

/// A session's place in the hub; given up when dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    hub: Hub,
    node: String,
    id: u64,
}

impl Membership {
    /// Tells the hub how far the session has come.
    pub fn report(&self, state: SessionState) {
        self.hub.report(&self.node, self.id, state);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.hub.leave(&self.node, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u64) -> SessionState {
        SessionState { generation, nacks: Vec::new() }
    }

    #[test]
    fn a_generation_counts_once_every_session_that_serves_has_it() {
        let hub = Hub::new();
        hub.set("a", Target { generation: 7, ..Target::default() });
        let acks = hub.watch_acks();
        let (_, new) = hub.join("a", None, false);
        let of = |sessions, unnamed, generation| AckState { sessions, unnamed, generation, ..AckState::default() };
        assert_eq!(acks.borrow()["a"], of(1, 0, 0), "it has taken nothing");
        new.report(at(7));
        assert_eq!(acks.borrow()["a"].generation, 7);
        let (_, back) = hub.join("a", None, true);
        assert_eq!(acks.borrow()["a"].generation, 0, "this one serves what it had, and nobody knows yet what that is");
        back.report(at(7));
        hub.set("a", Target { generation: 8, ..Target::default() });
        new.report(at(8));
        assert_eq!(acks.borrow()["a"], of(2, 2, 7));
        drop((new, back));
        assert_eq!(acks.borrow()["a"], AckState::default(), "without a session nothing is programmed");
    }

    #[test]
    fn one_that_begins_beside_others_changes_nothing_until_it_serves() {
        let hub = Hub::new();
        hub.set("a", Target { generation: 3, ..Target::default() });
        let acks = hub.watch_acks();
        let (_, old) = hub.join("a", None, false);
        old.report(at(3));
        let (_, new) = hub.join("a", None, false);
        let state = AckState { sessions: 2, unnamed: 1, generation: 3, ..AckState::default() };
        assert_eq!(acks.borrow()["a"], state);
        let nack = Nack {
            kind: proto::ResourceType::Route,
            name: "r".into(),
            version: "1".into(),
            message: "no".into(),
            generation: 3,
        };
        new.report(SessionState { generation: 0, nacks: vec![nack.clone()] });
        assert_eq!(acks.borrow()["a"].nacks, [nack], "what it refuses is known at once");
        new.report(at(2));
        assert_eq!(acks.borrow()["a"].generation, 2, "it serves, and has not taken everything");
        new.report(at(3));
        assert_eq!(acks.borrow()["a"].generation, 3);
        drop(old);
        let (_, last) = hub.join("a", None, false);
        drop(new);
        assert_eq!(acks.borrow()["a"].generation, 0, "none of those that are left serves");
        last.report(at(3));
        assert_eq!(acks.borrow()["a"].generation, 3);
    }

    #[test]
    fn which_clients_serve_and_what_those_had_that_left_is_known_by_their_names() {
        let hub = Hub::new();
        hub.set("a", Target { generation: 3, ..Target::default() });
        let acks = hub.watch_acks();
        let join = |name: &str, serves| hub.join("a", Some(name.to_owned()), serves).1;
        let known = || {
            let AckState { serving, unnamed, left, .. } = acks.borrow()["a"].clone();
            (serving.into_iter().collect::<Vec<_>>().join(" "), unnamed, left.into_iter().collect::<Vec<_>>())
        };
        let (one, two, unnamed) = (join("one", true), join("two", false), hub.join("a", None, true).1);
        assert_eq!(known(), ("one".to_owned(), 1, vec![]), "the second has taken nothing");
        two.report(at(2));
        one.report(at(3));
        assert_eq!(known(), ("one two".to_owned(), 1, vec![]));
        // Its connection was dead, and it has another one by now.
        let again = join("two", true);
        drop(two);
        assert_eq!(known(), ("one two".to_owned(), 1, vec![]));
        again.report(at(3));
        drop((one, unnamed, again));
        let left = ["one", "two"].map(|name| (name.to_owned(), 3));
        assert_eq!(known(), (String::new(), 0, left.to_vec()));
        drop(join("three", false));
        assert_eq!(known().2, left, "it served nothing");
        let back = join("one", false);
        assert_eq!(known(), (String::new(), 0, left[1..].to_vec()), "one that begins anew has nothing");
        drop(back);
        for number in 0..2 * MOST_LEFT {
            drop(join(&format!("{number:04}"), true));
        }
        let kept = known().2;
        assert_eq!((kept.len(), kept[0].0.as_str()), (MOST_LEFT, "0256"), "the oldest make room");
    }

    #[test]
    fn a_node_nobody_declared_leaves_no_trace() {
        let hub = Hub::new();
        let (target, session) = hub.join("stranger", None, false);
        assert!(target.borrow().is_none());
        assert!(hub.watch_acks().borrow().is_empty());
        drop(session);
        assert!(hub.0.nodes.lock().is_empty());
        hub.set("a", Target { generation: 1, ..Target::default() });
        hub.remove("a");
        assert!(hub.nodes().is_empty() && hub.watch_acks().borrow().is_empty());
    }
}
