//! What is written over what was there.

#![allow(clippy::unwrap_used)]

use api::{ObjectRef, Problem};
use proptest::prelude::*;
use status::RESOLVED_REFS;

use super::*;

const NOW: &str = "2026-02-01T00:00:00Z";
const BEFORE: &str = "2026-01-01T00:00:00Z";

fn speaker() -> Speaker {
    Speaker {
        controller: "us.example/x".to_owned(),
        namespace: "ours".to_owned(),
        now: NOW.to_owned(),
        has_heard_all: true,
    }
}

fn parent(name: &str) -> Parent {
    Parent::whole(ObjectRef::new(Kind::Service, "t", name), "us.example/x")
}

fn at(parent: Parent, accepted: Condition) -> ObjectStatus {
    ObjectStatus::at(Place::Parent(parent), vec![accepted]).observing(Some(4))
}

fn good() -> Condition {
    Condition::holds(ACCEPTED, "Accepted", "")
}

fn entry(name: &str, controller: &str, status: &str, generation: i64, since: &str) -> Value {
    json!({"parentRef": {"group": "", "kind": "Service", "namespace": "t", "name": name}, "controllerName": controller,
        "conditions": [{"type": "Accepted", "status": status, "reason": "Accepted", "message": "",
            "lastTransitionTime": since, "observedGeneration": generation}]})
}

fn route(parents: Value) -> Value {
    json!({"metadata": {"name": "r"}, "status": {"parents": parents}})
}

#[test]
fn a_routes_entries_of_others_stay_as_they_are_and_where_they_are() {
    let (ours, theirs) = ("us.example/x", "them.example/y");
    let there = route(json!([
        entry("a", theirs, "False", 9, BEFORE),
        entry("a", ours, "True", 3, BEFORE),
        entry("gone", ours, "True", 3, BEFORE),
        entry("gone", theirs, "True", 9, BEFORE),
    ]));
    let said = [at(parent("a"), good()), at(parent("b"), good())];
    let written = wanted(Kind::HttpRoute, &there, &said, &speaker()).unwrap();
    let expected = json!([
        entry("a", theirs, "False", 9, BEFORE),
        entry("a", ours, "True", 4, BEFORE),
        entry("gone", theirs, "True", 9, BEFORE),
        entry("b", ours, "True", 4, NOW),
    ]);
    assert_eq!(written, json!({"parents": expected}));
    // What stands is not written again, whenever that is.
    let later = Speaker { now: "2026-03-01T00:00:00Z".to_owned(), ..speaker() };
    assert_eq!(wanted(Kind::HttpRoute, &route(expected), &said, &later), None);
    // Silence takes our entries away, and no other.
    let silence = wanted(Kind::HttpRoute, &there, &[], &speaker()).unwrap();
    assert_eq!(
        silence,
        json!({"parents": [entry("a", theirs, "False", 9, BEFORE), entry("gone", theirs, "True", 9, BEFORE)]})
    );
    assert_eq!(wanted(Kind::HttpRoute, &json!({}), &[], &speaker()), None);
}

#[test]
fn what_we_said_is_told_from_what_others_said() {
    let ours = |kind, object: Value| is_ours(kind, &object, &speaker());
    assert!(ours(
        Kind::HttpRoute,
        route(json!([entry("a", "them.example/y", "True", 1, NOW), entry("a", "us.example/x", "True", 1, NOW)]))
    ));
    assert!(!ours(Kind::HttpRoute, route(json!([entry("a", "them.example/y", "True", 1, NOW)]))));
    assert!(!ours(Kind::HttpRoute, json!({})));
    assert!(ours(Kind::RouteOption, json!({"status": {"statuses": {"ours": {"state": "Accepted"}}}})));
    for status in [json!({"statuses": {"theirs": {}}}), json!({"statuses": {"ours": null}}), json!({}), Value::Null] {
        assert!(!ours(Kind::RouteOption, json!({"status": status})));
    }
}

