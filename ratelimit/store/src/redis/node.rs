//! Keeps one connection to one Redis process and sends what requests left, batch by batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use runtime::Shutdown;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::access::{Access, Place};
use super::asking::Asking;
use super::batch::Batch;
use super::connect::why;
use super::gate::{Breaker, Gate};
use super::sentinel::Watch;
use super::{Job, Lane, Letter, Way};
use crate::StoreError;

/// Requests that may wait to be sent; beyond this the store counts as down.
const MOST_WAITING: usize = 8192;
/// Requests that go into one script call.
const MOST_IN_BATCH: usize = 256;
/// Calls under way at once. More would make batches smaller, not answers faster.
const MOST_UNDER_WAY: usize = 4;
/// How often an idle connection is tried, so that its end is noticed before a request is.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long connecting may take where there may be another address to try.
const CONNECT_ONE_OF: Duration = Duration::from_millis(400);
/// Masters that Sentinels name, tried at once.
const MOST_CANDIDATES: usize = 4;
/// The least time a PING is given.
const PING: Duration = Duration::from_millis(20);
/// How long a connection on which a batch was late may take to show that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
/// For how many budgets one batch after the other may be late before Redis counts as failed, alive or not.
const MOST_LATE: u32 = 3;

/// The task behind a [`Lane`].
#[derive(Debug)]
pub(super) struct Node {
    source: Source,
    letters: mpsc::Receiver<Letter>,
    gate: Arc<Gate>,
    budget: Duration,
    at: String,
    events: Option<mpsc::Sender<NodeEvent>>,
}

/// How the process to connect to is found.
#[derive(Debug)]
pub(super) enum Source {
    /// It is always this one.
    Fixed(Access, Place),
    /// Sentinels say which.
    Sentinel(Box<Watch>),
}

/// What a node of a Cluster tells the router.
#[derive(Debug)]
pub(super) enum NodeEvent {
    /// Not executed: this node does not have the slot. The error says who does.
    Misplaced(Vec<Letter>, RedisError),
    /// The connection is gone.
    Lost,
}

/// What came of a batch.
enum Health {
    /// Redis answered.
    Answered,
    /// Redis is there, as far as we know; nothing was counted.
    Unknown,
    /// It answered a PING.
    Alive,
    /// No answer yet: it may be slow for a moment, or gone.
    Late,
    /// The connection must not be used again.
    Gone(String),
}

impl Node {
    pub(super) fn new(
        source: Source,
        budget: Duration,
        at: String,
        events: Option<mpsc::Sender<NodeEvent>>,
    ) -> (Node, Lane) {
        let (sender, letters) = mpsc::channel(MOST_WAITING);
        let gate = Arc::new(Gate::default());
        let lane = Lane { letters: sender, gate: gate.clone() };
        (Node { source, letters, gate, budget, at, events }, lane)
    }

