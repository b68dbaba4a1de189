//! `oidcAuthorizationCode`: what one reads, sets and says, resolved; what is wrong with one is in [`validate`].

mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ClaimToHeader, EndSessionProperties, OidcAuthorizationCode, TokenOptions};
use crate::gloo::ResourceRef;
use crate::gloo::auth_config::{CookieOptions, CookieSession, Target};
use crate::proto_json::ProtoDuration;

pub(in crate::gloo::auth_config) use validate::login;

/// How often the provider is asked for its addresses and keys, unless written.
const POLL: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts, unless written: 30 days.
const MAX_AGE: u32 = 2_592_000;

/// How we prove to the provider who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientProof<'a> {
    /// With the secret in this Secret.
    Secret(&'a ResourceRef),
    /// Not at all: the client has no secret.
    Nothing,
}

/// How a session ends at the provider too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logout {
    /// It does not.
    Local,
    /// The browser is sent there.
    Get,
    /// The browser sends a form there.
    Post,
}

/// Which requests from other sites bring a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameSite {
    /// Those that open a page.
    #[default]
    Lax,
    /// None.
    Strict,
    /// All.
    None,
}

/// How cookies are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieForm {
    /// Only over TLS.
    pub secure: bool,
    /// Not for scripts.
    pub http_only: bool,
    /// For which paths; none, for those beside the one that set it.
    pub path: Option<String>,
    /// For which domain; none, for the host alone.
    pub domain: Option<String>,
    /// Which requests from other sites bring it.
    pub same_site: SameSite,
    /// How many seconds it lasts; none, as long as the browser runs.
    pub max_age: Option<u32>,
}

impl OidcAuthorizationCode {
    /// The request headers on which its answer depends.
    pub const READS: [&'static str; 5] = ["cookie", "origin", "sec-fetch-mode", "sec-fetch-site", "x-requested-with"];

    /// The headers that it sets on requests that pass, in lower case.
    pub fn sets(&self) -> BTreeSet<String> {
        let headers = self.headers.as_ref();
        let tokens = headers.into_iter().flat_map(|headers| [&headers.id_token_header, &headers.access_token_header]);
        let claims = self.of_id_token().iter().chain(self.of_access_token()).map(|claim| &claim.header);
        let written = tokens.chain(claims).filter_map(Option::as_deref).filter(|name| !name.is_empty());
        written.map(str::to_ascii_lowercase).collect()
    }

    /// Claims of the id token that go into headers.
    pub fn of_id_token(&self) -> &[ClaimToHeader] {
        claims(self.identity_token.as_ref())
    }

    /// Claims of the access token that go into headers.
    pub fn of_access_token(&self) -> &[ClaimToHeader] {
        claims(self.access_token.as_ref())
    }

    /// How we prove who asks; none if it is not written.
    pub fn proof(&self) -> Option<ClientProof<'_>> {
        let newer = self.client_authentication.as_ref().and_then(|ways| ways.client_secret.as_ref());
        let (reference, disabled) = match newer {
            Some(secret) => (secret.client_secret_ref.as_ref(), secret.disable_client_secret),
            None => (self.client_secret_ref.as_ref(), self.disable_client_secret),
        };
        match (reference, disabled.unwrap_or_default()) {
            (Some(reference), false) => Some(ClientProof::Secret(reference)),
            (None, true) => Some(ClientProof::Nothing),
            _ => None,
        }
    }

    /// The Secret with the key that cookies are sealed with.
    pub fn cipher_key(&self) -> Option<&ResourceRef> {
        self.session.as_ref()?.cipher_config.as_ref()?.key_ref.as_ref()
    }

    /// How often the provider is asked for its addresses and keys.
    pub fn poll(&self) -> Duration {
        self.discovery_poll_interval.map_or(POLL, |ProtoDuration(poll)| poll)
    }

    /// Where the provider says what it has.
    pub fn discovery_url(&self) -> String {
        let issuer = self.issuer_url.as_deref().unwrap_or_default();
        format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
    }

    /// The public address of the application, without a slash at its end, and the part of it that is its origin.
    pub fn app(&self) -> Option<(String, String)> {
        let target = Target::of_url(self.app_url.as_deref()?).ok()?;
        let origin = target.origin();
        let path = target.path.strip_suffix('/').unwrap_or(&target.path);
        Some((format!("{origin}{path}"), origin))
    }

    /// The path of a request that comes for `path`, which is relative to the application's address.
    pub fn path_of(&self, path: &str) -> Option<String> {
        let (app, origin) = self.app()?;
        Some(format!("{}{path}", app.strip_prefix(&origin)?))
    }

    /// How cookies of sessions are set.
    pub fn cookies(&self) -> CookieForm {
        let unwritten = CookieOptions::default();
        let options = self.session.as_ref().and_then(|session| session.cookie_options.as_ref()).unwrap_or(&unwritten);
        let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        CookieForm {
            secure: !options.not_secure,
            http_only: options.http_only.unwrap_or(true),
            path: options.path.clone().map_or_else(|| Some("/".to_owned()), |path| non_empty(&Some(path))),
            domain: non_empty(&options.domain),
            same_site: options.same_site().unwrap_or_default(),
            max_age: Some(options.max_age.unwrap_or(MAX_AGE)).filter(|age| *age > 0),
        }
    }

    /// What is particular to sessions in cookies.
    pub fn in_cookies(&self) -> Option<&CookieSession> {
        self.session.as_ref()?.cookie.as_ref()
    }

    /// How a session ends at the provider too.
    pub fn ends(&self) -> Logout {
        let overridden = self.discovery_override.as_ref().is_some_and(|own| own.end_session_endpoint.is_some());
        match &self.end_session_properties {
            Some(properties) => properties.ends().unwrap_or(Logout::Get),
            None if overridden => Logout::Get,
            None => Logout::Local,
        }
    }
}

fn claims(options: Option<&TokenOptions>) -> &[ClaimToHeader] {
    options.map(|options| &*options.claims_to_headers).unwrap_or_default()
}

impl EndSessionProperties {
    /// What is written; none if it is nothing that can be meant.
    fn ends(&self) -> Option<Logout> {
        match &self.method_type {
            None => Some(Logout::Get),
            Some(written) => named(written, &["GetMethod", "PostMethod"])
                .and_then(|number| [Logout::Get, Logout::Post].get(number).copied()),
        }
    }
}

impl CookieOptions {
    /// What is written; none if it is nothing that can be meant.
    fn same_site(&self) -> Option<SameSite> {
        let Some(written) = &self.same_site else { return Some(SameSite::Lax) };
        let number = named(written, &["DefaultMode", "LaxMode", "StrictMode", "NoneMode"])?;
        [SameSite::Lax, SameSite::Lax, SameSite::Strict, SameSite::None].get(number).copied()
    }
}

/// The number of a value of an enumeration, which may be written as that or as its name.
fn named(written: &serde_json::Value, names: &[&str]) -> Option<usize> {
    match written {
        serde_json::Value::String(name) => names.iter().position(|known| known == name),
        number => number.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|at| *at < names.len()),
    }
}
