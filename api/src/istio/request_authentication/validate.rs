//! What is wrong with a RequestAuthentication taken by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{JwtRule, RequestAuthentication, read, usable};
use crate::envoy::{Checks, MOST_ENTRIES};
use crate::gloo::auth_config::Target;
use crate::gloo::auth_config::jwks::{PRIVATE, SHARED};
use crate::header::{self, HeaderUse};
use crate::problem::Problem;

/// Issuers of one object.
const MOST_RULES: usize = 64;
const LONGEST: usize = 1024;
/// How long an issuer's keys may take.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// What is wrong with `authentication` taken by itself.
pub fn validate(authentication: &RequestAuthentication) -> Vec<Problem> {
    let mut checks = Checks::default();
    let spec = &authentication.spec;
    spec.attachment().check(authentication.metadata.namespace.as_deref(), &mut checks);
    checks.at_most("spec.jwtRules", spec.jwt_rules.len(), MOST_RULES);
    if spec.jwt_rules.is_empty() {
        checks.warning("spec.jwtRules", "empty: no token is looked at; write who signs tokens");
    }
    let mut issuers = BTreeSet::new();
    for (index, rule) in spec.jwt_rules.iter().enumerate().take(MOST_RULES) {
        let field = format!("spec.jwtRules[{index}]");
        self::rule(&field, rule, &mut checks);
        if !issuers.insert(&rule.issuer) {
            checks.warning(&format!("{field}.issuer"), "stands there twice: a token is good that one of both takes");
        }
    }
    checks.problems
}

fn rule(field: &str, rule: &JwtRule, checks: &mut Checks) {
    let at = |part: &str| format!("{field}.{part}");
    if rule.issuer.is_empty() {
        checks.error(&at("issuer"), "missing: write what tokens have in iss");
    }
    words(&at("issuer"), std::slice::from_ref(&rule.issuer), checks);
    words(&at("audiences"), &rule.audiences, checks);
    match (rule.jwks.as_deref(), rule.jwks_uri.as_deref()) {
        (Some(_), Some(_)) => checks.error(&at("jwks"), "stands beside jwksUri; keep one of them"),
        (None, None) => {
            let why = "missing: nobody looks for the keys of an issuer by its name; write where they are, or the keys in jwks";
            checks.error(&at("jwksUri"), why);
        }
        (Some(text), None) => keys(&at("jwks"), text, checks),
        (None, Some(url)) => {
            if let Err(why) = Target::of_url(url) {
                checks.error(&at("jwksUri"), why);
            }
        }
    }
    checks.at_most(&at("fromHeaders"), rule.from_headers.len(), MOST_ENTRIES);
    for (index, from) in rule.from_headers.iter().enumerate().take(MOST_ENTRIES) {
        let name = at(&format!("fromHeaders[{index}].name"));
        match header::is_name(&from.name) {
            true => checks.header_matched(&name, &from.name),
            false => checks.error(&name, format!("{:?} is not the name of a header", from.name)),
        }
        if from.prefix.len() > LONGEST || from.prefix.chars().any(|c| c.is_control() || c == ',') {
            checks.error(
                &at(&format!("fromHeaders[{index}].prefix")),
                "has a comma or a control character, or is too long",
            );
        }
    }
    words(&at("fromParams"), &rule.from_params, checks);
    words(&at("fromCookies"), &rule.from_cookies, checks);
    for (index, name) in rule.from_cookies.iter().enumerate() {
        if !header::is_name(name) {
            checks.error(&at(&format!("fromCookies[{index}]")), format!("{name:?} is not the name of a cookie"));
        }
    }
    outputs(field, rule, checks);
    if !TIMEOUTS.contains(&rule.timeout()) {
        checks.error(&at("timeout"), "write a duration from 1ms to 60s");
    }
    words(&at("spaceDelimitedClaims"), &rule.space_delimited_claims, checks);
}

/// What it sets on requests.
fn outputs(field: &str, rule: &JwtRule, checks: &mut Checks) {
    let mut seen = BTreeSet::new();
    let payload = rule.output_payload_to_header.as_deref();
    if let Some(name) = payload {
        checks.header_name(&format!("{field}.outputPayloadToHeader"), name, HeaderUse::Write);
        seen.insert(name.to_ascii_lowercase());
    }
    let claims = &rule.output_claim_to_headers;
    checks.at_most(&format!("{field}.outputClaimToHeaders"), claims.len(), MOST_ENTRIES);
    for (index, of) in claims.iter().enumerate().take(MOST_ENTRIES) {
        let at = format!("{field}.outputClaimToHeaders[{index}]");
        checks.header_name(&format!("{at}.header"), &of.header, HeaderUse::Write);
        if !seen.insert(of.header.to_ascii_lowercase()) {
            checks.error(&format!("{at}.header"), format!("{:?} stands there twice", of.header));
        }
        words(&format!("{at}.claim"), std::slice::from_ref(&of.claim), checks);
    }
    let from: Vec<String> = rule.from_headers.iter().map(|from| from.name.to_ascii_lowercase()).collect();
    let default = from.is_empty() && rule.from_params.is_empty() && rule.from_cookies.is_empty();
    if let Some(name) = seen.iter().find(|name| from.contains(name) || default && *name == "authorization") {
        let why = format!("{name:?} holds the token, and cannot get what is in it as well; write another header");
        checks.error(&format!("{field}.outputClaimToHeaders"), why);
    }
}

