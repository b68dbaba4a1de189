//! Where Redis is, in the parts that envoyproxy/ratelimit's environment has.

use std::path::PathBuf;

use api::Redacted;

use super::access::{Access, Login, Place, Tls};
use super::url::{RedisUrl, Topology, places};

/// The settings `REDIS_*` (or `REDIS_PERSECOND_*`) of envoyproxy/ratelimit, as text.
///
/// Empty is the same as unset, as it is there.
#[derive(Debug, Clone, Default)]
pub struct RedisParts {
    /// `REDIS_TYPE`: `SINGLE`, `SENTINEL` or `CLUSTER`, in any case.
    pub kind: String,
    /// `REDIS_SOCKET_TYPE`: `tcp`, `tls` or `unix`.
    pub socket_type: String,
    /// `REDIS_URL`: `host:port`, a socket's path, `host:port,…`, or `master,host:port,…`.
    pub url: String,
    /// `REDIS_AUTH`: `password` or `user:password`.
    pub auth: Option<Redacted>,
    /// `REDIS_SENTINEL_AUTH`: the same for Sentinels.
    pub sentinel_auth: Option<Redacted>,
    /// `REDIS_TLS`.
    pub tls: bool,
    /// `REDIS_TLS_CACERT`.
    pub ca: Option<PathBuf>,
    /// `REDIS_TLS_CLIENT_CERT`.
    pub client_cert: Option<PathBuf>,
    /// `REDIS_TLS_CLIENT_KEY`.
    pub client_key: Option<PathBuf>,
    /// `REDIS_TLS_SKIP_HOSTNAME_VERIFICATION`.
    pub skip_hostname_verification: bool,
}

impl RedisUrl {
    /// Where `parts` say Redis is.
    ///
    /// # Errors
    /// Every mistake, each with the variable's name (`prefix` is `REDIS_` or `REDIS_PERSECOND_`).
    pub fn from_parts(parts: &RedisParts, prefix: &str) -> Result<RedisUrl, Vec<String>> {
        let mut mistakes = Vec::new();
        let socket = parts.socket_type.to_ascii_lowercase();
        if !matches!(socket.as_str(), "" | "tcp" | "tls" | "unix") {
            mistakes.push(format!("{prefix}SOCKET_TYPE: write tcp, tls or unix"));
        }
        let mut hosts = |text: &str| {
            let mut wrong = Vec::new();
            let places = places(text, 6379, &mut wrong);
            mistakes.extend(wrong.into_iter().map(|why| format!("{prefix}URL: {why}")));
            places
        };
        let topology = match parts.kind.to_ascii_uppercase().as_str() {
            _ if parts.url.trim().is_empty() => {
                mistakes.push(format!("{prefix}URL is empty: write host:port"));
                Topology::Cluster(Vec::new())
            }
            "" | "SINGLE" if socket == "unix" => Topology::Single(Place::Unix(PathBuf::from(&parts.url))),
            // Scheme and login in the URL are ours, but nobody who has them there means something else.
            "" | "SINGLE" if parts.url.contains("://") => match parts.url.parse::<RedisUrl>() {
                Ok(url) if parts.auth.is_none() && !parts.tls => return Ok(url),
                Ok(url) => url.topology,
                Err(why) => {
                    mistakes.push(format!("{prefix}URL: {why}"));
                    Topology::Cluster(Vec::new())
                }
            },
            "" | "SINGLE" => {
                let mut places = hosts(&parts.url);
                if places.len() > 1 {
                    // A Sentinel's master has a name and no port.
                    let named = parts.url.split(',').next().is_some_and(|first| !first.contains(':'));
                    let kind = if named { "SENTINEL" } else { "CLUSTER" };
                    mistakes.push(format!("{prefix}URL names several hosts: set {prefix}TYPE to {kind}"));
                }
                places.drain(..).next().map_or(Topology::Cluster(Vec::new()), Topology::Single)
            }
            "CLUSTER" => Topology::Cluster(hosts(&parts.url)),
            "SENTINEL" => {
                let (master, rest) = parts.url.split_once(',').unwrap_or((&parts.url, ""));
                if rest.is_empty() || master.is_empty() {
                    mistakes.push(format!("{prefix}URL: for SENTINEL write master-name,host:port,host:port"));
                    Topology::Cluster(Vec::new())
                } else {
                    Topology::Sentinel { master: master.to_owned(), sentinels: hosts(rest) }
                }
            }
            _ => {
                mistakes.push(format!("{prefix}TYPE: write SINGLE, SENTINEL or CLUSTER"));
                Topology::Cluster(Vec::new())
            }
        };
        if socket == "unix" && !matches!(topology, Topology::Single(_)) {
            mistakes.push(format!("{prefix}SOCKET_TYPE: a Unix socket needs {prefix}TYPE SINGLE"));
        }
        let client = match (&parts.client_cert, &parts.client_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                mistakes.push("REDIS_TLS_CLIENT_CERT needs REDIS_TLS_CLIENT_KEY".to_owned());
                None
            }
            (None, Some(_)) => {
                mistakes.push("REDIS_TLS_CLIENT_KEY needs REDIS_TLS_CLIENT_CERT".to_owned());
                None
            }
        };
        let mut login = |auth: &Option<Redacted>, name: &str| match auth {
            Some(auth) => login_of(auth).unwrap_or_else(|| {
                mistakes.push(format!("{prefix}{name} is not UTF-8"));
                Login::default()
            }),
            None => Login::default(),
        };
        let (own, sentinel_login) = (login(&parts.auth, "AUTH"), login(&parts.sentinel_auth, "SENTINEL_AUTH"));
        let tls = (parts.tls || socket == "tls").then(|| Tls {
            ca: parts.ca.clone(),
            client,
            check_hostname: !parts.skip_hostname_verification,
        });
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(RedisUrl { topology, access: Access { login: own, tls, db: 0 }, sentinel_login })
    }
}

