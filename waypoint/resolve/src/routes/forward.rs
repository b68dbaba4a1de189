//! Where the requests of a rule are sent, with what is done to the share of each backend.

use std::time::Duration;

use api::gloo::route_option::RouteOptions;
use api::{Kind, Name, ObjectRef, Problem};
use ir::{Action, Backend, Cors, Destination, Forward, Mirror, Own, PathRewrite, PortRef, Retries};

use super::Resolver;
use crate::declared::filters::Filters;
use crate::declared::{BackendRef, Reference, Rule};
use crate::view::View;
use crate::{gloo, services};

/// Gloo's default, which the application sees as `x-envoy-expected-rq-timeout-ms`.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where requests to `port` go that nothing is declared for.
pub(super) fn undeclared(port: &PortRef, streams: bool) -> Forward {
    let backend = Backend::new(Some(Destination::Service(port.clone())), 1);
    Forward { timeout: if streams { Duration::ZERO } else { TIMEOUT }, streams, ..Forward::to(vec![backend]) }
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

impl Resolver<'_, '_, '_, '_> {
    pub(super) fn forward(&mut self, rule: &Rule, options: &RouteOptions) -> Action {
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
pub(super) fn cors_of_backends(rule: &Rule) -> Result<Option<&Cors>, &'static str> {
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
