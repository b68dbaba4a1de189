//! Writes what is said of objects into their statuses, on the API server, and what has become of them as Events: one of
//! several replicas does, see [`election`] and [`lease`]; in which form, see [`form`]; what waits for others to be heard, see
//! [`hearing`]; which Events, see [`events`].
//!
//! Each write names the version of the object that it was made from, so that nothing that others wrote meanwhile is
//! lost: then it is made anew. What cannot be written is tried again, later each time; nothing waits for it.

mod election;
mod events;
mod form;
mod hearing;
mod lease;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use api::{Kind, ObjectRef, Reader, Told};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use provider::StatusBoard;
use runtime::{Readiness, Shutdown};
use serde_json::{Value, json};
use status::{Diff, ObjectStatus, Outbox, Writer};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use self::election::{Act, EVERY, Election, LASTS};
use self::events::{About, By, Event, Events};
use self::form::Speaker;
use self::hearing::Hearing;
use self::lease::Leases;
use crate::machine::Failure;
use crate::server::Server;

/// So many objects are written at a time.
const AT_A_TIME: usize = 16;
/// Changes within so long are written as one.
const QUIET: Duration = Duration::from_millis(100);
/// A Gateway, of which every route says something, is written no more often, nor is what others write to as well.
const PACED_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after something could not be written, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long what is under way may take when the process is to stop, with the Lease given up after it.
pub const LEAVE: Duration = Duration::from_secs(5);
/// How long the writing of an Event may take.
const TELLING: Duration = Duration::from_secs(10);
/// How often it is looked whether an Event is due.
const EVENTS_EVERY: Duration = Duration::from_millis(250);
/// By these names `/readyz` is told that statuses are not written, and that Events are not.
const REMARKS: [&str; 2] = ["kubernetes statuses", "kubernetes events"];

/// What is to be written, filled by the board.
#[derive(Debug, Default)]
pub(crate) struct Due {
    outbox: Mutex<Outbox>,
    changed: Notify,
}

impl Due {
    /// Notes that these objects were written by anybody, ourselves among them: where a definition keeps conditions as
    /// one list, whoever writes theirs may take ours away.
    pub(crate) fn were_written(&self, objects: impl Iterator<Item = ObjectRef>) {
        let mut outbox = self.outbox.lock();
        objects.filter(|object| object.kind.told() == Told::Conditions).for_each(|object| outbox.again(object));
        if !outbox.is_empty() {
            self.changed.notify_one();
        }
    }
}

/// The board's end of it.
struct Fill(Arc<Due>);

impl Writer for Fill {
    fn write(&mut self, diff: Diff) {
        self.0.outbox.lock().write(diff);
        self.0.changed.notify_one();
    }
}

/// Who writes what where.
#[derive(Debug)]
pub struct Settings {
    /// What is written: what this server judges.
    pub reader: Reader,
    /// Where the Lease is, and under which name states stand in Gloo's form.
    pub namespace: String,
    /// By this name what is said of routes is ours.
    pub controller: String,
}

/// Whether this replica is the one that acts.
#[derive(Debug, Clone)]
pub struct Leading {
    until: watch::Receiver<Option<Instant>>,
    alone: watch::Receiver<bool>,
}

/// Where it is said.
#[derive(Debug)]
pub(crate) struct Lead {
    /// Until when this replica may act.
    until: watch::Sender<Option<Instant>>,
    /// Whether no other replica was seen to hold the Lease.
    alone: watch::Sender<bool>,
}

impl Leading {
    /// Where it is said, and what others see of that.
    pub(crate) fn channel() -> (Lead, Leading) {
        let ((until, seen), (alone, is_alone)) = (watch::channel(None), watch::channel(true));
        (Lead { until, alone }, Leading { until: seen, alone: is_alone })
    }

