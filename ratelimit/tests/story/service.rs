//! The service over gRPC, as Envoy sees it.
