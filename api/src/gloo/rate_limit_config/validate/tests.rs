//! What authors get to read.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::admit;
use crate::gloo::rate_limit_config::{ActionKind, MatchHow, RateLimitConfig, Unit};
use crate::object::Object;

fn document(raw: &Value) -> Value {
    json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig",
        "metadata": {"name": "limits", "namespace": "ns"}, "spec": {"raw": raw}})
}

fn errors(raw: &Value) -> Vec<String> {
    admit(&document(raw)).problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect()
}

fn warnings(raw: &Value) -> Vec<String> {
    admit(&document(raw)).problems.iter().filter(|p| !p.is_error()).map(ToString::to_string).collect()
}

fn fields(raw: &Value) -> Vec<String> {
    admit(&document(raw)).problems.into_iter().filter(|p| p.is_error()).map(|p| p.field).collect()
}

fn decoded(raw: &Value) -> RateLimitConfig {
    let admission = admit(&document(raw));
    assert!(!admission.rejected(), "{:?}", admission.problems);
    match admission.object {
        Some(Object::RateLimitConfig(config)) => (*config).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_walkthroughs_two_configs_are_admitted_without_a_word() {
    for raw in [
        json!({"descriptors": [{"key": "generic_key", "value": "counter", "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"}}],
            "rateLimits": [{"actions": [{"genericKey": {"descriptorValue": "counter"}}]}]}),
        json!({"setDescriptors": [{"simpleDescriptors": [{"key": "organization", "value": "myorg"}], "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"}}],
            "rateLimits": [{"setActions": [{"requestHeaders": {"descriptorKey": "organization", "headerName": "X-Organization"}}]}]}),
    ] {
        assert_eq!(admit(&document(&raw)).problems, vec![]);
    }
}

#[test]
fn snake_case_numbers_and_strings_mean_the_same_as_camel_case_and_names() {
    let camel = json!({"setDescriptors": [{"simpleDescriptors": [{"key": "a"}], "rateLimit": {"requestsPerUnit": 7, "unit": "WEEK"}, "alwaysApply": true}],
        "descriptors": [{"key": "a", "weight": 3, "rateLimit": {"requestsPerUnit": 2, "unit": "SECOND"}}],
        "rateLimits": [{"actions": [{"remoteAddress": {}}], "setActions": [{"metadata": {"descriptorKey": "d", "metadataKey": {"key": "k", "path": [{"key": "p"}]}, "source": "ROUTE_ENTRY", "defaultValue": "x"}}]}]});
    let snake = json!({"set_descriptors": [{"simple_descriptors": [{"key": "a"}], "rate_limit": {"requests_per_unit": "7", "unit": 7}, "always_apply": true}],
        "descriptors": [{"key": "a", "weight": "3", "rate_limit": {"requests_per_unit": 2.0, "unit": 1}}],
        "rate_limits": [{"actions": [{"remote_address": {}}], "set_actions": [{"metadata": {"descriptor_key": "d", "metadata_key": {"key": "k", "path": [{"key": "p"}]}, "source": 1, "default_value": "x"}}]}]});
    assert_eq!(decoded(&camel), decoded(&snake));
    assert_eq!(decoded(&snake).spec.raw.set_descriptors[0].rate_limit.unwrap().unit, Unit::Week);
}

#[test]
fn what_is_decoded_is_written_back_the_same() {
    let config = decoded(
        &json!({"descriptors": [{"key": "a", "descriptors": [{"key": "b", "value": "c", "rateLimit": {"unit": "MONTH"}}]}],
        "rateLimits": [{"actions": [{"headerValueMatch": {"descriptorValue": "v", "expectMatch": false, "headers": [{"name": "x", "rangeMatch": {"start": "-1", "end": 5}}]}}]}]}),
    );
    let again: RateLimitConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let ActionKind::HeaderValueMatch(matches) = config.spec.raw.rate_limits[0].actions[0].kind().unwrap() else {
        panic!("another action")
    };
    assert!(matches!(matches.headers[0].how(), Some(MatchHow::Range(range)) if range.start == -1));
}

