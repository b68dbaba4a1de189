//! What is decided of one object, as text: for a Service, which waypoint it uses and its routes in the order in which
//! they are tried; for a Gateway, what goes through it; for whatever else, where it is in force. Pure.

use std::fmt::Write as _;

use api::{Kind, Name, ObjectRef};
use ir::{Action, Destination, Enrolment, KeyMatch, Match, PathMatch, PortRef, Route, ValueMatch};
use waypoint_translate::Translation;

/// The longest expression that is shown whole.
const LONGEST: usize = 60;

/// What is to be told of `object`.
pub fn page(object: &ObjectRef, translation: &Translation) -> String {
    match object.kind {
        Kind::Service => service(&object.name, translation),
        Kind::Gateway => gateway(&object.name, translation),
        _ => elsewhere(object, translation),
    }
}

/// A chain of a Gateway, with its routes.
struct Port<'a> {
    gateway: &'a Name,
    port: &'a PortRef,
    chain: &'a ir::Chain,
}

impl Port<'_> {
    fn routes(&self) -> &[Route] {
        self.chain.traffic.routes().map_or(&[], Vec::as_slice)
    }
}

/// All chains there are, in the order of Gateways and ports.
fn ports(translation: &Translation) -> impl Iterator<Item = Port<'_>> {
    translation.proxies.iter().flat_map(|(gateway, proxy)| {
        let chains = proxy.listeners.iter().flat_map(|listener| listener.chains.iter());
        chains.map(move |(port, chain)| Port { gateway, port, chain: chain.as_ref() })
    })
}

fn service(name: &Name, translation: &Translation) -> String {
    let mut out = String::new();
    let waypoint = match translation.services.get(name).map(AsRef::as_ref) {
        Some(Enrolment::Waypoint(gateway)) => format!("uses the waypoint {gateway}"),
        Some(Enrolment::Refused(why)) => format!("connections are refused: {why}"),
        Some(Enrolment::None) | None => "uses no waypoint: no policy applies to it".to_owned(),
    };
    let _ = writeln!(out, "{waypoint}");
    for port in ports(translation).filter(|port| port.port.service == *name) {
        let _ = writeln!(out, "\nPort {} {}", port.port.port, reads(&port));
        for (what, kind) in
            [("whose tokens are good", Kind::RequestAuthentication), ("who may call", Kind::AuthorizationPolicy)]
        {
            let guards = port.chain.origins.iter().filter(|origin| origin.kind == kind);
            let guards: Vec<String> = guards.map(ToString::to_string).collect();
            if !guards.is_empty() {
                let _ = writeln!(out, "  {what} is for {}", guards.join(", "));
            }
        }
        for (number, route) in port.routes().iter().enumerate() {
            let _ = writeln!(out, "  {}. {}", number + 1, route.name);
            told(&mut out, route);
        }
    }
    out
}

/// A place where requests go.
fn to(destination: &Destination) -> String {
    match destination {
        Destination::Service(PortRef { service, port }) => format!("Service {service} port {port}"),
        Destination::Http2(PortRef { service, port }) => format!("Service {service} port {port} over HTTP/2"),
    }
}

/// How a port's bytes are read.
fn reads(port: &Port<'_>) -> String {
    let what = match &port.chain.traffic {
        ir::Traffic::Http(_) => "is read as HTTP".to_owned(),
        ir::Traffic::Sniffed(_, unread) => {
            format!("is read as HTTP if it begins so, and else goes to {} unread", to(unread))
        }
        ir::Traffic::Tcp(unread) => return format!("goes to {} unread", to(unread)),
        ir::Traffic::Refuse(why) => return format!("is refused: {why}"),
    };
    match port.routes() {
        [] => format!("{what}; there is no route: 404"),
        _ => format!("{what}; the first route that matches counts, without one the answer is 404"),
    }
}

