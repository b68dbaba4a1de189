//! Whatever the server does, what is told in the end is what it has.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::Name;
use proptest::prelude::*;

use super::*;

type Mirror = BTreeMap<Name, (Box<str>, u64)>;

/// A server with a history, of which the oldest part may be forgotten.
#[derive(Default)]
struct Server {
    version: u64,
    objects: Mirror,
    history: Vec<(u64, Name, Option<Box<str>>)>,
    forgotten: u64,
    uids: u64,
    served: bool,
    /// Every state there ever was.
    past: BTreeSet<Vec<(Name, Box<str>, u64)>>,
    /// The list that is being paged through, as it was when it began.
    paging: Option<(u64, Vec<Entry<u64>>)>,
    /// Where the watch is; none, if there is none.
    watching: Option<u64>,
}

fn name(number: u8) -> Name {
    Name::new("t", format!("o{number}"))
}

fn state(mirror: &Mirror) -> Vec<(Name, Box<str>, u64)> {
    mirror.iter().map(|(name, (uid, version))| (name.clone(), uid.clone(), *version)).collect()
}

/// What somebody, or chance, does.
#[derive(Debug, Clone)]
enum Deed {
    Put(u8),
    Delete(u8),
    /// Deleted and made anew between two events.
    Replace(u8),
    /// The definition of the kind goes, or comes.
    Served(bool),
    /// The server forgets its history.
    Forget,
    /// The machine's action is answered as it should.
    Answer,
    /// It is not: in one of several ways.
    Fail(u8),
    /// The server ends the watch.
    Close,
    Bookmark,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..6_u8).prop_map(Deed::Put),
        2 => (0..6_u8).prop_map(Deed::Delete),
        1 => (0..6_u8).prop_map(Deed::Replace),
        1 => any::<bool>().prop_map(Deed::Served),
        1 => Just(Deed::Forget),
        12 => Just(Deed::Answer),
        3 => (0..9_u8).prop_map(Deed::Fail),
        1 => Just(Deed::Close),
        1 => Just(Deed::Bookmark),
    ]
}

impl Server {
    fn put(&mut self, number: u8) {
        if !self.served {
            return;
        }
        self.version += 1;
        let known = self.objects.get(&name(number)).map(|(uid, _)| uid.clone());
        let uid = known.unwrap_or_else(|| {
            self.uids += 1;
            self.uids.to_string().into()
        });
        self.objects.insert(name(number), (uid.clone(), self.version));
        self.history.push((self.version, name(number), Some(uid)));
        self.past.insert(state(&self.objects));
    }

    fn delete(&mut self, number: u8) {
        if self.objects.remove(&name(number)).is_some() {
            self.version += 1;
            self.history.push((self.version, name(number), None));
            self.past.insert(state(&self.objects));
        }
    }

    fn answer(&mut self, action: &Action) -> Event<u64> {
        match action {
            Action::Find if self.served => Event::Served,
            Action::Find => Event::NotServed,
            Action::List { .. } | Action::Watch(_) if !self.served => Event::Failed(Failure::NotFound),
            Action::List { more, limit } => {
                if more.is_none() {
                    let entry = |(name, (uid, version)): (&Name, &(Box<str>, u64))| Entry {
                        name: name.clone(),
                        uid: uid.clone(),
                        version: version.to_string().into(),
                        object: *version,
                    };
                    self.paging = Some((self.version, self.objects.iter().map(entry).collect()));
                }
                let Some((version, rest)) = &mut self.paging else { return Event::Failed(Failure::Expired) };
                // Pages of the test are small, whatever is asked for.
                let page: Vec<_> = rest.drain(..rest.len().min(2).min(*limit as usize)).collect();
                let version = version.to_string().into();
                let more = (!rest.is_empty()).then(|| "more".to_owned());
                Event::Page { entries: page, version, more }
            }
            Action::Watch(version) => {
                let version: u64 = version.parse().unwrap();
                if version < self.forgotten {
                    return Event::Failed(Failure::Expired);
                }
                self.watching = Some(version);
                Event::Opened
            }
            Action::Read => {
                let Some(at) = self.watching else { return Event::Failed(Failure::Unreachable("cut".into())) };
                if at < self.forgotten {
                    return Event::Failed(Failure::Expired);
                }
                let next = self.history.iter().find(|(version, ..)| *version > at).cloned();
                match next {
                    Some((version, name, uid)) => {
                        self.watching = Some(version);
                        let text: Box<str> = version.to_string().into();
                        Event::Line(match uid {
                            Some(uid) => Line::Put(Entry { name, uid, version: text, object: version }),
                            None => Line::Gone(name, text),
                        })
                    }
                    None if self.served => Event::Line(Line::Bookmark(self.version.to_string().into())),
                    None => Event::Closed,
                }
            }
            Action::Wait(_) => Event::Elapsed,
        }
    }
}

