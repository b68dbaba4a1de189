//! Which request headers an AuthConfig reads: whatever else a request says, the answer is the same.

use super::AuthConfigSpec;
use crate::contract::Reads;

/// An AuthConfig with more headers than this is shown all there are: looking each of them up would cost more.
const MOST: usize = 16;

impl AuthConfigSpec {
    /// The headers on which its answer depends; none if it may depend on any.
    pub fn reads(&self) -> Option<Reads> {
        // What a step may set it may also find in the request.
        let mut headers = self.granted_by_steps();
        for config in &self.configs {
            match config.types().as_slice() {
                ["apiKeyAuth"] => headers.extend([config.api_key_auth.as_ref()?.header()]),
                ["basicAuth"] => {
                    headers.extend(config.basic_auth.as_ref()?.headers().iter().map(|name| (*name).to_owned()));
                }
                // What is shown to another service; over gRPC everything.
                ["passThroughAuth"] => headers.extend(config.pass_through_auth.as_ref()?.shows()?),
                ["oauth2"] => headers.extend(config.oauth2.as_ref()?.reads()?.iter().map(|name| (*name).to_owned())),
                // It may look at everything.
                _ => return None,
            }
        }
        (!headers.is_empty() && headers.len() <= MOST).then_some(Reads(headers))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn reads(configs: Value) -> Option<String> {
        let spec: AuthConfigSpec = serde_json::from_value(json!({"configs": configs})).unwrap();
        spec.reads().map(|reads| reads.to_string())
    }

    #[test]
    fn what_steps_look_at_and_what_they_may_set_is_read() {
        assert_eq!(reads(json!([{"apiKeyAuth": {}}])).as_deref(), Some("api-key"));
        let several = json!([
            {"apiKeyAuth": {"headerName": "X-Key", "headersFromMetadataEntry": {"X-Organization": {"name": "o"}}}},
            {"basicAuth": {"apr": {"users": {}}}},
        ]);
        assert_eq!(reads(several).as_deref(), Some("authorization,x-key,x-organization"));
        let newer = json!([{"basicAuth": {"encryption": {"apr": {}}, "userList": {"users": {}}}}]);
        assert_eq!(reads(newer).as_deref(), Some("authorization,proxy-authorization"));
        let shown = json!([{"passThroughAuth": {"http": {"url": "http://a",
            "request": {"allowedHeaders": ["Cookie"], "headersToAdd": {"x-own": "1"}},
            "response": {"allowedUpstreamHeaders": ["X-Roles"], "allowedClientHeadersOnDenied": ["x-why"]}}}}]);
        assert_eq!(reads(shown).as_deref(), Some("cookie,x-roles"));
        assert_eq!(reads(json!([{"passThroughAuth": {"http": {"url": "http://a"}}}])), None);
        let token =
            json!([{"oauth2": {"accessTokenValidation": {"claimsToHeaders": [{"claim": "a", "header": "X-A"}]}}}]);
        assert_eq!(reads(token).as_deref(), Some("authorization,x-a"));
        let login = json!([{"oauth2": {"oidcAuthorizationCode": {"headers": {"idTokenHeader": "X-Id"}}}}]);
        let read = "cookie,origin,sec-fetch-mode,sec-fetch-site,x-id,x-requested-with";
        assert_eq!(reads(login).as_deref(), Some(read));
    }

    #[test]
    fn everything_is_read_where_a_step_may_look_at_anything() {
        let key = json!({"apiKeyAuth": {}});
        for other in ["opaAuth", "jwt", "ldap", "hmacAuth", "passThroughAuth", "oauth2"] {
            assert_eq!(reads(json!([key, {other: {}}])), None, "{other}");
        }
        assert_eq!(reads(json!([key, {"passThroughAuth": {"grpc": {"address": "a:1"}}}])), None);
        // Two types in one step are none, and so is a step without a type.
        assert_eq!(reads(json!([{"apiKeyAuth": {}, "basicAuth": {}}])), None);
        assert_eq!(reads(json!([{"name": "a"}])), None);
        assert_eq!(reads(json!([])), None);
        let entries: serde_json::Map<String, Value> =
            (0..16).map(|n| (format!("x-{n}"), json!({"name": "o"}))).collect();
        assert_eq!(reads(json!([{"apiKeyAuth": {"headersFromMetadataEntry": entries}}])), None, "too many");
    }
}
