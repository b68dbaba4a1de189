//! envoyproxy/ratelimit's environment: what each variable says, and every mistake at once.

pub mod reader;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use api::Redacted;

use crate::store::OnStoreFailure;
use crate::store::redis::{RedisParts, RedisUrl};

use super::answer::Policy;
pub use reader::Reader;

/// Variables only that server has: one of them, and no arguments, means that we are to be it.
const TELLING: [&str; 12] = [
    "RUNTIME_ROOT",
    "RUNTIME_SUBDIRECTORY",
    "RUNTIME_APPDIRECTORY",
    "RUNTIME_WATCH_ROOT",
    "RUNTIME_IGNOREDOTFILES",
    "CONFIG_TYPE",
    "CONFIG_GRPC_XDS_SERVER_URL",
    "BACKEND_TYPE",
    "REDIS_SOCKET_TYPE",
    "USE_STATSD",
    "USE_PROMETHEUS",
    "FORCE_START_WITHOUT_INITIAL_CONFIG",
];

/// Variables that are read there and have no effect here, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("REDIS_POOL_SIZE", "commands share pipelined connections"),
    ("REDIS_PERSECOND_POOL_SIZE", "commands share pipelined connections"),
    ("REDIS_POOL_ON_EMPTY_BEHAVIOR", "there is no pool to be empty"),
    ("REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR", "there is no pool to be empty"),
    ("REDIS_PIPELINE_WINDOW", "what waits is sent together, without a window"),
    ("REDIS_PIPELINE_LIMIT", "what waits is sent together, without a limit"),
    ("REDIS_PERSECOND_PIPELINE_WINDOW", "what waits is sent together, without a window"),
    ("REDIS_PERSECOND_PIPELINE_LIMIT", "what waits is sent together, without a limit"),
    ("REDIS_CLUSTER_PIPELINE_PARALLELISM", "all nodes are asked at once"),
    ("REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM", "all nodes are asked at once"),
    ("EXPIRATION_JITTER_MAX_SECONDS", "the ends of keys are spread over 10 seconds"),
    ("REDIS_TIMEOUT", "REDIS_BUDGET_MS bounds a request's wait"),
    ("REDIS_PERSECOND_TIMEOUT", "REDIS_BUDGET_MS bounds a request's wait"),
    ("REDIS_HEALTH_CHECK_ACTIVE_CONNECTION", "readiness waits for Redis in any case"),
    ("REDIS_STARTUP_INITIAL_INTERVAL", "connecting is tried until it works"),
    ("REDIS_STARTUP_MAX_INTERVAL", "connecting is tried until it works"),
    ("REDIS_STARTUP_MAX_ELAPSED_TIME", "connecting is tried until it works"),
    ("PROMETHEUS_MAPPER_YAML", "metrics have that server's default names"),
    ("PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS", "response times are in seconds"),
    ("XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "waits are doubled, and spread by half"),
    ("XDS_CLIENT_BACKOFF_JITTER", "waits are doubled, and spread by half"),
    ("TRACING_SERVICE_NAMESPACE", "set OTEL_RESOURCE_ATTRIBUTES"),
    ("TRACING_SERVICE_INSTANCE_ID", "set OTEL_RESOURCE_ATTRIBUTES"),
    ("TRACING_SAMPLING_RATE", "set OTEL_TRACES_SAMPLER"),
    ("TRACING_SERVICE_NAME", "set OTEL_SERVICE_NAME"),
    ("GOSTATS_FLUSH_INTERVAL_SECONDS", "STATS_FLUSH_INTERVAL is used"),
    ("GOSTATS_LOGGING_SINK_DISABLED", "statistics are not logged"),
];

/// Beginnings of that server's variables: others that begin so are told of, as they may be misspelt.
const FAMILIES: [&str; 12] = [
    "REDIS_",
    "MEMCACHE_",
    "GRPC_SERVER_",
    "GRPC_CLIENT_TLS_",
    "GRPC_MAX_",
    "CONFIG_GRPC_XDS_",
    "XDS_CLIENT_",
    "RUNTIME_",
    "LIMIT_",
    "TRACING_",
    "STATSD_",
    "PROMETHEUS_",
];

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
    pub otlp: Option<String>,
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

