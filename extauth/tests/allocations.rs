//! Deciding about a key asks nobody for memory, whatever the key is and however many there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use extauth::Compilation;
use extauth::chain::{Decision, Known, Progress, Question};
use extauth::request::Request;

use crate::support::{check, compile, compiler, one_key, snapshot};

#[test]
fn a_decision_about_a_key_allocates_nothing() {
    let yaml: String = (0..100)
        .map(|number| {
            format!(
                "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: s{number}, labels: {{team: a}}}}, stringData: {{api-key: k{number}, org: o}}}}\n---\n"
            )
        })
        .collect();
    let index = compile(&compiler(), &snapshot(1, &(yaml + &one_key("mykey"))), Compilation::default()).index;
    let deadline = Instant::now() + Duration::from_secs(1);
    let cases = [
        ("the key", vec![("api-key", "mykey"), ("x-org", "mine")], true),
        ("another key", vec![("api-key", "k77")], true),
        ("a wrong key", vec![("api-key", "wrong"), ("x-user-id", "admin")], false),
        ("an empty key", vec![("api-key", "")], false),
        ("none", vec![("x-org", "mine")], false),
    ];
    for (what, headers, passes) in cases {
        let asked = check(Some("default.keys"), &headers);
        let mut allowed = None;
        let measured = measure(|| {
            let chain = index.find(Some("default.keys"), None, deadline).map(Arc::as_ref);
            let request = Request::new(&asked);
            if let Ok(chain) = chain
                && let Progress::Decided(decision) = chain.decide(Question { request, deadline }, &Known::new())
            {
                allowed = Some(matches!(decision, Decision::Allow(_)));
            }
        });
        assert_eq!(allowed, Some(passes), "{what}");
        assert_eq!(measured.count_total, 0, "{what}: {measured:?}");
    }
}
