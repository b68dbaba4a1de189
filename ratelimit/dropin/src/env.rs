//! envoyproxy/ratelimit's environment: what each variable says, and every mistake at once.

pub mod backend;
pub mod known;
pub mod reader;
pub(crate) mod sink;
pub mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime::tls::ServerTls;
use std::time::Duration;

use runtime::otlp::OtlpProtocol;

use super::answer::Policy;
pub use backend::{Backend, RedisUse};
use known::{FAMILIES, TELLING, WITHOUT_EFFECT};
pub use reader::Reader;
pub use sink::{Mogrifier, Sink, Transport};
pub use source::{FilesAt, Source, XdsSettings};

/// Everything the environment says.
#[derive(Debug, Clone)]
pub struct EnvSettings {
    /// Where to serve gRPC.
    pub grpc: Place,
    /// Where to serve `/json` and `/healthcheck`.
    pub http: Place,
    /// Where to serve `/rlconfig`, `/stats` and the admin pages.
    pub debug: Place,
    /// TLS of the gRPC port.
    pub tls: Option<ServerTls>,
    /// After this a connection is asked to end.
    pub max_connection_age: Duration,
    /// And after this besides it is ended.
    pub max_connection_age_grace: Duration,
    /// `LOG_LEVEL` as a filter.
    pub log_filter: String,
    /// Whether to log JSON.
    pub log_json: bool,
    /// Where to send traces.
    pub otlp: Option<Traces>,
    /// Where the configuration comes from.
    pub source: Source,
    /// Several sources may be of one domain.
    pub merge_domains: bool,
    /// Whether to be ready before any configuration is there.
    pub force_start: bool,
    /// Whether to be ready only while there is a domain.
    pub want_a_domain: bool,
    /// How to answer.
    pub policy: Policy,
    /// Where to count.
    pub backend: Backend,
    /// Bytes for counters known to be used up.
    pub local_cache_bytes: usize,
    /// Where statistics go.
    pub sink: Sink,
    /// How often.
    pub flush: Duration,
    /// Added to every statistic.
    pub tags: BTreeMap<String, String>,
    /// Variables without effect, and why.
    pub ignored: Vec<(String, &'static str)>,
}

/// How traces are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Where to.
    pub url: String,
    /// Over what.
    pub protocol: OtlpProtocol,
    /// What the service calls itself, by OpenTelemetry's names.
    pub service: Vec<(&'static str, String)>,
    /// The share that is sent, of what nobody before us decided on; all if none.
    pub sampling: Option<f64>,
}

/// A host and a port, or a socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To be looked up.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Whether `vars` are meant for envoyproxy/ratelimit.
pub fn is_meant(vars: &BTreeMap<String, String>) -> bool {
    TELLING.iter().any(|name| vars.contains_key(*name))
}

/// Reads `vars`.
///
/// # Errors
/// Every mistake, one sentence each.
pub fn read(vars: &BTreeMap<String, String>) -> Result<EnvSettings, Vec<String>> {
    let mut env = Reader::new(vars);
    let grpc = match env.path("GRPC_UDS") {
        Some(path) => Place::Unix(path),
        None => place(&mut env, "GRPC_HOST", "GRPC_PORT", 8081),
    };
    let http = place(&mut env, "HOST", "PORT", 8080);
    let debug = place(&mut env, "DEBUG_HOST", "DEBUG_PORT", 6070);
    let flush = env.duration("STATS_FLUSH_INTERVAL", Duration::from_secs(10));
    let settings = EnvSettings {
        grpc,
        http,
        debug,
        tls: server_tls(&mut env),
        max_connection_age: env.duration("GRPC_MAX_CONNECTION_AGE", Duration::from_secs(24 * 60 * 60)),
        max_connection_age_grace: env.duration("GRPC_MAX_CONNECTION_AGE_GRACE", Duration::from_secs(60 * 60)),
        log_filter: log_filter(&mut env),
        log_json: env.text("LOG_FORMAT", "text").eq_ignore_ascii_case("json"),
        otlp: traces(&mut env),
        source: source::read(&mut env),
        merge_domains: env.flag("MERGE_DOMAIN_CONFIG", false),
        force_start: env.flag("FORCE_START_WITHOUT_INITIAL_CONFIG", false),
        want_a_domain: env.flag("HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED", false),
        policy: policy(&mut env),
        backend: backend::read(&mut env),
        local_cache_bytes: env.number("LOCAL_CACHE_SIZE_IN_BYTES", 0),
        sink: sink::read(&mut env),
        flush: flush.max(Duration::from_millis(100)),
        tags: env.map("EXTRA_TAGS", ':'),
        ignored: Vec::new(),
    };
    if settings.tls.is_some() && matches!(settings.grpc, Place::Unix(_)) {
        env.mistake("GRPC_UDS", "is a socket on this machine and has no TLS: unset it or GRPC_SERVER_USE_TLS");
    }
    let ignored = env.ignored(WITHOUT_EFFECT, &FAMILIES);
    env.finish(EnvSettings { ignored, ..settings })
}

fn place(env: &mut Reader<'_>, host: &'static str, port: &'static str, default: u16) -> Place {
    Place::Tcp(env.text(host, "0.0.0.0"), env.number(port, default))
}

fn server_tls(env: &mut Reader<'_>) -> Option<ServerTls> {
    let wanted = env.flag("GRPC_SERVER_USE_TLS", false);
    let (cert, key) = (env.path("GRPC_SERVER_TLS_CERT"), env.path("GRPC_SERVER_TLS_KEY"));
    let (client_ca, client_san) = (env.path("GRPC_CLIENT_TLS_CACERT"), env.optional("GRPC_CLIENT_TLS_SAN"));
    if !wanted {
        return None;
    }
    if client_san.is_some() && client_ca.is_none() {
        env.mistake("GRPC_CLIENT_TLS_SAN", "has no effect without GRPC_CLIENT_TLS_CACERT: set that as well");
    }
    match (cert, key) {
        (Some(cert), Some(key)) => Some(ServerTls { cert, key, client_ca, client_san }),
        _ => {
            env.mistake("GRPC_SERVER_USE_TLS", "wants GRPC_SERVER_TLS_CERT and GRPC_SERVER_TLS_KEY: set both");
            None
        }
    }
}

/// logrus' levels; anything else is a filter of ours.
fn log_filter(env: &mut Reader<'_>) -> String {
    let level = env.text("LOG_LEVEL", "warn");
    match level.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => "error".to_owned(),
        "warn" | "warning" => "warn".to_owned(),
        other @ ("info" | "debug" | "trace") => other.to_owned(),
        _ => {
            if !level.contains('=') {
                env.mistake("LOG_LEVEL", "is none of error, warn, info, debug, trace");
            }
            level
        }
    }
}

