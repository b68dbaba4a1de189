//! Which RouteOptions are admitted, and in what words the others are refused.

use serde_json::{Value, json};

use crate::{Admission, Object, admit};

fn route_option(spec: Value) -> Admission {
    admit(
        &json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": {"name": "a", "namespace": "n"}, "spec": spec}),
    )
}

fn fields(admission: &Admission) -> Vec<&str> {
    admission.problems.iter().map(|p| p.field.as_str()).collect()
}

#[test]
fn both_spellings_mean_the_same() {
    let camel = route_option(
        json!({"options": {"headerManipulation": {"requestHeadersToAdd": [{"header": {"key": "a", "value": "b"}, "append": false}]},
        "rateLimitConfigs": {"refs": [{"name": "l"}]}, "retries": {"retryOn": "5xx", "numRetries": 2}, "timeout": "3s"}}),
    );
    let snake = route_option(
        json!({"options": {"header_manipulation": {"request_headers_to_add": [{"header": {"key": "a", "value": "b"}, "append": false}]},
        "rate_limit_configs": {"refs": [{"name": "l"}]}, "retries": {"retry_on": "5xx", "num_retries": 2}, "timeout": "3s"}}),
    );
    assert!(camel.problems.is_empty() && snake.problems.is_empty(), "{camel:?} {snake:?}");
    let (Some(Object::RouteOption(camel)), Some(Object::RouteOption(snake))) = (camel.object, snake.object) else {
        panic!("not admitted")
    };
    assert_eq!(camel.spec, snake.spec);
}

#[test]
fn an_option_we_lack_and_one_nobody_has_are_told_apart() {
    let admission = route_option(
        json!({"options": {"stagedTransformations": {}, "regex_rewrite": {}, "timeuot": "1s", "extauth": {"disable": true}}}),
    );
    assert_eq!(
        fields(&admission),
        ["spec.options.regexRewrite", "spec.options.stagedTransformations", "spec.options.timeuot"]
    );
    assert!(admission.problems[0].message.contains("not supported yet"));
    assert!(admission.problems[2].message.contains("unknown field"));
    assert!(admission.rejected());
}

#[test]
fn targets_elsewhere_and_empty_policies_are_refused() {
    let admission = route_option(json!({"targetRefs": [{"group": "", "kind": "Service", "name": "x"},
            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "x", "namespace": "other"}],
        "options": {"extauth": {}, "faults": {"abort": {"percentage": 101, "httpStatus": 0}, "delay": {"percentage": 1}},
            "headerManipulation": {"requestHeadersToRemove": ["Host"]}, "retries": {"retryOn": "sometimes"}}}));
    assert_eq!(
        fields(&admission),
        [
            "spec.options.extauth",
            "spec.options.faults.abort.httpStatus",
            "spec.options.faults.abort.percentage",
            "spec.options.faults.delay.fixedDelay",
            "spec.options.headerManipulation.requestHeadersToRemove[0]",
            "spec.options.retries.retryOn",
            "spec.targetRefs[0].group",
            "spec.targetRefs[0].kind",
            "spec.targetRefs[1].namespace",
        ]
    );
}

#[test]
fn what_a_definition_emptied_is_refused_and_so_is_what_it_may_have_been_for() {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]);
    let known = |admission: &Admission| admission.reach.known().map(<[_]>::len);
    for (spec, field, reach) in [
        (json!({"targetRefs": target, "options": {}}), "spec.options", Some(1)),
        (json!({"targetRefs": target}), "spec.options", Some(1)),
        (json!({"targetRefs": target, "options": {"extauth": {}}}), "spec.options.extauth", Some(1)),
        (
            json!({"targetRefs": target, "options": {"rateLimitConfigs": {}}}),
            "spec.options.rateLimitConfigs.refs",
            Some(1),
        ),
        (json!({"options": {"extauth": {}}}), "spec.options.extauth", None),
        (json!({"options": {}}), "spec.options", None),
        (json!({}), "spec.options", None),
    ] {
        let admission = route_option(spec.clone());
        assert!(admission.rejected() && fields(&admission) == [field], "{spec}: {:?}", admission.problems);
        assert_eq!(known(&admission), reach, "{spec}");
    }
    // One that routes name needs no target.
    let named = route_option(json!({"options": {"extauth": {"configRef": 5}}}));
    assert_eq!(known(&named), Some(0), "{named:?}");
}
