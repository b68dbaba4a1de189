//! `/status` on the admin port.

use std::path::PathBuf;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use provider::StatusBoard;
use runtime::Readiness;

use crate::report;
use crate::services::Services;

/// The route, as the admin server takes it.
pub fn router(board: StatusBoard, paths: Vec<PathBuf>, services: Services, readiness: Readiness) -> Router {
    let paths: Arc<[PathBuf]> = paths.into();
    let answer = move || async move {
        let (read, given) = (board.clone(), paths.clone());
        // Files are read for the lines of mistakes.
        let findings = tokio::task::spawn_blocking(move || provider::findings::findings(&read, &given)).await;
        let findings = findings.unwrap_or_default();
        let mut status = report::status(&board, &findings, &services.rows(), &readiness.waiting_for());
        status["notInForce"] = readiness.remarks().into();
        Json(status)
    };
    Router::new().route("/status", get(answer))
}
