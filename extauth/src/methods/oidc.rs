//! The `oauth2.oidcAuthorizationCode` step: a browser without a session is sent to a provider of OpenID Connect, and comes back
//! with one.
//!
//! ```text
//! no session ─▶ 302 provider ─▶ callbackPath: code ─▶ tokens ─▶ session ─▶ 302 where it wanted to go
//! session ─▶ passes, with headers │ due ─▶ new tokens, passes │ logoutPath ─▶ ends
//! ```
//! The two paths never reach the application. Where it cannot be found out who it is, nothing is: neither the step nor its negation
//! holds.

mod answers;
mod attempt;
mod compile;
mod cookies;
mod provider;
mod seal;
mod seen;
mod session;
mod tokens;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::gloo::auth_config::Logout;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use outbound::Outcome as Asked;
use zeroize::Zeroizing;

pub use self::seal::{Signing, SigningKey};

use self::answers::{come_again, ended, form, goes_on, in_full, no_login, stays_out, to_provider};
use self::attempt::{Attempts, Returned};
use self::cookies::Jar;
use self::provider::Provider;
use self::seal::Seals;
use self::seen::Seen;
use self::session::{Asks, Of, Session, claims};
use self::tokens::{TokenSet, Tokens, Told, seconds_of};
use super::access_token::claims::{ToHeaders, ToMetadata};
use super::access_token::jwt::Refused;
use super::access_token::remote::{Found, Remote};
use super::complaints::{Complaints, unavailable, unusable};
use super::granting::Granting;
use crate::headers::Value;
use crate::step::{Answer, Ask, Denial, Fault, Outcome, SET_COOKIE, Step};

/// What later steps find the id token under.
const TOKEN: &str = "jwt";
/// Tokens are replaced so long before they are over, so that whoever comes meanwhile need not wait.
const EARLY: Duration = Duration::from_secs(10);

/// A compiled `oidcAuthorizationCode`.
#[derive(Debug)]
struct Oidc(Arc<Guard>);

/// What decides.
#[derive(Debug)]
struct Guard {
    remote: Remote<Provider>,
    tokens: Tokens,
    attempts: Attempts,
    seals: Seals,
    jar: Jar,
    asks: Asks,
    places: Places,
    uses: Uses,
    /// Sessions are over after so many seconds, whatever browsers do.
    longest: Option<u64>,
    /// For an unknown key, keys are fetched anew.
    fetches_anew: bool,
    complaints: Complaints,
}

/// Where things are.
#[derive(Debug)]
struct Places {
    /// The application's address, without a slash at its end.
    app: String,
    /// Its origin.
    origin: String,
    /// The path of requests that come back from the provider.
    callback: String,
    /// Where the provider sends browsers back to.
    redirect: String,
    /// The path of requests that log out.
    logout: Option<String>,
    /// Where one goes then.
    after_logout: String,
    /// Whether at the provider as well.
    ends: Logout,
    /// The only domain whose requests are answered.
    domain: Option<String>,
    /// What the provider is asked with, always.
    question: Vec<(String, String)>,
}

/// What the application and Envoy are told.
#[derive(Debug)]
struct Uses {
    id_header: Option<String>,
    access_header: Option<String>,
    /// Whether the access token stands behind `Bearer`.
    bearer: bool,
    of_id: ToHeaders,
    of_access: ToHeaders,
    metadata: ToMetadata,
}

impl Step for Oidc {
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let seen = match Seen::of(ask, &self.0.jar) {
            Ok(seen) => seen,
            Err(why) => return Answer::Now(Outcome::Deny(Denial::plain(403, why))),
        };
        let guard = self.0.clone();
        let mut answer: BoxFuture<'static, Outcome> = Box::pin(async move { guard.outcome(seen).await });
        // Whoever has a session needs no waiting.
        match (&mut answer).now_or_never() {
            Some(outcome) => Answer::Now(outcome),
            None => Answer::Later(answer),
        }
    }

    fn prepare(&self) {
        self.0.remote.prepare();
    }
}

impl Guard {
    async fn outcome(&self, seen: Seen) -> Outcome {
        if self.places.domain.as_deref().is_some_and(|domain| !seen.is_for(domain)) {
            return Outcome::Deny(Denial::plain(403, "the request is for another host than targetDomain"));
        }
        let session = self.session(&seen);
        if self.places.logout.as_deref() == Some(&*seen.path) {
            return self.log_out(&seen, session).await;
        }
        let good = session.as_ref().filter(|session| session.is_good(seen.now));
        if seen.path == self.places.callback {
            return self.callback(&seen, good.is_some()).await;
        }
        match session {
            Some(session) if self.is_due(&session, &seen) => self.replaced(&seen, &session).await,
            Some(session) if session.is_good(seen.now) => self.pass(&seen, &session, Vec::new()),
            _ => self.log_in(&seen).await,
        }
    }

