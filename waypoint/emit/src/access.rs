//! Rules over who may do what, as Envoy's matchers: what its RBAC filters decide by, and, for connections that are not
//! read, what chooses their filter chain.
//!
//! Rules are tried one after the other, and so are the callers of each: where nothing inside of a rule matches, Envoy
//! goes on with the next. Callers that are named are found in one map, however many there are.

use ir::access::{Address, Callers, Claimed, Condition, Decision, Part, Rule, Text};
use serde_json::{Map, Value, json};

use crate::{names, packed};

/// What becomes of whoever meets a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, and nobody else.
    Allow,
    /// It does not, and everybody else does.
    Deny,
}

/// The matcher that comes to `verdict` for whoever meets one of `rules`, and else to the opposite.
pub fn matcher(rules: &[Rule], verdict: Verdict) -> Value {
    let (met, other) = match verdict {
        Verdict::Allow => ("ALLOW", "DENY"),
        Verdict::Deny => ("DENY", "ALLOW"),
    };
    matched(rules, |rule| action(&rule.name, met), action("none", other))
}

/// What comes of a connection that is not read: `passes`, or `refused`.
pub fn chosen(decision: &Decision, passes: &Value, refused: &Value) -> Value {
    let nested = |matcher: Value| json!({"matcher": matcher});
    let allowed = match &decision.allow {
        None => passes.clone(),
        Some(allow) => nested(matched(allow, |_| passes.clone(), refused.clone())),
    };
    if decision.deny.is_empty() {
        return allowed;
    }
    nested(matched(&decision.deny, |_| refused.clone(), allowed))
}

/// The matcher that comes to what is `met` for the first of `rules` that is, and else to `other`.
fn matched(rules: &[Rule], met: impl Fn(&Rule) -> Value, other: Value) -> Value {
    let tried: Vec<Value> = rules.iter().filter_map(|rule| self::rule(rule, &met(rule))).collect();
    let mut fields = json!({"on_no_match": other});
    if !tried.is_empty() {
        fields["matcher_list"] = json!({"matchers": tried});
    }
    fields
}

fn rule(rule: &Rule, met: &Value) -> Option<Value> {
    // Most rules have callers of whom nothing else is asked: what is theirs stands in no list of its own then.
    if let [only] = rule.callers.as_slice()
        && only.that.constant() == Some(true)
    {
        return field(&rule.that, named(only, met)?);
    }
    let tried: Vec<Value> =
        rule.callers.iter().filter_map(|callers| field(&callers.that, named(callers, met)?)).collect();
    if tried.is_empty() {
        return None;
    }
    field(&rule.that, json!({"matcher": {"matcher_list": {"matchers": tried}}}))
}

/// What is `met` by the callers that are named; none if nobody is.
fn named(callers: &Callers, met: &Value) -> Option<Value> {
    let Some(named) = &callers.named else { return Some(met.clone()) };
    let each: Map<String, Value> = named.iter().map(|name| (name.clone(), met.clone())).collect();
    let tree = json!({"input": input(&Part::Caller), "exact_match_map": {"map": each}});
    (!named.is_empty()).then(|| json!({"matcher": {"matcher_tree": tree}}))
}

/// A matcher of a list; none if the condition never holds.
fn field(condition: &Condition, met: Value) -> Option<Value> {
    let predicate = match predicate(condition) {
        Predicate::Never => return None,
        Predicate::Always => anything(),
        Predicate::If(predicate) => predicate,
    };
    Some(json!({"predicate": predicate, "on_match": met}))
}

/// A condition in Envoy's words, if it takes words.
enum Predicate {
    Never,
    Always,
    If(Value),
}

fn predicate(condition: &Condition) -> Predicate {
    match condition {
        Condition::All(all) => several(all, "and_matcher", |one| matches!(one, Predicate::Never), Predicate::Always),
        Condition::Any(any) => several(any, "or_matcher", |one| matches!(one, Predicate::Always), Predicate::Never),
        Condition::Not(one) => match predicate(one) {
            Predicate::Never => Predicate::Always,
            Predicate::Always => Predicate::Never,
            Predicate::If(one) => Predicate::If(json!({"not_matcher": one})),
        },
        Condition::Text(part, text) => Predicate::If(self::text(part, text)),
        Condition::Claim(path, claimed) => Predicate::If(claim(path, claimed)),
        Condition::Address(_, networks) if networks.is_empty() => Predicate::Never,
        Condition::Address(address, networks) => {
            let mut ranges = Vec::new();
            for network in networks {
                ranges.push(json!({"address_prefix": network.addr().to_string(), "prefix_len": network.prefix_len()}));
                // The same network as sockets of both families have it.
                if let ipnet::IpNet::V4(v4) = network {
                    let address = v4.addr().to_ipv6_mapped().to_string();
                    ranges.push(json!({"address_prefix": address, "prefix_len": v4.prefix_len() + 96}));
                }
            }
            let ip = packed(
                "envoy.extensions.matching.input_matchers.ip.v3.Ip",
                json!({"cidr_ranges": ranges, "stat_prefix": "access"}),
            );
            let ip = json!({"name": "envoy.matching.matchers.ip", "typed_config": ip});
            Predicate::If(json!({"single_predicate": {"input": address_input(*address), "custom_match": ip}}))
        }
    }
}

/// `of` several conditions: where one is as `decides` says, that is the whole, and where none says anything, it is `empty`.
fn several(of: &[Condition], matcher: &str, decides: impl Fn(&Predicate) -> bool, empty: Predicate) -> Predicate {
    let mut predicates = Vec::new();
    for condition in of {
        match predicate(condition) {
            one if decides(&one) => return one,
            Predicate::If(one) => predicates.push(one),
            Predicate::Never | Predicate::Always => {}
        }
    }
    match predicates.len() {
        0 => empty,
        1 => Predicate::If(predicates.swap_remove(0)),
        _ => Predicate::If(json!({matcher: {"predicate": predicates}})),
    }
}

