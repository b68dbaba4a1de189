//! Logins: a provider on loopback, a browser that keeps cookies, and those who try to be somebody else.

use std::time::Duration;

use extauth::{Authority, Compilation, Compiler, Settings};
use proto::envoy::service::auth::v3 as pb;
use serde_json::{Value, json};
use waykeeper_tests::browser::Cookies;
use waykeeper_tests::free_port;
use waykeeper_tests::provider::{CLIENT, Provider, fields};
use waykeeper_tests::tokens::Signer;

use crate::pass_through::{Answer, ask_as};
use crate::support::{check, compile, snapshot};

const APP: &str = "https://app.example";

/// The provider, the service and a browser.
struct Town {
    provider: Provider,
    authority: Authority,
    cookies: Cookies,
}

/// AuthConfigs `default/ask` and `default/other`, which differ in name alone, and have this besides.
fn config(provider: &Provider, rest: &Value) -> String {
    let (id, secret) = CLIENT;
    let mut login = json!({"clientId": id, "clientSecretRef": {"name": "client"}, "issuerUrl": format!("{}/", provider.url), "appUrl": APP,
        "callbackPath": "/callback", "logoutPath": "/logout", "scopes": ["email"]});
    login.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let config = |name: &str| {
        json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": name},
            "spec": {"configs": [{"name": "login", "oauth2": {"oidcAuthorizationCode": login}}]}})
    };
    let client = json!({"apiVersion": "v1", "kind": "Secret", "type": "extauth.solo.io/oauth", "metadata": {"name": "client"},
        "stringData": {"client-secret": secret}});
    let key = json!({"apiVersion": "v1", "kind": "Secret", "type": "gloo.solo.io.EncryptionKeySecret", "metadata": {"name": "key"},
        "stringData": {"key": "0123456789abcdef0123456789abcdef"}});
    format!("{}\n---\n{}\n---\n{client}\n---\n{key}\n", config("ask"), config("other"))
}

fn serving(yaml: &str) -> Authority {
    let key = extauth::methods::SigningKey::parse("canary-signing-key-of-enough-characters").unwrap();
    let compiler = Compiler::new(&Settings { signing_key: Some(key), ..Settings::default() });
    let authority = Authority::new();
    authority.install(compile(&compiler, &snapshot(1, yaml), Compilation::default()).index);
    authority
}

impl Town {
    fn with(rest: &Value) -> Town {
        let provider = Provider::start(&format!("127.0.0.1:{}", free_port()));
        let authority = serving(&config(&provider, rest));
        Town { provider, authority, cookies: Cookies::default() }
    }

    async fn asked(&self, config: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let cookies = self.cookies.header();
        let mut all = headers.to_vec();
        if !cookies.is_empty() {
            all.push(("cookie", &cookies));
        }
        let mut check: pb::CheckRequest = check(Some(config), &all);
        let http = check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        (http.path, http.host) = (path.to_owned(), "app.example".to_owned());
        ask_as(&self.authority, check).await
    }

    /// The browser opens `path`, and keeps the cookies that it gets.
    async fn open(&mut self, path: &str) -> Answer {
        let answer = self.asked("default.ask", path, &[]).await;
        let set: Vec<_> = answer.told.iter().filter(|(name, _)| name == "set-cookie").collect();
        self.cookies.keep(set.into_iter().map(|(_, cookie)| cookie.as_str()));
        answer
    }

    /// The browser asks for `path`, and `user` logs in: the path with which it comes back.
    async fn returns(&mut self, path: &str, user: &str) -> String {
        let answer = self.open(path).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let back = self.provider.log_in(&told(&answer, "location"), user);
        back.strip_prefix(APP).expect("back to the application").to_owned()
    }

    /// `user` logs in: where the browser goes then.
    async fn logs_in(&mut self, path: &str, user: &str) -> String {
        let back = self.returns(path, user).await;
        let answer = self.open(&back).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        told(&answer, "location")
    }

