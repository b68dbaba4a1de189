//! The table of kinds: all that Waykeeper knows of a kind stands in its row or in the module the row names.
//!
//! [`kinds!`] hands the rows to a macro of whoever needs them: [`crate::object`] makes the types of
//! them, [`crate::snapshot`] the tables, [`crate::admit`] decoding and rules. A row says
//!
//! - under which `apiVersion`s the kind is read, the preferred one first,
//! - whether its objects live in a namespace,
//! - in which table of a [`crate::Snapshot`] they are,
//! - the module of its [`crate::rules`],
//! - what its objects [govern](crate::Governs) by themselves,
//! - which [servers](crate::Reader) read it from an API server.
//!
//! A kind that has no row and may hold policies stands in [`NOT_YET`].

mod documented;

/// Hands the table to the macro `$with`.
macro_rules! kinds {
    ($with:ident) => {
        $with! {
            /// Namespaces, by a [`Name`] with empty namespace.
            Namespace {
                type: crate::core::Namespace, kind: "Namespace", plural: "namespaces",
                versions: ["v1"], namespaced: false,
                table: namespaces, rules: namespace, governs: Named,
                read_by: [ControlPlane],
                told: Nowhere,
            }
            /// Services, each with at least one entry in `spec.clusterIPs` unless headless.
            Service {
                type: crate::core::Service, kind: "Service", plural: "services",
                versions: ["v1"], namespaced: true,
                table: services, rules: service, governs: Named,
                read_by: [ControlPlane],
                told: Nowhere,
            }
            /// Endpoints of Services.
            EndpointSlice {
                type: crate::core::EndpointSlice, kind: "EndpointSlice", plural: "endpointslices",
                versions: ["discovery.k8s.io/v1"], namespaced: true,
                table: endpoint_slices, rules: endpoint_slice, governs: Named,
                read_by: [ControlPlane],
                told: Nowhere,
            }
            /// Pods; `status.podIP` ties a source address to an identity.
            Pod {
                type: crate::core::Pod, kind: "Pod", plural: "pods",
                versions: ["v1"], namespaced: true,
                table: pods, rules: plain, governs: Named,
                read_by: [],
                told: Nowhere,
            }
            /// Service accounts.
            ServiceAccount {
                type: crate::core::ServiceAccount, kind: "ServiceAccount", plural: "serviceaccounts",
                versions: ["v1"], namespaced: true,
                table: service_accounts, rules: plain, governs: Named,
                read_by: [],
                told: Nowhere,
            }
            /// Deployments; read so that manifests may hold them, nothing is started from them.
            Deployment {
                type: crate::core::Deployment, kind: "Deployment", plural: "deployments",
                versions: ["apps/v1"], namespaced: true,
                table: deployments, rules: plain, governs: Named,
                read_by: [],
                told: Nowhere,
            }
            /// Config maps.
            ConfigMap {
                type: crate::core::ConfigMap, kind: "ConfigMap", plural: "configmaps",
                versions: ["v1"], namespaced: true,
                table: config_maps, rules: plain, governs: Named,
                read_by: [],
                told: Nowhere,
            }
            /// Secrets.
            Secret {
                type: crate::secret::Secret, kind: "Secret", plural: "secrets",
                versions: ["v1"], namespaced: true,
                table: secrets, rules: secret, governs: Named,
                read_by: [Authorization],
                told: Nowhere,
            }
            /// Gateway classes, by a [`Name`] with empty namespace.
            GatewayClass {
                type: crate::gateway::GatewayClass, kind: "GatewayClass", plural: "gatewayclasses",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: false,
                table: gateway_classes, rules: gateway_class, governs: Named,
                read_by: [ControlPlane],
                told: Nowhere,
            }
            /// Gateways.
            Gateway {
                type: crate::gateway::Gateway, kind: "Gateway", plural: "gateways",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: true,
                table: gateways, rules: gateway, governs: Named,
                read_by: [ControlPlane],
                told: Gateway by ControlPlane,
            }
            /// HTTP routes.
            HttpRoute {
                type: crate::gateway::HttpRoute, kind: "HTTPRoute", plural: "httproutes",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: true,
                table: http_routes, rules: http_route, governs: Parents,
                read_by: [ControlPlane],
                told: Route by ControlPlane,
            }
            /// gRPC routes.
            GrpcRoute {
                type: crate::gateway::GrpcRoute, kind: "GRPCRoute", plural: "grpcroutes",
                versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"], namespaced: true,
                table: grpc_routes, rules: grpc_route, governs: Parents,
                read_by: [ControlPlane],
                told: Route by ControlPlane,
            }
            /// Reference grants.
            ReferenceGrant {
                type: crate::gateway::ReferenceGrant, kind: "ReferenceGrant", plural: "referencegrants",
                versions: ["gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1"], namespaced: true,
                table: reference_grants, rules: reference_grant, governs: Named,
                read_by: [ControlPlane],
                told: Nowhere,
            }
            /// Gloo route options.
            RouteOption {
                type: crate::gloo::RouteOption, kind: "RouteOption", plural: "routeoptions",
                versions: ["gateway.solo.io/v1"], namespaced: true,
                table: route_options, rules: route_option, governs: Targets,
                read_by: [RateLimits, ControlPlane],
                told: PerNamespace by ControlPlane,
            }
            /// Gloo auth configs.
            AuthConfig {
                type: crate::gloo::AuthConfig, kind: "AuthConfig", plural: "authconfigs",
                versions: ["enterprise.gloo.solo.io/v1", "extauth.solo.io/v1"], namespaced: true,
                table: auth_configs, rules: auth_config, governs: Named,
                read_by: [Authorization, ControlPlane],
                told: PerNamespace by Authorization,
            }
            /// Gloo rate-limit configs.
            RateLimitConfig {
                type: crate::gloo::RateLimitConfig, kind: "RateLimitConfig", plural: "ratelimitconfigs",
                versions: ["ratelimit.solo.io/v1alpha1"], namespaced: true,
                table: rate_limit_configs, rules: rate_limit_config, governs: Named,
                read_by: [RateLimits, ControlPlane],
                told: State by RateLimits,
            }
            /// Istio's authorization policies.
            AuthorizationPolicy {
                type: crate::istio::AuthorizationPolicy, kind: "AuthorizationPolicy", plural: "authorizationpolicies",
                versions: ["security.istio.io/v1", "security.istio.io/v1beta1"], namespaced: true,
                table: authorization_policies, rules: authorization_policy, governs: Callers,
                read_by: [ControlPlane],
                told: Conditions by ControlPlane,
            }
            /// Istio's request authentications.
            RequestAuthentication {
                type: crate::istio::RequestAuthentication, kind: "RequestAuthentication",
                plural: "requestauthentications",
                versions: ["security.istio.io/v1", "security.istio.io/v1beta1"], namespaced: true,
                table: request_authentications, rules: request_authentication, governs: Callers,
                read_by: [ControlPlane],
                told: Conditions by ControlPlane,
            }
        }
    };
}

