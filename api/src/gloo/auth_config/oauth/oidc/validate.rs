//! What is wrong with an `oidcAuthorizationCode` taken by itself. What is not enforced is refused.

use std::collections::BTreeMap;

use super::super::access_token::REFRESHES;
use super::super::parts::{LONGEST, MOST_ENTRIES, are_scopes, headers, metadata, own_secret, url};
use super::super::{ClientAuthentication, ClientSecret, DiscoveryOverride, OidcAuthorizationCode};
use super::SameSite;
use crate::gloo::auth_config::said::Said;
use crate::gloo::auth_config::{CookieOptions, HeaderOptions, Target, UserSession};
use crate::header::{self, HeaderUse, is_name};

/// Parameters of the question to the browser that are ours.
const OURS_OF_AUTH: [&str; 10] = [
    "client_id",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "code",
];
/// Parameters of the question for tokens that are ours.
const OURS_OF_TOKEN: [&str; 8] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
];
/// Made anew for each login.
const OF_PKCE: [&str; 3] = ["code_challenge", "code_challenge_method", "code_verifier"];

/// What is wrong with `login`, in an AuthConfig of `namespace`.
pub(in crate::gloo::auth_config) fn login(login: &OidcAuthorizationCode, namespace: &str, said: &mut Said<'_>) {
    let OidcAuthorizationCode {
        client_id,
        client_secret_ref: _,
        disable_client_secret: _,
        client_authentication,
        issuer_url,
        auth_endpoint_query_params,
        token_endpoint_query_params,
        app_url,
        callback_path,
        parse_callback_path_as_regex,
        logout_path,
        after_logout_url,
        front_channel_logout,
        scopes,
        session,
        headers: _,
        discovery_override,
        discovery_poll_interval: _,
        jwks_cache_refresh_policy,
        session_id_header_name,
        auto_map_from_metadata,
        end_session_properties,
        dynamic_metadata_from_claims,
        access_token: _,
        identity_token: _,
        default: _,
        azure,
    } = login;
    let id = client_id.as_deref().unwrap_or_default();
    if id.is_empty() || id.len() > LONGEST || id.chars().any(char::is_control) {
        said.wrong(
            ".clientId",
            "missing, too long or with control characters: write what the provider calls this client",
        );
    }
    proof(login, client_authentication.as_ref(), namespace, said);
    plain_url(".issuerUrl", issuer_url.as_deref(), said);
    plain_url(".appUrl", app_url.as_deref(), said);
    path(".callbackPath", callback_path.as_deref(), said);
    if logout_path.is_some() {
        path(".logoutPath", logout_path.as_deref(), said);
        if logout_path == callback_path {
            said.wrong(".logoutPath", "is the callbackPath too; write another path");
        }
    }
    if after_logout_url.as_deref().is_some_and(|url| !url.is_empty()) {
        url(".afterLogoutUrl", after_logout_url.as_deref(), said);
    }
    if *parse_callback_path_as_regex {
        let why = "an expression does not say to which address the provider is to send browsers; write one path";
        said.refused(".parseCallbackPathAsRegex", why);
    }
    for (at, written, why) in [
        (
            ".frontChannelLogout",
            front_channel_logout.is_some(),
            "a logout that the provider begins is not implemented yet",
        ),
        (".sessionIdHeaderName", session_id_header_name.is_some(), "nobody is told the ids of sessions"),
        (".autoMapFromMetadata", auto_map_from_metadata.is_some(), "parameters from metadata are not implemented yet"),
        (".azure", azure.is_some(), "what is particular to Microsoft Entra is not implemented yet; leave it out"),
    ] {
        if written {
            said.refused(at, why);
        }
    }
    are_scopes(".scopes", scopes, said);
    parameters(".authEndpointQueryParams", auth_endpoint_query_params, &OURS_OF_AUTH, said);
    parameters(".tokenEndpointQueryParams", token_endpoint_query_params, &OURS_OF_TOKEN, said);
    if let Some(session) = session {
        of_session(session, namespace, said);
    }
    if !login.cookies().secure && login.cookies().same_site == SameSite::None {
        said.wrong(".session.cookieOptions.sameSite", "NoneMode needs cookies that are Secure; leave out notSecure");
    }
    if login.cookies().secure && login.app().is_some_and(|(app, _)| app.starts_with("http://")) {
        let why = "is http, over which browsers send no Secure cookies (but for localhost): write https, or for tests session.cookieOptions.notSecure: true";
        said.warn(".appUrl", why);
    }
    of_headers(login, said);
    if let Some(own) = discovery_override {
        overridden(own, said);
    }
    if !REFRESHES.contains(&login.poll()) {
        said.wrong(".discoveryPollInterval", "write a duration from a second to a day");
    }
    if let Some(policy) = jwks_cache_refresh_policy {
        let ways = [policy.never.is_some(), policy.always.is_some(), policy.max_idp_req_per_polling_interval.is_some()];
        if ways.iter().filter(|written| **written).count() > 1 {
            said.wrong(".jwksCacheRefreshPolicy", "says several of never, always and maxIdpReqPerPollingInterval");
        }
    }
    if end_session_properties.as_ref().is_some_and(|properties| properties.ends().is_none()) {
        said.wrong(".endSessionProperties.methodType", "is none: write GetMethod or PostMethod");
    }
    metadata(dynamic_metadata_from_claims, said);
}

