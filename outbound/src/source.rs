//! One thing that others know, asked for by key: at most one call for a key at a time, its answer
//! kept for a while, and no calls to a server that keeps failing.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tracing::{debug, error};

use crate::breaker::{self, Breaker};
use crate::cache::{Bounds, Cache};
use crate::{Outcome, Unavailable, Why};

/// How something is fetched. May be asked from any thread, and is not asked twice for a key at the same time.
pub trait Fetch<K, V>: Send + Sync + 'static {
    /// Fetches what belongs to `key`. What comes after `deadline` is not heard.
    fn fetch(&self, key: K, deadline: Instant) -> BoxFuture<'static, Outcome<Fetched<V>>>;
}

impl<K, V, F> Fetch<K, V> for F
where
    F: Fn(K, Instant) -> BoxFuture<'static, Outcome<Fetched<V>>> + Send + Sync + 'static,
{
    fn fetch(&self, key: K, deadline: Instant) -> BoxFuture<'static, Outcome<Fetched<V>>> {
        self(key, deadline)
    }
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched<V> {
    /// The answer.
    pub value: V,
    /// How much room it takes, about.
    pub bytes: usize,
    /// How long it counts. Zero: only for those who asked for it together.
    pub fresh_for: Duration,
}

/// How a source is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who is asked, for logs and errors: a name or an address, nothing that may hold secrets.
    pub who: Arc<str>,
    /// How long one call may take, however long those who wait for it would.
    pub patience: Duration,
    /// How much is kept.
    pub bounds: Bounds,
    /// How long a failure counts as the answer; never longer than [`LONGEST_FAILURE`].
    pub failures_for: Duration,
    /// So many calls for different keys are under way at most.
    pub most_calls: usize,
    /// When the server is left alone.
    pub breaker: breaker::Settings,
}

/// A failure that is over must not go on denying.
pub const LONGEST_FAILURE: Duration = Duration::from_secs(5);

/// What a failure takes in the cache, about.
const FAILURE_BYTES: usize = 256;

impl Settings {
    /// Of `who`, with figures that suit most.
    pub fn new(who: &str) -> Self {
        Self {
            who: who.into(),
            patience: Duration::from_secs(5),
            bounds: Bounds { entries: 10_000, bytes: 16 << 20 },
            failures_for: Duration::from_secs(1),
            most_calls: 256,
            breaker: breaker::Settings::default(),
        }
    }
}

/// Something that others know. Clones share all of it; calls under way end with the last one.
pub struct Source<K: Hash + Eq, V> {
    inner: Arc<Inner<K, V>>,
    /// Calls under way. They are not ended when those who asked stop waiting: the next one is glad of the answer.
    calls: Arc<Mutex<JoinSet<()>>>,
}

struct Inner<K: Hash + Eq, V> {
    settings: Settings,
    fetch: Box<dyn Fetch<K, V>>,
    state: Mutex<State<K, V>>,
}

struct State<K: Hash + Eq, V> {
    cache: Cache<K, Outcome<V>>,
    under_way: HashMap<K, Shared<oneshot::Receiver<Outcome<V>>>>,
    breaker: Breaker,
}

impl<K: Hash + Eq, V> Clone for Source<K, V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), calls: self.calls.clone() }
    }
}

impl<K: Hash + Eq, V> fmt::Debug for Source<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("who", &self.inner.settings.who).finish_non_exhaustive()
    }
}

impl<K, V> Source<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A source that nothing is known of yet.
    pub fn new(settings: Settings, fetch: impl Fetch<K, V>) -> Self {
        let state = State {
            cache: Cache::new(settings.bounds),
            under_way: HashMap::new(),
            breaker: Breaker::new(settings.breaker),
        };
        let inner = Inner { settings, fetch: Box::new(fetch), state: Mutex::new(state) };
        Self { inner: Arc::new(inner), calls: Arc::default() }
    }

    /// What belongs to `key`, by `deadline` at the latest.
    pub async fn ask(&self, key: &K, deadline: Instant) -> Outcome<V> {
        let now = now();
        let waited = match self.inner.begin(key, deadline, now) {
            Begun::Known(outcome) => return outcome,
            Begun::Joined(waited) => waited,
            Begun::Started(waited, answer) => {
                let (inner, key) = (self.inner.clone(), key.clone());
                let mut calls = self.calls.lock();
                while calls.try_join_next().is_some() {}
                calls.spawn(async move { inner.call(key, answer).await });
                waited
            }
        };
        match timeout_at(deadline.into(), waited).await {
            Ok(Ok(outcome)) => outcome,
            // The call ended without a word: its thread is gone.
            Ok(Err(_)) => self.inner.unavailable(Why::Fault, ""),
            Err(_) => self.inner.unavailable(Why::TooLate, ""),
        }
    }

    /// Whether somebody is being asked about `key`.
    pub fn is_under_way(&self, key: &K) -> bool {
        self.inner.state.lock().under_way.contains_key(key)
    }

    /// Forgets what is known of `key`: it turned out to be wrong.
    pub fn forget(&self, key: &K) {
        self.inner.state.lock().cache.forget(key);
    }
}