struct Run {
    server: Server,
    machine: Machine<u64>,
    action: Action,
    mirror: Mirror,
    now: Duration,
    waited: Vec<Duration>,
}

impl Run {
    fn new() -> Self {
        let (machine, action) = Machine::new(1_000);
        let mut server = Server { served: true, ..Server::default() };
        server.past.insert(Vec::new());
        let (mirror, now, waited) = (Mirror::new(), Duration::ZERO, Vec::new());
        Self { server, machine, action, mirror, now, waited }
    }

    fn tell(&mut self, event: Event<u64>) {
        if let Action::Wait(time) = &self.action {
            self.now += *time;
            self.waited.push(*time);
        }
        self.now += Duration::from_millis(10);
        let settled = self.machine.settled();
        let step = self.machine.step(event, Moment { now: self.now, dice: 0.0 });
        self.action = step.action;
        assert!(settled || step.changes.is_empty() || self.machine.settled(), "told before it was complete");
        for change in step.changes {
            match change {
                Change::Put(entry) => {
                    let old = self.mirror.insert(entry.name, (entry.uid.clone(), entry.object));
                    assert!(old.is_none_or(|(uid, _)| uid == entry.uid), "another object took the place of one");
                }
                Change::Gone(name) => assert!(self.mirror.remove(&name).is_some(), "what was not there has gone"),
            }
        }
        let now = state(&self.mirror);
        assert!(self.machine.absent() || self.server.past.contains(&now), "a state that never was: {now:?}");
    }

    fn perform(&mut self, deed: &Deed) {
        match deed {
            Deed::Put(number) => self.server.put(*number),
            Deed::Delete(number) => self.server.delete(*number),
            Deed::Replace(number) => {
                self.server.delete(*number);
                self.server.put(*number);
            }
            Deed::Served(true) => self.server.served = true,
            Deed::Served(false) => {
                (0..6).for_each(|number| self.server.delete(number));
                self.server.served = false;
            }
            Deed::Forget => {
                self.server.forgotten = self.server.version;
                self.server.history.clear();
                self.server.paging = None;
            }
            Deed::Answer => {
                let event = self.server.answer(&self.action);
                self.tell(event);
            }
            Deed::Close if self.action == Action::Read => self.tell(Event::Closed),
            Deed::Bookmark if self.action == Action::Read => {
                // Only what was said already may be said to be past.
                let at = self.server.watching.unwrap_or_default();
                self.tell(Event::Line(Line::Bookmark(at.to_string().into())));
            }
            Deed::Close | Deed::Bookmark => {}
            Deed::Fail(_) if matches!(self.action, Action::Wait(_)) => {}
            Deed::Fail(how) => {
                let status = |code| Failure::Status { code, retry_after: None };
                let failure = match how {
                    0 => status(401),
                    1 => status(403),
                    2 => status(500),
                    3 => Failure::Expired,
                    4 => Failure::TimedOut,
                    5 => Failure::Unreadable("x"),
                    6 => Failure::TooLarge,
                    7 => Failure::NotFound,
                    _ => Failure::Unreachable("x".into()),
                };
                self.server.watching = None;
                self.tell(Event::Failed(failure));
            }
        }
    }

    /// Has everything answered as it should until nothing more happens.
    fn calm(&mut self) {
        for _ in 0..2_000 {
            self.perform(&Deed::Answer);
            let caught_up = match self.action {
                Action::Read => self.server.served && self.server.watching.is_some_and(|at| at >= self.server.version),
                Action::Wait(_) => self.machine.absent() && self.machine.failing().is_none() && !self.server.served,
                _ => false,
            };
            if caught_up {
                return;
            }
        }
        panic!("never comes to rest: {:?}", self.action);
    }
}

