//! GatewayClass: says whose the Gateways are that name it.

pub use super::plain::reach;
pub use crate::admit::gateway::validate_class as validate;
