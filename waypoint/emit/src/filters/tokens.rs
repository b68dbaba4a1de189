//! Looks at the tokens that requests bring: one that no issuer here has signed, or that is good no more, is refused with 401.
//! What is in a good one is noted for whoever decides after it.
//!
//! The filter itself stands at the table of a Service port, so that an edit changes that table and no listener: in the chain
//! there is only the place for it.

use std::collections::BTreeSet;

use ir::Settings;
use ir::tokens::{Issuer, KeyServer, Keys, Tokens};
use serde_json::{Map, Value, json};

use super::{Guards, HttpFilter, InChain};
use crate::names::{self, Told};
use crate::{duration, packed};

/// Claims that are always words with blanks between them.
const OF_WORDS: [&str; 2] = ["permission", "scope"];

/// Verification of tokens.
#[derive(Debug)]
pub struct VerifiedTokens;

impl HttpFilter for VerifiedTokens {
    fn name(&self) -> &'static str {
        "envoy.filters.http.filter_chain.tokens"
    }

    fn chain(&self, _settings: &Settings) -> Option<InChain> {
        InChain::off("envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig", json!({}))
    }

    fn table(&self, guards: Guards<'_>) -> Option<Value> {
        if guards.tokens.is_empty() {
            return None;
        }
        let filter = json!({
            "name": names::TOKENS,
            "typed_config": packed("envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", verifying(guards.tokens)),
        });
        Some(packed(
            "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfigPerRoute",
            json!({"filter_chain": {"filters": [filter]}}),
        ))
    }
}

fn verifying(tokens: &Tokens) -> Value {
    let named = tokens.issuers.iter().enumerate().map(|(number, issuer)| (name(number), provider(issuer)));
    let providers: Map<String, Value> = named.collect();
    json!({
        "providers": providers,
        // Preflights are not let around it, as Istio does: they bring no token, and what it sets is taken from them, too.
        "rules": [{"match": {"prefix": "/"}, "requires": all(places(tokens).iter().map(|of| of_place(of)).collect())}],
    })
}

fn name(number: usize) -> String {
    format!("issuer-{number}")
}

/// What one place must hold: nothing, or a token of one of the issuers that look there.
fn of_place(issuers: &[usize]) -> Value {
    let of = |number: &usize| json!({"provider_name": name(*number)});
    let missing = || json!({"allow_missing": {}});
    if let [only] = issuers {
        return any(vec![of(only), missing()]);
    }
    // Of those that look in the same place, a token is one issuer's and none of the others'.
    let each = issuers.iter().map(|number| any(vec![of(number), missing()])).collect();
    any(issuers.iter().map(of).chain([all(each)]).collect())
}

fn any(requirements: Vec<Value>) -> Value {
    json!({"requires_any": {"requirements": requirements}})
}

fn all(mut requirements: Vec<Value>) -> Value {
    if requirements.len() == 1 {
        return requirements.swap_remove(0);
    }
    json!({"requires_all": {"requirements": requirements}})
}

/// Places of tokens, and the issuers that look there.
type Group = (BTreeSet<(u8, String)>, Vec<usize>);

/// The issuers, together where they look in the same places: elsewhere each place must hold a good token by itself.
fn places(tokens: &Tokens) -> Vec<Vec<usize>> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, issuer) in tokens.issuers.iter().enumerate() {
        let headers = issuer.looked_in().into_iter().map(|(name, _)| (0, name.to_ascii_lowercase()));
        let parameters = issuer.parameters().into_iter().map(|name| (1, name.to_owned()));
        let cookies = issuer.cookies.iter().map(|name| (2, name.clone()));
        let mut own: Group = (headers.chain(parameters).chain(cookies).collect(), vec![number]);
        let (same, other): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(places, _)| !places.is_disjoint(&own.0));
        for (places, issuers) in same {
            own.0.extend(places);
            own.1.extend(issuers);
        }
        own.1.sort_unstable();
        groups = other;
        groups.push(own);
    }
    let mut issuers: Vec<Vec<usize>> = groups.into_iter().map(|(_, issuers)| issuers).collect();
    issuers.sort();
    issuers
}

fn provider(issuer: &Issuer) -> Value {
    let of_words: BTreeSet<&str> = issuer.of_words.iter().map(String::as_str).chain(OF_WORDS).collect();
    let headers = issuer.headers.iter().map(|(name, prefix)| json!({"name": name, "value_prefix": prefix}));
    let claims = issuer.claims.iter().map(|(header, claim)| json!({"header_name": header, "claim_name": claim}));
    let mut fields = json!({
        "issuer": issuer.name,
        "audiences": issuer.audiences,
        "from_headers": headers.collect::<Vec<_>>(),
        "from_params": issuer.parameters,
        "from_cookies": issuer.cookies,
        "forward": issuer.passed_on,
        "forward_payload_header": issuer.payload,
        "claim_to_headers": claims.collect::<Vec<_>>(),
        "payload_in_metadata": names::PAYLOAD,
        "normalize_payload_in_metadata": {"space_delimited_claims": of_words},
    });
    match &issuer.keys {
        Keys::Written(keys) => fields["local_jwks"] = json!({"inline_string": keys}),
        Keys::Asked { url, server, timeout } => {
            let uri = json!({"uri": url, "cluster": cluster(server), "timeout": duration(*timeout)});
            fields["remote_jwks"] = json!({"http_uri": uri, "cache_duration": "300s"});
        }
    }
    fields
}

/// The cluster of a server of keys.
fn cluster(server: &KeyServer) -> String {
    match server {
        KeyServer::Service(to) => Told::Ahead.cluster(to),
        KeyServer::Host { host, port, tls } => names::key_server(host, *port, *tls),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn issuer(header: &str, parameter: &str) -> Issuer {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Issuer {
            name: "i".to_owned(),
            audiences: vec![],
            keys: Keys::Written("{}".to_owned()),
            headers: some(header).into_iter().map(|name| (name, String::new())).collect(),
            parameters: some(parameter).into_iter().collect(),
            cookies: vec![],
            passed_on: false,
            payload: None,
            claims: vec![],
            of_words: BTreeSet::new(),
        }
    }

    #[test]
    fn issuers_are_together_where_they_look_in_the_same_place() {
        let of = |all: &[(&str, &str)]| places(&Tokens { issuers: all.iter().map(|(h, p)| issuer(h, p)).collect() });
        assert_eq!(of(&[("", ""), ("", "")]), [vec![0, 1]]);
        assert_eq!(of(&[("a", ""), ("b", "")]), [vec![0], vec![1]]);
        assert_eq!(of(&[("a", ""), ("b", "x"), ("A", "x")]), [vec![0, 1, 2]]);
        assert_eq!(of(&[("", ""), ("Authorization", ""), ("", "access_token"), ("", "b")]), [vec![0, 1, 2], vec![3]]);
    }

    #[test]
    fn each_place_holds_a_good_token_or_none() {
        let one = of_place(&[0]);
        assert_eq!(one["requires_any"]["requirements"], json!([{"provider_name": "issuer-0"}, {"allow_missing": {}}]));
        let two = of_place(&[0, 1]);
        let requirements = two["requires_any"]["requirements"].as_array().unwrap();
        assert_eq!(requirements.len(), 3);
        assert_eq!(requirements[2]["requires_all"]["requirements"][1], of_place(&[1]));
    }
}
