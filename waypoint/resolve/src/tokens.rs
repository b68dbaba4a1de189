//! Which tokens are looked at at a port: RequestAuthentications, put into nouns of ours.
//!
//! Envoy asks the servers of issuers for their keys, so each must be one that it can reach and that nobody but its owner
//! answers for. Where that cannot be had, what the policy is to govern is refused: nobody would be who his token says.

use api::istio::request_authentication::JwtRule;
use api::{Name, gloo::auth_config::Target};
use ir::tokens::{Issuer, KeyServer, Keys, Tokens};
use ir::{Action, Destination, KeyMatch, Match, Origins, Policy, PortRef, Refusal, Route, ValueMatch};

use crate::access::Targets;
use crate::services;
use crate::view::View;

/// The tokens that are looked at under these `authentications`, or why what they govern is refused.
pub fn tokens(view: &View<'_>, authentications: &Targets) -> Result<Tokens, String> {
    let mut issuers = Vec::new();
    for object in authentications.keys() {
        let Some(authentication) = view.request_authentication(&object.name) else { continue };
        for rule in &authentication.spec.jwt_rules {
            issuers.push(issuer(view, rule).map_err(|why| format!("{object}: {why}"))?);
        }
    }
    issuers.sort_by(|one: &Issuer, other| one.name.cmp(&other.name));
    Ok(Tokens { issuers })
}

fn issuer(view: &View<'_>, rule: &JwtRule) -> Result<Issuer, String> {
    let keys = match (&rule.jwks_uri, rule.usable_keys()) {
        (Some(url), _) => Keys::Asked { url: url.clone(), server: server(view, url)?, timeout: rule.timeout() },
        (None, Some(keys)) => Keys::Written(keys),
        (None, None) => return Err(format!("no keys of {} are known", rule.issuer)),
    };
    Ok(Issuer {
        name: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        keys,
        headers: rule.from_headers.iter().map(|from| (from.name.clone(), from.prefix.clone())).collect(),
        parameters: rule.from_params.clone(),
        cookies: rule.from_cookies.clone(),
        passed_on: rule.forward_original_token,
        payload: rule.output_payload_to_header.clone(),
        claims: rule.output_claim_to_headers.iter().map(|of| (of.header.clone(), of.claim.clone())).collect(),
        of_words: rule.space_delimited_claims.iter().cloned().collect(),
    })
}

/// Whom Envoy asks at `url`: a Service of the mesh if that has such a name, else whoever has that name for others.
fn server(view: &View<'_>, url: &str) -> Result<KeyServer, String> {
    let Target { tls, host, port, .. } = Target::of_url(url).map_err(|why| format!("its jwksUri {why}"))?;
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_owned();
    if let Some(service) = service(&host) {
        let known = view.service(&service).is_some_and(|of| services::ports(of).iter().any(|one| one.number == port));
        if !known {
            return Err(format!("its jwksUri names Service {service} port {port}, and there is none"));
        }
        if tls {
            return Err(format!(
                "its jwksUri names Service {service}, and is https; write http, which the mesh encrypts"
            ));
        }
        return Ok(KeyServer::Service(Destination::Service(PortRef { service, port })));
    }
    match view.ours().refuse(&host, port) {
        Some(why) => Err(format!("its jwksUri cannot be asked: {why}")),
        None => Ok(KeyServer::Host { host, port, tls }),
    }
}

/// The Service that is called so within the mesh.
fn service(host: &str) -> Option<Name> {
    let name = host.strip_suffix(".cluster.local").unwrap_or(host).strip_suffix(".svc")?;
    let (service, namespace) = name.split_once('.').filter(|(_, namespace)| !namespace.contains('.'))?;
    Some(Name::new(namespace, service))
}

/// Which requests are in doubt: those in which an application may find another token than the one that was looked at.
pub fn doubtful(tokens: &Tokens) -> Vec<Match> {
    let mut all: Vec<KeyMatch> = Vec::new();
    let mut add = |name: &str, regex: String| {
        let matches = KeyMatch { name: name.to_owned(), value: ValueMatch::Regex(regex) };
        if api::envoy::regex::check(&regex_of(&matches)).is_ok() && !all.contains(&matches) {
            all.push(matches);
        }
    };
    for issuer in &tokens.issuers {
        for (name, prefix) in issuer.looked_in() {
            let name = name.to_ascii_lowercase();
            let scheme = prefix.trim_end();
            if scheme.is_empty() {
                add(&name, ".*,.*".to_owned());
                continue;
            }
            let any = format!("(?i:{})", regex::escape(scheme));
            add(&name, format!("(?:.*,.*{any}.*|.*{any}.*,.*)"));
            add(&name, otherwise(scheme));
            // What does not go on as it is written, with a tab for a blank.
            if let Some(next) = prefix[scheme.len()..].chars().next() {
                add(&name, format!("{}[^{}].*", regex::escape(scheme), regex::escape(&next.to_string())));
            }
        }
        for name in &issuer.cookies {
            let one = format!("[;, ]?[ \\t]*{}[ \\t]*=", regex::escape(name));
            add("cookie", format!("(?:.*[;,])?{one}.*[;,]{one}.*"));
        }
    }
    all.into_iter().map(|of| Match { headers: vec![of], ..Match::everything() }).collect()
}

