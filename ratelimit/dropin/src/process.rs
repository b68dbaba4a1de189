//! The process in place of envoyproxy/ratelimit: ports, store, configuration, statistics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::http::header;
use axum::routing::get;
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer;
use runtime::grpc::{Age, GrpcOptions, Services};
use runtime::telemetry::{LogFormat, TelemetryArgs};
use runtime::{Addr, Listener, Process, Shutdown, Stage, Workers};

use super::domains::Domains;
use super::env::{Backend, EnvSettings, Place, RedisUse, Sink, Source};
use super::exhausted::Exhausted;
use super::loading::Loading;
use super::mapping::page::Page;
use super::mapping::{Mapping, file};
use super::service::{Service, Shared};
use super::stats::Stats;
use super::statsd::Statsd;
use super::{files, http, xds};
use rules::bounds::MOST_MESSAGE_BYTES;
use server::SystemClock;
use server::assemble::{DESCRIPTORS, stores};
use server::meters;
use server::service::SERVICE_NAME;
use server::settings::{COUNTERS, StoreSettings};
use store::redis::RedisSettings;
use store::{Store, WhenFull};

/// How long calls under way may take to finish after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the ports wait for Redis.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves until SIGTERM, answering on `workers`.
///
/// # Errors
/// When a port is taken, or the settings cannot be used.
pub async fn run(settings: EnvSettings, workers: Arc<Workers>) -> anyhow::Result<()> {
    let mut process = Process::start(
        "ratelimit",
        &TelemetryArgs {
            log_level: settings.log_filter.clone(),
            log_format: if settings.log_json { LogFormat::Json } else { LogFormat::Text },
            otlp: settings.otlp.as_ref().map(|otlp| otlp.url.clone()),
            otlp_protocol: settings.otlp.as_ref().map_or_else(Default::default, |otlp| otlp.protocol),
            otlp_service: settings.otlp.as_ref().map(|otlp| otlp.service.clone()).unwrap_or_default(),
            otlp_sampling: settings.otlp.as_ref().and_then(|otlp| otlp.sampling),
        },
    )?;
    process.set_drain(Stage::Server, DRAIN);
    for (name, why) in &settings.ignored {
        tracing::warn!(name, why, "a variable without effect");
    }
    build(settings, workers, &mut process).await?;
    process.run().await
}