#[test]
fn no_rules_at_all_is_refused_in_the_words_gloo_uses() {
    for raw in [json!({}), json!({"setDescriptors": []}), json!({"descriptors": null})] {
        assert!(errors(&raw)[0].contains("raw config must define at least one descriptor or setDescriptor"));
    }
}

#[test]
fn every_mistake_of_a_tree_is_named_at_once() {
    let raw = json!({"descriptors": [
        {"key": "a", "descriptors": [{"key": "b", "rateLimit": {"unit": "UNKNOWN", "requestsPerUnit": 1}}, {"value": "x"}]},
        {"key": "a", "descriptors": []},
        {"key": "a", "value": "solo.setDescriptor.uniqueValue", "rateLimit": {"requestsPerUnit": 1}},
    ]});
    assert_eq!(
        fields(&raw),
        [
            "spec.raw.descriptors[0].descriptors[0].rateLimit.unit",
            "spec.raw.descriptors[0].descriptors[1].key",
            "spec.raw.descriptors[1].key",
            "spec.raw.descriptors[2].rateLimit.unit",
            "spec.raw.descriptors[2].value",
        ]
    );
    assert!(errors(&raw)[2].contains("duplicate descriptor composite key [a]"), "{:?}", errors(&raw));
}

#[test]
fn every_mistake_of_an_action_is_named_at_once() {
    let raw = json!({"descriptors": [{"key": "a"}], "rateLimits": [
        {"actions": [{"requestHeaders": {}}, {"genericKey": {}}, {"headerValueMatch": {"headers": [{"name": "bad name", "regexMatch": "("}]}},
            {"metadata": {}}, {"cel": {"expression": "1"}}, {"surprise": {}}, {"remoteAddress": {}, "sourceCluster": {}},
            {"genericKey": {"descriptorValue": "solo.setDescriptor.uniqueValue"}}]},
        {"type": "TOKEN"},
        {"actions": [{"remoteAddress": {}}], "limit": {"dynamicMetadata": {"metadataKey": {"key": "k"}}}},
    ]});
    let at = "spec.raw.rateLimits[0].actions";
    let expected: Vec<String> = [
        "[0].requestHeaders.descriptorKey",
        "[0].requestHeaders.headerName",
        "[1].genericKey.descriptorValue",
        "[2].headerValueMatch.descriptorValue",
        "[2].headerValueMatch.headers[0].name",
        "[2].headerValueMatch.headers[0].regexMatch",
        "[3].metadata.descriptorKey",
        "[3].metadata.metadataKey.key",
        "[3].metadata.metadataKey.path",
        "[4].cel",
        "[5]",
        "[6]",
        "[7].genericKey.descriptorValue",
    ]
    .iter()
    .map(|tail| format!("{at}{tail}"))
    .chain([
        "spec.raw.rateLimits[1]".to_owned(),
        "spec.raw.rateLimits[1].type".to_owned(),
        "spec.raw.rateLimits[2].limit.dynamicMetadata.metadataKey.path".to_owned(),
    ])
    .collect();
    let mut got = fields(&raw);
    got.sort();
    assert_eq!(got, expected);
}

#[test]
fn a_client_cannot_pass_a_tree_off_as_a_set() {
    let action = json!({"requestHeaders": {"headerName": "x", "descriptorKey": "generic_key"}});
    let raw = json!({"descriptors": [{"key": "generic_key"}], "rateLimits": [{"actions": [action]}]});
    assert_eq!(fields(&raw), ["spec.raw.rateLimits[0].actions[0].requestHeaders.descriptorKey"]);
}

#[test]
fn wrong_types_and_ranges_are_named_with_what_to_write() {
    let raw = json!({"descriptors": [{"key": "a", "value": 411, "weight": -1, "rateLimit": {"unit": "minute", "requestsPerUnit": 4294967296u64}}]});
    let got = fields(&raw);
    for field in ["value", "weight", "rateLimit.unit", "rateLimit.requestsPerUnit"] {
        assert!(got.contains(&format!("spec.raw.descriptors[0].{field}")), "{got:?}");
    }
}

