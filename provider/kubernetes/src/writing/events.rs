//! Which Events are written about objects, and how often. Pure.
//!
//! A status says how an object is, an Event that it has become so: it stands where `kubectl describe` and `kubectl get
//! events` show it, and goes after an hour. There is one for each object and reason; what happens again soon is counted on
//! it. Whatever happens to however many objects, only so many are written in a while, the newest words of each; what there
//! is no room for is left out, and counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use api::ObjectRef;
use serde_json::{Value, json};
use status::{ACCEPTED, Condition, OTHER_CONTROLLER, ObjectStatus, PROGRAMMED};

/// So many are written at once, if none were for a while.
const BURST: u32 = 25;
/// And then one in so long.
const EACH: Duration = Duration::from_secs(1);
/// About one object and for one reason, one in so long.
const SAME: Duration = Duration::from_secs(60);
/// An API server keeps an Event for so long: after that there is none to count on.
const KEPT: Duration = Duration::from_secs(3600);
/// So many are waited with, and so many are counted on, at most.
const MOST: usize = 1_000;
/// The longest message, in bytes.
const LONGEST: usize = 1_024;

/// Why there is an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is refused: it is not in use, or its newest version is not.
    Refused,
    /// It is in use, but something of it is not in force.
    NotInForce,
    /// An Envoy refused a part of what it asks for, which answers 500.
    RefusedByEnvoy,
    /// The pods of a Gateway cannot be made.
    NoPods,
    /// Nothing of this is so any more.
    Recovered,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 5] =
        [Reason::Refused, Reason::NotInForce, Reason::RefusedByEnvoy, Reason::NoPods, Reason::Recovered];

    /// As an Event has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Refused => "Refused",
            Reason::NotInForce => "NotInForce",
            Reason::RefusedByEnvoy => "RefusedByEnvoy",
            Reason::NoPods => "NoPods",
            Reason::Recovered => "Recovered",
        }
    }

    fn kind(self) -> &'static str {
        if self == Reason::Recovered { "Normal" } else { "Warning" }
    }

    /// Why an Event says that this condition does not hold.
    fn of(condition: &Condition) -> Option<Reason> {
        if condition.status != Some(false) || condition.reason == OTHER_CONTROLLER {
            return None;
        }
        Some(match (condition.kind.as_str(), condition.reason.as_str()) {
            (ACCEPTED, _) => Reason::Refused,
            (PROGRAMMED, "Rejected") => Reason::RefusedByEnvoy,
            (PROGRAMMED, "NoResources") => Reason::NoPods,
            _ => Reason::NotInForce,
        })
    }
}

/// What is to be known of an object of which this is `said`, by reason, each word once.
fn notes(said: &[ObjectStatus]) -> BTreeMap<Reason, String> {
    let mut words: BTreeMap<Reason, Vec<String>> = BTreeMap::new();
    for status in said {
        for condition in &status.conditions {
            let Some(reason) = Reason::of(condition) else { continue };
            let place = if status.place.is_object() { String::new() } else { format!("{}: ", status.place) };
            let word = format!("{place}{}", condition.message);
            let all = words.entry(reason).or_default();
            if !all.contains(&word) {
                all.push(word);
            }
        }
    }
    words.into_iter().map(|(reason, words)| (reason, super::form::cut(&words.join("; "), LONGEST))).collect()
}

/// Whether it is known of every condition whether it holds.
fn is_settled(said: &[ObjectStatus]) -> bool {
    said.iter().flat_map(|status| &status.conditions).all(|condition| condition.status.is_some())
}

/// The object that an Event is about, as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its kind and name.
    pub object: ObjectRef,
    /// The version under which it was read.
    pub api_version: String,
    /// What tells it from others of that name.
    pub uid: String,
}

type Key = (ObjectRef, Reason);

/// An Event that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    about: About,
    reason: Reason,
    message: String,
    /// How often it has happened.
    count: u32,
    /// What it is called if it is there already.
    name: Option<String>,
}

/// What was written of an object for a reason.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    uid: String,
    count: u32,
    at: Duration,
}

