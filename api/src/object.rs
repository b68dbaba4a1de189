//! What an object is called and which kinds there are.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::core::{ConfigMap, Deployment, EndpointSlice, Namespace, Pod, Service, ServiceAccount};
use crate::gateway::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use crate::gloo::{AuthConfig, RateLimitConfig, RouteOption};
use crate::secret::Secret;

/// Namespace and name of an object; the namespace is empty for cluster-wide kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// Namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// Name within the namespace.
    pub name: String,
}

impl Name {
    /// Namespace and name, in that order.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Kind, namespace and name: what identifies an object across the system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// What sort of object it is.
    pub kind: Kind,
    /// Where it is and what it is called.
    #[serde(flatten)]
    pub name: Name,
}

impl ObjectRef {
    /// Kind, namespace and name, in that order.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, name: Name::new(namespace, name) }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// Declares [`Kind`], [`Object`] and what is constant about each kind, once.
macro_rules! kinds {
    ($($variant:ident { type: $ty:ty, kind: $kind:literal, plural: $plural:literal, versions: [$($version:literal),+], namespaced: $namespaced:literal },)+) => {
        /// The kinds Waykeeper reads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Kind {
            $(#[doc = concat!("`", $kind, "`, ", $plural)] #[serde(rename = $kind)] $variant,)+
        }

        impl Kind {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// The name in a manifest's `kind`.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $kind,)+ }
            }

            /// The plural, lower-case resource name as kubectl takes it.
            pub fn plural(self) -> &'static str {
                match self { $(Kind::$variant => $plural,)+ }
            }

            /// The `apiVersion`s under which this kind is read, the preferred one first.
            pub fn api_versions(self) -> &'static [&'static str] {
                match self { $(Kind::$variant => &[$($version),+],)+ }
            }

            /// Whether objects of this kind live in a namespace.
            pub fn namespaced(self) -> bool {
                match self { $(Kind::$variant => $namespaced,)+ }
            }
        }

        /// An admitted object of any kind.
        #[derive(Debug, Clone)]
        pub enum Object {
            $(#[doc = concat!("A ", $kind)] $variant(Arc<$ty>),)+
        }

        impl Object {
            /// The kind of this object.
            pub fn kind(&self) -> Kind {
                match self { $(Object::$variant(_) => Kind::$variant,)+ }
            }

            /// The metadata of this object.
            pub fn meta(&self) -> &ObjectMeta {
                match self { $(Object::$variant(object) => object.meta(),)+ }
            }
        }

        $(impl From<Arc<$ty>> for Object {
            fn from(object: Arc<$ty>) -> Self { Object::$variant(object) }
        })+
    };
}

kinds! {
    Namespace { type: Namespace, kind: "Namespace", plural: "namespaces", versions: ["v1"], namespaced: false },
    Service { type: Service, kind: "Service", plural: "services", versions: ["v1"], namespaced: true },
    EndpointSlice { type: EndpointSlice, kind: "EndpointSlice", plural: "endpointslices", versions: ["discovery.k8s.io/v1"], namespaced: true },
    Pod { type: Pod, kind: "Pod", plural: "pods", versions: ["v1"], namespaced: true },
    ServiceAccount { type: ServiceAccount, kind: "ServiceAccount", plural: "serviceaccounts", versions: ["v1"], namespaced: true },
    Deployment { type: Deployment, kind: "Deployment", plural: "deployments", versions: ["apps/v1"], namespaced: true },
    ConfigMap { type: ConfigMap, kind: "ConfigMap", plural: "configmaps", versions: ["v1"], namespaced: true },
    Secret { type: Secret, kind: "Secret", plural: "secrets", versions: ["v1"], namespaced: true },
    GatewayClass { type: GatewayClass, kind: "GatewayClass", plural: "gatewayclasses", versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: false },
    Gateway { type: Gateway, kind: "Gateway", plural: "gateways", versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: true },
    HttpRoute { type: HttpRoute, kind: "HTTPRoute", plural: "httproutes", versions: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"], namespaced: true },
    ReferenceGrant { type: ReferenceGrant, kind: "ReferenceGrant", plural: "referencegrants", versions: ["gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1"], namespaced: true },
    RouteOption { type: RouteOption, kind: "RouteOption", plural: "routeoptions", versions: ["gateway.solo.io/v1"], namespaced: true },
    AuthConfig { type: AuthConfig, kind: "AuthConfig", plural: "authconfigs", versions: ["enterprise.gloo.solo.io/v1", "extauth.solo.io/v1"], namespaced: true },
    RateLimitConfig { type: RateLimitConfig, kind: "RateLimitConfig", plural: "ratelimitconfigs", versions: ["ratelimit.solo.io/v1alpha1"], namespaced: true },
}

impl Object {
    /// Kind, namespace and name.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.meta().name_of() }
    }
}

impl Kind {
    /// Finds the kind that `api_version` and `kind` name in a manifest.
    pub fn find(api_version: &str, kind: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|k| k.as_str() == kind && k.api_versions().contains(&api_version))
    }

    /// Finds a kind by group (empty for core) and kind name, as references spell it.
    pub fn of_group(group: &str, kind: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|k| k.as_str() == kind && k.group() == group)
    }

    /// The API group, empty for core.
    pub fn group(self) -> &'static str {
        match self.api_versions()[0].split_once('/') {
            Some((group, _)) => group,
            None => "",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Access to an object's metadata, whatever its kind.
pub trait Meta {
    /// The metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Namespace and name.
    fn name_of(&self) -> Name {
        let meta = self.meta();
        Name::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    /// The label `key`, if set.
    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl Meta for ObjectMeta {
    fn meta(&self) -> &ObjectMeta {
        self
    }
}

macro_rules! has_metadata {
    ($($ty:ty),+ $(,)?) => { $(impl Meta for $ty { fn meta(&self) -> &ObjectMeta { &self.metadata } })+ };
}

has_metadata!(
    Namespace,
    Service,
    EndpointSlice,
    Pod,
    ServiceAccount,
    Deployment,
    ConfigMap,
    Secret,
    GatewayClass,
    Gateway,
    HttpRoute,
    ReferenceGrant,
);

/// A custom resource: metadata and a spec. Status is never read from it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Resource<S> {
    /// Name, namespace, labels, annotations, creation time.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the author asks for.
    pub spec: S,
}

impl<S> Meta for Resource<S> {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}
