//! What browsers are answered.

use std::borrow::Cow;

use form_urlencoded::Serializer;

use super::Places;
use super::attempt::Begun;
use super::cookies::Jar;
use super::provider::Provider;
use crate::step::{Denial, Header, SET_COOKIE};

/// An answer for a person.
pub fn page(status: u16, body: String, reason: &'static str) -> Denial {
    Denial { body: Cow::Owned(body), ..kept_by_nobody(status, reason) }.and("content-type", "text/html; charset=utf-8")
}

/// An answer that nobody keeps, and of whose address nobody is told.
fn kept_by_nobody(status: u16, reason: &'static str) -> Denial {
    Denial::plain(status, reason).and("cache-control", "no-store").and("referrer-policy", "no-referrer")
}

fn sent(to: &str, reason: &'static str) -> Denial {
    kept_by_nobody(302, reason).and("location", to)
}

impl Denial {
    /// The same with one more header.
    fn and(mut self, name: &'static str, value: &str) -> Denial {
        self.headers.to_mut().push(header(name, value.to_owned()));
        self
    }

    /// The same with these cookies.
    pub(super) fn with(mut self, cookies: Vec<String>) -> Denial {
        self.headers.to_mut().extend(cookies.into_iter().map(|cookie| header(SET_COOKIE, cookie)));
        self
    }
}

fn header(name: &'static str, value: String) -> Header {
    (Cow::Borrowed(name), Cow::Owned(value))
}

/// The browser goes to the provider, and keeps what binds `begun` to it.
pub fn to_provider(provider: &Provider, places: &Places, jar: &Jar, begun: &Begun) -> Denial {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(&places.question);
    query.append_pair("state", &begun.state).append_pair("nonce", &begun.nonce);
    query.append_pair("code_challenge", &begun.challenge).append_pair("code_challenge_method", "S256");
    let to = form::behind(&provider.authorization, &query.finish());
    sent(&to, "no session: sent to log in").with(vec![jar.login(&begun.secret)])
}

/// A script is told that there is no session: it would follow a redirect in vain.
pub fn stays_out() -> Denial {
    Denial::plain(401, "no session, and no page that could log in")
}

/// The browser goes on to `path` of the application, or to its address where there is none.
pub fn goes_on(places: &Places, path: &str) -> Denial {
    sent(&onward(places, path), "logged in: sent on")
}

/// The same by a page: a browser that was sent by another site brings no strict cookies on its way.
pub fn in_full(places: &Places, path: &str) -> Denial {
    let to = escaped(&onward(places, path));
    page(
        200,
        format!("<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={to}\"><a href=\"{to}\">Go on</a>\n"),
        "logged in: sent on",
    )
}

/// Never to another host: whatever the path is, it stands behind the application's own origin.
fn onward(places: &Places, path: &str) -> String {
    if path.starts_with('/') { format!("{}{path}", places.origin) } else { format!("{}/", places.app) }
}

/// The browser asks once more, for what is not there yet.
pub fn come_again(to: &str) -> Denial {
    sent(to, "the provider has not answered yet: sent to ask again")
}

/// The browser goes on to where one goes after a logout.
pub fn ended(to: &str) -> Denial {
    sent(to, "logged out")
}

/// The browser is told that this login comes to nothing.
pub fn no_login(places: &Places, reason: &'static str) -> Denial {
    let app = escaped(&format!("{}/", places.app));
    let body = format!(
        "<!doctype html><title>No login</title><p>This login could not be completed. <a href=\"{app}\">Begin again</a>\n"
    );
    page(403, body, reason)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

/// How a browser is sent to the provider to log out (OpenID Connect RP-Initiated Logout).
pub mod form {
    use form_urlencoded::Serializer;

    use super::super::Guard;
    use super::super::session::Session;
    use super::{Denial, escaped};

    /// What the provider is told.
    pub fn goodbye<'a>(guard: &'a Guard, session: &'a Session) -> [(&'static str, &'a str); 3] {
        [
            ("id_token_hint", &session.id),
            ("client_id", &guard.asks.client),
            ("post_logout_redirect_uri", &guard.places.after_logout),
        ]
    }

    /// An address that tells it.
    pub fn address(to: &str, fields: &[(&str, &str)]) -> String {
        behind(to, &Serializer::new(String::new()).extend_pairs(fields).finish())
    }

    /// A form that tells it by itself.
    pub fn page(to: &str, fields: &[(&str, &str)]) -> Denial {
        let inputs: String = fields
            .iter()
            .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value)))
            .collect();
        let body = format!(
            "<!doctype html><form method=\"post\" action=\"{}\">{inputs}<button>Log out</button></form><script>document.forms[0].submit()</script>\n",
            escaped(to)
        );
        super::page(200, body, "logged out")
    }

    /// `query` behind the address `to`, which may have one already.
    pub fn behind(to: &str, query: &str) -> String {
        let sign = if to.contains('?') { '&' } else { '?' };
        format!("{to}{sign}{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_host_by_a_path() {
        let places = Places {
            app: "https://app.example/shop".to_owned(),
            origin: "https://app.example".to_owned(),
            callback: String::new(),
            redirect: String::new(),
            logout: None,
            after_logout: String::new(),
            ends: api::gloo::auth_config::Logout::Local,
            domain: None,
            question: Vec::new(),
        };
        for (path, to) in [
            ("/shop/a?b=c", "https://app.example/shop/a?b=c"),
            ("//evil.example/", "https://app.example//evil.example/"),
            ("/\\evil.example", "https://app.example/\\evil.example"),
            (".evil.example", "https://app.example/shop/"),
            ("@evil.example", "https://app.example/shop/"),
            ("https://evil.example", "https://app.example/shop/"),
            ("", "https://app.example/shop/"),
        ] {
            let denial = goes_on(&places, path);
            assert!(denial.headers.iter().any(|(name, value)| name == "location" && value == to), "{path}");
        }
        assert!(in_full(&places, "/\"><script>").body.contains("/&quot;&gt;&lt;script&gt;"));
        assert_eq!(form::behind("https://idp/a?x", "y"), "https://idp/a?x&y");
    }
}
