//! What to ask the API server next, and what has changed: pure, one machine for each list that is followed.
//!
//! ```text
//! find ─▶ list, page by page ─▶ watch ─▶ … ─▶ closed: watch on from where it was
//!   ▲            ▲   └ complete: the new list takes the old one's place     │
//!   └ not served └────────── expired, cut, unreadable: list anew ◀──────────┘
//! ```
//! Whoever drives it performs one [`Action`] after another and says what came of it. Whatever the
//! server does in between, what has been told is what a complete list would say, or an earlier
//! version of it: never a part of a list, and never one with holes.

use std::collections::BTreeMap;
use std::time::Duration;

use api::Name;

/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long the server may put us off by itself.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// A watch that ends sooner without having said anything has failed.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// After so many failures since the last list a watch is not tried again: where it was may not be known any more.
const WATCH_ATTEMPTS: u32 = 5;
/// What is not served the first time may be about to be: it is asked for again.
const CONFIRM_ABSENCE: Duration = Duration::from_secs(1);
/// How often it is asked whether something is served by now.
const ABSENT_POLL: Duration = Duration::from_secs(3);
/// Objects on a page of a list.
pub const PAGE: u32 = 500;

/// An object as one list or event shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// What it is called.
    pub name: Name,
    /// What tells it from earlier and later objects of that name.
    pub uid: Box<str>,
    /// What tells this version from others of the same object.
    pub version: Box<str>,
    /// The object.
    pub object: T,
}

/// One line of a watch.
#[derive(Debug, Clone)]
pub enum Line<T> {
    /// It is there, as of now in this version.
    Put(Entry<T>),
    /// It is not there any more.
    Gone(Name, Box<str>),
    /// Nothing happened up to this version.
    Bookmark(Box<str>),
}

/// What came of an action.
#[derive(Debug, Clone)]
pub enum Event<T> {
    /// The server serves such objects.
    Served,
    /// It does not.
    NotServed,
    /// A page of a list.
    Page {
        /// The objects on it.
        entries: Vec<Entry<T>>,
        /// The version of the list as a whole.
        version: Box<str>,
        /// How to ask for the next page; none on the last one.
        more: Option<String>,
    },
    /// The watch has begun.
    Opened,
    /// A line of it.
    Line(Line<T>),
    /// It has ended as it should.
    Closed,
    /// What was asked for did not come.
    Failed(Failure),
    /// The wait is over.
    Elapsed,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask whether such objects are served.
    Find,
    /// Ask for a page of a list.
    List {
        /// What the page before said.
        more: Option<String>,
        /// The most objects on it.
        limit: u32,
    },
    /// Begin a watch of what happens after this version.
    Watch(Box<str>),
    /// Read the next line of the watch.
    Read,
    /// Wait.
    Wait(Duration),
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// This version is there now.
    Put(Entry<T>),
    /// It is not there any more.
    Gone(Name),
}

/// What follows from an event.
#[derive(Debug)]
pub struct Step<T> {
    /// What to do next.
    pub action: Action,
    /// What changed, in order.
    pub changes: Vec<Change<T>>,
}

/// Why something did not come. Never holds anything of an answer's body but numbers and fixed words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What a watch or the next page would begin after is not known any more.
    #[error("what is asked for is too old (410)")]
    Expired,
    /// There is nothing at that address.
    #[error("not found (404)")]
    NotFound,
    /// Another status than success.
    #[error("the API server answered {code}{}", advice(*.code))]
    Status {
        /// The status.
        code: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection, or it was lost.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing came in time.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// More bytes than are read.
    #[error("the answer is larger than what is read")]
    TooLarge,
    /// Something that is not what the API says it is.
    #[error("the answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// More objects than are kept.
    #[error("there are more than {0} objects")]
    TooMany(usize),
    /// A watch that ended before it said anything.
    #[error("watches end as soon as they begin")]
    Short,
}

fn advice(code: u16) -> &'static str {
    match code {
        401 => " (Unauthorized: its token is not accepted)",
        403 => " (Forbidden: its ServiceAccount may not do this; `waykeeper check` tells what it needs)",
        429 => " (Too Many Requests)",
        _ => "",
    }
}

impl Failure {
    /// One word, for a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Failure::Expired => "expired",
            Failure::NotFound => "not_found",
            Failure::Status { code: 401, .. } => "unauthorized",
            Failure::Status { code: 403, .. } => "forbidden",
            Failure::Status { code: 500.., .. } => "server",
            Failure::Status { .. } => "status",
            Failure::Unreachable(_) => "unreachable",
            Failure::TimedOut => "timeout",
            Failure::TooLarge => "too_large",
            Failure::Unreadable(_) => "unreadable",
            Failure::TooMany(_) => "too_many",
            Failure::Short => "short_watch",
        }
    }
}

/// When something happens, and what chance says.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Time since some beginning.
    pub now: Duration,
    /// From 0 to 1.
    pub dice: f64,
}