fn proof(login: &OidcAuthorizationCode, newer: Option<&ClientAuthentication>, namespace: &str, said: &mut Said<'_>) {
    let of_older = login.client_secret_ref.is_some() || login.disable_client_secret.is_some();
    let (at, reference, disabled) = match newer {
        Some(ClientAuthentication { private_key_jwt: Some(_), .. }) => {
            return said.refused(".clientAuthentication.privateKeyJwt", "signed assertions are not implemented yet");
        }
        Some(_) if of_older => {
            return said.wrong(".clientAuthentication", "stands beside the older fields; write one of the two forms");
        }
        Some(ClientAuthentication { client_secret: Some(secret), .. }) => {
            let ClientSecret { client_secret_ref, disable_client_secret } = secret;
            (".clientAuthentication.clientSecret", client_secret_ref.as_ref(), *disable_client_secret)
        }
        Some(_) => return said.wrong(".clientAuthentication", "names no way: write clientSecret"),
        None => ("", login.client_secret_ref.as_ref(), login.disable_client_secret),
    };
    match (reference, disabled.unwrap_or_default()) {
        (Some(_), true) => {
            said.wrong(&format!("{at}.disableClientSecret"), "stands beside clientSecretRef; write one of them");
        }
        (None, false) => {
            let why = "missing: write the Secret that has it, or disableClientSecret: true if there is none";
            said.wrong(&format!("{at}.clientSecretRef"), why);
        }
        (Some(reference), false) => own_secret(&format!("{at}.clientSecretRef"), reference, namespace, said),
        (None, true) => {}
    }
}

/// A URL that something is put behind.
fn plain_url(at: &str, text: Option<&str>, said: &mut Said<'_>) {
    url(at, text, said);
    if text.is_some_and(|text| text.contains('?')) {
        said.wrong(at, "has a query, behind which no path can stand; write it without");
    }
}

fn path(at: &str, path: Option<&str>, said: &mut Said<'_>) {
    let path = path.unwrap_or_default();
    let letter = |byte: u8| byte.is_ascii_graphic() && !b"?#\"\\<>%".contains(&byte);
    let plain = path.len() > 1 && path.len() <= LONGEST && path.starts_with('/') && path.bytes().all(letter);
    if !plain || path.split('/').skip(1).any(|part| matches!(part, "." | "..")) || path.contains("//") {
        said.wrong(at, "is no plain path of its own: write one such as /callback, without a query and without escapes");
    }
}

fn parameters(at: &str, written: &BTreeMap<String, String>, ours: &[&str], said: &mut Said<'_>) {
    if written.len() > MOST_ENTRIES {
        said.wrong(at, format!("more than {MOST_ENTRIES} entries"));
    }
    for (name, value) in written {
        let at = format!("{at}.{name}");
        if name.is_empty() || name.len() > LONGEST || value.len() > LONGEST {
            said.wrong(&at, "is empty or too long");
        } else if ours.contains(&name.as_str()) {
            said.wrong(&at, "is set for each login; leave it out");
        } else if OF_PKCE.contains(&name.as_str()) {
            said.warn(&at, "has no effect: each login has a challenge and a verifier of its own");
        }
    }
}