fn traces(env: &mut Reader<'_>) -> Option<Traces> {
    let wanted = env.flag("TRACING_ENABLED", false);
    let protocol = env.text("TRACING_EXPORTER_PROTOCOL", "http");
    let endpoint = env.optional("OTEL_EXPORTER_OTLP_ENDPOINT");
    let sampling: Option<f64> = env.optional_number("TRACING_SAMPLING_RATE");
    if sampling.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        env.mistake("TRACING_SAMPLING_RATE", "is a share: write a number from 0 to 1");
    }
    let named = [
        ("service.name", "TRACING_SERVICE_NAME"),
        ("service.namespace", "TRACING_SERVICE_NAMESPACE"),
        ("service.instance.id", "TRACING_SERVICE_INSTANCE_ID"),
    ];
    let service = named.into_iter().filter_map(|(name, variable)| Some((name, env.optional(variable)?))).collect();
    if !wanted {
        return None;
    }
    let (protocol, usual) = match protocol.as_str() {
        "http" => (OtlpProtocol::HttpProtobuf, "http://127.0.0.1:4318"),
        "grpc" => (OtlpProtocol::Grpc, "http://127.0.0.1:4317"),
        _ => {
            env.mistake("TRACING_EXPORTER_PROTOCOL", "is neither http nor grpc");
            return None;
        }
    };
    let endpoint = endpoint.unwrap_or_else(|| usual.to_owned());
    if !endpoint.starts_with("http://") {
        env.mistake("OTEL_EXPORTER_OTLP_ENDPOINT", "must begin with http://: traces are sent in plain text");
    }
    Some(Traces { url: endpoint, protocol, service, sampling })
}

