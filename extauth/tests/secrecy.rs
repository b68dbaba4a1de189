//! A planted key must not be found anywhere but in the Secret it was written to.

use std::io::Write;
use std::sync::{Arc, Mutex};

use extauth::report::report;
use extauth::{Authority, Compilation};
use metrics_exporter_prometheus::PrometheusBuilder;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waykeeper_tests::tokens::{Signer, jwks};

use crate::support::{ask, check, compile, compiler, one_key, read, snapshot};

const CANARY: &str = "canary-3f9a";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_trace_of_a_key_anywhere() {
    let logs = Captured::default();
    let writer = logs.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // With one subscriber alone, tracing asks whichever thread comes by first whether a message is wanted.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let basic = |name: &str, users: &str| {
        format!(
            "---\n{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: {name}}}, spec: {{configs: [{{basicAuth: {{{users}}}}}]}}}}\n"
        )
    };
    // SHA-1 of the canary alone.
    let hash = "95b1cf5390adfd14146ba341a3f6e3e93f49fd8d";
    let users =
        basic("people", &format!("encryption: {{sha1: {{}}}}, userList: {{users: {{u: {{hashedPassword: {hash}}}}}}}"))
            + &basic("plain", &format!("apr: {{users: {{u: {{salt: s, hashedPassword: {CANARY}}}}}}}"));
    // A token that is good, what it claims beyond what anybody is told, and one that is not.
    let signer = Signer::ed25519("a");
    let (good, bad) = (
        signer.token(&json!({"iss": "i", "sub": "ann", "aud": "us", "mail": CANARY})),
        signer.token(&json!({"iss": "j", "sub": CANARY})),
    );
    let tokens = format!(
        "---\n{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: tokens}}, spec: {{configs: [{{oauth2: {{accessTokenValidation: {{jwt: {{issuer: i, audiences: [us], localJwks: {{inlineString: '{}'}}}}}}}}}}]}}}}\n",
        jwks([&signer])
    );
    let yaml = users
        + &tokens
        + "---\n"
        + &one_key(CANARY)
        + "---\n"
        + &one_key(CANARY).replace("owner", "copy").replace("keys}", "more}");
    let seen = tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        metrics::with_local_recorder(&recorder, || {
            let declared = snapshot(1, &yaml);
            let compilation = compile(&compiler(), &declared, Compilation::default());
            let index = &compilation.index;
            let said = format!(
                "{:?} {}",
                report(index),
                serde_json::to_string(&report(index).values().collect::<Vec<_>>()).unwrap()
            );
            assert!(said.contains("same key"), "{said}");
            let authority = Authority::new();
            authority.install(index.clone());
            let mut seen = said;
            for (id, header, status) in [
                ("default.keys", CANARY, 200),
                ("default.keys", "canary-3f9a-wrong", 401),
                ("x.y", CANARY, 403),
                ("default.people", CANARY, 200),
                ("default.people", "canary", 401),
                ("default.plain", CANARY, 401),
            ] {
                let basic = format!("Basic {}", STANDARD.encode(format!("u:{header}")));
                let answer = ask(&authority, &check(Some(id), &[("api-key", header), ("authorization", &basic)]));
                assert_eq!(read(&answer).status, status);
                seen += &format!("{answer:?}");
            }
            for (token, status) in [(&good, 200), (&bad, 401)] {
                for in_query in [false, true] {
                    let header = format!("Bearer {token}");
                    let mut asks = check(Some("default.tokens"), &[("authorization", header.as_str())]);
                    let attributes = asks.attributes.as_mut().unwrap();
                    let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
                    http.path = if in_query { format!("/get?access_token={token}") } else { "/get".to_owned() };
                    if in_query {
                        http.headers.clear();
                    }
                    let answer = ask(&authority, &asks);
                    assert_eq!(read(&answer).status, status);
                    seen += &format!("{answer:?}");
                }
            }
            authority.unreadable();
            seen + &format!("{authority:?} {compilation:?} {declared:?}")
        })
    });
    let text = metrics.render();
    assert!(
        text.contains(
            "auth_server_authconfig_response_status{namespace=\"default\",authconfig=\"keys\",status=\"OK\"} 1"
        ),
        "{text}"
    );
    assert!(text.contains("auth_server_response_status{status=\"UNAUTHENTICATED\"} 5"), "{text}");
    assert!(text.contains("grpc_server_handled_total"), "{text}");
    let logs = String::from_utf8(logs.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("decided"), "{logs}");
    for text in [&seen, &text, &logs] {
        let parts = [&good, &bad].map(|token| token.split('.').skip(1).collect::<Vec<_>>()).concat();
        for secret in ["canary", hash, &STANDARD.encode(CANARY)[..12]].into_iter().chain(parts) {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert!(!text.contains("access_token="), "{text}");
    }
}