fn text(part: &Part, text: &Text) -> Value {
    let single = |value: Value| json!({"single_predicate": {"input": input(part), "value_match": value}});
    let regex = |regex: &str| json!({"safe_regex": {"google_re2": {}, "regex": regex}});
    match (part, text) {
        // Envoy has path and query in one; no path has a question mark.
        (Part::Path, Text::Exact(path)) => json!({"or_matcher": {"predicate": [
            single(json!({"exact": path})),
            single(json!({"prefix": format!("{path}?")})),
        ]}}),
        (Part::Path, Text::Regex(path)) => single(regex(&format!("(?:{path})(?:\\?.*)?"))),
        (_, Text::Exact(text)) => single(json!({"exact": text})),
        (_, Text::Prefix(text)) => single(json!({"prefix": text})),
        (_, Text::Regex(text)) => single(regex(text)),
    }
}

/// A claim is such a value, or a list in which there is one.
fn claim(path: &[String], claimed: &Claimed) -> Value {
    let value = match claimed {
        Claimed::Text(Text::Exact(text)) => json!({"string_match": {"exact": text}}),
        Claimed::Text(Text::Prefix(text)) => json!({"string_match": {"prefix": text}}),
        Claimed::Text(Text::Regex(regex)) => json!({"string_match": {"safe_regex": {"regex": regex}}}),
        Claimed::Number(number) => json!({"double_match": {"exact": number}}),
        Claimed::Bool(is) => json!({"bool_match": is}),
        Claimed::Something => json!({"present_match": true}),
    };
    let value = json!({"or_match": {"value_matchers": [value, {"list_match": {"one_of": value}}]}});
    let keys = [names::PAYLOAD].into_iter().chain(path.iter().map(String::as_str));
    let keys: Vec<Value> = keys.map(|key| json!({"key": key})).collect();
    let input = network_input("claim", "DynamicMetadataInput", json!({"filter": names::TOKENS, "path": keys}));
    let matcher = packed("envoy.extensions.matching.input_matchers.metadata.v3.Metadata", json!({"value": value}));
    let matcher = json!({"name": "envoy.matching.matchers.metadata_matcher", "typed_config": matcher});
    json!({"single_predicate": {"input": input, "custom_match": matcher}})
}

/// What holds of every connection.
fn anything() -> Value {
    let port = network_input("port", "DestinationPortInput", json!({}));
    json!({"single_predicate": {"input": port, "value_match": {"safe_regex": {"google_re2": {}, "regex": ".*"}}}})
}

fn action(name: &str, action: &str) -> Value {
    let action = packed("envoy.config.rbac.v3.Action", json!({"name": name, "action": action}));
    json!({"action": {"name": name, "typed_config": action}})
}

fn input(part: &Part) -> Value {
    let header = |name: &str| {
        let input = json!({"header_name": name});
        json!({"name": name, "typed_config": packed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", input)})
    };
    match part {
        Part::Caller => network_input("caller", "FilterStateInput", json!({"key": names::PEER_PRINCIPAL})),
        Part::Host => header(":authority"),
        Part::Method => header(":method"),
        Part::Path => header(":path"),
        Part::Header(name) => header(name),
    }
}

fn address_input(address: Address) -> Value {
    match address {
        Address::Source => network_input("source", "FilterStateInput", json!({"key": names::SOURCE_ADDRESS})),
        Address::Remote => network_input("remote", "SourceIPInput", json!({})),
        Address::Destination => network_input("destination", "DestinationIPInput", json!({})),
    }
}

fn network_input(name: &str, message: &str, fields: Value) -> Value {
    let message = format!("envoy.extensions.matching.common_inputs.network.v3.{message}");
    json!({"name": name, "typed_config": packed(&message, fields)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str) -> Condition {
        Condition::Text(Part::Method, Text::Exact(name.to_owned()))
    }

    fn written(condition: &Condition) -> Option<Value> {
        match predicate(condition) {
            Predicate::Never => None,
            Predicate::Always => Some(json!(true)),
            Predicate::If(value) => Some(value),
        }
    }

    /// A condition of which it is known what it comes to is not written: Envoy takes no empty lists.
    #[test]
    fn what_is_known_is_left_out_and_decides_where_it_must() {
        let (yes, no) = (Condition::Not(Box::new(nobody())), nobody());
        fn nobody() -> Condition {
            Condition::Address(Address::Source, vec![])
        }
        let get = written(&method("GET"));
        let both = |matcher: &str| Some(json!({matcher: {"predicate": [get.clone(), written(&method("PUT"))]}}));
        for (condition, expected) in [
            (Condition::All(vec![]), Some(json!(true))),
            (Condition::Any(vec![]), None),
            (Condition::All(vec![yes.clone(), yes.clone()]), Some(json!(true))),
            (Condition::Any(vec![no.clone(), no.clone()]), None),
            (Condition::All(vec![yes.clone(), method("GET")]), get.clone()),
            (Condition::Any(vec![method("GET"), no.clone()]), get.clone()),
            (Condition::All(vec![method("GET"), no.clone()]), None),
            (Condition::Any(vec![method("GET"), yes.clone()]), Some(json!(true))),
            (Condition::All(vec![method("GET"), yes, method("PUT")]), both("and_matcher")),
            (Condition::Any(vec![method("GET"), no, method("PUT")]), both("or_matcher")),
            (Condition::Not(Box::new(method("GET"))), Some(json!({"not_matcher": get}))),
        ] {
            assert_eq!(written(&condition), expected, "{condition:?}");
        }
    }
}
