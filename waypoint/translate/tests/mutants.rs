//! A mistake never opens what the manifest without it refuses: each manifest of a guarded
//! Service is changed in every way that people and editors do, and a request without a key is
//! tried against what was decided.
#![allow(clippy::unwrap_used)]

mod support;

use api::{Kind, Name, ObjectRef};
use ir::{Action, Enrolment, Traffic};
use resolve::{Resolved, resolve};
use serde_json::{Map, Value, json};
use support::{settings, snapshot};

/// A guarded Service at its waypoint. All of it is needed for the guard.
fn intact() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "t", "labels": {"istio.io/use-waypoint": "wp", "team": "x"}}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "wp", "namespace": "t"}, "spec": {"gatewayClassName": "gloo-waypoint",
            "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "t"},
            "spec": {"clusterIP": "127.0.20.2", "ports": [{"name": "http", "port": 80}]}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "route", "namespace": "t"},
            "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}],
            "rules": [{"name": "all", "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"name": "a", "port": 80}]}]}}),
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
            "metadata": {"name": "option", "namespace": "t"},
            "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "route"}],
            "options": {"timeout": "3s", "extauth": {"configRef": {"name": "keys"}}}}}),
        json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig",
            "metadata": {"name": "keys", "namespace": "t"}, "spec": {"configs": [{"apiKeyAuth":
            {"headerName": "api-key", "labelSelector": {"team": "infrastructure"}}}]}}),
    ]
}

/// A manifest with one thing changed, and what was changed.
struct Mutant {
    what: String,
    /// What the field held was taken away as a whole.
    dropped: bool,
    manifest: Value,
}

/// How a name is misspelt.
type Spelling = fn(&str) -> String;

/// Everything that can be done to one place of `whole`.
fn mutants(whole: &Value) -> Vec<Mutant> {
    let mut paths = Vec::new();
    places(whole, &mut Vec::new(), &mut paths);
    let mut out = Vec::new();
    for path in paths {
        let shown = path.join(".");
        // Without these it is nothing that anybody reads, or another object.
        if ["apiVersion", "kind", "metadata.name", "metadata.namespace"].contains(&shown.as_str()) {
            continue;
        }
        let mut add = |what: &str, change: &dyn Fn(&mut Value, &str)| {
            let mut manifest = whole.clone();
            let (last, above) = path.split_last().unwrap();
            change(at(&mut manifest, above), last);
            if manifest != *whole {
                let dropped = ["dropped", "an empty list", "an empty mapping"].contains(&what);
                out.push(Mutant { what: format!("{shown} {what}"), dropped, manifest });
            }
        };
        add("dropped", &|above, key| match above {
            Value::Object(map) => drop(map.remove(key)),
            Value::Array(list) => drop(list.remove(key.parse().unwrap())),
            _ => {}
        });
        let set = |value: fn(&Value) -> Value| {
            move |above: &mut Value, key: &str| {
                let place = child(above, key);
                *place = value(place);
            }
        };
        add("in a list", &set(|old| json!([old])));
        add("in a mapping", &set(|old| json!({"value": old})));
        add(
            "a list where a mapping is",
            &set(|old| match old {
                Value::Object(map) => Value::Array(map.values().cloned().collect()),
                Value::Array(list) => list.first().cloned().unwrap_or(Value::Null),
                other => other.clone(),
            }),
        );
        add("a number", &set(|_| json!(7)));
        add("true", &set(|_| json!(true)));
        add("an empty list", &set(|_| json!([])));
        add("an empty mapping", &set(|_| json!({})));
        add(
            "twice",
            &set(|old| match old {
                Value::Array(list) => Value::Array(list.iter().chain(list).cloned().collect()),
                other => other.clone(),
            }),
        );
        add(
            "with forty strangers",
            &set(|old| match old {
                Value::Object(map) => {
                    let strangers = (0..40).map(|n| (format!("stranger{n}"), json!([n])));
                    Value::Object(map.clone().into_iter().chain(strangers).collect())
                }
                other => other.clone(),
            }),
        );
        let spellings: [(&str, Spelling); 6] = [
            ("in the plural", |key| format!("{key}s")),
            ("without its last letter", |key| key[..key.len() - 1].to_owned()),
            ("in small letters", str::to_ascii_lowercase),
            ("with an underscore", |key| key.chars().flat_map(snake).collect()),
            ("with two letters in each other's place", |key| {
                let mut letters: Vec<char> = key.chars().collect();
                let middle = letters.len() / 2;
                letters.swap(middle, middle.saturating_sub(1));
                letters.into_iter().collect()
            }),
            ("with a blank", |key| format!("{key} ")),
        ];
        for (what, spell) in spellings {
            add(what, &|above, key| {
                if let Value::Object(map) = above
                    && !map.contains_key(&spell(key))
                {
                    let value = map.remove(key).unwrap();
                    map.insert(spell(key), value);
                }
            });
        }
    }
    out
}