#[test]
fn rules_that_can_never_apply_are_warned_of() {
    let rule = |conditions: Value| json!({"simpleDescriptors": conditions, "rateLimit": {"unit": "DAY", "requestsPerUnit": 1}});
    let raw = json!({"setDescriptors": [rule(json!([{"key": "a"}])), rule(json!([{"key": "b"}, {"key": "a", "value": "1"}])),
            rule(json!([{"key": "a", "value": "2"}])), rule(json!([]))],
        "rateLimits": [{"setActions": [
            {"requestHeaders": {"headerName": "a", "descriptorKey": "a"}}, {"requestHeaders": {"headerName": "b", "descriptorKey": "b"}}]}]});
    let got = warnings(&raw);
    assert_eq!(got.len(), 2, "{got:?}");
    for (said, number) in got.iter().zip(1..) {
        assert!(said.starts_with(&format!("spec.raw.setDescriptors[{number}]: never applies")), "{got:?}");
    }
}

#[test]
fn depth_and_count_have_limits() {
    let mut deep = json!({"key": "a"});
    for _ in 0..20 {
        deep = json!({"key": "a", "descriptors": [deep]});
    }
    assert!(errors(&json!({"descriptors": [deep]}))[0].contains("nested too deep"));
    let many: Vec<Value> = (0..33).map(|_| json!({"actions": [{"remoteAddress": {}}]})).collect();
    assert!(errors(&json!({"descriptors": [{"key": "a"}], "rateLimits": many}))[0].contains("at most 32"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        prop::sample::select(vec![
            "key",
            "value",
            "MINUTE",
            "DAY",
            "UNKNOWN",
            "7",
            "",
            "generic_key",
            "solo.setDescriptor.uniqueValue"
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec![
                    "raw",
                    "descriptors",
                    "setDescriptors",
                    "set_descriptors",
                    "simpleDescriptors",
                    "rateLimits",
                    "actions",
                    "setActions",
                    "limit",
                    "type",
                    "rateLimit",
                    "unit",
                    "requestsPerUnit",
                    "key",
                    "value",
                    "weight",
                    "alwaysApply",
                    "genericKey",
                    "requestHeaders",
                    "headerValueMatch",
                    "headers",
                    "metadata",
                    "metadataKey",
                    "path",
                    "dynamicMetadata",
                    "cel",
                    "remoteAddress",
                    "descriptorValue",
                    "name",
                    "regexMatch",
                    "rangeMatch",
                    "start",
                    "end",
                    "surprise",
                ]),
                inner,
                0..5
            )
            .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_written_is_answered_without_a_panic(raw in any_json()) {
        let admission = admit(&document(&raw));
        for problem in &admission.problems {
            prop_assert!(!problem.message.is_empty());
        }
    }
}

#[test]
fn fields_of_ours_are_checked_as_strictly_as_gloos() {
    let limit = |limit: Value| json!({"descriptors": [{"key": "a", "rateLimit": limit}]});
    let minute = |extra: Value| {
        let mut limit = json!({"requestsPerUnit": 1, "unit": "MINUTE"});
        limit.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        limit
    };
    for good in [
        minute(
            json!({"algorithm": "slidingWindow", "unitMultiplier": 5, "countWhenLimited": "never", "shadowMode": true}),
        ),
        minute(json!({"algorithm": "tokenBucket", "burst": 7, "unit_multiplier": "2", "count_when_limited": "always"})),
    ] {
        assert_eq!(errors(&limit(good)), Vec::<String>::new());
    }
    let at = "spec.raw.descriptors[0].rateLimit";
    for (bad, field) in [
        (minute(json!({"burst": 7})), format!("{at}.burst")),
        (json!({"requestsPerUnit": 1, "unit": "YEAR", "unitMultiplier": 200}), format!("{at}.unitMultiplier")),
        (minute(json!({"algorithm": "leakyBucket"})), format!("{at}.algorithm")),
    ] {
        assert_eq!(fields(&limit(bad.clone())), [field], "{bad}");
    }
    let twice = json!({"descriptors": [{"key": "a", "rateLimit": minute(json!({})), "limits": [minute(json!({"shadowMode": true})), minute(json!({}))]}]});
    assert_eq!(fields(&twice), ["spec.raw.descriptors[0].limits[1]"]);
}

#[test]
fn a_condition_on_values_says_one_thing_that_can_be_checked() {
    let with = |condition: Value| json!({"setDescriptors": [{"simpleDescriptors": [condition]}]});
    let at = "spec.raw.setDescriptors[0].simpleDescriptors[0]";
    for good in [
        json!({"key": "a", "valueMatch": {"cidrs": ["10.0.0.0/8", "2001:db8::/32"]}, "shareCounter": true}),
        json!({"key": "a", "value_match": {"regex": "a|b"}}),
    ] {
        assert_eq!(errors(&with(good)), Vec::<String>::new());
    }
    for (bad, field) in [
        (json!({"key": "a", "value": "x", "valueMatch": {"prefix": "x"}}), format!("{at}.valueMatch")),
        (json!({"key": "a", "valueMatch": {}}), format!("{at}.valueMatch")),
        (json!({"key": "a", "valueMatch": {"prefix": "x", "suffix": "y"}}), format!("{at}.valueMatch")),
        (json!({"key": "a", "valueMatch": {"cidrs": ["10.0.0.0/33"]}}), format!("{at}.valueMatch.cidrs[0]")),
        (json!({"key": "a", "valueMatch": {"regex": "a)|(b"}}), format!("{at}.valueMatch.regex")),
        (json!({"key": "a", "valueMatch": {"values": [""]}}), format!("{at}.valueMatch.values[0]")),
    ] {
        assert_eq!(fields(&with(bad.clone())), [field], "{bad}");
    }
    let same = json!({"key": "a", "valueMatch": {"prefix": "x"}, "rateLimit": {"requestsPerUnit": 1, "unit": "DAY"}});
    assert_eq!(fields(&json!({"descriptors": [same.clone(), same]})), ["spec.raw.descriptors[1].key"]);
}

#[test]
fn actions_and_rules_that_never_meet_are_warned_of() {
    let day = json!({"requestsPerUnit": 1, "unit": "DAY"});
    let generic = |value: &str| json!({"genericKey": {"descriptorValue": value}});
    let header = |key: &str| json!({"requestHeaders": {"headerName": "x", "descriptorKey": key}});
    let nested = json!([{"key": "generic_key", "value": "a", "descriptors": [{"key": "user", "rateLimit": day}]}]);
    let of = |values: Value| json!([{"key": "generic_key", "valueMatch": values, "rateLimit": day}]);
    let at = "spec.raw.rateLimits[0].actions";
    for (descriptors, actions, field, words) in [
        (nested.clone(), json!([generic("b"), header("user")]), format!("{at}[0]"), "the values there are a"),
        (nested.clone(), json!([header("user"), generic("a")]), format!("{at}[0]"), "write generic_key, user"),
        (nested.clone(), json!([generic("a"), header("usr")]), format!("{at}[1]"), "the keys there are user"),
        (nested.clone(), json!([generic("a")]), at.to_owned(), "add actions for user"),
        (
            nested.clone(),
            json!([generic("a"), header("user"), {"remoteAddress": {}}]),
            format!("{at}[2]"),
            "rules end before it",
        ),
        (
            json!([{"key": "generic_key", "value": "a"}]),
            json!([{"remoteAddress": {}}]),
            format!("{at}[0]"),
            "generic_key",
        ),
        (of(json!({"values": ["a", "c"]})), json!([generic("b")]), format!("{at}[0]"), "with the value \"b\""),
        (of(json!({"prefix": "a"})), json!([generic("ba")]), format!("{at}[0]"), "with the value \"ba\""),
        (of(json!({"suffix": "a"})), json!([generic("ab")]), format!("{at}[0]"), "with the value \"ab\""),
    ] {
        let got = warnings(&json!({"descriptors": descriptors, "rateLimits": [{"actions": actions}]}));
        assert!(
            got.iter().any(|one| one.starts_with(&format!("{field}: limits nothing")) && one.contains(words)),
            "{got:?}"
        );
    }
    let both = json!({"descriptors": [
            {"key": "a", "rateLimit": day}, {"key": "b", "descriptors": [{"key": "c", "rateLimit": day}]},
        ],
        "setDescriptors": [{"simpleDescriptors": [{"key": "a"}, {"key": "z"}], "rateLimit": day}],
        "rateLimits": [{"actions": [header("a")], "setActions": [header("a")]}]});
    let got = warnings(&both);
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got[0].starts_with("spec.raw.descriptors[1].descriptors[0]: never applies"), "{got:?}");
    assert!(got[1].starts_with("spec.raw.setDescriptors[0]: never applies: no setActions yield z"), "{got:?}");
}

#[test]
fn what_meets_is_not_warned_of() {
    let day = json!({"requestsPerUnit": 1, "unit": "DAY"});
    let header = |key: &str, skip: bool| json!({"requestHeaders": {"headerName": "x", "descriptorKey": key, "skipIfAbsent": skip}});
    for raw in [
        // One that may be absent leads to the rule without it as well.
        json!({"descriptors": [
            {"key": "a", "descriptors": [{"key": "b", "rateLimit": day}]}, {"key": "b", "rateLimit": day},
        ], "rateLimits": [{"actions": [header("a", true), header("b", false)]}]}),
        json!({"descriptors": [{"key": "a", "valueMatch": {"prefix": "x"}, "rateLimit": day}],
            "rateLimits": [{"actions": [{"genericKey": {"descriptorKey": "a", "descriptorValue": "xy"}}]}]}),
        // Let through on purpose.
        json!({"descriptors": [{"key": "a", "value": "free"}, {"key": "a", "rateLimit": day}],
            "rateLimits": [{"actions": [header("a", false)]}]}),
        json!({"setDescriptors": [{"simpleDescriptors": [], "rateLimit": day}],
            "rateLimits": [{"setActions": [{"remoteAddress": {}}]}]}),
        // One entry feeds the tree, another the sets.
        json!({"descriptors": [{"key": "a", "rateLimit": day}],
            "setDescriptors": [{"simpleDescriptors": [{"key": "b"}], "rateLimit": day}],
            "rateLimits": [{"actions": [header("a", false)]}, {"setActions": [header("b", false)]}]}),
        json!({"descriptors": [{"key": "masked_remote_address", "rateLimit": day}, {"key": "q", "rateLimit": day}], "rateLimits": [
            {"actions": [{"maskedRemoteAddress": {"v4PrefixMaskLen": 24}}]},
            {"actions": [{"queryParameters": {"queryParameterName": "page", "descriptorKey": "q"}}]}]}),
    ] {
        assert_eq!(admit(&document(&raw)).problems, vec![], "{raw}");
    }
}

#[test]
fn matches_that_never_hold_together_are_warned_of() {
    let matched = |headers: Value, expect: bool| json!({"headerValueMatch": {"descriptorValue": "v", "expectMatch": expect, "headers": headers}});
    let with = |actions: Value| json!({"setDescriptors": [{"simpleDescriptors": [{"key": "header_match"}]}], "rateLimits": [{"setActions": actions}]});
    let h = |test: Value| {
        let mut header = json!({"name": "x"});
        header.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        header
    };
    for headers in [
        json!([h(json!({"exactMatch": "a"})), {"name": "X", "exactMatch": "b"}]),
        json!([h(json!({"presentMatch": false})), h(json!({"prefixMatch": "a"}))]),
        json!([h(json!({"exactMatch": "a"})), h(json!({"exactMatch": "a", "invertMatch": true}))]),
        json!([h(json!({"prefixMatch": "a"})), h(json!({"prefixMatch": "b"}))]),
        json!([h(json!({"exactMatch": "7"})), h(json!({"rangeMatch": {"start": 8, "end": 9}}))]),
        json!([h(json!({"exactMatch": "a"})), h(json!({"regexMatch": "b+"}))]),
    ] {
        let got = warnings(&with(json!([matched(headers.clone(), true)])));
        assert!(got.iter().any(|one| one.contains("never hold together")), "{headers}: {got:?}");
        let got = warnings(&with(json!([matched(headers.clone(), false)])));
        assert_eq!(got, Vec::<String>::new(), "what never matches is there when it is not to match");
    }
    let one = json!([h(json!({"exactMatch": "a"}))]);
    let got = warnings(&with(json!([matched(one.clone(), true), matched(one.clone(), false)])));
    assert!(got.iter().any(|one| one.contains("setActions[1].headerValueMatch.expectMatch")), "{got:?}");
    for headers in [
        json!([h(json!({"exactMatch": "a"})), {"name": "y", "exactMatch": "b"}]),
        json!([h(json!({"prefixMatch": "a"})), h(json!({"prefixMatch": "ab"}))]),
        json!([h(json!({"presentMatch": true})), h(json!({"exactMatch": "a", "invertMatch": true}))]),
        json!([h(json!({"rangeMatch": {"start": 1, "end": 9}})), h(json!({"rangeMatch": {"start": 8, "end": 12}}))]),
    ] {
        assert_eq!(warnings(&with(json!([matched(headers.clone(), true)]))), Vec::<String>::new(), "{headers}");
    }
}

#[test]
fn what_stands_in_the_wrong_place_is_told_where_it_belongs() {
    let raw = json!({"descriptors": [{"key": "generic_key", "value": "a", "rateLimit": {"unit": "minute", "requestsPerUnit": 1}}],
        "rateLimits": [{"actions": [{"genericKey": null, "descriptorValue": "a"}, {"requestHeaders": {}, "headerName": "x"}]}]});
    let got = errors(&raw).join("\n");
    assert!(got.contains("write MINUTE"), "{got}");
    let raw = json!({"descriptors": [{"key": "generic_key"}], "rateLimits": raw["rateLimits"]});
    let got = errors(&raw).join("\n");
    for words in [
        "actions[0].descriptorValue: descriptorValue belongs inside",
        "actions[1].headerName: headerName belongs inside",
    ] {
        assert!(got.contains(words), "{got}");
    }
    assert!(!got.contains("Unknown action type"), "{got}");
}

#[test]
fn a_client_cannot_pass_a_tree_off_as_a_set_where_an_entry_may_be_absent() {
    let query = json!({"queryParameters": {"queryParameterName": "q", "descriptorKey": "generic_key"}});
    let skipped = json!({"requestHeaders": {"headerName": "x", "descriptorKey": "x", "skipIfAbsent": true}});
    let with = |actions: Value| json!({"descriptors": [{"key": "generic_key"}], "rateLimits": [{"actions": actions}]});
    let at = "spec.raw.rateLimits[0].actions";
    assert_eq!(fields(&with(json!([query]))), [format!("{at}[0].queryParameters.descriptorKey")]);
    assert_eq!(fields(&with(json!([skipped, query]))), [format!("{at}[1].queryParameters.descriptorKey")]);
    assert_eq!(fields(&with(json!([{"remoteAddress": {}}, query]))), Vec::<String>::new());
}

#[test]
fn masks_and_copies_of_what_clients_send_have_bounds() {
    let with = |action: Value| json!({"descriptors": [{"key": "a"}], "rateLimits": [{"actions": [action]}]});
    let at = "spec.raw.rateLimits[0].actions[0]";
    for (wrong, field) in [
        (json!({"maskedRemoteAddress": {"v4PrefixMaskLen": 33}}), ".maskedRemoteAddress.v4PrefixMaskLen"),
        (json!({"masked_remote_address": {"v6_prefix_mask_len": "129"}}), ".maskedRemoteAddress.v6PrefixMaskLen"),
        (json!({"queryParameters": {"descriptorKey": "a"}}), ".queryParameters.queryParameterName"),
        (json!({"queryParameters": {"queryParameterName": "a"}}), ".queryParameters.descriptorKey"),
    ] {
        assert_eq!(fields(&with(wrong.clone())), [format!("{at}{field}")], "{wrong}");
    }
    let copy = json!({"requestHeaders": {"headerName": "x", "descriptorKey": "a"}});
    let many = |each: usize| json!({"setDescriptors": [{"simpleDescriptors": []}], "rateLimits": vec![json!({"setActions": vec![copy.clone(); each]}); 32]});
    assert_eq!(errors(&many(3)), Vec::<String>::new());
    assert_eq!(fields(&many(4)), ["spec.raw.rateLimits"]);
}
