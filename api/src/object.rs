//! Which kinds there are, and an object of any of them.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Serialize;

use crate::kinds::kinds;
use crate::name::Name;
use crate::resource::Meta;

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

/// What objects of a kind govern by themselves: where one that was never valid is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Governs {
    /// Requests to the Services and Gateways that it names as its parents, as a route does.
    Parents,
    /// Routes, Services and Gateways that it names as its targets, as a policy does.
    Targets,
    /// Services, Gateways and classes of them that it names as its targets, whatever comes there.
    Callers,
    /// Nothing: whoever names such an object, or decides by it, sees that it is not valid.
    Named,
}

/// A server that reads from an API server only what it needs, so that it needs no right to read more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// `extauth`.
    Authorization,
    /// `ratelimit`.
    RateLimits,
    /// `waypoint`. Not Secrets: what is in them is the authorization service's business.
    ControlPlane,
}

/// In which form an API server keeps what is said of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing is written to it.
    Nowhere,
    /// As Gateway API's Gateways have it: conditions of its own, and of each listener.
    Gateway,
    /// As Gateway API's routes have it: conditions for each parent and controller.
    Route,
    /// As Gloo has it: one state for each namespace in which somebody judges it.
    PerNamespace,
    /// As Gloo has it for what is judged by one server: one state.
    State,
    /// As Istio has it: conditions of the object, among those of others.
    Conditions,
}

/// Makes the types of the table of kinds.
macro_rules! objects {
    ($($(#[$doc:meta])* $variant:ident {
        type: $ty:ty, kind: $kind:literal, plural: $plural:literal,
        versions: [$($version:literal),+], namespaced: $namespaced:literal,
        table: $table:ident, rules: $rules:ident, governs: $governs:ident, read_by: [$($reader:ident),*],
        told: $told:ident $(by $teller:ident)?,
    })+) => {
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

            /// In which form what is said of such an object is kept.
            pub fn told(self) -> Told {
                match self { $(Kind::$variant => Told::$told,)+ }
            }

            /// Which server writes that.
            pub fn told_by(self) -> Option<Reader> {
                match self { $(Kind::$variant => [$(Some(Reader::$teller),)? None][0],)+ }
            }

            /// What objects of this kind govern by themselves.
            pub fn governs(self) -> Governs {
                match self { $(Kind::$variant => Governs::$governs,)+ }
            }

            fn readers(self) -> &'static [Reader] {
                match self { $(Kind::$variant => &[$(Reader::$reader),*],)+ }
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

            /// Kind, namespace and name.
            pub fn reference(&self) -> ObjectRef {
                let name = match self { $(Object::$variant(object) => object.name_of(),)+ };
                ObjectRef { kind: self.kind(), name }
            }

            /// Its `metadata.generation`, where its source has one.
            pub fn generation(&self) -> Option<i64> {
                match self { $(Object::$variant(object) => object.generation(),)+ }
            }

            /// When it was made, if that is known.
            pub fn created(&self) -> Option<&Time> {
                match self { $(Object::$variant(object) => object.created(),)+ }
            }

            /// Whether both say the same.
            fn says_as(&self, other: &Object) -> bool {
                $(if let (Object::$variant(one), Object::$variant(other)) = (self, other) {
                    return one == other;
                })+
                false
            }

            fn set_created(&mut self, created: Option<Time>) {
                match self { $(Object::$variant(object) => Arc::make_mut(object).set_created(created),)+ }
            }
        }

        $(
            impl From<Arc<$ty>> for Object {
                fn from(object: Arc<$ty>) -> Self { Object::$variant(object) }
            }

            impl Meta for $ty {
                fn name_of(&self) -> Name { self.metadata.name_of() }
                fn label(&self, key: &str) -> Option<&str> { self.metadata.label(key) }
                fn generation(&self) -> Option<i64> { self.metadata.generation() }
                fn created(&self) -> Option<&Time> { self.metadata.created() }
                fn set_created(&mut self, created: Option<Time>) { self.metadata.set_created(created); }
                fn set_meta(&mut self, metadata: ObjectMeta) { self.metadata.set_meta(metadata); }
            }
        )+
    };
}

kinds!(objects);

impl Object {
    /// What an API server makes of it that has `stored` by that name: it stays as old as it is. Where nothing else is
    /// new, that is `stored` itself.
    #[must_use]
    pub fn applied_over(mut self, stored: &Object) -> Object {
        self.set_created(stored.created().cloned());
        if self.says_as(stored) { stored.clone() } else { self }
    }
}

impl Kind {
    /// Finds the kind that `api_version` and `kind` name in a manifest.
    pub fn find(api_version: &str, kind: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|k| k.as_str() == kind && k.api_versions().contains(&api_version))
    }

    /// The API group of the preferred version, empty for core.
    pub fn group(self) -> &'static str {
        group_of(self.api_versions()[0])
    }

    /// What `reader` reads.
    pub fn read_by(reader: Reader) -> Vec<Kind> {
        Kind::ALL.iter().copied().filter(|kind| kind.readers().contains(&reader)).collect()
    }

    /// Every API group of which a kind is read.
    pub fn groups() -> impl Iterator<Item = &'static str> {
        Kind::ALL.iter().flat_map(|kind| kind.api_versions()).map(|version| group_of(version))
    }
}

/// The group in an `apiVersion`, empty for core.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
