//! Which AuthConfig a rule asks for, and who believes what that sets.

use api::gloo::route_option::RouteOptions;
use api::{Kind, Name, ObjectRef};

use crate::declared::Rule;
use crate::status::Statuses;

/// The AuthConfig that `options` of `route` ask for.
pub fn authorization(route: &ObjectRef, options: &RouteOptions) -> Option<Name> {
    let extauth = options.extauth.as_ref().filter(|extauth| extauth.disable != Some(true))?;
    Some(extauth.config_ref.as_ref()?.resolve(&route.name.namespace))
}

/// Notes to whom what passes the authorization of `rule` comes: they believe what it sets. Who gets copies is told as
/// much as who answers. One without a port is told nothing.
pub fn claim(route: &ObjectRef, rule: &Rule, options: &RouteOptions, statuses: &mut Statuses) {
    let Some(config) = authorization(route, options) else { return };
    let backends = rule.backends.iter().map(|backend| &backend.to);
    let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters.mirrors);
    let mirrors = rule.filters.mirrors.iter().chain(of_backends).map(|mirror| &mirror.to);
    for to in backends.chain(mirrors) {
        let config = ObjectRef { kind: Kind::AuthConfig, name: config.clone() };
        statuses.claim(to.service_port(), config);
    }
}
