//! `/status` on the admin port: what became of every object, and what is wrong with it.

use std::path::PathBuf;
use std::sync::Arc;

use api::ObjectRef;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use runtime::Readiness;
use serde_json::{Value, json};
use status::ObjectStatus;

use crate::board::{Origins, StatusBoard};
use crate::findings::{Finding, count, findings};

/// The page, as the admin server takes it. `paths` are those that are followed, for the lines of mistakes;
/// none where the objects come from an API server. `add` adds what only this program can say.
pub fn status(
    board: StatusBoard,
    paths: Vec<PathBuf>,
    readiness: Readiness,
    add: impl Fn(&mut Value) + Clone + Send + Sync + 'static,
) -> Router {
    let paths: Arc<[PathBuf]> = paths.into();
    let answer = move || async move {
        let (read, given) = (board.clone(), paths.clone());
        // Files are read for the lines of mistakes.
        let found = tokio::task::spawn_blocking(move || findings(&read, &given)).await;
        // An empty list in its place would say that nothing is wrong.
        let found =
            found.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": error.to_string()}))))?;
        let mut status = shown(&board, &found, &readiness.waiting_for());
        status["notInForce"] = readiness.remarks().into();
        add(&mut status);
        Ok::<_, (StatusCode, Json<Value>)>(Json(status))
    };
    Router::new().route("/status", get(answer))
}

/// What the page shows of `board`.
pub fn shown(board: &StatusBoard, findings: &[Finding], waiting_for: &[String]) -> Value {
    let origins = board.origins();
    let objects: Vec<Value> = board.merged().iter().map(|(object, said)| one(object, said, &origins)).collect();
    let (errors, warnings) = count(findings);
    json!({
        "ready": waiting_for.is_empty(),
        "waitingFor": waiting_for,
        "errors": errors,
        "warnings": warnings,
        "problems": findings,
        "files": board.files(),
        "objects": objects,
    })
}

fn one(object: &ObjectRef, statuses: &[(String, ObjectStatus)], origins: &Origins) -> Value {
    let statuses: Vec<Value> = statuses
        .iter()
        .map(|(author, status)| {
            let mut shown = json!(status);
            shown["author"] = json!(author);
            shown
        })
        .collect();
    let mut value = json!({"apiVersion": object.kind.api_versions()[0], "kind": object.kind,
        "namespace": object.name.namespace, "name": object.name.name, "statuses": statuses});
    if let Some(origin) = origins.get(object) {
        value["file"] = json!(origin.path);
        value["line"] = json!(origin.line);
    }
    value
}