#[test]
fn a_time_moves_with_what_it_is_the_time_of() {
    let there = route(json!([entry("a", "us.example/x", "True", 4, BEFORE)]));
    let bad = Condition::fails(ACCEPTED, "NoMatchingParent", "there is no such port");
    let written = wanted(Kind::HttpRoute, &there, &[at(parent("a"), bad)], &speaker()).unwrap();
    let condition = &written["parents"][0]["conditions"][0];
    assert_eq!((&condition["status"], &condition["lastTransitionTime"]), (&json!("False"), &json!(NOW)));
    let words = Condition::holds(ACCEPTED, "Accepted", "in other words");
    let written = wanted(Kind::HttpRoute, &there, &[at(parent("a"), words)], &speaker()).unwrap();
    let condition = &written["parents"][0]["conditions"][0];
    assert_eq!((&condition["message"], &condition["lastTransitionTime"]), (&json!("in other words"), &json!(BEFORE)));
}

#[test]
fn nothing_is_written_over_what_was_said_of_a_later_version() {
    let there = route(json!([entry("a", "us.example/x", "False", 5, BEFORE)]));
    assert_eq!(wanted(Kind::HttpRoute, &there, &[at(parent("a"), good())], &speaker()), None);
    let gateway =
        json!({"status": {"conditions": [{"type": "Accepted", "status": "Unknown", "observedGeneration": 5}]}});
    let programmed = ObjectStatus::new(vec![good(), Condition::holds(PROGRAMMED, "Programmed", "")]);
    assert_eq!(wanted(Kind::Gateway, &gateway, &[programmed.clone().observing(Some(4))], &speaker()), None);
    assert!(wanted(Kind::Gateway, &gateway, &[programmed.observing(Some(5))], &speaker()).is_some());
    let config = json!({"status": {"state": "ACCEPTED", "observedGeneration": 5}});
    let said = ObjectStatus::new(vec![Condition::accepted(vec![Problem::error("spec", "empty")])]);
    assert_eq!(wanted(Kind::RateLimitConfig, &config, &[said.clone().observing(Some(4))], &speaker()), None);
    assert!(wanted(Kind::RateLimitConfig, &config, &[said.observing(Some(5))], &speaker()).is_some());
}

#[test]
fn what_another_controller_may_serve_is_left_to_it() {
    let foreign = Condition::pending(ACCEPTED, OTHER_CONTROLLER, "for another controller");
    assert_eq!(wanted(Kind::HttpRoute, &json!({}), &[at(parent("a"), foreign.clone())], &speaker()), None);
    let elsewhere = Parent { controller: "them.example/y".to_owned(), ..parent("a") };
    assert_eq!(wanted(Kind::HttpRoute, &json!({}), &[at(elsewhere, good())], &speaker()), None);
    // One of a foreign class that is not valid either.
    for said in [foreign, Condition::accepted(vec![Problem::error("spec", "empty")])] {
        assert_eq!(wanted(Kind::Gateway, &json!({}), &[ObjectStatus::new(vec![said])], &speaker()), None);
    }
    assert_eq!(wanted(Kind::Service, &json!({}), &[ObjectStatus::new(vec![good()])], &speaker()), None);
}

#[test]
fn a_route_whose_newest_version_is_not_served_is_accepted_nowhere() {
    let refused = ObjectStatus::new(vec![Condition::accepted(vec![Problem::error("spec.rules", "too many")])]);
    let said = [refused, at(parent("a"), good())];
    let written = wanted(Kind::HttpRoute, &json!({}), &said, &speaker()).unwrap();
    let condition = &written["parents"][0]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Invalid")));
}