/// What a route does, under its name.
fn told(out: &mut String, route: &Route) {
    let _ = writeln!(out, "     {}", requests(&route.matches));
    let _ = writeln!(out, "     {}", outcome(&route.action));
    if let Some(auth) = &route.policy.auth {
        let _ = writeln!(out, "     asks extauth by AuthConfig {}", auth.config);
    }
    let limits = route.policy.limits.len();
    if limits > 0 {
        let _ = writeln!(out, "     asks ratelimit by {limits} descriptor{}", if limits == 1 { "" } else { "s" });
    }
    let from: Vec<String> = route.origins.iter().map(ToString::to_string).collect();
    if from.len() > 1 {
        let _ = writeln!(out, "     from {}", from.join(", "));
    }
}

/// An expression, as much of it as is read: our own against doubtful requests are long.
fn cut(expression: &str) -> String {
    match expression.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &expression[..end]),
        None => expression.to_owned(),
    }
}

/// Which requests a route is for.
fn requests(matches: &Match) -> String {
    let mut parts = Vec::new();
    parts.extend(matches.method.clone());
    if matches.grpc {
        parts.push("gRPC".to_owned());
    }
    parts.push(match &matches.path {
        PathMatch::Exact(path) => format!("{path} exactly"),
        PathMatch::Regex(path) => format!("paths like {}", cut(path)),
        PathMatch::Prefix(path) if path == "/" => "every path".to_owned(),
        PathMatch::Prefix(path) => format!("{path} and below"),
    });
    let key = |what: &str, key: &KeyMatch| match &key.value {
        ValueMatch::Exact(value) => format!("{what} {}: {value}", key.name),
        ValueMatch::Regex(value) => format!("{what} {} like {}", key.name, cut(value)),
    };
    parts.extend(matches.headers.iter().map(|one| key("header", one)));
    parts.extend(matches.query.iter().map(|one| key("parameter", one)));
    if !matches.hosts.is_empty() {
        parts.push(format!("host {}", matches.hosts.join(" or ")));
    }
    if matches.no_host {
        parts.push("a host that cannot be one".to_owned());
    }
    parts.join(", ")
}

fn outcome(action: &Action) -> String {
    match action {
        Action::Forward(forward) => {
            let whole: u64 = forward.backends.iter().map(|backend| u64::from(backend.weight)).sum();
            let backend = |backend: &ir::Backend| {
                let away = backend.own.as_ref().and_then(|own| own.redirect.as_ref());
                let target = match (&backend.target, away) {
                    (Some(target), _) => to(target),
                    (None, Some(redirect)) => format!("a redirection by {}", redirect.status),
                    (None, None) => "nowhere (500)".to_owned(),
                };
                match forward.backends.len() {
                    1 => target,
                    _ => format!("{target} ({} of {whole})", backend.weight),
                }
            };
            let backends = forward.backends.iter().map(backend).collect::<Vec<_>>().join(", ");
            let copy = |mirror: &ir::Mirror| {
                let share = f64::from(mirror.millionths) / 10_000.0;
                format!(", copies of {share} % to {}", to(&mirror.target))
            };
            format!("to {backends}{}", forward.copies().map(copy).collect::<String>())
        }
        Action::Redirect(redirect) => format!("is redirected by {}", redirect.status),
        Action::Refuse(refusal) => format!("is answered {}: {}", refusal.status, refusal.why),
    }
}

fn gateway(name: &Name, translation: &Translation) -> String {
    if !translation.proxies.contains_key(name) {
        return "it is not served: it is of another class, or it is not accepted\n".to_owned();
    }
    let mut out = String::new();
    for port in ports(translation).filter(|port| port.gateway == name) {
        let _ = writeln!(out, "Service {} port {} {}", port.port.service, port.port.port, reads(&port));
        for route in port.routes() {
            let _ = writeln!(out, "  {}", route.name);
        }
    }
    match out.is_empty() {
        true => "nothing uses it: label a Service or a Namespace istio.io/use-waypoint\n".to_owned(),
        false => out,
    }
}