    /// Runs until `shutdown` begins or nobody can send any more; `connected`
    /// is called once, the first time there is a connection.
    pub(super) async fn run(mut self, shutdown: Shutdown, connected: impl FnOnce() + Send) {
        if let Source::Sentinel(watch) = &mut self.source {
            watch.start();
        }
        let mut connected = Some(connected);
        let mut breaker = Breaker::default();
        let mut complained = false;
        let over = |letters: &mpsc::Receiver<Letter>| letters.is_closed() && letters.is_empty();
        while !shutdown.is_begun() && !over(&self.letters) {
            let connection = tokio::select! {
                connection = connect(&mut self.source, self.budget) => connection,
                () = shutdown.begun() => break,
            };
            match connection {
                Ok(connection) => {
                    info!(redis = self.at, on_trial = breaker.is_open(), "connected");
                    if let Some(connected) = connected.take() {
                        connected();
                    }
                    complained = false;
                    if let Some(why) = self.serve(connection, &mut breaker, &shutdown).await {
                        warn!(redis = self.at, why, "connection given up, reconnecting");
                        breaker.failed();
                        self.tell_lost();
                    }
                }
                Err(why) => {
                    if !complained {
                        complained = true;
                        warn!(redis = self.at, why, "cannot connect, trying again");
                    }
                    breaker.unreachable();
                    self.tell_lost();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(breaker.pause()) => {}
                () = self.source.changed() => {}
                () = shutdown.begun() => {}
            }
        }
        self.gate.close();
    }

    fn tell_lost(&self) {
        if let Some(events) = &self.events {
            // Full is fine: then the router knows already.
            let _ = events.try_send(NodeEvent::Lost);
        }
    }

    /// Sends batches until the connection fails, and says why, or there is no more to do.
    async fn serve(
        &mut self,
        connection: MultiplexedConnection,
        breaker: &mut Breaker,
        shutdown: &Shutdown,
    ) -> Option<String> {
        self.gate.open(breaker.is_open());
        let mut under_way = FuturesUnordered::new();
        let mut waiting: Vec<Letter> = Vec::new();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let (mut late_since, mut probing) = (None::<Instant>, false);
        let post = Post { connection, budget: self.budget, events: self.events.as_ref() };
        let why = loop {
            tokio::select! {
                Some(health) = under_way.next() => match health {
                    Health::Answered => {
                        breaker.answered();
                        self.gate.passed();
                        late_since = None;
                    }
                    Health::Unknown => self.gate.untried(),
                    Health::Alive => {
                        self.gate.untried();
                        probing = false;
                    }
                    Health::Late => {
                        // A moment's delay fails those who waited. To reconnect would fail everyone.
                        if late_since.get_or_insert_with(Instant::now).elapsed() >= MOST_LATE * self.budget {
                            breaker.hangs();
                            break Some("one batch after the other was late".to_owned());
                        }
                        if !std::mem::replace(&mut probing, true) {
                            under_way.push(post.clone().send(Vec::new(), SIGN_OF_LIFE));
                        }
                    }
                    Health::Gone(why) => {
                        if late_since.is_some() {
                            breaker.hangs();
                        }
                        break Some(why);
                    }
                },
                n = self.letters.recv_many(&mut waiting, MOST_IN_BATCH), if under_way.len() < MOST_UNDER_WAY => {
                    if n == 0 {
                        break None;
                    }
                    under_way.push(post.clone().send(std::mem::take(&mut waiting), self.budget));
                }
                _ = heartbeat.tick(), if under_way.is_empty() => {
                    under_way.push(post.clone().send(Vec::new(), self.budget.max(PING)));
                }
                () = self.source.changed() => break Some("there is another master".to_owned()),
                () = shutdown.begun(), if self.letters.is_empty() && under_way.is_empty() => break None,
            }
        };
        self.gate.close();
        // Dropping what is under way tells its requests that it may have been counted.
        drop(under_way);
        drop(post);
        while let Ok(letter) = self.letters.try_recv() {
            let _ = letter.job.reply.send(Err(StoreError::Down));
        }
        why
    }
}

impl Source {
    /// Returns when another process is to be connected to.
    async fn changed(&mut self) {
        match self {
            Source::Fixed(..) => std::future::pending().await,
            Source::Sentinel(watch) => watch.changed().await,
        }
    }
}

/// A connection that has answered.
async fn connect(source: &mut Source, budget: Duration) -> Result<MultiplexedConnection, String> {
    match source {
        Source::Fixed(access, place) => open(access, place, budget, CONNECT, false).await,
        Source::Sentinel(watch) => {
            let candidates = watch.candidates().await;
            let access = watch.access().clone();
            // All at once, since one that hangs takes its time; the likeliest that is a master counts.
            let attempt = async {
                let access = &access;
                let opened = candidates
                    .into_iter()
                    .map(|place| async move { Ok((open(access, &place, budget, CONNECT_ONE_OF, true).await?, place)) });
                let mut opened = futures_util::stream::iter(opened).buffered(MOST_CANDIDATES);
                let mut why = "no Sentinel names a master".to_owned();
                while let Some(opened) = opened.next().await {
                    match opened {
                        Ok(opened) => return Ok(opened),
                        Err(error) => why = error,
                    }
                }
                Err(why)
            };
            let (connection, place) = tokio::select! {
                opened = attempt => opened?,
                () = watch.changed() => return Err("the Sentinels changed their minds".to_owned()),
            };
            info!(master = %place, "found");
            watch.connected_to(place);
            Ok(connection)
        }
    }
}

async fn open(
    access: &Access,
    place: &Place,
    budget: Duration,
    within: Duration,
    must_be_master: bool,
) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(within)).set_response_timeout(None);
    let attempt = async {
        let mut connection = access.connect(place, &config).await?;
        super::batch::load(&mut connection).await.map_err(|error| access.why_not_open(place, &error))?;
        let role = match must_be_master {
            true => redis::cmd("ROLE").query_async::<Vec<redis::Value>>(&mut connection).await,
            false => Ok(Vec::new()),
        };
        Ok::<_, String>((connection, role.map_err(|error| why(&error))?))
    };
    let (mut connection, role) = match tokio::time::timeout(within, attempt).await {
        Ok(opened) => opened?,
        Err(_) => return Err(access.why_silent().to_owned()),
    };
    let is_master = |value: &redis::Value| matches!(value, redis::Value::BulkString(role) if role == b"master");
    if must_be_master && !role.first().is_some_and(is_master) {
        return Err("no master any more".to_owned());
    }
    // No slower than requests can wait.
    match tokio::time::timeout(budget.max(PING), redis::cmd("PING").exec_async(&mut connection)).await {
        Ok(Ok(())) => Ok(connection),
        Ok(Err(error)) => Err(why(&error)),
        Err(_) => Err("too slow".to_owned()),
    }
}

