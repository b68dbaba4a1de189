//! The ext_authz service: Envoy asks whether a request may pass, AuthConfigs decide.
//!
//! ```text
//! Snapshot ─▶ compile (select, methods) ─▶ Index ─▶ report ─▶ StatusBoard
//!                                            │ one load per request
//! CheckRequest ─▶ request ─▶ chain (steps) ─▶ decision ─▶ answer ─▶ CheckResponse
//! ```
//! Whatever goes wrong, Envoy gets an explicit denied response and never a
//! gRPC error: a filter with `failure_mode_allow` lets errors pass.

pub mod answer;
pub mod chain;
pub mod compile;
mod edit;
pub mod headers;
pub mod meters;
pub mod methods;
mod no_chain;
mod patience;
pub mod report;
pub mod request;
mod sealed;
pub mod select;
pub mod serve;
pub mod service;
pub mod settings;
pub mod state;
pub mod step;
pub mod validate;

pub use compile::{Compilation, Compiler, Index};
pub use serve::{Front, build};
pub use service::Authority;
pub use settings::Settings;

/// The name under which this server writes to the status board.
pub const AUTHOR: &str = "extauth";