/// `password` or `user:password`, taken as it is.
pub(super) fn login_of(auth: &Redacted) -> Option<Login> {
    let text = std::str::from_utf8(auth.expose()).ok()?;
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (Some(user), password),
        None => (None, text),
    };
    let user = user.filter(|user| !user.is_empty()).map(str::to_owned);
    Some(Login { user, password: Some(password).filter(|text| !text.is_empty()).map(Redacted::new) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parts(kind: &str, url: &str) -> RedisParts {
        RedisParts { kind: kind.to_owned(), url: url.to_owned(), ..RedisParts::default() }
    }

    #[test]
    fn what_runs_with_the_peer_runs_here() {
        for (parts, shown) in [
            (parts("SINGLE", "redis:6379"), "redis:6379"),
            (parts("", "redis:6379"), "redis:6379"),
            (parts("cluster", "a:1,b:2"), "cluster a:1,b:2"),
            (parts("SENTINEL", "mymaster,a:1,b:2"), "mymaster of sentinels a:1,b:2"),
            (RedisParts { socket_type: "unix".into(), ..parts("SINGLE", "/run/r.sock") }, "/run/r.sock"),
        ] {
            assert_eq!(RedisUrl::from_parts(&parts, "REDIS_").unwrap().to_string(), shown);
        }
        let auth = Some(Redacted::new("user:can:ary"));
        let url = RedisUrl::from_parts(&RedisParts { auth, tls: true, ..parts("", "a:1") }, "REDIS_").unwrap();
        assert!(url.is_tls());
        assert_eq!(url.access.login.user.as_deref(), Some("user"));
        assert_eq!(url.access.login.password.unwrap().expose(), b"can:ary");
    }

    #[test]
    fn every_mistake_is_named_by_its_variable() {
        let wrong = RedisParts { socket_type: "udp".into(), client_key: Some("k".into()), ..parts("RING", "a:1") };
        let said = RedisUrl::from_parts(&wrong, "REDIS_PERSECOND_").unwrap_err().join("\n");
        for word in ["REDIS_PERSECOND_SOCKET_TYPE", "REDIS_PERSECOND_TYPE", "REDIS_TLS_CLIENT_CERT"] {
            assert!(said.contains(word), "{said}");
        }
        for (url, kind) in [("mymaster,a:26379", "SENTINEL"), ("mymaster,a", "SENTINEL"), ("a:1,b:2", "CLUSTER")] {
            let said = RedisUrl::from_parts(&parts("", url), "REDIS_").unwrap_err().join("\n");
            assert!(said.contains(&format!("set REDIS_TYPE to {kind}")), "{said}");
        }
        let said = RedisUrl::from_parts(&parts("SENTINEL", "mymaster"), "REDIS_").unwrap_err().join("\n");
        assert!(said.contains("master-name,host:port"), "{said}");
    }
}
