//! Published examples, attacks, and what holds for every token.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use api::gloo::auth_config::jwks::KeySet;
use proptest::prelude::*;
use serde_json::json;
use waykeeper_tests::tokens::{Signer, jwks};

use super::*;

/// A time in 2027.
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn keys(jwks: &str) -> Keys {
    Keys::of(KeySet::parse(jwks.as_bytes()).unwrap())
}

struct World {
    edwards: Signer,
    curve: Signer,
    rsa: Signer,
    keys: Keys,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (edwards, curve, rsa) = (Signer::ed25519("edwards"), Signer::p256("curve"), Signer::rsa("rsa"));
    let keys = keys(&jwks([&edwards, &curve, &rsa]));
    World { edwards, curve, rsa, keys }
});

fn expected() -> Expected {
    Expected { issuer: Some("https://idp".into()), audiences: vec!["us".into(), "them".into()] }
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": "https://idp", "sub": "ann", "aud": "us", "exp": NOW + 60});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

fn check(token: &str) -> Result<Map<String, Value>, Refused> {
    verify(token, &WORLD.keys, &expected(), at(NOW))
}

fn why(token: &str) -> &'static str {
    match check(token) {
        Ok(claims) => panic!("{claims:?} were accepted"),
        Err(Refused::UnknownKey) => "unknown key",
        Err(Refused::For(why)) => why,
    }
}

#[test]
fn a_good_token_of_each_kind_of_key_says_what_it_claims() {
    for signer in [&WORLD.edwards, &WORLD.curve, &WORLD.rsa] {
        let claims = claims(json!({"scope": "a b", "deep": {"x": [1, null]}}));
        assert_eq!(Value::Object(check(&signer.token(&claims)).unwrap()), claims, "{}", signer.alg());
    }
}

/// RFC 7520, 4.1 to 4.3, whose payload is no JSON: what is looked at is the signature.
#[test]
fn published_signatures_are_right_and_those_of_unused_kinds_are_not_looked_at() {
    const BILBO: &str = r#"{"keys":[{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}]}"#;
    const PAYLOAD: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
    let keys = keys(BILBO);
    let said = |header: &str, signature: &str| {
        verify(&format!("{header}.{PAYLOAD}.{signature}"), &keys, &Expected::default(), at(NOW)).unwrap_err()
    };
    let right = For("the token's claims cannot be read");
    let (rs256, signature) = (
        "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
        "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
    );
    assert_eq!(said(rs256, signature), right);
    let (ps384, pss) = (
        "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
        "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
    );
    assert_eq!(said(ps384, pss), right);
    assert_eq!(said(ps384, signature), For("the token's signature is wrong"));
    assert_eq!(said(rs256, pss), For("the token's signature is wrong"));
    let es512 = "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9";
    assert_eq!(said(es512, signature), For("the token's alg is none that is used"));
}

