//! What happens to connections to each port of the Services of one Gateway.

use std::collections::{BTreeMap, BTreeSet};

use api::{Kind, Name, ObjectRef};
use ir::{Chain, Destination, Enrolment, PortRef, Traffic};
use status::Report;

use super::parents::Bound;
use super::services::{self, Port};
use super::status::{PortFate, Statuses};
use super::{Inputs, routes};

/// One chain per port of each Service that `gateway` serves.
pub fn chains(
    inputs: &Inputs<'_>,
    gateway: &Name,
    enrolled: &BTreeMap<Name, Enrolment>,
    statuses: &mut Statuses,
    report: &mut Report,
) -> BTreeMap<PortRef, Chain> {
    let mut chains = BTreeMap::new();
    let mut taken = BTreeMap::new();
    let waypoint = ObjectRef { kind: Kind::Gateway, name: gateway.clone() };
    for (name, _) in enrolled.iter().filter(|(_, enrolment)| **enrolment == Enrolment::Waypoint(gateway.clone())) {
        let Some(service) = inputs.snapshot.services.get(name) else { continue };
        let addresses = services::addresses(service, name, &waypoint, &mut taken, report);
        if addresses.is_empty() {
            continue;
        }
        for port in services::ports(service) {
            let id = PortRef { service: name.clone(), port: port.number };
            let bound = inputs.attached.of(gateway, &id, port.name.as_deref());
            let traffic = traffic(inputs, gateway, &id, &port, &bound, statuses);
            let mut origins = BTreeSet::from([ObjectRef { kind: Kind::Service, name: name.clone() }, waypoint.clone()]);
            if let Traffic::Http(routes) = &traffic {
                origins.extend(routes.iter().flat_map(|route| route.origins.iter().cloned()));
            }
            chains.insert(id, Chain { addresses: addresses.clone(), traffic, origins });
        }
    }
    chains
}

/// A port is read as HTTP if it is HTTP, or if a route names it. If a policy of the Service's own
/// routes cannot be enforced on what is not HTTP, connections to such a port are refused.
fn traffic(
    inputs: &Inputs<'_>,
    gateway: &Name,
    id: &PortRef,
    port: &Port,
    bound: &[Bound<'_>],
    statuses: &mut Statuses,
) -> Traffic {
    let own: Vec<&Bound<'_>> = bound.iter().filter(|bound| bound.by_service()).collect();
    let http = port.protocol(!own.is_empty()).is_http() || bound.iter().any(Bound::names_port);
    let refused = inputs.refusals.of(gateway, id, http);
    if http {
        let routes = routes::routes(inputs, id, bound, statuses);
        let Some(why) = refused else {
            statuses.port(bound, id, &PortFate::Served);
            return Traffic::Http(routes);
        };
        statuses.port(bound, id, &PortFate::Refused(why.to_owned()));
        return Traffic::Http(vec![routes::refused(&id.service, why)]);
    }
    let because = port.because();
    let guard = own.iter().find_map(|bound| routes::guard(inputs, bound.route, statuses));
    match (refused, guard) {
        (Some(why), _) => {
            statuses.port(bound, id, &PortFate::Refused(why.to_owned()));
            Traffic::Refuse(why.to_owned())
        }
        (None, Some(guard)) => {
            statuses.port(bound, id, &PortFate::Closed { because, guard: guard.clone() });
            Traffic::Refuse(guard)
        }
        (None, None) => {
            statuses.port(bound, id, &PortFate::Unread { because });
            Traffic::Tcp(Destination::Service(id.clone()))
        }
    }
}
