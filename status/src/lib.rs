//! What became of each object: who says what about it, and in which place of its status.
//!
//! Every author (the provider, each server, the control plane) keeps one [`Report`].
//! A place ([`Place`]) is where a Kubernetes status has room for conditions: the object
//! itself, a listener of a Gateway, a parent of a route, an ancestor of a policy. [`diff`]
//! finds what has changed between two reports. The [`Board`] puts the reports of all authors
//! together and answers each change with what stands about the objects that it changes, which
//! is what a [`Writer`] takes: it touches no other objects.
//!
//! Pure: it knows no files, no network, no clock.

pub mod board;
pub mod combine;
pub mod condition;
pub mod diff;
pub mod place;
pub mod report;
pub mod writer;

pub use board::Board;
pub use condition::{ACCEPTED, Condition, OTHER_CONTROLLER, PROGRAMMED, RESOLVED_REFS};
pub use diff::{Diff, diff};
pub use place::{Parent, Place};
pub use report::{Address, ObjectStatus, Report};
pub use writer::{Outbox, Writer};