fn of_session(session: &UserSession, namespace: &str, said: &mut Said<'_>) {
    let UserSession { fail_on_fetch_failure: _, cookie_options, cookie, redis, cipher_config } = session;
    if redis.is_some() {
        said.refused(".session.redis", "sessions in Redis are not implemented yet; write session.cookie");
    }
    if redis.is_some() && cookie.is_some() {
        said.wrong(".session", "says cookie and redis; write one of them");
    }
    if let Some(cookie) = cookie {
        let prefix = cookie.key_prefix.as_deref().unwrap_or_default();
        if !prefix.is_empty() && (!is_name(prefix) || prefix.len() > 64) {
            said.wrong(".session.cookie.keyPrefix", "is no part of a cookie's name: write letters, digits, - and _");
        }
        domain(".session.cookie.targetDomain", cookie.target_domain.as_deref(), said);
    }
    if let Some(options) = cookie_options {
        let CookieOptions { max_age: _, not_secure: _, http_only: _, path, same_site: _, domain: own } = options;
        if options.same_site().is_none() {
            said.wrong(".session.cookieOptions.sameSite", "is none: write LaxMode, StrictMode or NoneMode");
        }
        let path = path.as_deref().unwrap_or_default();
        let letter = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        let fits = path.is_empty() || (path.starts_with('/') && path.len() <= LONGEST && path.bytes().all(letter));
        if !fits {
            said.wrong(".session.cookieOptions.path", "is no path: write / or one below it, without ;");
        }
        domain(".session.cookieOptions.domain", own.as_deref(), said);
    }
    match cipher_config.as_ref().map(|config| &config.key_ref) {
        Some(None) => said.wrong(".session.cipherConfig.keyRef", "missing: write the Secret that has the key"),
        Some(Some(reference)) => own_secret(".session.cipherConfig.keyRef", reference, namespace, said),
        None => {}
    }
}

fn domain(at: &str, domain: Option<&str>, said: &mut Said<'_>) {
    let domain = domain.unwrap_or_default();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if domain.len() > 253 || !domain.bytes().all(letter) {
        said.wrong(at, "is no domain: write its name, without a scheme and a port");
    }
}

fn of_headers(login: &OidcAuthorizationCode, said: &mut Said<'_>) {
    if let Some(written) = &login.headers {
        let HeaderOptions { id_token_header, access_token_header, use_bearer_schema_for_authorization: _ } = written;
        for (at, name) in
            [(".headers.idTokenHeader", id_token_header), (".headers.accessTokenHeader", access_token_header)]
        {
            if let Some(Err(why)) = name.as_deref().map(writable) {
                said.wrong(at, why);
            }
        }
        let lower = |name: &Option<String>| name.as_deref().map(str::to_ascii_lowercase);
        if id_token_header.is_some() && lower(id_token_header) == lower(access_token_header) {
            said.wrong(".headers.accessTokenHeader", "is the header of the id token too; write another one");
        }
    }
    for (list, claims) in [
        (".identityToken.claimsToHeaders", login.of_id_token()),
        (".accessToken.claimsToHeaders", login.of_access_token()),
    ] {
        headers(list, claims, said);
        for (index, claim) in claims.iter().enumerate() {
            if claim.header.as_deref().is_some_and(is_cookie) {
                said.wrong(&format!("{list}[{index}].header"), "sessions are in that header; write another one");
            }
        }
    }
}

fn writable(name: &str) -> Result<(), String> {
    header::check(name, HeaderUse::Write)?;
    if is_cookie(name) { Err("sessions are in that header; write another one".to_owned()) } else { Ok(()) }
}

fn is_cookie(name: &str) -> bool {
    name.eq_ignore_ascii_case("cookie")
}

fn overridden(own: &DiscoveryOverride, said: &mut Said<'_>) {
    let DiscoveryOverride {
        auth_endpoint,
        token_endpoint,
        jwks_uri,
        response_types,
        subjects,
        id_token_algs: _,
        scopes,
        auth_methods: _,
        claims,
        revocation_endpoint,
        end_session_endpoint,
    } = own;
    for (at, address) in [
        ("authEndpoint", auth_endpoint),
        ("tokenEndpoint", token_endpoint),
        ("jwksUri", jwks_uri),
        ("revocationEndpoint", revocation_endpoint),
        ("endSessionEndpoint", end_session_endpoint),
    ] {
        if let Some(Err(why)) = address.as_deref().map(Target::of_url) {
            said.wrong(&format!(".discoveryOverride.{at}"), why);
        }
    }
    for (at, list) in
        [("responseTypes", response_types), ("subjects", subjects), ("scopes", scopes), ("claims", claims)]
    {
        if !list.is_empty() {
            said.warn(&format!(".discoveryOverride.{at}"), "has no effect: nothing here depends on it");
        }
    }
}
