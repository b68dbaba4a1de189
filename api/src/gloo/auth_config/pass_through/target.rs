//! Where another service is: a URL or an address, read once.

/// Where a service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether over TLS.
    pub tls: bool,
    /// Name or address, an IPv6 one in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, from the first slash on. There may be secrets in it.
    pub path: String,
}

/// A longer URL is a mistake.
const LONGEST: usize = 2048;

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it. The text is not repeated: there may be secrets in it.
    pub fn of_url(text: &str) -> Result<Target, &'static str> {
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        let (tls, rest) = match () {
            () if lower.starts_with("https://") => (true, &text[8..]),
            () if lower.starts_with("http://") => (false, &text[7..]),
            () => return Err("is no URL: write http:// or https://, a host and a path"),
        };
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has other characters than a URL has, or more than 2048 of them; escape them as %XX");
        }
        if text.contains('#') {
            return Err("has a fragment, which no server is sent; write it without");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = host_and_port(authority)?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { tls, host, port, path })
    }

    /// Reads `host:port`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_address(text: &str, tls: bool) -> Result<Target, &'static str> {
        if text.contains('/') {
            return Err("is no address: write host:port, without a scheme or a path");
        }
        let (host, port) = host_and_port(text)?;
        let port = port.ok_or("has no port: write host:port")?;
        Ok(Target { tls, host, port, path: "/".to_owned() })
    }

    /// Scheme, host, and port if it is not the usual one, as browsers write it.
    pub fn origin(&self) -> String {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{}{port}", self.host)
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The parts of `host`, `host:port` or `[v6]:port`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    if text.contains('@') {
        return Err("has a user before the host; credentials have fields of their own");
    }
    let (host, rest) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => {
            v6.parse::<std::net::Ipv6Addr>().map_err(|_| "has no IPv6 address between its brackets")?;
            (format!("[{}]", v6.to_ascii_lowercase()), rest)
        }
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if name.is_empty() || name.len() > 253 || !name.bytes().all(letter) {
                return Err("has no host: write its name, or an address, an IPv6 one in brackets");
            }
            (name.to_ascii_lowercase(), rest)
        }
    };
    let digits = match rest.strip_prefix(':') {
        None if rest.is_empty() => return Ok((host, None)),
        digits => digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())),
    };
    let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0);
    Ok((host, Some(port.ok_or("has a port that is none: write a number from 1 to 65535 after the colon")?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls_and_addresses_are_read_whole() {
        let url = |text: &str| {
            let Target { tls, host, port, path } = Target::of_url(text).unwrap();
            (tls, host, port, path)
        };
        assert_eq!(url("http://a.b:8080/check?x=1"), (false, "a.b".into(), 8080, "/check?x=1".into()));
        assert_eq!(url("HTTPS://Auth.Example"), (true, "auth.example".into(), 443, "/".into()));
        assert_eq!(url("http://[::1]/"), (false, "[::1]".into(), 80, "/".into()));
        let origin = |text: &str| Target::of_url(text).unwrap().origin();
        assert_eq!(
            (origin("https://A:443/x").as_str(), origin("http://a:443").as_str()),
            ("https://a", "http://a:443")
        );
        assert_eq!(url("http://a?x"), (false, "a".into(), 80, "/?x".into()));
        let address = |text: &str| Target::of_address(text, false).map(|target| target.authority());
        assert_eq!(address("Auth.ns.svc.cluster.local:9001").unwrap(), "auth.ns.svc.cluster.local:9001");
        assert_eq!(address("[FE80::1]:1").unwrap(), "[fe80::1]:1");
    }

    #[test]
    fn the_longest_is_read_and_one_more_is_not() {
        let url = |bytes: usize| Target::of_url(&format!("http://a/{}", "x".repeat(bytes - 9)));
        assert!(url(LONGEST).is_ok() && url(LONGEST + 1).is_err());
        let host = |bytes: usize| Target::of_address(&format!("{}:1", "a".repeat(bytes)), false);
        assert!(host(253).is_ok() && host(254).is_err());
    }

    #[test]
    fn what_is_neither_is_refused_without_being_repeated() {
        for (text, why) in [
            ("", "no URL"),
            ("a:1", "no URL"),
            ("ftp://canary", "no URL"),
            ("http://", "no host"),
            ("http:///canary", "no host"),
            ("http://user:canary@a/", "a user before the host"),
            ("http://a:0/", "a port that is none"),
            ("http://a:65536/", "a port that is none"),
            ("http://a:+1/", "a port that is none"),
            ("http://a:/", "a port that is none"),
            ("http://[::1/", "no host"),
            ("http://a!b/", "no host"),
            ("http://-,-/", "no host"),
            ("http://[canary]/", "no IPv6"),
            ("http://[::1]a/", "a port that is none"),
            ("http://a/#canary", "a fragment"),
            ("http://a/ canary", "other characters"),
            ("http://a/\r\ncanary: 1", "other characters"),
            ("http://\u{fc}/", "other characters"),
        ] {
            let said = Target::of_url(text).unwrap_err();
            assert!(said.contains(why) && !said.contains("canary"), "{text}: {said}");
        }
        for (text, why) in [
            ("a", "no port"),
            ("http://a:1", "no address"),
            ("dns:///a:1", "no address"),
            (":1", "no host"),
            ("", "no host"),
        ] {
            let said = Target::of_address(text, false).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
