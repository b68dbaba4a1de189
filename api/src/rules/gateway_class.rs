//! GatewayClass: says whose the Gateways are that name it.

pub use super::gateway::schema::validate_class as validate;
pub use super::plain::reach;
pub(crate) use crate::decode::rejecting as decode;
