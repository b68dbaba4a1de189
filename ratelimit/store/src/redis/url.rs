//! Where Redis is, as people write it. The text may hold a password and is never shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use api::Redacted;

use super::access::{Access, Login, Place, Tls};

/// Redis' usual port.
const PORT: u16 = 6379;
/// A Sentinel's.
const SENTINEL_PORT: u16 = 26379;

/// How to write one, for messages.
const FORMS: &str = "write redis://[user:password@]host:6379[/db], unix:/path/to/socket, \
    redis+cluster://[user:password@]host:6379,host:6379 or \
    redis+sentinel://[user:password@]host:26379,host:26379/master-name[/db]; rediss… for TLS";

/// Where Redis is and how it is reached.
///
/// | form | |
/// |---|---|
/// | `redis://[user:password@]host[:port][/db]` | one server |
/// | `unix:/path[?db=N&user=U&pass=P]` | one server on a Unix socket |
/// | `redis+cluster://[user:password@]host[:port],…` | a Cluster; the hosts are where its nodes are asked for |
/// | `redis+sentinel://[user:password@]host[:port],…/master-name[/db]` | the master that these Sentinels name |
///
/// `rediss` in place of `redis` means TLS, to Sentinels as well. What a URL has
/// special characters for (`@ : / %`) is written as `%40` and so on.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) topology: Topology,
    pub(super) access: Access<Tls>,
    pub(super) sentinel_login: Login,
}

/// What there is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    Single(Place),
    Cluster(Vec<Place>),
    Sentinel { master: String, sentinels: Vec<Place> },
}

impl RedisUrl {
    /// This URL with `tls` as the files to use; unchanged if it is one without TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        if self.access.tls.is_some() {
            self.access.tls = Some(tls);
        }
        self
    }

    /// This URL with `login` for the Sentinels, which have users of their own.
    #[must_use]
    pub fn with_sentinel_login(mut self, login: Login) -> Self {
        self.sentinel_login = login;
        self
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.access.tls.is_some()
    }

    /// How Sentinels are reached, where masters are reached by `access`.
    pub(super) fn sentinel_access(&self, access: &Access) -> Access {
        Access { login: self.sentinel_login.clone(), tls: access.tls.clone(), db: 0 }
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    /// Names every mistake, and nothing of what may be secret.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for scheme in ["redis+unix:", "unix:"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return unix(rest.strip_prefix("//").unwrap_or(rest));
            }
        }
        // Many people write just host:port.
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(format!("not a Redis URL; {FORMS}")),
        };
        let mut mistakes = Vec::new();
        let rest = match rest.split_once(['?', '#']) {
            Some((rest, _)) => {
                mistakes.push("nothing may follow `?` or `#` (write them as %3F and %23 in a password)".to_owned());
                rest
            }
            None => rest,
        };
        // A password may hold a slash or an at sign that somebody forgot to escape: the last at sign counts.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (login_of(login, &mut mistakes), rest),
            None => (Login::default(), rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let mut places = places(hosts, port, &mut mistakes);
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (topology, db) = match (kind, path.as_slice()) {
            ("", path) => {
                if places.len() > 1 {
                    mistakes.push(format!("{} hosts: for a Cluster write {base}+cluster://", places.len()));
                }
                let place = places.drain(..).next().unwrap_or(Place::Tcp(String::new(), port));
                (Topology::Single(place), database(path, &mut mistakes))
            }
            ("cluster", path) => {
                if !path.is_empty() && path != ["0"] {
                    mistakes.push("a Cluster has only database 0: leave out the path".to_owned());
                }
                (Topology::Cluster(places), 0)
            }
            ("sentinel", [master, path @ ..]) => {
                let master = decoded(master, "the master's name", &mut mistakes);
                (Topology::Sentinel { master, sentinels: places }, database(path, &mut mistakes))
            }
            ("sentinel", []) => {
                mistakes.push("no master's name: end with /master-name as the Sentinels know it".to_owned());
                (Topology::Sentinel { master: String::new(), sentinels: places }, 0)
            }
            _ => return Err(format!("not a Redis URL; {FORMS}")),
        };
        if !mistakes.is_empty() {
            return Err(format!("{}; {FORMS}", mistakes.join("; ")));
        }
        let access = Access { login, tls: tls.then(Tls::default), db };
        Ok(RedisUrl { topology, access, sentinel_login: Login::default() })
    }
}

fn unix(rest: &str) -> Result<RedisUrl, String> {
    let mut mistakes = Vec::new();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        mistakes.push("the socket's path does not begin with `/`".to_owned());
    }
    let mut access = Access::default();
    for (name, value) in
        query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
    {
        match name {
            "db" => access.db = database(&[value], &mut mistakes),
            "user" => access.login.user = Some(decoded(value, "the user", &mut mistakes)),
            "pass" => access.login.password = Some(Redacted::new(decoded(value, "the password", &mut mistakes))),
            _ => mistakes.push("a Unix socket takes only `db`, `user` and `pass` after `?`".to_owned()),
        }
    }
    if !mistakes.is_empty() {
        return Err(format!("{}; {FORMS}", mistakes.join("; ")));
    }
    let topology = Topology::Single(Place::Unix(PathBuf::from(path)));
    Ok(RedisUrl { topology, access, sentinel_login: Login::default() })
}

