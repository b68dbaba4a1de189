//! The HTTP filters of every chain. Each has a file with all there is to it, and a row in [`ORDER`].

mod cors;
mod disowned;
mod ext_authz;
mod fault;
pub(crate) mod forwarded_for;
mod on_demand;
pub mod rate_limit;
mod rbac;
mod router;
mod tokens;

use std::fmt::Debug;

use ir::{Access, Chain, Policy, Settings, Tokens};
use serde_json::{Map, Value, json};

use crate::access::Verdict;
use crate::packed;

/// The filters in the order in which a request meets them.
pub(crate) const ORDER: [&dyn HttpFilter; 13] = [
    // X-Forwarded-For is back before anybody reads it.
    &forwarded_for::ForwardedFor,
    // Fault injection comes next, before anybody is asked: as if the network had failed.
    &fault::Fault,
    // A browser's preflight carries no credentials, so it is answered before they are asked for.
    &cors::Cors,
    // How many may call, whoever they are.
    &rate_limit::RateLimit(ir::Stage::Early),
    // What tokens say of who calls, so that everybody behind it knows.
    &tokens::VerifiedTokens,
    // Who calls, asked with few headers where few decide.
    &ext_authz::FewHeaders,
    // Who calls, asked with all headers of whoever has not passed the one before; sets headers that limits may count by.
    &ext_authz::ExtAuthz,
    // Who is refused, by who calls and what is asked for: before it is counted, since it does not come in.
    &rbac::Rbac(Verdict::Deny),
    // And who passes, where not everybody does.
    &rbac::Rbac(Verdict::Allow),
    // How many may call, after it is known who does.
    &rate_limit::RateLimit(ir::Stage::Regular),
    // What the application believes of authorization comes from nobody else.
    &disowned::DisownedHeaders,
    // Where the request goes is known to Envoy, or asked for.
    &on_demand::OnDemand,
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

    /// Its settings for all routes of a table with these `guards`.
    fn table(&self, _guards: Guards<'_>) -> Option<Value> {
        None
    }

    /// The clusters it needs besides those of Services, by name.
    fn clusters(&self, _settings: &Settings) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

/// What all requests to a Service port meet, whatever their route.
#[derive(Debug, Clone, Copy)]
pub struct Guards<'a> {
    /// Which tokens are looked at.
    pub tokens: &'a Tokens,
    /// Who may do what.
    pub access: &'a Access,
}

impl<'a> Guards<'a> {
    /// Those of `chain`.
    pub fn of(chain: &'a Chain) -> Self {
        Self { tokens: &chain.tokens, access: &chain.access }
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

/// The settings of a table with these `guards`, by filter.
pub(crate) fn per_table(guards: Guards<'_>) -> Map<String, Value> {
    ORDER.iter().filter_map(|filter| Some((filter.name().to_owned(), filter.table(guards)?))).collect()
}

/// The clusters that the filters ask, by name.
pub fn clusters(settings: &Settings) -> Vec<(&'static str, Value)> {
    ORDER.iter().flat_map(|filter| filter.clusters(settings)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use ir::contract::{EXT_AUTHZ, Reads};
    use ir::{Auth, GrpcTarget, Name};

    use super::*;

    fn guarded(reads: Option<&[&str]>) -> Policy {
        let reads = reads.map(|names| Reads(names.iter().map(|name| (*name).to_owned()).collect()));
        let auth = Auth { config: Name::new("t", "keys"), user_header: "x-user-id".to_owned(), reads };
        Policy { auth: Some(auth), ..Policy::default() }
    }

    /// Whatever a route has settings of stands in the chain, off, and is turned on by them; and whatever a route
    /// brings to ask with few headers, the filter that asks with all is on as well.
    #[test]
    fn a_route_that_asks_for_authorization_turns_on_the_filter_that_asks_with_all_headers() {
        let settings = Settings { extauth: Some(GrpcTarget::Unix("/run/a.sock".to_owned())), ..Settings::default() };
        let chain = chain(&settings);
        let entry = |name: &str| chain.iter().find(|filter| filter["name"] == *name).cloned().unwrap();
        let place = |name: &str| chain.iter().position(|filter| filter["name"] == *name);
        for (reads, filters) in [
            (None, BTreeSet::from([EXT_AUTHZ])),
            (Some(&["api-key"][..]), BTreeSet::from([EXT_AUTHZ, "envoy.filters.http.filter_chain"])),
        ] {
            let settings = per_route(&guarded(reads));
            assert_eq!(settings.keys().map(String::as_str).collect::<BTreeSet<_>>(), filters);
            assert!(filters.iter().all(|name| entry(name)["disabled"] == true));
            assert_eq!(settings[EXT_AUTHZ]["check_settings"]["context_extensions"]["config_id"], "t.keys");
        }
        assert!(place("envoy.filters.http.filter_chain") < place(EXT_AUTHZ));
        assert_eq!(per_route(&Policy::default()).len(), 0);

        // It is passed by only where the note is that the other leaves behind itself.
        let asking = &entry(EXT_AUTHZ)["typed_config"];
        let unless = &asking["filter_enabled_metadata"];
        assert_eq!((&unless["invert"], &asking["deny_at_disable"]), (&json!(true), &Value::Null));
        let brought =
            &per_route(&guarded(Some(&["api-key"])))["envoy.filters.http.filter_chain"]["filter_chain"]["filters"];
        let names: Vec<&Value> = brought.as_array().unwrap().iter().map(|filter| &filter["name"]).collect();
        assert_eq!(names, [EXT_AUTHZ, "envoy.filters.http.set_metadata"]);
        let note = &brought[1]["typed_config"]["metadata"][0];
        assert_eq!(note["metadata_namespace"], unless["filter"]);
        assert_eq!(note["value"][unless["path"][0]["key"].as_str().unwrap()], true);
        let few = &brought[0]["typed_config"];
        assert_eq!(few["failure_mode_allow"], false);
        let sent: Vec<&Value> =
            few["allowed_headers"]["patterns"].as_array().unwrap().iter().map(|p| &p["exact"]).collect();
        assert_eq!(sent, ["api-key", "traceparent", "tracestate", "x-request-id", "x-user-id"]);
    }
}
