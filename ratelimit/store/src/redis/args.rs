//! How a process is told about its Redis.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::access::{Login, Tls};
use super::{OnStoreFailure, RedisSettings, RedisUrl, Together};

/// Redis and what is answered while it fails.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Redis to count in (else memory): redis[s][+cluster|+sentinel]://…, unix:PATH.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis: Option<RedisUrl>,
    /// One for windows of a second or less.
    #[arg(long, env = "REDIS_PERSECOND_URL", hide_env_values = true, value_name = "URL", requires = "redis")]
    pub redis_per_second: Option<RedisUrl>,
    /// What keys begin with.
    #[arg(long, env = "REDIS_PREFIX", default_value = "waykeeper:", value_name = "TEXT")]
    pub redis_prefix: String,
    /// Milliseconds a request may wait for Redis.
    #[arg(long, env = "REDIS_BUDGET_MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "MS")]
    pub redis_budget_ms: u64,
    /// What a Cluster decides in one step.
    #[arg(long, env = "REDIS_TOGETHER", value_name = "WHAT", value_enum, default_value_t = Tag::Counter)]
    pub redis_together: Tag,
    /// What is answered while Redis fails.
    #[arg(long, env = "REDIS_ON_FAILURE", value_name = "ANSWER", value_enum, default_value_t = Answer::Error)]
    pub redis_on_failure: Answer,
    /// How many processes share the limits, for local.
    #[arg(long, env = "REDIS_REPLICAS", default_value_t = NonZeroU32::MIN, value_name = "N")]
    pub redis_replicas: NonZeroU32,
    /// PEM: the authorities to trust instead of the system's.
    #[arg(long, env = "REDIS_TLS_CACERT", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    /// A PEM file with our certificate.
    #[arg(long, env = "REDIS_TLS_CLIENT_CERT", value_name = "FILE", requires = "redis_client_key")]
    pub redis_client_cert: Option<PathBuf>,
    /// A PEM file with its key.
    #[arg(long, env = "REDIS_TLS_CLIENT_KEY", value_name = "FILE", requires = "redis_client_cert")]
    pub redis_client_key: Option<PathBuf>,
    /// Accept certificates that name another host.
    #[arg(long, env = "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION")]
    pub redis_skip_hostname: bool,
    /// A file with the Sentinels' password, or user:password.
    #[arg(long, env = "REDIS_SENTINEL_AUTH_FILE", value_name = "FILE")]
    pub redis_sentinel_auth: Option<PathBuf>,
}

/// [`Together`], to choose from.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Tag {
    /// One counter.
    Counter,
    /// All counters of a RateLimitConfig.
    Config,
}

/// [`OnStoreFailure`], to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Answer {
    /// An error: Envoy decides.
    Error,
    /// Nothing is over its limit.
    Allow,
    /// Everything is.
    Deny,
    /// Count in this process, each limit divided by --redis-replicas.
    Local,
}

impl RedisArgs {
    /// How Redis is to be used, if it is.
    ///
    /// # Errors
    /// When the file with the Sentinels' password cannot be read.
    pub fn settings(&self) -> anyhow::Result<Option<RedisSettings>> {
        let Some(url) = self.redis.clone() else { return Ok(None) };
        let sentinel = match &self.redis_sentinel_auth {
            Some(path) => Some(login(path)?),
            None => None,
        };
        let tls = Tls {
            ca: self.redis_ca.clone(),
            client: self.redis_client_cert.clone().zip(self.redis_client_key.clone()),
            check_hostname: !self.redis_skip_hostname,
        };
        let at = |url: RedisUrl| {
            let url = url.with_tls(tls.clone());
            RedisSettings {
                prefix: self.redis_prefix.clone(),
                budget: Duration::from_millis(self.redis_budget_ms),
                together: match self.redis_together {
                    Tag::Counter => Together::Counter,
                    Tag::Config => Together::Config,
                },
                on_failure: match self.redis_on_failure {
                    Answer::Error => OnStoreFailure::Error,
                    Answer::Allow => OnStoreFailure::Allow,
                    Answer::Deny => OnStoreFailure::Deny,
                    Answer::Local => OnStoreFailure::Local { replicas: self.redis_replicas },
                },
                ..RedisSettings::new(match sentinel.clone() {
                    Some(login) => url.with_sentinel_login(login),
                    None => url,
                })
            }
        };
        let per_second = self.redis_per_second.clone().map(|url| Box::new(at(url)));
        Ok(Some(RedisSettings { per_second, ..at(url) }))
    }
}

fn login(path: &PathBuf) -> anyhow::Result<Login> {
    let bytes = std::fs::read(path).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
    let auth = api::Redacted::new(bytes.trim_ascii_end());
    super::parts::login_of(&auth).ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        redis: RedisArgs,
    }

    #[test]
    fn flags_become_settings_and_a_wrong_url_does_not_show_its_password() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["x"], args].concat());
        assert!(parse(&[]).unwrap().redis.settings().unwrap().is_none());
        let args = ["--redis", "redis+cluster://:canary@a,b", "--redis-per-second", "c", "--redis-on-failure", "local"];
        let more = ["--redis-replicas", "3", "--redis-together", "config"];
        let cli = parse(&[&args[..], &more[..]].concat()).unwrap();
        let settings = cli.redis.settings().unwrap().unwrap();
        assert_eq!(settings.url.to_string(), "cluster a:6379,b:6379");
        assert_eq!(settings.on_failure, OnStoreFailure::Local { replicas: NonZeroU32::new(3).unwrap() });
        assert_eq!(settings.together, Together::Config);
        assert_eq!(settings.per_second.unwrap().url.to_string(), "c:6379");
        assert!(!format!("{:?}", cli.redis).contains("canary"));
        assert!(parse(&["--redis", "a", "--redis-client-cert", "x"]).is_err());
    }
}