#[test]
fn a_gateway_keeps_conditions_of_others_and_its_addresses() {
    let foreign = json!({"type": "example.com/Other", "status": "True", "lastTransitionTime": BEFORE});
    let address = json!([{"type": "IPAddress", "value": "10.0.0.1"}]);
    let there = json!({"status": {"conditions": [
        {"type": "Programmed", "status": "Unknown", "reason": "Pending", "lastTransitionTime": BEFORE}, foreign,
    ], "addresses": address}});
    let whole = ObjectStatus::new(vec![good(), Condition::holds(PROGRAMMED, "Programmed", "")]).observing(Some(2));
    let listener = ObjectStatus {
        attached_routes: Some(3),
        supported_kinds: Some(vec![Kind::HttpRoute]),
        ..ObjectStatus::at(
            Place::Listener("proxy".to_owned()),
            vec![Condition::holds(RESOLVED_REFS, "ResolvedRefs", "")],
        )
    };
    let written = wanted(Kind::Gateway, &there, &[whole.clone(), listener], &speaker()).unwrap();
    let types: Vec<&Value> = written["conditions"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["Accepted", "Programmed", "example.com/Other"]);
    assert_eq!(written["conditions"][2], foreign);
    assert_eq!(written["conditions"][1]["lastTransitionTime"], NOW, "it was not known before");
    let listener = &written["listeners"][0];
    assert_eq!((&listener["name"], &listener["attachedRoutes"]), (&json!("proxy"), &json!(3)));
    assert_eq!(listener["supportedKinds"], json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}]));
    assert_eq!(listener["conditions"][0]["observedGeneration"], 2);
    assert_eq!(written.get("addresses"), None, "what is there stays");
    let addresses = vec![Address::Ip("10.0.0.2".parse().unwrap()), Address::Hostname("a.t.svc".to_owned())];
    let reachable = ObjectStatus { addresses, ..whole };
    let written = wanted(Kind::Gateway, &there, &[reachable], &speaker()).unwrap();
    assert_eq!(
        written["addresses"],
        json!([
        {"type": "IPAddress", "value": "10.0.0.2"}, {"type": "Hostname", "value": "a.t.svc"}])
    );
}

#[test]
fn a_policys_conditions_of_ours_stand_behind_those_of_others() {
    let one = |kind: &str, status: &str, generation: i64, since: &str| {
        json!({"type": kind, "status": status, "reason": "Accepted", "message": "", "lastTransitionTime": since,
            "observedGeneration": generation})
    };
    let istiod = json!({"type": "WaypointAccepted", "status": "True", "reason": "Accepted", "message": "bound"});
    let there = |conditions: Value| json!({"status": {"conditions": conditions, "validationMessages": []}});
    let whole = ObjectStatus::new(vec![good()]).observing(Some(4));
    let at_target = ObjectStatus::at(Place::Ancestor(parent("a")), vec![good()]);
    let said = [whole, at_target];
    let kind = Kind::AuthorizationPolicy;
    let before = there(json!([
        one("waykeeper.dev/Accepted", "True", 3, BEFORE),
        istiod,
        one("waykeeper.dev/Programmed", "True", 3, BEFORE),
    ]));
    let expected = json!({"conditions": [istiod, one("waykeeper.dev/Accepted", "True", 4, BEFORE)]});
    assert_eq!(wanted(kind, &before, &said, &speaker()), Some(expected.clone()));
    assert_eq!(wanted(kind, &there(expected["conditions"].clone()), &said, &speaker()), None);
    assert_eq!(
        wanted(kind, &json!({}), &said, &speaker()),
        Some(json!({"conditions": [one("waykeeper.dev/Accepted", "True", 4, NOW)]}))
    );
    // A later version was judged; istiod's word about one is no judgement of ours.
    assert_eq!(wanted(kind, &there(json!([one("waykeeper.dev/Accepted", "True", 5, NOW)])), &said, &speaker()), None);
    assert!(wanted(kind, &there(json!([one("WaypointAccepted", "True", 5, NOW)])), &said, &speaker()).is_some());
    // Silence, or what is another controller's, takes ours away and no other.
    let foreign = ObjectStatus::new(vec![Condition::pending(ACCEPTED, OTHER_CONTROLLER, "for another controller")]);
    for said in [&[][..], &[foreign]] {
        assert_eq!(wanted(kind, &before, said, &speaker()), Some(json!({"conditions": [istiod]})));
        assert_eq!(wanted(kind, &there(json!([istiod])), said, &speaker()), None);
        assert_eq!(wanted(kind, &json!({}), said, &speaker()), None);
    }
    assert!(is_ours(kind, &before, &speaker()) && !is_ours(kind, &there(json!([istiod])), &speaker()));
}

