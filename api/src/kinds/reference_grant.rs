//! ReferenceGrant: lets objects of other namespaces refer to something; without it they may not.

pub use super::plain::reach;
pub use crate::admit::gateway::validate_grant as validate;
