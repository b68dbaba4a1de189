//! A route table: one virtual host for whatever Host header, routes in order.

mod shares;

use std::time::Duration;

use ir::{
    Action, Backend, Forward, HeaderChanges, HeaderPut, KeyMatch, Match, Mirror, PathMatch, PathRewrite, PortRef,
    Redirect, Refusal, Retries, RetryOn, Route, Settings, ValueMatch,
};
use serde_json::{Map, Value, json};

use ir::path::{parameter_spellings, spellings};

use crate::filters::{self, Guards, forwarded_for, rate_limit};
use crate::names::{self, Told};
use crate::{access_log, duration, scopes};

/// The route table of `port`. What no route matches is answered 404.
pub fn table(port: &PortRef, routes: &[Route], guards: Guards<'_>, settings: &Settings) -> Value {
    let name = port.to_string();
    let shares = routes.iter().flat_map(shares::shares);
    let mut written: Vec<Value> = shares.map(|(one, bound)| share(&one, bound, settings)).collect();
    if !routes.iter().any(|route| route.matches == Match::everything()) {
        // Envoy's own answer would say that there is no such Service.
        let why = scopes::no_route(port);
        let answer = direct(&Refusal { status: 404, why });
        written.push(json!({"name": "no route", "match": {"prefix": "/"}, "direct_response": answer}));
    }
    if let Some(said) = access_log::said_by_routes(port, settings) {
        written.iter_mut().for_each(|route| route["metadata"] = said.clone());
    }
    let filters = filters::per_table(guards);
    json!({
        "name": name,
        "virtual_hosts": [{"name": name, "domains": ["*"], "routes": written, "typed_per_filter_config": filters}],
        // A backend that does not exist answers for its share; it does not void the table.
        "validate_clusters": false,
    })
}

/// A table that refuses everything: what stands in for one that could not be written.
pub fn refusing(name: &str) -> Value {
    let answer = direct(&Refusal { status: 500, why: "the routes of this service could not be programmed".into() });
    json!({"name": name, "virtual_hosts": [
        {"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": answer}]},
    ]})
}

/// `route` for the requests whose number, which Envoy draws once for each, is below `bound`.
fn share(route: &Route, bound: Option<u64>, settings: &Settings) -> Value {
    let mut fields = self::route(route, settings);
    if let Some(bound) = bound {
        let share = json!({"numerator": bound, "denominator": "MILLION"});
        fields["match"]["runtime_fraction"] = json!({"default_value": share});
    }
    fields
}

fn route(route: &Route, settings: &Settings) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(route.name));
    fields.insert("match".into(), matcher(&route.matches));
    let mut response = route.policy.response.clone();
    match &route.action {
        Action::Forward(to) => {
            let mut action = forward(to, &route.matches, Told::of(&route.policy, settings));
            action["rate_limits"] = json!(rate_limit::rate_limits(&route.policy));
            fields.insert("route".into(), action);
        }
        Action::Redirect(to) => {
            fields.insert("redirect".into(), redirect(to, &route.matches));
            response.put.insert(0, without_well_known_port());
        }
        Action::Refuse(refusal) => drop(fields.insert("direct_response".into(), direct(refusal))),
    }
    headers(&route.policy.request, "request", &mut fields);
    headers(&response, "response", &mut fields);
    fields.insert("typed_per_filter_config".into(), Value::Object(filters::per_route(&route.policy)));
    Value::Object(fields)
}

/// The body is text of ours; `inline_string` takes it as it is, up to Envoy's bound of 4 KiB.
pub fn direct(refusal: &Refusal) -> Value {
    let why: String = refusal.why.chars().take(1000).collect();
    json!({"status": refusal.status, "body": {"inline_string": format!("{why}\n")}})
}

fn headers(changes: &HeaderChanges, side: &str, fields: &mut Map<String, Value>) {
    let put = changes.put.iter().map(|put| {
        let action = if put.append { "APPEND_IF_EXISTS_OR_ADD" } else { "OVERWRITE_IF_EXISTS_OR_ADD" };
        let header = json!({"key": put.name, "value": put.format});
        json!({"header": header, "append_action": action, "keep_empty_value": put.format.is_empty()})
    });
    fields.insert(format!("{side}_headers_to_add"), put.collect());
    fields.insert(format!("{side}_headers_to_remove"), json!(changes.remove));
}

