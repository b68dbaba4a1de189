//! The ext_authz service from the outside: manifests in, answers out.
#![allow(clippy::unwrap_used)]

mod access_token;
mod allocations;
mod cases;
mod expiring;
mod grpc;
mod incremental;
mod oidc;
mod pass_through;
mod properties;
mod reload;
mod secrecy;
mod support;
