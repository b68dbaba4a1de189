//! The routes of one Service port, in the order in which Envoy tries them.

mod forward;
mod hidden;

use std::collections::BTreeSet;
use std::rc::Rc;

use api::gloo::rate_limit_config::config_id;
use api::gloo::route_option::basic_id;
use api::{Kind, Name, ObjectRef, Problem};
use ir::{Action, Auth, Match, PathRewrite, Policy, PortRef, Redirect, Route, Stage};

use crate::claims::{authorization, claim};
use crate::decided::attached::Bound;
use crate::decided::said::Unlimited;
use crate::declared::{Declared, Rule};
use crate::doubtful::Looked;
use crate::options::{self, Effective};
use crate::precedence::{by_precedence, precedence};
use crate::set_aside::SetAside;
use crate::status::Statuses;
use crate::view::View;
use crate::{describe, doubtful, gloo};

use hidden::Tried;

/// A port of a Service, as its routes see it.
pub struct At<'p> {
    /// The port.
    pub id: &'p PortRef,
    /// Whether gRPC is spoken there, of which requests may be streams.
    pub streams: bool,
    /// Whether not all of it is refused.
    pub served: bool,
    /// What routes of another kind ask for, which are set aside there.
    pub set_aside: SetAside,
}

/// The routes of a Service port, governed by `bound`.
pub fn routes(
    view: &View<'_>,
    at: &At<'_>,
    bound: &[Bound<'_>],
    looked: Looked<'_>,
    statuses: &mut Statuses,
) -> Vec<Route> {
    let (id, routes) = (at.id, declared(view, at, bound, statuses));
    let Some(service) = view.service(&id.service).filter(|_| !bound.is_empty() || !looked.is_empty()) else {
        return routes;
    };
    let origins = BTreeSet::from([ObjectRef { kind: Kind::Service, name: id.service.clone() }]);
    doubtful::refused(service, routes, looked, &origins)
}

/// The routes as they are declared.
fn declared(view: &View<'_>, at: &At<'_>, bound: &[Bound<'_>], statuses: &mut Statuses) -> Vec<Route> {
    let id = at.id;
    if bound.is_empty() {
        let service = ObjectRef { kind: Kind::Service, name: id.service.clone() };
        return vec![Route {
            name: format!("{service} default"),
            matches: Match::everything(),
            action: Action::Forward(forward::undeclared(id, at.streams)),
            policy: Policy::default(),
            origins: BTreeSet::from([service]),
        }];
    }
    let mut all: Vec<Tried<'_, '_>> = Vec::new();
    for bound in bound {
        let mut resolver = Resolver { view, statuses, at, bound, route: bound.route };
        all.extend(resolver.route());
    }
    all.sort_by(|a, b| a.order.cmp(&b.order));
    if at.served {
        hidden::note(id, &all, statuses);
    }
    all.into_iter().map(|tried| tried.route).collect()
}

/// The one route of a Service of which everything is refused.
pub fn refused(service: &Name, why: &str) -> Route {
    let service = ObjectRef { kind: Kind::Service, name: service.clone() };
    Route {
        name: format!("{service} refused"),
        matches: Match::everything(),
        action: refuse(500, why.to_owned()),
        policy: Policy::default(),
        origins: BTreeSet::from([service]),
    }
}

/// Why what `route` asks for cannot be had on a port that is not read as HTTP: authorization, a
/// limit, or a policy that is in doubt. None if what it asks for may be left undone there.
pub fn guard(view: &View<'_>, bound: &Bound<'_>, statuses: &mut Statuses) -> Option<String> {
    let (route, mut guard) = (bound.route, None);
    for rule in &route.rules {
        let effective = effective(view, route, rule);
        statuses.policies(bound, rule, &effective);
        let auth = || {
            let name = authorization(&route.reference, &effective.options)?;
            Some(format!("AuthConfig {name} cannot be asked about what is not HTTP"))
        };
        let limit = || {
            view.settings().ratelimit.as_ref()?;
            let basic = effective.options.ratelimit_basic.as_ref().zip(effective.basic.as_ref());
            let basic = basic.map(|(_, option)| format!("ratelimitBasic of RouteOption {option}"));
            let config = gloo::limits(&effective.options).next();
            let config = config.map(|(_, reference)| {
                format!("RateLimitConfig {}", reference.resolve(&route.reference.name.namespace))
            });
            Some(format!("{} cannot count what is not HTTP", config.or(basic)?))
        };
        guard = guard.or_else(|| effective.refusal.clone()).or_else(auth).or_else(limit);
    }
    guard
}

/// Resolves the rules of one route.
struct Resolver<'s, 'v, 'b, 'a> {
    view: &'s View<'v>,
    statuses: &'s mut Statuses,
    /// Where its requests came.
    at: &'s At<'s>,
    bound: &'b Bound<'a>,
    route: &'a Declared,
}

impl<'b, 'a> Resolver<'_, '_, 'b, 'a> {
    fn route(&mut self) -> Vec<Tried<'b, 'a>> {
        let (route, bound) = (self.route, self.bound);
        let hosts = by_precedence(self.hosts(bound.by_service()));
        let mut routes = Vec::new();
        for (number, rule) in route.rules.iter().enumerate() {
            let effective = effective(self.view, route, rule);
            let (action, policy, origins) = self.rule(rule, &effective);
            let policies = Rc::new(effective.sources.clone());
            for (index, matches) in rule.matches.iter().enumerate() {
                let order = precedence(matches, rule.calls.get(index), &route.age, &route.reference, (number, index));
                let name = format!("{} rule {number} match {index}", route.reference);
                let mut action = action.clone();
                self.fit_rewrite(matches, &mut action, rule);
                if redirects(&action) && !policy.limits.is_empty() {
                    self.warn(&rule.field, "redirects are not limited: Envoy asks for limits only where it forwards");
                    self.statuses.redirects(bound, rule, &effective);
                }
                for hosts in &hosts {
                    let order = order.clone().of_hosts(hosts);
                    let matches = Match { hosts: hosts.clone(), ..matches.clone() };
                    let (name, action) = (name.clone(), action.clone());
                    let route = Route { name, matches, action, policy: policy.clone(), origins: origins.clone() };
                    let policies = policies.clone();
                    routes.push(Tried { order, route, bound, rule, index, policies });
                }
            }
        }
        routes
    }

    /// Host names mean something only under a Gateway; a Service's callers are told apart by address.
    fn hosts(&mut self, by_service: bool) -> Vec<String> {
        if !by_service || self.route.hosts.is_empty() {
            return self.route.hosts.clone();
        }
        self.warn("spec.hostnames", "ignored: a route of a Service applies whatever the Host header says");
        Vec::new()
    }

    fn warn(&mut self, field: &str, message: &str) {
        self.statuses.route(&self.route.reference).warn(Problem::warning(field, message));
    }

    /// `ReplacePrefixMatch` needs a prefix to replace.
    fn fit_rewrite(&mut self, matches: &Match, action: &mut Action, rule: &Rule) {
        use ir::PathMatch;
        let paths: Vec<&Option<PathRewrite>> = match action {
            Action::Forward(forward) => {
                let own = forward.backends.iter().filter_map(|backend| backend.own.as_deref());
                let of_backends =
                    own.flat_map(|own| [&own.path].into_iter().chain(own.redirect.as_ref().map(|r| &r.path)));
                std::iter::once(&forward.path).chain(of_backends).collect()
            }
            Action::Redirect(redirect) => vec![&redirect.path],
            Action::Refuse(_) => return,
        };
        let replaces = paths.iter().any(|path| matches!(path, Some(PathRewrite::Prefix(_))));
        if replaces && !matches!(matches.path, PathMatch::Prefix(_)) {
            let field = rule.field.clone();
            let why = "a prefix is replaced, but the match is not of type PathPrefix";
            self.statuses.route(&self.route.reference).unsupported(Problem::error(field, why));
            *action = self.refuse(format!("{}: {why}", self.route.reference));
        }
    }

    fn rule(&mut self, rule: &Rule, effective: &Effective) -> (Action, Policy, BTreeSet<ObjectRef>) {
        let reference = &self.route.reference;
        let mut origins = BTreeSet::from([reference.clone()]);
        let written = &rule.filters;
        for name in effective.sources.keys() {
            origins.insert(ObjectRef { kind: Kind::RouteOption, name: name.clone() });
        }
        self.statuses.policies(self.bound, rule, effective);
        claim(reference, rule, &effective.options, self.statuses);

        if let Some(problem) = rule.problems.first() {
            let why = format!("{reference}: {problem}");
            for problem in &rule.problems {
                self.statuses.route(reference).unsupported(problem.clone());
            }
            return (self.refuse(why), Policy::default(), origins);
        }
        if let Some(why) = &effective.refusal {
            return (self.refuse(why.clone()), Policy::default(), origins);
        }
        if let Some(why) = self.at.set_aside.missed(&effective.options, &reference.name.namespace) {
            self.statuses.route(reference).unsupported(Problem::error(rule.field.as_str(), why.as_str()));
            return (self.refuse(why), Policy::default(), origins);
        }

        let policy = self.policy(rule, effective, &mut origins);
        let cors = written.cors.is_some() || matches!(forward::cors_of_backends(rule), Ok(Some(_)));
        if cors && effective.options.cors.is_some() {
            self.warn(&rule.field, "it has a CORS filter, so cors of its RouteOptions has no effect here");
        }
        if rule.retry.is_some() && effective.options.retries.is_some() {
            self.warn(&rule.field, "it says when to try again, so retries of its RouteOptions has no effect here");
        }
        if cors && rule.matches.iter().all(|matches| matches.takes_no("OPTIONS")) {
            let why = "a browser asks by the method OPTIONS whether it may send a request, and no match of this rule takes that";
            self.warn(&rule.field, why);
        }
        let basic = effective.options.ratelimit_basic.as_ref().zip(effective.basic.as_ref());
        if let Some((limits, option)) = basic
            && limits.anonymous_limits.is_none()
            && policy.auth.is_none()
        {
            self.statuses.unlimited(self.bound, rule, option, Unlimited::KnowsNobody);
        }
        if policy.auth.is_some() && self.view.settings().extauth.is_none() {
            let why = "this route needs authorization, and no authorization service is configured".to_owned();
            return (refuse(403, why), Policy::default(), origins);
        }
        let action = match &written.redirect {
            Some(redirect) => Action::Redirect(self.redirect(redirect)),
            None => self.forward(rule, &effective.options),
        };
        (action, policy, origins)
    }

    /// Where neither a port nor a scheme is written, the port stays that to which the request came.
    fn redirect(&self, written: &Redirect) -> Redirect {
        let port = written.port.or(written.scheme.is_none().then_some(self.at.id.port));
        Redirect { port, ..written.clone() }
    }

    fn policy(&mut self, rule: &Rule, effective: &Effective, origins: &mut BTreeSet<ObjectRef>) -> Policy {
        let (view, options, written) = (self.view, &effective.options, &rule.filters);
        let home = self.route.reference.name.namespace.as_str();
        let mut policy =
            Policy { request: written.request.clone(), response: written.response.clone(), ..Policy::default() };
        if let Some(headers) = &options.header_manipulation {
            gloo::manipulate(headers, &mut policy);
        }
        policy.auth = authorization(&self.route.reference, options).map(|config| {
            let object = view.auth_config(&config);
            if object.is_some() {
                origins.insert(ObjectRef { kind: Kind::AuthConfig, name: config.clone() });
            }
            // One that is not there may turn out to read anything.
            let reads = object.and_then(|object| object.spec.reads());
            Auth { config, user_header: view.settings().user_header.clone(), reads }
        });
        if view.settings().ratelimit.is_some() {
            for (when, reference) in gloo::limits(options) {
                let name = reference.resolve(home);
                let Some(config) = view.rate_limit_config(&name) else { continue };
                let stage = when.unwrap_or(match view.settings().limits.before_auth {
                    true => Stage::Early,
                    false => Stage::Regular,
                });
                policy.limits.extend(describe::configured(stage, &config_id(&name), &config.spec.raw.rate_limits));
                origins.insert(ObjectRef { kind: Kind::RateLimitConfig, name });
            }
            if let (Some(basic), Some(option)) = (&options.ratelimit_basic, &effective.basic) {
                let user = policy.auth.as_ref().map(|auth| auth.user_header.as_str());
                policy.limits.extend(describe::by_caller(&basic_id(option), basic, user));
            }
        }
        policy.cors = match written.cors.as_deref().or(forward::cors_of_backends(rule).ok().flatten()) {
            Some(own) => Some(own.clone()),
            None => options.cors.as_ref().and_then(gloo::cors),
        };
        policy.faults = options.faults.as_ref().map(gloo::faults);
        policy
    }

    fn is_grpc(&self) -> bool {
        self.route.reference.kind == Kind::GrpcRoute
    }

    /// What cannot be done is answered 500, or to clients of gRPC UNAVAILABLE, as Gateway API has it: Envoy makes that of 503.
    fn refuse(&self, why: String) -> Action {
        refuse(if self.is_grpc() { 503 } else { 500 }, why)
    }
}

/// What governs `rule` of `route`.
fn effective(view: &View<'_>, route: &Declared, rule: &Rule) -> Effective {
    options::effective(view, &route.reference, rule.name.as_deref(), &rule.filters.options)
}

/// Whether `action` sends requests away, or some of them.
fn redirects(action: &Action) -> bool {
    match action {
        Action::Redirect(_) => true,
        Action::Forward(forward) => {
            let mut own = forward.backends.iter().filter_map(|backend| backend.own.as_deref());
            own.any(|own| own.redirect.is_some())
        }
        Action::Refuse(_) => false,
    }
}

fn refuse(status: u32, why: String) -> Action {
    Action::Refuse(ir::Refusal { status, why })
}
