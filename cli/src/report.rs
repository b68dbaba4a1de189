//! What the commands show of `/status`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use status::{ACCEPTED, Condition, ObjectStatus, PROGRAMMED, Place, RESOLVED_REFS};

use crate::table::table;

/// One line of `waykeeper ps`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// VIP and port.
    pub address: String,
    /// How bytes are read there: `http`, `tcp`, `as it begins`, `refused`, or `-` where they are passed on without a waypoint.
    pub read: String,
    /// `waypoint ns/name`, `direct`, or why it is refused.
    pub via: String,
}

/// The conditions with a column of their own.
const COLUMNS: [&str; 3] = [ACCEPTED, RESOLVED_REFS, PROGRAMMED];

/// A condition in a line, with the place in which `status` states it.
pub fn condition(status: &ObjectStatus, condition: &Condition) -> String {
    let place = if status.place == Place::Object { String::new() } else { format!("{}: ", status.place) };
    let holds = condition.status.map_or("Unknown", |holds| if holds { "True" } else { "False" });
    let message = if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
    format!("{place}{} is {holds} ({}){message}", condition.kind, condition.reason)
}

/// The objects of a `/status` as a table: a line for each, and where its status has several places, a line for each of them.
pub fn objects(status: &Value) -> String {
    let mut problems: BTreeMap<[&str; 3], (usize, usize)> = BTreeMap::new();
    for problem in list(&status["problems"]) {
        let counts = problems.entry(["kind", "namespace", "name"].map(|key| text(&problem[key]))).or_default();
        match text(&problem["severity"]) {
            "error" => counts.0 += 1,
            _ => counts.1 += 1,
        }
    }
    let mut rows = Vec::new();
    for object in list(&status["objects"]) {
        let names = ["kind", "namespace", "name"].map(|key| text(&object[key]));
        let places = places(object);
        let conditions: Vec<&Value> = conditions(list(&object["statuses"])).collect();
        let only = if let [(place, _)] = places.as_slice() { place } else { "" };
        let mut row = names.map(str::to_owned).to_vec();
        row.push(only.to_owned());
        row.extend(cells(&conditions));
        row.push(problems.get(&names).map(|counts| tally(*counts)).unwrap_or_default());
        rows.push(row);
        for (place, conditions) in places.iter().filter(|_| places.len() > 1) {
            let mut row = vec![String::new(), String::new(), String::new(), (*place).to_owned()];
            row.extend(cells(conditions));
            rows.push(row);
        }
    }
    table(&["KIND", "NAMESPACE", "NAME", "AT", "ACCEPTED", "RESOLVED", "PROGRAMMED", "OTHER", "PROBLEMS"], &rows)
}

/// The places of an object's status other than the object itself, each with its conditions.
fn places(object: &Value) -> Vec<(&str, Vec<&Value>)> {
    let mut places: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for status in list(&object["statuses"]) {
        if let Some(place) = status["ancestor"].as_str() {
            places.entry(place).or_default().extend(list(&status["conditions"]));
        }
    }
    places.into_iter().collect()
}

/// What stands in the columns of conditions.
fn cells(conditions: &[&Value]) -> Vec<String> {
    let mut cells: Vec<String> =
        COLUMNS.iter().map(|condition| worst(conditions, condition).unwrap_or("-").to_owned()).collect();
    cells.push(others(conditions));
    cells
}

/// What is wrong, a line each, and how much that is: the end of `waykeeper status`.
pub fn problems(status: &Value) -> String {
    let mut out = String::new();
    for problem in list(&status["problems"]) {
        out.push_str(&line(problem));
        out.push('\n');
    }
    for not_yet in list(&status["notInForce"]) {
        out.push_str(&format!("not in force: {}\n", text(not_yet).replace('\n', " ")));
    }
    for waiting in list(&status["waitingFor"]) {
        out.push_str(&format!("not ready: waiting for {}\n", text(waiting)));
    }
    let (errors, warnings) = counts(status);
    let objects = list(&status["objects"]).len();
    if errors + warnings == 0 && list(&status["notInForce"]).is_empty() {
        out.push_str(&format!("no problems in {}\n", plural(objects, "object")));
    } else {
        let tally = match (errors, warnings) {
            (0, 0) => "no mistakes".to_owned(),
            counts => tally(counts),
        };
        out.push_str(&format!("{tally} in {}\n", plural(objects, "object")));
    }
    out
}

/// How many errors and warnings a `/status` holds.
pub fn counts(status: &Value) -> (usize, usize) {
    let problems = list(&status["problems"]);
    let errors = problems.iter().filter(|problem| problem["severity"] == "error").count();
    (errors, problems.len() - errors)
}

/// A problem as [`Finding`] prints it, from its JSON.
fn line(problem: &Value) -> String {
    let mut parts = vec![text(&problem["severity"]).to_owned()];
    if let Some(file) = problem["file"].as_str() {
        let numbers = [&problem["line"], &problem["column"]].into_iter().map_while(Value::as_u64);
        parts.push(numbers.fold(file.to_owned(), |place, number| format!("{place}:{number}")));
    }
    if let Some(kind) = problem["kind"].as_str() {
        let name = api::Name::new(text(&problem["namespace"]), text(&problem["name"]));
        parts.push(format!("{kind} {name}"));
    }
    parts.extend(problem["field"].as_str().map(str::to_owned));
    parts.push(text(&problem["message"]).to_owned());
    parts.join(": ")
}

fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn tally((errors, warnings): (usize, usize)) -> String {
    let parts = [(errors, "error"), (warnings, "warning")];
    let parts: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(n, what)).collect();
    parts.join(", ")
}

/// The worst status of a condition over all authors and places.
fn worst<'a>(conditions: &[&'a Value], condition: &str) -> Option<&'a str> {
    let statuses = conditions.iter().filter(|c| c["type"] == condition).map(|c| text(&c["status"]));
    statuses.min_by_key(|status| match *status {
        "False" => 0,
        "True" => 2,
        _ => 1,
    })
}

/// Conditions without a column, e.g. `WaypointBound=True`.
fn others(conditions: &[&Value]) -> String {
    let mut seen: Vec<&str> =
        conditions.iter().map(|c| text(&c["type"])).filter(|kind| !COLUMNS.contains(kind)).collect();
    seen.sort_unstable();
    seen.dedup();
    let shown: Vec<String> =
        seen.iter().map(|kind| format!("{kind}={}", worst(conditions, kind).unwrap_or("-"))).collect();
    shown.join(",")
}

fn conditions(statuses: &[Value]) -> impl Iterator<Item = &Value> {
    statuses.iter().flat_map(|status| list(&status["conditions"]))
}

/// The services of a `/status` as a table.
pub fn services(status: &Value) -> String {
    let rows: Vec<Vec<String>> = list(&status["services"])
        .iter()
        .map(|s| ["namespace", "name", "address", "read", "via"].map(|key| text(&s[key]).to_owned()).to_vec())
        .collect();
    table(&["NAMESPACE", "SERVICE", "ADDRESS", "READ", "VIA"], &rows)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use api::{Kind, ObjectRef, Problem};
    use provider::StatusBoard;
    use provider::page::shown;
    use serde_json::json;
    use status::{Condition, ObjectStatus, Parent, Place, Report};

    use super::*;

    #[test]
    fn a_policy_is_shown_behind_each_ancestor_and_in_all() {
        let board = StatusBoard::new();
        let at = |name: &str, condition| {
            let parent = Parent::whole(ObjectRef::new(Kind::Service, "x", name), "c");
            ObjectStatus::at(Place::Ancestor(parent), vec![condition])
        };
        let (yes, no) = (Condition::holds(ACCEPTED, "Accepted", ""), Condition::fails(ACCEPTED, "Conflicted", "no"));
        let said = vec![ObjectStatus::new(vec![no.clone()]), at("a", yes.clone()), at("b", no)];
        let one = vec![ObjectStatus::new(vec![yes.clone()]), at("a", yes)];
        let policy = |name: &str| ObjectRef::new(Kind::RouteOption, "x", name);
        board.publish("waypoint", Report::from([(policy("one"), one), (policy("two"), said)]));
        let table = objects(&shown(&board, &[], &[]));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().skip(1).map(words).collect();
        assert_eq!(
            lines,
            [
                "RouteOption x one Service x/a True - -",
                "RouteOption x two False - -",
                "Service x/a True - -",
                "Service x/b False - -",
            ]
        );
    }

    #[test]
    fn every_condition_is_shown_the_worst_counts_and_problems_are_listed_with_their_place() {
        let board = StatusBoard::new();
        let said =
            |kind, name: &str, conditions| (ObjectRef::new(kind, "x", name), vec![ObjectStatus::new(conditions)]);
        board.publish(
            "provider",
            Report::from([
                said(Kind::HttpRoute, "r", vec![Condition::holds(ACCEPTED, "Accepted", "")]),
                said(Kind::Service, "s", vec![Condition::holds("WaypointBound", "WaypointAccepted", "")]),
            ]),
        );
        let gone = Problem::error("spec.parentRefs[0]", "no such Service");
        let refused = Condition::fails(ACCEPTED, "NoMatchingParent", "…").with(vec![gone]);
        board.publish("waypoint", Report::from([said(Kind::HttpRoute, "r", vec![refused])]));
        let findings = provider::findings::findings(&board, &[]);
        let mut status = shown(&board, &findings, &["envoy".to_owned()]);
        status["notInForce"] = json!(["the Envoy of Gateway x/w refused a rule:\nno"]);
        let (table, problems) = (objects(&status), problems(&status));
        let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
        assert!(row("HTTPRoute").contains("False") && row("HTTPRoute").ends_with("1 error"), "{table}");
        assert!(row("Service").contains("WaypointBound=True"), "{table}");
        assert_eq!(problems.lines().next(), Some(findings[0].to_string().as_str()));
        assert!(problems.ends_with(
            "not in force: the Envoy of Gateway x/w refused a rule: no\nnot ready: waiting for envoy\n1 error in 2 objects\n"
        ), "{problems}");
        assert_eq!(counts(&status), (1, 0));
    }
}
