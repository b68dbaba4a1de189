//! Decides: which Gateways are ours, which Services they serve, what each route does.
//!
//! A [`Resolver`] takes snapshot after snapshot. Each decision sees the world through a
//! [`view::View`] that notes what was asked, and is made anew only when that has changed.

mod access;
mod applications;
mod backends;
mod changes;
mod claims;
mod counts;
mod decided;
mod declared;
mod describe;
mod doubtful;
mod enrolment;
mod few;
mod gateways;
mod gloo;
mod guards;
mod lists;
mod options;
mod ours;
mod owned;
mod parents;
mod precedence;
mod proxies;
mod readers;
mod refusals;
mod resolver;
mod routes;
mod services;
mod set_aside;
mod shadowed;
pub mod status;
mod tokens;
mod units;
mod view;

use std::collections::BTreeMap;

use ::status::ObjectStatus;
use api::{Name, ObjectRef, Snapshot, Table};
use ir::{Enrolment, Proxy, Settings};

pub use resolver::Resolver;

/// The outcome of resolving a snapshot. Copies of its tables share what they have in common.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Each accepted Gateway.
    pub proxies: BTreeMap<Name, Proxy>,
    /// Which waypoint serves each Service.
    pub services: Table<Enrolment>,
    /// What became of each object.
    pub report: Table<Vec<ObjectStatus>, ObjectRef>,
}

/// Resolves `snapshot` by itself.
pub fn resolve(snapshot: &Snapshot, settings: &Settings) -> Resolved {
    Resolver::new(settings.clone()).resolve(snapshot)
}
