//! Who sets a header owns it.
//!
//! What an AuthConfig sets on the requests that it lets pass to a Service, that
//! Service's application believes. So nobody else may say it to the same
//! application: not a client of a route without authorization, of another port,
//! or of another Service whose routes lead there.

use std::collections::{BTreeMap, BTreeSet};

use api::{Kind, Name, Object, ObjectRef, Problem, Snapshot};
use ir::{Action, Descriptor, Destination, Disowned, Entry, Forward, Proxy, Route, Settings, Traffic};

use crate::status::Statuses;

/// Which AuthConfigs guard the way to which Service, also where their routes are refused for now:
/// what an application believes does not change with it.
#[derive(Debug, Default)]
pub struct Claims(BTreeMap<Name, BTreeSet<Name>>);

impl Claims {
    /// Routes to `service` are to be authorized by `config`.
    pub fn add(&mut self, service: Name, config: Name) {
        self.0.entry(service).or_default().insert(config);
    }
}

/// Takes from the clients of all routes what they must not say to where the route leads.
pub fn disown(snapshot: &Snapshot, settings: &Settings, proxies: &mut BTreeMap<Name, Proxy>, statuses: &mut Statuses) {
    let user = &settings.user_header;
    let owned: BTreeMap<Name, BTreeSet<String>> = statuses
        .claims
        .0
        .iter()
        .map(|(service, configs)| {
            (service.clone(), configs.iter().flat_map(|config| grants(snapshot, config, user)).collect())
        })
        .collect();
    if owned.is_empty() {
        return;
    }
    for proxy in proxies.values_mut() {
        for chain in proxy.listeners.iter_mut().flat_map(|listener| listener.chains.values_mut()) {
            let Traffic::Http(routes) = &mut chain.traffic else { continue };
            for route in routes {
                let Action::Forward(forward) = &route.action else { continue };
                let there: BTreeSet<&String> =
                    services(forward).filter_map(|service| owned.get(service)).flatten().collect();
                let own = route.policy.auth.as_ref().map(|auth| grants(snapshot, &auth.config, user));
                let own = own.unwrap_or_default();
                route.policy.disowned = there
                    .into_iter()
                    .map(|name| Disowned { name: name.clone(), set_here: own.contains(name) })
                    .collect();
                warn(route, statuses);
            }
        }
    }
}

/// What `config` sets; of one that was never valid, what can be read of it.
fn grants(snapshot: &Snapshot, config: &Name, user_header: &str) -> BTreeSet<String> {
    let broken = snapshot.broken.get(&ObjectRef { kind: Kind::AuthConfig, name: config.clone() });
    let partial = match broken.and_then(|broken| broken.partial.as_ref()) {
        Some(Object::AuthConfig(partial)) => Some(partial.as_ref()),
        _ => None,
    };
    let object = snapshot.auth_configs.get(config).map(AsRef::as_ref).or(partial);
    object.map(|object| object.spec.grants(user_header)).unwrap_or_else(|| BTreeSet::from([user_header.to_owned()]))
}

fn services(forward: &Forward) -> impl Iterator<Item = &Name> {
    forward.backends.iter().filter_map(|backend| match backend.target.as_ref()? {
        Destination::Service(port) => Some(&port.service),
    })
}

/// A limit that counts by what every client may choose is none.
fn warn(route: &Route, statuses: &mut Statuses) {
    for disowned in route.policy.disowned.iter().filter(|disowned| !disowned.set_here) {
        if !route.policy.limits.iter().any(|limit| counts_by(limit, &disowned.name)) {
            continue;
        }
        for origin in route.origins.iter().filter(|origin| origin.kind == Kind::HttpRoute) {
            let message = format!(
                "a limit counts by {}, which only authorization sets and this rule asks for none (or for one that does not set it): \
                 clients choose by whose count they are counted; add extauth, or count by remoteAddress",
                disowned.name
            );
            statuses.route(&origin.name).warn(Problem::warning("spec.rules", message));
        }
    }
}

fn counts_by(limit: &Descriptor, header: &str) -> bool {
    limit.entries.iter().any(|entry| match entry {
        Entry::Header { name, .. } => name.eq_ignore_ascii_case(header),
        Entry::HeadersMatch { headers, .. } => headers.iter().any(|test| test.name.eq_ignore_ascii_case(header)),
        _ => false,
    })
}
