//! The routes of one Service port, in the order in which Envoy tries them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use api::gloo::rate_limit_config::config_id;
use api::gloo::route_option::{RouteOptions, basic_id};
use api::{Kind, Name, ObjectRef, Problem};
use ir::{
    Action, Auth, Backend, Cors, Destination, Forward, HeaderChanges, Match, Mirror, Own, PathRewrite, Policy, PortRef,
    Redirect, Retries, Route, Stage,
};

use crate::claims::{authorization, claim};
use crate::decided::attached::Bound;
use crate::decided::said::{InDoubt, Shadow, Unlimited};
use crate::declared::filters::Filters;
use crate::declared::{BackendRef, Declared, Reference, Rule};
use crate::doubtful::Looked;
use crate::guards::Guard;
use crate::options::{self, Effective};
use crate::precedence::{Precedence, by_precedence, precedence};
use crate::set_aside::SetAside;
use crate::shadowed::{Doubt, gets_around, shadowed};
use crate::status::Statuses;
use crate::view::View;
use crate::{describe, doubtful, gloo, services};

/// Gloo's default, which the application sees as `x-envoy-expected-rq-timeout-ms`.
const TIMEOUT: Duration = Duration::from_secs(15);

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
        let forward = Forward { backends: vec![to(id.clone())], ..forward(at.streams) };
        return vec![Route {
            name: format!("{service} default"),
            matches: Match::everything(),
            action: Action::Forward(forward),
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
        shadows(id, &all, statuses);
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
        let home = route.reference.name.namespace.as_str();
        let auth = || {
            let asked = effective.options.extauth.as_ref().filter(|extauth| extauth.disable != Some(true))?;
            let name = asked.config_ref.as_ref()?.resolve(home);
            Some(format!("AuthConfig {name} cannot be asked about what is not HTTP"))
        };
        let limit = || {
            view.settings().ratelimit.as_ref()?;
            let basic = effective.options.ratelimit_basic.as_ref().zip(effective.basic.as_ref());
            let basic = basic.map(|(_, option)| format!("ratelimitBasic of RouteOption {option}"));
            let config = gloo::limits(&effective.options).next();
            let config = config.map(|(_, reference)| format!("RateLimitConfig {}", reference.resolve(home)));
            Some(format!("{} cannot count what is not HTTP", config.or(basic)?))
        };
        guard = guard.or_else(|| effective.refusal.clone()).or_else(auth).or_else(limit);
    }
    guard
}

/// The time for all tries where none is written: ours, unless the time for each try needs more.
fn usual_timeout(each: Option<Duration>, retries: Option<&Retries>) -> Duration {
    let tries = 1 + retries.map_or(0, |retries| retries.times);
    match each {
        Some(Duration::ZERO) => Duration::ZERO,
        Some(each) => TIMEOUT.max(each.saturating_mul(tries)),
        None => TIMEOUT,
    }
}

fn forward(streams: bool) -> Forward {
    Forward {
        backends: vec![],
        timeout: if streams { Duration::ZERO } else { TIMEOUT },
        streams,
        try_timeout: None,
        retries: None,
        host: None,
        path: None,
        mirrors: vec![],
    }
}

fn to(target: PortRef) -> Backend {
    Backend {
        target: Some(Destination::Service(target)),
        weight: 1,
        request: HeaderChanges::default(),
        response: HeaderChanges::default(),
        own: None,
    }
}

/// A route of a table, with where it comes from.
struct Tried<'b, 'a> {
    order: Precedence,
    route: Route,
    bound: &'b Bound<'a>,
    rule: &'a Rule,
    /// The number of the match in its rule.
    index: usize,
    /// The RouteOptions that govern it, each with what it asks for to guard requests.
    policies: Rc<BTreeMap<Name, BTreeSet<Guard>>>,
}

impl Tried<'_, '_> {
    fn is_of_rule(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule)
    }
}

