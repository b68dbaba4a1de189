//! The routes of one Service port, in the order in which Envoy tries them.

use std::collections::BTreeSet;
use std::time::Duration;

use api::gateway::HttpRoute;
use api::gateway::httproutes::{HttpRouteRules as Rule, HttpRouteRulesFilters, HttpRouteRulesMatches};
use api::gloo::rate_limit_config::config_id;
use api::gloo::route_option::{RouteOptions, basic_id};
use api::object::Meta;
use api::proto_json::ProtoDuration;
use api::{Broken, Kind, Name, Object, ObjectRef, Problem, Snapshot};
use ir::{
    Action, Backend, Destination, Forward, HeaderChanges, Match, PathRewrite, Policy, PortRef, Route, Settings, Stage,
    USER_ID,
};

use super::filters::{Filters, filters};
use super::matches::{Precedence, age, matches, precedence};
use super::options::Effective;
use super::parents::Bound;
use super::status::Statuses;
use super::{describe, gloo, options, refused};

/// Gloo's default, which the application sees as `x-envoy-expected-rq-timeout-ms`.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The routes of the Service port `id`, governed by `bound`.
pub fn routes(
    snapshot: &Snapshot,
    settings: &Settings,
    id: &PortRef,
    bound: &[Bound],
    policies: &options::Policies<'_>,
    statuses: &mut Statuses,
) -> Vec<Route> {
    let service = ObjectRef { kind: Kind::Service, name: id.service.clone() };
    if bound.is_empty() {
        let forward = Forward { backends: vec![to(id.clone())], ..forward() };
        return vec![Route {
            name: format!("{service} default"),
            matches: Match::everything(),
            action: Action::Forward(forward),
            policy: Policy::default(),
            origins: BTreeSet::from([service]),
        }];
    }
    let mut all: Vec<(Precedence, Route)> = Vec::new();
    let mut last = None;
    let mut first = None;
    for bound in bound {
        let reference = ObjectRef { kind: Kind::HttpRoute, name: bound.route.clone() };
        if bound.broken {
            let Some(broken) = snapshot.broken.get(&reference) else { continue };
            let Some(Object::HttpRoute(partial)) = &broken.partial else { continue };
            let (refusals, why) = refused::broken(&reference, partial);
            let origins = BTreeSet::from([reference.clone()]);
            for (matches, rule, index) in refusals {
                let order = precedence(&matches, &age(partial.meta()), &reference, rule, index);
                let name = format!("{reference} rule {rule} match {index}");
                all.push((order, refused::route(name, matches, 500, why.clone(), origins.clone())));
            }
            let everything = refused::route(format!("{reference} invalid"), Match::everything(), 500, why, origins);
            // Where we cannot tell what it would have matched, nothing else may answer in its place.
            if matches_unreadable(broken) {
                first.get_or_insert(everything)
            } else {
                last.get_or_insert(everything)
            };
        } else if let Some(route) = snapshot.http_routes.get(&bound.route) {
            let mut resolver = Resolver { snapshot, settings, policies, statuses, reference, route };
            all.extend(resolver.route(id));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut routes: Vec<Route> = first.into_iter().chain(all.into_iter().map(|(_, route)| route)).chain(last).collect();
    guard_user_id(&mut routes);
    routes
}

fn matches_unreadable(broken: &Broken) -> bool {
    broken.problems.iter().filter(|p| p.is_error()).any(|problem| {
        let field = problem.field.as_str();
        field == "spec"
            || field == "spec.rules"
            || field.contains(".matches")
            || field.starts_with("spec.rules[") && field.ends_with(']') && !field.contains('.')
            || field.strip_prefix("spec.rules[").is_some_and(|rest| rest.ends_with(']') && !rest.contains('.'))
            || field == "spec.hostnames"
    })
}

/// Where policy sets the caller's name on some routes of a Service, no caller may set it on the others.
fn guard_user_id(routes: &mut [Route]) {
    if routes.iter().any(|route| route.policy.auth.is_some()) {
        for route in routes.iter_mut().filter(|route| route.policy.auth.is_none()) {
            if !route.policy.request.remove.iter().any(|name| name.eq_ignore_ascii_case(USER_ID)) {
                route.policy.request.remove.push(USER_ID.to_owned());
            }
        }
    }
}

fn forward() -> Forward {
    Forward { backends: vec![], timeout: TIMEOUT, try_timeout: None, retries: None, host: None, path: None }
}

fn to(target: PortRef) -> Backend {
    Backend {
        target: Some(Destination::Service(target)),
        weight: 1,
        request: HeaderChanges::default(),
        response: HeaderChanges::default(),
    }
}

/// Resolves the rules of one HTTPRoute.
struct Resolver<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    policies: &'a options::Policies<'a>,
    statuses: &'a mut Statuses,
    reference: ObjectRef,
    route: &'a HttpRoute,
}

impl Resolver<'_> {
    fn route(&mut self, id: &PortRef) -> Vec<(Precedence, Route)> {
        let hosts = self.hosts();
        let age = age(self.route.meta());
        let everything = [HttpRouteRulesMatches::default()];
        let mut routes = Vec::new();
        let rules = self.route.spec.rules.as_deref().unwrap_or_default();
        for (rule_index, rule) in rules.iter().enumerate() {
            let (action, policy, origins) = self.rule(id, rule_index, rule);
            let written = rule.matches.as_deref().filter(|matches| !matches.is_empty()).unwrap_or(&everything);
            for (index, written) in written.iter().enumerate() {
                let matches = matches(written, &hosts);
                let order = precedence(&matches, &age, &self.reference, rule_index, index);
                let name = format!("{} rule {rule_index} match {index}", self.reference);
                let (mut action, policy) = (action.clone(), policy.clone());
                self.fit_rewrite(&matches, &mut action, rule_index);
                routes.push((order, Route { name, matches, action, policy, origins: origins.clone() }));
            }
        }
        routes
    }

    /// Host names mean something only under a Gateway; a Service's callers are told apart by address.
    fn hosts(&mut self) -> Vec<String> {
        let hosts = self.route.spec.hostnames.clone().unwrap_or_default();
        let only_gateways = self.route.spec.parent_refs.iter().flatten().all(|p| p.kind.as_deref() != Some("Service"));
        if hosts.is_empty() || only_gateways {
            return hosts;
        }
        self.warn("spec.hostnames", "ignored: a route of a Service applies whatever the Host header says");
        Vec::new()
    }

    fn warn(&mut self, field: &str, message: &str) {
        self.statuses.route(&self.reference.name).warn(Problem::warning(field, message));
    }

    /// `ReplacePrefixMatch` needs a prefix to replace.
    fn fit_rewrite(&mut self, matches: &Match, action: &mut Action, rule: usize) {
        use ir::PathMatch;
        let path = match action {
            Action::Forward(forward) => &forward.path,
            Action::Redirect(redirect) => &redirect.path,
            Action::Refuse(_) => return,
        };
        if matches!(path, Some(PathRewrite::Prefix(_))) && !matches!(matches.path, PathMatch::Prefix(_)) {
            let field = format!("spec.rules[{rule}]");
            let why = "a prefix is replaced, but the match is not of type PathPrefix";
            self.statuses.route(&self.reference.name).unsupported(Problem::error(field, why));
            *action = refuse(500, format!("{}: {why}", self.reference));
        }
    }

    fn rule(&mut self, id: &PortRef, index: usize, rule: &Rule) -> (Action, Policy, BTreeSet<ObjectRef>) {
        let field = format!("spec.rules[{index}]");
        let mut origins = BTreeSet::from([self.reference.clone()]);
        let namespace = self.reference.name.namespace.clone();
        let written = filters(rule.filters.as_deref().unwrap_or_default(), &format!("{field}.filters"), &namespace);
        let effective =
            self.policies.effective(self.snapshot, &self.reference.name, rule.name.as_deref(), &written.options);
        for name in &effective.sources {
            origins.insert(ObjectRef { kind: Kind::RouteOption, name: name.clone() });
        }
        self.statuses.policies(&self.reference, &effective, id);

        let mut problems = written.problems.clone();
        for (name, present) in
            [("retry", rule.retry.is_some()), ("sessionPersistence", rule.session_persistence.is_some())]
        {
            if present {
                problems.push(Problem::error(
                    format!("{field}.{name}"),
                    format!("{name} is not supported yet; requests of this rule are answered 500"),
                ));
            }
        }
        let timeouts = self.timeouts(rule, &field, &mut problems);
        if let Some(problem) = problems.first() {
            let why = format!("{}: {problem}", self.reference);
            for problem in problems {
                self.statuses.route(&self.reference.name).unsupported(problem);
            }
            return (refuse(500, why), Policy::default(), origins);
        }
        if let Some(why) = &effective.refusal {
            return (refuse(500, why.clone()), Policy::default(), origins);
        }

        let policy = self.policy(&written, &effective, &mut origins);
        if written.redirect.is_some() && !policy.limits.is_empty() {
            self.warn(&field, "redirects are not limited: Envoy asks for limits only where it forwards");
        }
        if policy.auth.is_some() && self.settings.extauth.is_none() {
            let why = "this route needs authorization, and no authorization service is configured".to_owned();
            return (refuse(403, why), Policy::default(), origins);
        }
        let action = match &written.redirect {
            Some(redirect) => Action::Redirect(redirect.clone()),
            None => self.forward(rule, &field, written, &effective.options, timeouts),
        };
        (action, policy, origins)
    }

    fn timeouts(&self, rule: &Rule, field: &str, problems: &mut Vec<Problem>) -> [Option<Duration>; 2] {
        let written = rule.timeouts.as_ref();
        let mut read = |name: &str, text: Option<&String>| {
            let parsed = text?.parse::<ProtoDuration>();
            parsed
                .map_err(|why| problems.push(Problem::error(format!("{field}.timeouts.{name}"), why)))
                .ok()
                .map(|d| d.0)
        };
        [
            read("request", written.and_then(|t| t.request.as_ref())),
            read("backendRequest", written.and_then(|t| t.backend_request.as_ref())),
        ]
    }

    fn policy(&mut self, written: &Filters, effective: &Effective, origins: &mut BTreeSet<ObjectRef>) -> Policy {
        let options = &effective.options;
        let mut policy =
            Policy { request: written.request.clone(), response: written.response.clone(), ..Policy::default() };
        if let Some(headers) = &options.header_manipulation {
            gloo::manipulate(headers, &mut policy);
        }
        if let Some(extauth) = options.extauth.as_ref().filter(|extauth| extauth.disable != Some(true))
            && let Some(reference) = &extauth.config_ref
        {
            let name = reference.resolve(&self.reference.name.namespace);
            origins.insert(ObjectRef { kind: Kind::AuthConfig, name: name.clone() });
            policy.auth = Some(name);
        }
        if self.settings.ratelimit.is_some() {
            let usual = if self.settings.limits.before_auth { Stage::Early } else { Stage::Regular };
            for (stage, configs) in [
                (Stage::Early, &options.rate_limit_early_configs),
                (usual, &options.rate_limit_configs),
                (Stage::Regular, &options.rate_limit_regular_configs),
            ] {
                for reference in configs.iter().flat_map(|configs| &configs.refs) {
                    let name = reference.resolve(&self.reference.name.namespace);
                    if let Some(config) = self.snapshot.rate_limit_configs.get(&name) {
                        let written = &config.spec.raw.rate_limits;
                        policy.limits.extend(describe::configured(stage, &config_id(&name), written));
                    }
                    origins.insert(ObjectRef { kind: Kind::RateLimitConfig, name });
                }
            }
            if let (Some(basic), Some(option)) = (&options.ratelimit_basic, &effective.basic) {
                policy.limits.extend(describe::by_caller(&basic_id(option), basic, policy.auth.is_some()));
            }
        }
        policy.cors = options.cors.as_ref().and_then(gloo::cors);
        policy.faults = options.faults.as_ref().map(gloo::faults);
        policy
    }

    fn forward(
        &mut self,
        rule: &Rule,
        field: &str,
        written: Filters,
        options: &RouteOptions,
        [request, try_timeout]: [Option<Duration>; 2],
    ) -> Action {
        let mut backends = Vec::new();
        for (index, reference) in rule.backend_refs.iter().flatten().enumerate() {
            let field = format!("{field}.backendRefs[{index}]");
            let weight = reference.weight.and_then(|w| u32::try_from(w).ok()).unwrap_or(1);
            // Filters of backends have types of their own with the same fields.
            let own: Vec<HttpRouteRulesFilters> =
                serde_json::to_value(reference.filters.as_deref().unwrap_or_default())
                    .and_then(serde_json::from_value)
                    .unwrap_or_default();
            let own = filters(&own, &format!("{field}.filters"), &self.reference.name.namespace);
            let beyond = own.redirect.is_some() || own.host.is_some() || own.path.is_some() || !own.options.is_empty();
            let mut target = self.backend(reference, &field);
            if beyond || !own.problems.is_empty() {
                let problem = own.problems.first().cloned().unwrap_or_else(|| {
                    Problem::error(
                        format!("{field}.filters"),
                        "a backend's filters may change headers only; requests to it are answered 500",
                    )
                });
                self.statuses.route(&self.reference.name).unsupported(problem);
                target = None;
            }
            backends.push(Backend { target, weight, request: own.request, response: own.response });
        }
        backends.retain(|backend| backend.weight > 0);
        if backends.iter().all(|backend| backend.target.is_none()) {
            return refuse(500, format!("{} {field} has no backend that exists", self.reference));
        }
        let path = written.path.or_else(|| options.prefix_rewrite.clone().map(PathRewrite::Prefix));
        Action::Forward(Forward {
            backends,
            timeout: request.or(options.timeout.map(|timeout| timeout.0)).unwrap_or(TIMEOUT),
            try_timeout: try_timeout.or(options.retries.as_ref().and_then(|r| r.per_try_timeout).map(|t| t.0)),
            retries: options.retries.as_ref().map(gloo::retries),
            host: written.host.or_else(|| options.host_rewrite.clone()),
            path,
        })
    }

    /// The Service port a backendRef means; none, and a word in the status, if it cannot be used.
    fn backend(
        &mut self,
        reference: &api::gateway::httproutes::HttpRouteRulesBackendRefs,
        field: &str,
    ) -> Option<Destination> {
        let home = self.reference.name.namespace.clone();
        let name = Name::new(reference.namespace.as_deref().unwrap_or(&home), reference.name.as_str());
        let status = self.statuses.route(&self.reference.name);
        let (group, kind) = (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Service"));
        if (group, kind) != ("", "Service") {
            let message = format!("{kind} of {group:?} is not a backend we know; write a Service");
            status.unresolved("InvalidKind", Problem::error(format!("{field}.kind"), message));
            return None;
        }
        if name.namespace != home && !granted(self.snapshot, &home, &name) {
            let message =
                format!("no ReferenceGrant in {} lets HTTPRoutes of {home} refer to Service {name}", name.namespace);
            status.unresolved("RefNotPermitted", Problem::error(field, message));
            return None;
        }
        let Some(service) = self.snapshot.services.get(&name) else {
            status.unresolved("BackendNotFound", Problem::error(field, format!("Service {name} does not exist")));
            return None;
        };
        let port = reference.port.and_then(|port| u16::try_from(port).ok());
        let ports = super::services::ports(service);
        match port.filter(|port| ports.iter().any(|p| p.number == *port)) {
            Some(port) => Some(Destination::Service(PortRef { service: name, port })),
            None => {
                let have: Vec<String> = ports.iter().map(|p| p.number.to_string()).collect();
                let message = format!("Service {name} has no such TCP port; it has {}", have.join(", "));
                status.unresolved("BackendNotFound", Problem::error(format!("{field}.port"), message));
                None
            }
        }
    }
}

fn refuse(status: u32, why: String) -> Action {
    Action::Refuse(ir::Refusal { status, why })
}

/// Whether a ReferenceGrant beside `to` lets HTTPRoutes of `from` refer to it.
fn granted(snapshot: &Snapshot, from: &str, to: &Name) -> bool {
    snapshot.reference_grants.iter().filter(|(name, _)| name.namespace == to.namespace).any(|(_, grant)| {
        let from_ok = grant
            .spec
            .from
            .iter()
            .any(|f| f.group == "gateway.networking.k8s.io" && f.kind == "HTTPRoute" && f.namespace == from);
        let to_ok = grant.spec.to.iter().any(|t| {
            t.group.is_empty()
                && t.kind == "Service"
                && t.name.as_deref().is_none_or(|name| name.is_empty() || name == to.name)
        });
        from_ok && to_ok
    })
}