fn regex_of(matches: &KeyMatch) -> String {
    let (ValueMatch::Exact(text) | ValueMatch::Regex(text)) = &matches.value;
    text.clone()
}

/// An expression for what begins with `scheme` in other capitals.
fn otherwise(scheme: &str) -> String {
    let one = |at: usize, letter: char| {
        let other = match letter.is_ascii_uppercase() {
            true => letter.to_ascii_lowercase(),
            false => letter.to_ascii_uppercase(),
        };
        let (before, after) = (&scheme[..at], &scheme[at + letter.len_utf8()..]);
        format!("(?i:{}){other}(?i:{}).*", regex::escape(before), regex::escape(after))
    };
    let letters = scheme.char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic());
    let all: Vec<String> = letters.map(|(at, letter)| one(at, letter)).collect();
    // A scheme without letters has no capitals: nothing is like this.
    if all.is_empty() { "[^\\x00-\\x{10FFFF}]".to_owned() } else { format!("(?:{})", all.join("|")) }
}

/// Routes that tell requests apart by the parameters in which tokens are looked for.
pub fn as_routes(tokens: &Tokens) -> Vec<Route> {
    let names = tokens.issuers.iter().flat_map(Issuer::parameters);
    let of = |name: &str| KeyMatch { name: name.to_owned(), value: ValueMatch::Exact("token".to_owned()) };
    let route = |name: &str| Route {
        name: String::new(),
        matches: Match { query: vec![of(name)], ..Match::everything() },
        action: Action::Refuse(Refusal { status: 401, why: String::new() }),
        policy: Policy::default(),
        origins: Origins::new(),
    };
    names.map(route).collect()
}

/// The headers in which tokens are looked for, in lower case.
pub fn headers(tokens: &Tokens) -> impl Iterator<Item = String> {
    tokens.issuers.iter().flat_map(Issuer::looked_in).map(|(name, _)| name.to_ascii_lowercase())
}

pub const WHY: &str =
    "a token of this request may be another one to the application (written twice, or in another spelling)";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused(headers: &[(&str, &str)], cookies: &[&str], header: &str, value: &str) -> bool {
        let issuer = Issuer {
            name: "i".to_owned(),
            audiences: vec![],
            keys: Keys::Written("{}".to_owned()),
            headers: headers.iter().map(|(name, prefix)| ((*name).to_owned(), (*prefix).to_owned())).collect(),
            parameters: vec![],
            cookies: cookies.iter().map(|name| (*name).to_owned()).collect(),
            passed_on: true,
            payload: None,
            claims: vec![],
            of_words: Default::default(),
        };
        let is = |regex: &str| regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(value);
        doubtful(&Tokens { issuers: vec![issuer] })
            .iter()
            .flat_map(|matches| &matches.headers)
            .any(|of| of.name == header && is(&regex_of(of)))
    }

    #[test]
    fn a_token_is_there_once_and_as_it_is_looked_for() {
        for (value, expected) in [
            ("Bearer a.b.c", false),
            ("Basic YTpi", false),
            ("Digest a=b, c=d", false),
            ("", false),
            ("bearer a.b.c", true),
            ("BEARER a.b.c", true),
            ("Bearer\ta.b.c", true),
            ("Bearer a.b.c,Bearer d.e.f", true),
            ("Bearer a.b.c, bearer d.e.f", true),
            ("Basic YTpi,Bearer a.b.c", true),
        ] {
            assert_eq!(refused(&[], &[], "authorization", value), expected, "{value}");
        }
        assert!(
            refused(&[("X-Token", "")], &[], "x-token", "a,b") && !refused(&[("X-Token", "")], &[], "x-token", "a")
        );
        for (value, expected) in [
            ("a=1; t=x", false),
            ("t=x", false),
            ("t=x; t=y", true),
            ("a=1; t=x; b=2; t=y", true),
            ("t=x; at=y", false),
        ] {
            assert_eq!(refused(&[], &["t"], "cookie", value), expected, "{value}");
        }
    }

    #[test]
    fn services_of_the_mesh_are_known_by_their_names() {
        let name = Some(Name::new("t", "keys"));
        assert_eq!([service("keys.t.svc"), service("keys.t.svc.cluster.local")], [name.clone(), name]);
        for other in ["keys.t", "keys.t.example", "keys.svc", "a.keys.t.svc", "keys.t.svc.example"] {
            assert_eq!(service(other), None, "{other}");
        }
    }
}
