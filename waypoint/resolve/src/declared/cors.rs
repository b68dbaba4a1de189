//! A CORS filter in nouns of ours.

use ir::{Cors, Origin, Strangers};

/// Seconds that a preflight's answer may be kept where nothing is written.
const MAX_AGE: u64 = 5;

/// What a CORS filter says; the filters of rules and those of backends have types of their own for it.
#[derive(Debug, Default)]
pub struct Written<'a> {
    pub origins: &'a [String],
    pub methods: &'a [String],
    pub headers: &'a [String],
    pub exposed: &'a [String],
    pub max_age: Option<i32>,
    pub credentials: bool,
}

/// What `written` asks for, or the field that cannot be done and why.
pub fn cors(written: &Written<'_>) -> Result<Cors, (&'static str, &'static str)> {
    if written.credentials && written.exposed.iter().any(|header| header == "*") {
        // A browser takes `*` for a header of that name where a request had credentials, and Envoy says the same to all.
        return Err((
            "exposeHeaders",
            "\"*\" does not expose anything to requests with credentials, which allowCredentials allows: name the headers; \
             requests are answered 500",
        ));
    }
    Ok(Cors {
        origins: written.origins.iter().flat_map(|origin| origins(origin)).collect(),
        methods: written.methods.to_vec(),
        headers: written.headers.to_vec(),
        exposed: written.exposed.to_vec(),
        max_age: Some(written.max_age.and_then(|age| u64::try_from(age).ok()).unwrap_or(MAX_AGE)),
        credentials: written.credentials,
        // A preflight carries no credentials: what is not answered would be refused by whatever asks for some.
        strangers: Strangers::Answered,
    })
}

/// The origins that are meant by `written`, as browsers write them: in small letters, and mostly without the port that a
/// scheme has by itself.
fn origins(written: &str) -> Vec<Origin> {
    if written == "*" {
        return vec![Origin::Any];
    }
    let written = written.to_ascii_lowercase();
    let (scheme, rest) = written.split_once("://").unwrap_or(("https", &written));
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let usual = if scheme == "https" { "443" } else { "80" };
    let port = port.map(|port| port.trim_start_matches('0')).filter(|port| *port != usual);
    let host = match host.strip_prefix('*') {
        None => {
            let without = format!("{scheme}://{host}");
            return match port {
                Some(port) => vec![Origin::Exact(format!("{without}:{port}"))],
                None => vec![Origin::Exact(format!("{without}:{usual}")), Origin::Exact(without)],
            };
        }
        Some("") => r"(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])".to_owned(),
        Some(rest) => format!("(?:[a-z0-9_-]+\\.)+{}", regex::escape(rest.trim_start_matches('.'))),
    };
    let port = port.map_or_else(|| format!("(?::{usual})?"), |port| format!(":{port}"));
    vec![Origin::Regex(format!("{scheme}://{host}{port}"))]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn allows(written: &str, origin: &str) -> bool {
        origins(written).iter().any(|allowed| match allowed {
            Origin::Any => true,
            Origin::Exact(exact) => exact == origin,
            Origin::Regex(regex) => regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(origin),
        })
    }

    #[test]
    fn nothing_is_exposed_to_credentials_by_a_star_wherever_it_stands() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (exposed, credentials, good) in [
            (&["x-a", "x-b"][..], true, true),
            (&["*"], true, false),
            (&["x-a", "*"], true, false),
            (&["x-a", "*"], false, true),
            (&[], true, true),
        ] {
            let exposed = texts(exposed);
            let written = Written { exposed: &exposed, credentials, ..Written::default() };
            assert_eq!(cors(&written).is_ok(), good, "{exposed:?} {credentials}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (written, right, wrong) in [
            (
                "https://Www.foo.com",
                &["https://www.foo.com", "https://www.foo.com:443"][..],
                &[
                    "http://www.foo.com",
                    "https://www.foo.com:80",
                    "https://foo.com",
                    "https://www.foo.com.evil.example",
                ][..],
            ),
            (
                "http://foo.com:80",
                &["http://foo.com", "http://foo.com:80"],
                &["http://foo.com:8080", "https://foo.com"],
            ),
            ("https://foo.com:8443", &["https://foo.com:8443"], &["https://foo.com", "https://foo.com:443"]),
            (
                "https://*.bar.com",
                &["https://www.bar.com", "https://xpto.www.bar.com", "https://a.bar.com:443"],
                &[
                    "https://bar.com",
                    "https://.bar.com",
                    "https://evilbar.com",
                    "https://www.barxcom",
                    "https://www.bar.com:8443",
                    "http://www.bar.com",
                    "https://evil.example/.bar.com",
                    "https://evil.example:1.bar.com",
                    "https://evil.example#.bar.com",
                    "https://user@www.bar.com",
                    "https://www.bar.com.evil.example",
                ],
            ),
            (
                "http://*",
                &["http://a", "http://a.b.example", "http://10.0.0.1", "http://[::1]", "http://a:80"],
                &["http://", "https://a", "http://a:8080", "null", "*", "http://a/b", "http://a b"],
            ),
            ("http://*:8080", &["http://a.example:8080", "http://[::1]:8080"], &["http://a.example", "http://a:80"]),
            ("*", &["https://a.example", "null"], &[]),
        ] {
            for origin in right {
                assert!(allows(written, origin), "{written} allows {origin}");
            }
            for origin in wrong {
                assert!(!allows(written, origin), "{written} does not allow {origin}");
            }
        }
    }

    #[test]
    fn where_nothing_is_written_nothing_is_allowed_and_an_answer_is_kept_for_five_seconds() {
        let nothing = cors(&Written::default()).unwrap();
        assert_eq!((nothing.origins.len(), nothing.max_age, nothing.credentials), (0, Some(5), false));
        assert_eq!(cors(&Written { max_age: Some(1), ..Written::default() }).unwrap().max_age, Some(1));
    }

    #[test]
    fn nothing_is_exposed_by_a_word_that_browsers_do_not_take_for_all() {
        let exposed = ["*".to_owned()];
        assert!(cors(&Written { exposed: &exposed, ..Written::default() }).is_ok());
        assert!(cors(&Written { exposed: &exposed, credentials: true, ..Written::default() }).is_err());
    }
}
