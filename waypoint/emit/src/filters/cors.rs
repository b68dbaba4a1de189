//! Lets other origins' scripts read responses.

use ir::{Origin, Policy, Settings, Strangers};
use serde_json::{Value, json};

use super::{HttpFilter, InChain};
use crate::packed;

/// Cross-origin resource sharing.
#[derive(Debug)]
pub struct Cors;

impl HttpFilter for Cors {
    fn name(&self) -> &'static str {
        "envoy.filters.http.cors"
    }

    fn chain(&self, _settings: &Settings) -> Option<InChain> {
        InChain::on("envoy.extensions.filters.http.cors.v3.Cors", json!({}))
    }

    fn route(&self, policy: &Policy) -> Option<Value> {
        let cors = policy.cors.as_ref()?;
        let origins = cors.origins.iter().map(|origin| match origin {
            Origin::Any => json!({"safe_regex": {"regex": ".*"}}),
            Origin::Exact(origin) => json!({"exact": origin}),
            Origin::Regex(regex) => json!({"safe_regex": {"regex": regex}}),
        });
        let mut fields = json!({
            "allow_origin_string_match": origins.collect::<Vec<_>>(),
            "allow_methods": cors.methods.join(","),
            "allow_headers": cors.headers.join(","),
            "expose_headers": cors.exposed.join(","),
            "max_age": cors.max_age.map(|seconds| seconds.to_string()),
        });
        if cors.credentials {
            fields["allow_credentials"] = json!(true);
        }
        if cors.strangers == Strangers::Answered {
            fields["forward_not_matching_preflights"] = json!(false);
        }
        Some(packed("envoy.extensions.filters.http.cors.v3.CorsPolicy", fields))
    }
}