/// RFC 7515, A.3, and RFC 8037, A.4, whose tokens name no key and are therefore not accepted.
#[test]
fn published_signatures_without_a_kid_are_right() {
    const JOE: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"joe","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty":"OKP","crv":"Ed25519","kid":"edwards","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = keys(JOE);
    for (kid, algorithm, message, signature) in [
        (
            "joe",
            Algorithm::Es256,
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            "edwards",
            Algorithm::EdDsa,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let check = |message: &str| keys.check(kid, algorithm, message.as_bytes(), &bytes);
        assert_eq!((check(message), check(&message[1..])), (Checked::Good, Checked::Wrong));
        // Signatures as X.509 has them are none.
        assert_eq!(
            keys.check(kid, algorithm, message.as_bytes(), &[&[0x30, 0x44][..], &bytes].concat()),
            Checked::Wrong
        );
        let token = format!("{message}.{signature}");
        assert_eq!(verify(&token, &keys, &Expected::default(), at(NOW)), Err(For("the token has no kid")));
    }
}

#[test]
fn how_a_token_is_checked_is_the_keys_to_say() {
    let World { edwards, curve, rsa, .. } = &*WORLD;
    let text = claims(json!({})).to_string();
    let with = |signer: &Signer, header: Value| why(&signer.signed(&header.to_string(), &text));
    for alg in ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "ES512", "ES256K", "RSA-OAEP", "dir", "rs256"] {
        assert_eq!(with(rsa, json!({"alg": alg, "kid": "rsa"})), "the token's alg is none that is used", "{alg}");
    }
    for alg in [json!(null), json!(["RS256"]), json!({"alg": "RS256"}), json!(1)] {
        assert_eq!(with(rsa, json!({"alg": alg, "kid": "rsa"})), "the token's alg is none that is used");
    }
    // A right signature under another's name, and another way of the same key.
    for (signer, header) in [
        (rsa, json!({"alg": "RS256", "kid": "curve"})),
        (rsa, json!({"alg": "ES256", "kid": "rsa"})),
        (rsa, json!({"alg": "PS256", "kid": "rsa"})),
        (rsa, json!({"alg": "RS512", "kid": "rsa"})),
        (curve, json!({"alg": "ES256", "kid": "edwards"})),
        (curve, json!({"alg": "ES384", "kid": "curve"})),
        (edwards, json!({"alg": "EdDSA", "kid": "rsa"})),
    ] {
        assert_eq!(with(signer, header.clone()), "the token's signature is wrong", "{header}");
    }
    assert!(check(&edwards.signed(r#"{"alg":"Ed25519","kid":"edwards"}"#, &text)).is_ok());
    for kid in ["EDWARDS", "edwards ", "other", "../edwards"] {
        assert_eq!(with(edwards, json!({"alg": "EdDSA", "kid": kid})), "unknown key");
    }
    for kid in [json!(null), json!(""), json!(1), json!(["edwards"])] {
        assert_eq!(with(edwards, json!({"alg": "EdDSA", "kid": kid})), "the token has no kid");
    }
    // Keys that a token brings are nobody's.
    let other = Signer::ed25519("mine");
    let brings = json!({"alg": "EdDSA", "kid": "mine", "jwk": other.jwk(), "jku": "https://evil/keys", "x5c": ["AA"]});
    assert_eq!(with(&other, brings), "unknown key");
    let taken = Signer::ed25519("edwards");
    assert_eq!(why(&taken.token(&claims(json!({})))), "the token's signature is wrong");
    // What a shared secret signs with the public key as its text.
    let single = keys(&format!(r#"{{"keys":[{}]}}"#, {
        let mut jwk = rsa.jwk();
        jwk["alg"] = "PS256".into();
        jwk
    }));
    assert_eq!(
        verify(&rsa.token(&claims(json!({}))), &single, &expected(), at(NOW)),
        Err(For("the token's signature is wrong")),
        "the key is for PS256 alone"
    );
}

#[test]
fn what_must_be_understood_or_is_said_twice_is_refused() {
    let signer = &WORLD.edwards;
    let good = claims(json!({})).to_string();
    let understood = "the token's header has what must be understood and is not";
    for more in
        [r#""crit":["exp"]"#, r#""crit":[]"#, r#""crit":null"#, r#""b64":false,"crit":["b64"]"#, r#""b64":false"#]
    {
        assert_eq!(why(&signer.signed(&format!(r#"{{"alg":"EdDSA","kid":"edwards",{more}}}"#), &good)), understood);
    }
    for header in [
        r#"{"alg":"EdDSA","alg":"EdDSA","kid":"edwards"}"#,
        r#"{"alg":"EdDSA","kid":"other","kid":"edwards"}"#,
        r#"{"alg":"EdDSA","kid":"edwards","x":{"a":1,"a":1}}"#,
        r#"["EdDSA","edwards"]"#,
        "\u{feff}{\"alg\":\"EdDSA\",\"kid\":\"edwards\"}",
        "",
        "EdDSA",
    ] {
        assert_eq!(why(&signer.signed(header, &good)), "the token's header cannot be read", "{header}");
    }
    let header = signer.header().to_string();
    for text in [
        &good.replacen('{', r#"{"sub":"root","#, 1),
        &good.replacen('{', r#"{"\u0073ub":"root","#, 1),
        "[]",
        "null",
        "",
        &format!("{good} x"),
        &format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200)),
    ] {
        assert_eq!(why(&signer.signed(&header, text)), "the token's claims cannot be read", "{text}");
    }
}

#[test]
fn a_token_has_three_parts_and_a_size() {
    let good = WORLD.edwards.token(&claims(json!({})));
    for token in
        ["", ".", "..", "...", "a", "a.b", "a.b.c", &format!("{good}."), &format!(".{good}"), &format!("{good}.{good}")]
    {
        let _ = why(token);
    }
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    for token in [
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.{signature}A"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{header}.{payload}.{}", signature.replace(['-', '_'], "+")) + "+",
    ] {
        let _ = why(&token);
    }
    assert_eq!(why(&format!("{header}.{}.{signature}", "A".repeat(LONGEST))), "the token is too large");
    let big = WORLD.edwards.signed(&json!({"alg": "EdDSA", "kid": "edwards", "x": "x".repeat(4000)}).to_string(), "{}");
    assert_eq!(why(&big), "the token is no signed JWT");
    let large = WORLD.edwards.token(&claims(json!({"x": "x".repeat(8000)})));
    assert!(check(&large).is_ok());
}

/// Encrypted tokens have five parts: it is said what is wrong with them, and not that their claims are.
#[test]
fn a_token_of_five_parts_is_no_signed_one() {
    let good = WORLD.edwards.token(&claims(json!({})));
    let (header, rest) = good.split_once('.').unwrap();
    for more in ["x.", "x.y."] {
        assert_eq!(why(&format!("{header}.{more}{rest}")), "the token is no signed JWT");
    }
}

/// While an issuer changes from one key to another, both may have one name.
#[test]
fn of_two_keys_of_one_name_either_may_have_signed() {
    let (one, other, third) = (Signer::ed25519("a"), Signer::ed25519("a"), Signer::ed25519("a"));
    let keys = keys(&jwks([&one, &other]));
    let said = |signer: &Signer| verify(&signer.token(&claims(json!({}))), &keys, &expected(), at(NOW)).is_ok();
    assert_eq!([said(&one), said(&other), said(&third)], [true, true, false]);
}

#[test]
fn a_token_counts_for_its_time_and_a_little_around_it() {
    let leeway = LEEWAY.as_secs();
    let at = |claim: &str, time: Value| check(&WORLD.edwards.token(&claims(json!({claim: time}))));
    let over = Err(For("the token is over"));
    assert_eq!(at("exp", json!(NOW - leeway)), over);
    assert!(at("exp", json!(NOW - leeway + 1)).is_ok());
    assert_eq!(at("exp", json!(0)), over);
    assert_eq!(at("exp", json!(-1)), over);
    assert!(at("exp", json!(NOW as f64 + 0.5)).is_ok());
    assert!(at("exp", json!(1e300)).is_ok());
    assert_eq!(at("nbf", json!(NOW + leeway + 1)), Err(For("the token does not count yet")));
    assert!(at("nbf", json!(NOW + leeway)).is_ok());
    assert_eq!(at("iat", json!(NOW + leeway + 1)), Err(For("the token is from the future")));
    assert!(at("iat", json!(NOW + leeway)).is_ok());
    for claim in ["exp", "nbf", "iat"] {
        for wrong in [json!(null), json!("1900000000"), json!([1_900_000_000]), json!(true), json!({})] {
            assert_eq!(at(claim, wrong), Err(For("a time of the token is none")), "{claim}");
        }
    }
    let mut timeless = claims(json!({}));
    timeless.as_object_mut().unwrap().remove("exp");
    assert!(check(&WORLD.edwards.token(&timeless)).is_ok(), "as with Gloo: what is not said is not checked");
    let early = verify(&WORLD.edwards.token(&timeless), &WORLD.keys, &expected(), UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(early, Err(For("the clock is wrong")));
}

#[test]
fn a_token_is_of_the_issuer_and_for_one_of_the_audiences() {
    let with = |more: Value| check(&WORLD.edwards.token(&claims(more))).map(drop);
    let issuer = Err(For("the token is of another issuer"));
    for other in ["https://idp/", "HTTPS://idp", "https://idp ", "", "https://idp,https://other"] {
        assert_eq!(with(json!({"iss": other})), issuer, "{other}");
    }
    for wrong in [json!(["https://idp"]), json!(null), json!(1)] {
        assert_eq!(with(json!({"iss": wrong})), Err(For("the token's issuer or subject is no text")));
        assert_eq!(with(json!({"sub": wrong})), Err(For("the token's issuer or subject is no text")));
    }
    for good in [json!("them"), json!(["others", "us"]), json!(["us"])] {
        assert_eq!(with(json!({"aud": good})), Ok(()));
    }
    for others in [json!("US"), json!("others"), json!([]), json!(["us them"]), json!("us them"), json!("")] {
        assert_eq!(with(json!({"aud": others})), Err(For("the token is for others")));
    }
    for wrong in [json!(null), json!(1), json!(["us", 1]), json!({"us": true})] {
        assert_eq!(with(json!({"aud": wrong})), Err(For("the token's audience is no text")));
    }
    let mut bare = claims(json!({}));
    for (name, said) in [("aud", Err(For("the token is for others"))), ("iss", issuer)] {
        bare.as_object_mut().unwrap().remove(name);
        assert_eq!(check(&WORLD.edwards.token(&bare)).map(drop), said);
    }
    assert!(verify(&WORLD.edwards.token(&bare), &WORLD.keys, &Expected::default(), at(NOW)).is_ok());
}

proptest! {
    /// ECDSA has a second signature for each, which nobody finds by changing a few bytes.
    #[test]
    fn a_good_token_with_any_byte_changed_is_refused(which in 0..3_usize, place in any::<prop::sample::Index>(), byte in 0..=127_u8) {
        let signer = [&WORLD.edwards, &WORLD.curve, &WORLD.rsa][which];
        let good = signer.token(&claims(json!({})));
        let mut bytes = good.clone().into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        prop_assert!(check(&String::from_utf8(bytes).unwrap()).is_err());
        prop_assert!(check(&good).is_ok());
    }

    #[test]
    fn a_good_token_cut_or_lengthened_is_refused(place in any::<prop::sample::Index>(), more in "[-_A-Za-z0-9.=]{1,8}") {
        let good = WORLD.edwards.token(&claims(json!({})));
        let place = place.index(good.len());
        prop_assert!(check(&good[..place]).is_err());
        let longer = format!("{}{more}{}", &good[..place], &good[place..]);
        prop_assert!(check(&longer).is_err());
    }

    #[test]
    fn claims_of_any_form_are_read_or_refused_and_only_right_ones_accepted(
        iss in prop::sample::select(vec!["\"https://idp\"", "\"x\"", "1", "null", "[]"]),
        aud in prop::sample::select(vec!["\"us\"", "[\"us\"]", "[\"x\"]", "{}", "null"]),
        exp in prop::sample::select(vec!["1900000000", "1", "\"1900000000\"", "null", "-1e9"]),
    ) {
        let text = format!(r#"{{"iss":{iss},"aud":{aud},"exp":{exp}}}"#);
        let right = iss == "\"https://idp\"" && aud.contains("us") && exp == "1900000000";
        let token = WORLD.edwards.signed(&WORLD.edwards.header().to_string(), &text);
        prop_assert_eq!(check(&token).is_ok(), right, "{}", text);
    }

    #[test]
    fn any_text_is_refused(token in "\\PC{0,60}", parts in prop::collection::vec("[-_A-Za-z0-9]{0,40}", 0..5)) {
        prop_assert!(check(&token).is_err());
        prop_assert!(check(&parts.join(".")).is_err());
    }
}