#[test]
fn gloos_states_tell_refused_from_partly_in_force_from_not_known_yet() {
    let ancestor = |condition| ObjectStatus::at(Place::Ancestor(parent("a")), vec![condition]);
    let whole = |condition| ObjectStatus::new(vec![condition]);
    let warning = Condition::accepted(vec![Problem::warning("spec.options", "does nothing")]);
    let refused = Condition::accepted(vec![Problem::error("spec.options", "cannot be read")]);
    let partly = Condition::fails(ACCEPTED, "NotEnforced", "port 81 is not HTTP");
    let pending = Condition::pending(PROGRAMMED, "Pending", "waits for Envoy");
    let cases = [
        (vec![whole(good())], "Accepted", "ACCEPTED", None),
        (vec![whole(warning)], "Warning", "ACCEPTED", Some("spec.options: does nothing")),
        (vec![whole(refused)], "Rejected", "REJECTED", Some("spec.options: cannot be read")),
        (vec![whole(good()), ancestor(partly)], "Warning", "ACCEPTED", Some("Service t/a: port 81 is not HTTP")),
        (vec![whole(good()), ancestor(pending)], "Pending", "PENDING", Some("Service t/a: waits for Envoy")),
    ];
    for (said, state, flat, reason) in cases {
        let written = wanted(Kind::RouteOption, &json!({}), &said, &speaker()).unwrap();
        let expected = json!({"state": state, "reason": reason, "reportedBy": "waykeeper"});
        assert_eq!(written, json!({"statuses": {"ours": expected}}));
        let written = wanted(Kind::RateLimitConfig, &json!({}), &said, &speaker()).unwrap();
        assert_eq!((&written["state"], &written["message"]), (&json!(flat), &json!(reason)));
    }
    // Others' states stay: what is not written is not touched; ours goes with the last word.
    let there = json!({"status": {"statuses": {"theirs": {"state": "Accepted"}, "ours": {"state": "Accepted"}}}});
    assert_eq!(wanted(Kind::AuthConfig, &there, &[], &speaker()), Some(json!({"statuses": {"ours": null}})));
    assert_eq!(wanted(Kind::AuthConfig, &json!({"status": {"statuses": {"theirs": {}}}}), &[], &speaker()), None);
    let long = whole(Condition::accepted(vec![Problem::error("spec", "ä".repeat(2_000))]));
    let written = wanted(Kind::RouteOption, &json!({}), &[long], &speaker()).unwrap();
    assert!(written["statuses"]["ours"]["reason"].as_str().unwrap().len() <= LONGEST_REASON);
}

