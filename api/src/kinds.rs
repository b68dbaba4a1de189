//! The table of kinds: all that Waykeeper knows of a kind stands in its row or in the module the row names.
//!
//! [`kinds!`] hands the rows to a macro of whoever needs them: [`crate::object`] makes the types of
//! them, [`crate::snapshot`] the tables, [`crate::admit`] decoding and rules. A row says
//!
//! - under which `apiVersion`s the kind is read, the preferred one first,
//! - whether its objects live in a namespace,
//! - in which table of a [`crate::Snapshot`] they are,
//! - how a manifest is decoded, which is what becomes of fields that the kind does not have,
//! - the module of its rules: `validate`, what is wrong with an object taken by itself (and defaults),
//!   and `reach`, what an object that was never valid would have governed.

pub(crate) mod auth_config;
mod documented;
pub(crate) mod endpoint_slice;
pub(crate) mod gateway;
pub(crate) mod gateway_class;
pub(crate) mod http_route;
pub(crate) mod namespace;
pub(crate) mod plain;
mod prelude;
pub(crate) mod rate_limit_config;
pub(crate) mod reference_grant;
pub(crate) mod route_option;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod waypoint_labels;

/// Hands the table to the macro `$with`.
macro_rules! kinds {
    ($with:ident) => {
        $with! {
            /// Namespaces, by a [`Name`] with empty namespace.
            Namespace {
                type: crate::core::Namespace, kind: "Namespace", plural: "namespaces",
                versions: ["v1"], namespaced: false,
                table: namespaces, decode: crate::decode::warning, rules: namespace,
            }
            /// Services, each with at least one entry in `spec.clusterIPs` unless headless.
            Service {
                type: crate::core::Service, kind: "Service", plural: "services",
                versions: ["v1"], namespaced: true,
                table: services, decode: crate::decode::warning, rules: service,
            }
            /// Endpoints of Services.
            EndpointSlice {
                type: crate::core::EndpointSlice, kind: "EndpointSlice", plural: "endpointslices",
                versions: ["discovery.k8s.io/v1"], namespaced: true,
                table: endpoint_slices, decode: crate::decode::warning, rules: endpoint_slice,
            }
            /// Pods; `status.podIP` ties a source address to an identity.
            Pod {
                type: crate::core::Pod, kind: "Pod", plural: "pods",
                versions: ["v1"], namespaced: true,
                table: pods, decode: crate::decode::warning, rules: plain,
            }
            /// Service accounts.
            ServiceAccount {
                type: crate::core::ServiceAccount, kind: "ServiceAccount", plural: "serviceaccounts",
                versions: ["v1"], namespaced: true,
                table: service_accounts, decode: crate::decode::warning, rules: plain,
            }
            /// Deployments; read so that manifests may hold them, nothing is started from them.
            Deployment {
                type: crate::core::Deployment, kind: "Deployment", plural: "deployments",
                versions: ["apps/v1"], namespaced: true,
                table: deployments, decode: crate::decode::warning, rules: plain,
            }
            /// Config maps.
            ConfigMap {
                type: crate::core::ConfigMap, kind: "ConfigMap", plural: "configmaps",
                versions: ["v1"], namespaced: true,
                table: config_maps, decode: crate::decode::warning, rules: plain,
            }
            /// Secrets.
            Secret {
                type: crate::secret::Secret, kind: "Secret", plural: "secrets",
                versions: ["v1"], namespaced: true,
                table: secrets, decode: crate::kinds::secret::decode, rules: secret,
            }
            /// Gateway classes, by a [`Name`] with empty namespace.
            GatewayClass {
                type: crate::gateway::GatewayClass, kind: "GatewayClass", plural: "gatewayclasses",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: false,
                table: gateway_classes, decode: crate::decode::rejecting, rules: gateway_class,
            }
            /// Gateways.
            Gateway {
                type: crate::gateway::Gateway, kind: "Gateway", plural: "gateways",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: true,
                table: gateways, decode: crate::decode::rejecting, rules: gateway,
            }
            /// HTTP routes.
            HttpRoute {
                type: crate::gateway::HttpRoute, kind: "HTTPRoute", plural: "httproutes",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: true,
                table: http_routes, decode: crate::decode::rejecting, rules: http_route,
            }
            /// Reference grants.
            ReferenceGrant {
                type: crate::gateway::ReferenceGrant, kind: "ReferenceGrant", plural: "referencegrants",
                versions: ["gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1"], namespaced: true,
                table: reference_grants, decode: crate::decode::rejecting, rules: reference_grant,
            }
            /// Gloo route options.
            RouteOption {
                type: crate::gloo::RouteOption, kind: "RouteOption", plural: "routeoptions",
                versions: ["gateway.solo.io/v1"], namespaced: true,
                table: route_options, decode: crate::decode::rejecting, rules: route_option,
            }
            /// Gloo auth configs.
            AuthConfig {
                type: crate::gloo::AuthConfig, kind: "AuthConfig", plural: "authconfigs",
                versions: ["enterprise.gloo.solo.io/v1", "extauth.solo.io/v1"], namespaced: true,
                table: auth_configs, decode: crate::decode::rejecting, rules: auth_config,
            }
            /// Gloo rate-limit configs.
            RateLimitConfig {
                type: crate::gloo::RateLimitConfig, kind: "RateLimitConfig", plural: "ratelimitconfigs",
                versions: ["ratelimit.solo.io/v1alpha1"], namespaced: true,
                table: rate_limit_configs, decode: crate::decode::warning, rules: rate_limit_config,
            }
        }
    };
}

pub(crate) use kinds;