    /// The session of a request, if it has one, also if its tokens are over.
    fn session(&self, seen: &Seen) -> Option<Session> {
        let text = self.seals.open(seen.brought.session.as_deref()?, b"session")?;
        let session = Session::read(&text)?;
        let age = seconds_of(seen.now).saturating_sub(session.began);
        self.longest.is_none_or(|longest| age < longest).then_some(session)
    }

    /// Whether its tokens are to be replaced, which can be.
    fn is_due(&self, session: &Session, seen: &Seen) -> bool {
        session.refresh.is_some() && seconds_of(seen.now + EARLY) >= session.until
    }

    fn pass(&self, seen: &Seen, session: &Session, cookies: Vec<String>) -> Outcome {
        match self.granted(seen, session, cookies) {
            Ok(outcome) => outcome,
            Err(why) => Outcome::Deny(Denial::plain(403, why)),
        }
    }

    fn granted(&self, seen: &Seen, session: &Session, cookies: Vec<String>) -> Result<Outcome, &'static str> {
        let claims_of_id = session.claims().ok_or("a session without claims")?;
        let mut granting = Granting::on(&seen.before);
        let user = claims_of_id
            .get("iss")
            .and_then(|iss| iss.as_str())
            .zip(claims_of_id.get("sub").and_then(|sub| sub.as_str()));
        let (issuer, subject) = user.ok_or("a session of nobody")?;
        let user = Value::new(&format!("{issuer};{subject}")).ok_or("a user that no header can name")?;
        granting.set(&seen.before.user_header, user);
        let carried = |text: &str| Value::new(text).ok_or("a token that no header can carry");
        if let Some(header) = &self.uses.id_header {
            granting.set(header, carried(&session.id)?);
        }
        if let Some(header) = &self.uses.access_header {
            let prefix = if self.uses.bearer { "Bearer " } else { "" };
            granting.set(header, carried(&Zeroizing::new(format!("{prefix}{}", *session.access)))?);
        }
        self.uses.of_id.write(&claims_of_id, &mut granting)?;
        if !self.uses.of_access.is_empty() {
            let claims_of_access = claims(&session.access).ok_or("an access token without claims")?;
            self.uses.of_access.write(&claims_of_access, &mut granting)?;
        }
        self.uses.metadata.write(&claims_of_id, &mut granting);
        // The application has no use for them, and whoever reads its log would have.
        if let Some(others) = &seen.brought.others {
            let left =
                if others.is_empty() { None } else { Some(Value::new(others).ok_or("more cookies than are read")?) };
            granting.reduce("cookie", left);
        }
        for cookie in cookies {
            granting.more.response.push((SET_COOKIE.into(), Value::new(&cookie).ok_or("a cookie that is too large")?));
        }
        granting.more.state.set(TOKEN, session.id.as_str().into());
        granting.done().map(Outcome::Pass).map_err(|_| "claims that are too large")
    }

    async fn provider(&self, deadline: Instant) -> Result<Found<Provider>, Fault> {
        if let Some(found) = self.remote.at_hand() {
            return Ok(found);
        }
        self.remote.fetched(deadline).await.map_err(|why| {
            let fault = unavailable(&why);
            self.complaints.warn(&why.to_string(), "what a provider says of itself cannot be had; denying");
            fault
        })
    }

    /// The browser is sent to the provider, if it is one that can be sent somewhere.
    async fn log_in(&self, seen: &Seen) -> Outcome {
        if !seen.opens_a_page {
            return Outcome::Deny(stays_out());
        }
        let provider = match self.provider(seen.deadline).await {
            Ok(found) => found.keys,
            Err(fault) => return Outcome::Fault(fault),
        };
        let path = if seen.path == self.places.callback { "" } else { &*seen.target };
        let begun = self.attempts.begin(seen.brought.login.as_deref(), path, seen.now);
        match begun {
            Some(begun) => Outcome::Deny(to_provider(&provider, &self.places, &self.jar, &begun)),
            None => Outcome::Fault(Fault::Internal),
        }
    }

    /// The browser comes back from the provider.
    async fn callback(&self, seen: &Seen, has_session: bool) -> Outcome {
        let params = match seen.params() {
            Ok(params) if seen.is_get => params,
            _ => return Outcome::Deny(no_login(&self.places, "a callback that cannot be read")),
        };
        let attempt = params.state.as_deref().zip(seen.brought.login.as_deref());
        let attempt = attempt.and_then(|(state, secret)| self.attempts.end(secret, state, seen.now));
        let attempt = match attempt.filter(|attempt| !self.attempts.is_used(&attempt.id, now())) {
            Some(attempt) => attempt,
            // It has logged in, in another window or a moment ago. Nothing is believed, and nothing changes.
            None if has_session => return Outcome::Deny(goes_on(&self.places, "")),
            None => {
                return Outcome::Deny(no_login(&self.places, "a login that was not begun in this browser, or is over"));
            }
        };
        let provider = match self.provider(seen.deadline).await {
            Ok(found) => found.keys,
            Err(fault) => return Outcome::Fault(fault),
        };
        // RFC 9207: what comes back may be of another provider.
        let named = params.issuer.as_deref();
        if named.is_some_and(|named| named != provider.issuer) || (named.is_none() && provider.says_issuer) {
            return Outcome::Deny(no_login(&self.places, "an answer of another provider"));
        }
        match (params.code, params.failed) {
            (Some(code), false) => self.exchange(seen, &provider, &attempt, &code).await,
            (_, true) => {
                self.attempts.uses(&attempt.id, now());
                Outcome::Deny(no_login(&self.places, "a login that the provider refused"))
            }
            (None, false) => Outcome::Deny(no_login(&self.places, "a callback without a code")),
        }
    }

    /// A code becomes a session.
    async fn exchange(&self, seen: &Seen, provider: &Arc<Provider>, attempt: &Returned, code: &str) -> Outcome {
        let text = |text: &str| Zeroizing::new(text.to_owned());
        let form = vec![
            ("grant_type", text("authorization_code")),
            ("code", text(code)),
            ("redirect_uri", text(&self.places.redirect)),
            ("code_verifier", text(&attempt.verifier)),
        ];
        let unique = Zeroizing::new(format!("code {} {code}", attempt.id));
        let told = match self.tokens.ask(provider, form, &unique, seen.deadline).await {
            // It takes longer than Envoy waits, and goes on meanwhile.
            None => return Outcome::Deny(come_again(&format!("{}?{}", self.places.redirect, seen.query))),
            Some(asked) => self.told(asked),
        };
        let session = match told.as_deref() {
            Ok(Told::Tokens(set)) => self.accepted(set, provider, &Of::Nonce(&attempt.nonce), seen).await,
            Ok(_) => {
                self.attempts.uses(&attempt.id, now());
                return Outcome::Deny(no_login(&self.places, "a code that is not good"));
            }
            Err(fault) => return Outcome::Fault(*fault),
        };
        let session = match session {
            Ok(session) => session,
            Err(outcome) => return outcome,
        };
        if !self.attempts.uses(&attempt.id, now()) {
            return Outcome::Deny(no_login(&self.places, "a login that is over"));
        }
        let Some(mut cookies) = self.kept(&session, seen) else {
            self.complaints.warn("its tokens are too large", "a session does not fit into cookies; denying");
            return Outcome::Deny(Denial::plain(403, "a session that does not fit into cookies"));
        };
        cookies.push(self.jar.no_login());
        match self.jar.is_strict() {
            false => Outcome::Deny(goes_on(&self.places, &attempt.path).with(cookies)),
            true => Outcome::Deny(in_full(&self.places, &attempt.path).with(cookies)),
        }
    }

    /// Tokens that are over, or soon will be, are replaced.
    async fn replaced(&self, seen: &Seen, session: &Session) -> Outcome {
        let good = session.is_good(seen.now);
        let refresh = match (&session.refresh, self.provider(seen.deadline).await) {
            (Some(refresh), Ok(found)) => Some((refresh, found.keys)),
            (_, Err(fault)) if !good => return Outcome::Fault(fault),
            _ => None,
        };
        let Some((refresh, provider)) = refresh else { return self.pass(seen, session, Vec::new()) };
        let form = vec![("grant_type", Zeroizing::new("refresh_token".to_owned())), ("refresh_token", refresh.clone())];
        let unique = Zeroizing::new(format!("refresh {} {}", session.until, **refresh));
        let told = match self.tokens.ask(&provider, form, &unique, seen.deadline).await {
            None if good => return self.pass(seen, session, Vec::new()),
            None if seen.opens_a_page && seen.is_get => {
                return Outcome::Deny(come_again(&format!("{}{}", self.places.origin, seen.target)));
            }
            None => return Outcome::Fault(Fault::TooLate),
            Some(asked) => self.told(asked),
        };
        match told.as_deref() {
            Ok(Told::Tokens(set)) => match self.accepted(set, &provider, &Of::Session(session), seen).await {
                Ok(new) if new.is_good(seen.now) => match self.kept(&new, seen) {
                    Some(cookies) => self.pass(seen, &new, cookies),
                    None => self.log_in(seen).await,
                },
                Ok(_) => self.log_in(seen).await,
                Err(_) if good => self.pass(seen, session, Vec::new()),
                Err(outcome) => outcome,
            },
            // The provider has ended the session.
            Ok(_) => self.log_in(seen).await,
            Err(_) if good => self.pass(seen, session, Vec::new()),
            Err(fault) => Outcome::Fault(*fault),
        }
    }

    /// The session that `set` makes, if it makes one; else what becomes of the request.
    async fn accepted(
        &self,
        set: &TokenSet,
        provider: &Provider,
        of: &Of<'_>,
        seen: &Seen,
    ) -> Result<Session, Outcome> {
        let mut made = self.asks.session(set, provider, of, seen.now);
        if matches!(made, Err(Refused::UnknownKey)) && self.fetches_anew && self.remote.may_fetch_anew() {
            match self.remote.fetched(seen.deadline).await {
                Ok(found) if found.fresh => made = self.asks.session(set, &found.keys, of, seen.now),
                _ => return Err(Outcome::Fault(Fault::Unavailable)),
            }
        }
        made.map_err(|why| {
            let why = match why {
                Refused::UnknownKey => "a token names a key that is not known",
                Refused::For(why) => why,
            };
            self.complaints.warn(why, "the tokens of a provider are not accepted; denying");
            Outcome::Deny(no_login(&self.places, why))
        })
    }

    /// What was told, if it can be used.
    fn told(&self, asked: Asked<Arc<Told>>) -> Result<Arc<Told>, Fault> {
        match asked {
            Asked::Answered(told) => match &*told {
                Told::Unusable(why) => {
                    self.complaints.warn(why, "a provider's answer cannot be used; denying");
                    Err(unusable())
                }
                Told::Tokens(_) | Told::Refused | Told::Done => Ok(told),
            },
            Asked::Unavailable(why) => {
                let fault = unavailable(&why);
                self.complaints.warn(&why.to_string(), "a provider cannot be asked for tokens; denying");
                Err(fault)
            }
        }
    }

    /// Cookies that keep `session`; none if it is too large.
    fn kept(&self, session: &Session, seen: &Seen) -> Option<Vec<String>> {
        self.jar.session(&self.seals.seal(&session.written(), b"session")?, &seen.brought)
    }

    /// The session ends, here and where it is asked for.
    async fn log_out(&self, seen: &Seen, session: Option<Session>) -> Outcome {
        if seen.comes_from_elsewhere(&self.places.origin) {
            return Outcome::Deny(Denial::plain(403, "a logout that another site has begun"));
        }
        let mut cookies = self.jar.no_session(&seen.brought);
        cookies.push(self.jar.no_login());
        let Some(session) = session else { return Outcome::Deny(ended(&self.places.after_logout).with(cookies)) };
        let Ok(found) = self.provider(seen.deadline).await else {
            return Outcome::Deny(ended(&self.places.after_logout).with(cookies));
        };
        let provider = found.keys;
        if let Some(to) = &provider.revocation {
            let refresh = session.refresh.iter().map(|token| (token, "refresh_token"));
            let all = refresh.chain([(&session.access, "access_token")]);
            let asked = all.map(|(token, hint)| self.tokens.revoke(&provider, to, token, hint, seen.deadline));
            futures_util::future::join_all(asked).await;
        }
        let answer = match (&provider.end_session, self.places.ends) {
            (None, _) | (_, Logout::Local) => ended(&self.places.after_logout),
            (Some(to), Logout::Get) => ended(&form::address(to, &form::goodbye(self, &session))),
            (Some(to), Logout::Post) => form::page(to, &form::goodbye(self, &session)),
        };
        Outcome::Deny(answer.with(cookies))
    }
}

/// The time, as the runtime tells it, so that tests may move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