/// The machine.
#[derive(Debug)]
pub struct Machine<T> {
    phase: Phase<T>,
    /// What has been told, by what tells versions apart.
    known: BTreeMap<Name, Stamp>,
    settled: bool,
    absent: bool,
    failing: Option<Failure>,
    /// Since the last list that came to its end.
    failures: u32,
    /// Lists in a row that were followed by a watch that said nothing.
    barren: u32,
    /// How often in a row the objects were said not to be served.
    missing: u32,
    limit: u32,
    most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    uid: Box<str>,
    version: Box<str>,
}

#[derive(Debug)]
enum Phase<T> {
    Finding,
    Listing { fresh: BTreeMap<Name, Stamp>, changed: Vec<Entry<T>> },
    Watching { version: Box<str>, since: Duration, fruitful: bool },
    Waiting(Next),
}

#[derive(Debug, Clone)]
enum Next {
    Find,
    List,
    Watch(Box<str>),
}

impl<T> Machine<T> {
    /// A machine that keeps at most so many objects, and what to do first.
    pub fn new(most: usize) -> (Self, Action) {
        let machine = Self {
            phase: Phase::Finding,
            known: BTreeMap::new(),
            settled: false,
            absent: false,
            failing: None,
            failures: 0,
            barren: 0,
            missing: 0,
            limit: PAGE,
            most,
        };
        (machine, Action::Find)
    }

    /// Whether all objects were listed once, or none are served.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// Whether none are served, which is not the same as that there are none.
    pub fn absent(&self) -> bool {
        self.absent
    }

    /// Why what has been told may be out of date.
    pub fn failing(&self) -> Option<&Failure> {
        self.failing.as_ref()
    }

    /// What follows from `event`.
    pub fn step(&mut self, event: Event<T>, moment: Moment) -> Step<T> {
        let mut changes = Vec::new();
        let action = self.next(event, moment, &mut changes);
        Step { action, changes }
    }

    fn next(&mut self, event: Event<T>, moment: Moment, changes: &mut Vec<Change<T>>) -> Action {
        let phase = std::mem::replace(&mut self.phase, Phase::Finding);
        match (phase, event) {
            (Phase::Finding, Event::Served) => self.list(),
            (Phase::Finding, Event::NotServed) => self.not_served(changes),
            (Phase::Finding, Event::Failed(failure)) => self.fail(failure, Next::Find, moment),

            (Phase::Listing { fresh, changed }, Event::Page { entries, version, more }) => {
                self.page(Page { fresh, changed, entries, version, more }, moment, changes)
            }
            (Phase::Listing { .. }, Event::Failed(Failure::TooLarge)) if self.limit > 1 => {
                self.limit = (self.limit / 8).max(1);
                self.list()
            }
            (Phase::Listing { .. }, Event::Failed(Failure::NotFound)) => {
                self.fail(Failure::NotFound, Next::Find, moment)
            }
            (Phase::Listing { .. }, Event::Failed(failure)) => self.fail(failure, Next::List, moment),

            (Phase::Watching { version, fruitful, .. }, Event::Opened) => {
                self.failing = None;
                self.phase = Phase::Watching { version, since: moment.now, fruitful };
                Action::Read
            }
            (Phase::Watching { since, .. }, Event::Line(line)) => self.line(line, since, moment, changes),
            (Phase::Watching { version, since, fruitful }, Event::Closed) => {
                let short = moment.now.saturating_sub(since) < SHORTEST_WATCH;
                if fruitful && short {
                    // It has told something, and is no failure; but nobody is to be asked without a pause.
                    self.phase = Phase::Waiting(Next::Watch(version));
                    Action::Wait(SHORTEST_WATCH)
                } else if !short {
                    // It has lasted: what was refused before is over.
                    (self.barren, self.failures) = (0, 0);
                    self.watch(version, moment)
                } else {
                    self.watch_failed(Failure::Short, version, fruitful, moment)
                }
            }
            (Phase::Watching { version, fruitful, .. }, Event::Failed(failure)) => {
                self.watch_failed(failure, version, fruitful, moment)
            }

            (Phase::Waiting(next), Event::Elapsed) => match next {
                Next::Find => Action::Find,
                Next::List => self.list(),
                Next::Watch(version) => self.watch(version, moment),
            },
            // No answer to what was asked: begin anew, so that nothing rests on it.
            (_, event) => match event {
                Event::Failed(failure) => self.fail(failure, Next::Find, moment),
                _ => self.fail(Failure::Unreadable("an answer to another question"), Next::Find, moment),
            },
        }
    }

    fn not_served(&mut self, changes: &mut Vec<Change<T>>) -> Action {
        self.missing = self.missing.saturating_add(1);
        self.phase = Phase::Waiting(Next::Find);
        if self.missing < 2 {
            return Action::Wait(CONFIRM_ABSENCE);
        }
        changes.extend(std::mem::take(&mut self.known).into_keys().map(Change::Gone));
        (self.settled, self.absent, self.failing) = (true, true, None);
        (self.failures, self.barren) = (0, 0);
        Action::Wait(ABSENT_POLL)
    }