/// A host and a port, or a socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To be looked up.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// TLS of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificates, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// Who signs clients' certificates; none are asked for without.
    pub client_ca: Option<PathBuf>,
    /// The name a client's certificate must have.
    pub client_san: Option<String>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files below a directory.
    Files(FilesAt),
    /// A management server.
    Xds(Box<XdsSettings>),
}

/// Which files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesAt {
    /// What is walked.
    pub directory: PathBuf,
    /// Of what is found, only names that begin with this and a dot; folders count as dots.
    pub only: Option<String>,
    /// Leave out what begins with a dot.
    pub ignore_dot_files: bool,
}

/// How a management server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsSettings {
    /// `host:port`.
    pub server: String,
    /// Who we are.
    pub node_id: String,
    /// What we say of ourselves.
    pub node_metadata: BTreeMap<String, String>,
    /// Sent with the stream.
    pub headers: BTreeMap<String, String>,
    /// TLS; none, plaintext.
    pub tls: Option<ClientTls>,
    /// The first wait before connecting again, and the longest.
    pub backoff: (Duration, Duration),
    /// How large a message may be.
    pub most_bytes: Option<usize>,
}

/// TLS of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Our certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who signs the server's; the system's authorities without.
    pub ca: Option<PathBuf>,
    /// The name the server's certificate must have.
    pub san: Option<String>,
}

/// Where to count.
#[derive(Debug, Clone)]
pub enum Backend {
    /// In this process: a word of our own for `BACKEND_TYPE`.
    Memory,
    /// In Redis, and limits by the second perhaps in another.
    Redis(Box<RedisUrl>, Option<Box<RedisUrl>>, RedisUse),
}

/// What is the same for every Redis.
#[derive(Debug, Clone)]
pub struct RedisUse {
    /// What keys begin with.
    pub prefix: String,
    /// How long a request may wait.
    pub budget: Duration,
    /// What is answered while Redis fails.
    pub on_failure: OnStoreFailure,
}

/// Where statistics go, besides the metrics page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Nowhere.
    None,
    /// A Prometheus page of its own.
    Prometheus(Place, String),
    /// `host:port`, and whether by UDP.
    Statsd(String, Transport),
    /// `host:port`; names and tags may be made over.
    DogStatsd(String, Vec<Mogrifier>),
}

/// How statsd is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A connection, that server's default.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Makes a name over into another with tags, where it matches.
#[derive(Debug, Clone)]
pub struct Mogrifier {
    /// What it matches.
    pub pattern: regex::Regex,
    /// The new name, in which `$1` stands for the first group.
    pub name: String,
    /// The same for tags.
    pub tags: BTreeMap<String, String>,
}

impl PartialEq for Mogrifier {
    fn eq(&self, other: &Self) -> bool {
        (self.pattern.as_str(), &self.name, &self.tags) == (other.pattern.as_str(), &other.name, &other.tags)
    }
}

impl Eq for Mogrifier {}

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
        source: source(&mut env),
        merge_domains: env.flag("MERGE_DOMAIN_CONFIG", false),
        force_start: env.flag("FORCE_START_WITHOUT_INITIAL_CONFIG", false),
        want_a_domain: env.flag("HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED", false),
        policy: policy(&mut env),
        backend: backend(&mut env),
        local_cache_bytes: env.number("LOCAL_CACHE_SIZE_IN_BYTES", 0),
        sink: sink(&mut env),
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

fn traces(env: &mut Reader<'_>) -> Option<String> {
    let wanted = env.flag("TRACING_ENABLED", false);
    let protocol = env.text("TRACING_EXPORTER_PROTOCOL", "http");
    let endpoint = env.optional("OTEL_EXPORTER_OTLP_ENDPOINT");
    if !wanted {
        return None;
    }
    if protocol.eq_ignore_ascii_case("grpc") {
        return Some(endpoint.unwrap_or_else(|| "http://127.0.0.1:4317".to_owned()));
    }
    env.mistake(
        "TRACING_EXPORTER_PROTOCOL",
        "can only be grpc here: set it, and the collector's gRPC port, usually 4317",
    );
    None
}

