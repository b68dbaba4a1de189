//! What an author is told about an AuthConfig.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::{Admission, Object, admit};

fn auth_config(spec: Value) -> Admission {
    admit(&json!({"apiVersion": "extauth.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": "a"}, "spec": spec}))
}

fn messages(admission: &Admission) -> Vec<String> {
    admission.problems.iter().map(ToString::to_string).collect()
}

/// One complaint, whose text holds `part`.
fn refused(spec: Value, part: &str) {
    let admission = auth_config(spec);
    let messages = messages(&admission);
    assert!(admission.rejected(), "{messages:?}");
    assert!(messages.len() == 1 && messages[0].contains(part), "{messages:?}");
}

fn keys(extra: Value) -> Value {
    let mut auth = json!({"labelSelector": {"team": "infrastructure"}});
    auth.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"configs": [{"apiKeyAuth": auth}]})
}

#[test]
fn the_walkthroughs_policy_is_accepted_in_both_spellings() {
    for spec in [
        json!({"configs": [{"apiKeyAuth": {"headerName": "api-key", "labelSelector": {"team": "infrastructure"},
            "headersFromMetadataEntry": {"X-Organization": {"name": "organization"}}}}]}),
        json!({"configs": [{"api_key_auth": {"header_name": "api-key", "label_selector": {"team": "infrastructure"},
            "headers_from_metadata_entry": {"X-Organization": {"name": "organization"}}}}], "boolean_expr": "config_0"}),
    ] {
        let admission = auth_config(spec);
        assert_eq!(messages(&admission), Vec::<String>::new());
        let Some(Object::AuthConfig(object)) = admission.object else { panic!("no AuthConfig") };
        let auth = object.spec.configs[0].api_key_auth.as_ref().unwrap();
        assert_eq!(auth.header(), "api-key");
        assert_eq!(auth.source().label_selector.get("team").map(AsRef::as_ref), Some("infrastructure"));
        assert_eq!(auth.metadata_headers()["x-organization"].name, "organization");
    }
}

#[test]
fn every_type_of_the_schema_decodes_and_is_refused_until_it_is_enforced() {
    for (kind, config) in [
        ("oauth", json!({"oauth": {"clientId": "c", "issuerUrl": "i", "appUrl": "a", "callbackPath": "/c"}})),
        (
            "oauth2.oauth2",
            json!({"oauth2": {"oauth2": {"clientId": "c", "authEndpoint": "a", "tokenEndpoint": "t", "appUrl": "a", "callbackPath": "/c"}}}),
        ),
        ("pluginAuth", json!({"pluginAuth": {"name": "p", "config": {"any": 1}}})),
        (
            "opaAuth",
            json!({"opaAuth": {"modules": [{"name": "m", "namespace": "n"}], "query": "data.test.allow == true", "options": {"fastInputConversion": true}}}),
        ),
        (
            "opaServerAuth",
            json!({"opaServerAuth": {"package": "p", "ruleName": "allow", "serverAddr": "http://opa:8181"}}),
        ),
        (
            "ldap",
            json!({"ldap": {"address": "ldap://l:389", "userDnTemplate": "uid=%s", "allowedGroups": ["g"], "pool": {"maxSize": 5, "initialSize": 2}}}),
        ),
        ("jwt", json!({"jwt": {}})),
        (
            "hmacAuth",
            json!({"hmacAuth": {"secretRefs": {"secretRefs": [{"name": "s", "namespace": "n"}]}, "parametersInHeaders": {}}}),
        ),
        (
            "portalAuth",
            json!({"portalAuth": {"url": "http://p", "apiKeyHeader": "k", "cacheDuration": "60s", "redisOptions": {"host": "r"}}}),
        ),
    ] {
        let name = kind.rsplit('.').next().unwrap();
        refused(json!({"configs": [config]}), &format!("spec.configs[0].{kind}: {name} is not implemented yet"));
    }
    refused(
        json!({"configs": [{"oauth2": {}}]}),
        "spec.configs[0].oauth2: names no way: write oidcAuthorizationCode or accessTokenValidation",
    );
}

