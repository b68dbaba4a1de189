//! What happens to connections to each port of one Service: the unit in which is translated.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Kind, Name, ObjectRef};
use ir::access::Access;
use ir::{Chain, Destination, Enrolment, Origins, PortRef, Traffic};

use crate::access::{self, Targets};
use crate::decided::Unit;
use crate::decided::attached::Bound;
use crate::decided::said::PortFate;
use crate::services::{self, Port};
use crate::status::Statuses;
use crate::view::View;
use crate::{parents, refusals, routes};

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
        let policies = access::governing(view, gateway, &id);
        let (traffic, access) = traffic(view, gateway, &id, &port, &bound, &policies, &mut statuses);
        let mut origins = Origins::from([ObjectRef { kind: Kind::Service, name: name.clone() }, waypoint.clone()]);
        if let Some(routes) = traffic.routes() {
            origins.extend(routes.iter().flat_map(|route| route.origins.iter().cloned()));
        }
        let policy = |name: &Name| ObjectRef { kind: Kind::AuthorizationPolicy, name: name.clone() };
        origins.extend(policies.keys().map(policy));
        chains.insert(id, Arc::new(Chain { addresses: addresses.clone(), traffic, access, origins }));
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
    access: Access,
    /// Why all that comes there is refused.
    refused: Option<&'v str>,
}

/// What comes to a port, and who may do what there.
fn traffic<'v>(
    view: &View<'v>,
    gateway: &Name,
    id: &PortRef,
    port: &Port,
    bound: &[Bound<'v>],
    policies: &Targets,
    statuses: &mut Statuses,
) -> (Traffic, Access) {
    let own = bound.iter().any(Bound::by_service);
    let http = port.protocol(own).is_http() || bound.iter().any(Bound::names_port);
    let access = access::access(view, id, policies, http);
    let refused = refusals::of_port(view, gateway, id, http);
    let governed = Governed { view, id, port, bound, access, refused };
    let traffic = if http { governed.http(statuses) } else { governed.unread(statuses) };
    let refused = match &traffic {
        Traffic::Refuse(why) => Some(why.as_str()),
        _ => refused,
    };
    policies.iter().for_each(|(policy, targets)| statuses.guards(policy, targets, id, refused));
    (traffic, governed.access)
}

/// A port is read as HTTP if it is HTTP, or if a route names it. If a policy of the Service's own
/// routes cannot be enforced on what is not HTTP, connections to such a port are refused.
impl Governed<'_, '_> {
    fn http(&self, statuses: &mut Statuses) -> Traffic {
        let Self { view, id, port, bound, access, refused } = self;
        let routes = routes::routes(view, id, bound, access, refused.is_none(), statuses);
        if let Some(why) = refused {
            statuses.port(bound, id, &PortFate::Refused((*why).to_owned()));
            return Traffic::Http(vec![routes::refused(&id.service, why)]);
        }
        statuses.port(bound, id, &PortFate::Served);
        // Nothing is asked for there that only HTTP could give.
        match port.says_nothing() && bound.is_empty() && access.is_empty() {
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
                statuses.port(bound, id, &PortFate::Refused((*why).to_owned()));
                Traffic::Refuse((*why).to_owned())
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
