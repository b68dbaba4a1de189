//! Where is counted: in Redis, or in this process.

use std::time::Duration;

use api::Redacted;

use super::Reader;
use store::OnStoreFailure;
use store::redis::{RedisParts, RedisUrl};

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
    /// By how much at most the ends of keys are spread.
    pub spread: Duration,
}

/// Reads where is counted.
pub fn read(env: &mut Reader<'_>) -> Backend {
    let kind = env.text("BACKEND_TYPE", "redis");
    let used = RedisUse {
        prefix: env.text("CACHE_KEY_PREFIX", "waykeeper:"),
        budget: Duration::from_millis(env.number("REDIS_BUDGET_MS", 50)),
        on_failure: OnStoreFailure::default(),
        spread: Duration::from_secs(env.number("EXPIRATION_JITTER_MAX_SECONDS", 10)),
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
