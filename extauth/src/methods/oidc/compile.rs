//! From what is written to what decides.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::contract::config_id;
use api::gloo::auth_config::{ClientProof, HeaderOptions, OidcAuthorizationCode, Target};
use api::secret::{CLIENT_SECRET, ENCRYPTION_KEY, ENCRYPTION_SECRET, OAUTH_SECRET};
use api::{Problem, Redacted};

use super::attempt::Attempts;
use super::cookies::Jar;
use super::provider;
use super::seal::Seals;
use super::session::Asks;
use super::tokens::{Asker, Tokens};
use super::{Guard, Oidc, Places, Uses};
use crate::methods::access_token::claims::{ToHeaders, ToMetadata};
use crate::methods::access_token::nobody;
use crate::methods::complaints::Complaints;
use crate::methods::{Accepts, Compiled, Context, Credentials, Inputs, Method, Need, Never, Read, Whose};
use crate::step::Fault;

/// A key has so many bytes.
const KEY_BYTES: usize = 32;

impl Method for OidcAuthorizationCode {
    fn needs(&self, namespace: &str) -> Vec<Need<'_>> {
        let secret = match self.proof() {
            Some(ClientProof::Secret(named)) => Some(named),
            _ => None,
        };
        secret.into_iter().chain(self.cipher_key()).map(|named| Need::Named(named.resolve(namespace))).collect()
    }

    fn reads(&self, field: &str, namespace: &str, inputs: &Inputs<'_>) -> Read {
        let mut read = Read::default();
        let mut find = |named: &api::gloo::ResourceRef, kind, entry, at: &str| match inputs.secrets.named(
            &named.resolve(namespace),
            kind,
            entry,
        ) {
            Ok(secret) => read.secrets.push(secret),
            Err(why) => {
                let why = format!("{why}; until then every request is answered 503");
                read.problems.push(Problem::warning(format!("{field}{at}"), why));
            }
        };
        if let Some(ClientProof::Secret(named)) = self.proof() {
            let newer = self.client_authentication.is_some();
            let at = if newer { ".clientAuthentication.clientSecret.clientSecretRef" } else { ".clientSecretRef" };
            find(named, OAUTH_SECRET, CLIENT_SECRET, at);
        }
        if let Some(named) = self.cipher_key() {
            find(named, ENCRYPTION_SECRET, ENCRYPTION_KEY, KEY_REF);
        }
        read
    }

    fn lets_in(&self, _: &str) -> BTreeSet<Credentials<'_>> {
        let mut judges = self.clone();
        (judges.headers, judges.access_token, judges.identity_token) = (None, None, None);
        judges.dynamic_metadata_from_claims.clear();
        let text = serde_json::to_string(&judges).unwrap_or_default();
        BTreeSet::from([Credentials::Asked { text, secrets: Vec::new() }])
    }

    fn compile(&self, field: &str, whose: Whose<'_>, read: &Read, context: &Context) -> Compiled {
        let accepts = Accepts { issuers: 1, ..Accepts::default() };
        let never = |fault, problems| Compiled { step: Box::new(Never(fault)), accepts, problems };
        let entry = |kind: &str, entry: &str| {
            let secret = read.secrets.iter().find(|secret| secret.kind == kind);
            secret.and_then(|secret| secret.data.get(entry))
        };
        let secret = entry(OAUTH_SECRET, CLIENT_SECRET);
        let key = entry(ENCRYPTION_SECRET, ENCRYPTION_KEY);
        let lacks_secret = matches!(self.proof(), Some(ClientProof::Secret(_))) && secret.is_none();
        if lacks_secret || (self.cipher_key().is_some() && key.is_none()) {
            // Which is said already.
            return never(Fault::Unavailable, Vec::new());
        }
        let mut problems: Vec<Problem> =
            hosts(self).filter_map(|(at, host)| nobody(&format!("{field}{at}"), &host)).collect();
        let master = match key.map(Redacted::expose) {
            Some(key) if key.len() != KEY_BYTES => {
                let why = format!(
                    "the key has {} bytes; write one of exactly {KEY_BYTES}; until then every request is answered 503",
                    key.len()
                );
                problems.push(Problem::warning(format!("{field}{KEY_REF}"), why));
                return never(Fault::Unavailable, problems);
            }
            Some(key) => key,
            None => {
                if context.signing.fleeting {
                    let why = "no key: sessions end when this process does, and another replica does not know them; write keyRef, or start extauth with SIGNING_KEY";
                    problems.push(Problem::warning(format!("{field}.session.cipherConfig"), why));
                }
                context.signing.expose()
            }
        };
        match guard(self, whose, master, secret, context) {
            Some(guard) => Compiled { step: Box::new(Oidc(Arc::new(guard))), accepts, problems },
            None => {
                problems.push(Never::problem(field));
                never(Fault::Internal, problems)
            }
        }
    }
}

const KEY_REF: &str = ".session.cipherConfig.keyRef";

/// Each host that is asked, and where it stands.
fn hosts(login: &OidcAuthorizationCode) -> impl Iterator<Item = (&'static str, String)> {
    let own = login.discovery_override.as_ref();
    let urls = [
        (".issuerUrl", login.issuer_url.as_deref()),
        (".discoveryOverride.tokenEndpoint", own.and_then(|own| own.token_endpoint.as_deref())),
        (".discoveryOverride.jwksUri", own.and_then(|own| own.jwks_uri.as_deref())),
    ];
    urls.into_iter().filter_map(|(at, url)| Some((at, Target::of_url(url?).ok()?.host)))
}

