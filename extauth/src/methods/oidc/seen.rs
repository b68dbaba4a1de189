//! What of a request a login looks at, taken out of it.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use zeroize::Zeroizing;

use super::cookies::{Brought, Jar};
use crate::methods::complaints::in_time;
use crate::methods::granting::Before;
use crate::step::Ask;

/// A request.
pub struct Seen {
    /// Path and query; empty if nobody can be sent there.
    pub target: String,
    /// The path alone.
    pub path: String,
    /// The query alone.
    pub query: String,
    /// Its cookies.
    pub brought: Brought,
    /// Whether a person waits for a page: a script would follow a redirect to the provider in vain.
    pub opens_a_page: bool,
    /// Whether it only asks for something.
    pub is_get: bool,
    host: String,
    site: Option<String>,
    origin: Option<String>,
    /// What the steps before have done.
    pub before: Before,
    /// The time by the clock.
    pub now: SystemTime,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// What a provider sends back.
#[derive(Debug, Default)]
pub struct Params {
    pub code: Option<Zeroizing<String>>,
    pub state: Option<String>,
    pub issuer: Option<String>,
    /// Whether it says that something went wrong.
    pub failed: bool,
}

impl Seen {
    /// Of the request that `ask` is about, which brings cookies as `jar` calls them.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn of(ask: &Ask<'_>, jar: &Jar) -> Result<Seen, &'static str> {
        let text = |name: &str| -> Result<Option<String>, &'static str> {
            let value = ask.header(name);
            let text = value.map(|value| String::from_utf8(value.into_owned()));
            text.transpose().map_err(|_| "a header that is no text")
        };
        let target = ask.request.target();
        // Other paths cannot be written into addresses, and nobody is sent there.
        let is_plain = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mode = text("sec-fetch-mode")?;
        let by = text("x-requested-with")?;
        let opens_a_page = mode.is_none_or(|mode| mode == "navigate")
            && !by.is_some_and(|by| by.eq_ignore_ascii_case("xmlhttprequest"));
        Ok(Seen {
            brought: text("cookie")?.map(|cookies| jar.read(&cookies)).unwrap_or_default(),
            opens_a_page,
            is_get: matches!(ask.request.method(), "GET" | "HEAD"),
            host: ask.request.authority().to_ascii_lowercase(),
            site: text("sec-fetch-site")?,
            origin: text("origin")?,
            target: if is_plain { target.to_owned() } else { String::new() },
            path: path.to_owned(),
            query: if is_plain { query.to_owned() } else { String::new() },
            before: Before::of(ask),
            now: ask.now,
            deadline: in_time(ask.deadline),
        })
    }

    /// What a provider sends back in the query; of each, one at most.
    ///
    /// # Errors
    /// That something stands there twice.
    pub fn params(&self) -> Result<Params, &'static str> {
        let mut params = Params::default();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            let there = match &*name {
                "code" => params.code.replace(Zeroizing::new(value.into_owned())).is_some(),
                "state" => params.state.replace(value.into_owned()).is_some(),
                "iss" => params.issuer.replace(value.into_owned()).is_some(),
                "error" => std::mem::replace(&mut params.failed, true),
                _ => false,
            };
            if there {
                return Err("a parameter that comes twice");
            }
        }
        Ok(params)
    }

    /// Whether the request is for `domain` or a host in it (RFC 6265, 5.1.3).
    pub fn is_for(&self, domain: &str) -> bool {
        let host = self.host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = host.map_or(&*self.host, |(host, _)| host);
        let domain = domain.trim_start_matches('.').to_ascii_lowercase();
        let below = host.strip_suffix(&*domain).is_some_and(|rest| rest.ends_with('.'));
        host == domain || (below && host.parse::<IpAddr>().is_err())
    }

    /// Whether a page of another site than that of `origin` has sent it.
    pub fn comes_from_elsewhere(&self, origin: &str) -> bool {
        match (&self.site, &self.origin) {
            (Some(site), _) => !matches!(&**site, "same-origin" | "same-site" | "none"),
            (None, Some(from)) => from != origin,
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn seen(host: &str, query: &str, site: Option<&str>, origin: Option<&str>) -> Seen {
        Seen {
            target: String::new(),
            path: String::new(),
            query: query.to_owned(),
            brought: Brought::default(),
            opens_a_page: true,
            is_get: true,
            host: host.to_owned(),
            site: site.map(str::to_owned),
            origin: origin.map(str::to_owned),
            before: Before { changes: Default::default(), user_header: "x-user-id".into() },
            now: UNIX_EPOCH,
            deadline: Instant::now(),
        }
    }

    #[test]
    fn a_host_is_in_its_domain_and_in_no_other() {
        for (host, domain, is) in [
            ("app.example", "app.example", true),
            ("app.example:8443", "App.Example", true),
            ("a.app.example", "app.example", true),
            ("app.example", ".app.example", true),
            ("app.example.evil", "app.example", false),
            ("evilapp.example", "app.example", false),
            ("example", "app.example", false),
            ("1.127.0.0.1", "127.0.0.1", true),
            ("10.0.0.1", "0.0.1", false),
            ("", "app.example", false),
        ] {
            assert_eq!(seen(host, "", None, None).is_for(domain), is, "{host} {domain}");
        }
    }

    #[test]
    fn other_sites_are_told_by_what_browsers_say() {
        let from = |site, origin| seen("a", "", site, origin).comes_from_elsewhere("https://app.example");
        assert!(!from(None, None) && !from(Some("none"), None) && !from(Some("same-origin"), Some("null")));
        assert!(!from(Some("same-site"), None) && !from(None, Some("https://app.example")));
        assert!(from(Some("cross-site"), None) && from(Some(""), None) && from(Some("Same-Origin"), None));
        assert!(from(None, Some("https://app.example.evil")) && from(None, Some("null")));
        assert!(from(Some("cross-site"), Some("https://app.example")));
    }

    #[test]
    fn what_comes_back_twice_is_not_read() {
        let params = |query: &str| seen("a", query, None, None).params();
        let read = params("code=a%2Bb&state=s&iss=https%3A%2F%2Fidp&session_state=x").unwrap_or_default();
        assert_eq!((read.code.as_deref().map(String::as_str), read.state.as_deref()), (Some("a+b"), Some("s")));
        assert_eq!((read.issuer.as_deref(), read.failed), (Some("https://idp"), false));
        assert!(params("error=access_denied&state=s").is_ok_and(|read| read.failed));
        for query in ["code=a&code=b", "state=a&stat%65=b", "iss=a&iss=a", "error=a&error"] {
            assert!(params(query).is_err(), "{query}");
        }
    }
}