/// What is done about a question.
enum Begun<V> {
    Known(Outcome<V>),
    Joined(Shared<oneshot::Receiver<Outcome<V>>>),
    Started(Shared<oneshot::Receiver<Outcome<V>>>, oneshot::Sender<Outcome<V>>),
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn begin(&self, key: &K, deadline: Instant, now: Instant) -> Begun<V> {
        let mut state = self.state.lock();
        if let Some(known) = state.cache.get(key, now) {
            return Begun::Known(known);
        }
        if deadline <= now {
            return Begun::Known(self.unavailable(Why::TooLate, ""));
        }
        if let Some(waited) = state.under_way.get(key) {
            return Begun::Joined(waited.clone());
        }
        if state.under_way.len() >= self.settings.most_calls {
            return Begun::Known(self.unavailable(Why::Busy, ""));
        }
        let (answer, waited) = oneshot::channel();
        let waited = waited.shared();
        state.under_way.insert(key.clone(), waited.clone());
        Begun::Started(waited, answer)
    }

    /// One call, from the breaker to the cache.
    async fn call(self: Arc<Self>, key: K, answer: oneshot::Sender<Outcome<V>>) {
        // However this ends, the key must not stay under way.
        let landed = Landed { inner: self.clone(), key: key.clone() };
        let begun = now();
        let admitted = self.state.lock().breaker.admit(begun);
        let outcome = match admitted {
            Err(wait) => {
                let outcome = self.unavailable(Why::Resting, format!("{} ms more", wait.as_millis()));
                drop(landed);
                let _ = answer.send(outcome);
                return;
            }
            Ok(pass) => {
                let outcome = self.fetched(key.clone(), begun + self.settings.patience).await;
                let well = match &outcome {
                    Outcome::Answered(_) => Some(true),
                    Outcome::Unavailable(unavailable) => unavailable.why.is_its_failure().then_some(false),
                };
                // What says nothing of the server changes nothing about it.
                well.into_iter()
                    .zip([pass])
                    .for_each(|(well, pass)| self.state.lock().breaker.heard(pass, well, now()));
                outcome
            }
        };
        let (outcome, bytes, lasts) = match outcome {
            Outcome::Answered(Fetched { value, bytes, fresh_for }) => (Outcome::Answered(value), bytes, fresh_for),
            Outcome::Unavailable(unavailable) => {
                debug!(%unavailable, "asking failed");
                let lasts = self.settings.failures_for.min(LONGEST_FAILURE);
                (Outcome::Unavailable(unavailable), FAILURE_BYTES, lasts)
            }
        };
        // What does not count any more takes the place of nothing that does.
        match lasts.is_zero() {
            true => self.state.lock().cache.forget(&key),
            false => self.state.lock().cache.put(key, outcome.clone(), bytes, now() + lasts),
        }
        // First known, then no longer under way: whoever comes in between finds one of the two.
        drop(landed);
        let _ = answer.send(outcome);
    }

    async fn fetched(&self, key: K, deadline: Instant) -> Outcome<Fetched<V>> {
        let asked = AssertUnwindSafe(async { self.fetch.fetch(key, deadline).await }).catch_unwind();
        match timeout_at(deadline.into(), asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                error!(who = %self.settings.who, "asking panicked");
                Outcome::Unavailable(Unavailable::new(&self.settings.who, Why::Fault, ""))
            }
            Err(_) => Outcome::Unavailable(Unavailable::new(&self.settings.who, Why::TooLate, "")),
        }
    }

    fn unavailable(&self, why: Why, detail: impl Into<Arc<str>>) -> Outcome<V> {
        Outcome::Unavailable(Unavailable::new(&self.settings.who, why, detail))
    }
}

/// Takes the key from those under way when it is dropped.
struct Landed<K: Hash + Eq, V> {
    inner: Arc<Inner<K, V>>,
    key: K,
}

impl<K: Hash + Eq, V> Drop for Landed<K, V> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        let gone = state.under_way.remove(&self.key);
        drop(state);
        drop(gone);
    }
}

/// The time, as the runtime tells it, so that tests may move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
