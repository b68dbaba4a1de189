//! The HTTP filters of every chain, and their settings per route.

use serde_json::{Map, Value, json};

use super::{forwarded_for, limits, names, packed};
use crate::Settings;
use crate::ir::{Policy, Stage};
use api::gloo::route_option::{Cors, Faults};

/// The filters in the order in which a request meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpFilter {
    /// X-Forwarded-For is back before anybody reads it.
    ForwardedFor,
    /// Mistakes on purpose come next: they stand for the network.
    Fault,
    /// A browser's preflight carries no credentials, so it is answered before they are asked for.
    Cors,
    /// How many may call, whoever they are.
    EarlyRateLimit,
    /// Who calls; sets headers that limits may count by.
    ExtAuthz,
    /// How many may call, after it is known who does.
    RateLimit,
    /// Sends the request on.
    Router,
}

impl HttpFilter {
    /// All of them, in order.
    pub const ORDER: [HttpFilter; 7] = [
        HttpFilter::ForwardedFor,
        HttpFilter::Fault,
        HttpFilter::Cors,
        HttpFilter::EarlyRateLimit,
        HttpFilter::ExtAuthz,
        HttpFilter::RateLimit,
        HttpFilter::Router,
    ];

    /// Envoy's name, which is also the key of settings per route.
    pub fn name(self) -> &'static str {
        match self {
            HttpFilter::ForwardedFor => "envoy.filters.http.header_mutation",
            HttpFilter::Fault => "envoy.filters.http.fault",
            HttpFilter::Cors => "envoy.filters.http.cors",
            HttpFilter::ExtAuthz => "envoy.filters.http.ext_authz",
            HttpFilter::EarlyRateLimit => "envoy.filters.http.ratelimit.early",
            HttpFilter::RateLimit => "envoy.filters.http.ratelimit",
            HttpFilter::Router => "envoy.filters.http.router",
        }
    }

    /// The filter as it stands in a chain; none where the service it asks is not configured.
    fn in_chain(self, settings: &Settings) -> Option<Value> {
        let plain =
            |message: &str, fields: Value| json!({"name": self.name(), "typed_config": packed(message, fields)});
        // Off unless a route says otherwise.
        let off = |message: &str, fields: Value| json!({"name": self.name(), "disabled": true, "typed_config": packed(message, fields)});
        Some(match self {
            HttpFilter::ForwardedFor => {
                settings.trusted_proxies.is_empty().then(|| forwarded_for::put_back(self.name()))?
            }
            HttpFilter::Fault => plain("envoy.extensions.filters.http.fault.v3.HTTPFault", json!({})),
            HttpFilter::Cors => plain("envoy.extensions.filters.http.cors.v3.Cors", json!({})),
            HttpFilter::ExtAuthz => {
                settings.extauth.as_ref()?;
                off(
                    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                    json!({
                        "transport_api_version": "V3",
                        "grpc_service": {"envoy_grpc": {"cluster_name": names::EXTAUTH}, "timeout": "0.200s"},
                        // Fails closed: no answer is a refusal.
                        "failure_mode_allow": false,
                        "status_on_error": {"code": "Forbidden"},
                        "metadata_context_namespaces": ["envoy.filters.http.jwt_authn"],
                    }),
                )
            }
            HttpFilter::EarlyRateLimit => off(RATE_LIMIT, rate_limit(settings, Stage::Early)?),
            HttpFilter::RateLimit => off(RATE_LIMIT, rate_limit(settings, Stage::Regular)?),
            HttpFilter::Router => plain("envoy.extensions.filters.http.router.v3.Router", json!({})),
        })
    }
}

const RATE_LIMIT: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimit";

fn rate_limit(settings: &Settings, stage: Stage) -> Option<Value> {
    settings.ratelimit.as_ref()?;
    let limits = &settings.limits;
    let mut fields = json!({
        "domain": "solo.io",
        "stage": limits::number(stage),
        "timeout": super::duration(limits.timeout),
        // Unless the operator says otherwise it fails open: no answer is no limit.
        "failure_mode_deny": limits.deny_on_fail,
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": names::RATELIMIT}},
        },
    });
    if limits.headers {
        fields["enable_x_ratelimit_headers"] = json!("DRAFT_VERSION_03");
    }
    Some(fields)
}

/// The filters of a chain.
pub fn chain(settings: &Settings) -> Vec<Value> {
    HttpFilter::ORDER.into_iter().filter_map(|filter| filter.in_chain(settings)).collect()
}

/// The settings of a route with `policy`, by filter; their presence turns a filter on.
pub fn per_route(policy: &Policy) -> Map<String, Value> {
    let mut settings = Map::new();
    let mut set = |filter: HttpFilter, message: &str, fields: Value| {
        settings.insert(filter.name().to_owned(), packed(message, fields));
    };
    if let Some(written) = &policy.faults {
        set(HttpFilter::Fault, "envoy.extensions.filters.http.fault.v3.HTTPFault", faults(written));
    }
    if let Some(written) = &policy.cors {
        set(HttpFilter::Cors, "envoy.extensions.filters.http.cors.v3.CorsPolicy", cors(written));
    }
    if let Some(auth) = &policy.auth {
        let config_id = format!("{}.{}", auth.namespace, auth.name);
        let extensions = json!({"config_id": config_id, "source_type": "route", "source_name": ""});
        set(
            HttpFilter::ExtAuthz,
            "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            json!({"check_settings": {"context_extensions": extensions}}),
        );
    }
    for (filter, stage) in [(HttpFilter::EarlyRateLimit, Stage::Early), (HttpFilter::RateLimit, Stage::Regular)] {
        if limits::asked_for(policy, stage) {
            set(filter, "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute", json!({}));
        }
    }
    settings
}

fn faults(faults: &Faults) -> Value {
    // In millionths, so that a fraction of a percent is not lost.
    let share = |percentage: f64| {
        let numerator = (percentage * 10_000.0).round().clamp(0.0, 1_000_000.0) as u32;
        json!({"numerator": numerator, "denominator": "MILLION"})
    };
    let mut fields = json!({});
    if let Some(abort) = &faults.abort {
        fields["abort"] = json!({"http_status": abort.http_status, "percentage": share(abort.percentage)});
    }
    if let Some(delay) = &faults.delay {
        let fixed = super::duration(delay.fixed_delay.unwrap_or_default().0);
        fields["delay"] = json!({"fixed_delay": fixed, "percentage": share(delay.percentage)});
    }
    fields
}

fn cors(cors: &Cors) -> Value {
    let exact = cors.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => json!({"safe_regex": {"regex": ".*"}}),
        origin => json!({"exact": origin}),
    });
    let regex = cors.allow_origin_regex.iter().map(|regex| json!({"safe_regex": {"regex": regex}}));
    let mut fields = json!({"allow_origin_string_match": exact.chain(regex).collect::<Vec<_>>()});
    for (name, list) in [
        ("allow_methods", &cors.allow_methods),
        ("allow_headers", &cors.allow_headers),
        ("expose_headers", &cors.expose_headers),
    ] {
        if !list.is_empty() {
            fields[name] = json!(list.join(","));
        }
    }
    if !cors.max_age.is_empty() {
        fields["max_age"] = json!(cors.max_age);
    }
    if cors.allow_credentials {
        fields["allow_credentials"] = json!(true);
    }
    fields
}
