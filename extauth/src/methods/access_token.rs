//! The `oauth2.accessTokenValidation` step: a bearer token says who sends the request.
//!
//! A token that is not good denies. Where it cannot be found out whether it is, nothing is: neither the step nor its negation
//! holds.

mod bearer;
mod claims;
mod jwt;
mod keys;
mod remote;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::Problem;
use api::gloo::auth_config::AccessTokenValidation;
use api::gloo::auth_config::jwks::KeySet;
use outbound::address::{Forbidden, literal};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

pub use self::remote::Remotes;

use self::claims::Uses;
use self::jwt::{Expected, Refused};
use self::keys::Keys;
use self::remote::{Found, Remote};
use super::complaints::{Complaints, in_time, unavailable};
use super::granting::Before;
use super::{Accepts, Compiled, Context, Credentials, Method, Never, Read};
use crate::step::{Answer, Ask, Denial, Fault, Outcome, Step};

/// What later steps find the claims of a token under.
const CLAIMS: &str = "jwtAccessToken";

/// A compiled `accessTokenValidation`.
#[derive(Debug)]
struct AccessToken {
    how: How,
    uses: Arc<Uses>,
}

#[derive(Debug)]
enum How {
    /// It is signed with one of these keys.
    Local(Keys, Expected),
    /// It is signed with one of the keys at an address.
    Remote(Arc<AtAddress>),
}

#[derive(Debug)]
struct AtAddress {
    remote: Arc<Remote>,
    expected: Expected,
    complaints: Complaints,
}

impl Step for AccessToken {
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let authorization = ask.header(AccessTokenValidation::READS);
        let token = match bearer::find(authorization.as_deref(), ask.request.query()) {
            Ok(token) => token,
            Err(why) => return Answer::Now(Outcome::Deny(Denial::plain(403, why))),
        };
        match &self.how {
            How::Local(keys, expected) => {
                let verified = jwt::verify(&token, keys, expected, ask.now);
                Answer::Now(judged(verified, &self.uses, &Before::of(ask)))
            }
            How::Remote(at) => at.check(token, ask, &self.uses),
        }
    }

    fn prepare(&self) {
        if let How::Remote(at) = &self.how {
            at.remote.prepare();
        }
    }
}

impl AtAddress {
    fn check(self: &Arc<Self>, token: Zeroizing<String>, ask: &Ask<'_>, uses: &Arc<Uses>) -> Answer {
        if let Some(found) = self.remote.at_hand() {
            match jwt::verify(&token, &found.keys, &self.expected, ask.now) {
                Err(Refused::UnknownKey) if self.remote.may_fetch_anew() => {}
                Err(Refused::UnknownKey) if !found.fresh => return Answer::Now(self.old()),
                verified => return Answer::Now(judged(verified, uses, &Before::of(ask))),
            }
        }
        let (at, uses, before, now) = (self.clone(), uses.clone(), Before::of(ask), ask.now);
        let deadline = in_time(ask.deadline);
        Answer::Later(Box::pin(async move {
            match at.remote.fetched(deadline).await {
                Ok(Found { keys, fresh }) => match jwt::verify(&token, &keys, &at.expected, now) {
                    Err(Refused::UnknownKey) if !fresh => at.old(),
                    verified => judged(verified, &uses, &before),
                },
                Err(why) => {
                    let fault = unavailable(&why);
                    at.complaints.warn(&why.to_string(), "the keys of tokens cannot be had; denying");
                    Outcome::Fault(fault)
                }
            }
        }))
    }

    /// Of keys that could not be fetched again none is the token's: there may be one by now.
    fn old(&self) -> Outcome {
        self.complaints.warn("keys could not be fetched again", "a token names a key that is not known; denying");
        Outcome::Fault(Fault::Unavailable)
    }
}

/// What becomes of a request whose token was looked at.
fn judged(verified: Result<Map<String, Json>, Refused>, uses: &Uses, before: &Before) -> Outcome {
    let claims = match verified {
        Ok(claims) => claims,
        Err(Refused::UnknownKey) => return Outcome::Deny(not_good("the token names a key that is not known")),
        Err(Refused::For(why)) => return Outcome::Deny(not_good(why)),
    };
    if !uses.suffices(&claims) {
        return Outcome::Deny(Denial::plain(403, "the token lacks a scope"));
    }
    let text = |name: &str| claims.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
    // As for logins: of two issuers each may have a user of that name.
    let user = text("iss").zip(text("sub")).map(|(issuer, subject)| format!("{issuer};{subject}"));
    match uses.grant(claims, CLAIMS, user.as_deref(), before) {
        Ok(grant) => Outcome::Pass(grant),
        Err(why) => Outcome::Deny(Denial::plain(403, why)),
    }
}

/// The token is there and not good (RFC 6750, 3.1).
fn not_good(reason: &'static str) -> Denial {
    const CHALLENGE: &[crate::step::Header] =
        &[(Cow::Borrowed("www-authenticate"), Cow::Borrowed("Bearer error=\"invalid_token\""))];
    Denial { headers: Cow::Borrowed(CHALLENGE), ..Denial::plain(401, reason) }
}

impl Method for AccessTokenValidation {
    fn lets_in(&self, _: &str) -> BTreeSet<Credentials<'_>> {
        let mut judges = self.clone();
        judges.claims_to_headers.clear();
        judges.dynamic_metadata_from_claims.clear();
        let text = serde_json::to_string(&judges).unwrap_or_default();
        BTreeSet::from([Credentials::Asked { text, secrets: Vec::new() }])
    }

    fn compile(&self, field: &str, name: &str, _: &Read, context: &Context) -> Compiled {
        let mut problems = Vec::new();
        let how = self.jwt.as_ref().and_then(|jwt| {
            let issuer = jwt.issuer.clone().filter(|issuer| !issuer.is_empty());
            let expected = Expected { issuer, audiences: jwt.audiences.clone() };
            match (&jwt.remote_jwks, &jwt.local_jwks) {
                (Some(remote), None) => {
                    let target = api::gloo::auth_config::Target::of_url(remote.url.as_deref()?).ok()?;
                    if let Some(why) = literal(&target.host).and_then(Forbidden::of) {
                        problems.push(Problem::warning(field, format!("{why}; every token is answered 503")));
                    }
                    let complaints = Complaints::of(name, &target.authority());
                    let remote = context.remotes.at(remote, &context.trust)?;
                    Some(How::Remote(Arc::new(AtAddress { remote, expected, complaints })))
                }
                (None, Some(local)) => {
                    let set = KeySet::parse(local.inline_string.as_deref()?.as_bytes()).ok()?;
                    Some(How::Local(Keys::of(set), expected))
                }
                _ => None,
            }
        });
        let accepts = Accepts { issuers: 1, ..Accepts::default() };
        let Some(how) = how else {
            problems.push(Never::problem(field));
            return Compiled { step: Box::new(Never), accepts, problems };
        };
        let step = Box::new(AccessToken { how, uses: Arc::new(Uses::of(self, name)) });
        Compiled { step, accepts, problems }
    }
}
