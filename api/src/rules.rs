//! The rules of each kind, in a module that its row in [`crate::kinds`] names. It has
//!
//! - `decode`: how a manifest is decoded, which is what becomes of fields that the kind does not have,
//! - `validate`: what is wrong with an object taken by itself; fills in defaults,
//! - `reach`: what an object that was never valid would have governed.

pub mod auth_config;
pub mod authorization_policy;
mod callers;
pub mod endpoint_slice;
pub mod gateway;
pub mod gateway_class;
pub mod grpc_route;
pub mod http_route;
mod names;
pub mod namespace;
pub mod plain;
mod prelude;
pub mod rate_limit_config;
pub mod reference_grant;
pub mod request_authentication;
pub mod route_option;
pub mod secret;
pub mod service;
mod waypoint_labels;