/// What is known of an object that is not well.
#[derive(Debug, Clone, Default)]
struct Told {
    notes: BTreeMap<Reason, String>,
    /// Whether any Event said so.
    any: bool,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Events {
    told: BTreeMap<ObjectRef, Told>,
    due: BTreeMap<Key, (About, String)>,
    /// In which order.
    order: VecDeque<Key>,
    written: BTreeMap<Key, Written>,
    /// When there would be room for all that was ever written.
    room: Duration,
    left_out: u64,
}

impl Events {
    /// Takes what is `said` of an object now.
    pub fn take(&mut self, about: &About, said: &[ObjectStatus]) {
        let now = notes(said);
        let before = self.told.get(&about.object).cloned().unwrap_or_default();
        for (reason, message) in now.iter().filter(|(reason, message)| before.notes.get(reason) != Some(message)) {
            self.add(about, *reason, message.clone());
        }
        // What is over is not told any more.
        for reason in Reason::ALL.into_iter().filter(|reason| !now.contains_key(reason)) {
            self.due.remove(&(about.object.clone(), reason));
        }
        if !now.is_empty() {
            self.told.insert(about.object.clone(), Told { notes: now, any: before.any });
        } else if !before.notes.is_empty() && is_settled(said) {
            self.told.remove(&about.object);
            if before.any {
                let words: Vec<&str> = before.notes.keys().map(|reason| reason.as_str()).collect();
                self.add(about, Reason::Recovered, format!("it is well again ({})", words.join(", ")));
            }
        }
    }

    /// Notes what was said of an object before, of which others have told.
    pub fn knows(&mut self, object: &ObjectRef, said: &[ObjectStatus]) {
        match notes(said) {
            notes if notes.is_empty() => drop(self.told.remove(object)),
            notes => drop(self.told.insert(object.clone(), Told { notes, any: true })),
        }
    }

    /// Forgets an object that is not there any more.
    pub fn forget(&mut self, object: &ObjectRef) {
        self.told.remove(object);
        self.due.retain(|(of, _), _| of != object);
        self.written.retain(|(of, _), _| of != object);
    }

    fn add(&mut self, about: &About, reason: Reason, message: String) {
        let key = (about.object.clone(), reason);
        if !self.due.contains_key(&key) {
            self.order.retain(|waits| self.due.contains_key(waits));
            if self.due.len() >= MOST {
                self.left_out += 1;
                return;
            }
            self.order.push_back(key.clone());
        }
        self.due.insert(key, (about.clone(), message));
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// How many were left out, ever.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The next to write at `now`; none if none is due or enough were written.
    pub fn next(&mut self, now: Duration) -> Option<Event> {
        if self.room > now + EACH * (BURST - 1) {
            return None;
        }
        self.written.retain(|_, written| now < written.at + KEPT);
        let may =
            |key: &Key| self.due.contains_key(key) && self.written.get(key).is_none_or(|last| now >= last.at + SAME);
        let key = self.order.remove(self.order.iter().position(may)?)?;
        let (about, message) = self.due.remove(&key)?;
        self.room = self.room.max(now) + EACH;
        let before = self.written.get(&key).filter(|written| written.uid == about.uid);
        let (count, name) = before.map_or((1, None), |written| (written.count + 1, Some(written.name.clone())));
        Some(Event { about, reason: key.1, message, count, name })
    }

    /// Notes that this was written at `now`, under `name`.
    pub fn was_written(&mut self, event: &Event, name: String, now: Duration) {
        let key = (event.about.object.clone(), event.reason);
        if self.written.len() >= MOST && !self.written.contains_key(&key) {
            let oldest = self.written.iter().min_by_key(|(_, written)| written.at).map(|(key, _)| key.clone());
            oldest.into_iter().for_each(|key| drop(self.written.remove(&key)));
        }
        if let Some(told) = self.told.get_mut(&key.0) {
            told.any = true;
        }
        let uid = event.about.uid.clone();
        self.written.insert(key, Written { name, uid, count: event.count, at: now });
    }
}

/// Who writes it, and when.
#[derive(Debug, Clone)]
pub struct By<'a> {
    /// The server.
    pub component: &'a str,
    /// Which replica of it.
    pub instance: &'a str,
    /// Now, in RFC 3339, of whole seconds.
    pub now: &'a str,
}

impl Event {
    /// Where Events about its object are.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/events", self.about.object.name.namespace)
    }

    /// What the Event is called that is there already, if one is, and what is to be merged into it.
    pub fn again(&self, by: &By<'_>) -> Option<(&str, Value)> {
        let name = self.name.as_deref()?;
        Some((name, json!({"count": self.count, "lastTimestamp": by.now, "message": self.message})))
    }