/// Notes which rules of `all`, the table of `id`, never apply, and of which that is in doubt. A match that another of
/// its own rule takes is no matter.
fn shadows(id: &PortRef, all: &[Tried<'_, '_>], statuses: &mut Statuses) {
    let found = shadowed(&all.iter().map(|tried| &tried.route).collect::<Vec<_>>());
    // Of how many routes each rule is, and how many of those are hidden.
    let mut rules: HashMap<*const Rule, (usize, usize)> = HashMap::new();
    for (tried, found) in all.iter().zip(&found) {
        let (routes, hidden) = rules.entry(std::ptr::from_ref(tried.rule)).or_default();
        *routes += 1;
        *hidden += usize::from(found.hidden.as_ref().is_some_and(|hidden| hidden.hosts.is_empty()));
    }
    for (tried, found) in all.iter().zip(&found) {
        let by = match found.doubt {
            // Never one of its own rule, which asks for the same.
            Some(Doubt::By(by)) => Some(Some(&all[by])),
            Some(Doubt::Many) => Some(None),
            None => None,
        };
        if let Some(by) = by {
            let named = |tried: &Tried<'_, '_>| (tried.bound.route.reference.clone(), tried.rule.field.clone());
            let (route, field) = named(tried);
            statuses.doubt(tried.bound, id, &InDoubt { route, field, by: by.map(named) }, &tried.policies);
        }
        let Some(hidden) = found.hidden.as_ref().filter(|hidden| !tried.is_of_rule(&all[hidden.by])) else { continue };
        let first = &all[hidden.by];
        let whole = rules.get(&std::ptr::from_ref(tried.rule)).is_some_and(|(routes, hidden)| routes == hidden);
        let field = &tried.rule.field;
        let shadow = Shadow {
            route: tried.bound.route.reference.clone(),
            field: if whole { field.clone() } else { format!("{field}.matches[{}]", tried.index) },
            hosts: hidden.hosts.iter().map(|host| (*host).to_owned()).collect(),
            by: first.bound.route.reference.clone(),
            by_field: first.rule.field.clone(),
        };
        statuses.shadow(tried.bound, id, &shadow, &tried.policies, gets_around(&tried.route, &first.route));
    }
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
        let cors = written.cors.is_some() || matches!(cors_of_backends(rule), Ok(Some(_)));
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
        policy.cors = match written.cors.as_deref().or(cors_of_backends(rule).ok().flatten()) {
            Some(own) => Some(own.clone()),
            None => options.cors.as_ref().and_then(gloo::cors),
        };
        policy.faults = options.faults.as_ref().map(gloo::faults);
        policy
    }

    fn forward(&mut self, rule: &Rule, options: &RouteOptions) -> Action {
        let mirrors = self.mirrors(&rule.filters);
        let mut backends = Vec::new();
        for reference in &rule.backends {
            let filters = &reference.filters;
            let mut target = self.backend(&reference.to);
            let mut own = self.own(filters);
            let problems = of_backend(rule, reference);
            if !problems.is_empty() {
                target = None;
            }
            for problem in problems {
                self.statuses.route(&self.route.reference).unsupported(problem);
            }
            if target.is_none() {
                own = Own::default();
            } else if own.redirect.is_some() {
                target = None;
            }
            backends.push(Backend {
                target,
                weight: reference.weight,
                request: filters.request.clone(),
                response: filters.response.clone(),
                own: (own != Own::default()).then(|| Box::new(own)),
            });
        }
        backends.retain(|backend| backend.weight > 0);
        if backends.iter().all(|backend| backend.target.is_none() && backend.own.is_none()) {
            return self.refuse(format!("{} {} has no backend that exists", self.route.reference, rule.field));
        }
        let (retries, try_timeout) = match &rule.retry {
            Some(own) => (Some(own.clone()).filter(|own| own.times > 0), None),
            None => (
                options.retries.as_ref().map(gloo::retries),
                options.retries.as_ref().and_then(|retries| retries.per_try_timeout).map(|time| time.0),
            ),
        };
        let try_timeout = rule.try_timeout.or(try_timeout);
        let written = &rule.filters;
        let path = written.path.clone().or_else(|| options.prefix_rewrite.clone().map(PathRewrite::Prefix));
        let timeout = rule.timeout.or(options.timeout.map(|timeout| timeout.0));
        let streams = timeout.is_none() && (self.at.streams || self.is_grpc());
        let usual = || match streams {
            true => Duration::ZERO,
            false => usual_timeout(rule.try_timeout, retries.as_ref()),
        };
        Action::Forward(Forward {
            backends,
            timeout: timeout.unwrap_or_else(usual),
            streams,
            try_timeout,
            retries,
            host: written.host.clone().or_else(|| options.host_rewrite.clone()),
            path,
            mirrors,
        })
    }

    fn is_grpc(&self) -> bool {
        self.route.reference.kind == Kind::GrpcRoute
    }

    /// What cannot be done is answered 500, or to clients of gRPC UNAVAILABLE, as Gateway API has it: Envoy makes that of 503.
    fn refuse(&self, why: String) -> Action {
        refuse(if self.is_grpc() { 503 } else { 500 }, why)
    }

    /// What the filters of a backend do to its share, besides changing headers.
    fn own(&mut self, filters: &Filters) -> Own {
        Own {
            redirect: filters.redirect.as_ref().map(|redirect| self.redirect(redirect)),
            host: filters.host.clone(),
            path: filters.path.clone(),
            mirrors: self.mirrors(filters),
        }
    }

    /// Who gets copies. Whoever cannot get them is left out, and the status says so: requests are answered all the same.
    fn mirrors(&mut self, filters: &Filters) -> Vec<Mirror> {
        let resolved = filters.mirrors.iter().filter_map(|mirror| {
            let target = self.backend(&mirror.to)?;
            (mirror.millionths > 0).then_some(Mirror { target, millionths: mirror.millionths })
        });
        resolved.collect()
    }

    /// The Service port a backendRef means; none, and a word in the status, if it cannot be used.
    fn backend(&mut self, reference: &Reference) -> Option<Destination> {
        let (of, home) = (self.route.reference.kind, &self.route.reference.name.namespace);
        let Reference { field, group, kind, name, .. } = reference;
        let name = name.clone();
        let status = self.statuses.route(&self.route.reference);
        if (group.as_str(), kind.as_str()) != ("", "Service") {
            let message = format!("{kind} of {group:?} is not a backend we know; write a Service");
            status.unresolved("InvalidKind", Problem::error(format!("{field}.kind"), message));
            return None;
        }
        if name.namespace != *home && !granted(self.view, &self.route.reference, &name) {
            let message =
                format!("no ReferenceGrant in {} lets {of}s of {home} refer to Service {name}", name.namespace);
            status.unresolved("RefNotPermitted", Problem::error(field.as_str(), message));
            return None;
        }
        let Some(service) = self.view.service(&name) else {
            status.unresolved(
                "BackendNotFound",
                Problem::error(field.as_str(), format!("Service {name} does not exist")),
            );
            return None;
        };
        let port = reference.port.and_then(|port| u16::try_from(port).ok());
        let ports = services::ports(service);
        match port.and_then(|port| ports.iter().find(|known| known.number == port)) {
            Some(port) => {
                // gRPC is nothing else than HTTP/2.
                let as_it_says = of != Kind::GrpcRoute || port.protocol(true).is_http2();
                let id = PortRef { service: name, port: port.number };
                Some(if as_it_says { Destination::Service(id) } else { Destination::Http2(id) })
            }
            None => {
                let have: Vec<String> = ports.iter().map(|p| p.number.to_string()).collect();
                let message = format!("Service {name} has no such TCP port; it has {}", have.join(", "));
                status.unresolved("BackendNotFound", Problem::error(format!("{field}.port"), message));
                None
            }
        }
    }
}

