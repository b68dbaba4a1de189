//! What every module of a kind's rules uses.

pub(super) use crate::object::Kind;
pub(super) use crate::problem::Problem;
pub(super) use crate::reach::{Raw, Reach};