#[test]
fn users_with_passwords_are_written_in_one_of_two_forms() {
    let user = json!({"users": {"u": {"salt": "s", "hashedPassword": "h"}}});
    let basic = |auth: serde_json::Value| json!({"configs": [{"basicAuth": auth}]});
    for good in [
        json!({"realm": "r", "apr": user}),
        json!({"encryption": {"apr": {}}, "userList": user}),
        json!({"encryption": {"sha1": {}}, "user_list": {"users": {"u": {"salt": "s", "hashed_password": "h"}}}}),
        json!({"encryption": {"bcrypt": {}}, "userList": {"users": {"u": {"hashedPassword": "h"}}}}),
    ] {
        let admission = auth_config(basic(good.clone()));
        assert_eq!(messages(&admission), Vec::<String>::new(), "{good}");
    }
    for (wrong, part) in [
        (json!({}), "basicAuth: names no users"),
        (json!({"encryption": {"apr": {}}}), "basicAuth: names no users"),
        (json!({"apr": {"users": {}}}), "basicAuth.apr.users: empty"),
        (json!({"encryption": {"sha1": {}}, "userList": {}}), "basicAuth.userList.users: empty"),
        (json!({"userList": user}), "basicAuth.encryption: missing"),
        (json!({"encryption": {}, "userList": user}), "basicAuth.encryption: names no hash"),
        (json!({"encryption": {"apr": {}, "sha1": {}}, "userList": user}), "basicAuth.encryption: names several"),
        (json!({"apr": user, "userList": user}), "basicAuth.apr: stands beside"),
        (json!({"apr": user, "encryption": {"sha1": {}}}), "basicAuth.apr: stands beside"),
        (json!({"realm": "a\nb", "apr": user}), "basicAuth.realm: has control characters"),
        (json!({"apr": user, "users": {}}), "basicAuth.users: unknown field"),
    ] {
        refused(basic(wrong), part);
    }
    let salted = auth_config(basic(json!({"encryption": {"argon2": {}}, "userList": user})));
    assert!(!salted.rejected() && messages(&salted)[0].contains("u.salt: has no effect"), "{:?}", messages(&salted));
}

#[test]
fn a_step_has_exactly_one_type_and_a_name_of_its_own() {
    refused(json!({"configs": []}), "spec.configs: empty");
    refused(json!({}), "spec.configs: empty");
    refused(json!({"configs": [{"name": "x"}]}), "spec.configs[0]: no type");
    refused(json!({"configs": [{"jwt": {}, "ldap": {"address": "l"}}]}), "several types (ldap, jwt)");
    let auth = json!({"labelSelector": {"a": "b"}});
    refused(
        json!({"configs": [{"name": "config_1", "apiKeyAuth": auth}, {"apiKeyAuth": auth}]}),
        "spec.configs[1].name: \"config_1\" is also the name of spec.configs[0]",
    );
}

#[test]
fn a_misspelt_field_is_an_error_because_nothing_would_enforce_it() {
    refused(keys(json!({"headername": "x"})), "spec.configs[0].apiKeyAuth.headername: unknown field");
    refused(
        json!({"configs": [{"apiKeyAuth": {"labelSelector": {"a": "b"}}}], "booleanExpression": "a"}),
        "unknown field",
    );
}

#[test]
fn headers_of_the_proxy_cannot_be_read_or_set() {
    refused(keys(json!({"headerName": ":path"})), "apiKeyAuth.headerName: \":path\" is a pseudo-header");
    let entry = json!({"name": "organization"});
    for header in ["Host", "content-length", "Transfer-Encoding", "x-envoy-peer", ":authority", "a b", ""] {
        refused(keys(json!({"headersFromMetadataEntry": {header: entry}})), "headersFromMetadataEntry");
    }
    refused(keys(json!({"headersFromMetadataEntry": {"X-A": entry, "x-a": entry}})), "the same header twice");
    refused(keys(json!({"headersFromMetadataEntry": {"X-A": {"name": "api-key"}}})), "the key itself");
    refused(keys(json!({"headersFromMetadataEntry": {"X-A": {}}})), "missing: write a key");
}

#[test]
fn ways_of_storing_keys_that_are_not_enforced_are_refused() {
    refused(
        keys(json!({"hmac": {"algorithm": "HMAC_SHA256", "sharedSecretRef": {"name": "s", "namespace": "n"}}})),
        "apiKeyAuth.hmac:",
    );
    refused(keys(json!({"digest": {"algorithm": 0}})), "apiKeyAuth.digest:");
    refused(keys(json!({"match": {"headers": [{"name": "x"}]}})), "apiKeyAuth.match:");
    refused(keys(json!({"aerospikeApikeyStorage": {"hostname": "h"}})), "apiKeyAuth.aerospikeApikeyStorage:");
}

#[test]
fn an_empty_selector_does_not_match_every_secret() {
    refused(json!({"configs": [{"apiKeyAuth": {"labelSelector": {}}}]}), "names no Secrets");
    refused(json!({"configs": [{"apiKeyAuth": {"k8sSecretApikeyStorage": {}}}]}), "names no Secrets");
}