fn matcher(matches: &Match) -> Value {
    let mut fields = match &matches.path {
        PathMatch::Exact(path) => match spellings(path) {
            Some(regex) => json!({"safe_regex": {"regex": regex}}),
            None => json!({"path": path}),
        },
        PathMatch::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
        PathMatch::Prefix(path) if path == "/" => json!({"prefix": "/"}),
        PathMatch::Prefix(path) => match spellings(path) {
            Some(regex) => json!({"safe_regex": {"regex": format!("{regex}(?:/.*)?")}}),
            None => json!({"path_separated_prefix": path}),
        },
    };
    if matches.grpc {
        fields["grpc"] = json!({});
    }
    let mut headers: Vec<Value> = Vec::new();
    if let Some(method) = &matches.method {
        headers.push(json!({"name": ":method", "string_match": {"exact": method}}));
    }
    if !matches.hosts.is_empty() {
        headers.push(json!({"name": ":authority", "string_match": {"safe_regex": {"regex": hosts(&matches.hosts)}}}));
    }
    if matches.no_host {
        let host = json!({"safe_regex": {"regex": HOST}});
        headers.push(json!({"name": ":authority", "string_match": host, "invert_match": true}));
    }
    if let Some(target) = &matches.target {
        let path = |regex: &str| json!({"name": ":path", "string_match": {"safe_regex": {"regex": regex}}});
        headers.push(path(&target.is));
        headers.extend(target.is_not.as_deref().map(|regex| {
            let mut other = path(regex);
            other["invert_match"] = json!(true);
            other
        }));
    }
    let keyed = |key: &KeyMatch| match &key.value {
        // However it is spelt, it is that host.
        ValueMatch::Exact(host) if key.name.eq_ignore_ascii_case("host") => {
            let regex = hosts(std::slice::from_ref(host));
            json!({"name": ":authority", "string_match": {"safe_regex": {"regex": regex}}})
        }
        ValueMatch::Regex(regex) if key.name.eq_ignore_ascii_case("host") => {
            let regex = hosts_like(regex);
            json!({"name": ":authority", "string_match": {"safe_regex": {"regex": regex}}})
        }
        other => json!({"name": forwarded_for::when_matched(&key.name), "string_match": value(other)}),
    };
    headers.extend(matches.headers.iter().map(keyed));
    fields["headers"] = json!(headers);
    let keyed = |key: &KeyMatch| json!({"name": key.name, "string_match": parameter(&key.value)});
    fields["query_parameters"] = matches.query.iter().map(keyed).collect();
    fields
}

fn value(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Exact(value) => json!({"exact": value}),
        ValueMatch::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
    }
}

/// The value of a parameter, which clients may escape.
fn parameter(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Exact(text) => match parameter_spellings(text) {
            Some(regex) => json!({"safe_regex": {"regex": regex}}),
            None => self::value(value),
        },
        ValueMatch::Regex(_) => self::value(value),
    }
}

/// What may stand where a request says its host: a name, underscores included, or an address, and a port.
const HOST: &str = "(?:[A-Za-z0-9_-]+(?:\\.[A-Za-z0-9_-]+)*\\.?|\\[[0-9A-Fa-f:.]+\\])(?::[0-9]{0,5})?";

/// One expression for all host names, however a host may be spelt: with a dot at its end, with a port or an empty one.
fn hosts(hosts: &[String]) -> String {
    let one = |host: &String| match host.strip_prefix("*.") {
        Some(rest) => format!("[^:/]+\\.{}", regex::escape(rest)),
        None => regex::escape(host),
    };
    format!("(?i)(?:{})\\.?(?::[0-9]*)?", hosts.iter().map(one).collect::<Vec<_>>().join("|"))
}

/// The same for the host names that `regex` takes. Its own ends are those of the name.
fn hosts_like(regex: &str) -> String {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    let escapes = |text: &str| text.len() - text.trim_end_matches('\\').len();
    let regex = regex.strip_suffix('$').filter(|rest| escapes(rest) % 2 == 0).unwrap_or(regex);
    format!("(?i:{regex})\\.?(?::[0-9]*)?")
}

fn forward(forward: &Forward, matches: &Match, told: Told) -> Value {
    let mut fields = json!({"timeout": duration(forward.timeout)});
    match forward.backends.as_slice() {
        [only] if plain(only) => fields["cluster"] = json!(cluster(only, told)),
        several => {
            let shares: Vec<Value> = several.iter().map(|backend| weighted(backend, told)).collect();
            fields["weighted_clusters"] = json!({"clusters": shares});
        }
    }
    if forward.streams {
        fields["idle_timeout"] = duration(Duration::ZERO);
    }
    // Without it the answer is 503, which is UNAVAILABLE to a client of gRPC, as Gateway API has it.
    if !matches.grpc && forward.backends.iter().any(|backend| backend.target.is_none()) {
        fields["cluster_not_found_response_code"] = json!("INTERNAL_SERVER_ERROR");
    }
    if let Some(host) = &forward.host {
        fields["host_rewrite_literal"] = json!(host);
    }
    if let Some(path) = &forward.path {
        rewrite(path, matches, &mut fields);
    }
    fields["request_mirror_policies"] = forward.mirrors.iter().map(mirror).collect();
    // Zero is no limit, as is none.
    let each = forward.try_timeout.filter(|each| !each.is_zero());
    if forward.retries.is_some() || each.is_some() {
        fields["retry_policy"] = retries(forward.retries.as_ref(), each);
    }
    fields
}

/// Envoy makes a copy only if it knows the cluster by then, so that is told ahead.
fn mirror(mirror: &Mirror) -> Value {
    let mut fields = json!({"cluster": Told::Ahead.cluster(&mirror.target)});
    if mirror.millionths < 1_000_000 {
        let share = json!({"numerator": mirror.millionths, "denominator": "MILLION"});
        fields["runtime_fraction"] = json!({"default_value": share});
    }
    fields
}

