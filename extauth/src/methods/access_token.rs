//! The `oauth2.accessTokenValidation` step: a bearer token says who sends the request.
//!
//! A token that is not good denies. Where it cannot be found out whether it is, nothing is: neither the step nor its negation
//! holds.

mod bearer;
pub(super) mod claims;
mod issuer;
pub(super) mod jwt;
pub(super) mod keys;
pub(super) mod remote;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use api::gloo::auth_config::jwks::KeySet;
use api::gloo::auth_config::{AccessTokenValidation, Target};
use api::secret::{CLIENT_SECRET, OAUTH_SECRET};
use api::{Problem, Redacted};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use outbound::address::{Forbidden, literal};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

pub use self::remote::Remotes;

use self::claims::Uses;
use self::issuer::{Facts, Issuer, Told};
use self::jwt::{Expected, Refused};
use self::keys::Keys;
use self::remote::{Found, Remote};
use super::complaints::{Complaints, in_time, unavailable, unusable};
use super::granting::Before;
use super::{Accepts, Compiled, Context, Credentials, Inputs, Method, Need, Never, Read, Whose};
use crate::state::State;
use crate::step::{Answer, Ask, Denial, Fault, Outcome, Step};

/// What later steps find the claims of a signed token under.
const CLAIMS: &str = "jwtAccessToken";
/// And what an issuer says, of the owner if it is asked about him.
const ISSUER: &str = "introspection";

/// A compiled `accessTokenValidation`.
#[derive(Debug)]
struct AccessToken(Arc<Judge>);

/// What decides about tokens.
#[derive(Debug)]
struct Judge {
    how: How,
    /// Who is asked about the owners of tokens that are signed.
    owners: Option<Issuer>,
    /// Which part of what an issuer says of a token names the user.
    names_user: Option<String>,
    uses: Uses,
    complaints: Complaints,
}

#[derive(Debug)]
enum How {
    /// It is signed with one of these keys.
    Local(Keys, Expected),
    /// It is signed with one of the keys at an address.
    Remote(Arc<Remote>, Expected),
    /// The issuer says whether it is good.
    Asked(Issuer),
}

/// A token and the request that it is for.
struct Presented {
    token: Zeroizing<String>,
    before: Before,
    now: SystemTime,
    deadline: Instant,
}

impl Step for AccessToken {
    fn check(&self, ask: &Ask<'_>) -> Answer {
        let authorization = ask.header("authorization");
        let token = match bearer::find(authorization.as_deref(), ask.request.query()) {
            Ok(token) => token,
            Err(why) => return Answer::Now(Outcome::Deny(Denial::plain(403, why))),
        };
        let (before, now, deadline) = (Before::of(ask), ask.now, in_time(ask.deadline));
        let (judge, presented) = (self.0.clone(), Presented { token, before, now, deadline });
        let mut answer: BoxFuture<'static, Outcome> = Box::pin(async move { judge.outcome(presented).await });
        // What is known at once, or was kept, needs no waiting.
        match (&mut answer).now_or_never() {
            Some(outcome) => Answer::Now(outcome),
            None => Answer::Later(answer),
        }
    }

    fn prepare(&self) {
        if let How::Remote(remote, _) = &self.0.how {
            remote.prepare();
        }
    }
}

impl Judge {
    async fn outcome(&self, presented: Presented) -> Outcome {
        let verified = match &self.how {
            How::Local(keys, expected) => jwt::verify(&presented.token, keys, expected, presented.now),
            How::Remote(remote, expected) => match self.signed(remote, expected, &presented).await {
                Ok(verified) => verified,
                Err(fault) => return Outcome::Fault(fault),
            },
            How::Asked(issuer) => return self.asked(issuer, presented).await,
        };
        let claims = match verified {
            Ok(claims) => claims,
            Err(Refused::UnknownKey) => return Outcome::Deny(not_good("the token names a key that is not known")),
            Err(Refused::For(why)) => return Outcome::Deny(not_good(why)),
        };
        if !self.uses.suffices(&claims) {
            return Outcome::Deny(NO_SCOPE);
        }
        let Presented { token, before, deadline, .. } = presented;
        let mut state = State::default();
        if let Some(issuer) = &self.owners {
            match self.facts(issuer, token, deadline).await {
                Ok(facts) if !facts.are_of(&claims) => return self.unusable(issuer, "it tells of another user"),
                Ok(facts) => state.set(ISSUER, facts.owner.clone().unwrap_or_default().into()),
                Err(outcome) => return outcome,
            }
        }
        state.set(CLAIMS, claims.clone().into());
        let text = |name: &str| claims.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        // As for logins: of two issuers each may have a user of that name.
        let user = text("iss").zip(text("sub")).map(|(issuer, subject)| format!("{issuer};{subject}"));
        self.granted(&claims, user.as_deref(), state, &before)
    }