fn source(env: &mut Reader<'_>) -> Source {
    let kind = env.text("CONFIG_TYPE", "FILE");
    let files = files(env, kind == "FILE");
    let xds = xds(env);
    match kind.as_str() {
        "FILE" => Source::Files(files),
        "GRPC_XDS_SOTW" => Source::Xds(Box::new(xds)),
        _ => {
            env.mistake("CONFIG_TYPE", "is neither FILE nor GRPC_XDS_SOTW");
            Source::Files(files)
        }
    }
}

fn files(env: &mut Reader<'_>, used: bool) -> FilesAt {
    let root = PathBuf::from(env.text("RUNTIME_ROOT", "/srv/runtime_data/current"));
    let sub = env.text("RUNTIME_SUBDIRECTORY", "");
    let app = env.text("RUNTIME_APPDIRECTORY", "config");
    let ignore_dot_files = env.flag("RUNTIME_IGNOREDOTFILES", false);
    let watch_root = env.flag("RUNTIME_WATCH_ROOT", true);
    if watch_root {
        if sub.is_empty() && used {
            env.mistake(
                "RUNTIME_SUBDIRECTORY",
                "is not set, so nothing would be limited: name the folder in RUNTIME_ROOT",
            );
        }
        FilesAt { directory: root.join(sub), only: Some(app), ignore_dot_files }
    } else {
        FilesAt { directory: root.join(sub).join(app), only: None, ignore_dot_files }
    }
}

