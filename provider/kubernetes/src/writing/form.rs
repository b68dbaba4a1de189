//! The form in which an API server keeps what is said of an object. Pure: from the object as it is there and what
//! is to be said of it to the `status` that is to stand, or none if nothing is to be written.
//!
//! Nobody else's words are touched: entries of other controllers, conditions of other types, other namespaces'
//! states. Nothing is written over what was said of a later version of the object. A time moves only with what it
//! is the time of, so that equal statuses are equal and are not written.

use std::collections::BTreeMap;

use api::{Kind, Told};
use serde_json::{Map, Value, json};
use status::{ACCEPTED, Address, Condition, OTHER_CONTROLLER, ObjectStatus, PROGRAMMED, Parent, Place};

/// The longest reason of a Gloo status, in bytes: longer ones are cut.
const LONGEST_REASON: usize = 1024;
/// The longest message of a condition, in bytes.
const LONGEST_MESSAGE: usize = 32_768;
/// The most parents that a route's status may have.
const MOST_PARENTS: usize = 32;
/// The most listeners that a Gateway's status may have.
const MOST_LISTENERS: usize = 64;
/// The most addresses that a Gateway's status may have.
const MOST_ADDRESSES: usize = 16;

/// Who says it, and when.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The controller's name, as GatewayClasses have it.
    pub controller: String,
    /// The namespace under which a Gloo state stands.
    pub namespace: String,
    /// Now, in RFC 3339, of whole seconds.
    pub now: String,
    /// Whether everybody had the time to be heard. Before that, what the speaker does not know yet may be known: what
    /// stands of the same version of an object stays.
    pub has_heard_all: bool,
}

/// The fields of `status` that are to stand on `object`, of which this is `said` now; none if they stand already, or
/// are not ours to write.
pub fn wanted(kind: Kind, object: &Value, said: &[ObjectStatus], speaker: &Speaker) -> Option<Value> {
    let there = object.get("status").cloned().unwrap_or_default();
    let wanted = match kind.told() {
        Told::Nowhere => return None,
        Told::Gateway => gateway(&there, said, speaker)?,
        Told::Route => route(&there, said, speaker)?,
        Told::PerNamespace => {
            if State::of(said) == State::Pending && !speaker.has_heard_all {
                let known = &there["statuses"][&speaker.namespace]["state"];
                if !said.is_empty() && known.is_string() {
                    return None;
                }
            }
            let now = (!said.is_empty()).then(|| per_namespace(said));
            // A merge patch takes away what is null.
            json!({"statuses": {&speaker.namespace: now}})
        }
        Told::State => state(&there, said, speaker)?,
        Told::Conditions => among_others(&there, said, speaker)?,
    };
    (!stands(&wanted, &there)).then_some(wanted)
}

/// Whether anything that stands on `object` is ours, and to be taken away once we have nothing to say of it.
pub fn is_ours(kind: Kind, object: &Value, speaker: &Speaker) -> bool {
    let status = &object["status"];
    match kind.told() {
        Told::Route => {
            list(status, "parents").iter().any(|entry| entry["controllerName"] == speaker.controller.as_str())
        }
        Told::PerNamespace => status["statuses"].get(&speaker.namespace).is_some_and(|state| !state.is_null()),
        Told::Conditions => list(status, "conditions").iter().any(is_our_condition),
        // What is said of these is said as long as they are there, or by their next controller.
        Told::Nowhere | Told::Gateway | Told::State => false,
    }
}

/// Whether a merge of `wanted` into `there` changes nothing.
fn stands(wanted: &Value, there: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields.iter().all(|(key, value)| match there.get(key) {
            Some(there) => stands(value, there),
            None => value.is_null() || value.as_object().is_some_and(|inner| inner.values().all(Value::is_null)),
        }),
        other => other == there,
    }
}

fn list<'v>(of: &'v Value, field: &str) -> &'v [Value] {
    of.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Of `said`, what is said of the object itself.
fn itself(said: &[ObjectStatus]) -> Option<&ObjectStatus> {
    said.iter().find(|status| status.place.is_object())
}

/// Whether one of the `conditions` there is about a later version than `observed`.
fn is_later(conditions: &[Value], observed: Option<i64>) -> bool {
    let of = |condition: &Value| condition.get("observedGeneration").and_then(Value::as_i64);
    conditions.iter().filter_map(of).any(|there| observed.is_some_and(|ours| there > ours))
}

