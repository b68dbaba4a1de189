//! The names of envoyproxy/ratelimit's variables: which tell that it is meant, which have no effect, how all begin.

/// Variables only that server has: one of them, and no arguments, means that we are to be it.
pub const TELLING: [&str; 12] = [
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
pub(crate) const WITHOUT_EFFECT: &[(&str, &str)] = &[
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
    ("REDIS_TIMEOUT", "REDIS_BUDGET_MS bounds a request's wait"),
    ("REDIS_PERSECOND_TIMEOUT", "REDIS_BUDGET_MS bounds a request's wait"),
    ("REDIS_HEALTH_CHECK_ACTIVE_CONNECTION", "readiness waits for Redis in any case"),
    ("REDIS_STARTUP_INITIAL_INTERVAL", "connecting is tried until it works"),
    ("REDIS_STARTUP_MAX_INTERVAL", "connecting is tried until it works"),
    ("REDIS_STARTUP_MAX_ELAPSED_TIME", "connecting is tried until it works"),
    ("PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS", "response times are in seconds"),
    ("XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "waits are doubled, and spread by half"),
    ("XDS_CLIENT_BACKOFF_JITTER", "waits are doubled, and spread by half"),
    ("GOSTATS_FLUSH_INTERVAL_SECONDS", "STATS_FLUSH_INTERVAL is used"),
    ("GOSTATS_LOGGING_SINK_DISABLED", "statistics are not logged"),
];

/// Beginnings of that server's variables: others that begin so are told of, as they may be misspelt.
pub(crate) const FAMILIES: [&str; 12] = [
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