/// `user:password`, `:password` or `user`, with `%` escapes.
fn login_of(text: &str, mistakes: &mut Vec<String>) -> Login {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if password.is_none() {
        mistakes.push("no password before `@`: write user:password@, or :password@ for the default user".to_owned());
    }
    let user = Some(decoded(user, "the user", mistakes)).filter(|user| !user.is_empty());
    let password = password.map(|password| decoded(password, "the password", mistakes));
    Login { user, password: password.filter(|text| !text.is_empty()).map(Redacted::new) }
}

/// `host[:port],…`; IPv6 addresses in brackets.
pub(super) fn places(text: &str, port: u16, mistakes: &mut Vec<String>) -> Vec<Place> {
    let mut places = Vec::new();
    for (n, one) in text.split(',').map(str::trim).enumerate() {
        // The text is not quoted: it could be the rest of a password.
        match place(one, port) {
            Ok(place) => places.push(place),
            Err(why) => mistakes.push(format!("host number {}: {why}", n + 1)),
        }
    }
    places
}

fn place(text: &str, default: u16) -> Result<Place, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("no `]` after the IPv6 address")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "not an IPv6 address between `[` and `]`")?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")).ok_or("write `:port` after `]`")?)
        }
        None if text.matches(':').count() > 1 => return Err("write IPv6 addresses in brackets: [::1]:6379"),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if host.is_empty() {
        return Err("it is empty");
    }
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')) {
        return Err("a host name holds only letters, digits, `.`, `-` and `_`");
    }
    let port = match port {
        "" if text.ends_with(':') => return Err("no port after `:`"),
        "" => default,
        port => port.parse().ok().filter(|port| *port > 0).ok_or("the port is no number from 1 to 65535")?,
    };
    Ok(Place::Tcp(host.to_owned(), port))
}

fn database(path: &[&str], mistakes: &mut Vec<String>) -> i64 {
    match path {
        [] => 0,
        [db] => db.parse::<u16>().map(i64::from).unwrap_or_else(|_| {
            mistakes.push("the database is not a number".to_owned());
            0
        }),
        _ => {
            mistakes.push("more than one `/` where the database's number belongs".to_owned());
            0
        }
    }
}

/// `text` without its `%` escapes.
fn decoded(text: &str, what: &str, mistakes: &mut Vec<String>) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => {
                mistakes.push(format!("a `%` in {what} is not followed by two hexadecimal digits: write it as %25"));
                return String::new();
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| {
        mistakes.push(format!("{what} is not UTF-8"));
        String::new()
    })
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |places: &[Place]| places.iter().map(Place::to_string).collect::<Vec<_>>().join(",");
        match &self.topology {
            Topology::Single(place) => place.fmt(f),
            Topology::Cluster(seeds) => write!(f, "cluster {}", list(seeds)),
            Topology::Sentinel { master, sentinels } => write!(f, "{master} of sentinels {}", list(sentinels)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_spellings_are_read_and_no_password_is_shown() {
        for (text, shown) in [
            ("redis://user:canary@127.0.0.1:7000/2", "127.0.0.1:7000"),
            ("rediss://:canary@example.com", "example.com:6379"),
            ("127.0.0.1:6380", "127.0.0.1:6380"),
            ("redis://[::1]:7000", "[::1]:7000"),
            ("unix:/run/redis.sock?pass=canary", "/run/redis.sock"),
            ("redis+unix:///run/redis.sock", "/run/redis.sock"),
            ("redis+cluster://u:canary@a:1,b", "cluster a:1,b:6379"),
            ("rediss+sentinel://:canary%40@a,b:2/main/3", "main of sentinels a:26379,b:2"),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.is_tls(), text.starts_with("rediss"));
            assert!(!format!("{url:?} {:?}", url.access).contains("canary"));
        }
        let url: RedisUrl = "redis://u%3A:p%40%2F@h/5".parse().unwrap();
        assert_eq!((url.access.login.user.as_deref(), url.access.db), (Some("u:"), 5));
        assert_eq!(url.access.login.password.unwrap().expose(), b"p@/");
    }

    #[test]
    fn every_mistake_is_named_at_once_and_no_password_with_it() {
        for (text, words) in [
            ("http://:canary@x", &["not a Redis URL"][..]),
            ("redis+cluster://:canary@a:0,,b:x/1", &["number 1", "number 2", "number 3", "only database 0"]),
            ("redis://:canary%zz@a/b?canary", &["two hexadecimal digits", "not a number", "`?`"]),
            ("redis://canary@a", &["no password before"]),
            ("redis://:can/canary@ry@a:b", &["number 1"]),
            ("redis://a,b", &["redis+cluster://"]),
            ("redis://::1", &["brackets"]),
            ("rediss+sentinel://a", &["master's name"]),
            ("unix:canary?x=canary", &["does not begin", "only `db`"]),
        ] {
            let wrong = text.parse::<RedisUrl>().unwrap_err();
            assert!(words.iter().all(|word| wrong.contains(word)), "{text}: {wrong}");
            assert!(!wrong.contains("canary"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_shows_what_stands_before_the_at_sign(
            scheme in "(redis|rediss|redis\\+cluster|redis\\+sentinel|unix|x)?(://|:)?", secret in "[ -~]{0,12}", rest in "[a-z0-9:,/@%?\\[\\]]{0,20}"
        ) {
            let said = match format!("{scheme}:CANARY{secret}@{rest}").parse::<RedisUrl>() {
                Ok(url) if matches!(url.topology, Topology::Single(Place::Unix(_))) => String::new(),
                Ok(url) => format!("{url} {url:?}"),
                Err(why) => why,
            };
            prop_assert!(!said.contains("CANARY"), "{}", said);
        }
    }
}
