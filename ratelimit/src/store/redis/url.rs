//! Where Redis is. The text may hold a password and is never shown.

use std::fmt;
use std::str::FromStr;

use redis::IntoConnectionInfo as _;

/// `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, or `unix:/path`.
#[derive(Clone)]
pub struct RedisUrl(redis::ConnectionInfo);

impl RedisUrl {
    /// What to connect to.
    pub(super) fn info(&self) -> redis::ConnectionInfo {
        self.0.clone()
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || "not a Redis URL; write redis://host:6379, rediss://host:6379 or unix:/path/to/socket".to_owned();
        let normal = ["redis+unix:", "unix:"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .map(|path| format!("unix://{}", path.strip_prefix("//").unwrap_or(path)));
        let text = normal.as_deref().unwrap_or(text);
        // Envoyproxy/ratelimit and many people write just host:port.
        let text = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
        // The library's error could quote the text.
        text.as_str().into_connection_info().map(RedisUrl).map_err(|_| wrong())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.addr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn all_spellings_are_read_and_no_password_is_shown() {
        for (text, shown) in [
            ("redis://user:canary@127.0.0.1:7000/2", "127.0.0.1:7000"),
            ("rediss://:canary@example.com", "example.com:6379"),
            ("127.0.0.1:6380", "127.0.0.1:6380"),
            ("unix:/run/redis.sock", "/run/redis.sock"),
            ("redis+unix:///run/redis.sock", "/run/redis.sock"),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert!(!format!("{url:?}").contains("canary"));
        }
        assert!(!"http://:canary@x".parse::<RedisUrl>().unwrap_err().contains("canary"));
    }
}