proptest! {
    #[test]
    fn in_the_end_there_is_what_the_list_says(deeds in prop::collection::vec(deed(), 0..160)) {
        let mut run = Run::new();
        deeds.iter().for_each(|deed| run.perform(deed));
        run.calm();
        prop_assert_eq!(&run.mirror, &run.server.objects);
        prop_assert!(run.machine.settled() && run.machine.failing().is_none());
        prop_assert_eq!(run.machine.absent(), !run.server.served);
    }
}

fn failed(code: u16) -> Event<u64> {
    Event::Failed(Failure::Status { code, retry_after: None })
}

#[test]
fn waits_grow_until_a_list_comes_to_its_end() {
    let mut run = Run::new();
    run.perform(&Deed::Put(0));
    run.perform(&Deed::Answer);
    for _ in 0..10 {
        run.tell(failed(500));
        run.tell(Event::Elapsed);
    }
    let seconds: Vec<f64> = run.waited.iter().map(Duration::as_secs_f64).collect();
    assert_eq!(seconds, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]);
    assert!(!run.machine.settled() && run.machine.failing().is_some());
    run.calm();
    run.tell(failed(500));
    assert_eq!(run.action, Action::Wait(Duration::from_millis(200)));
}

#[test]
fn a_watch_that_is_refused_each_time_is_not_begun_over_and_over() {
    // As some proxies do: every list succeeds, and no watch may begin after it.
    for failure in [Failure::Expired, Failure::Short, Failure::Unreadable("x")] {
        let mut run = Run::new();
        run.perform(&Deed::Put(0));
        for _ in 0..400 {
            match run.action {
                Action::Watch(_) => run.tell(Event::Failed(failure.clone())),
                _ => run.perform(&Deed::Answer),
            }
        }
        assert!(run.now > Duration::from_secs(600), "{failure}: {:?} for 400 steps", run.now);
        assert!(run.machine.failing().is_some(), "{failure}: changes between two lists are seen late");
        assert_eq!(run.mirror, run.server.objects, "what is listed is told all the same");
    }
}

#[test]
fn a_watch_goes_on_from_where_it_was_and_a_list_is_the_last_resort() {
    let mut run = Run::new();
    run.perform(&Deed::Put(0));
    run.calm();
    run.tell(failed(503));
    run.tell(Event::Elapsed);
    assert_eq!(run.action, Action::Watch("1".into()));
    for _ in 0..WATCH_ATTEMPTS {
        run.tell(failed(503));
        run.tell(Event::Elapsed);
    }
    assert!(matches!(run.action, Action::List { .. }), "{:?}", run.action);
    assert_eq!(run.mirror, run.server.objects, "the last state stays");
}

#[test]
fn what_the_server_refuses_or_asks_to_wait_for_keeps_what_was_told() {
    let mut run = Run::new();
    run.perform(&Deed::Put(0));
    run.calm();
    for code in [401, 403, 429, 500, 503] {
        run.tell(failed(code));
        run.tell(Event::Elapsed);
        assert_eq!(run.mirror, run.server.objects, "{code}");
        assert!(run.machine.settled() && run.machine.failing().is_some(), "{code}");
    }
    run.calm();
    assert!(run.machine.failing().is_none());
    let retry_after = Some(Duration::from_secs(7));
    run.tell(Event::Failed(Failure::Status { code: 429, retry_after }));
    assert_eq!(run.action, Action::Wait(Duration::from_secs(7)));
}

#[test]
fn absence_is_said_twice_before_it_counts() {
    let mut run = Run::new();
    run.perform(&Deed::Put(0));
    run.calm();
    // The server forgets for a moment that there is such a kind.
    run.tell(Event::Failed(Failure::NotFound));
    run.tell(Event::Elapsed);
    run.tell(Event::NotServed);
    assert_eq!(run.mirror, run.server.objects);
    run.tell(Event::Elapsed);
    run.calm();
    assert_eq!(run.mirror, run.server.objects);
    // It does go.
    run.perform(&Deed::Served(false));
    run.calm();
    assert!(run.machine.absent() && run.machine.settled() && run.mirror.is_empty());
    // It comes back.
    run.perform(&Deed::Served(true));
    run.perform(&Deed::Put(1));
    run.calm();
    assert_eq!((run.mirror.len(), run.machine.absent()), (1, false));
}

#[test]
fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let mut run = Run::new();
    run.perform(&Deed::Put(0));
    run.perform(&Deed::Answer);
    let mut limits = Vec::new();
    while let Action::List { limit, .. } = run.action {
        limits.push(limit);
        run.tell(Event::Failed(Failure::TooLarge));
    }
    assert_eq!(limits, [500, 62, 7, 1]);
    assert!(matches!(run.action, Action::Wait(_)));
}

