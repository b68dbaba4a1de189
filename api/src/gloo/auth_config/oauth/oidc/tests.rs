//! Logins as they are written, and what is wrong with them.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::{Admission, admit};

fn config(login: &Value) -> Admission {
    let spec = json!({"configs": [{"oauth2": {"oidcAuthorizationCode": login}}]});
    admit(&json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": "a"}, "spec": spec}))
}

fn with(more: &Value) -> Value {
    let mut login = json!({"clientId": "c", "clientSecretRef": {"name": "s"}, "issuerUrl": "https://idp/realm/",
        "appUrl": "https://app.example/", "callbackPath": "/callback"});
    login.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    login
}

fn messages(admission: &Admission) -> Vec<String> {
    admission.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn logins_are_taken_as_gloo_writes_them() {
    for login in [
        with(&json!({})),
        with(
            &json!({"clientSecretRef": null, "clientAuthentication": {"clientSecret": {"clientSecretRef": {"name": "s", "namespace": "default"}}}}),
        ),
        with(&json!({"clientSecretRef": null, "disableClientSecret": true, "default": {}})),
        with(
            &json!({"clientSecretRef": null, "client_authentication": {"client_secret": {"disable_client_secret": true}}}),
        ),
        with(
            &json!({"logoutPath": "/logout", "afterLogoutUrl": "https://www.example/bye?x=1", "scopes": ["email", "a:b"],
            "authEndpointQueryParams": {"prompt": "login"}, "tokenEndpointQueryParams": {"a": "b"},
            "headers": {"idTokenHeader": "X-Id", "accessTokenHeader": "authorization", "useBearerSchemaForAuthorization": true},
            "identityToken": {"claimsToHeaders": [{"claim": "email", "header": "x-mail"}]},
            "accessToken": {"claimsToHeaders": [{"claim": "org", "header": "x-org", "append": true}]},
            "dynamicMetadataFromClaims": {"mail": "email"}, "discoveryPollInterval": "5m",
            "jwksCacheRefreshPolicy": {"maxIdpReqPerPollingInterval": 3}, "endSessionProperties": {"methodType": "PostMethod"},
            "discoveryOverride": {"tokenEndpoint": "https://idp/t", "idTokenAlgs": ["ES256"], "authMethods": ["client_secret_post"]}}),
        ),
        with(
            &json!({"session": {"failOnFetchFailure": true, "cookie": {"allowRefreshing": true, "keyPrefix": "shop", "targetDomain": "app.example"},
            "cookieOptions": {"maxAge": 0, "notSecure": true, "httpOnly": false, "path": "", "sameSite": 2, "domain": "example"},
            "cipherConfig": {"keyRef": {"name": "key"}}}}),
        ),
    ] {
        let said = messages(&config(&login));
        assert!(said.is_empty(), "{login}: {said:?}");
    }
    for (login, why) in [
        (with(&json!({"appUrl": "http://app.example"})), "appUrl: is http"),
        (with(&json!({"tokenEndpointQueryParams": {"code_verifier": "x"}})), "code_verifier: has no effect"),
        (with(&json!({"authEndpointQueryParams": {"code_challenge": "x"}})), "code_challenge: has no effect"),
        (with(&json!({"discoveryOverride": {"scopes": ["a"]}})), "scopes: has no effect"),
    ] {
        let admission = config(&login);
        let said = messages(&admission);
        assert!(!admission.rejected() && said.len() == 1 && said[0].contains(why), "{login}: {said:?}");
    }
}

#[test]
fn what_makes_no_sense_or_is_not_enforced_is_refused() {
    let session = |session: Value| with(&json!({"session": session}));
    for (login, why) in [
        (with(&json!({"clientId": ""})), "clientId: missing"),
        (with(&json!({"clientSecretRef": null})), "clientSecretRef: missing"),
        (with(&json!({"clientSecretRef": {"name": ""}})), "clientSecretRef.name: empty"),
        (
            with(&json!({"clientSecretRef": {"name": "s", "namespace": "other"}})),
            "clientSecretRef.namespace: is another",
        ),
        (with(&json!({"disableClientSecret": true})), "disableClientSecret: stands beside"),
        (with(&json!({"clientAuthentication": {}})), "clientAuthentication: stands beside"),
        (with(&json!({"clientSecretRef": null, "clientAuthentication": {}})), "clientAuthentication: names no way"),
        (
            with(&json!({"clientSecretRef": null, "clientAuthentication": {"privateKeyJwt": {}}})),
            "privateKeyJwt: signed",
        ),
        (with(&json!({"issuerUrl": null})), "issuerUrl: missing"),
        (with(&json!({"issuerUrl": "https://idp?x"})), "issuerUrl: has a query"),
        (with(&json!({"appUrl": "app.example"})), "appUrl: is no URL"),
        (with(&json!({"appUrl": "https://app.example#x"})), "appUrl: has a fragment"),
        (with(&json!({"callbackPath": "callback"})), "callbackPath: is no plain path"),
        (with(&json!({"callbackPath": "/"})), "callbackPath: is no plain path"),
        (with(&json!({"callbackPath": "/a/../b"})), "callbackPath: is no plain path"),
        (with(&json!({"callbackPath": "//b"})), "callbackPath: is no plain path"),
        (with(&json!({"callbackPath": "/b%2f"})), "callbackPath: is no plain path"),
        (with(&json!({"callbackPath": "/b?c"})), "callbackPath: is no plain path"),
        (with(&json!({"parseCallbackPathAsRegex": true})), "parseCallbackPathAsRegex: an expression"),
        (with(&json!({"logoutPath": "/callback"})), "logoutPath: is the callbackPath"),
        (with(&json!({"afterLogoutUrl": "/bye"})), "afterLogoutUrl: is no URL"),
        (with(&json!({"frontChannelLogout": {"path": "/x"}})), "frontChannelLogout: a logout"),
        (with(&json!({"sessionIdHeaderName": "x"})), "sessionIdHeaderName: nobody"),
        (with(&json!({"autoMapFromMetadata": {}})), "autoMapFromMetadata: parameters"),
        (with(&json!({"azure": {}})), "azure: what is particular"),
        (with(&json!({"scopes": ["a b"]})), "\"a b\" is no scope"),
        (with(&json!({"authEndpointQueryParams": {"state": "x"}})), "state: is set for each login"),
        (with(&json!({"authEndpointQueryParams": {"response_mode": "x"}})), "response_mode: is set for each login"),
        (with(&json!({"tokenEndpointQueryParams": {"client_secret": "x"}})), "client_secret: is set for each login"),
        (with(&json!({"headers": {"idTokenHeader": ":path"}})), "headers.idTokenHeader: \":path\""),
        (with(&json!({"headers": {"idTokenHeader": "Cookie"}})), "sessions are in that header"),
        (
            with(&json!({"headers": {"idTokenHeader": "a", "accessTokenHeader": "A"}})),
            "is the header of the id token too",
        ),
        (
            with(&json!({"identityToken": {"claimsToHeaders": [{"claim": "a", "header": "cookie"}]}})),
            "sessions are in that",
        ),
        (with(&json!({"accessToken": {"claimsToHeaders": [{"header": "a"}]}})), "accessToken.claimsToHeaders[0].claim"),
        (with(&json!({"dynamicMetadataFromClaims": {"a": "b.c"}})), "\"b.c\" is no claim"),
        (with(&json!({"discoveryPollInterval": "0s"})), "discoveryPollInterval: write a duration"),
        (with(&json!({"jwksCacheRefreshPolicy": {"never": {}, "always": {}}})), "says several"),
        (with(&json!({"endSessionProperties": {"methodType": 2}})), "methodType: is none"),
        (with(&json!({"discoveryOverride": {"tokenEndpoint": "x"}})), "tokenEndpoint: is no URL"),
        (session(json!({"redis": {}})), "session.redis: sessions in Redis"),
        (session(json!({"cookie": {"keyPrefix": "a=b"}})), "keyPrefix: is no part"),
        (session(json!({"cookie": {"targetDomain": "https://a"}})), "targetDomain: is no domain"),
        (session(json!({"cookieOptions": {"domain": "a;b"}})), "domain: is no domain"),
        (session(json!({"cookieOptions": {"path": "/;x"}})), "path: is no path"),
        (session(json!({"cookieOptions": {"sameSite": "lax"}})), "sameSite: is none"),
        (session(json!({"cookieOptions": {"sameSite": "NoneMode", "notSecure": true}})), "NoneMode needs"),
        (session(json!({"cipherConfig": {}})), "cipherConfig.keyRef: missing"),
        (
            session(json!({"cipherConfig": {"keyRef": {"name": "k", "namespace": "other"}}})),
            "keyRef.namespace: is another",
        ),
        (with(&json!({"issuer": "a"})), "issuer: unknown field"),
    ] {
        let admission = config(&login);
        let said = messages(&admission).join("\n");
        assert!(admission.rejected() && said.contains(why), "{login}: {said}");
    }
}

#[test]
fn what_is_written_is_resolved() {
    let login = |more: Value| -> OidcAuthorizationCode { serde_json::from_value(with(&more)).unwrap() };
    let plain = login(json!({}));
    assert_eq!(plain.discovery_url(), "https://idp/realm/.well-known/openid-configuration");
    assert_eq!(plain.app().unwrap(), ("https://app.example".to_owned(), "https://app.example".to_owned()));
    assert_eq!(plain.path_of("/callback").unwrap(), "/callback");
    let below = login(json!({"appUrl": "http://App.example:8080/shop/"}));
    assert_eq!(below.app().unwrap(), ("http://app.example:8080/shop".to_owned(), "http://app.example:8080".to_owned()));
    assert_eq!(below.path_of("/callback").unwrap(), "/shop/callback");
    let cookies = plain.cookies();
    assert!(cookies.secure && cookies.http_only && cookies.domain.is_none());
    assert_eq!(
        (cookies.path.as_deref(), cookies.max_age, cookies.same_site),
        (Some("/"), Some(2_592_000), SameSite::Lax)
    );
    let odd = login(json!({"session": {"cookieOptions": {"maxAge": 0, "path": "", "sameSite": "NoneMode"}}})).cookies();
    assert_eq!((odd.path, odd.max_age, odd.same_site), (None, None, SameSite::None));
    assert_eq!(plain.ends(), Logout::Local);
    assert_eq!(login(json!({"endSessionProperties": {}})).ends(), Logout::Get);
    assert_eq!(login(json!({"endSessionProperties": {"methodType": 1}})).ends(), Logout::Post);
    assert_eq!(login(json!({"discoveryOverride": {"endSessionEndpoint": "https://a"}})).ends(), Logout::Get);
}