fn words(field: &str, words: &[String], checks: &mut Checks) {
    checks.at_most(field, words.len(), MOST_ENTRIES);
    if words.iter().any(|word| word.is_empty() || word.len() > LONGEST || word.chars().any(char::is_control)) {
        checks.error(field, "one is empty, too long, or has a control character");
    }
}

fn keys(field: &str, text: &str, checks: &mut Checks) {
    match read(text) {
        Err(why) => return checks.error(field, format!("is no JSON Web Key Set, {{\"keys\": […]}}: it {why}")),
        Ok((_, ignored)) => {
            for (index, why) in ignored.iter().take(8) {
                match *why == PRIVATE || *why == SHARED {
                    true => checks.error(field, format!("keys[{index}] {why}")),
                    false => checks.warning(field, format!("keys[{index}] {why}; it is ignored")),
                }
            }
        }
    }
    if let Err(why) = usable(text) {
        checks.error(field, why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    const KEYS: &str =
        r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn problems(spec: Value) -> (Vec<String>, Vec<String>) {
        let object = json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
            "metadata": {"name": "p", "namespace": "t"}, "spec": spec});
        let problems = crate::admit(&object).problems;
        let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(crate::Problem::is_error);
        let fields = |of: Vec<crate::Problem>| of.into_iter().map(|problem| problem.field).collect();
        (fields(errors), fields(warnings))
    }

    /// The fields with errors of a rule that has this besides what it needs.
    fn errors(more: Value) -> Vec<String> {
        let mut rule = json!({"issuer": "i", "jwks": KEYS});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            rule[key] = value;
        }
        problems(json!({"targetRefs": [{"kind": "Service", "name": "a"}], "jwtRules": [rule]})).0
    }

    #[test]
    fn each_field_is_as_it_can_be_used() {
        let bad_keys = |keys: &str| json!({"jwks": keys});
        for (more, field) in [
            (json!({}), ""),
            (json!({"issuer": ""}), "issuer"),
            (json!({"audiences": ["a", ""]}), "audiences"),
            (json!({"jwks": null}), "jwks"),
            (json!({"jwksUri": "http://a.example/keys"}), "jwks"),
            (bad_keys("no"), "jwks"),
            (bad_keys("{}"), "jwks"),
            (bad_keys(r#"{"keys": []}"#), "jwks"),
            (bad_keys(r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#), "jwks"),
            (json!({"fromHeaders": [{"name": "x-token", "prefix": "Bearer "}]}), ""),
            (json!({"fromHeaders": [{"name": "Authorization"}], "fromParams": ["a"], "fromCookies": ["b"]}), ""),
            (json!({"fromHeaders": [{"prefix": "a"}]}), "fromHeaders[0].name"),
            (json!({"fromHeaders": [{"name": "x token"}]}), "fromHeaders[0].name"),
            (json!({"fromHeaders": [{"name": "a", "prefix": "a,"}]}), "fromHeaders[0].prefix"),
            (json!({"fromParams": [""]}), "fromParams"),
            (json!({"fromCookies": ["a b"]}), "fromCookies[0]"),
            (json!({"outputPayloadToHeader": "x-payload"}), ""),
            (json!({"outputPayloadToHeader": "host"}), "outputPayloadToHeader"),
            (json!({"outputPayloadToHeader": "authorization"}), "outputClaimToHeaders"),
            (json!({"outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}]}), ""),
            (json!({"outputClaimToHeaders": [{"header": "x-sub"}]}), "outputClaimToHeaders[0].claim"),
            (
                json!({"outputClaimToHeaders": [{"header": "a-b", "claim": "a"}, {"header": "A-b", "claim": "b"}]}),
                "outputClaimToHeaders[1].header",
            ),
            (
                json!({"outputClaimToHeaders": [{"header": "x-waykeeper-a", "claim": "a"}]}),
                "outputClaimToHeaders[0].header",
            ),
            (json!({"timeout": "3s", "forwardOriginalToken": true, "spaceDelimitedClaims": ["a"]}), ""),
            (json!({"timeout": "90s"}), "timeout"),
            (json!({"fromHeader": []}), "fromHeader"),
            (json!({"audiences": []}), "audiences"),
        ] {
            let expected: Vec<String> = match field {
                "" => vec![],
                field => vec![format!("spec.jwtRules[0].{field}")],
            };
            assert_eq!(errors(more.clone()).first(), expected.first(), "{more}");
        }
        for url in ["", "ftp://a/keys", "a.example/keys", "https://u:p@a.example/keys"] {
            let rule = json!({"issuer": "i", "jwksUri": url});
            let (errors, _) = problems(json!({"jwtRules": [rule]}));
            assert_eq!(errors, ["spec.jwtRules[0].jwksUri"], "{url}");
        }
        let (errors, warnings) = problems(json!({"targetRefs": [{"kind": "Service", "name": "a"}]}));
        assert_eq!((errors, warnings), (vec![], vec!["spec.jwtRules".to_owned()]));
    }

    #[test]
    fn of_written_keys_those_are_used_that_can_be() {
        let ed: Value = serde_json::from_str(KEYS).expect("keys");
        let (good, bad) = (ed["keys"][0].clone(), json!({"kty": "EC", "crv": "secp256k1"}));
        let rule = super::super::JwtRule {
            jwks: Some(json!({"keys": [bad, good, {"kty": "RSA"}]}).to_string()),
            ..Default::default()
        };
        let kept: Value = serde_json::from_str(&rule.usable_keys().expect("one")).expect("JSON");
        assert_eq!(kept, json!({"keys": [good]}));
    }
}
