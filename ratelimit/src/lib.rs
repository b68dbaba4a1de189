//! The rate-limit service: Envoy asks whether there is room for a request, and
//! RateLimitConfigs say how much there is.
//!
//! ```text
//! wire → request → plan → store (the only wait) → decide → wire
//! ```
//!
//! [`plan`](plan::plan) and [`decide`](decide::decide) are pure: the rules, the
//! request, the counts and the time are their arguments. [`config`] turns
//! RateLimitConfigs into the index that `plan` reads; [`store`] counts, in
//! memory or in Redis; [`service`] is the edge where bytes, clocks and errors
//! are.

pub mod algorithm;
pub mod check;
pub mod config;
pub mod debug;
pub mod decide;
pub mod dropin;
pub mod explain;
pub mod limits;
pub mod meters;
pub mod plan;
pub mod quota;
pub mod request;
pub mod server;
pub mod service;
pub mod settings;
pub mod store;
pub mod window;

pub use server::{Server, build};
pub use settings::{Settings, StoreSettings};
