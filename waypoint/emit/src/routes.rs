//! A route table: one virtual host for whatever Host header, routes in order.

use std::time::Duration;

use ir::{
    Action, Backend, Forward, HeaderChanges, KeyMatch, Match, PathMatch, PathRewrite, Redirect, Refusal, Retries,
    Route, ValueMatch,
};
use serde_json::{Map, Value, json};

use crate::filters::{self, rate_limit};
use crate::{duration, names};

/// The route table `name`. No match answers 404, as Envoy does by itself.
pub fn table(name: &str, routes: &[Route]) -> Value {
    let routes: Vec<Value> = routes.iter().map(route).collect();
    json!({
        "name": name,
        "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
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

fn route(route: &Route) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(route.name));
    fields.insert("match".into(), matcher(&route.matches));
    match &route.action {
        Action::Forward(to) => {
            let mut action = forward(to, &route.matches);
            let limits = rate_limit::rate_limits(&route.policy);
            if !limits.is_empty() {
                action["rate_limits"] = json!(limits);
            }
            fields.insert("route".into(), action);
        }
        Action::Redirect(to) => drop(fields.insert("redirect".into(), redirect(to, &route.matches))),
        Action::Refuse(refusal) => drop(fields.insert("direct_response".into(), direct(refusal))),
    }
    headers(&route.policy.request, "request", &mut fields);
    headers(&route.policy.response, "response", &mut fields);
    let per_filter = filters::per_route(&route.policy);
    if !per_filter.is_empty() {
        fields.insert("typed_per_filter_config".into(), Value::Object(per_filter));
    }
    Value::Object(fields)
}

/// The body is text of ours; `inline_string` takes it as it is.
pub fn direct(refusal: &Refusal) -> Value {
    json!({"status": refusal.status, "body": {"inline_string": format!("{}\n", refusal.why)}})
}

fn headers(changes: &HeaderChanges, side: &str, fields: &mut Map<String, Value>) {
    if !changes.put.is_empty() {
        let put = changes.put.iter().map(|put| {
            let action = if put.append { "APPEND_IF_EXISTS_OR_ADD" } else { "OVERWRITE_IF_EXISTS_OR_ADD" };
            let mut entry = json!({"header": {"key": put.name, "value": put.format}, "append_action": action});
            if put.format.is_empty() {
                entry["keep_empty_value"] = json!(true);
            }
            entry
        });
        fields.insert(format!("{side}_headers_to_add"), put.collect());
    }
    if !changes.remove.is_empty() {
        fields.insert(format!("{side}_headers_to_remove"), json!(changes.remove));
    }
}

fn matcher(matches: &Match) -> Value {
    let mut fields = match &matches.path {
        PathMatch::Exact(path) => json!({"path": path}),
        PathMatch::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
        PathMatch::Prefix(path) if path == "/" => json!({"prefix": "/"}),
        PathMatch::Prefix(path) => json!({"path_separated_prefix": path}),
    };
    let mut headers: Vec<Value> = Vec::new();
    if let Some(method) = &matches.method {
        headers.push(json!({"name": ":method", "string_match": {"exact": method}}));
    }
    if !matches.hosts.is_empty() {
        headers.push(json!({"name": ":authority", "string_match": {"safe_regex": {"regex": hosts(&matches.hosts)}}}));
    }
    let keyed = |key: &KeyMatch| json!({"name": key.name, "string_match": value(&key.value)});
    headers.extend(matches.headers.iter().map(keyed));
    if !headers.is_empty() {
        fields["headers"] = json!(headers);
    }
    if !matches.query.is_empty() {
        fields["query_parameters"] = matches.query.iter().map(keyed).collect();
    }
    fields
}

fn value(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Exact(value) => json!({"exact": value}),
        ValueMatch::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
    }
}

/// One expression for all host names, with or without a port.
fn hosts(hosts: &[String]) -> String {
    let one = |host: &String| match host.strip_prefix("*.") {
        Some(rest) => format!("[^:/]+\\.{}", regex::escape(rest)),
        None => regex::escape(host),
    };
    format!("(?i)(?:{})(?::[0-9]+)?", hosts.iter().map(one).collect::<Vec<_>>().join("|"))
}

fn forward(forward: &Forward, matches: &Match) -> Value {
    let mut fields = json!({"timeout": duration(forward.timeout)});
    match forward.backends.as_slice() {
        [only] if plain(only) => fields["cluster"] = json!(cluster(only)),
        several => {
            fields["weighted_clusters"] = json!({"clusters": several.iter().map(weighted).collect::<Vec<_>>()});
            if several.iter().any(|backend| backend.target.is_none()) {
                fields["cluster_not_found_response_code"] = json!("INTERNAL_SERVER_ERROR");
            }
        }
    }
    if let Some(host) = &forward.host {
        fields["host_rewrite_literal"] = json!(host);
    }
    if let Some(path) = &forward.path {
        rewrite(path, matches, &mut fields);
    }
    if forward.retries.is_some() || forward.try_timeout.is_some() {
        fields["retry_policy"] = retries(forward.retries.as_ref(), forward.try_timeout);
    }
    fields
}

fn plain(backend: &Backend) -> bool {
    backend.request == HeaderChanges::default() && backend.response == HeaderChanges::default()
}

fn cluster(backend: &Backend) -> String {
    backend.target.as_ref().map_or_else(|| names::NO_BACKEND.to_owned(), ToString::to_string)
}

fn weighted(backend: &Backend) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(cluster(backend)));
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
            fields["regex_rewrite"] = regex(format!("^{}/*", regex::escape(from)), "/".into());
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
        fields["retry_on"] = json!(retries.on.join(","));
        fields["num_retries"] = json!(retries.times);
        if !retries.statuses.is_empty() {
            fields["retriable_status_codes"] = json!(retries.statuses);
        }
        if let Some(pauses) = &retries.pauses {
            let mut written = json!({"base_interval": duration(pauses.first)});
            if let Some(longest) = pauses.longest {
                written["max_interval"] = duration(longest);
            }
            fields["retry_back_off"] = written;
        }
    }
    if let Some(timeout) = try_timeout {
        fields["per_try_timeout"] = duration(timeout);
    }
    fields
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
    if let Some(port) = redirect.port {
        fields["port_redirect"] = json!(port);
    }
    match &redirect.path {
        Some(PathRewrite::Full(path)) => fields["path_redirect"] = json!(path),
        Some(path) => rewrite(path, matches, &mut fields),
        None => {}
    }
    fields
}