    /// A new one, called after its object and `token`, which nobody else uses.
    pub fn new_one(&self, token: u64, by: &By<'_>) -> (String, Value) {
        let About { object, api_version, uid } = &self.about;
        let (namespace, of) = (&object.name.namespace, &object.name.name);
        // Names are no longer than 253.
        let begin: String = of.chars().take(230).collect();
        let name = format!("{begin}.{token:016x}");
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": api_version, "kind": object.kind.as_str(), "namespace": namespace, "name": of, "uid": uid,
            },
            "reason": self.reason.as_str(), "type": self.reason.kind(), "message": self.message,
            "source": {"component": by.component},
            "reportingComponent": by.component, "reportingInstance": by.instance,
            "firstTimestamp": by.now, "lastTimestamp": by.now, "count": self.count,
        });
        (name, event)
    }
}

#[cfg(test)]
mod tests {
    use api::Kind;
    use status::Place;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BY: By<'static> = By { component: "waykeeper-waypoint", instance: "me", now: "2026-02-01T00:00:00Z" };

    fn about(name: &str) -> About {
        let object = ObjectRef::new(Kind::RouteOption, "t", name);
        About { object, api_version: "gateway.solo.io/v1".to_owned(), uid: format!("uid-of-{name}") }
    }

    fn said(conditions: Vec<Condition>) -> Vec<ObjectStatus> {
        vec![ObjectStatus::new(conditions)]
    }

    fn refused(why: &str) -> Vec<ObjectStatus> {
        said(vec![Condition::fails(ACCEPTED, "Invalid", why)])
    }

    fn well() -> Vec<ObjectStatus> {
        said(vec![Condition::holds(ACCEPTED, "Accepted", ""), Condition::holds(PROGRAMMED, "Programmed", "")])
    }

    /// All that may be written at `now`, which is written.
    fn written(events: &mut Events, now: Duration) -> Vec<(Reason, String, u32)> {
        let mut all = Vec::new();
        while let Some(event) = events.next(now) {
            let name = event.name.clone().unwrap_or_else(|| event.new_one(7, &BY).0);
            events.was_written(&event, name, now);
            all.push((event.reason, event.message, event.count));
        }
        all
    }

    #[test]
    fn each_condition_that_fails_has_its_reason() {
        for (condition, reason) in [
            (Condition::fails(ACCEPTED, "Invalid", ""), Some(Reason::Refused)),
            (Condition::fails(PROGRAMMED, "Rejected", ""), Some(Reason::RefusedByEnvoy)),
            (Condition::fails(PROGRAMMED, "NoResources", ""), Some(Reason::NoPods)),
            (Condition::fails("ResolvedRefs", "BackendNotFound", ""), Some(Reason::NotInForce)),
            (Condition::fails(ACCEPTED, OTHER_CONTROLLER, ""), None),
            (Condition::pending(PROGRAMMED, "Pending", ""), None),
            (Condition::holds(ACCEPTED, "AcceptedWithWarnings", "a word"), None),
        ] {
            assert_eq!(Reason::of(&condition), reason, "{condition:?}");
        }
    }

