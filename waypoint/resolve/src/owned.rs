//! Who sets a header owns it.
//!
//! What an AuthConfig sets on the requests that it lets pass to a Service, that
//! Service's application believes. So nobody else may say it to the same
//! application: not a client of a route without authorization, of another port,
//! or of another Service whose routes lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Kind, Name, Object, ObjectRef, Problem};
use ir::{Action, Chain, Descriptor, Disowned, Entry, Forward, PortRef, Refusal, Route, Traffic};

use crate::access;
use crate::decided::said::Said;
use crate::declared::KINDS;
use crate::status::Statuses;
use crate::view::View;

/// What is set by the AuthConfigs and RequestAuthentications that guard the way to a port of a Service, also where their routes are refused for now: what an
/// application believes does not change with it. Nothing if there are none.
pub fn granted(view: &View<'_>, id: &PortRef) -> Option<BTreeSet<String>> {
    let mut claims = view.claims(id).peekable();
    claims.peek()?;
    Some(claims.flat_map(|guard| grants(view, guard)).collect())
}

/// The chains of the unit of `service`, with what their clients must not say to where a route leads,
/// and what is to be said about limits that count by it. Nothing if there is no such unit.
pub fn disown(view: &View<'_>, service: &Name) -> Option<Disowning> {
    let unit = view.unit(service)?;
    let mut statuses = Statuses::default();
    let mut chains = BTreeMap::new();
    for (id, chain) in &unit.chains {
        let Some(routes) = chain.traffic.routes() else {
            let closed = closed(view, chain, id, &mut statuses);
            chains.insert(id.clone(), closed.unwrap_or_else(|| chain.clone()));
            continue;
        };
        let set: BTreeSet<String> = chain.tokens.grants().collect();
        let disowned: Vec<BTreeSet<Disowned>> = routes.iter().map(|route| of_route(view, route, &set)).collect();
        if disowned.iter().all(BTreeSet::is_empty) {
            chains.insert(id.clone(), chain.clone());
            continue;
        }
        let mut routes = routes.clone();
        let looked_at = access::headers(&chain.access);
        for (route, disowned) in routes.iter_mut().zip(disowned) {
            if let Some(header) = theirs(view, route, &set).intersection(&looked_at).next() {
                let why = format!(
                    "an AuthorizationPolicy decides by {header}, which only authorization sets, and this route asks none \
                     that sets it: whoever calls could say it; add extauth"
                );
                statuses
                    .refused(&id.service, format!("requests of {} on port {} are refused: {why}", route.name, id.port));
                route.action = Action::Refuse(Refusal { status: 500, why });
                continue;
            }
            route.policy.disowned = disowned;
            warn(route, &mut statuses);
        }
        // Where clients may not say something, all that they say is read.
        let chain = Chain { traffic: Traffic::Http(routes), ..chain.as_ref().clone() };
        chains.insert(id.clone(), Arc::new(chain));
    }
    Some(Disowning { chains, said: statuses.said })
}

/// The chain in place of `chain` if that passes connections on unread to an application that believes what authorization
/// says: whoever connects could say it.
fn closed(view: &View<'_>, chain: &Chain, id: &PortRef, statuses: &mut Statuses) -> Option<Arc<Chain>> {
    let to = chain.traffic.unread()?.port();
    let headers: Vec<&String> = view.owned_at(to).into_iter().collect();
    let (first, more) = headers.split_first()?;
    let and_more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
    let why = format!(
        "port {} is passed on unread to an application that believes {first}{and_more}, which only authorization says: \
         connections to it are refused; declare appProtocol: http, or let the application listen for it elsewhere",
        id.port
    );
    statuses.refused(&id.service, why.clone());
    Some(Arc::new(Chain { traffic: Traffic::Refuse(why), ..chain.clone() }))
}

/// See [`disown`].
#[derive(Debug, Clone, PartialEq)]
pub struct Disowning {
    /// The chains.
    pub chains: BTreeMap<PortRef, Arc<Chain>>,
    /// What is to be said.
    pub said: BTreeMap<ObjectRef, Said>,
}