    /// Whether a token is signed with one of the keys of `remote`.
    async fn signed(
        &self,
        remote: &Remote,
        expected: &Expected,
        Presented { token, now, deadline, .. }: &Presented,
    ) -> Result<Result<Map<String, Json>, Refused>, Fault> {
        // Of old keys none may be the token's: there may be one by now.
        let old = || {
            let what = "a token names a key that is not known; denying";
            self.complaints.warn("keys could not be fetched again", what);
            Err(Fault::Unavailable)
        };
        if let Some(found) = remote.at_hand() {
            match jwt::verify(token, &found.keys, expected, *now) {
                Err(Refused::UnknownKey) if remote.may_fetch_anew() => {}
                Err(Refused::UnknownKey) if !found.fresh => return old(),
                verified => return Ok(verified),
            }
        }
        match remote.fetched(*deadline).await {
            Ok(Found { keys, fresh }) => match jwt::verify(token, &keys, expected, *now) {
                Err(Refused::UnknownKey) if !fresh => old(),
                verified => Ok(verified),
            },
            Err(why) => {
                let fault = unavailable(&why);
                self.complaints.warn(&why.to_string(), "the keys of tokens cannot be had; denying");
                Err(fault)
            }
        }
    }

    /// What becomes of a token about which `issuer` is asked.
    async fn asked(&self, issuer: &Issuer, presented: Presented) -> Outcome {
        let Presented { token, before, now, deadline } = presented;
        let facts = match self.facts(issuer, token, deadline).await {
            Ok(facts) => facts,
            Err(outcome) => return outcome,
        };
        let Some(claims) = &facts.token else { return Outcome::Fault(Fault::Internal) };
        if !facts.are_of(claims) {
            return self.unusable(issuer, "it tells of another user");
        }
        // It may have been said a while ago.
        if let Err(why) = jwt::times(claims, now) {
            return Outcome::Deny(Denial::plain(403, why));
        }
        if !self.uses.suffices(claims) {
            return Outcome::Deny(NO_SCOPE);
        }
        let user = match &self.names_user {
            None => None,
            Some(name) => match claims.get(name) {
                // One that no header can name is refused where it is set.
                Some(Json::String(user)) => Some(user.clone()),
                Some(Json::Number(user)) => Some(user.to_string()),
                _ => return Outcome::Deny(Denial::plain(403, "the token names no user")),
            },
        };
        let mut state = State::default();
        state.set(ISSUER, facts.owner.as_ref().unwrap_or(claims).clone().into());
        self.granted(claims, user.as_deref(), state, &before)
    }

    /// What `issuer` says of `token`, if it is good.
    async fn facts(&self, issuer: &Issuer, token: Zeroizing<String>, deadline: Instant) -> Result<Arc<Facts>, Outcome> {
        match issuer.ask(token, deadline).await {
            outbound::Outcome::Answered(told) => match &*told {
                Told::Good(facts) => Ok(facts.clone()),
                Told::NotGood(why) => Err(Outcome::Deny(Denial::plain(403, why))),
                Told::Unusable(why) => Err(self.unusable(issuer, why)),
            },
            outbound::Outcome::Unavailable(why) => {
                let fault = unavailable(&why);
                self.complaints.warn(&why.to_string(), "an issuer cannot be asked about a token; denying");
                Err(Outcome::Fault(fault))
            }
        }
    }