fn snake(letter: char) -> Vec<char> {
    if letter.is_ascii_uppercase() { vec!['_', letter.to_ascii_lowercase()] } else { vec![letter] }
}

fn places(value: &Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => vec![],
    };
    for (key, inner) in children {
        path.push(key);
        out.push(path.clone());
        places(inner, path, out);
        path.pop();
    }
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, key| child(value, key))
}

fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    match value {
        Value::Array(list) => &mut list[key.parse::<usize>().unwrap()],
        other => &mut other[key],
    }
}

/// How a request without a key gets through to the application of Service `a`, if it does.
fn open(resolved: &Resolved) -> Option<String> {
    match resolved.services.get(&Name::new("t", "a")).map(AsRef::as_ref) {
        None | Some(Enrolment::Refused(_)) => None,
        Some(Enrolment::None) => Some("around the waypoint".to_owned()),
        Some(Enrolment::Waypoint(gateway)) => {
            let chains = &resolved.proxies.get(gateway)?.listeners[0].chains;
            chains.iter().find_map(|(id, chain)| match &chain.traffic {
                Traffic::Refuse(_) => None,
                Traffic::Tcp(_) | Traffic::Sniffed(..) => Some(format!("{id} unread")),
                Traffic::Http(routes) => {
                    let first = routes.first()?;
                    let asks = first.policy.auth.is_some() || !matches!(first.action, Action::Forward(_));
                    (!asks).then(|| first.name.clone())
                }
            })
        }
    }
}

/// Whether the author is told that what he wrote does not apply where he meant it to.
fn says_so(resolved: &Resolved, problems: &[String]) -> bool {
    let accepted = |kind, name: &str| {
        let statuses = resolved.report.get(&ObjectRef::new(kind, "t", name)).into_iter().flat_map(|said| said.iter());
        let mut conditions = statuses.flat_map(|status| &status.conditions).filter(|c| c.kind == "Accepted").peekable();
        conditions.peek().is_some() && conditions.all(|c| c.status == Some(true))
    };
    !problems.is_empty() || !accepted(Kind::HttpRoute, "route") || !accepted(Kind::RouteOption, "option")
}

#[test]
fn the_manifests_as_they_are_refuse_it() {
    let (snapshot, problems) = snapshot(&intact());
    let resolved = resolve(&snapshot, &settings());
    assert!(problems.is_empty() && open(&resolved).is_none() && !says_so(&resolved, &problems), "{problems:?}");
}

#[test]
fn no_mistake_in_a_manifest_opens_what_it_guards() {
    let intact = intact();
    let mut opened = Vec::new();
    let mut tried = 0;
    for index in 0..intact.len() {
        for mutant in mutants(&intact[index]) {
            let mut documents = intact.clone();
            documents[index] = mutant.manifest.clone();
            let (snapshot, problems) = snapshot(&documents);
            let resolved = resolve(&snapshot, &settings());
            tried += 1;
            let Some(how) = open(&resolved) else { continue };
            // Whoever takes a reference away as a whole means it; if it still is a good manifest, he is told.
            let taken_away = mutant.dropped && (removed(&mutant.what) || says_so(&resolved, &problems));
            if !taken_away {
                opened.push(format!("{} {}: {how}", intact[index]["kind"].as_str().unwrap(), mutant.what));
            }
        }
    }
    assert!(tried > 600, "{tried}");
    assert!(opened.is_empty(), "{} of {tried}:\n{}", opened.len(), opened.join("\n"));
}

/// What asks for a waypoint or for authorization, without which nobody is refused.
fn removed(what: &str) -> bool {
    let asks = ["metadata.labels", "metadata.labels.istio.io/use-waypoint", "spec.options", "spec.options.extauth"];
    asks.iter().any(|path| what.strip_prefix(path).is_some_and(|how| how.starts_with(' ')))
}

#[test]
fn mistakes_of_every_sort_are_made() {
    let made: Map<String, Value> = mutants(&intact()[4]).into_iter().map(|m| (m.what, m.manifest)).collect();
    for what in [
        "spec.targetRefs in the plural",
        "spec.targetRefs in small letters",
        "spec.targetRefs.0.name in a list",
        "spec.targetRefs a list where a mapping is",
        "spec an empty list",
        "spec.options with forty strangers",
    ] {
        assert!(made.contains_key(what), "{what}: {:?}", made.keys().collect::<Vec<_>>());
    }
}