/// What sending takes.
#[derive(Clone)]
struct Post<'n> {
    connection: MultiplexedConnection,
    budget: Duration,
    events: Option<&'n mpsc::Sender<NodeEvent>>,
}

impl Post<'_> {
    /// Sends what `letters` ask for; without any, asks only whether Redis is there, and waits so long for a PING.
    async fn send(mut self, mut letters: Vec<Letter>, patience: Duration) -> Health {
        if letters.is_empty() {
            let ping = redis::cmd("PING");
            return match tokio::time::timeout(patience, ping.exec_async(&mut self.connection)).await {
                Ok(Err(error)) if !outlives(&error) => Health::Gone(why(&error)),
                Ok(_) => Health::Alive,
                Err(_) => Health::Gone("no answer in time".to_owned()),
            };
        }
        let now = Instant::now();
        letters.retain(|letter| letter.job.until > now && !letter.job.reply.is_closed());
        if self.events.is_none() {
            return self.call(Way::Together, 0, letters).await;
        }
        // In a Cluster a call's keys must be in one slot; the calls go out together.
        let mut together: BTreeMap<u16, Vec<Letter>> = BTreeMap::new();
        let mut calls = FuturesUnordered::new();
        for letter in letters {
            match letter.way {
                Way::Together => together.entry(letter.slot).or_default().push(letter),
                way => calls.push(self.clone().call(way, letter.slot, vec![letter])),
            }
        }
        calls.extend(together.into_iter().map(|(slot, letters)| self.clone().call(Way::Together, slot, letters)));
        let mut worst = Health::Unknown;
        while let Some(health) = calls.next().await {
            match (&worst, &health) {
                (Health::Gone(_), _) | (_, Health::Unknown) => {}
                (Health::Late, Health::Answered) => {}
                _ => worst = health,
            }
        }
        worst
    }

    async fn call(mut self, way: Way, slot: u16, letters: Vec<Letter>) -> Health {
        if letters.is_empty() {
            return Health::Unknown;
        }
        let jobs: Vec<Job> = letters.into_iter().map(|letter| letter.job).collect();
        let batch = Batch::of(&jobs);
        let called = async {
            match way {
                Way::Asking => batch.call(&mut Asking(self.connection)).await,
                Way::Together | Way::Alone => batch.call(&mut self.connection).await,
            }
        };
        let (answers, health) = match tokio::time::timeout(self.budget, called).await {
            Ok(Ok(after)) => (batch.split(&after), Health::Answered),
            Ok(Err(error)) => {
                if let (Some(events), Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")) = (self.events, error.code())
                {
                    let back = |job| Letter { job, slot, way };
                    // If there is no room the requests learn that there is no answer.
                    let _ = events.try_send(NodeEvent::Misplaced(jobs.into_iter().map(back).collect(), error));
                    return Health::Answered;
                }
                let said = why(&error);
                let answer = if error.code().is_some() { StoreError::Refused(said.clone()) } else { StoreError::Late };
                let health = if outlives(&error) { Health::Answered } else { Health::Gone(said) };
                (vec![Err(answer); jobs.len()], health)
            }
            Err(_) => (vec![Err(StoreError::Late); jobs.len()], Health::Late),
        };
        for (job, answer) in jobs.into_iter().zip(answers) {
            // Nobody waits any more: Envoy has had its error.
            let _ = job.reply.send(answer);
        }
        health
    }
}

/// Whether the connection is still good after `error`. After a failover the old
/// primary answers READONLY: a new connection may find the new one.
fn outlives(error: &RedisError) -> bool {
    let moved = matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH" | "NOPERM"));
    !moved && !error.is_io_error() && !error.is_connection_dropped() && !error.is_timeout() && error.code().is_some()
}
