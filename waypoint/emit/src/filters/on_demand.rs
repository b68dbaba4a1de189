//! Asks the control plane for the cluster that a request is to be sent to, where Envoys are told of clusters once they need them.
//!
//! The request's route is known by then, and every filter that guards it has been passed. Clusters of routes with
//! limits are known already (`names::Told`).

use ir::Settings;
use serde_json::json;

use super::{HttpFilter, InChain};
use crate::{ads, duration};

/// How long a request waits for its cluster; then it is answered 503. The first request for a cluster that does not
/// exist is answered as soon as the control plane says so; Envoy does not ask for it again, so later ones wait this long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Discovery of clusters on demand.
#[derive(Debug)]
pub struct OnDemand;

impl HttpFilter for OnDemand {
    fn name(&self) -> &'static str {
        "envoy.filters.http.on_demand"
    }

    fn chain(&self, settings: &Settings) -> Option<InChain> {
        settings.clusters_on_demand.then_some(())?;
        let odcds = json!({"source": ads(), "timeout": duration(PATIENCE)});
        InChain::on("envoy.extensions.filters.http.on_demand.v3.OnDemand", json!({"odcds": odcds}))
    }
}