/// What clients must not say on `route`: what its applications believe, and of headers on which a policy depends or by
/// which it limits, other spellings: the application is not to take for the header what nobody looked at.
fn of_route(view: &View<'_>, route: &Route, set: &BTreeSet<String>) -> BTreeSet<Disowned> {
    let Action::Forward(forward) = &route.action else { return BTreeSet::new() };
    let there: BTreeSet<&String> = services(forward).flat_map(|service| view.owned(service)).collect();
    let own = match there.is_empty() {
        true => BTreeSet::new(),
        false => own(view, route, set),
    };
    // Whether they reach the application as they are spelt here.
    let mut looked_at: BTreeMap<String, bool> =
        route.policy.disowned.iter().map(|disowned| (disowned.name.clone(), disowned.spelling_stays)).collect();
    let counted = route.policy.limits.iter().flat_map(|limit| &limit.entries).flat_map(headers_of);
    looked_at.extend(counted.map(|name| (name.to_ascii_lowercase(), true)));
    looked_at.extend(there.into_iter().map(|name| (name.clone(), own.contains(name))));
    // Headers of one word have one spelling, and so has what is no header, as `:path`.
    let joined = |name: &str| !name.starts_with(':') && name.contains(|c: char| !c.is_ascii_alphanumeric());
    let several = looked_at.into_iter().filter(|(name, stays)| !stays || own.contains(name) || joined(name));
    several.map(|(name, spelling_stays)| Disowned { name, spelling_stays }).collect()
}

/// The headers that `route` sets itself: by its AuthConfig, and those that are `set` from tokens at its port.
fn own(view: &View<'_>, route: &Route, set: &BTreeSet<String>) -> BTreeSet<String> {
    let config = |name: &Name| ObjectRef { kind: Kind::AuthConfig, name: name.clone() };
    let auth = route.policy.auth.iter().flat_map(|auth| grants(view, &config(&auth.config)));
    auth.chain(set.iter().cloned()).collect()
}

/// The headers that the applications behind `route` believe and that it does not set itself.
fn theirs(view: &View<'_>, route: &Route, set: &BTreeSet<String>) -> BTreeSet<String> {
    let Action::Forward(forward) = &route.action else { return BTreeSet::new() };
    let own = own(view, route, set);
    let there = services(forward).flat_map(|service| view.owned(service));
    there.filter(|header| !own.contains(*header)).cloned().collect()
}

/// What `guard` sets; of one that was never valid, what can be read of it.
fn grants(view: &View<'_>, guard: &ObjectRef) -> BTreeSet<String> {
    let config = &guard.name;
    if guard.kind == Kind::RequestAuthentication {
        return view.request_authentication(config).into_iter().flat_map(|of| of.spec.grants()).collect();
    }
    let user_header = view.settings().user_header.as_str();
    let broken = view.broken(guard);
    let partial = match broken.and_then(|broken| broken.partial.as_ref()) {
        Some(Object::AuthConfig(partial)) => Some(partial.as_ref()),
        _ => None,
    };
    let object = view.auth_config(config).map(AsRef::as_ref).or(partial);
    object.map(|object| object.spec.grants(user_header)).unwrap_or_else(|| BTreeSet::from([user_header.to_owned()]))
}

/// The Services that get requests, or copies of them.
fn services(forward: &Forward) -> impl Iterator<Item = &Name> {
    forward.destinations().map(|to| &to.port().service)
}

/// A limit that counts by what every client may choose is none.
fn warn(route: &Route, statuses: &mut Statuses) {
    for disowned in route.policy.disowned.iter().filter(|disowned| !disowned.spelling_stays) {
        if !route.policy.limits.iter().any(|limit| counts_by(limit, &disowned.name)) {
            continue;
        }
        for origin in route.origins.iter().filter(|origin| KINDS.contains(&origin.kind)) {
            let message = format!(
                "a limit counts by {}, which only authorization sets and this rule asks for none (or for one that does not set it): \
                 clients choose by whose count they are counted; add extauth, or count by remoteAddress",
                disowned.name
            );
            statuses.route(origin).warn(Problem::warning("spec.rules", message));
        }
    }
}

fn counts_by(limit: &Descriptor, header: &str) -> bool {
    limit.entries.iter().flat_map(headers_of).any(|name| name.eq_ignore_ascii_case(header))
}

/// The headers that an entry looks at.
fn headers_of(entry: &Entry) -> Vec<&str> {
    match entry {
        Entry::Header { name, .. } => vec![name],
        Entry::HeadersMatch { headers, .. } => headers.iter().map(|test| test.name.as_str()).collect(),
        _ => Vec::new(),
    }
}