    fn unusable(&self, issuer: &Issuer, why: &str) -> Outcome {
        self.complaints.warn(&format!("{}: {why}", issuer.who), "an issuer's answer cannot be used; denying");
        Outcome::Fault(unusable())
    }

    fn granted(&self, claims: &Map<String, Json>, user: Option<&str>, state: State, before: &Before) -> Outcome {
        match self.uses.grant(claims, user, state, before) {
            Ok(grant) => Outcome::Pass(grant),
            Err(why) => Outcome::Deny(Denial::plain(403, why)),
        }
    }
}

/// The token is good, and not for this.
const NO_SCOPE: Denial = Denial::plain(403, "the token lacks a scope");

/// The token is there and not good (RFC 6750, 3.1).
fn not_good(reason: &'static str) -> Denial {
    const CHALLENGE: &[crate::step::Header] =
        &[(Cow::Borrowed("www-authenticate"), Cow::Borrowed("Bearer error=\"invalid_token\""))];
    Denial { headers: Cow::Borrowed(CHALLENGE), ..Denial::plain(401, reason) }
}

impl Method for AccessTokenValidation {
    fn needs(&self, namespace: &str) -> Vec<Need<'_>> {
        self.client_secret().map(|named| Need::Named(named.resolve(namespace))).into_iter().collect()
    }

    fn reads(&self, field: &str, namespace: &str, inputs: &Inputs<'_>) -> Read {
        let Some(named) = self.client_secret() else { return Read::default() };
        match inputs.secrets.named(&named.resolve(namespace), OAUTH_SECRET, CLIENT_SECRET) {
            Ok(secret) => Read { secrets: vec![secret], problems: Vec::new() },
            Err(why) => {
                let why = format!("{why}; until then every token is answered 503");
                let field = format!("{field}.introspection.clientSecretRef");
                Read { secrets: Vec::new(), problems: vec![Problem::warning(field, why)] }
            }
        }
    }

    fn lets_in(&self, _: &str) -> BTreeSet<Credentials<'_>> {
        let mut judges = self.clone();
        judges.claims_to_headers.clear();
        judges.dynamic_metadata_from_claims.clear();
        let text = serde_json::to_string(&judges).unwrap_or_default();
        BTreeSet::from([Credentials::Asked { text, secrets: Vec::new() }])
    }

    fn compile(&self, field: &str, whose: Whose<'_>, read: &Read, context: &Context) -> Compiled {
        let name = whose.step;
        let accepts = Accepts { issuers: 1, ..Accepts::default() };
        let never = |fault, problems| Compiled { step: Box::new(Never(fault)), accepts, problems };
        let secret = read.secrets.first().and_then(|secret| secret.data.get(CLIENT_SECRET));
        if self.client_secret().is_some() && secret.is_none() {
            // Which is said already.
            return never(Fault::Unavailable, Vec::new());
        }
        let mut problems: Vec<Problem> =
            hosts(self).filter_map(|(at, host)| nobody(&format!("{field}{at}"), &host)).collect();
        let Some(judge) = judge(self, name, secret, context) else {
            problems.push(Never::problem(field));
            return never(Fault::Internal, problems);
        };
        Compiled { step: Box::new(AccessToken(Arc::new(judge))), accepts, problems }
    }
}

/// That nobody is asked at `host`, if it is such an address.
pub(super) fn nobody(field: &str, host: &str) -> Option<Problem> {
    let why = literal(host).and_then(Forbidden::of)?;
    Some(Problem::warning(field, format!("{why}; every token is answered 503")))
}

/// Each host that is asked, and where it stands.
fn hosts(validation: &AccessTokenValidation) -> impl Iterator<Item = (&'static str, String)> {
    let remote = validation.jwt.as_ref().and_then(|jwt| jwt.remote_jwks.as_ref());
    let introspection = validation.introspection.as_ref().and_then(|asks| asks.introspection_url.as_deref());
    let urls = [
        (".jwt.remoteJwks.url", remote.and_then(|remote| remote.url.as_deref())),
        (".introspection.introspectionUrl", introspection),
        (".introspectionUrl", validation.introspection_url.as_deref()),
        (".userinfoUrl", validation.userinfo_url.as_deref()),
    ];
    urls.into_iter().filter_map(|(at, url)| Some((at, Target::of_url(url?).ok()?.host)))
}

