//! Every option by name: those that work have a type, the others are kept as
//! written so that they can be refused by name rather than taken for a spelling mistake.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::{Cors, ExtAuth, Faults, HeaderManipulation, RateLimitConfigs, RatelimitBasic, Retries};
use crate::proto_json::ProtoDuration;

macro_rules! route_options {
    ($($field:ident $name:literal $($other:literal)+,)+) => {
        /// `spec.options` of a RouteOption.
        #[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
        #[serde(rename_all = "camelCase")]
        pub struct RouteOptions {
            /// Who may call.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub extauth: Option<ExtAuth>,
            /// How many may call.
            #[serde(default, alias = "rate_limit_configs", skip_serializing_if = "Option::is_none")]
            pub rate_limit_configs: Option<RateLimitConfigs>,
            /// How many may call, asked before who calls.
            #[serde(default, alias = "rate_limit_early_configs", skip_serializing_if = "Option::is_none")]
            pub rate_limit_early_configs: Option<RateLimitConfigs>,
            /// How many may call, asked after who calls.
            #[serde(default, alias = "rate_limit_regular_configs", skip_serializing_if = "Option::is_none")]
            pub rate_limit_regular_configs: Option<RateLimitConfigs>,
            /// How often each known user, and each address of the others, may call.
            #[serde(default, alias = "ratelimit_basic", skip_serializing_if = "Option::is_none")]
            pub ratelimit_basic: Option<RatelimitBasic>,
            /// Headers added and taken away.
            #[serde(default, alias = "header_manipulation", skip_serializing_if = "Option::is_none")]
            pub header_manipulation: Option<HeaderManipulation>,
            /// Time for the whole exchange; 15 s if unset, 0 for no limit.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub timeout: Option<ProtoDuration>,
            /// When to try again.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub retries: Option<Retries>,
            /// Cross-origin requests.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cors: Option<Cors>,
            /// What replaces the matched path prefix.
            #[serde(default, alias = "prefix_rewrite", skip_serializing_if = "Option::is_none")]
            pub prefix_rewrite: Option<String>,
            /// What replaces the Host header.
            #[serde(default, alias = "host_rewrite", skip_serializing_if = "Option::is_none")]
            pub host_rewrite: Option<String>,
            /// Mistakes made on purpose.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub faults: Option<Faults>,
            $(
                #[doc = concat!("`", $name, "`: known, not supported yet.")]
                #[serde(default, rename = $name, $(alias = $other,)+ skip_serializing_if = "Option::is_none")]
                pub $field: Option<Value>,
            )+
        }

        impl RouteOptions {
            /// The options that were written but do not work yet.
            pub fn unsupported(&self) -> Vec<&'static str> {
                let mut found = Vec::new();
                $(if self.$field.is_some() { found.push($name); })+
                found
            }
        }
    };
}

route_options! {
    idle_timeout "idleTimeout" "idle_timeout",
    max_stream_duration "maxStreamDuration" "max_stream_duration",
    transformations "transformations" "transformations",
    staged_transformations "stagedTransformations" "staged_transformations",
    ratelimit "ratelimit" "ratelimit",
    rate_limit_early "ratelimitEarly" "ratelimit_early" "rateLimitEarly" "rate_limit_early",
    rate_limit_regular "ratelimitRegular" "ratelimit_regular" "rateLimitRegular" "rate_limit_regular",
    waf "waf" "waf",
    jwt "jwt" "jwt",
    jwt_staged "jwtStaged" "jwt_staged",
    jwt_providers_staged "jwtProvidersStaged" "jwt_providers_staged",
    rbac "rbac" "rbac",
    dlp "dlp" "dlp",
    buffer_per_route "bufferPerRoute" "buffer_per_route",
    csrf "csrf" "csrf",
    regex_rewrite "regexRewrite" "regex_rewrite",
    auto_host_rewrite "autoHostRewrite" "auto_host_rewrite",
    host_rewrite_header "hostRewriteHeader" "host_rewrite_header",
    host_rewrite_path_regex "hostRewritePathRegex" "host_rewrite_path_regex",
    append_x_forwarded_host "appendXForwardedHost" "append_x_forwarded_host",
    lb_hash "lbHash" "lb_hash",
    upgrades "upgrades" "upgrades",
    shadowing "shadowing" "shadowing",
    tracing "tracing" "tracing",
    envoy_metadata "envoyMetadata" "envoy_metadata",
    extensions "extensions" "extensions",
    ext_proc "extProc" "ext_proc",
    ext_proc_early "extProcEarly" "ext_proc_early",
    ext_proc_late "extProcLate" "ext_proc_late",
    ai "ai" "ai",
}
