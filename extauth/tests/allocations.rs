//! Deciding about a key asks nobody for memory, whatever the key is, however many there are and whichever version decides.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use allocation_counter::measure;
use extauth::Compilation;
use extauth::chain::{Decision, Known, Progress, Question};
use extauth::request::Request;

use crate::support::{bringing, check, compile, compiler, one_key, snapshot};

#[test]
fn a_decision_about_a_key_allocates_nothing() {
    let yaml: String = (0..100)
        .map(|number| {
            format!(
                "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: s{number}, labels: {{team: a}}}}, stringData: {{api-key: k{number}, org: o}}}}\n---\n"
            )
        })
        .collect();
    let yaml = yaml + &one_key("mykey");
    let compiler = compiler();
    let first = compile(&compiler, &snapshot(1, &yaml), Compilation::default());
    // What is declared then reads another header; the version of before answers who brings what it reads.
    let edited = yaml.replace("{apiKeyAuth: {", "{apiKeyAuth: {headerName: x-key, ");
    let second = compile(&compiler, &snapshot(2, &edited), first.clone());
    let (of_before, of_now) = (Some("api-key,x-org"), Some("x-key,x-org"));
    let versions = [
        ("asked with all", &first.index, None, "api-key"),
        ("asked with what it reads", &first.index, of_before, "api-key"),
        ("asked with what is read now", &second.index, of_now, "x-key"),
        ("asked with what was read before", &second.index, of_before, "api-key"),
    ];
    let deadline = Instant::now() + Duration::from_secs(1);
    let cases = [
        ("the key", vec![("api-key", "mykey"), ("x-org", "mine")], true),
        ("another key", vec![("api-key", "k77")], true),
        ("a wrong key", vec![("api-key", "wrong"), ("x-user-id", "admin")], false),
        ("an empty key", vec![("api-key", "")], false),
        ("none", vec![("x-org", "mine")], false),
    ];
    for ((whom, index, brings, header), (what, headers, passes)) in
        versions.into_iter().flat_map(|version| cases.iter().map(move |case| (version, case)))
    {
        let name = |name: &'static str| if name == "api-key" { header } else { name };
        let headers: Vec<_> = headers.iter().map(|(known, value)| (name(known), *value)).collect();
        let asked = check(Some("default.keys"), &headers);
        let asked = brings.map_or(asked.clone(), |brings| bringing(brings, asked));
        let mut allowed = None;
        let measured = measure(|| {
            let request = Request::new(&asked);
            let chain = index.find(request.config_id(), request.brings(), deadline).map(Arc::as_ref);
            if let Ok(chain) = chain
                && let Progress::Decided(decision) =
                    chain.decide(Question { request, deadline, now: SystemTime::now() }, &Known::new())
            {
                allowed = Some(matches!(decision, Decision::Allow(_)));
            }
        });
        assert_eq!(allowed, Some(*passes), "{what}, {whom}");
        assert_eq!(measured.count_total, 0, "{what}, {whom}: {measured:?}");
    }
}