/// Adds to `process` everything that the environment asks for.
async fn build(settings: EnvSettings, workers: Arc<Workers>, process: &mut Process) -> anyhow::Result<()> {
    meters::describe();
    let mapping = mapping(&settings.sink)?;
    let readiness = process.readiness().clone();
    let (shutdown, behind) = (process.shutdown(Stage::Server), process.shutdown(Stage::Behind));
    let pages_at = listen(&settings.debug).await?;
    let acceptor =
        settings.tls.clone().map(|at| runtime::tls::acceptor(at, process.tasks(Stage::Server))).transpose()?;

    let stats = Stats::new();
    let exhausted = Exhausted::new(settings.local_cache_bytes).map(Arc::new);
    let domains = Arc::new(ArcSwap::from_pointee(Domains::default()));
    let mut loading = Loading::new(&settings, domains.clone(), stats.clone(), &readiness);
    match settings.source.clone() {
        Source::Files(at) => {
            let following = files::follow(at, move |found| loading.load(found), behind.clone());
            process.spawn(Stage::Behind, "configuration", async {
                following.await;
                Ok(())
            });
        }
        Source::Xds(server) => {
            process.spawn(Stage::Behind, "configuration", xds::follow(*server, loading, behind.clone()));
        }
    }

    let (first, more) = stores(store_settings(settings.backend), SystemClock, process, Some(&workers))?;
    // Who connects is to be answered: the ports open when there is where to count, or a little later.
    let stores: Vec<&Store> = std::iter::once(&first).chain(&more).collect();
    let up = async {
        while !stores.iter().all(|store| store.is_up()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, up).await.is_err() {
        tracing::warn!("no connection to Redis yet; until there is one, requests are answered with errors");
    }
    let grpc = listen(&settings.grpc).await?;
    let web = listen(&settings.http).await?;
    let policy = settings.policy;
    let service = |store| {
        let service =
            Service::new(domains.clone(), store, SystemClock, policy.clone(), stats.clone(), exhausted.clone());
        Shared(Arc::new(service))
    };
    let (service, more) = (service(first), more.into_iter().map(service));
    let services = std::iter::once(service.clone()).chain(more);
    let services = services
        .map(|service| {
            Services::hot(RateLimitServiceServer::new(service).max_decoding_message_size(MOST_MESSAGE_BYTES))
        })
        .collect();
    tracing::warn!(grpc = %grpc.local_addr()?, http = %web.local_addr()?, debug = %pages_at.local_addr()?, "listening");

    // That server listens for its operators and everybody else on one address, and lets nobody set a log level there.
    process.serve_admin_without_log_level(pages_at)?;
    process.add_pages(http::debug(domains, stats.clone(), exhausted.clone()));
    process.spawn(Stage::Server, "http", serve(web, http::routes(service, readiness.clone()), shutdown.clone()));
    if let Some(statsd) = Statsd::new(&settings.sink, &settings.tags) {
        let (stats, exhausted) = (stats.clone(), exhausted.clone());
        process.spawn(Stage::Behind, "statsd", async move {
            statsd.run(stats, exhausted, settings.flush, behind).await;
            Ok(())
        });
    }
    if let Sink::Prometheus(place, path, _) = &settings.sink {
        let (listener, telemetry) = (listen(place).await?, process.telemetry().clone());
        let mapped = mapping.map(|mapping| Arc::new(Page::new(mapping, &settings.tags, stats, exhausted)));
        let page = move || async move {
            let text = match mapped {
                // Thousands of names are looked through: not on a thread that answers.
                Some(mapped) => tokio::task::spawn_blocking(move || mapped.text()).await.unwrap_or_default(),
                None => telemetry.render_metrics(),
            };
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
        };
        let pages = axum::Router::new().route(path, get(page));
        process.spawn(Stage::Behind, "prometheus", serve(listener, pages, process.shutdown(Stage::Behind)));
    }
    let options = GrpcOptions {
        health_services: vec!["ratelimit".to_owned(), SERVICE_NAME.to_owned()],
        descriptors: vec![DESCRIPTORS],
        acceptor,
        max_connection_age: Some(Age { most: settings.max_connection_age, grace: settings.max_connection_age_grace }),
    };
    let served = runtime::grpc::serve_on(Some(workers), grpc, services, options, readiness, shutdown);
    process.spawn(Stage::Server, "grpc", served);
    Ok(())
}

/// The mapping file, if there is one; all that is wrong with it in one error.
fn mapping(sink: &Sink) -> anyhow::Result<Option<Mapping>> {
    match sink {
        Sink::Prometheus(_, _, Some(path)) => file::load(path)
            .map(Some)
            .map_err(|mistakes| anyhow::anyhow!("PROMETHEUS_MAPPER_YAML cannot be used:\n{}", mistakes.join("\n"))),
        _ => Ok(None),
    }
}

async fn listen(place: &Place) -> anyhow::Result<Listener> {
    let addr = match place {
        Place::Unix(path) => Addr::Unix(path.clone()),
        Place::Tcp(host, port) => {
            let found: Option<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .with_context(|| format!("looking up {host}"))?
                .next();
            Addr::Tcp(found.with_context(|| format!("{host} has no address"))?)
        }
    };
    Listener::bind(&addr).await
}

async fn serve(listener: Listener, routes: axum::Router, shutdown: Shutdown) -> anyhow::Result<()> {
    let drained = async move { shutdown.begun().await };
    match listener {
        Listener::Tcp(tcp) => axum::serve(tcp, routes).with_graceful_shutdown(drained).await,
        Listener::Unix(unix, _) => axum::serve(unix, routes).with_graceful_shutdown(drained).await,
    }
    .context("serving HTTP")
}

fn store_settings(backend: Backend) -> StoreSettings {
    let (redis, per_second, used) = match backend {
        Backend::Memory => return StoreSettings::Memory { counters: COUNTERS, when_full: WhenFull::default() },
        Backend::Redis(redis, per_second, used) => (redis, per_second, used),
    };
    let RedisUse { prefix, budget, on_failure, spread } = used;
    let settings =
        |url| RedisSettings { prefix: prefix.clone(), budget, on_failure, spread, ..RedisSettings::new(url) };
    let per_second = per_second.map(|url| Box::new(settings(*url)));
    StoreSettings::Redis(Box::new(RedisSettings { per_second, ..settings(*redis) }))
}