/// Whatever may stand where a status belongs.
fn anything() -> impl Strategy<Value = Value> {
    let keys = [
        "parents",
        "conditions",
        "listeners",
        "statuses",
        "ours",
        "controllerName",
        "parentRef",
        "type",
        "status",
        "observedGeneration",
        "state",
        "addresses",
        "name",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::sample::select(vec!["us.example/x", "Accepted", "True", "proxy", ""]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        let field = (proptest::sample::select(keys.to_vec()), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            proptest::collection::vec(field, 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    /// What somebody else has written there, however odd, keeps nobody from writing, and what was written stands.
    #[test]
    fn whatever_stands_there_is_written_over_once(status in anything(), generation in any::<Option<i64>>()) {
        let programmed = vec![good(), Condition::holds(PROGRAMMED, "Programmed", "")];
        let said = [
            ObjectStatus::new(programmed).observing(generation),
            at(parent("a"), good()),
            ObjectStatus::at(Place::Listener("proxy".to_owned()), vec![good()]),
        ];
        for kind in
            [Kind::HttpRoute, Kind::Gateway, Kind::RouteOption, Kind::RateLimitConfig, Kind::AuthorizationPolicy]
        {
            let Some(written) = wanted(kind, &json!({"status": status}), &said, &speaker()) else { continue };
            let mut merged = status.clone();
            merge(&mut merged, &written);
            prop_assert_eq!(wanted(kind, &json!({"status": merged}), &said, &speaker()), None, "{:?} {}", kind, written);
        }
    }
}

/// A merge patch, as an API server applies it.
fn merge(there: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *there = patch.clone() };
    if !there.is_object() {
        *there = json!({});
    }
    for (key, value) in fields {
        match value {
            Value::Null => drop(there.as_object_mut().unwrap().remove(key)),
            value => merge(&mut there[key], value),
        }
    }
}

/// A replica that has just begun to lead does not know what its predecessor had heard from Envoys.
#[test]
fn what_is_known_of_this_version_stays_until_everybody_had_the_time_to_be_heard() {
    let early = Speaker { has_heard_all: false, ..speaker() };
    let pending = Condition::pending(PROGRAMMED, "Pending", "waiting for Envoy");
    let of = |generation: i64, condition: &str, status: &str| {
        json!({"type": condition, "status": status, "reason": "Because", "message": "known", "lastTransitionTime": BEFORE,
            "observedGeneration": generation})
    };
    let said =
        |parent: Parent| ObjectStatus::at(Place::Parent(parent), vec![good(), pending.clone()]).observing(Some(4));
    let there = |generation: i64, programmed: &str| {
        let mut entry = entry("a", "us.example/x", "True", generation, BEFORE);
        entry["conditions"] = json!([good_there(generation), of(generation, "Programmed", programmed)]);
        route(json!([entry]))
    };
    let written = |there: &Value, speaker: &Speaker| {
        wanted(Kind::HttpRoute, there, &[said(parent("a"))], speaker)
            .map(|status| status["parents"][0]["conditions"][1]["status"].as_str().unwrap().to_owned())
    };
    for known in ["True", "False"] {
        assert_eq!(written(&there(4, known), &early), None, "{known}");
        assert_eq!(written(&there(4, known), &speaker()), Some("Unknown".into()), "{known}: it had the time");
        assert_eq!(written(&there(3, known), &early), Some("Unknown".into()), "{known}: another version of the route");
    }
    let none = route(json!([entry("a", "us.example/x", "True", 4, BEFORE)]));
    assert_eq!(written(&none, &early), Some("Unknown".into()), "nothing was known");
    // What is known to the speaker is written, whenever that is.
    let fails =
        ObjectStatus::at(Place::Parent(parent("a")), vec![good(), Condition::fails(PROGRAMMED, "Rejected", "no")]);
    let status = wanted(Kind::HttpRoute, &there(4, "True"), &[fails.observing(Some(4))], &early).unwrap();
    assert_eq!(status["parents"][0]["conditions"][1]["status"], "False");

    // Gloo's forms.
    let whole = [ObjectStatus::new(vec![good(), pending.clone()]).observing(Some(4))];
    for (known, stays) in [("Accepted", true), ("Rejected", true), ("Warning", true)] {
        let there = json!({"status": {"statuses": {"ours": {"state": known}, "theirs": {"state": "Accepted"}}}});
        assert_eq!(wanted(Kind::RouteOption, &there, &whole, &early).is_none(), stays, "{known}");
        assert!(wanted(Kind::RouteOption, &there, &whole, &speaker()).is_some());
        assert!(wanted(Kind::RouteOption, &there, &[], &early).is_some(), "nothing is said of it any more");
    }
    let there = json!({"status": {"statuses": {"theirs": {"state": "Accepted"}}}});
    assert!(wanted(Kind::RouteOption, &there, &whole, &early).is_some(), "of ours nothing was known");
    for (generation, stays) in [(4, true), (3, false)] {
        let there = json!({"status": {"state": "ACCEPTED", "observedGeneration": generation}});
        assert_eq!(wanted(Kind::RateLimitConfig, &there, &whole, &early).is_none(), stays, "{generation}");
        assert!(wanted(Kind::RateLimitConfig, &there, &whole, &speaker()).is_some());
    }
}

fn good_there(generation: i64) -> Value {
    entry("a", "us.example/x", "True", generation, BEFORE)["conditions"][0].clone()
}