fn xds(env: &mut Reader<'_>) -> XdsSettings {
    let tls = env.flag("CONFIG_GRPC_XDS_SERVER_USE_TLS", false);
    let identity = env.pair("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", "CONFIG_GRPC_XDS_CLIENT_TLS_KEY");
    let client = ClientTls {
        identity,
        ca: env.path("CONFIG_GRPC_XDS_SERVER_TLS_CACERT"),
        san: env.optional("CONFIG_GRPC_XDS_SERVER_TLS_SAN"),
    };
    if tls && client.ca.is_none() {
        env.mistake("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", "is not set: name the file with the authorities to trust");
    }
    let first = env.duration("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", Duration::from_secs(10));
    let longest = env.duration("XDS_CLIENT_BACKOFF_MAX_INTERVAL", Duration::from_secs(60));
    let retry = env.duration("CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL", Duration::from_secs(3));
    XdsSettings {
        server: env.text("CONFIG_GRPC_XDS_SERVER_URL", "localhost:18000"),
        node_id: env.text("CONFIG_GRPC_XDS_NODE_ID", "default"),
        node_metadata: env.map("CONFIG_GRPC_XDS_NODE_METADATA", '='),
        headers: env.map("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", ':'),
        tls: tls.then_some(client),
        backoff: (first.min(retry), longest.max(first)),
        most_bytes: env.optional_number("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES"),
    }
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

fn backend(env: &mut Reader<'_>) -> Backend {
    let kind = env.text("BACKEND_TYPE", "redis");
    let used = RedisUse {
        prefix: env.text("CACHE_KEY_PREFIX", "waykeeper:"),
        budget: Duration::from_millis(env.number("REDIS_BUDGET_MS", 50)),
        on_failure: OnStoreFailure::default(),
    };
    let shared = RedisParts {
        client_cert: env.path("REDIS_TLS_CLIENT_CERT"),
        client_key: env.path("REDIS_TLS_CLIENT_KEY"),
        ca: env.path("REDIS_TLS_CACERT"),
        skip_hostname_verification: env.flag("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", false),
        ..RedisParts::default()
    };
    let per_second = env.flag("REDIS_PERSECOND", false);
    let main = redis(env, "REDIS_", "/var/run/nutcracker/ratelimit.sock", &shared, kind == "redis");
    let default = "/var/run/nutcracker/ratelimitpersecond.sock";
    let second = redis(env, "REDIS_PERSECOND_", default, &shared, kind == "redis" && per_second);
    match (kind.as_str(), main) {
        ("redis", Some(main)) => Backend::Redis(Box::new(main), second.map(Box::new), used),
        ("memory" | "redis", _) => Backend::Memory,
        ("memcache", _) => {
            env.mistake("BACKEND_TYPE", "memcache is not supported: write redis, or memory for one server alone");
            Backend::Memory
        }
        _ => {
            env.mistake("BACKEND_TYPE", "is neither redis nor memory");
            Backend::Memory
        }
    }
}

/// The Redis of the variables that begin with `prefix`, where it is used.
fn redis(env: &mut Reader<'_>, prefix: &str, default: &str, shared: &RedisParts, used: bool) -> Option<RedisUrl> {
    let name = |rest: &str| format!("{prefix}{rest}");
    let parts = RedisParts {
        kind: env.text(&name("TYPE"), "SINGLE"),
        socket_type: env.text(&name("SOCKET_TYPE"), "unix"),
        url: env.text(&name("URL"), default),
        auth: env.optional(&name("AUTH")).map(Redacted::new),
        sentinel_auth: env.optional(&name("SENTINEL_AUTH")).map(Redacted::new),
        tls: env.flag(&name("TLS"), false),
        ..shared.clone()
    };
    if !used {
        return None;
    }
    // That server looks at the kind of socket only where there is one server.
    let several = !parts.kind.eq_ignore_ascii_case("single");
    let socket_type = if several { "tcp".to_owned() } else { parts.socket_type.clone() };
    match RedisUrl::from_parts(&RedisParts { socket_type, ..parts }, prefix) {
        Ok(url) => Some(url),
        Err(mistakes) => {
            mistakes.into_iter().for_each(|mistake| env.complain(mistake));
            None
        }
    }
}

fn sink(env: &mut Reader<'_>) -> Sink {
    let off = env.flag("DISABLE_STATS", false);
    let dog = env.flag("USE_DOG_STATSD", false);
    let prometheus = env.flag("USE_PROMETHEUS", false);
    // That server's default gives way to what is asked for.
    let statsd = env.flag("USE_STATSD", !dog && !prometheus);
    let address = format!("{}:{}", env.text("STATSD_HOST", "localhost"), env.number::<u16>("STATSD_PORT", 8125));
    let transport = match env.text("STATSD_PROTOCOL", "tcp").as_str() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => {
            env.mistake("STATSD_PROTOCOL", "is neither tcp nor udp");
            Transport::Tcp
        }
    };
    let page = env.text("PROMETHEUS_PATH", "/metrics");
    let at = env.address("PROMETHEUS_ADDR", ":9090");
    let mogrifiers = mogrifiers(env);
    if [dog, prometheus, statsd].into_iter().filter(|on| *on).count() > 1 {
        env.mistake("USE_STATSD", "set one of USE_DOG_STATSD, USE_STATSD, USE_PROMETHEUS, not several");
    }
    if off {
        Sink::None
    } else if dog {
        Sink::DogStatsd(address, mogrifiers)
    } else if prometheus {
        Sink::Prometheus(at, page)
    } else if statsd {
        Sink::Statsd(address, transport)
    } else {
        Sink::None
    }
}

fn mogrifiers(env: &mut Reader<'_>) -> Vec<Mogrifier> {
    let keys = env.list("USE_DOG_STATSD_MOGRIFIERS");
    let one = |key: String| {
        let of = |what: &str| format!("DOG_STATSD_MOGRIFIER_{key}_{what}");
        let (pattern, name, tags) = (of("PATTERN"), of("NAME"), of("TAGS"));
        let text = env.optional(&pattern);
        let new_name = env.optional(&name);
        let tags = env.map(&tags, ':');
        let Some(text) = text else {
            env.mistake(&pattern, "is not set, though USE_DOG_STATSD_MOGRIFIERS names it");
            return None;
        };
        let Some(new_name) = new_name else {
            env.mistake(&name, "is not set, though USE_DOG_STATSD_MOGRIFIERS names it");
            return None;
        };
        match regex::Regex::new(&text) {
            Ok(regex) => Some(Mogrifier { pattern: regex, name: new_name, tags }),
            Err(error) => {
                env.mistake(&pattern, &format!("is no regular expression: {error}"));
                None
            }
        }
    };
    keys.into_iter().filter_map(one).collect()
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
