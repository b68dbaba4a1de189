//! Keeps one connection to Redis and sends what requests left, batch by batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use runtime::Shutdown;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::batch::Batch;
use super::{Job, RedisSettings};
use crate::store::StoreError;

/// Requests that go into one script call.
const MOST_IN_BATCH: usize = 256;
/// Calls under way at once. More would make batches smaller, not answers faster.
const MOST_UNDER_WAY: usize = 4;
/// How often an idle connection is tried, so that its end is noticed before a request is.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The pauses between attempts to connect: from the first, doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The task behind a [`super::Redis`].
#[derive(Debug)]
pub struct Driver {
    client: Client,
    script: Script,
    jobs: mpsc::Receiver<Job>,
    up: Arc<AtomicBool>,
    budget: Duration,
    at: String,
}

/// Whether a connection may be used again.
enum Health {
    Good,
    Gone(String),
}

impl Driver {
    pub(super) fn new(
        settings: &RedisSettings,
        jobs: mpsc::Receiver<Job>,
        up: Arc<AtomicBool>,
    ) -> anyhow::Result<Driver> {
        // The library's error is dropped: it could quote the URL.
        let client =
            Client::open(settings.url.info()).map_err(|_| anyhow::anyhow!("cannot use Redis at {}", settings.url))?;
        let at = settings.url.to_string();
        Ok(Driver { client, script: super::batch::script(), jobs, up, budget: settings.budget, at })
    }

    /// How to connect to the same Redis.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Runs until `shutdown` begins, then answers what is still waiting; `connected` is called once, the first time there is
    /// a connection.
    ///
    /// # Errors
    /// Never; an unreachable Redis is tried again for ever.
    pub async fn run(mut self, shutdown: Shutdown, connected: impl FnOnce() + Send) -> anyhow::Result<()> {
        let mut connected = Some(connected);
        let mut pause = PAUSES.0;
        let mut complained = false;
        while !shutdown.is_begun() {
            let connection = tokio::select! {
                connection = self.connect() => connection,
                () = shutdown.begun() => break,
            };
            match connection {
                Ok(connection) => {
                    info!(redis = self.at, "connected");
                    if let Some(connected) = connected.take() {
                        connected();
                    }
                    complained = false;
                    let since = Instant::now();
                    let why = self.serve(connection, &shutdown).await;
                    if since.elapsed() > Duration::from_secs(1) {
                        pause = PAUSES.0;
                    }
                    if let Some(why) = why {
                        warn!(redis = self.at, why, "connection given up, reconnecting");
                    }
                }
                Err(why) if !complained => {
                    complained = true;
                    warn!(redis = self.at, why, "cannot connect, trying again");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.begun() => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
        self.up.store(false, Ordering::Release);
        Ok(())
    }

    /// A connection that has answered.
    async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let attempt = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            // Loads the script, so that the first batch does not take two round trips.
            self.script.load_async(&mut connection).await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        match tokio::time::timeout(CONNECT, attempt).await {
            Ok(connection) => connection.map_err(|error| in_a_word(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Sends batches until the connection fails, and says why, or shutdown begins.
    async fn serve(&mut self, connection: MultiplexedConnection, shutdown: &Shutdown) -> Option<String> {
        self.up.store(true, Ordering::Release);
        let mut under_way = FuturesUnordered::new();
        let mut waiting: Vec<Job> = Vec::new();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let why = loop {
            tokio::select! {
                Some(health) = under_way.next() => if let Health::Gone(why) = health { break Some(why) },
                n = self.jobs.recv_many(&mut waiting, MOST_IN_BATCH), if under_way.len() < MOST_UNDER_WAY => {
                    if n == 0 {
                        break None;
                    }
                    let jobs = std::mem::take(&mut waiting);
                    under_way.push(send(connection.clone(), &self.script, jobs, self.budget));
                }
                _ = heartbeat.tick(), if under_way.is_empty() => {
                    under_way.push(send(connection.clone(), &self.script, Vec::new(), self.budget));
                }
                () = shutdown.begun(), if self.jobs.is_empty() && under_way.is_empty() => break None,
            }
        };
        self.up.store(false, Ordering::Release);
        // Dropping what is under way and what waits tells its requests that there is no answer.
        drop(under_way);
        while self.jobs.try_recv().is_ok() {}
        why
    }
}

/// Sends what `jobs` ask for; without any, asks only whether Redis is there.
async fn send(mut connection: MultiplexedConnection, script: &Script, mut jobs: Vec<Job>, budget: Duration) -> Health {
    if jobs.is_empty() {
        return match tokio::time::timeout(budget, redis::cmd("PING").exec_async(&mut connection)).await {
            Ok(Err(error)) if !outlives(&error) => Health::Gone(in_a_word(&error)),
            Ok(_) => Health::Good,
            Err(_) => Health::Gone("no answer in time".to_owned()),
        };
    }
    let now = Instant::now();
    jobs.retain(|job| job.until > now && !job.reply.is_closed());
    if jobs.is_empty() {
        return Health::Good;
    }
    let batch = Batch::of(&jobs);
    let (answers, health) = match tokio::time::timeout(budget, batch.call(script, &mut connection)).await {
        Ok(Ok(after)) => (batch.split(&after), Health::Good),
        Ok(Err(error)) => {
            let why = in_a_word(&error);
            let health = if outlives(&error) { Health::Good } else { Health::Gone(why.clone()) };
            (vec![Err(StoreError::Refused(why)); jobs.len()], health)
        }
        Err(_) => (vec![Err(StoreError::Late); jobs.len()], Health::Gone("no answer in time".to_owned())),
    };
    for (job, answer) in jobs.into_iter().zip(answers) {
        // Nobody waits any more: Envoy has had its error.
        let _ = job.reply.send(answer);
    }
    health
}

/// Whether the connection is still good after `error`. After a failover the old
/// primary answers READONLY: a new connection may find the new one.
fn outlives(error: &RedisError) -> bool {
    let moved =
        matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH" | "NOPERM" | "CLUSTERDOWN"));
    !moved && !error.is_io_error() && !error.is_connection_dropped() && !error.is_timeout() && error.code().is_some()
}

/// An error's kind and nothing that could hold a key or a password.
fn in_a_word(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None => format!("{:?}", error.kind()),
    }
}
