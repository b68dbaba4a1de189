//! The ext_authz service from the outside: manifests in, answers out.
#![allow(clippy::unwrap_used)]

mod allocations;
mod cases;
mod grpc;
mod incremental;
mod properties;
mod reload;
mod secrecy;
mod support;
