//! The rate-limit service: Envoy asks whether there is room for a request, and
//! RateLimitConfigs say how much there is.
//!
//! ```text
//! wire → request → plan → store (the only wait) → decide → wire
//! ```
//!
//! Each part is a crate of its own, so that who may use whom is held by the compiler:
//!
//! - [`limit`]: what is counted, in the words that rules and stores share. Values and arithmetic.
//! - [`rules`]: RateLimitConfigs compiled to an index, the [`plan`](rules::plan::plan) of a request,
//!   the [decision](rules::decide::decide), explanations. Pure: the rules, the request, the counts and the
//!   time are arguments.
//! - [`store`]: hits added up, in memory or in Redis.
//! - [`server`]: the edge, where bytes, clocks, metrics and errors are.
//! - [`dropin`]: the same in place of envoyproxy/ratelimit: its files, environment, ports and answers.
//!
//! Here is only what needs all of them: the command, and [`check`].

pub mod check;

pub use {dropin, limit, rules, server, store};