    /// Whether it may act now.
    pub fn holds(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Whether no other replica was seen to hold the Lease when it was looked at last. Where nobody can look at it, it is
    /// as it was.
    pub fn alone(&self) -> watch::Receiver<bool> {
        self.alone.clone()
    }
}

impl Lead {
    fn tell_alone(&self, alone: bool) {
        self.alone.send_if_modified(|known| std::mem::replace(known, alone) != alone);
    }
}

/// The Lease's name for each server, and by which name it says on the board what it makes of objects.
fn names(reader: Reader) -> (&'static str, &'static str) {
    match reader {
        Reader::Authorization => ("waykeeper-extauth", "extauth"),
        Reader::RateLimits => ("waykeeper-ratelimit", "ratelimit"),
        Reader::ControlPlane => ("waykeeper-waypoint", "waypoint"),
    }
}

/// Writes what stands on `board` until `shutdown` begins, and then what is under way.
/// Whether this replica does, it says by `lead`.
pub async fn write(
    server: Server,
    settings: Settings,
    board: &StatusBoard,
    (readiness, lead, due): (Readiness, Lead, Arc<Due>),
    shutdown: Shutdown,
) {
    board.write_by(Box::new(Fill(due.clone())));
    let me = format!("{}-{:08x}", host(), rand::random::<u32>());
    let (name, author) = names(settings.reader);
    let lease = Leases { server: server.clone(), namespace: settings.namespace.clone(), name, me };
    let mut replica = Replica {
        election: Election::new(lease.me.clone()),
        lease,
        server,
        settings,
        due,
        readiness,
        begun: Instant::now(),
        under_way: JoinSet::new(),
        paced: BTreeMap::new(),
        pause: PAUSES.0,
        not_before: Instant::now(),
        was_leading: false,
        hearing: Hearing::default(),
        looking: None,
        lead,
        is_judged: false,
        events: Events::default(),
        telling: JoinSet::new(),
    };
    replica.run(shutdown, board.until_judged(author)).await;
}

/// The name of this machine or pod.
fn host() -> String {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "waykeeper".to_owned())
}

