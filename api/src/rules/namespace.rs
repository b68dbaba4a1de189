//! Namespace: its label decides by which waypoint the Services in it are served.

use super::prelude::*;
use super::waypoint_labels;
use crate::core::Namespace;
pub(crate) use crate::decode::warning as decode;

pub fn validate(namespace: &mut Namespace) -> Vec<Problem> {
    waypoint_labels::validate(&namespace.metadata)
}

pub fn reach(raw: &Raw<'_>) -> Reach {
    waypoint_labels::reach::<Namespace>(raw, &raw.name.name)
}
