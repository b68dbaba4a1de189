//! `/status` on the admin port.

use axum::routing::get;
use axum::{Json, Router};
use provider::StatusBoard;
use runtime::Readiness;

use crate::report;
use crate::services::Services;

/// The route, as the admin server takes it.
pub fn router(board: StatusBoard, services: Services, readiness: Readiness) -> Router {
    let answer = move || async move { Json(report::status(&board, &services.rows(), &readiness.waiting_for())) };
    Router::new().route("/status", get(answer))
}