fn policy(env: &mut Reader<'_>) -> Policy {
    let near: f32 = env.number("NEAR_LIMIT_RATIO", 0.8);
    if !(0.0..=1.0).contains(&near) {
        env.mistake("NEAR_LIMIT_RATIO", "is a share: write a number from 0 to 1");
    }
    let names = [
        ("LIMIT_LIMIT_HEADER", "RateLimit-Limit"),
        ("LIMIT_REMAINING_HEADER", "RateLimit-Remaining"),
        ("LIMIT_RESET_HEADER", "RateLimit-Reset"),
    ];
    let names = names.map(|(name, default)| env.text(name, default));
    Policy {
        shadow: env.flag("SHADOW_MODE", false),
        quota: env.flag("QUOTA_MODE", false),
        near,
        headers: env.flag("LIMIT_RESPONSE_HEADERS_ENABLED", false).then_some(names),
        metadata: env.flag("RESPONSE_DYNAMIC_METADATA", false),
        stop: env.flag("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(text: &str) -> BTreeMap<String, String> {
        text.lines().filter_map(|line| line.trim().split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn what_their_compose_file_says_is_understood() {
        let env = vars(
            "USE_STATSD=false\nLOG_LEVEL=debug\nREDIS_SOCKET_TYPE=tcp\nREDIS_URL=redis:6379\nRUNTIME_ROOT=/data\nRUNTIME_SUBDIRECTORY=ratelimit\nRUNTIME_WATCH_ROOT=false\nCONFIG_TYPE=FILE",
        );
        assert!(is_meant(&env));
        let settings = read(&env).unwrap();
        let files = FilesAt { directory: "/data/ratelimit/config".into(), only: None, ignore_dot_files: false };
        assert_eq!(settings.source, Source::Files(files));
        assert_eq!((settings.log_filter.as_str(), settings.sink), ("debug", Sink::None));
        assert_eq!(settings.grpc, Place::Tcp("0.0.0.0".to_owned(), 8081));
        let Backend::Redis(redis, None, used) = settings.backend else { panic!("Redis, one") };
        assert_eq!((redis.to_string().as_str(), used.budget.as_millis()), ("redis:6379", 50));
        assert!(settings.ignored.is_empty());
    }

    #[test]
    fn every_mistake_is_told_at_once_by_name_and_no_secret_with_it() {
        let env = vars(
            "RUNTIME_ROOT=/data\nPORT=http\nSHADOW_MODE=maybe\nNEAR_LIMIT_RATIO=7\nBACKEND_TYPE=memcache\nCONFIG_TYPE=ETCD\nGRPC_SERVER_USE_TLS=true\nGRPC_MAX_CONNECTION_AGE=1 day\nREDIS_AUTH=canary\nUSE_STATSD=1\nUSE_PROMETHEUS=1",
        );
        let mistakes = read(&env).unwrap_err();
        let names: Vec<&str> = mistakes.iter().filter_map(|mistake| mistake.split(' ').next()).collect();
        for name in [
            "PORT",
            "SHADOW_MODE",
            "NEAR_LIMIT_RATIO",
            "BACKEND_TYPE",
            "CONFIG_TYPE",
            "GRPC_SERVER_USE_TLS",
            "GRPC_MAX_CONNECTION_AGE",
            "USE_STATSD",
        ] {
            assert!(names.contains(&name), "{name}: {mistakes:?}");
        }
        assert!(!format!("{mistakes:?}").contains("canary"));
    }

    #[test]
    fn what_has_no_effect_is_named_and_what_others_set_is_not() {
        let env = vars(
            "RUNTIME_SUBDIRECTORY=x\nREDIS_POOL_SIZE=5\nREDIS_TIEMOUT=1s\nREDIS_PORT=tcp://10.0.0.1:6379\nREDIS_SERVICE_HOST=10.0.0.1\nHOME=/root",
        );
        let ignored = read(&env).unwrap().ignored;
        let names: Vec<&str> = ignored.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["REDIS_POOL_SIZE", "REDIS_TIEMOUT"]);
    }

    #[test]
    fn traces_go_over_http_unless_grpc_is_asked_for() {
        let traced = |more: &str| {
            let env = vars(&format!("RUNTIME_SUBDIRECTORY=x\nBACKEND_TYPE=memory\nTRACING_ENABLED=true\n{more}"));
            read(&env).map(|settings| settings.otlp.unwrap())
        };
        let told =
            traced("TRACING_SERVICE_NAME=mine\nTRACING_SERVICE_NAMESPACE=ours\nTRACING_SAMPLING_RATE=0.25").unwrap();
        assert_eq!(told.service, [("service.name", "mine".to_owned()), ("service.namespace", "ours".to_owned())]);
        assert_eq!(told.sampling, Some(0.25));
        assert!(traced("TRACING_SAMPLING_RATE=2").unwrap_err()[0].starts_with("TRACING_SAMPLING_RATE "));
        let traced = |more: &str| traced(more).map(|told| (told.url, told.protocol));
        assert_eq!(traced("").unwrap(), ("http://127.0.0.1:4318".to_owned(), OtlpProtocol::HttpProtobuf));
        let grpc = "TRACING_EXPORTER_PROTOCOL=grpc\nOTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317";
        assert_eq!(traced(grpc).unwrap(), ("http://collector:4317".to_owned(), OtlpProtocol::Grpc));
        let mistakes = traced("OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4318").unwrap_err();
        assert!(mistakes[0].starts_with("OTEL_EXPORTER_OTLP_ENDPOINT "), "{mistakes:?}");
    }

    #[test]
    fn all_kinds_of_redis_are_read() {
        let env = vars(
            "RUNTIME_SUBDIRECTORY=x\nREDIS_SOCKET_TYPE=tcp\nREDIS_TYPE=SENTINEL\nREDIS_URL=mymaster,a:26379,b:26379\nREDIS_AUTH=me:canary\nREDIS_PERSECOND=true\nREDIS_PERSECOND_TYPE=cluster\nREDIS_PERSECOND_URL=c:1,d:2\nREDIS_PERSECOND_TLS=true\nREDIS_TLS_SKIP_HOSTNAME_VERIFICATION=true",
        );
        let Backend::Redis(main, Some(second), _) = read(&env).unwrap().backend else { panic!("two") };
        assert!(main.to_string().contains("a:26379"), "{main}");
        assert!(second.to_string().contains("d:2"), "{second}");
        assert!(!format!("{main:?} {second:?}").contains("canary"));
    }
}
