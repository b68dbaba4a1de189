//! The only way in which a decision sees what is declared and what was decided before: whatever it
//! asks for is noted, so that it is made anew when that changes and not before.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::core::{EndpointSlice, Namespace, Service};
use api::gateway::{Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use api::gloo::{AuthConfig, RateLimitConfig, RouteOption};
use api::istio::{AuthorizationPolicy, RequestAuthentication};
use api::unserved::UnservedRef;
use api::{Broken, Kind, Name, Object, ObjectRef, Reach, Snapshot, Withheld};
use ir::{Enrolment, PortRef, Settings};

use crate::applications::Believed;
use crate::decided::attached::Attached;
use crate::decided::said::Said;
use crate::decided::{Enrolled, Gateways, Refusals, Unit, Waypoint};
use crate::declared::{self, Age, Declared, grpc_route, http_route};
use crate::few::Few;
use crate::ours::Ours;
use crate::readers::Fact;

/// Who has found something out about objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// Whoever decided about the ports of this Service.
    Unit(Name),
    /// Whoever took from its clients what is not theirs to say.
    Disowning(Name),
    /// Whoever looked for the endpoints of this destination.
    Cluster(ir::Destination),
}

/// All that is declared and all that was decided, each table made by one step of
/// [`Resolver`](crate::resolver::Resolver) from what stands above it.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub snapshot: Snapshot,
    /// The EndpointSlices of each Service.
    pub slices: HashMap<Name, Few<Name>>,
    /// The RouteOptions that name each route, the oldest first.
    pub options: HashMap<ObjectRef, Few<(Age, Name)>>,
    /// The routes of which a rule names each RouteOption.
    pub referring: HashMap<Name, Few<ObjectRef>>,
    /// The AuthorizationPolicies and RequestAuthentications that name each Service, Gateway and GatewayClass.
    pub policies: HashMap<ObjectRef, Few<ObjectRef>>,
    pub gateways: Gateways,
    pub ours: Ours,
    pub enrolments: BTreeMap<Name, Enrolled>,
    pub attached: BTreeMap<ObjectRef, Arc<Attached>>,
    /// The routes that name each Service and each Gateway.
    pub routes: HashMap<ObjectRef, Few<ObjectRef>>,
    pub refusals: Refusals,
    /// The Services that ask for an address at a Gateway; the first has it.
    pub holders: BTreeMap<(Name, IpAddr), Few<Name>>,
    pub units: BTreeMap<Name, Arc<Unit>>,
    /// What guards the way to each port and sets headers, each with in how many units.
    pub claims: HashMap<PortRef, BTreeMap<ObjectRef, usize>>,
    pub believed: Believed,
    /// How many routes each Gateway has accepted.
    pub attachments: BTreeMap<Name, usize>,
    /// What was found out about each object, by whom.
    pub said: HashMap<ObjectRef, BTreeMap<Arc<Speaker>, Arc<Said>>>,
}

/// See the module.
pub struct View<'a> {
    known: &'a Known,
    settings: &'a Settings,
    read: RefCell<HashSet<Fact>>,
}