fn plain(backend: &Backend) -> bool {
    backend.request == HeaderChanges::default() && backend.response == HeaderChanges::default()
}

fn cluster(backend: &Backend, told: Told) -> String {
    backend.target.as_ref().map_or_else(|| names::NO_BACKEND.to_owned(), |to| told.cluster(to))
}

fn weighted(backend: &Backend, told: Told) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(cluster(backend, told)));
    fields.insert("weight".into(), json!(backend.weight));
    headers(&backend.request, "request", &mut fields);
    headers(&backend.response, "response", &mut fields);
    Value::Object(fields)
}

fn rewrite(path: &PathRewrite, matches: &Match, fields: &mut Value) {
    // In a substitution a backslash begins a group reference.
    let literal = |text: &str| text.replace('\\', "\\\\");
    let regex =
        |regex: String, substitution: String| json!({"pattern": {"regex": regex}, "substitution": substitution});
    match (path, &matches.path) {
        (PathRewrite::Full(full), _) => fields["regex_rewrite"] = regex("^[^?]*".into(), literal(full)),
        (PathRewrite::Prefix(to), PathMatch::Prefix(from)) if from != "/" && to.trim_end_matches('/').is_empty() => {
            // `/a/b` becomes `/b` and `/a` becomes `/`, never `//b` or nothing.
            let from = spellings(from).unwrap_or_else(|| regex::escape(from));
            fields["regex_rewrite"] = regex(format!("^{from}/*"), "/".into());
        }
        (PathRewrite::Prefix(to), PathMatch::Prefix(from)) if spellings(from).is_some() => {
            let from = spellings(from).unwrap_or_default();
            fields["regex_rewrite"] = regex(format!("^{from}"), literal(to.trim_end_matches('/')));
        }
        (PathRewrite::Prefix(to), PathMatch::Prefix(from)) if from == "/" => {
            let to = to.trim_end_matches('/');
            fields["prefix_rewrite"] = json!(format!("{to}/"));
        }
        (PathRewrite::Prefix(to), PathMatch::Prefix(_)) => {
            fields["prefix_rewrite"] = json!(to.trim_end_matches('/'));
        }
        // Gloo's prefixRewrite with an exact path replaces all of it; with an expression too.
        (PathRewrite::Prefix(to), _) => fields["regex_rewrite"] = regex("^[^?]*".into(), literal(to)),
    }
}

fn retries(retries: Option<&Retries>, try_timeout: Option<Duration>) -> Value {
    let mut fields = json!({});
    if let Some(retries) = retries {
        fields["retry_on"] = json!(retry_on(retries));
        fields["num_retries"] = json!(retries.times);
        fields["retriable_status_codes"] = json!(retries.statuses);
        if let Some(pauses) = &retries.pauses {
            let longest = pauses.longest.map(duration);
            fields["retry_back_off"] = json!({"base_interval": duration(pauses.first), "max_interval": longest});
        }
    }
    if let Some(timeout) = try_timeout {
        fields["per_try_timeout"] = duration(timeout);
    }
    fields
}

fn retry_on(retries: &Retries) -> String {
    match &retries.on {
        RetryOn::Named(names) => names.join(","),
        RetryOn::NoAnswer if retries.statuses.is_empty() => NO_ANSWER.to_owned(),
        RetryOn::NoAnswer => format!("{NO_ANSWER},retriable-status-codes"),
    }
}

/// Envoy's names for a connection that is not made, one that ends or takes too long, and a stream that is refused.
const NO_ANSWER: &str = "connect-failure,reset,refused-stream";

/// A `Location` without `:80` for http or `:443` for https: Envoy writes every port it is given.
fn without_well_known_port() -> HeaderPut {
    let location = r"^(?:(http://[^/]*?)(?::80)?|(https://[^/]*?)(?::443)?)(/.*)?$";
    let format = format!(r"%CEL(re.extract(response.headers['location'], '{location}', '\\1\\2\\3'))%");
    HeaderPut { name: "location".to_owned(), format, append: false }
}

fn redirect(redirect: &Redirect, matches: &Match) -> Value {
    let code = match redirect.status {
        301 => "MOVED_PERMANENTLY",
        303 => "SEE_OTHER",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        _ => "FOUND",
    };
    let mut fields = json!({"response_code": code});
    if let Some(scheme) = &redirect.scheme {
        fields["scheme_redirect"] = json!(scheme);
    }
    if let Some(host) = &redirect.host {
        fields["host_redirect"] = json!(host);
    }
    let well_known = if redirect.scheme.as_deref() == Some("https") { 443 } else { 80 };
    // Written always, since it replaces the port in the Host of the request: `response_headers` takes it off again.
    fields["port_redirect"] = json!(redirect.port.unwrap_or(well_known));
    match &redirect.path {
        Some(PathRewrite::Full(path)) => fields["path_redirect"] = json!(path),
        Some(path) => rewrite(path, matches, &mut fields),
        None => {}
    }
    fields
}
