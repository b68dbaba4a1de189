//! Service: defaults, ports, and the label that names its waypoint.

use super::prelude::*;
use super::waypoint_labels;
use crate::core::{IntOrString, Service};
pub(crate) use crate::decode::warning as decode;

/// Service defaults: `protocol: TCP`, `targetPort` = `port`; ports checked.
pub fn validate(service: &mut Service) -> Vec<Problem> {
    let mut problems = waypoint_labels::validate(&service.metadata);
    let ports = service.spec.get_or_insert_default().ports.get_or_insert_default();
    let many = ports.len() > 1;
    for (index, port) in ports.iter_mut().enumerate() {
        let field = format!("spec.ports[{index}]");
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        if !(1..=65535).contains(&port.port) {
            problems.push(Problem::error(
                format!("{field}.port"),
                format!("{} is not a port; write 1 to 65535", port.port),
            ));
        }
        if many && port.name.is_none() {
            problems.push(Problem::error(format!("{field}.name"), "missing: with several ports each needs a name"));
        }
        port.target_port.get_or_insert(IntOrString::Int(port.port));
    }
    problems
}

/// The waypoint that its own label asks for. Unknown: for it alone.
pub fn reach(raw: &Raw<'_>) -> Reach {
    waypoint_labels::reach::<Service>(raw, &raw.name.namespace)
}