/// `said` as a list of conditions; times of those `there` whose status has not changed stay.
fn conditions<'c>(
    said: impl Iterator<Item = &'c Condition>,
    observed: Option<i64>,
    there: &[Value],
    speaker: &Speaker,
) -> Vec<Value> {
    let one = |condition: &Condition| {
        let known = |one: &&Value| {
            let of = one.get("observedGeneration").and_then(Value::as_i64);
            one["type"] == condition.kind.as_str() && one["status"] != "Unknown" && of == observed
        };
        if condition.status.is_none()
            && !speaker.has_heard_all
            && let Some(known) = there.iter().find(known)
        {
            return known.clone();
        }
        let status = match condition.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = there.iter().find(|there| there["type"] == condition.kind.as_str() && there["status"] == status);
        let since = before.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(&speaker.now);
        let mut written = json!({
            "type": condition.kind, "status": status, "reason": condition.reason,
            "message": cut(&condition.message, LONGEST_MESSAGE), "lastTransitionTime": since,
        });
        if let Some(observed) = observed {
            written["observedGeneration"] = observed.into();
        }
        written
    };
    said.map(one).collect()
}

/// `text`, or as much of it as fits into `most` bytes.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// The status of a Gateway of ours: only of those is it said whether it is programmed.
fn gateway(there: &Value, said: &[ObjectStatus], speaker: &Speaker) -> Option<Value> {
    let whole = itself(said).filter(|whole| whole.condition(PROGRAMMED).is_some())?;
    let before = list(there, "conditions");
    if is_later(before, whole.observed_generation) {
        return None;
    }
    let mut written = conditions(whole.conditions.iter(), whole.observed_generation, before, speaker);
    let foreign = |one: &&Value| whole.conditions.iter().all(|ours| one["type"] != ours.kind.as_str());
    written.extend(before.iter().filter(foreign).cloned());
    let mut status = json!({"conditions": written});
    let mut listeners = Vec::new();
    for of in said {
        let Place::Listener(name) = &of.place else { continue };
        let before = list(there, "listeners").iter().find(|one| one["name"] == name.as_str());
        let before = before.map_or(&[][..], |before| list(before, "conditions"));
        let kinds = of.supported_kinds.iter().flatten();
        let kinds: Vec<Value> = kinds.map(|kind| json!({"group": kind.group(), "kind": kind.as_str()})).collect();
        listeners.push(json!({
            "name": name,
            "attachedRoutes": of.attached_routes.unwrap_or_default(),
            "supportedKinds": kinds,
            "conditions": conditions(of.conditions.iter(), of.observed_generation.or(whole.observed_generation), before, speaker),
        }));
    }
    listeners.truncate(MOST_LISTENERS);
    status["listeners"] = listeners.into();
    // Once it has been reachable, nobody takes that away for a moment in which it is not.
    if !whole.addresses.is_empty() {
        let addresses = whole.addresses.iter().take(MOST_ADDRESSES);
        let kind = |address: &Address| match address {
            Address::Ip(_) => "IPAddress",
            Address::Hostname(_) => "Hostname",
        };
        status["addresses"] =
            addresses.map(|address| json!({"type": kind(address), "value": address.to_string()})).collect();
    }
    Some(status)
}

/// The status of a route: the entries of other controllers as they are and where they are, and ours.
fn route(there: &Value, said: &[ObjectStatus], speaker: &Speaker) -> Option<Value> {
    let is_ours = |entry: &Value| entry["controllerName"] == speaker.controller.as_str();
    let mut ours: BTreeMap<&Parent, &ObjectStatus> = BTreeMap::new();
    for status in said {
        match &status.place {
            Place::Parent(parent)
                if parent.controller == speaker.controller
                    && status.conditions.iter().all(|condition| condition.reason != OTHER_CONTROLLER) =>
            {
                ours.insert(parent, status);
            }
            _ => {}
        }
    }
    let before = list(there, "parents");
    // What a provider says of the object is true at each of its parents.
    let refused =
        itself(said).and_then(|whole| whole.condition(ACCEPTED)).filter(|accepted| accepted.status != Some(true));
    let mut entries: Vec<Value> = Vec::new();
    let write = |parent: &Parent, status: &ObjectStatus, before: &[Value]| {
        let said = status.conditions.iter().map(|condition| match refused {
            Some(refused) if condition.kind == ACCEPTED => refused.clone().worse(condition.clone()),
            _ => condition.clone(),
        });
        let said: Vec<Condition> = said.collect();
        json!({
            "parentRef": reference(parent),
            "controllerName": speaker.controller,
            "conditions": conditions(said.iter(), status.observed_generation, before, speaker),
        })
    };
    for entry in before {
        if !is_ours(entry) {
            entries.push(entry.clone());
            continue;
        }
        let Some(parent) = ours.keys().find(|parent| reference(parent) == entry["parentRef"]).copied() else {
            continue;
        };
        let Some(status) = ours.remove(parent) else { continue };
        if is_later(list(entry, "conditions"), status.observed_generation) {
            return None;
        }
        entries.push(write(parent, status, list(entry, "conditions")));
    }
    entries.extend(ours.into_iter().map(|(parent, status)| write(parent, status, &[])));
    entries.truncate(MOST_PARENTS);
    // A route of which nobody has said anything needs no list that says so.
    (!entries.is_empty() || !before.is_empty()).then(|| json!({"parents": entries}))
}