/// What governs `rule` of `route`.
fn effective(view: &View<'_>, route: &Declared, rule: &Rule) -> Effective {
    options::effective(view, &route.reference, rule.name.as_deref(), &rule.filters.options)
}

/// What of the filters of a backend of `rule` cannot be done: its share is answered 500.
fn of_backend(rule: &Rule, backend: &BackendRef) -> Vec<Problem> {
    let filters = &backend.filters;
    let mut problems = filters.problems.clone();
    let mut cannot = |why: &str| {
        problems
            .push(Problem::error(format!("{}.filters", backend.to.field), format!("{why}; its share is answered 500")));
    };
    if !filters.options.is_empty() {
        cannot(
            "a RouteOption governs all requests of a rule: for those of one backend it would be chance whom it guards; name it among the filters of the rule",
        );
    }
    if filters.redirect.is_some() && rule.filters.cors.is_some() {
        cannot(
            "RequestRedirect for a backend of a rule with CORS: Envoy answers nothing about origins where it redirects",
        );
    }
    if filters.redirect.is_some() && !rule.filters.mirrors.is_empty() {
        cannot("RequestRedirect for a backend of a rule with RequestMirror: Envoy copies only what it sends on");
    }
    if let (Some(_), Err(why)) = (&filters.cors, cors_of_backends(rule)) {
        cannot(why);
    }
    problems
}

/// The CORS filter that all backends of `rule` have, or why it cannot be done.
fn cors_of_backends(rule: &Rule) -> Result<Option<&Cors>, &'static str> {
    let mut all = rule.backends.iter().filter(|backend| backend.weight > 0).map(|one| one.filters.cors.as_deref());
    let Some(first) = all.next() else { return Ok(None) };
    let same = all.clone().all(|other| other == first);
    if first.is_none() && same {
        Ok(None)
    } else if rule.filters.cors.is_some() {
        Err("the rule has a CORS filter as well; keep one of the two")
    } else if same {
        Ok(first)
    } else {
        Err(
            "a browser's preflight and the request behind it may go to different backends, which have different CORS filters; write one among the filters of the rule",
        )
    }
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

/// Whether a ReferenceGrant beside `to` lets `from` refer to it.
fn granted(view: &View<'_>, from: &ObjectRef, to: &Name) -> bool {
    view.grants_in(&to.namespace).any(|grant| {
        let from_ok = grant.spec.from.iter().any(|f| {
            f.group == from.kind.group() && f.kind == from.kind.as_str() && f.namespace == from.name.namespace
        });
        let to_ok = grant.spec.to.iter().any(|t| {
            t.group.is_empty()
                && t.kind == "Service"
                && t.name.as_deref().is_none_or(|name| name.is_empty() || name == to.name)
        });
        from_ok && to_ok
    })
}
