//! Kubernetes' own kinds, re-exported once.

pub use k8s_openapi::api::apps::v1::Deployment;
pub use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount, ServicePort, ServiceSpec};
pub use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Label on a Service or Namespace naming the Gateway that serves as its waypoint; `none` opts out.
pub const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// Label naming the namespace of that Gateway where it is not the object's own.
pub const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
/// Label of an EndpointSlice naming the Service it belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
