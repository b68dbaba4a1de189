//! What is read of what an API server may send.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const GROUP: &str = "gateway.solo.io/v1";

fn option(name: &str, more: Value) -> Value {
    let mut value = json!({"apiVersion": GROUP, "kind": "RouteOption",
        "metadata": {"name": name, "namespace": "t", "uid": format!("uid-{name}"), "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1, "managedFields": [{"manager": "kubectl"}],
            "annotations": {LAST_APPLIED: "canary"}},
        "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}]}});
    for (key, field) in more.as_object().unwrap() {
        value[key] = field.clone();
    }
    value
}

fn entries(kind: Kind, version: &str, items: &[String]) -> Vec<Entry<Item>> {
    let body = format!(r#"{{"metadata": {{"resourceVersion": "9"}}, "items": [{}]}}"#, items.join(","));
    match page(kind.into(), version, body.as_bytes()) {
        Event::Page { entries, version, more: None } if &*version == "9" => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_object_that_cannot_be_read_is_broken_alone_and_keeps_its_name() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let text = option("deep", json!({})).to_string();
    let deep = text.replacen("\"spec\":", &format!("\"extra\": {deep}, \"spec\":"), 1);
    let large = option("large", json!({"spec": {"x": "x".repeat(LARGEST_OBJECT)}})).to_string();
    let wrong = option("wrong", json!({"spec": {"targetRefs": 5}})).to_string();
    let good = option("good", json!({"spec": {"options": {"timeout": "1s"}}})).to_string();
    let read = entries(Kind::RouteOption, GROUP, &[deep, large, wrong, good]);
    let rejected: Vec<(&str, bool)> =
        read.iter().map(|entry| (entry.name.name.as_str(), entry.object.admission.rejected())).collect();
    assert_eq!(rejected, [("deep", true), ("large", true), ("wrong", true), ("good", false)]);
    for entry in &read {
        assert_eq!(entry.object.admission.reference.as_ref().unwrap().name, entry.name);
        assert!(!format!("{entry:?}").contains("canary"));
    }
    assert_eq!(read[0].object.admission.reach, Reach::Unknown, "whatever it would have governed");
    // Which object it is, is known: nothing else is held up by it.
    assert!(read.iter().all(|entry| !entry.object.admission.withholds));
}

#[test]
fn what_is_not_the_authors_makes_no_other_version() {
    let digest = |value: Value| entries(Kind::RouteOption, GROUP, &[value.to_string()])[0].object.digest;
    let first = digest(option("a", json!({})));
    let mut same = option("a", json!({"status": {"state": 1}}));
    same["metadata"]["resourceVersion"] = "8".into();
    same["metadata"]["managedFields"] = json!([]);
    same["metadata"]["finalizers"] = json!(["x"]);
    assert_eq!(first, digest(same));
    assert_ne!(first, digest(option("a", json!({"spec": {}}))));
    let mut annotated = option("a", json!({}));
    annotated["metadata"]["annotations"]["example.com/mine"] = "x".into();
    assert_ne!(first, digest(annotated), "annotations are the author's");
    let mut labelled = option("a", json!({}));
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_ne!(first, digest(labelled));
}

#[test]
fn items_of_lists_have_no_kind_of_their_own() {
    let service = r#"{"metadata": {"name": "a", "namespace": "t", "uid": "u", "resourceVersion": "1", "ownerReferences": []},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]}, "status": {"loadBalancer": {}}}"#;
    let read = entries(Kind::Service, "v1", &[service.to_owned()]);
    assert!(!read[0].object.admission.rejected(), "{:?}", read[0].object.admission.problems);
    let namespace =
        r#"{"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}, "spec": {"finalizers": ["kubernetes"]}}"#;
    let read = entries(Kind::Namespace, "v1", &[namespace.to_owned()]);
    assert_eq!((read[0].name.namespace.as_str(), read[0].name.name.as_str()), ("", "a"));
    assert!(!read[0].object.admission.rejected(), "{:?}", read[0].object.admission.problems);
}

#[test]
fn a_list_is_read_whole_or_not_at_all() {
    let failed =
        |body: &str| matches!(page(Kind::Service.into(), "v1", body.as_bytes()), Event::Failed(Failure::Unreadable(_)));
    assert!(failed("{"));
    assert!(failed(r#"{"metadata": {}, "items": [{"metadata": {"namespace": "t"}}]}"#), "an object without a name");
    assert!(failed(r#"{"metadata": {}, "items": [{"metadata": {"name": "a"}}]}"#), "or without a namespace");
    assert!(failed(r#"{"metadata": {}, "items": 5}"#));
    let empty =
        page(Kind::Service.into(), "v1", br#"{"metadata": {"resourceVersion": "3", "continue": ""}, "items": null}"#);
    assert!(matches!(empty, Event::Page { entries, more: None, .. } if entries.is_empty()));
    let more =
        page(Kind::Service.into(), "v1", br#"{"metadata": {"resourceVersion": "3", "continue": "x"}, "items": []}"#);
    assert!(matches!(more, Event::Page { more: Some(more), .. } if more == "x"));
}

#[test]
fn lines_of_a_watch_say_what_happened_in_any_order_of_their_fields() {
    let object = option("a", json!({}));
    let read = |text: String| line(Kind::RouteOption.into(), GROUP, text.as_bytes());
    for text in
        [format!(r#"{{"type":"ADDED","object":{object}}}"#), format!(r#"{{"object":{object},"type":"MODIFIED"}}"#)]
    {
        assert!(
            matches!(read(text), Event::Line(Line::Put(entry)) if &*entry.version == "7" && &*entry.uid == "uid-a")
        );
    }
    let gone = read(format!(r#"{{"type":"DELETED","object":{object}}}"#));
    assert!(matches!(gone, Event::Line(Line::Gone(name, version)) if name.name == "a" && &*version == "7"));
    let mark = read(r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}"#.to_owned());
    assert!(matches!(mark, Event::Line(Line::Bookmark(version)) if &*version == "12"));
    for status in [r#"{"kind":"Status","code":410,"reason":"Expired"}"#, r#"{"code":0,"reason":"Gone"}"#] {
        let expired = read(format!(r#"{{"type":"ERROR","object":{status}}}"#));
        assert!(matches!(expired, Event::Failed(Failure::Expired)));
    }
    let error = read(r#"{"type":"ERROR","object":{"code":500,"message":"canary"}}"#.to_owned());
    assert!(matches!(&error, Event::Failed(Failure::Status { code: 500, .. })));
    assert!(!format!("{error:?}").contains("canary"));
    for text in ["", "null", "{}", r#"{"type":"ADDED","object":{}}"#, r#"{"type":"ADDED","object":{"metadata":5}}"#] {
        assert!(matches!(read(text.to_owned()), Event::Failed(Failure::Unreadable(_))), "{text}");
    }
    let unknown = read(format!(r#"{{"type":"RENAMED","object":{object}}}"#));
    assert!(matches!(unknown, Event::Failed(Failure::Unreadable(_))));
}

#[test]
fn nothing_of_a_secret_is_kept_but_what_admission_keeps() {
    let secret = r#"{"metadata": {"name": "a", "namespace": "t", "uid": "u", "resourceVersion": "1",
        "deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"}},
        "type": "extauth.solo.io/apikey", "data": {"api-key": "Y2FuYXJ5", "org": "Y2FuYXJ5"}}"#;
    let read = entries(Kind::Secret, "v1", &[secret.to_owned()]);
    let shown = format!("{read:?}");
    assert!(!shown.contains("canary") && !shown.contains("Y2FuYXJ5"), "{shown}");
    assert!(!read[0].object.admission.rejected() && read[0].object.deleting);
}

/// What kubectl notes for itself says what the object says once more, and nothing of its own.
#[test]
fn what_was_applied_last_makes_no_difference_and_is_not_kept() {
    let of = |applied: Value| {
        let mut value = option("a", json!({}));
        value["metadata"]["annotations"] = applied;
        manifest(Kind::RouteOption, GROUP, &value.to_string()).unwrap()
    };
    let none = of(json!({}));
    assert_eq!(of(json!({LAST_APPLIED: "canary"})), none);
    assert_eq!(none["metadata"].get("annotations"), None);
    assert_eq!(of(json!({LAST_APPLIED: "canary", "a": "b"}))["metadata"]["annotations"], json!({"a": "b"}));
}

#[test]
fn a_refusal_means_what_its_number_and_its_words_say() {
    let failure = |code: u16, body: Value| Refusal::read(body.to_string().as_bytes()).failure(code, None);
    assert_eq!(failure(404, json!({})), Failure::NotFound);
    for expired in
        [failure(410, json!({})), failure(400, json!({"reason": "Expired"})), failure(500, json!({"reason": "Gone"}))]
    {
        assert_eq!(expired, Failure::Expired);
    }
    for code in [400, 401, 403, 409, 429, 500, 503] {
        assert_eq!(failure(code, json!({"reason": "Forbidden"})), Failure::Status { code, retry_after: None });
    }
}

/// An API server sends no such object. What has no name cannot be refused alone, so the list is not believed.
#[test]
fn an_object_without_a_name_or_in_the_wrong_scope_is_none() {
    let with = |metadata: Value| {
        let body = json!({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": metadata, "spec": {}}]});
        page(Kind::RouteOption.into(), GROUP, body.to_string().as_bytes())
    };
    let named = json!({"name": "a", "namespace": "t"});
    assert!(matches!(with(named), Event::Page { .. }));
    for metadata in [json!({"name": "", "namespace": "t"}), json!({"namespace": "t"}), json!({"name": "a"})] {
        assert!(matches!(with(metadata.clone()), Event::Failed(Failure::Unreadable(_))), "{metadata}");
    }
    // A time that is none is a mistake in one object, not in the list.
    assert!(matches!(with(json!({"name": "a", "namespace": "t", "creationTimestamp": "noon"})), Event::Page { .. }));
}

#[test]
fn what_is_served_is_told_by_the_servers_own_answer_about_it_alone() {
    let body = br#"{"kind": "APIResourceList", "groupVersion": "gateway.solo.io/v1", "resources":
        [{"name": "routeoptions", "kind": "RouteOption"}, {"name": "routeoptions/status"}]}"#;
    let version = "gateway.solo.io/v1";
    assert_eq!(serves("routeoptions", version, body), Ok(true));
    assert_eq!(serves("routeoptions/status", version, body), Ok(true), "the second one counts, too");
    assert_eq!(serves("authconfigs", version, body), Ok(false));
    assert!(serves("routeoptions", "gateway.solo.io/v2", body).is_err(), "an answer about something else");
    let others = [
        &b"{}"[..],
        br#"{"resources": []}"#,
        b"<html>",
        b"",
        br#"{"kind": "Status", "groupVersion": "gateway.solo.io/v1", "resources": []}"#,
    ];
    for other in others {
        assert!(serves("routeoptions", version, other).is_err(), "no answer is no no");
    }
}

/// A gateway that answers 404 to everything must not make policies go.
#[test]
fn what_is_not_found_is_gone_only_if_the_list_of_all_groups_says_so() {
    let body = br#"{"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "gateway.solo.io",
        "versions": [{"groupVersion": "gateway.solo.io/v1", "version": "v1"}]}, {"name": "x", "versions": []}]}"#;
    assert_eq!(knows("gateway.solo.io/v1", body), Ok(true));
    assert_eq!(knows("ratelimit.solo.io/v1alpha1", body), Ok(false));
    for other in [&b"{}"[..], br#"{"groups": []}"#, b"404 page not found", b"", br#"{"kind": "Status", "groups": []}"#]
    {
        assert!(knows("gateway.solo.io/v1", other).is_err());
    }
}

proptest! {
    #[test]
    fn lines_are_the_same_however_they_are_cut(
        lines in prop::collection::vec("[a-z]{1,20}", 0..20),
        cuts in prop::collection::vec(1..30_usize, 1..40),
    ) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut rest = text.as_bytes();
        let (mut cutter, mut read) = (Lines::new(20), Vec::new());
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            cutter.take(piece);
            rest = after;
            while let Some(line) = cutter.next_line().unwrap() {
                read.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        prop_assert_eq!(read, lines);
    }
}

#[test]
fn a_line_without_an_end_is_not_waited_for_for_ever() {
    let mut lines = Lines::new(10);
    lines.take(b"0123456789");
    assert_eq!(lines.next_line().unwrap(), None);
    lines.take(b"0");
    assert_eq!(lines.next_line().unwrap_err(), Failure::TooLarge);
    let mut lines = Lines::new(10);
    lines.take(b"01234567890\n");
    assert_eq!(lines.next_line().unwrap_err(), Failure::TooLarge);
}
