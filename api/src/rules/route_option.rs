//! RouteOption: governs the routes in its `targetRefs`, and those that name it in an `ExtensionRef`.

use super::prelude::*;
pub(crate) use crate::decode::rejecting as decode;
use crate::gloo::RouteOption;
pub use crate::gloo::route_option::validate;

/// A Service or a Gateway cannot be a target. Named as one, it is what the author wants governed.
pub fn reach(raw: &Raw<'_>) -> Reach {
    match raw.references::<RouteOption>("targetRefs", &[Kind::HttpRoute, Kind::Service, Kind::Gateway], None) {
        // Only routes of its own namespace are governed, whatever namespace is written.
        Reach::Known(mut targets) => {
            for target in &mut targets {
                target.name.namespace.clone_from(&raw.name.namespace);
            }
            Reach::Known(targets)
        }
        Reach::Unknown => Reach::Unknown,
    }
}
