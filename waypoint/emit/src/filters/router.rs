//! Sends requests on.

use ir::Settings;
use serde_json::json;

use super::{HttpFilter, InChain};

/// The last filter.
#[derive(Debug)]
pub struct Router;

impl HttpFilter for Router {
    fn name(&self) -> &'static str {
        "envoy.filters.http.router"
    }

    fn chain(&self, _settings: &Settings) -> Option<InChain> {
        InChain::on("envoy.extensions.filters.http.router.v3.Router", json!({}))
    }
}
