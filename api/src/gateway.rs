//! Gateway API kinds, re-exported once, and what they have in common.
//!
//! The experimental channel is a superset of the standard one, so that a field
//! of it is known and can be reported rather than silently dropped.

use serde::{Serialize, de::DeserializeOwned};

pub use gateway_api::experimental::gatewayclasses::GatewayClass;
pub use gateway_api::experimental::gateways;
pub use gateway_api::experimental::gateways::Gateway;
pub use gateway_api::experimental::grpcroutes;
pub use gateway_api::experimental::grpcroutes::GrpcRoute;
pub use gateway_api::experimental::httproutes;
pub use gateway_api::experimental::httproutes::HttpRoute;
pub use gateway_api::experimental::referencegrants::ReferenceGrant;

/// `written`, part of a route, in the type that another kind of routes has for the same fields.
///
/// # Errors
/// When that type has no such fields.
pub fn alike<T: DeserializeOwned>(written: &impl Serialize) -> Result<T, String> {
    serde_json::to_value(written).and_then(serde_json::from_value).map_err(|why| why.to_string())
}

/// The expression for the paths of requests of gRPC whose service and method are like these expressions; one that is not
/// given is any. Each has been read as an expression by itself.
pub fn call_paths(service: Option<&str>, method: Option<&str>) -> String {
    let part = |like: Option<&str>| like.map_or_else(|| "[^/]+".to_owned(), |like| format!("(?:{like})"));
    format!("/{}/{}", part(service), part(method))
}