pub(crate) use kinds;

/// A kind that is not served yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    /// Its API group.
    pub group: &'static str,
    /// The name in a manifest's `kind`.
    pub kind: &'static str,
    /// As it stands in paths of the API server.
    pub plural: &'static str,
    /// The versions under which it may be found, the preferred one first.
    pub versions: &'static [&'static str],
}

impl Unserved {
    /// Every kind that is not served yet.
    pub fn all() -> &'static [Unserved] {
        &NOT_YET
    }
}

/// Kinds of groups of ours, or of groups that are to be, that are not served yet. They may hold policies, or be
/// what policies are attached to: whoever wrote one believes that something is closed.
pub(crate) const NOT_YET: [Unserved; 11] = {
    const GATEWAY_API: &[&str] = &["v1", "v1beta1", "v1alpha3", "v1alpha2"];
    const fn kind(
        group: &'static str,
        kind: &'static str,
        plural: &'static str,
        versions: &'static [&'static str],
    ) -> Unserved {
        Unserved { group, kind, plural, versions }
    }
    [
        kind("gateway.networking.k8s.io", "BackendTLSPolicy", "backendtlspolicies", GATEWAY_API),
        kind("gateway.networking.k8s.io", "ListenerSet", "listenersets", GATEWAY_API),
        kind("gateway.networking.k8s.io", "TCPRoute", "tcproutes", GATEWAY_API),
        kind("gateway.networking.k8s.io", "TLSRoute", "tlsroutes", GATEWAY_API),
        kind("gateway.networking.k8s.io", "UDPRoute", "udproutes", GATEWAY_API),
        kind("gateway.solo.io", "Gateway", "gateways", &["v1"]),
        kind("gateway.solo.io", "HttpListenerOption", "httplisteneroptions", &["v1"]),
        kind("gateway.solo.io", "ListenerOption", "listeneroptions", &["v1"]),
        kind("gateway.solo.io", "RouteTable", "routetables", &["v1"]),
        kind("gateway.solo.io", "VirtualHostOption", "virtualhostoptions", &["v1"]),
        kind("gateway.solo.io", "VirtualService", "virtualservices", &["v1"]),
    ]
};
