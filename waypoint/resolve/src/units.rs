//! What happens to connections to each port of one Service: the unit in which is translated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Kind, Name, ObjectRef};
use ir::access::Access;
use ir::{Action, Chain, Destination, Enrolment, Origins, PortRef, Tokens, Traffic};

use crate::access::{self, Read, Targets};
use crate::decided::Unit;
use crate::decided::attached::Bound;
use crate::decided::said::PortFate;
use crate::doubtful::Looked;
use crate::routes::At;
use crate::services::{self, Port, Protocol};
use crate::set_aside::{Parted, SetAside, part};
use crate::status::Statuses;
use crate::view::View;
use crate::{parents, refusals, routes, tokens};

/// The unit of the Service `name`; nothing if no waypoint serves it.
pub fn unit(view: &View<'_>, name: &Name) -> Option<Unit> {
    let Some(Enrolment::Waypoint(gateway)) = view.enrolment(name) else { return None };
    let service = view.service(name)?;
    let waypoint = ObjectRef { kind: Kind::Gateway, name: gateway.clone() };
    let mut statuses = Statuses::default();
    let (addresses, conditions) = services::addresses(view, service, name, gateway);
    let mut chains = BTreeMap::new();
    // Without an address nobody can come.
    let ports = if addresses.is_empty() { Vec::new() } else { services::ports(service) };
    for port in ports {
        let id = PortRef { service: name.clone(), port: port.number };
        let bound = parents::governing(view, gateway, &id, port.name.as_deref());
        let policies = access::governing(view, gateway, &id, Kind::AuthorizationPolicy);
        let authentications = access::governing(view, gateway, &id, Kind::RequestAuthentication);
        let governing = Governing { bound, policies: &policies, authentications: &authentications };
        let (traffic, tokens, access) = traffic(view, gateway, &id, &port, governing, &mut statuses);
        let mut origins = Origins::from([ObjectRef { kind: Kind::Service, name: name.clone() }, waypoint.clone()]);
        if let Some(routes) = traffic.routes() {
            origins.extend(routes.iter().flat_map(|route| route.origins.iter().cloned()));
        }
        origins.extend(policies.keys().chain(authentications.keys()).cloned());
        chains.insert(id, Arc::new(Chain { addresses: addresses.clone(), traffic, tokens, access, origins }));
    }
    let Statuses { claims, said } = statuses;
    let said = said.into_iter().map(|(object, said)| (object, Arc::new(said))).collect();
    Some(Unit { gateway: gateway.clone(), chains, addresses: conditions, claims, said })
}

/// A port of a Service, and what governs it.
struct Governed<'g, 'v> {
    view: &'g View<'v>,
    id: &'g PortRef,
    port: &'g Port,
    bound: &'g [Bound<'v>],
    tokens: Tokens,
    access: Access,
    /// Why all that comes there is refused.
    refused: Option<String>,
}

/// What governs a port by naming it, or what is in front of it.
struct Governing<'g, 'v> {
    bound: Vec<Bound<'v>>,
    policies: &'g Targets,
    authentications: &'g Targets,
}

/// What comes to a port, and who may do what there.
fn traffic<'v>(
    view: &View<'v>,
    gateway: &Name,
    id: &PortRef,
    port: &Port,
    Governing { bound, policies, authentications }: Governing<'_, 'v>,
    statuses: &mut Statuses,
) -> (Traffic, Tokens, Access) {
    let own = bound.iter().any(Bound::by_service);
    let http = port.protocol(own).is_http() || bound.iter().any(Bound::names_port);
    // What is not HTTP has no tokens.
    let (tokens, unverifiable) = match http.then(|| tokens::tokens(view, authentications)) {
        None => (Tokens::default(), None),
        Some(Ok(tokens)) => (tokens, None),
        Some(Err(why)) => (Tokens::default(), Some(why)),
    };
    let access = access::access(view, id, policies, Read { http, tokens: !tokens.is_empty() });
    let parted = if http { part(bound) } else { Parted { counting: bound, set_aside: Vec::new(), by: None } };
    let (bound, set_aside) = (parted.counting.as_slice(), SetAside::of(view, &parted.set_aside, statuses));
    let refused = refusals::of_port(view, gateway, id, http).map(str::to_owned).or(unverifiable);
    if let Some(by) = parted.by {
        let fate = refused.clone().map_or(PortFate::SetAside(by), PortFate::Refused);
        statuses.port(&parted.set_aside, id, &fate);
    }
    let governed = Governed { view, id, port, bound, tokens, access, refused };
    let traffic = if http { governed.http(set_aside, statuses) } else { governed.unread(statuses) };
    let refused = match &traffic {
        Traffic::Refuse(why) => Some(why.as_str()),
        _ => governed.refused.as_deref(),
    };
    policies.iter().for_each(|(policy, targets)| statuses.guards(policy, targets, id, refused));
    if http {
        authentications.iter().for_each(|(policy, targets)| statuses.guards(policy, targets, id, refused));
        claim(id, &traffic, authentications, statuses);
    }
    (traffic, governed.tokens, governed.access)
}

/// The applications at `id`, and where its routes lead, believe what `authentications` set.
fn claim(id: &PortRef, traffic: &Traffic, authentications: &Targets, statuses: &mut Statuses) {
    if authentications.is_empty() {
        return;
    }
    let forwards = traffic.routes().into_iter().flatten().filter_map(|route| match &route.action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::Refuse(_) => None,
    });
    let led = forwards.flat_map(|forward| forward.destinations()).map(|to| to.port().clone());
    let ports: BTreeSet<PortRef> = led.chain([id.clone()]).collect();
    for policy in authentications.keys() {
        ports.iter().for_each(|port| statuses.claim(port.clone(), policy.clone()));
    }
}

/// A port is read as HTTP if it is HTTP, or if a route names it. If a policy of the Service's own
/// routes cannot be enforced on what is not HTTP, connections to such a port are refused.
impl Governed<'_, '_> {
    fn http(&self, set_aside: SetAside, statuses: &mut Statuses) -> Traffic {
        let Self { view, id, port, bound, tokens, access, refused } = self;
        let looked = Looked { tokens, access };
        let streams = port.protocol(true) == Protocol::Grpc;
        let at = At { id, streams, served: refused.is_none(), set_aside };
        let routes = routes::routes(view, &at, bound, looked, statuses);
        if let Some(why) = refused {
            statuses.port(bound, id, &PortFate::Refused(why.clone()));
            return Traffic::Http(vec![routes::refused(&id.service, why)]);
        }
        statuses.port(bound, id, &PortFate::Served);
        // Nothing is asked for there that only HTTP could give.
        match port.says_nothing() && bound.is_empty() && access.is_empty() && tokens.is_empty() {
            true => Traffic::Sniffed(routes, Destination::Service((*id).clone())),
            false => Traffic::Http(routes),
        }
    }

    fn unread(&self, statuses: &mut Statuses) -> Traffic {
        let Self { view, id, port, bound, refused, .. } = self;
        let because = port.because();
        let guard =
            bound.iter().filter(|bound| bound.by_service()).find_map(|bound| routes::guard(view, bound, statuses));
        match (refused, guard) {
            (Some(why), _) => {
                statuses.port(bound, id, &PortFate::Refused(why.clone()));
                Traffic::Refuse(why.clone())
            }
            (None, Some(guard)) => {
                statuses.port(bound, id, &PortFate::Closed { because, guard: guard.clone() });
                Traffic::Refuse(guard)
            }
            (None, None) => {
                statuses.port(bound, id, &PortFate::Unread { because });
                Traffic::Tcp(Destination::Service((*id).clone()))
            }
        }
    }
}