#[test]
fn more_objects_than_are_kept_are_none_at_all() {
    let (mut machine, _) = Machine::<u64>::new(1);
    let moment = Moment { now: Duration::ZERO, dice: 0.0 };
    let entry = |number| Entry { name: name(number), uid: "u".into(), version: "1".into(), object: 1 };
    machine.step(Event::Served, moment);
    let page = Event::Page { entries: vec![entry(0), entry(1)], version: "1".into(), more: None };
    let step = machine.step(page, moment);
    assert!(step.changes.is_empty() && !machine.settled());
    assert_eq!(machine.failing(), Some(&Failure::TooMany(1)));
}

#[test]
fn as_many_objects_as_are_kept_may_come_and_one_more_may_not() {
    let (mut machine, _) = Machine::<u64>::new(2);
    let moment = Moment { now: Duration::ZERO, dice: 0.0 };
    assert!(!machine.settled() && !machine.absent() && machine.failing().is_none(), "nothing is known yet");
    let put = |number: u8, version: &str| {
        Event::Line(Line::Put(Entry { name: name(number), uid: "u".into(), version: version.into(), object: 1 }))
    };
    machine.step(Event::Served, moment);
    machine.step(Event::Page { entries: vec![], version: "1".into(), more: None }, moment);
    machine.step(Event::Opened, moment);
    for (number, version) in [(0, "2"), (1, "3"), (1, "4")] {
        assert_eq!(machine.step(put(number, version), moment).action, Action::Read);
    }
    assert!(machine.failing().is_none());
    assert!(matches!(machine.step(put(2, "5"), moment).action, Action::Wait(_)));
    assert_eq!(machine.failing(), Some(&Failure::TooMany(2)));
}

#[test]
fn a_list_that_fails_is_asked_for_again_without_asking_again_what_is_served() {
    let (mut machine, _) = Machine::<u64>::new(2);
    let moment = Moment { now: Duration::ZERO, dice: 0.0 };
    machine.step(Event::Served, moment);
    assert!(matches!(machine.step(failed(503), moment).action, Action::Wait(_)));
    assert!(matches!(machine.step(Event::Elapsed, moment).action, Action::List { more: None, .. }));
    // What is not found may not be served any more.
    machine.step(Event::Failed(Failure::NotFound), moment);
    assert_eq!(machine.step(Event::Elapsed, moment).action, Action::Find);
}

#[test]
fn after_a_watch_that_has_lasted_what_was_refused_before_is_over() {
    let (mut machine, _) = Machine::<u64>::new(2);
    let at = |seconds| Moment { now: Duration::from_secs(seconds), dice: 0.0 };
    let page = || Event::Page { entries: vec![], version: "1".into(), more: None };
    machine.step(Event::Served, at(0));
    for _ in 0..3 {
        machine.step(page(), at(0));
        machine.step(Event::Failed(Failure::Expired), at(0));
        machine.step(Event::Elapsed, at(0));
    }
    assert_eq!(machine.failing(), Some(&Failure::Expired), "again and again");
    machine.step(page(), at(0));
    machine.step(Event::Opened, at(0));
    assert!(matches!(machine.step(Event::Closed, at(300)).action, Action::Watch(_)));
    machine.step(Event::Opened, at(300));
    let again = machine.step(Event::Failed(Failure::Expired), at(301)).action;
    assert_eq!((again, machine.failing()), (Action::Wait(FIRST_WAIT), None));
}

#[test]
fn what_is_too_old_is_listed_anew() {
    let mut run = Run::new();
    run.perform(&Deed::Put(0));
    run.calm();
    run.tell(Event::Failed(Failure::Expired));
    assert!(run.machine.failing().is_none(), "that is as it should be");
    run.tell(Event::Elapsed);
    assert!(matches!(run.action, Action::List { more: None, .. }), "{:?}", run.action);
}

#[test]
fn nothing_counts_as_read_before_the_last_page() {
    let mut run = Run::new();
    (0..5).for_each(|number| run.perform(&Deed::Put(number)));
    run.perform(&Deed::Answer);
    while let Action::List { .. } = run.action {
        assert!(!run.machine.settled() && run.mirror.is_empty());
        run.perform(&Deed::Answer);
    }
    assert!(run.machine.settled() && run.mirror.len() == 5);
}