/// Where a route, or a policy, is in force.
fn elsewhere(object: &ObjectRef, translation: &Translation) -> String {
    let concerns = |route: &Route| {
        let asked = object.kind == Kind::AuthConfig
            && route.policy.auth.as_ref().is_some_and(|auth| auth.config == object.name);
        asked || route.origins.contains(object)
    };
    let mut out = String::new();
    for port in ports(translation) {
        let routes: Vec<&Route> = port.routes().iter().filter(|route| concerns(route)).collect();
        if routes.is_empty() {
            continue;
        }
        let PortRef { service, port: number } = port.port;
        let _ = writeln!(out, "Service {service} port {number}, at the waypoint {}", port.gateway);
        for route in routes {
            let _ = writeln!(out, "  {}", route.name);
            told(&mut out, route);
        }
    }
    if out.is_empty() { "it is in force nowhere\n".to_owned() } else { format!("in force at\n{out}") }
}

#[cfg(test)]
mod tests {
    use provider::folder::load;

    use super::*;

    /// What is told of `name` in the walkthrough's folder with these of its policies.
    fn told_of(policies: &str, kind: Kind, name: &str) -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let paths = ["httpbin", &format!("walkthrough-000/{policies}")].map(|folder| root.join(folder));
        let translation = waypoint_translate::translate(&load(&paths).snapshot, &crate::plan::translate_settings("x"));
        page(&ObjectRef::new(kind, "httpbin", name), &translation)
    }

    const ROUTE: &str = "HTTPRoute httpbin/httpbin2 rule 0 match 0";

    #[test]
    fn a_service_is_told_with_its_waypoint_and_what_its_routes_ask() {
        let told = told_of("apikeys", Kind::Service, "httpbin2");
        assert!(told.starts_with("uses the waypoint httpbin/gloo-waypoint\n\nPort 8000 is read as HTTP"), "{told}");
        let route = format!(
            "  1. {ROUTE}\n     every path\n     to Service httpbin/httpbin2 port 8000\n     asks extauth by AuthConfig httpbin/apikeys\n"
        );
        assert!(told.contains(&route), "{told}");
        let told = told_of("ratelimit-httpbin2", Kind::Service, "httpbin2");
        assert!(told.contains("     asks ratelimit by 1 descriptor\n     from HTTPRoute httpbin/httpbin2, "), "{told}");
        let open = told_of("apikeys", Kind::Service, "httpbin3");
        assert!(!open.contains("asks"), "{open}");
        let nobody = told_of("apikeys", Kind::Service, "nobody");
        assert_eq!(nobody, "uses no waypoint: no policy applies to it\n");
    }

    #[test]
    fn a_policy_is_told_with_all_that_it_is_in_force_at() {
        for (kind, name) in
            [(Kind::HttpRoute, "httpbin2"), (Kind::RouteOption, "httpbin2"), (Kind::AuthConfig, "apikeys")]
        {
            let told = told_of("apikeys", kind, name);
            let place = "in force at\nService httpbin/httpbin2 port 8000, at the waypoint httpbin/gloo-waypoint\n";
            assert!(told.starts_with(&format!("{place}  {ROUTE}\n")) && told.matches("Service").count() == 2, "{told}");
        }
        let limit = told_of("ratelimit-httpbin2", Kind::RateLimitConfig, "ratelimit-httpbin2");
        assert!(limit.contains(ROUTE), "{limit}");
        assert_eq!(told_of("apikeys", Kind::AuthConfig, "nobody"), "it is in force nowhere\n");
    }

    #[test]
    fn a_gateway_is_told_with_what_goes_through_it() {
        let told = told_of("apikeys", Kind::Gateway, "gloo-waypoint");
        assert!(told.contains("Service httpbin/httpbin2 port 8000 is read as HTTP"), "{told}");
        assert!(told.contains(&format!("\n  {ROUTE}\n")), "{told}");
        assert!(told_of("apikeys", Kind::Gateway, "other").contains("not served"));
    }
}
