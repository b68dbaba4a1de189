//! The ext_authz service: Envoy asks whether a request may pass, AuthConfigs decide.
//!
//! ```text
//! Snapshot ─▶ compile (select, api_key, chain) ─▶ Index ─▶ report ─▶ StatusBoard
//!                                                   │ one load per request
//! CheckRequest ─▶ request ─▶ chain ─▶ outcome ─▶ answer ─▶ CheckResponse
//! ```
//! Whatever goes wrong, Envoy gets an explicit denied response and never a
//! gRPC error: a filter with `failure_mode_allow` lets errors pass.

pub mod answer;
pub mod api_key;
pub mod chain;
pub mod compile;
pub mod fingerprint;
pub mod headers;
pub mod meters;
pub mod report;
pub mod request;
pub mod sealed;
pub mod select;
pub mod serve;
pub mod service;
pub mod settings;
pub mod validate;

pub use compile::{Compiler, Index};
pub use serve::serve;
pub use service::Authority;
pub use settings::Settings;

/// The name under which this server writes to the status board.
pub const AUTHOR: &str = "extauth";