/// What decides about tokens in the step called `name`; none by a fault of ours.
fn judge(
    validation: &AccessTokenValidation,
    name: &str,
    secret: Option<&Redacted>,
    context: &Context,
) -> Option<Judge> {
    let how = match &validation.jwt {
        None => How::Asked(Issuer::of(validation, secret, context)?),
        Some(jwt) => {
            let issuer = jwt.issuer.clone().filter(|issuer| !issuer.is_empty());
            let expected = Expected { issuer, audiences: jwt.audiences.clone() };
            match (&jwt.remote_jwks, &jwt.local_jwks) {
                (Some(remote), None) => How::Remote(context.remotes.at(remote, &context.trust)?, expected),
                (None, Some(local)) => {
                    let set = KeySet::parse(local.inline_string.as_deref()?.as_bytes()).ok()?;
                    How::Local(Keys::of(set), expected)
                }
                _ => return None,
            }
        }
    };
    let owners = match (&validation.jwt, &validation.userinfo_url) {
        (Some(_), Some(_)) => Some(Issuer::of(validation, None, context)?),
        _ => None,
    };
    let names_user = validation.introspection.as_ref().and_then(|asks| asks.user_id_attribute_name.clone());
    let who = hosts(validation).next().map(|(_, host)| host).unwrap_or_default();
    Some(Judge {
        how,
        owners,
        names_user: names_user.filter(|name| !name.is_empty()),
        uses: Uses::of(validation, name),
        complaints: Complaints::of(name, &who),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;
    use waykeeper_tests::tokens::{Signer, jwks};

    use super::*;

    /// Old keys that cannot be fetched again do not say of a key that it is none.
    #[tokio::test(start_paused = true)]
    async fn a_key_that_old_keys_do_not_have_is_a_fault_and_one_that_they_have_counts() {
        let (known, other) = (Signer::ed25519("known"), Signer::ed25519("other"));
        let keys = Arc::new(Keys::of(KeySet::parse(jwks([&known]).as_bytes()).unwrap()));
        let well = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let refresh = Duration::from_secs(300);
        let is_well = well.clone();
        let remote = Remote::asking("idp", refresh, move |_| {
            let answer = match is_well.load(std::sync::atomic::Ordering::Relaxed) {
                true => outbound::Outcome::Answered(keys.clone()),
                false => {
                    outbound::Outcome::Unavailable(outbound::Unavailable::new(&"idp".into(), outbound::Why::Broken, ""))
                }
            };
            std::future::ready(answer).boxed()
        });
        let judge = Judge {
            how: How::Remote(Arc::new(remote), Expected::default()),
            owners: None,
            names_user: None,
            uses: Uses::of(&AccessTokenValidation::default(), "token"),
            complaints: Complaints::of("token", "idp"),
        };
        let judged = async |signer: &Signer| {
            let before = Before { changes: Default::default(), user_header: "x-user-id".into() };
            let deadline = tokio::time::Instant::now().into_std() + Duration::from_millis(100);
            let token = Zeroizing::new(signer.token(&json!({})));
            let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            match judge.outcome(Presented { token, before, now, deadline }).await {
                Outcome::Pass(_) => 200,
                Outcome::Deny(denial) => denial.status,
                Outcome::Fault(_) => 503,
            }
        };
        assert_eq!((judged(&known).await, judged(&other).await), (200, 401));
        well.store(false, std::sync::atomic::Ordering::Relaxed);
        // New enough, and asked about a moment ago.
        assert_eq!((judged(&known).await, judged(&other).await), (200, 401));
        for _ in 0..3 {
            tokio::time::advance(refresh).await;
            for _ in 0..3 {
                assert_eq!((judged(&known).await, judged(&other).await), (200, 503));
            }
        }
        tokio::time::advance(remote::KEPT).await;
        assert_eq!((judged(&known).await, judged(&other).await), (503, 503));
        well.store(true, std::sync::atomic::Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((judged(&known).await, judged(&other).await), (200, 401));
    }
}
