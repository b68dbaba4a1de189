//! `accessTokenValidation`: what it reads and sets, and what is wrong with one taken by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use super::jwks::{KeySet, PRIVATE};
use super::parts::{LONGEST, MOST_ENTRIES, are_scopes, headers, metadata, own_secret, url};
use super::{AccessTokenValidation, IntrospectionValidation, JwtValidation, LocalJwks, RemoteJwks};
use crate::gloo::ResourceRef;
use crate::gloo::auth_config::said::Said;
use crate::proto_json::ProtoDuration;

/// How often keys are fetched, unless written.
pub const REFRESH: Duration = Duration::from_secs(300);
/// The least and the most that may be written there.
pub(super) const REFRESHES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// How long it counts what an issuer says of a token, unless written.
const KEPT: Duration = Duration::from_secs(600);
/// The most that may be written there.
const LONGEST_KEPT: Duration = Duration::from_secs(24 * 3600);

impl RemoteJwks {
    /// How often keys are fetched.
    pub fn refresh(&self) -> Duration {
        self.refresh_interval.map_or(REFRESH, |ProtoDuration(refresh)| refresh)
    }
}

impl AccessTokenValidation {
    /// The headers in which tokens come; they may come as the query parameter `access_token` as well.
    pub const READS: [&'static str; 1] = ["authorization"];

    /// The headers that it sets on requests that pass, in lower case.
    pub fn sets(&self) -> BTreeSet<String> {
        self.claims_to_headers.iter().filter_map(|claim| claim.header.as_deref()).map(str::to_ascii_lowercase).collect()
    }

    /// How long it counts what an issuer says of a token.
    pub fn kept(&self) -> Duration {
        self.cache_timeout.map_or(KEPT, |ProtoDuration(kept)| kept)
    }

    /// The Secret with which the issuer is asked.
    pub fn client_secret(&self) -> Option<&ResourceRef> {
        self.introspection.as_ref()?.client_secret_ref.as_ref()
    }

    /// The scopes that a token must have.
    pub fn scopes(&self) -> &[String] {
        self.required_scopes.as_ref().map(|scopes| &*scopes.scope).unwrap_or_default()
    }
}

/// What is wrong with `validation`, in an AuthConfig of `namespace`.
pub(super) fn access_token(validation: &AccessTokenValidation, namespace: &str, said: &mut Said<'_>) {
    let AccessTokenValidation {
        introspection_url,
        jwt,
        introspection,
        userinfo_url,
        cache_timeout,
        required_scopes: _,
        dynamic_metadata_from_claims,
        claims_to_headers,
        default: _,
        azure,
    } = validation;
    let ways = [introspection_url.is_some(), jwt.is_some(), introspection.is_some()];
    match ways.iter().filter(|written| **written).count() {
        0 => said.wrong("", "names no way to tell whether a token is good: write jwt or introspection"),
        1 => {}
        _ => said.wrong("", "names several of introspectionUrl, jwt and introspection; write one of them"),
    }
    if let Some(jwt) = jwt {
        of_jwt(jwt, said);
    }
    if introspection_url.is_some() {
        url(".introspectionUrl", introspection_url.as_deref(), said);
    }
    if let Some(introspection) = introspection {
        of_introspection(introspection, namespace, said);
    }
    if userinfo_url.is_some() {
        url(".userinfoUrl", userinfo_url.as_deref(), said);
    }
    if azure.is_some() {
        said.refused(".azure", "what is particular to Microsoft Entra is not implemented yet; leave it out");
    }
    if let Some(ProtoDuration(kept)) = cache_timeout {
        if *kept > LONGEST_KEPT {
            said.wrong(".cacheTimeout", "write a duration of at most a day, or 0s to ask about each request");
        } else if jwt.is_some() && userinfo_url.is_none() {
            let why = "has no effect: nobody is asked about a token, so that there is nothing to keep";
            said.warn(".cacheTimeout", why);
        }
    }
    scopes(validation, said);
    headers(".claimsToHeaders", claims_to_headers, said);
    metadata(dynamic_metadata_from_claims, said);
}

fn of_introspection(introspection: &IntrospectionValidation, namespace: &str, said: &mut Said<'_>) {
    let IntrospectionValidation {
        introspection_url,
        client_id,
        client_secret_ref,
        disable_client_secret,
        user_id_attribute_name,
    } = introspection;
    url(".introspection.introspectionUrl", introspection_url.as_deref(), said);
    let named = client_id.as_deref().is_some_and(|id| !id.is_empty());
    match (client_secret_ref, disable_client_secret.unwrap_or_default()) {
        (Some(_), true) => {
            said.wrong(".introspection.disableClientSecret", "stands beside clientSecretRef; write one of them");
        }
        (None, false) if named => {
            let why = "missing: write the Secret that has it, or disableClientSecret: true if there is none";
            said.wrong(".introspection.clientSecretRef", why);
        }
        (Some(_), false) if !named => said.wrong(".introspection.clientId", "missing: write whose secret it is"),
        _ => {}
    }
    if client_id.as_deref().is_some_and(|id| id.len() > LONGEST || id.chars().any(char::is_control)) {
        said.wrong(".introspection.clientId", "is too long or has control characters");
    }
    if let Some(reference) = client_secret_ref {
        own_secret(".introspection.clientSecretRef", reference, namespace, said);
    }
    if user_id_attribute_name.as_deref().is_some_and(|name| name.len() > LONGEST) {
        said.wrong(".introspection.userIdAttributeName", "is too long");
    }
}

fn of_jwt(jwt: &JwtValidation, said: &mut Said<'_>) {
    let JwtValidation { remote_jwks, local_jwks, issuer, audiences } = jwt;
    match (remote_jwks, local_jwks) {
        (Some(remote), None) => {
            url(".jwt.remoteJwks.url", remote.url.as_deref(), said);
            if !REFRESHES.contains(&remote.refresh()) {
                said.wrong(".jwt.remoteJwks.refreshInterval", "write a duration from a second to a day");
            }
        }
        (None, Some(local)) => of_local(local, said),
        (None, None) => said.wrong(".jwt", "names no keys: write remoteJwks.url or localJwks.inlineString"),
        (Some(_), Some(_)) => said.wrong(".jwt", "names keys twice, in remoteJwks and localJwks; write one of them"),
    }
    if issuer.as_deref().unwrap_or_default().is_empty() {
        said.warn(".jwt.issuer", "not written: tokens of every issuer that signs with these keys are accepted");
    }
    if audiences.is_empty() {
        said.warn(".jwt.audiences", "not written: tokens that are meant for others are accepted too");
    }
    if audiences.iter().any(String::is_empty) {
        said.wrong(".jwt.audiences", "an audience is empty; write what tokens have in aud");
    }
    if audiences.len() > MOST_ENTRIES {
        said.wrong(".jwt.audiences", format!("more than {MOST_ENTRIES} audiences"));
    }
}

fn of_local(local: &LocalJwks, said: &mut Said<'_>) {
    let at = ".jwt.localJwks.inlineString";
    let text = local.inline_string.as_deref().unwrap_or_default();
    if text.is_empty() {
        return said.wrong(at, "missing: write a JSON Web Key Set, {\"keys\": […]}");
    }
    match KeySet::parse(text.as_bytes()) {
        Err(why) => said.wrong(at, format!("is no JSON Web Key Set: it {why}")),
        Ok(set) => {
            for (index, why) in set.ignored.iter().take(8) {
                let why = format!("keys[{index}] {why}");
                match why.ends_with(PRIVATE) {
                    true => said.wrong(at, why),
                    false => said.warn(at, format!("{why}; it is ignored")),
                }
            }
            if set.keys.is_empty() {
                said.wrong(at, "has no key that can be used, so that no token would be accepted");
            }
        }
    }
}

fn scopes(validation: &AccessTokenValidation, said: &mut Said<'_>) {
    let at = ".requiredScopes.scope";
    are_scopes(at, validation.scopes(), said);
    if validation.required_scopes.is_some() && validation.scopes().is_empty() {
        said.wrong(at, "empty: write the scopes that a token must have, or leave out requiredScopes");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use crate::{Admission, admit};

    const KEYS: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn config(validation: &Value) -> Admission {
        let spec = json!({"configs": [{"oauth2": {"accessTokenValidation": validation}}]});
        admit(
            &json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": "a"}, "spec": spec}),
        )
    }

    fn with(more: &Value) -> Value {
        let mut validation = json!({"jwt": {"localJwks": {"inlineString": KEYS}, "issuer": "i", "audiences": ["a"]}});
        validation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        validation
    }

    fn messages(admission: &Admission) -> Vec<String> {
        admission.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tokens_may_be_judged_by_keys_at_an_address_or_written_there() {
        for validation in [
            with(&json!({})),
            with(&json!({"jwt": {"remoteJwks": {"url": "https://idp/keys"}, "issuer": "i", "audiences": ["a"]}})),
            with(
                &json!({"jwt": {"remote_jwks": {"url": "http://idp", "refresh_interval": "24h"}, "issuer": "i", "audiences": ["a", "b"]}}),
            ),
            json!({"introspectionUrl": "https://idp/i", "userinfoUrl": "https://idp/me", "cacheTimeout": "0s"}),
            json!({"introspection": {"introspectionUrl": "https://idp/i"}}),
            json!({"introspection": {"introspectionUrl": "https://idp/i", "clientId": "c", "disableClientSecret": true, "userIdAttributeName": "sub"}}),
            json!({"introspection": {"introspectionUrl": "https://idp/i", "clientId": "c", "clientSecretRef": {"name": "s", "namespace": "default"}}}),
            with(&json!({"userinfoUrl": "https://idp/me", "cacheTimeout": "60s"})),
            with(&json!({"requiredScopes": {"scope": ["read", "a:b/c"]}, "default": {},
                "dynamicMetadataFromClaims": {"any key": "org_id"},
                "claimsToHeaders": [{"claim": "https://a/roles", "header": "X-Roles"}, {"claim": "b", "header": "x-roles", "append": true}]})),
        ] {
            let admission = config(&validation);
            assert!(messages(&admission).is_empty(), "{validation}: {:?}", messages(&admission));
        }
    }

    #[test]
    fn what_lets_in_more_than_one_may_think_is_warned_of() {
        for (validation, why) in [
            (json!({"jwt": {"localJwks": {"inlineString": KEYS}, "audiences": ["a"]}}), "jwt.issuer: not written"),
            (
                json!({"jwt": {"localJwks": {"inlineString": KEYS}, "issuer": "", "audiences": ["a"]}}),
                "jwt.issuer: not",
            ),
            (json!({"jwt": {"localJwks": {"inlineString": KEYS}, "issuer": "i"}}), "jwt.audiences: not written"),
            (with(&json!({"cacheTimeout": "60s"})), "cacheTimeout: has no effect"),
            (
                json!({"jwt": {"localJwks": {"inlineString": KEYS.replace("[{", r#"[{"kty":"oct","kid":"s","k":"canary"},{"#)},
                    "issuer": "i", "audiences": ["a"]}}),
                "inlineString: keys[0] is a shared secret",
            ),
        ] {
            let admission = config(&validation);
            let said = messages(&admission);
            assert!(!admission.rejected() && said.len() == 1 && said[0].contains(why), "{validation}: {said:?}");
            assert!(!said[0].contains("canary"));
        }
    }

    #[test]
    fn what_makes_no_sense_or_is_not_enforced_is_refused() {
        let jwt = |jwt: Value| with(&json!({"jwt": jwt}));
        let asks = |introspection: Value| json!({"introspection": introspection});
        let local = |text: &str| jwt(json!({"localJwks": {"inlineString": text}, "issuer": "i", "audiences": ["a"]}));
        let remote = |remote: Value| jwt(json!({"remoteJwks": remote, "issuer": "i", "audiences": ["a"]}));
        for (validation, why) in [
            (json!({}), "accessTokenValidation: names no way"),
            (with(&json!({"introspectionUrl": "http://a"})), "names several"),
            (with(&json!({"userinfoUrl": "a"})), "userinfoUrl: is no URL"),
            (json!({"userinfoUrl": "http://a"}), "names no way"),
            (json!({"introspectionUrl": ""}), "introspectionUrl: missing"),
            (json!({"introspectionUrl": "http://a", "cacheTimeout": "25h"}), "cacheTimeout: write a duration"),
            (asks(json!({})), "introspectionUrl: missing"),
            (asks(json!({"introspectionUrl": "http://a#canary"})), "introspectionUrl: has a fragment"),
            (asks(json!({"introspectionUrl": "http://a", "clientId": "c"})), "clientSecretRef: missing"),
            (asks(json!({"introspectionUrl": "http://a", "clientSecretRef": {"name": "s"}})), "clientId: missing"),
            (
                asks(
                    json!({"introspectionUrl": "http://a", "clientId": "c", "clientSecretRef": {"name": "s"}, "disableClientSecret": true}),
                ),
                "disableClientSecret: stands beside",
            ),
            (
                asks(
                    json!({"introspectionUrl": "http://a", "clientId": "c", "clientSecretRef": {"name": "s", "namespace": "other"}}),
                ),
                "clientSecretRef.namespace: is another",
            ),
            (
                asks(json!({"introspectionUrl": "http://a", "clientId": "c", "clientSecretRef": {"name": ""}})),
                "name: empty",
            ),
            (
                asks(json!({"introspectionUrl": "http://a", "clientId": "c\n", "disableClientSecret": true})),
                "clientId: is too long",
            ),
            (with(&json!({"azure": {}})), "azure: what is particular"),
            (jwt(json!({"issuer": "i", "audiences": ["a"]})), "jwt: names no keys"),
            (
                jwt(json!({"localJwks": {"inlineString": KEYS}, "remoteJwks": {"url": "http://a"}})),
                "jwt: names keys twice",
            ),
            (
                jwt(json!({"localJwks": {"inlineString": KEYS}, "issuer": "i", "audiences": [""]})),
                "audiences: an audience is empty",
            ),
            (remote(json!({})), "remoteJwks.url: missing"),
            (remote(json!({"url": "ftp://a"})), "remoteJwks.url: is no URL"),
            (remote(json!({"url": "http://canary:canary@a"})), "remoteJwks.url: has a user"),
            (remote(json!({"url": "http://a", "refreshInterval": "0s"})), "refreshInterval: write a duration"),
            (remote(json!({"url": "http://a", "refreshInterval": "25h"})), "refreshInterval: write a duration"),
            (local(""), "inlineString: missing"),
            (local("canary"), "inlineString: is no JSON Web Key Set: it is not JSON"),
            (local(r#"{"keys":[]}"#), "inlineString: has no key that can be used"),
            (local(&KEYS.replace(r#""kid""#, r#""d":"canary","kid""#)), "keys[0] is a private key"),
            (with(&json!({"requiredScopes": {}})), "requiredScopes.scope: empty"),
            (with(&json!({"requiredScopes": {"scope": ["a b"]}})), "\"a b\" is no scope"),
            (with(&json!({"requiredScopes": {"scope": [""]}})), "\"\" is no scope"),
            (with(&json!({"claimsToHeaders": [{"header": "a"}]})), "claimsToHeaders[0].claim: missing"),
            (with(&json!({"claimsToHeaders": [{"claim": "a"}]})), "claimsToHeaders[0].header: empty"),
            (with(&json!({"claimsToHeaders": [{"claim": "a", "header": ":path"}]})), "claimsToHeaders[0].header"),
            (
                with(&json!({"claimsToHeaders": [{"claim": "a", "header": "x"}, {"claim": "b", "header": "X"}]})),
                "stands there twice",
            ),
            (with(&json!({"dynamicMetadataFromClaims": {"": "a"}})), "a key is empty"),
            (with(&json!({"dynamicMetadataFromClaims": {"a": "b.c"}})), "\"b.c\" is no claim"),
            (with(&json!({"audience": "a"})), "audience: unknown field"),
        ] {
            let admission = config(&validation);
            let said = messages(&admission).join("\n");
            assert!(admission.rejected() && said.contains(why) && !said.contains("canary"), "{validation}: {said}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("a{number}")).collect();
        assert!(config(&with(&json!({"requiredScopes": {"scope": many}}))).rejected());
        assert!(config(&local(&KEYS.replace('}', &"x".repeat(600_000)))).rejected());
    }
}