#[test]
fn the_storage_takes_the_place_of_the_older_fields_and_says_so() {
    let admission = auth_config(keys(json!({"k8sSecretApikeyStorage": {"labelSelector": {"team": "other"}}})));
    assert!(!admission.rejected());
    assert!(messages(&admission)[0].contains("labelSelector: ignored"), "{:?}", messages(&admission));
    let Some(Object::AuthConfig(object)) = admission.object else { panic!("no AuthConfig") };
    assert_eq!(
        object.spec.configs[0].api_key_auth.as_ref().unwrap().source().label_selector.get("team").map(AsRef::as_ref),
        Some("other")
    );
}

#[test]
fn an_expression_names_steps_that_exist() {
    let auth = json!({"labelSelector": {"a": "b"}});
    let two = |expression: &str| json!({"configs": [{"name": "a", "apiKeyAuth": auth}, {"apiKeyAuth": auth}], "booleanExpr": expression});
    refused(two("a || config_1 || c"), "\"c\" is not the name of a config; the names are a, config_1");
    refused(two("a && (config_1"), "is not closed");
    for (expression, warnings) in [
        ("a || config_1", vec![]),
        ("a && config_1", vec![]),
        ("a && (a || config_1 && a)", vec!["mixes && and ||"]),
        ("  ", vec![]),
        ("a", vec!["\"config_1\" is not part of the expression"]),
        ("!a && config_1 || a", vec!["mixes && and ||"]),
        ("!a || config_1", vec!["without any credentials"]),
    ] {
        let admission = auth_config(two(expression));
        assert!(!admission.rejected());
        let found = messages(&admission);
        assert_eq!(found.len(), warnings.len(), "{expression}: {found:?}");
        for (message, part) in found.iter().zip(warnings) {
            assert!(message.contains(part), "{message}");
        }
    }
}

/// A `passThroughAuth` over HTTP with these fields besides its URL.
fn http(fields: serde_json::Value) -> serde_json::Value {
    let mut http = json!({"url": "http://auth.n:8080/check"});
    http.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"configs": [{"passThroughAuth": {"http": http}}]})
}

/// The same over gRPC.
fn grpc(fields: serde_json::Value) -> serde_json::Value {
    let mut grpc = json!({"address": "auth.n:9001"});
    grpc.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"configs": [{"passThroughAuth": {"grpc": grpc}}]})
}

#[test]
fn others_may_be_asked_in_the_ways_that_gloo_has() {
    for spec in [
        grpc(
            json!({"connectionTimeout": "3s", "retryPolicy": {"numRetries": 2, "retryBackOff": {"baseInterval": "0.1s", "maxInterval": "1s"}}, "tlsConfig": {}}),
        ),
        grpc(json!({"allowedUpstreamHeaders": ["X-Team"]})),
        http(json!({})),
        json!({"configs": [{"passThroughAuth": {"http": {"url": "https://auth/", "tlsConfig": {}}, "config": {"any": [1, {"a": null}]}, "failureModeAllow": true}}]}),
        http(
            json!({"request": {"allowedHeaders": ["Authorization"], "headersToAdd": {"x-from": "waypoint"}, "passThroughState": true, "passThroughFilterMetadata": true},
            "response": {"allowedUpstreamHeaders": ["x"], "allowedUpstreamHeadersToOverwrite": ["y"], "allowedClientHeadersOnDenied": ["set-cookie", "location"],
                "allowedClientHeadersOnSuccess": ["set-cookie"], "readStateFromResponse": true},
            "connectionTimeout": "1s", "responseHeaderTimeout": "2s", "connectionPool": {"maxConnections": 10, "idleTimeout": "30s"}}),
        ),
    ] {
        let admission = auth_config(spec.clone());
        assert!(messages(&admission).is_empty(), "{spec}: {:?}", messages(&admission));
    }
}

