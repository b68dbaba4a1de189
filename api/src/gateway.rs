//! Gateway API kinds, re-exported once.
//!
//! The experimental channel is a superset of the standard one, so that a field
//! of it is known and can be reported rather than silently dropped.

pub use gateway_api::experimental::gatewayclasses::GatewayClass;
pub use gateway_api::experimental::gateways;
pub use gateway_api::experimental::gateways::Gateway;
pub use gateway_api::experimental::httproutes;
pub use gateway_api::experimental::httproutes::HttpRoute;
pub use gateway_api::experimental::referencegrants::ReferenceGrant;
