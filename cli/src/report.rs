//! `/status` and the commands that read it.

use api::ObjectRef;
use provider::StatusBoard;
use serde::Serialize;
use serde_json::{Value, json};
use status::{ACCEPTED, ObjectStatus, PROGRAMMED, RESOLVED_REFS};

use crate::client::table;

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
    /// `waypoint ns/name`, `direct`, or why it is refused.
    pub via: String,
}

/// What `/status` answers.
pub fn status(board: &StatusBoard, services: &[ServiceRow], waiting_for: &[String]) -> Value {
    let objects: Vec<Value> = board.merged().iter().map(|(object, statuses)| one(object, statuses)).collect();
    json!({
        "ready": waiting_for.is_empty(),
        "waitingFor": waiting_for,
        "files": board.files(),
        "services": services,
        "objects": objects,
    })
}

fn one(object: &ObjectRef, statuses: &[(String, ObjectStatus)]) -> Value {
    let statuses: Vec<Value> = statuses
        .iter()
        .map(|(author, status)| json!({"author": author, "ancestor": status.place, "conditions": status.conditions}))
        .collect();
    json!({"kind": object.kind, "namespace": object.name.namespace, "name": object.name.name, "statuses": statuses})
}

/// The objects of a `/status` as a table, and whether all is well.
pub fn objects(status: &Value, only: Option<&str>) -> (String, bool) {
    let mut rows = Vec::new();
    let mut well = true;
    for object in status["objects"].as_array().into_iter().flatten() {
        let kind = text(&object["kind"]);
        if only.is_some_and(|only| only != kind) {
            continue;
        }
        let accepted = summary(object, ACCEPTED);
        let refs = summary(object, RESOLVED_REFS);
        let programmed = summary(object, PROGRAMMED);
        well &= [&accepted, &refs, &programmed].iter().all(|s| s.0 != "False");
        let notes: Vec<String> = [accepted.1, refs.1, programmed.1].into_iter().flatten().collect();
        rows.push(vec![
            kind,
            text(&object["namespace"]),
            text(&object["name"]),
            accepted.0,
            refs.0,
            programmed.0,
            notes.join("; "),
        ]);
    }
    let mut out = table(&["KIND", "NAMESPACE", "NAME", "ACCEPTED", "RESOLVED", "PROGRAMMED", "WHAT TO KNOW"], &rows);
    for file in status["files"].as_array().into_iter().flatten() {
        for problem in file["problems"].as_array().into_iter().flatten() {
            well = false;
            let at = [&problem["line"], &problem["column"]]
                .iter()
                .filter_map(|n| n.as_u64())
                .fold(text(&file["path"]), |path, number| format!("{path}:{number}"));
            out.push_str(&format!("{at}: {}\n", text(&problem["message"])));
        }
    }
    (out, well)
}

/// Whether an object of a `/status` was not accepted, or refers to what is not there.
pub fn is_refused(object: &Value) -> bool {
    [ACCEPTED, RESOLVED_REFS].iter().any(|condition| summary(object, condition).0 == "False")
}

/// The worst status of a condition over all authors and ancestors, and what was said beside it.
fn summary(object: &Value, condition: &str) -> (String, Vec<String>) {
    let mut worst = "-";
    let mut notes = Vec::new();
    for status in object["statuses"].as_array().into_iter().flatten() {
        for c in status["conditions"].as_array().into_iter().flatten().filter(|c| c["type"] == condition) {
            let this = c["status"].as_str().unwrap_or("Unknown");
            worst = match (worst, this) {
                ("False", _) | (_, "False") => "False",
                ("Unknown", _) | (_, "Unknown") => "Unknown",
                _ => "True",
            };
            let message = text(&c["message"]);
            if !message.is_empty() && (this != "True" || c["problems"].is_array()) && !notes.contains(&message) {
                notes.push(message);
            }
        }
    }
    (worst.to_owned(), notes)
}

/// The services of a `/status` as a table.
pub fn services(status: &Value) -> String {
    let rows: Vec<Vec<String>> = status["services"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| ["namespace", "name", "address", "via"].map(|key| text(&s[key])).to_vec())
        .collect();
    table(&["NAMESPACE", "SERVICE", "ADDRESS", "VIA"], &rows)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_condition_counts_and_its_message_is_shown() {
        let status = json!({"objects": [{"kind": "HTTPRoute", "namespace": "x", "name": "r", "statuses": [
            {"author": "provider", "conditions": [{"type": "Accepted", "status": "True", "message": ""}]},
            {"author": "waypoint", "conditions": [{"type": "Accepted", "status": "False", "message": "no such Service"}]},
        ]}], "files": [{"path": "a.yaml", "problems": [{"line": 3, "column": 1, "message": "not YAML"}]}]});
        let (text, well) = objects(&status, None);
        assert!(!well);
        assert!(text.contains("False") && text.contains("no such Service"), "{text}");
        assert!(text.contains("a.yaml:3:1: not YAML"), "{text}");
        assert_eq!(objects(&status, Some("Gateway")).0.lines().count(), 2);
    }
}