    /// Whether nobody passes.
    async fn is_out(&self) -> bool {
        let answer = self.asked("default.ask", "/", &[]).await;
        answer.status == 302 && told(&answer, "location").starts_with(&self.provider.url)
    }
}

fn told(answer: &Answer, name: &str) -> String {
    let found = answer.told.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no {name}: {answer:?}"))
}

fn uses() -> Value {
    json!({"headers": {"idTokenHeader": "X-Id-Token", "accessTokenHeader": "Authorization", "useBearerSchemaForAuthorization": true},
        "identityToken": {"claimsToHeaders": [{"claim": "email", "header": "X-Mail"}, {"claim": "missing", "header": "x-missing"}]},
        "dynamicMetadataFromClaims": {"mail": "email"}, "authEndpointQueryParams": {"prompt": "login", "code_challenge": "x"},
        "session": {"cookie": {"allowRefreshing": true}}})
}

#[tokio::test]
async fn a_browser_is_sent_to_the_provider_and_comes_back_as_somebody() {
    let mut town = Town::with(&uses());
    let answer = town.open("/orders?page=2").await;
    let location = told(&answer, "location");
    let asked = fields(location.split_once('?').unwrap().1);
    let of = |name: &str| asked[name].as_str();
    assert_eq!(
        (of("redirect_uri"), of("scope"), of("prompt")),
        ("https://app.example/callback", "openid email", "login")
    );
    assert_eq!((of("code_challenge").len(), told(&answer, "cache-control").as_str()), (43, "no-store"));
    assert!(town.cookies.named("oidc_login").is_some() && !location.contains("orders"));
    let back = town.provider.log_in(&location, "ann").strip_prefix(APP).unwrap().to_owned();
    let answer = town.open(&back).await;
    assert_eq!((answer.status, told(&answer, "location").as_str()), (302, "https://app.example/orders?page=2"));
    assert_eq!(told(&answer, "referrer-policy"), "no-referrer");
    assert!(town.cookies.named("oidc_login").is_none() && !town.cookies.header().contains("canary"));

    town.cookies.keep(["theme=dark; Path=/"]);
    let sent = [("x-mail", "evil"), ("x-missing", "evil"), ("x-user-id", "root"), ("authorization", "Basic evil")];
    let answer = town.asked("default.ask", "/orders", &sent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let user = format!("{};ann", town.provider.url);
    let set = |name: &str| answer.set.get(name).map(String::as_str);
    assert_eq!(
        (set("x-user-id"), set("x-mail"), set("cookie")),
        (Some(&*user), Some("ann@example"), Some("theme=dark"))
    );
    assert!(set("authorization").unwrap().starts_with("Bearer canary-access-"));
    assert_eq!(set("x-id-token").unwrap().split('.').count(), 3);
    assert_eq!(answer.removed, ["x-missing"]);
    assert_eq!(answer.metadata, json!({"login": {"mail": "ann@example"}, "userId": user}));
    let asked = town.provider.asked_for_tokens();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // With nothing but the session, the header goes.
    town.cookies.0.remove("theme");
    assert!(town.asked("default.ask", "/", &[]).await.removed.contains(&"cookie".to_owned()));
}

#[tokio::test]
async fn who_cannot_log_in_is_told_so_and_not_sent_there() {
    let town = Town::with(&json!({}));
    for headers in [
        [("sec-fetch-mode", "cors")],
        [("sec-fetch-mode", "no-cors")],
        [("sec-fetch-mode", "websocket")],
        [("x-requested-with", "XMLHttpRequest")],
    ] {
        let answer = town.asked("default.ask", "/", &headers).await;
        assert_eq!((answer.status, answer.told.len(), &*answer.body), (401, 0, ""), "{headers:?}");
    }
    assert_eq!(town.asked("default.ask", "/", &[("sec-fetch-mode", "navigate")]).await.status, 302);
}

#[tokio::test]
async fn a_login_ends_in_the_browser_that_began_it_and_once() {
    let mut town = Town::with(&json!({}));
    let back = town.returns("/a", "mallory").await;
    let mallorys = town.cookies.clone();
    // Mallory has Ann's browser come back with his own login: no cookie, hers, or one of his making.
    for cookies in [Cookies::default(), Cookies([("__Host-oidc_login".to_owned(), "A".repeat(43))].into())] {
        town.cookies = cookies;
        let answer = town.open(&back).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(town.cookies.named("oidc_session").is_none() && answer.body.contains("https://app.example/"));
    }
    town.cookies = Cookies::default();
    let anns = town.returns("/", "ann").await;
    let hers = town.cookies.clone();
    assert_eq!(town.open(&back).await.status, 403, "her cookie does not fit his state");
    // The code of another login: its verifier is another one.
    let code = |path: &str| fields(path.split_once('?').unwrap().1)["code"].clone();
    town.cookies = mallorys.clone();
    let injected = back.replace(&code(&back), &code(&anns));
    assert_eq!(town.open(&injected).await.status, 403);
    assert!(town.is_out().await);
    // Ann's own, which somebody has used up; and a second time with all that belongs to it.
    town.cookies = hers;
    assert_eq!(town.open(&anns).await.status, 403);
    let back = town.returns("/", "ann").await;
    let before = town.cookies.clone();
    assert_eq!(town.open(&back).await.status, 302);
    let session = town.cookies.named("oidc_session").unwrap().to_owned();
    // In another window: nothing is believed, nothing changes.
    let answer = town.open(&back).await;
    assert_eq!((answer.status, told(&answer, "location").as_str()), (302, "https://app.example/"));
    assert_eq!(town.cookies.named("oidc_session"), Some(session.as_str()));
    town.cookies = before;
    assert_eq!(town.open(&back).await.status, 403, "it is over");
}

#[tokio::test]
async fn what_comes_back_is_whole_and_of_this_provider() {
    let mut town = Town::with(&json!({}));
    let back = town.returns("/", "ann").await;
    let other = format!("iss={}", form("https://evil.example"));
    let own = format!("iss={}", form(&town.provider.url));
    for wrong in [
        back.replace("code=", "cod="),
        back.replace("state=", "stat="),
        back.replace("state=", "state=A"),
        back.replace("code=", "code=x&code="),
        back.replace(&own, &other),
        format!("{back}&iss=x"),
        "/callback".to_owned(),
        "/callback?error=access_denied".to_owned(),
    ] {
        let answer = town.open(&wrong).await;
        assert_eq!(answer.status, 403, "{wrong} {answer:?}");
    }
    assert_eq!(town.provider.asked_for_tokens(), [""; 0], "nobody was asked");
    // Another path is no callback, and a path that looks like it is none either.
    for other in ["/callback/", "/callback;", "//callback", "/Callback", "/x/callback"] {
        let answer = town.open(&back.replace("/callback", other)).await;
        assert!(answer.status == 302 && told(&answer, "location").starts_with(&town.provider.url), "{other}");
    }
    assert_eq!(town.open(&back).await.status, 302);
    assert!(!town.is_out().await);
    // The provider says that it names itself in answers, and one does not.
    let mut town = Town::with(&json!({}));
    town.provider.says(|document| document["authorization_response_iss_parameter_supported"] = true.into());
    let back = town.returns("/", "ann").await;
    assert_eq!(town.open(back.replace(&format!("&{own}"), "").split("&iss=").next().unwrap()).await.status, 403);
    assert_eq!(town.open(&back).await.status, 302);
    // It refuses, and with that this login is over.
    town.cookies = Cookies::default();
    let back = town.returns("/", "ann").await;
    let refused = back.replace("code=", "error=access_denied&x=");
    assert_eq!((town.open(&refused).await.status, town.open(&back).await.status), (403, 403));
}

fn form(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F")
}

#[tokio::test]
async fn only_an_id_token_of_this_login_counts() {
    type Spoil = fn(&mut Value, &mut Value);
    let cases: [(&str, Spoil); 19] = [
        ("another nonce", |claims, _| claims["nonce"] = "x".into()),
        ("no nonce", |claims, _| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("another audience", |claims, _| claims["aud"] = "other".into()),
        ("no audience", |claims, _| drop(claims.as_object_mut().unwrap().remove("aud"))),
        ("several audiences", |claims, _| claims["aud"] = json!(["waypoint", "other"])),
        ("another party", |claims, _| claims["azp"] = "other".into()),
        ("another issuer", |claims, _| claims["iss"] = "https://evil.example".into()),
        ("over", |claims, _| claims["exp"] = 1_600_000_000.into()),
        ("for ever", |claims, _| drop(claims.as_object_mut().unwrap().remove("exp"))),
        ("of nobody", |claims, _| drop(claims.as_object_mut().unwrap().remove("sub"))),
        ("without a time", |claims, _| drop(claims.as_object_mut().unwrap().remove("iat"))),
        ("of another access token", |claims, _| claims["at_hash"] = "x".into()),
        ("none", |_, answer| answer["id_token"] = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.".into()),
        ("signed by another", |claims, answer| answer["id_token"] = Signer::ed25519("first").token(claims).into()),
        ("signed with a key unknown", |claims, answer| answer["id_token"] = Signer::p256("other").token(claims).into()),
        ("no token", |_, answer| answer["id_token"] = Value::Null),
        ("no text", |_, answer| answer["id_token"] = json!(["x"])),
        ("of another kind", |_, answer| answer["token_type"] = "mac".into()),
        ("without access", |_, answer| answer["access_token"] = "".into()),
    ];
    for (what, how) in cases {
        let mut town = Town::with(&json!({}));
        town.provider.spoils(how);
        let back = town.returns("/", "ann").await;
        let answer = town.open(&back).await;
        assert!(matches!(answer.status, 403 | 503), "{what}: {answer:?}");
        assert!(town.cookies.named("oidc_session").is_none() && town.is_out().await, "{what}");
    }
    // One of several, which says for which party; algorithms that are listed.
    let mut town =
        Town::with(&json!({"discoveryOverride": {"idTokenAlgs": ["EdDSA"], "authMethods": ["client_secret_post"]}}));
    town.provider
        .spoils(|claims, _| (claims["aud"], claims["azp"]) = (json!(["other", "waypoint"]), "waypoint".into()));
    town.logs_in("/", "ann").await;
    assert!(!town.is_out().await);
    let mut town = Town::with(&json!({"discoveryOverride": {"idTokenAlgs": ["RS256"]}}));
    let back = town.returns("/", "ann").await;
    assert_eq!(town.open(&back).await.status, 403);
}

#[tokio::test]
async fn a_session_is_good_where_it_was_made_as_it_was_made() {
    let mut town = Town::with(&json!({"session": {"cipherConfig": {"keyRef": {"name": "key"}}}}));
    town.logs_in("/", "ann").await;
    let good = town.cookies.clone();
    let name = good.0.keys().find(|name| name.ends_with("oidc_session")).unwrap().clone();
    let value = good.0[&name].clone();
    let mut flipped = value.clone().into_bytes();
    let at = flipped.len() / 2;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    for other in [
        String::from_utf8(flipped).unwrap(),
        value[..value.len() - 1].to_owned(),
        format!("{value}A"),
        value.replacen("1.", "2.", 1),
        value.replacen("1.", "", 1),
        String::new(),
    ] {
        town.cookies.0.insert(name.clone(), other.clone());
        assert!(town.is_out().await, "{other}");
    }
    // Twice; under another AuthConfig, which differs in name alone.
    town.cookies.0.insert(name.clone(), format!("{value}; {name}={value}"));
    assert!(town.is_out().await);
    town.cookies = good.clone();
    assert_eq!(town.asked("default.other", "/", &[]).await.status, 302);
    assert_eq!(town.asked("default.ask", "/", &[]).await.status, 200);
    // The same AuthConfig for another client, with another key, or by another provider.
    let yaml = config(&town.provider, &json!({"session": {"cipherConfig": {"keyRef": {"name": "key"}}}}));
    for (from, to) in
        [("\"clientId\":\"waypoint\"", "\"clientId\":\"other\""), ("0123456789abcdef\"", "0123456789abcdeg\"")]
    {
        let edited = yaml.replace(from, to);
        assert_ne!(edited, yaml);
        town.authority = serving(&edited);
        assert!(town.is_out().await, "{to}");
    }
    // A process that begins anew, with the same key in the Secret.
    town.authority = serving(&yaml);
    assert_eq!(town.asked("default.ask", "/", &[]).await.status, 200);
    // A key of another length opens nothing, and whoever asks is refused.
    town.authority = serving(&yaml.replace("0123456789abcdef\"", "\""));
    assert_eq!(town.asked("default.ask", "/", &[]).await.status, 503);
}

#[tokio::test]
async fn large_sessions_come_in_pieces_and_too_large_ones_not_at_all() {
    let mut town = Town::with(&json!({}));
    town.provider.spoils(|claims, _| claims["groups"] = "x".repeat(6000).into());
    town.logs_in("/", "ann").await;
    assert!(town.cookies.0.len() > 2 && !town.is_out().await, "{}", town.cookies.0.len());
    let whole = town.cookies.clone();
    let last = whole.0.keys().next_back().unwrap().clone();
    town.cookies.0.remove(&last);
    assert!(town.is_out().await);
    // A smaller one takes the place of all of it.
    town.provider.spoils(|_, _| ());
    town.cookies = whole;
    town.cookies.0.retain(|name, _| !name.ends_with("oidc_session"));
    town.logs_in("/", "ann").await;
    assert_eq!((town.cookies.0.len(), town.is_out().await), (1, false));
    let mut town = Town::with(&json!({}));
    town.provider.spoils(|claims, _| claims["groups"] = "x".repeat(14_000).into());
    let back = town.returns("/", "ann").await;
    let answer = town.open(&back).await;
    assert!(answer.status == 403 && town.cookies.named("oidc_session").is_none(), "{answer:?}");
}

#[tokio::test]
async fn tokens_that_are_over_are_replaced_by_one_question() {
    let mut town = Town::with(&uses());
    town.provider.lives(600, 5);
    town.logs_in("/", "ann").await;
    town.provider.asked();
    town.provider.lives(600, 600);
    town.provider.spoils(|claims, _| claims["email"] = "new@example".into());
    // Several requests at once, as a page makes them, all with the tokens of before.
    let (one, two, three) = tokio::join!(
        town.asked("default.ask", "/1", &[]),
        town.asked("default.ask", "/2", &[("sec-fetch-mode", "cors")]),
        town.asked("default.ask", "/3", &[])
    );
    for answer in [&one, &two, &three] {
        assert_eq!((answer.status, answer.set["x-mail"].as_str()), (200, "new@example"), "{answer:?}");
        assert!(told(answer, "set-cookie").starts_with("__Host-oidc_session="));
    }
    assert_eq!(town.provider.asked_for_tokens().len(), 1);
    let answer = town.open("/").await;
    assert_eq!((answer.status, town.provider.asked_for_tokens().len()), (200, 0));
    let answer = town.open("/").await;
    assert_eq!((answer.status, answer.told.len()), (200, 0), "they are good");
    // Somebody else's tokens for a refresh token, or none: the session is over.
    for how in [
        (|claims: &mut Value, _: &mut Value| claims["sub"] = "bob".into()) as fn(&mut Value, &mut Value),
        |claims, _| claims["nonce"] = "x".into(),
        |_, answer| answer["id_token"] = "a.b.c".into(),
    ] {
        let mut town = Town::with(&uses());
        town.provider.lives(600, 0);
        town.logs_in("/", "ann").await;
        town.provider.spoils(how);
        assert_eq!(town.open("/").await.status, 403);
    }
    let mut town = Town::with(&uses());
    town.provider.lives(600, 0);
    town.logs_in("/", "ann").await;
    town.provider.ends_all();
    assert!(town.is_out().await);
    assert_eq!(town.asked("default.ask", "/", &[("sec-fetch-mode", "cors")]).await.status, 401);
    // A provider need not say again who it is.
    let mut town = Town::with(&uses());
    town.provider.lives(600, 0);
    town.logs_in("/", "ann").await;
    town.provider.lives(600, 600);
    town.provider.spoils(|_, answer| answer["id_token"] = Value::Null);
    let answer = town.open("/").await;
    assert_eq!((answer.status, answer.set["x-mail"].as_str()), (200, "ann@example"));
}

/// Tokens that are nearly over are good until they are: whatever a provider says or does not say meanwhile.
#[tokio::test]
async fn a_session_that_is_still_good_goes_on_while_its_provider_is_away() {
    let mut town = Town::with(&uses());
    town.provider.lives(600, 5);
    town.logs_in("/", "ann").await;
    for how in [
        (|_: &mut Value, answer: &mut Value| *answer = json!("nonsense")) as fn(&mut Value, &mut Value),
        |claims, _| claims["sub"] = "bob".into(),
    ] {
        town.provider.spoils(how);
        let answer = town.asked("default.ask", "/", &[]).await;
        assert_eq!((answer.status, answer.set["x-mail"].as_str()), (200, "ann@example"), "{answer:?}");
    }
    // A service that has not heard of the provider yet, and cannot.
    let away = config(&town.provider, &uses());
    drop(town.provider);
    town.authority = serving(&away);
    town.provider = Provider::start(&format!("127.0.0.1:{}", free_port()));
    let answer = town.asked("default.ask", "/", &[]).await;
    assert_eq!((answer.status, answer.set["x-mail"].as_str()), (200, "ann@example"), "{answer:?}");
}

/// A provider that gives tokens which are over gives none.
#[tokio::test]
async fn tokens_that_come_and_are_over_let_nobody_in() {
    let mut town = Town::with(&uses());
    town.provider.lives(600, 0);
    town.logs_in("/", "ann").await;
    town.provider.lives(-20, 600);
    let answer = town.asked("default.ask", "/", &[]).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    assert!(told(&answer, "location").starts_with(&town.provider.url));
}

#[tokio::test]
async fn without_refreshing_a_session_ends_with_its_id_token() {
    let mut town = Town::with(&json!({}));
    town.provider.lives(-20, 600);
    // Clocks may differ; by ours it is over.
    town.logs_in("/", "ann").await;
    assert!(town.is_out().await);
    // And after so long in any case.
    let mut town = Town::with(&json!({"session": {"cookieOptions": {"maxAge": 1}}}));
    town.logs_in("/", "ann").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(town.is_out().await);
}

#[tokio::test]
async fn a_key_that_the_provider_begins_to_use_is_known_at_once() {
    for (policy, status) in [(json!(null), 302), (json!({"always": {}}), 302), (json!({"never": {}}), 403)] {
        let mut town = Town::with(&json!({"jwksCacheRefreshPolicy": policy}));
        let back = town.returns("/", "ann").await;
        town.provider.signs_with(Signer::ed25519("next"));
        assert_eq!(town.open(&back).await.status, status, "{policy}");
    }
}

#[tokio::test]
async fn a_slow_provider_is_waited_for_and_one_that_is_gone_lets_nobody_in() {
    let mut town = Town::with(&json!({}));
    let back = town.returns("/a", "ann").await;
    town.provider.is_late(Duration::from_millis(600));
    let mut check = check(Some("default.ask"), &[("cookie", &town.cookies.header())]);
    check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap().path = back.clone();
    // As long as Envoy waits.
    let soon = std::time::Instant::now() + Duration::from_millis(175);
    let response = town.authority.answer(&check, soon).await;
    let again = format!("{:?}", response.http_response);
    assert!(again.contains("https://app.example/callback?code="), "{again}");
    let answer = town.open(&back).await;
    assert_eq!((answer.status, told(&answer, "location").as_str()), (302, "https://app.example/a"));
    assert_eq!(town.provider.asked_for_tokens().len(), 1, "one code, one question");

    // Gone before it has said anything.
    let address = format!("127.0.0.1:{}", free_port());
    let provider = Provider::start(&address);
    let yaml = config(&provider, &json!({}));
    drop(provider);
    let authority = serving(&yaml);
    let away = |name| crate::support::check(Some(name), &[]);
    assert_eq!(ask_as(&authority, away("default.ask")).await.status, 503);
    let negated = yaml.replace("\"configs\":[", "\"booleanExpr\":\"!login\",\"configs\":[");
    assert_ne!(negated, yaml);
    assert_eq!(ask_as(&serving(&negated), away("default.ask")).await.status, 503);
}

#[tokio::test]
async fn whoever_logs_out_is_out_and_no_other_site_can_do_that() {
    let mut town = Town::with(
        &json!({"session": {"cookie": {"allowRefreshing": true}}, "afterLogoutUrl": "https://www.example/bye"}),
    );
    town.logs_in("/", "ann").await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")],
    ] {
        let answer = town.asked("default.ask", "/logout", headers).await;
        assert_eq!((answer.status, answer.told.len()), (403, 0), "{headers:?}");
    }
    town.provider.asked();
    let answer = town.open("/logout").await;
    assert_eq!((answer.status, told(&answer, "location").as_str()), (302, "https://www.example/bye"));
    let mut asked = town.provider.asked_for_tokens();
    asked.sort();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].starts_with("POST /revoke HTTP/1.1 token=canary-access-"), "{asked:?}");
    assert!(asked[1].starts_with("POST /revoke HTTP/1.1 token=canary-refresh-"), "{asked:?}");
    assert!(town.cookies.0.is_empty() && town.is_out().await);
    // Without a session as well.
    assert_eq!(town.open("/logout?x").await.status, 302);

    // At the provider too.
    let mut town = Town::with(&json!({"endSessionProperties": {}}));
    town.logs_in("/", "ann").await;
    let location = told(&town.open("/logout").await, "location");
    let (at, query) = location.split_once('?').unwrap();
    let said = fields(query);
    assert_eq!(
        (at, said["post_logout_redirect_uri"].as_str()),
        (&*format!("{}/end", town.provider.url), "https://app.example/")
    );
    assert_eq!((said["id_token_hint"].split('.').count(), said["client_id"].as_str()), (3, "waypoint"));
    let mut town = Town::with(&json!({"endSessionProperties": {"methodType": "PostMethod"}}));
    town.logs_in("/", "ann").await;
    let answer = town.open("/logout").await;
    assert!(answer.status == 200 && answer.body.contains("method=\"post\"") && town.cookies.0.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn nobody_is_sent_to_another_host() {
    let mut town = Town::with(&json!({}));
    for path in ["//evil.example/x", "/\\evil.example", "/a?to=https://evil.example", "/@evil.example"] {
        let to = town.logs_in(path, "ann").await;
        assert_eq!(to, format!("{APP}{path}"));
        town.cookies = Cookies::default();
    }
    assert_eq!(town.logs_in(&format!("/{}", "x".repeat(3000)), "ann").await, "https://app.example/");
    // Whatever host a request names, the provider sends browsers back to the application.
    let mut check = check(Some("default.ask"), &[]);
    check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap().host =
        "evil.example".to_owned();
    let answer = ask_as(&town.authority, check).await;
    assert!(!told(&answer, "location").contains("evil") && told(&answer, "location").contains("app.example"));
    // And where it is said for which hosts the session is, no other is answered.
    let bound = Town::with(&json!({"session": {"cookie": {"targetDomain": "shop.example"}}}));
    assert_eq!(bound.asked("default.ask", "/", &[]).await.status, 403);
}

#[tokio::test]
async fn strict_cookies_are_set_by_a_page_that_goes_on_by_itself() {
    let mut town = Town::with(&json!({"session": {"cookieOptions": {"sameSite": "StrictMode"}}}));
    let back = town.returns("/a?b=\"c", "ann").await;
    let answer = town.open(&back).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("url=https://app.example/a?b=&quot;c"), "{answer:?}");
    assert!(!town.is_out().await);
}

#[tokio::test]
async fn claims_of_access_tokens_count_only_if_the_provider_signed_them() {
    let rest = json!({"accessToken": {"claimsToHeaders": [{"claim": "org", "header": "x-org"}]}});
    let signer = Signer::ed25519("first");
    let mut town = Town::with(&rest);
    let url = town.provider.url.clone();
    let token = signer.token(&json!({"iss": url, "org": "acme"}));
    let access = token.clone();
    town.provider.signs_with(signer);
    town.provider.spoils(move |claims, answer| {
        answer["access_token"] = access.as_str().into();
        claims.as_object_mut().unwrap().remove("at_hash");
    });
    town.logs_in("/", "ann").await;
    let answer = town.asked("default.ask", "/", &[("x-org", "evil")]).await;
    assert_eq!(answer.set["x-org"], "acme");
    // Opaque, or of somebody else.
    for access in ["opaque".to_owned(), Signer::ed25519("first").token(&json!({"iss": url, "org": "evil"}))] {
        let mut town = Town::with(&rest);
        town.provider.spoils(move |claims, answer| {
            answer["access_token"] = access.as_str().into();
            claims.as_object_mut().unwrap().remove("at_hash");
        });
        let back = town.returns("/", "ann").await;
        assert_eq!(town.open(&back).await.status, 403);
    }
}

#[tokio::test]
async fn what_is_missing_is_said_and_lets_nobody_in() {
    let provider = Provider::start(&format!("127.0.0.1:{}", free_port()));
    let yaml = config(&provider, &json!({"session": {"cipherConfig": {"keyRef": {"name": "key"}}}}));
    let said = |yaml: &str| {
        let compilation = compile(&Compiler::new(&Settings::default()), &snapshot(1, yaml), Compilation::default());
        let index = &compilation.index;
        let problems = &index.declared(&api::Name::new("default", "ask")).unwrap().problems;
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(said(&yaml), "");
    for (from, to, why) in [
        (
            "\"name\":\"client\"},\"stringData",
            "\"name\":\"x\"},\"stringData",
            "clientSecretRef: Secret default/client: does not exist",
        ),
        ("extauth.solo.io/oauth", "Opaque", "its type is \"Opaque\""),
        (
            "\"name\":\"key\"},\"stringData",
            "\"name\":\"x\"},\"stringData",
            "keyRef: Secret default/key: does not exist",
        ),
        ("0123456789abcdef0", "0", "the key has 16 bytes"),
    ] {
        let edited = yaml.replace(from, to);
        let said = said(&edited);
        assert!(said.contains(why) && said.contains("answered 503"), "{edited}: {said}");
        assert_eq!(ask_as(&serving(&edited), check(Some("default.ask"), &[])).await.status, 503);
    }
    assert!(said(&config(&provider, &json!({}))).contains("start extauth with SIGNING_KEY"));
    let inside = yaml.replace(&format!("{}/", provider.url), "http://169.254.169.254/");
    assert!(said(&inside).contains("issuerUrl"), "{}", said(&inside));
    assert_eq!(ask_as(&serving(&inside), check(Some("default.ask"), &[])).await.status, 503);
}

#[test]
fn nothing_of_it_is_printed() {
    // Whatever a browser keeps, nothing of it stands in what is compiled.
    let provider = Provider::start(&format!("127.0.0.1:{}", free_port()));
    let yaml = config(&provider, &json!({"session": {"cipherConfig": {"keyRef": {"name": "key"}}}}));
    let declared = snapshot(1, &yaml);
    let compilation = compile(&Compiler::new(&Settings::default()), &declared, Compilation::default());
    let printed = format!("{compilation:?} {declared:?}");
    assert!(!printed.contains("canary") && !printed.contains("0123456789abcdef"), "{printed}");
}