/// What became of an object that was to be written.
enum Outcome {
    /// It stands, or is not there any more, or has no status; or it is not ours to write.
    Done(&'static str),
    /// Somebody else wrote it meanwhile.
    Again,
    Failed(Failure),
}

/// One replica of a server, which writes while it holds the Lease.
struct Replica {
    server: Server,
    settings: Settings,
    lease: Leases,
    election: Election,
    due: Arc<Due>,
    readiness: Readiness,
    begun: Instant,
    under_way: JoinSet<(ObjectRef, Vec<ObjectStatus>, Option<About>, Outcome)>,
    /// When each object was written last of those that are written only so often.
    paced: BTreeMap<ObjectRef, Instant>,
    pause: Duration,
    not_before: Instant,
    was_leading: bool,
    /// Whether the server has said what it makes of all that is declared.
    is_judged: bool,
    /// What may be known better by what stands.
    hearing: Hearing,
    /// Whoever looks for what was said of objects of which nothing is said now.
    looking: Option<AbortOnDropHandle<Result<Vec<ObjectRef>, Failure>>>,
    /// Where others are told whether we hold the Lease.
    lead: Lead,
    /// What has become of objects, to be told.
    events: Events,
    /// The Event that is being written; none of them is worth to be tried again.
    telling: JoinSet<(Event, Result<String, Failure>)>,
}

impl Replica {
    async fn run(&mut self, shutdown: Shutdown, judged: impl Future<Output = ()>) {
        let mut judged = pin!(judged);
        let mut look = Instant::now();
        let mut write_at: Option<Instant> = None;
        let mut tell_at = look;
        let due = self.due.clone();
        loop {
            tokio::select! {
                () = shutdown.begun() => break,
                () = sleep_until(look) => {
                    self.elect().await;
                    look = Instant::now() + EVERY;
                    write_at.get_or_insert_with(Instant::now);
                }
                () = &mut judged, if !self.is_judged => {
                    self.is_judged = true;
                    self.hearing.begin(self.now());
                    write_at.get_or_insert_with(Instant::now);
                }
                () = due.changed.notified() => drop(write_at.get_or_insert_with(|| Instant::now() + QUIET)),
                found = looked(&mut self.looking) => {
                    self.looking = None;
                    match found {
                        Ok(found) => found.into_iter().for_each(|object| self.due.outbox.lock().stands(object)),
                        Err(failure) => warn!(%failure, "statuses that are to go may stay until this replica begins anew"),
                    }
                    write_at.get_or_insert_with(Instant::now);
                }
                Some(done) = self.under_way.join_next() => {
                    self.done(done);
                    write_at.get_or_insert_with(Instant::now);
                }
                Some(told) = self.telling.join_next() => self.told(told),
                () = sleep_until(write_at.unwrap_or(look)), if write_at.is_some() => {
                    write_at = None;
                    self.begin();
                }
                () = sleep_until(tell_at), if !self.events.is_empty() => {
                    tell_at = Instant::now() + EVENTS_EVERY;
                    self.tell();
                }
            }
        }
        self.lead.until.send_replace(None);
        let leave = async {
            while let Some(done) = self.under_way.join_next().await {
                self.done(done);
            }
            if self.is_leading() {
                self.lease.give_up().await;
            }
        };
        if timeout(LEAVE, leave).await.is_err() {
            debug!("the Lease was not given up in time: the next one waits until it has run out");
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn speaker(&self) -> Speaker {
        Speaker {
            controller: self.settings.controller.clone(),
            namespace: self.settings.namespace.clone(),
            now: seconds(),
            has_heard_all: true,
        }
    }

    fn is_leading(&self) -> bool {
        self.election.holds(self.now())
    }

    /// Looks at the Lease, and holds on to it if it is ours or nobody's.
    async fn elect(&mut self) {
        let asked = self.now();
        // Longer than this an answer is of no use.
        let held = timeout(LASTS / 3, async {
            let lease = self.lease.read().await?;
            match self.election.read(lease.as_ref(), asked) {
                Act::Leave => Ok(false),
                act => self.lease.hold(&act).await.map(|()| true),
            }
        });
        let failure = match held.await {
            Ok(Ok(true)) => {
                self.election.written(asked);
                self.lead.tell_alone(true);
                None
            }
            // Another replica has it, or was faster.
            Ok(Ok(false) | Err(Failure::Status { code: 409, .. })) => {
                self.lead.tell_alone(false);
                None
            }
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(Failure::TimedOut),
        };
        let remark = failure.map(|failure| format!("statuses are not written by this replica: its Lease: {failure}"));
        self.readiness.remark(REMARKS[0], remark.into_iter().collect());
        let leading = self.is_leading();
        self.lead.until.send_replace(self.election.until().map(|until| self.begun + until));
        metrics::gauge!("waykeeper_kubernetes_leading").set(f64::from(u8::from(leading)));
        if leading && !self.was_leading {
            info!(lease = self.lease.name, holder = self.lease.me, "this replica writes statuses");
            self.hearing.begin(self.now());
            // What another one has written since is not known here.
            self.due.outbox.lock().all_again();
            self.looking = Some(AbortOnDropHandle::new(tokio::spawn(left_over(
                self.server.clone(),
                self.settings.reader,
                self.speaker(),
            ))));
        } else if self.was_leading && !leading {
            warn!(lease = self.lease.name, "this replica does not write statuses any more");
        }
        self.was_leading = leading;
    }

    /// Begins to write what is due, as much as may be under way.
    fn begin(&mut self) {
        let now = Instant::now();
        // Before everything was read and judged, silence about an object means nothing.
        if !self.is_leading() || !self.is_judged || now < self.not_before {
            return;
        }
        let again = self.hearing.over(self.now());
        again.into_iter().for_each(|object| self.due.outbox.lock().put_back(object));
        let reader = self.settings.reader;
        while self.under_way.len() < AT_A_TIME {
            let paced = &self.paced;
            let may = |object: &ObjectRef| paced.get(object).is_none_or(|last| now >= *last + PACED_EVERY);
            let Some((object, said)) = self.due.outbox.lock().take_if(may) else { break };
            // The others are written by the servers that judge them.
            if object.kind.told_by() != Some(reader) {
                continue;
            }
            if matches!(object.kind.told(), Told::Gateway | Told::Conditions) {
                self.paced.retain(|_, last| now < *last + PACED_EVERY);
                self.paced.insert(object.clone(), now);
            }
            let has_heard_all = self.hearing.has_heard_all(&object, &said);
            let (server, speaker) = (self.server.clone(), Speaker { has_heard_all, ..self.speaker() });
            self.under_way.spawn(async move {
                let mut about = None;
                let outcome = write_one(&server, &object, &said, &speaker, &mut about).await;
                (object, said, about, outcome)
            });
        }
        metrics::gauge!("waykeeper_kubernetes_statuses_due").set(self.due.outbox.lock().len() as f64);
    }

    fn done(&mut self, done: Result<(ObjectRef, Vec<ObjectStatus>, Option<About>, Outcome), JoinError>) {
        let Ok((object, said, about, outcome)) = done else {
            // It is written when something else is said of the object, or by the next holder of the Lease.
            error!("a status is not written, by a fault of ours");
            return;
        };
        let word = match &outcome {
            Outcome::Done(word) => word,
            Outcome::Again => "conflict",
            Outcome::Failed(_) => "failed",
        };
        metrics::counter!("waykeeper_kubernetes_statuses_total", "kind" => object.kind.as_str(), "outcome" => word)
            .increment(1);
        if matches!(outcome, Outcome::Done("written")) {
            self.hearing.wrote(&object);
        }
        match (&outcome, about) {
            (Outcome::Done("written" | "no status"), Some(about)) => self.events.take(&about, &said),
            // Whoever wrote it has told of it.
            (Outcome::Done("stands"), Some(_)) => self.events.knows(&object, &said),
            (Outcome::Done(_), _) => self.events.forget(&object),
            _ => {}
        }
        match outcome {
            Outcome::Done(_) => self.pause = PAUSES.0,
            Outcome::Again => self.due.outbox.lock().put_back(object),
            Outcome::Failed(failure) => {
                warn!(%object, %failure, "a status could not be written; it is tried again");
                self.not_before = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(PAUSES.1);
                self.due.outbox.lock().put_back(object);
            }
        }
    }
}

impl Replica {
    /// Begins to write the next Event, if one is due.
    fn tell(&mut self) {
        if !self.is_leading() || !self.telling.is_empty() {
            return;
        }
        let Some(event) = self.events.next(self.now()) else { return };
        let (server, component, me) = (self.server.clone(), self.lease.name, self.lease.me.clone());
        self.telling.spawn(async move {
            let now = seconds();
            let by = By { component, instance: &me, now: &now };
            let done = timeout(TELLING, tell_one(&server, &event, &by)).await.unwrap_or(Err(Failure::TimedOut));
            (event, done)
        });
    }

    fn told(&mut self, told: Result<(Event, Result<String, Failure>), JoinError>) {
        let Ok((event, done)) = told else {
            error!("an Event is not written, by a fault of ours");
            return;
        };
        let word = if done.is_ok() { "written" } else { "failed" };
        metrics::counter!("waykeeper_kubernetes_events_total", "outcome" => word).increment(1);
        metrics::counter!("waykeeper_kubernetes_events_total", "outcome" => "left out")
            .absolute(self.events.left_out());
        let remark = match done {
            Ok(name) => {
                self.events.was_written(&event, name, self.now());
                None
            }
            Err(failure) => Some(format!("Events are not written: {failure}")),
        };
        self.readiness.remark(REMARKS[1], remark.into_iter().collect());
    }
}

/// Writes an Event; what it is called.
async fn tell_one(server: &Server, event: &Event, by: &By<'_>) -> Result<String, Failure> {
    let path = event.path();
    if let Some((name, patch)) = event.again(by) {
        match server.patch(&format!("{path}/{name}"), &patch).await {
            // It has gone meanwhile.
            Err(Failure::NotFound) => {}
            done => return done.map(|()| name.to_owned()),
        }
    }
    let (name, new) = event.new_one(rand::random(), by);
    server.post(&path, &new).await.map(|()| name)
}

/// Now, in whole seconds.
fn seconds() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What `looking` has found, once it has; it never ends where nobody looks.
async fn looked(
    looking: &mut Option<AbortOnDropHandle<Result<Vec<ObjectRef>, Failure>>>,
) -> Result<Vec<ObjectRef>, Failure> {
    match looking {
        Some(looking) => looking.await.unwrap_or(Err(Failure::Unreadable("a list that cannot be taken apart"))),
        None => std::future::pending().await,
    }
}

/// The objects on which something of ours stands: of some of them nothing may be said any more, since they changed
/// while nobody was here to hear of it.
async fn left_over(server: Server, reader: Reader, speaker: Speaker) -> Result<Vec<ObjectRef>, Failure> {
    let mut found = Vec::new();
    for kind in Kind::ALL.iter().copied().filter(|kind| kind.told_by() == Some(reader)) {
        for version in kind.api_versions() {
            let mut more = String::new();
            loop {
                let root = crate::source::Source::discovery(version);
                let body = match server.get(&format!("{root}/{}?limit=500{more}", kind.plural())).await {
                    Ok(body) => body,
                    // Another version, or none, is served.
                    Err(Failure::NotFound) => break,
                    Err(failure) => return Err(failure),
                };
                let page: Value =
                    serde_json::from_slice(&body).map_err(|_| Failure::Unreadable("a list that is none"))?;
                for object in page["items"].as_array().into_iter().flatten() {
                    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
                    if form::is_ours(kind, object, &speaker) {
                        found.push(ObjectRef::new(kind, text("namespace"), text("name")));
                    }
                }
                match page["metadata"]["continue"].as_str().filter(|more| !more.is_empty()) {
                    Some(next) => more = format!("&continue={}", crate::pump::escaped(next)),
                    None => break,
                }
            }
        }
    }
    Ok(found)
}

/// Writes the status of `object`, under each API group that has one of this name; `about` is the first of them.
async fn write_one(
    server: &Server,
    object: &ObjectRef,
    said: &[ObjectStatus],
    speaker: &Speaker,
    about: &mut Option<About>,
) -> Outcome {
    let mut outcome = "gone";
    let mut found: Vec<&str> = Vec::new();
    for version in object.kind.api_versions() {
        // Two versions of one group are one object.
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if found.contains(&group) {
            continue;
        }
        let path = crate::source::object_path(object, version);
        let there = match server.get(&path).await {
            Ok(body) => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
            Err(Failure::NotFound) => continue,
            Err(failure) => return Outcome::Failed(failure),
        };
        found.push(group);
        let uid = there["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        about.get_or_insert_with(|| About { object: object.clone(), api_version: (*version).to_owned(), uid });
        let Some(status) = form::wanted(object.kind, &there, said, speaker) else {
            outcome = "stands";
            continue;
        };
        let version = &there["metadata"]["resourceVersion"];
        let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
        match server.patch(&format!("{path}/status"), &patch).await {
            Ok(()) => outcome = "written",
            Err(Failure::Status { code: 409, .. }) => return Outcome::Again,
            // It went meanwhile, or its definition has no status of its own. Where there is the right to it, that is
            // written to the object itself, as Gloo does; else it is on `/status` alone.
            Err(Failure::NotFound) => match server.patch(&path, &patch).await {
                Ok(()) => outcome = "written",
                Err(Failure::Status { code: 409, .. }) => return Outcome::Again,
                Err(Failure::NotFound | Failure::Status { code: 401 | 403, .. }) => outcome = "no status",
                Err(failure) => return Outcome::Failed(failure),
            },
            Err(failure) => return Outcome::Failed(failure),
        }
    }
    Outcome::Done(outcome)
}