    fn list(&mut self) -> Action {
        self.missing = 0;
        self.phase = Phase::Listing { fresh: BTreeMap::new(), changed: Vec::new() };
        Action::List { more: None, limit: self.limit }
    }

    fn page(&mut self, page: Page<T>, moment: Moment, changes: &mut Vec<Change<T>>) -> Action {
        let Page { mut fresh, mut changed, entries, version, more } = page;
        for entry in entries {
            let stamp = Stamp { uid: entry.uid.clone(), version: entry.version.clone() };
            if self.known.get(&entry.name) != Some(&stamp) {
                fresh.insert(entry.name.clone(), stamp);
                changed.push(entry);
            } else {
                fresh.insert(entry.name, stamp);
            }
        }
        if fresh.len() > self.most {
            return self.fail(Failure::TooMany(self.most), Next::List, moment);
        }
        if let Some(more) = more {
            self.phase = Phase::Listing { fresh, changed };
            return Action::List { more: Some(more), limit: self.limit };
        }
        if version.is_empty() {
            return self.fail(Failure::Unreadable("a list without a version"), Next::List, moment);
        }
        let known = std::mem::replace(&mut self.known, fresh);
        // One that was deleted and made anew is another object: the old one goes first.
        let gone = |(name, old): (Name, Stamp)| match self.known.get(&name) {
            Some(new) if new.uid == old.uid => None,
            _ => Some(Change::Gone(name)),
        };
        changes.extend(known.into_iter().filter_map(gone));
        changes.extend(changed.into_iter().map(Change::Put));
        (self.settled, self.absent) = (true, false);
        // A watch that is refused after each list leaves changes unseen in between.
        if self.barren == 0 {
            self.failing = None;
        }
        self.limit = PAGE;
        self.failures = self.barren;
        self.watch(version, moment)
    }

    fn watch(&mut self, version: Box<str>, moment: Moment) -> Action {
        self.phase = Phase::Watching { version: version.clone(), since: moment.now, fruitful: false };
        Action::Watch(version)
    }

    fn line(&mut self, line: Line<T>, since: Duration, moment: Moment, changes: &mut Vec<Change<T>>) -> Action {
        let version = match line {
            Line::Put(entry) => {
                let stamp = Stamp { uid: entry.uid.clone(), version: entry.version.clone() };
                let version = entry.version.clone();
                let old = self.known.insert(entry.name.clone(), stamp.clone());
                if old.as_ref().is_some_and(|old| old.uid != stamp.uid) {
                    changes.push(Change::Gone(entry.name.clone()));
                }
                if old.as_ref() != Some(&stamp) {
                    changes.push(Change::Put(entry));
                }
                version
            }
            Line::Gone(name, version) => {
                if self.known.remove(&name).is_some() {
                    changes.push(Change::Gone(name));
                }
                version
            }
            Line::Bookmark(version) => version,
        };
        self.barren = 0;
        if version.is_empty() {
            return self.fail(Failure::Unreadable("an event without a version"), Next::List, moment);
        }
        if self.known.len() > self.most {
            return self.fail(Failure::TooMany(self.most), Next::List, moment);
        }
        self.phase = Phase::Watching { version, since, fruitful: true };
        Action::Read
    }

    /// What a watch failed by decides whether it may be tried again from where it was.
    fn watch_failed(&mut self, failure: Failure, version: Box<str>, fruitful: bool, moment: Moment) -> Action {
        if !fruitful {
            self.barren = self.barren.saturating_add(1);
        }
        let next = match &failure {
            Failure::NotFound => Next::Find,
            Failure::Status { code: 401 | 403 | 429 | 500.., .. }
            | Failure::Unreachable(_)
            | Failure::TimedOut
            | Failure::Short
                if self.failures < WATCH_ATTEMPTS =>
            {
                Next::Watch(version)
            }
            _ => Next::List,
        };
        self.fail(failure, next, moment)
    }

    fn fail(&mut self, failure: Failure, next: Next, moment: Moment) -> Action {
        self.failures = self.failures.saturating_add(1);
        let asked = match &failure {
            Failure::Status { retry_after, .. } => retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER),
            _ => Duration::ZERO,
        };
        // A history that does not reach back once is as it should be.
        if failure != Failure::Expired || self.barren > 1 || matches!(next, Next::List) && self.failures > 1 {
            self.failing = Some(failure);
        }
        self.phase = Phase::Waiting(next);
        Action::Wait(wait(self.failures, moment.dice).max(asked))
    }
}

/// How long to wait after so many failures: twice as long each time, of which chance takes up to a half away.
fn wait(failures: u32, dice: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    longest.mul_f64(1.0 - dice.clamp(0.0, 1.0) / 2.0)
}

struct Page<T> {
    fresh: BTreeMap<Name, Stamp>,
    changed: Vec<Entry<T>>,
    entries: Vec<Entry<T>>,
    version: Box<str>,
    more: Option<String>,
}

#[cfg(test)]
mod tests;
