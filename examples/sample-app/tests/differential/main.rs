//! The sample application beside the real go-httpbin: the same answers.
#![allow(clippy::unwrap_used)]

mod pair;

use pair::{Call, Pair};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What is asked of both, and answered alike in status, headers and body.
fn calls() -> Vec<Call> {
    let json = |body: &str| Call::new("POST", "/post").header("content-type", "application/json").body(body);
    vec![
        Call::new("GET", "/get"),
        Call::new("GET", "/get?b=2&a=1&b=%C3%A9+x&empty=&flag&bad=%zz&semi;colon=1&%61=3"),
        Call::new("GET", "/get?"),
        Call::new("HEAD", "/get"),
        Call::new("HEAD", "/head"),
        Call::new("GET", "/head"),
        Call::new("POST", "/get").body("x"),
        Call::new("GET", "/headers")
            .header("x-request-id", "1")
            .header("X-REMOVE", "this header")
            .header("x-remove", "2"),
        Call::new("GET", "/headers").header("x_under-score", "a").header("te", "trailers").header("cookie", "a=b; c=d"),
        Call::new("GET", "/ip"),
        Call::new("GET", "/ip").header("x-forwarded-for", " 10.1.2.3 , 10.0.0.1"),
        Call::new("GET", "/ip").header("x-forwarded-for", "10.1.2.3").header("true-client-ip", "9.9.9.9"),
        Call::new("GET", "/user-agent").header("user-agent", "curl/8.7.1"),
        Call::new("GET", "/user-agent"),
        Call::new("GET", "/hostname"),
        Call::new("GET", "/get").header("x-forwarded-proto", "https"),
        Call::new("GET", "/get").header("x-forwarded-protocol", "wss"),
        Call::new("GET", "/get").header("x-forwarded-ssl", "on"),
        Call::new("GET", "/get").header("origin", "http://example.com"),
        Call::new("OPTIONS", "/get")
            .header("origin", "http://example.com")
            .header("access-control-request-headers", "x-a"),
        Call::new("OPTIONS", "/nowhere"),
        Call::new("GET", "/nowhere"),
        Call::new("GET", "/get/more"),
        Call::new("GET", "/anything"),
        Call::new("HEAD", "/anything"),
        Call::new("GET", "/anything/a/b%20c?x=%3C&y=%3E"),
        Call::new("PURGE", "/anything").body("text"),
        json("{\"b\": [1, 2.50, 1e21, 1e-7, 12345678901234567890, -0, \"\\u2028<é>\"], \"a\": {\"x\": {}, \"y\": []}}"),
        json("[1] [2]"),
        json("\"\\b\\f\\u0001\\u007f\\/\""),
        json("{oops").any_detail(),
        json(" ").any_detail(),
        Call::new("POST", "/post").header("content-type", "application/x-www-form-urlencoded").body("b=2&a=1&a=%20+"),
        Call::new("DELETE", "/delete").header("content-type", "application/x-www-form-urlencoded").body("b=2"),
        Call::new("POST", "/post").header("content-type", "text/plain; charset=utf-8").body("plain é"),
        Call::new("POST", "/post").header("content-type", "image/x-own").body("\u{1}\u{2}>>>???"),
        Call::new("POST", "/post").body("no type"),
        Call::new("POST", "/post"),
        Call::new("PUT", "/put").header("content-type", "text/plain").body("put"),
        Call::new("PATCH", "/patch").header("content-type", "text/plain").body("patch"),
        Call::new("GET", "/post"),
        Call::new("POST", "/post").header("content-type", "text/plain").body(&"x".repeat((1 << 20) + 1)).any_detail(),
        Call::new("POST", "/post").header("content-type", "text/plain").body(&"x".repeat(1 << 20)),
        Call::new("GET", "/status/200"),
        Call::new("GET", "/status/204"),
        Call::new("GET", "/status/429"),
        Call::new("POST", "/status/503").body("x"),
        Call::new("GET", "/status/200:1,500:0"),
        Call::new("GET", "/status/301"),
        Call::new("GET", "/status/401"),
        Call::new("GET", "/status/407"),
        Call::new("GET", "/status/402").any_body(),
        Call::new("GET", "/status/406").any_body(),
        Call::new("GET", "/status/308").any_body(),
        Call::new("GET", "/status/418"),
        Call::new("GET", "/status/99").any_detail(),
        Call::new("GET", "/status/600").any_detail(),
        Call::new("GET", "/status/abc").any_detail(),
        Call::new("GET", "/status/200/1"),
        Call::new("GET", "/status"),
        Call::new("GET", "/delay/0.01"),
        Call::new("GET", "/delay/5ms?a=1"),
        Call::new("GET", "/delay/11").any_detail(),
        Call::new("GET", "/delay/-1").any_detail(),
        Call::new("GET", "/delay/x").any_detail(),
        Call::new("GET", "/bytes/1000").same_length(),
        Call::new("GET", "/bytes/200000").same_length(),
        Call::new("GET", "/bytes/-1").any_detail(),
        Call::new("GET", "/bytes/x").any_detail(),
        Call::new("GET", "/stream-bytes/30000?chunk_size=7000").same_length(),
        Call::new("GET", "/drip?duration=20ms&delay=0&numbytes=5&code=202"),
        Call::new("GET", "/drip?duration=0&delay=0&numbytes=3"),
        Call::new("GET", "/drip?numbytes=0").any_detail(),
        Call::new("GET", "/drip?duration=9&delay=9"),
        Call::new("GET", "/uuid").same_length(),
        Call::new("GET", "/response-headers?x-a=1&x-a=2&b=3"),
        Call::new("GET", "/response-headers?content-type=text/plain&access-control-allow-origin=http://a"),
        Call::new("GET", "/response-headers"),
    ]
}

#[tokio::test]
async fn both_answer_alike() {
    let pair = Pair::start().await;
    let mut different = Vec::new();
    for call in calls() {
        let (ours, theirs) = pair.ask(&call).await;
        if ours != theirs {
            different.push(format!("{call:?}\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// Of text that is UTF-8: for other bytes Go prints an escaped replacement, we the character itself.
#[test]
fn both_echo_any_query_header_and_json_alike() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pair = runtime.block_on(Pair::start());
    // serde_json reads numbers of many digits to the last bit but one; these it reads exactly.
    let json = any::<i32>().prop_map(|number| serde_json::json!({"number": f64::from(number) / 8.0}));
    let text = "\\PC{0,20}".prop_map(|text| serde_json::json!([text, {&text: null}]));
    let call = (
        "([a-zA-Z0-9&=+;._~-]|%[2-7][0-9a-fA-F]|%[g-z]){0,40}",
        "[a-z][a-zA-Z0-9_-]{0,15}",
        "[!-~]([ -~]{0,20}[!-~])?",
        prop_oneof![json, text],
    );
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    runner
        .run(&call, |(query, name, value, body)| {
            let call = Call::new("POST", &format!("/anything?{query}"))
                .header("content-type", "application/json")
                .header(&format!("x-{name}"), &value)
                .body(&body.to_string());
            let (ours, theirs) = runtime.block_on(pair.ask(&call));
            prop_assert_eq!(ours, theirs);
            Ok(())
        })
        .unwrap();
}