#[test]
fn of_asking_others_what_is_not_enforced_or_makes_no_sense_is_refused() {
    let one = |auth: serde_json::Value| json!({"configs": [{"passThroughAuth": auth}]});
    refused(one(json!({})), "passThroughAuth: names no service");
    refused(one(json!({"grpc": {"address": "a:1"}, "http": {"url": "http://a"}})), "names two services");
    refused(one(json!({"grpc": {}})), "passThroughAuth.grpc.address: missing");
    refused(one(json!({"grpc": {"address": "a"}})), "passThroughAuth.grpc.address: has no port");
    refused(one(json!({"http": {}})), "passThroughAuth.http.url: missing");
    refused(one(json!({"http": {"url": "http://a"}, "config": "text"})), "passThroughAuth.config: write a mapping");
    for (fields, why) in [
        (json!({"url": "http://user:canary@a/"}), "http.url: has a user before the host"),
        (json!({"connectionTimeout": "0s"}), "http.connectionTimeout: write a duration"),
        (json!({"responseHeaderTimeout": "2h"}), "http.responseHeaderTimeout: write a duration"),
        (json!({"tlsConfig": {}}), "http.tlsConfig: has no effect"),
        (json!({"request": {"passThroughBody": true}}), "http.request.passThroughBody: bodies"),
        (
            json!({"request": {"allowedHeaders": [":path"]}}),
            "http.request.allowedHeaders: \":path\" is a pseudo-header",
        ),
        (json!({"request": {"allowedHeaders": ["Content-Length"]}}), "http.request.allowedHeaders"),
        (json!({"request": {"headersToAdd": {"host": "a"}}}), "http.request.headersToAdd"),
        (json!({"request": {"headersToAdd": {"a": "canary\r\nb: c"}}}), "headersToAdd.a: its value"),
        (json!({"request": {"headersToAdd": {"a": ""}}}), "headersToAdd.a: its value"),
        (json!({"response": {"allowedUpstreamHeaders": ["Host"]}}), "response.allowedUpstreamHeaders"),
        (json!({"response": {"allowedUpstreamHeaders": ["a", "A"]}}), "stands there twice"),
        (
            json!({"response": {"allowedUpstreamHeaders": ["X-A"], "allowedUpstreamHeadersToOverwrite": ["x-a"]}}),
            "is also in",
        ),
        (
            json!({"response": {"allowedUpstreamHeadersToOverwrite": ["x-envoy-a"]}}),
            "allowedUpstreamHeadersToOverwrite",
        ),
        (json!({"response": {"allowedClientHeadersOnDenied": ["content-length"]}}), "allowedClientHeadersOnDenied"),
        (
            json!({"response": {"allowedClientHeadersOnSuccess": ["transfer-encoding"]}}),
            "allowedClientHeadersOnSuccess",
        ),
    ] {
        let admission = auth_config(http(fields.clone()));
        assert!(admission.rejected(), "{fields}");
        let said = messages(&admission).join("\n");
        assert!(said.contains(why) && !said.contains("canary"), "{fields}: {said}");
    }
    for (fields, why) in [
        (
            json!({"tlsConfig": {"secretRef": {"name": "s", "namespace": "n"}}}),
            "tlsConfig.secretRef: Secrets with certificates",
        ),
        (json!({"tlsConfig": {"sslParams": {}}}), "tlsConfig.sslParams: is not enforced yet"),
        (json!({"tlsConfig": {"sni": "a"}}), "tlsConfig.sni: is not enforced yet"),
        (json!({"tlsConfig": {"verifySubjectAltName": ["a"]}}), "tlsConfig.verifySubjectAltName: is not enforced yet"),
        (json!({"tlsConfig": {"alpnProtocols": ["h2"]}}), "tlsConfig.alpnProtocols: is not enforced yet"),
        (json!({"retryPolicy": {"numRetries": 11}}), "retryPolicy.numRetries: at most 10"),
        (json!({"retryPolicy": {"retryBackOff": {"baseInterval": "0s"}}}), "baseInterval: write a duration"),
        (json!({"retryPolicy": {"retryBackOff": {"maxInterval": "0.5s"}}}), "maxInterval: is shorter"),
        (json!({"allowedUpstreamHeaders": ["connection"]}), "grpc.allowedUpstreamHeaders"),
    ] {
        refused(grpc(fields), why);
    }
    let many: Vec<String> = (0..65).map(|number| format!("x-{number}")).collect();
    refused(grpc(json!({"allowedUpstreamHeaders": many})), "more than 64 headers");
}

#[test]
fn hashes_are_not_printed_even_when_they_have_the_wrong_type() {
    let admission = auth_config(json!({"configs": [{"basicAuth": {"apr": {"users": {
        "u": {"salt": "s", "hashedPassword": "canary"}, "w": {"salt": "s", "hashedPassword": {"deep": "canary"}}}}}},
        {"passThroughAuth": {"http": {"request": {"headersToAdd": {"authorization": "canary"}}}}}]}));
    assert!(admission.rejected());
    assert!(!format!("{admission:?}").contains("canary"), "{admission:?}");
    let Some(Object::AuthConfig(object)) = admission.object else { panic!("no AuthConfig") };
    assert!(!serde_json::to_string(&object).unwrap().contains("canary"));
}

#[test]
fn a_step_takes_little_room() {
    let size = size_of::<super::Config>();
    assert!(size <= 640, "{size} bytes for each step of ten thousand AuthConfigs; put what is rare into a Box");
}
