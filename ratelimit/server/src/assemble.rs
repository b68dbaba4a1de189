//! Puts the service together: store, configuration and gRPC, in whatever process it is to run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::Snapshot;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use proto::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_server::RateLimitQuotaServiceServer;
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer;
use provider::StatusBoard;
use runtime::follow::{Follower, follow};
use runtime::grpc::{Age, GrpcOptions, Services};
use runtime::{Gate, Listener, Process, Shutdown, Stage, Workers};
use tokio::sync::watch;

use crate::book::Book;
use crate::clock::{Clock, SystemClock};
use crate::explain;
use crate::explain::gauges::Gauges;
use crate::explain::http::Counting;
use crate::quota::service::{Quotas, SERVICE_NAME as QUOTA_SERVICE_NAME};
use crate::service::{SERVICE_NAME, Service};
use crate::settings::{COUNTERS, Settings, StoreSettings};
use crate::{debug, meters};
use rules::bounds::MOST_MESSAGE_BYTES;
use rules::config;
use rules::config::{AUTHOR, Configs, Index, Outcome, Scope};
use store::{Memory, Redis, Resilient, Store};

/// The schema of the service, for gRPC reflection; made by `proto/examples/generate_descriptors.rs`.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/ratelimit.bin");

/// How long after its time a connection may finish its calls.
const AGE_GRACE: Duration = Duration::from_secs(60);

/// How often it is told who has no room for counters.
const TELL: Duration = Duration::from_secs(1);
/// The author of those statements on the status board.
const SHARES_AUTHOR: &str = "ratelimit-counters";