    #[test]
    fn an_event_says_what_has_become_of_an_object_once_and_that_it_is_over() {
        let mut events = Events::default();
        events.take(&about("a"), &well());
        assert_eq!(written(&mut events, SECOND), [], "all is well");
        let at = |place| ObjectStatus::at(place, vec![Condition::fails(ACCEPTED, "Invalid", "spec.x is wrong")]);
        let listener = || Place::Listener("proxy".into());
        events.take(&about("a"), &[at(Place::Object), at(listener()), at(listener())]);
        let first = written(&mut events, SECOND);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].1, format!("spec.x is wrong; {}: spec.x is wrong", listener()));
        events.take(&about("a"), &[at(Place::Object), at(listener())]);
        assert_eq!(written(&mut events, 100 * SECOND), [], "it was told");
        // While it is not known whether it is over, it is not said so.
        events.take(&about("a"), &said(vec![Condition::pending(PROGRAMMED, "Pending", "")]));
        assert_eq!(written(&mut events, 200 * SECOND), []);
        events.take(&about("a"), &well());
        assert_eq!(
            written(&mut events, 200 * SECOND),
            [(Reason::Recovered, "it is well again (Refused)".to_owned(), 1)]
        );
        events.take(&about("a"), &well());
        assert_eq!(written(&mut events, 300 * SECOND), []);
        // What another replica has told of is not told again, until it is another thing.
        events.knows(&about("b").object, &refused("x"));
        events.take(&about("b"), &refused("x"));
        assert_eq!(written(&mut events, 300 * SECOND), []);
        events.take(&about("b"), &refused("y"));
        assert_eq!(written(&mut events, 300 * SECOND), [(Reason::Refused, "y".to_owned(), 1)]);
    }

    #[test]
    fn what_happens_again_and_again_is_counted_on_one_event_a_minute() {
        let mut events = Events::default();
        let mut all = Vec::new();
        for second in 0..600 {
            events.take(&about("a"), &refused(&format!("{second}")));
            all.extend(written(&mut events, second * SECOND));
        }
        let counts: Vec<u32> = all.iter().map(|(_, _, count)| *count).collect();
        assert_eq!(counts, (1..=10).collect::<Vec<_>>());
        assert_eq!(all[9].1, "540", "the newest words");
        // After an hour there is none to count on, nor for another object of that name.
        events.take(&about("a"), &refused("late"));
        assert_eq!(written(&mut events, 2 * KEPT), [(Reason::Refused, "late".to_owned(), 1)]);
        events.take(&About { uid: "other".to_owned(), ..about("a") }, &refused("anew"));
        assert_eq!(written(&mut events, 2 * KEPT + SAME), [(Reason::Refused, "anew".to_owned(), 1)]);
        events.take(&about("a"), &refused("over"));
        events.forget(&about("a").object);
        assert_eq!(written(&mut events, 3 * KEPT), [], "it is gone");
    }

    #[test]
    fn however_many_objects_break_only_so_many_are_written_and_kept() {
        let mut events = Events::default();
        for number in 0..3_000 {
            events.take(&about(&format!("o{number}")), &refused("x"));
        }
        assert_eq!((events.due.len(), events.left_out()), (MOST, 2_000));
        assert_eq!(written(&mut events, Duration::ZERO).len(), BURST as usize);
        assert_eq!(written(&mut events, Duration::ZERO).len(), 0);
        let in_a_minute: usize = (1..=60).map(|second| written(&mut events, second * SECOND).len()).sum();
        assert_eq!(in_a_minute, 60);
        // All of them are well again: of those that nobody was told of nothing is said.
        for number in 0..3_000 {
            events.take(&about(&format!("o{number}")), &well());
        }
        assert!(events.due.keys().all(|(_, reason)| *reason == Reason::Recovered));
        assert_eq!(events.due.len(), BURST as usize + 60);
        assert!(events.told.is_empty() && events.order.len() <= MOST + 1 && events.written.len() <= MOST);
    }

    #[test]
    fn it_is_written_as_kubectl_shows_it() {
        let mut events = Events::default();
        events.take(&about(&"n".repeat(253)), &refused("why"));
        let event = events.next(SECOND).unwrap();
        let (name, written) = event.new_one(9, &BY);
        assert!(name.len() <= 253 && name.ends_with(".0000000000000009"), "{name}");
        assert_eq!(event.path(), "/api/v1/namespaces/t/events");
        assert_eq!(written["involvedObject"]["kind"], "RouteOption");
        assert_eq!((&written["type"], &written["reason"]), (&json!("Warning"), &json!("Refused")));
        assert_eq!(event.again(&BY), None);
        events.was_written(&event, name.clone(), SECOND);
        events.take(&about(&"n".repeat(253)), &refused("another"));
        let again = events.next(SECOND + SAME).unwrap();
        let patch = json!({"count": 2, "lastTimestamp": BY.now, "message": "another"});
        assert_eq!(again.again(&BY), Some((name.as_str(), patch)));
    }

    /// The list that people read.
    #[test]
    fn every_reason_is_in_the_list() {
        let page = include_str!("../../../../docs/kubernetes.md");
        let listed = page.split_once("## Events").unwrap().1.split("\n## ").next().unwrap();
        for reason in Reason::ALL {
            assert!(listed.contains(&format!("| `{}` |", reason.as_str())), "{}", reason.as_str());
        }
        let rows = listed.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, Reason::ALL.len());
    }
}