/// What decides in the step that `whose` says; none by a fault of ours.
fn guard(
    login: &OidcAuthorizationCode,
    whose: Whose<'_>,
    master: &[u8],
    secret: Option<&Redacted>,
    context: &Context,
) -> Option<Guard> {
    let (config, name) = (config_id(whose.config), whose.step);
    let client = login.client_id.clone()?;
    let who = Target::of_url(login.issuer_url.as_deref()?).ok()?.authority();
    let seals = |purpose: &str| {
        let issuer = login.discovery_url();
        Seals::of(master, &[&config, name, &issuer, &client, purpose])
    };
    let asker = Asker {
        id: client.clone(),
        secret: secret.cloned(),
        more: login
            .token_endpoint_query_params
            .iter()
            .filter(|(name, _)| *name != "code_verifier")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    };
    let policy = login.jwks_cache_refresh_policy.as_ref();
    Some(Guard {
        remote: provider::remote(login, &context.trust)?,
        tokens: Tokens::of(&who, asker, &context.trust)?,
        attempts: Attempts::with(seals("login")?),
        seals: seals("session")?,
        jar: Jar::of(login),
        asks: Asks {
            client: client.clone(),
            algorithms: login.discovery_override.as_ref().map(|own| own.id_token_algs.clone()).unwrap_or_default(),
            reads_access: !login.of_access_token().is_empty(),
            refreshes: login.in_cookies().and_then(|session| session.allow_refreshing).unwrap_or(false),
        },
        places: places(login, client)?,
        uses: uses(login, name),
        longest: login.cookies().max_age.map(u64::from),
        fetches_anew: policy
            .is_none_or(|policy| policy.never.is_none() && policy.max_idp_req_per_polling_interval != Some(0)),
        complaints: Complaints::of(name, &who),
    })
}

fn places(login: &OidcAuthorizationCode, client: String) -> Option<Places> {
    let (app, origin) = login.app()?;
    let callback = login.callback_path.as_deref()?;
    let redirect = format!("{app}{callback}");
    let after = login.after_logout_url.clone().filter(|url| !url.is_empty());
    let mut scope = "openid".to_owned();
    for more in login.scopes.iter().filter(|scope| *scope != "openid") {
        scope.push(' ');
        scope.push_str(more);
    }
    let of_pkce = |name: &str| name.starts_with("code_challenge") || name == "code_verifier";
    let written = login.auth_endpoint_query_params.iter().filter(|(name, _)| !of_pkce(name));
    let ours = [("response_type", "code"), ("client_id", &client), ("redirect_uri", &redirect), ("scope", &scope)];
    let question = ours
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(written.map(|(name, value)| (name.clone(), value.clone())))
        .collect();
    Some(Places {
        callback: login.path_of(callback)?,
        logout: login.logout_path.as_deref().and_then(|path| login.path_of(path)),
        after_logout: after.unwrap_or_else(|| format!("{app}/")),
        ends: login.ends(),
        domain: login
            .in_cookies()
            .and_then(|session| session.target_domain.clone())
            .filter(|domain| !domain.is_empty()),
        redirect,
        question,
        app,
        origin,
    })
}

fn uses(login: &OidcAuthorizationCode, name: &str) -> Uses {
    let unwritten = HeaderOptions::default();
    let headers = login.headers.as_ref().unwrap_or(&unwritten);
    let lower = |name: &Option<String>| name.as_deref().filter(|name| !name.is_empty()).map(str::to_ascii_lowercase);
    Uses {
        id_header: lower(&headers.id_token_header),
        access_header: lower(&headers.access_token_header),
        bearer: headers.use_bearer_schema_for_authorization.unwrap_or_default(),
        of_id: ToHeaders::of(login.of_id_token()),
        of_access: ToHeaders::of(login.of_access_token()),
        metadata: ToMetadata::of(&login.dynamic_metadata_from_claims, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever got in by what was written before still does after an edit of what is told: that is no other door.
    #[test]
    fn whom_a_login_lets_in_does_not_depend_on_what_is_told_of_them() {
        let login = |more: &str| -> OidcAuthorizationCode {
            let text = format!(
                r#"{{"clientId": "us", "issuerUrl": "https://idp", "appUrl": "https://app", "callbackPath": "/cb"{more}}}"#
            );
            serde_json::from_str(&text).expect("a login")
        };
        let plain = login("");
        for told in [
            r#", "headers": {"idTokenHeader": "x-id"}"#,
            r#", "accessToken": {"claimsToHeaders": [{"claim": "a", "header": "x-a"}]}"#,
            r#", "identityToken": {"claimsToHeaders": [{"claim": "a", "header": "x-a"}]}"#,
            r#", "dynamicMetadataFromClaims": {"a": "b"}"#,
        ] {
            assert_eq!(login(told).lets_in(""), plain.lets_in(""), "{told}");
        }
        assert_ne!(login(r#", "logoutPath": "/out""#).lets_in(""), plain.lets_in(""));
        let elsewhere = OidcAuthorizationCode { issuer_url: Some("https://other".to_owned()), ..plain.clone() };
        assert_ne!(elsewhere.lets_in(""), plain.lets_in(""));
    }
}