/// A parent as a route refers to it, with everything that may be left out.
fn reference(parent: &Parent) -> Value {
    let mut reference = Map::new();
    reference.insert("group".into(), parent.object.kind.group().into());
    reference.insert("kind".into(), parent.object.kind.as_str().into());
    reference.insert("namespace".into(), parent.object.name.namespace.as_str().into());
    reference.insert("name".into(), parent.object.name.name.as_str().into());
    if let Some(section) = &parent.section {
        reference.insert("sectionName".into(), section.as_str().into());
    }
    if let Some(port) = parent.port {
        reference.insert("port".into(), port.into());
    }
    reference.into()
}

/// What stands before the types of our conditions where those of others stand beside them: what istiod says of waypoints of
/// its own it says under other types, and of ours as well.
const OURS: &str = "waykeeper.dev/";

fn is_our_condition(condition: &Value) -> bool {
    condition["type"].as_str().is_some_and(|kind| kind.starts_with(OURS))
}

/// Our conditions of an object, behind those of others, which are as they are and where they are.
fn among_others(there: &Value, said: &[ObjectStatus], speaker: &Speaker) -> Option<Value> {
    let before = list(there, "conditions");
    let (ours, mut written): (Vec<Value>, Vec<Value>) = before.iter().cloned().partition(is_our_condition);
    let whole = itself(said).filter(|whole| whole.conditions.iter().all(|one| one.reason != OTHER_CONTROLLER));
    if let Some(whole) = whole {
        if is_later(&ours, whole.observed_generation) {
            return None;
        }
        let named = |one: &Condition| Condition { kind: format!("{OURS}{}", one.kind), ..one.clone() };
        let named: Vec<Condition> = whole.conditions.iter().map(named).collect();
        written.extend(conditions(named.iter(), whole.observed_generation, &ours, speaker));
    }
    (!written.is_empty() || !before.is_empty()).then(|| json!({"conditions": written}))
}

/// What an object comes to, in Gloo's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Accepted,
    Warning,
    Rejected,
}

impl State {
    /// Rejected: the object is not in use, or its newest version is not. Warning: something of it is not in force, or
    /// something is to be known. Pending: not all have said.
    fn of(said: &[ObjectStatus]) -> State {
        let accepted = itself(said).and_then(|whole| whole.condition(ACCEPTED));
        let mut all = said.iter().flat_map(|status| &status.conditions);
        if accepted.is_some_and(|accepted| accepted.status == Some(false)) {
            State::Rejected
        } else if all.clone().any(|condition| condition.status == Some(false) || !condition.problems.is_empty()) {
            State::Warning
        } else if all.any(|condition| condition.status.is_none()) {
            State::Pending
        } else {
            State::Accepted
        }
    }
}

/// Why it is not simply accepted: every message once, of the object itself first.
fn reason(said: &[ObjectStatus]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for status in said {
        for condition in &status.conditions {
            let is_known = condition.status == Some(true) && condition.problems.is_empty();
            if is_known || condition.message.is_empty() {
                continue;
            }
            let place = if status.place.is_object() { String::new() } else { format!("{}: ", status.place) };
            let reason = format!("{place}{}", condition.message);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    cut(&reasons.join("; "), LONGEST_REASON)
}

fn per_namespace(said: &[ObjectStatus]) -> Value {
    let state = match State::of(said) {
        State::Pending => "Pending",
        State::Accepted => "Accepted",
        State::Warning => "Warning",
        State::Rejected => "Rejected",
    };
    let reason = reason(said);
    // Null takes away what stood there before.
    json!({"state": state, "reason": (!reason.is_empty()).then_some(reason), "reportedBy": "waykeeper"})
}

fn state(there: &Value, said: &[ObjectStatus], speaker: &Speaker) -> Option<Value> {
    let whole = itself(said)?;
    if is_later(std::slice::from_ref(there), whole.observed_generation) {
        return None;
    }
    if State::of(said) == State::Pending
        && !speaker.has_heard_all
        && there["state"].is_string()
        && there["observedGeneration"].as_i64() == whole.observed_generation
    {
        return None;
    }
    let state = match State::of(said) {
        State::Pending => "PENDING",
        // There is no fourth state: the message says what is to be known.
        State::Accepted | State::Warning => "ACCEPTED",
        State::Rejected => "REJECTED",
    };
    let reason = reason(said);
    Some(json!({
        "state": state,
        "message": (!reason.is_empty()).then_some(reason),
        "observedGeneration": whole.observed_generation,
    }))
}

#[cfg(test)]
mod tests;