/// Looks at one object of a kind.
macro_rules! objects {
    ($($(#[$doc:meta])* $look:ident: $ty:ty, $kind:ident, $table:ident;)+) => {$(
        $(#[$doc])*
        pub fn $look(&self, name: &Name) -> Option<&'a Arc<$ty>> {
            self.note(Fact::Object(ObjectRef { kind: Kind::$kind, name: name.clone() }));
            self.known.snapshot.$table.get(name)
        }
    )+};
}

impl<'a> View<'a> {
    /// A view by which nothing was read yet.
    pub fn new(known: &'a Known, settings: &'a Settings) -> Self {
        Self { known, settings, read: RefCell::default() }
    }

    /// What was read.
    pub fn into_read(self) -> HashSet<Fact> {
        self.read.into_inner()
    }

    fn note(&self, fact: Fact) {
        self.read.borrow_mut().insert(fact);
    }

    /// The operator's settings, which do not change.
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    objects! {
        /// A Service.
        service: Service, Service, services;
        /// A Namespace.
        namespace: Namespace, Namespace, namespaces;
        /// An EndpointSlice.
        slice: EndpointSlice, EndpointSlice, endpoint_slices;
        /// A Gateway, ours or not.
        gateway_object: Gateway, Gateway, gateways;
        /// A GatewayClass.
        gateway_class: GatewayClass, GatewayClass, gateway_classes;
        /// An HTTPRoute.
        http_route: HttpRoute, HttpRoute, http_routes;
        /// A GRPCRoute.
        grpc_route: GrpcRoute, GrpcRoute, grpc_routes;
        /// A RouteOption.
        route_option: RouteOption, RouteOption, route_options;
        /// An AuthConfig.
        auth_config: AuthConfig, AuthConfig, auth_configs;
        /// A RateLimitConfig.
        rate_limit_config: RateLimitConfig, RateLimitConfig, rate_limit_configs;
        /// An AuthorizationPolicy.
        authorization_policy: AuthorizationPolicy, AuthorizationPolicy, authorization_policies;
        /// A RequestAuthentication.
        request_authentication: RequestAuthentication, RequestAuthentication, request_authentications;
    }

    /// A route, as it is declared; none if there is none, or `object` is something else.
    pub fn route(&self, object: &ObjectRef) -> Option<Declared> {
        match object.kind {
            Kind::HttpRoute => self.http_route(&object.name).map(|route| http_route::declared(route)),
            Kind::GrpcRoute => self.grpc_route(&object.name).map(|route| grpc_route::declared(route)),
            _ => None,
        }
    }

    /// An object that was never valid.
    pub fn broken(&self, object: &ObjectRef) -> Option<&'a Arc<Broken>> {
        self.note(Fact::Object(object.clone()));
        self.known.snapshot.broken.get(object)
    }

    /// The objects of `kind` that were never valid.
    pub fn all_broken(&self, kind: Kind) -> impl Iterator<Item = (&'a ObjectRef, &'a Arc<Broken>)> + use<'a> {
        self.note(Fact::Broken(kind));
        let first = ObjectRef::new(kind, "", "");
        self.known.snapshot.broken.iter_from(first).take_while(move |(object, _)| object.kind == kind)
    }

    /// Why everything is withheld.
    pub fn withheld(&self) -> &'a [Withheld] {
        self.note(Fact::Withheld);
        &self.known.snapshot.withheld
    }

    /// The objects of kinds that are not served, each with what it was to govern.
    pub fn unserved(&self) -> impl Iterator<Item = (&'a UnservedRef, &'a Arc<Reach>)> + use<'a> {
        self.note(Fact::Unserved);
        self.known.snapshot.unserved.iter()
    }

    /// All Gateways, ours or not.
    pub fn all_gateways(&self) -> impl Iterator<Item = (&'a Name, &'a Arc<Gateway>)> + use<'a> {
        self.note(Fact::Every(Kind::Gateway));
        self.known.snapshot.gateways.iter()
    }

    /// The class that a Gateway names.
    pub fn class_of(&self, gateway: &Name) -> Option<&'a str> {
        self.note(Fact::Every(Kind::Gateway));
        self.known.snapshot.gateways.get(gateway).map(|gateway| gateway.spec.gateway_class_name.as_str())
    }

    /// The Services of a namespace.
    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.note(Fact::In(Kind::Service, namespace.to_owned()));
        of_namespace(&self.known.snapshot.services, namespace).map(|(name, _)| name)
    }

    /// The routes of a namespace, of all kinds.
    pub fn routes_in(&self, namespace: &str) -> impl Iterator<Item = &'a ObjectRef> + use<'a> {
        let known = self.known;
        let first = declared::KINDS.map(|kind| {
            self.note(Fact::In(kind, namespace.to_owned()));
            ObjectRef::new(kind, namespace, "")
        });
        first.into_iter().flat_map(move |first| {
            let of = (first.kind, first.name.namespace.clone());
            let from = known.attached.range(first..).map(|(route, _)| route);
            from.take_while(move |route| route.kind == of.0 && route.name.namespace == of.1)
        })
    }

    /// The ReferenceGrants of a namespace.
    pub fn grants_in(&self, namespace: &str) -> impl Iterator<Item = &'a Arc<ReferenceGrant>> + use<'a> {
        self.note(Fact::In(Kind::ReferenceGrant, namespace.to_owned()));
        of_namespace(&self.known.snapshot.reference_grants, namespace).map(|(_, grant)| grant)
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of(&self, service: &Name) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.note(Fact::Slices(service.clone()));
        self.known.slices.get(service).into_iter().flat_map(Few::iter)
    }

    /// The RouteOptions that name a route, the oldest first.
    pub fn options_on(&self, route: &ObjectRef) -> impl Iterator<Item = &'a Name> + use<'a> {
        self.note(Fact::Options(route.clone()));
        self.known.options.get(route).into_iter().flat_map(Few::iter).map(|(_, name)| name)
    }

    /// The routes of which a rule names a RouteOption by `ExtensionRef`.
    pub fn referring(&self, option: &Name) -> impl Iterator<Item = &'a ObjectRef> + use<'a> {
        self.note(Fact::Referring(option.clone()));
        self.known.referring.get(option).into_iter().flat_map(Few::iter)
    }

    /// The AuthorizationPolicies and RequestAuthentications that name `target`.
    pub fn policies_on(&self, target: &ObjectRef) -> impl Iterator<Item = &'a ObjectRef> + use<'a> {
        self.note(Fact::Policies(target.clone()));
        self.known.policies.get(target).into_iter().flat_map(Few::iter)
    }

    /// The AuthorizationPolicies of a namespace.
    pub fn policies_in(&self, namespace: &str) -> impl Iterator<Item = &'a Arc<AuthorizationPolicy>> + use<'a> {
        self.note(Fact::In(Kind::AuthorizationPolicy, namespace.to_owned()));
        of_namespace(&self.known.snapshot.authorization_policies, namespace).map(|(_, policy)| policy)
    }

    /// The `metadata.generation` of an object, where its source has one.
    pub fn generation(&self, object: &ObjectRef) -> Option<i64> {
        self.note(Fact::Object(object.clone()));
        self.known.snapshot.get(object).as_ref().and_then(Object::generation)
    }

    /// How many routes are attached to a Gateway and accepted there.
    pub fn attachments(&self, gateway: &Name) -> usize {
        self.note(Fact::Attachments(gateway.clone()));
        self.known.attachments.get(gateway).copied().unwrap_or_default()
    }

    /// A Gateway of ours.
    pub fn gateway(&self, name: &Name) -> Option<&'a Waypoint> {
        self.note(Fact::Gateway(name.clone()));
        self.known.gateways.get(name)
    }

    /// All Gateways of ours.
    pub fn gateways(&self) -> impl Iterator<Item = (&'a Name, &'a Waypoint)> + use<'a> {
        // What they are made of.
        self.note(Fact::Every(Kind::Gateway));
        self.note(Fact::Every(Kind::GatewayClass));
        self.known.gateways.iter()
    }

    /// The addresses that no Service may point at.
    pub fn ours(&self) -> &'a Ours {
        self.note(Fact::Addresses);
        &self.known.ours
    }

    /// The waypoint of a Service; none if there is no such Service.
    pub fn enrolment(&self, service: &Name) -> Option<&'a Enrolment> {
        self.enrolled(service).map(|decision| &decision.enrolment)
    }

    /// The same with what is said about it.
    pub fn enrolled(&self, service: &Name) -> Option<&'a Enrolled> {
        self.note(Fact::Enrolment(service.clone()));
        self.known.enrolments.get(service)
    }

    /// A route with its parents, judged.
    pub fn attached(&self, route: &ObjectRef) -> Option<&'a Attached> {
        self.note(Fact::Route(route.clone()));
        self.known.attached.get(route).map(AsRef::as_ref)
    }

    /// The routes that name a Service or a Gateway and apply there.
    pub fn routes_on(&self, kind: Kind, name: &Name) -> impl Iterator<Item = &'a ObjectRef> + use<'a> {
        let object = ObjectRef { kind, name: name.clone() };
        let routes = self.known.routes.get(&object);
        self.note(Fact::Routes(object));
        routes.into_iter().flat_map(Few::iter)
    }

    /// Why everything is refused.
    pub fn refused_everything(&self) -> Option<&'a str> {
        self.note(Fact::RefusedEverything);
        self.known.refusals.everything.as_deref()
    }

    /// Why requests that come to a Gateway are refused.
    pub fn refused_gateway(&self, gateway: &Name) -> Option<&'a str> {
        self.note(Fact::RefusedGateway(gateway.clone()));
        self.known.refusals.gateways.get(gateway).map(String::as_str)
    }

    /// Why all that comes to a Gateway is refused.
    pub fn refused_waypoint(&self, gateway: &Name) -> Option<&'a str> {
        self.note(Fact::RefusedGateway(gateway.clone()));
        self.known.refusals.waypoints.get(gateway).map(String::as_str)
    }

    /// Why what comes to a Service is refused.
    pub fn refused_service(&self, service: &Name) -> Option<&'a str> {
        self.note(Fact::RefusedService(service.clone()));
        self.known.refusals.services.get(service).map(String::as_str)
    }

    /// Which rules of a route are refused, and why; all of them where none is named.
    pub fn refused_rules(&self, route: &ObjectRef) -> &'a [(Option<String>, String)] {
        self.note(Fact::RefusedRules(route.clone()));
        self.known.refusals.rules.get(route).map(Vec::as_slice).unwrap_or_default()
    }

    /// Which Service has `address` at `gateway`: of those that ask for it the first by name.
    pub fn holder(&self, gateway: &Name, address: IpAddr) -> Option<&'a Name> {
        self.note(Fact::Holder(gateway.clone(), address));
        self.known.holders.get(&(gateway.clone(), address)).and_then(Few::first)
    }

    /// What is decided for the ports of a Service.
    pub fn unit(&self, service: &Name) -> Option<&'a Arc<Unit>> {
        self.note(Fact::Unit(service.clone()));
        self.known.units.get(service)
    }

    /// The AuthConfigs and RequestAuthentications that guard the way to a port of a Service.
    pub fn claims(&self, id: &PortRef) -> impl Iterator<Item = &'a ObjectRef> + use<'a> {
        self.note(Fact::Claims(id.clone()));
        self.known.claims.get(id).into_iter().flat_map(BTreeMap::keys)
    }

    /// The headers that the applications behind a Service believe: they are not a client's to say.
    pub fn owned(&self, service: &Name) -> BTreeSet<&'a String> {
        self.note(Fact::Owned(service.clone()));
        self.known.believed.behind(service)
    }

    /// The headers that the applications behind one port of a Service believe.
    pub fn owned_at(&self, id: &PortRef) -> BTreeSet<&'a String> {
        self.note(Fact::Owned(id.service.clone()));
        self.known.believed.behind_port(id)
    }

    /// What was found out about an object.
    pub fn said(&self, object: &ObjectRef) -> impl Iterator<Item = &'a Said> + Clone + use<'a> {
        self.note(Fact::Said(object.clone()));
        self.known.said.get(object).into_iter().flat_map(BTreeMap::values).map(AsRef::as_ref)
    }
}

fn of_namespace<'t, T>(
    table: &'t api::Table<T>,
    namespace: &str,
) -> impl Iterator<Item = (&'t Name, &'t Arc<T>)> + use<'t, T> {
    let namespace = namespace.to_owned();
    table.iter_from(Name::new(namespace.as_str(), "")).take_while(move |(name, _)| name.namespace == namespace)
}
