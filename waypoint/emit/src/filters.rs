//! The HTTP filters of every chain. Each has a file with all there is to it, and a row in [`ORDER`].

mod cors;
mod disowned;
mod ext_authz;
mod fault;
pub mod forwarded_for;
pub mod rate_limit;
mod router;

use std::fmt::Debug;

use ir::{Policy, Settings};
use serde_json::{Map, Value, json};

use crate::packed;

/// The filters in the order in which a request meets them.
pub const ORDER: [&dyn HttpFilter; 8] = [
    // X-Forwarded-For is back before anybody reads it.
    &forwarded_for::ForwardedFor,
    // Mistakes on purpose come next: they stand for the network.
    &fault::Fault,
    // A browser's preflight carries no credentials, so it is answered before they are asked for.
    &cors::Cors,
    // How many may call, whoever they are.
    &rate_limit::RateLimit(ir::Stage::Early),
    // Who calls; sets headers that limits may count by.
    &ext_authz::ExtAuthz,
    // How many may call, after it is known who does.
    &rate_limit::RateLimit(ir::Stage::Regular),
    // What the application believes of authorization comes from nobody else.
    &disowned::DisownedHeaders,
    // Sends the request on.
    &router::Router,
];

/// One HTTP filter: what it is in a chain, what a route makes of it, and whom it asks.
pub trait HttpFilter: Debug {
    /// Its name in a chain, which is also the key of settings per route.
    fn name(&self) -> &'static str;

    /// The filter as it stands in a chain; none where it has nothing to do under `settings`.
    fn chain(&self, settings: &Settings) -> Option<InChain>;

    /// Its settings for a route with `policy`. Their presence turns a filter on that is off in the chain.
    fn route(&self, _policy: &Policy) -> Option<Value> {
        None
    }

    /// The clusters it needs besides those of Services, by name.
    fn clusters(&self, _settings: &Settings) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

/// A filter's part of a chain.
#[derive(Debug)]
pub struct InChain {
    /// Its message, packed.
    pub config: Value,
    /// Whether it does nothing until a route turns it on.
    pub off: bool,
}

impl InChain {
    /// A filter that sees every request.
    pub fn on(message: &str, fields: Value) -> Option<Self> {
        Some(Self { config: packed(message, fields), off: false })
    }

    /// A filter that does nothing until a route turns it on.
    pub fn off(message: &str, fields: Value) -> Option<Self> {
        Some(Self { off: true, ..Self::on(message, fields)? })
    }
}

/// The filters of a chain.
pub fn chain(settings: &Settings) -> Vec<Value> {
    let written = |filter: &&dyn HttpFilter| {
        let InChain { config, off } = filter.chain(settings)?;
        let mut fields = json!({"name": filter.name(), "typed_config": config});
        if off {
            fields["disabled"] = json!(true);
        }
        Some(fields)
    };
    ORDER.iter().filter_map(written).collect()
}

/// The settings of a route with `policy`, by filter.
pub fn per_route(policy: &Policy) -> Map<String, Value> {
    ORDER.iter().filter_map(|filter| Some((filter.name().to_owned(), filter.route(policy)?))).collect()
}

/// The clusters that the filters ask, by name.
pub fn clusters(settings: &Settings) -> Vec<(&'static str, Value)> {
    ORDER.iter().flat_map(|filter| filter.clusters(settings)).collect()
}