/// How often ended counters in memory are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// Adds to `process` what answers at `listener`, its pages and its metrics.
///
/// The process is ready once the first snapshot is compiled and, if counters are in Redis, the first
/// connection is made.
///
/// # Errors
/// When the settings cannot be used.
pub fn build(
    settings: Settings,
    listener: Listener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<()> {
    build_with_clock(settings, SystemClock, listener, snapshots, board, process)
}

/// [`build`], with the time taken from `clock`.
///
/// # Errors
/// When the settings cannot be used.
pub fn build_with_clock(
    settings: Settings,
    clock: impl Clock + Clone,
    listener: Listener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    board: StatusBoard,
    process: &mut Process,
) -> anyhow::Result<()> {
    meters::describe();
    let scope = Scope {
        domains: settings.domains.iter().map(|domain| domain.as_str().into()).collect(),
        weights: settings.weights,
    };
    let configs = Configs::new(scope.clone()).keeping_removed(settings.removed_grace);
    let index = Arc::new(ArcSwap::from_pointee(Index::not_loaded(scope)));
    let behind = process.shutdown(Stage::Behind);
    let following = Following {
        configs: Mutex::new(configs),
        board: board.clone(),
        index: index.clone(),
        gate: Mutex::new(Some(process.readiness().gate("rate-limit configuration"))),
    };
    process.spawn(Stage::Behind, "ratelimit-config", follow(Arc::new(following), snapshots, behind.clone()));
    let (store, more) = stores(settings.store, clock.clone(), process, settings.workers.as_ref())?;
    if let Store::Memory(memory) = &store {
        process.spawn(Stage::Behind, "ratelimit-shares", tell_of_shares(memory.clone(), board, behind));
    }
    let (store, book) = (Arc::new(store), Arc::new(Book::default()));
    let counting =
        Counting { index: index.clone(), store: store.clone(), book: book.clone(), clock: Arc::new(clock.clone()) };
    let gauges = Gauges::new(counting.clone(), settings.gauges);
    process.add_metrics(move || gauges.clone().into_text());
    process.add_pages(debug::routes(index.clone()));
    process.add_pages(explain::http::routes(counting, process.admin_address()));
    let shutdown = process.shutdown(Stage::Server);
    let quotas = Quotas::new(index.clone(), settings.quota_replicas, clock.clone(), shutdown.clone());
    process.spawn(Stage::Server, "ratelimit-quotas", quotas.clone().run());
    let services = |store| {
        let service = Service::new(index.clone(), store, clock.clone()).noting(book.clone());
        Services::hot(RateLimitServiceServer::new(service).max_decoding_message_size(MOST_MESSAGE_BYTES))
            .add_service(RateLimitQuotaServiceServer::new(quotas.clone()))
    };
    let services = std::iter::once(store).chain(more.into_iter().map(Arc::new)).map(services).collect();
    let options = GrpcOptions {
        health_services: vec!["ratelimit".to_owned(), SERVICE_NAME.to_owned(), QUOTA_SERVICE_NAME.to_owned()],
        descriptors: vec![DESCRIPTORS],
        acceptor: settings.tls.map(|at| runtime::tls::acceptor(at, process.tasks(Stage::Server))).transpose()?,
        max_connection_age: settings.max_connection_age.map(|most| Age { most, grace: AGE_GRACE }),
    };
    let readiness = process.readiness().clone();
    let served = runtime::grpc::serve_on(settings.workers, listener, services, options, readiness, shutdown);
    process.spawn(Stage::Server, "ratelimit", served);
    Ok(())
}

/// The store that `settings` describe: the first worker's way to it, and those of the others. In Redis each worker
/// counts through connections of its own. What keeps it going stands behind the servers: whoever is let in
/// until the last moment is counted until the last moment.
pub fn stores(
    settings: StoreSettings,
    clock: impl Clock,
    process: &mut Process,
    workers: Option<&Arc<Workers>>,
) -> anyhow::Result<(Store, Vec<Store>)> {
    let shutdown = process.shutdown(Stage::Behind);
    let others = 1..workers.map_or(1, |workers| workers.count());
    Ok(match settings {
        StoreSettings::Memory { counters, when_full } => {
            let memory = Arc::new(Memory::with(counters, when_full));
            process.spawn(Stage::Behind, "ratelimit-sweep", sweep(memory.clone(), clock, shutdown));
            (Store::Memory(memory.clone()), others.map(|_| Store::Memory(memory.clone())).collect())
        }
        StoreSettings::Redis(settings) => {
            let on_failure = settings.on_failure;
            let mut connect = |worker| {
                let gate = process.readiness().gate(format!("redis at {}", settings.url));
                let (redis, driver) = Redis::new((*settings).clone())?;
                let driving = driver.run(shutdown.clone(), || gate.open());
                match workers {
                    None => process.spawn(Stage::Behind, "ratelimit-redis", driving),
                    Some(workers) => {
                        let driving = workers.run(worker, driving);
                        process.spawn(Stage::Behind, "ratelimit-redis", async { driving.await? });
                    }
                }
                anyhow::Ok(redis)
            };
            let first = Resilient::new(connect(0)?, on_failure, COUNTERS);
            let other = |worker| Ok(Store::Redis(Box::new(first.beside(connect(worker)?))));
            let others = others.map(other).collect::<anyhow::Result<_>>()?;
            process.spawn(Stage::Behind, "ratelimit-sweep", sweep(first.local().clone(), clock, shutdown));
            (Store::Redis(Box::new(first)), others)
        }
    })
}

/// Puts snapshots into service.
struct Following {
    configs: Mutex<Configs>,
    board: StatusBoard,
    index: Arc<ArcSwap<Index>>,
    gate: Mutex<Option<Gate>>,
}

impl Follower for Following {
    type Declared = Snapshot;
    type Made = (u64, Configs, Outcome);

    fn make(&self, snapshot: &Arc<Snapshot>, now: Instant) -> Option<Self::Made> {
        // What could not be read may be a limit: until it can, there are no rules to answer by.
        if snapshot.revision == 0 || !snapshot.withheld.is_empty() {
            return None;
        }
        // A copy: one that panics halfway is thrown away.
        let mut configs = self.configs.lock().clone();
        let outcome = configs.update_at(snapshot, now);
        Some((snapshot.revision, configs, outcome))
    }

    async fn install(&self, (revision, configs, outcome): Self::Made) {
        *self.configs.lock() = configs;
        let Outcome { index, report, refused } = outcome;
        self.index.store(Arc::new(index));
        meters::loaded(refused);
        tracing::debug!(revision, configs = report.len(), refused, "loaded");
        self.board.publish(AUTHOR, report);
        self.board.serves(AUTHOR, revision);
        if let Some(gate) = self.gate.lock().take() {
            gate.open();
        }
    }

    fn again(&self) -> Option<Instant> {
        self.configs.lock().due()
    }
}

/// Says on the objects which of them have no room for more counters, and in metrics how much is taken.
async fn tell_of_shares(memory: Arc<Memory>, board: StatusBoard, shutdown: Shutdown) -> anyhow::Result<()> {
    let room = ["most", "counters", "buckets"].map(|what| metrics::gauge!("ratelimit_memory_counters", "of" => what));
    loop {
        for (gauge, number) in room.iter().zip(memory.fill()) {
            gauge.set(number as f64);
        }
        board.publish(SHARES_AUTHOR, config::short_of_room(&memory.short()));
        tokio::select! {
            () = tokio::time::sleep(TELL) => {}
            () = shutdown.begun() => return Ok(()),
        }
    }
}

async fn sweep(memory: Arc<Memory>, clock: impl Clock, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            // A million counters are looked through: not on a thread that answers.
            () = tokio::time::sleep(SWEEP) => {
                let (memory, now) = (memory.clone(), clock.now().secs());
                tokio::task::spawn_blocking(move || memory.sweep(now)).await.context("forgetting ended counters")?;
            }
            () = shutdown.begun() => return Ok(()),
        }
    }
}
