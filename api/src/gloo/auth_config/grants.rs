//! Which request headers an AuthConfig sets: those that an application behind it may believe.

use std::collections::BTreeSet;

use super::{AuthConfigSpec, Config};

impl AuthConfigSpec {
    /// The headers that it may set on requests that pass, in lower case, where
    /// `user_header` tells who the user is.
    ///
    /// What header modifiers of routes set is not among them: only these are proof of something.
    pub fn grants(&self, user_header: &str) -> BTreeSet<String> {
        let mut headers = self.granted_by_steps();
        headers.insert(user_header.to_ascii_lowercase());
        headers
    }

    /// The same without the header that tells who the user is.
    pub fn granted_by_steps(&self) -> BTreeSet<String> {
        let mut headers = BTreeSet::new();
        for config in &self.configs {
            // Each type is named, so that a new one is thought of here.
            let Config {
                name: _,
                basic_auth: _,
                oauth: _,
                api_key_auth,
                plugin_auth: _,
                opa_auth: _,
                opa_server_auth: _,
                ldap: _,
                oauth2,
                jwt: _,
                pass_through_auth,
                hmac_auth: _,
                portal_auth: _,
            } = config;
            if let Some(keys) = api_key_auth {
                headers.extend(keys.metadata_headers().into_keys());
            }
            if let Some(service) = pass_through_auth {
                headers.extend(service.sets());
            }
            headers.extend(oauth2.iter().flat_map(|oauth2| oauth2.sets()));
        }
        headers
    }

    /// Of these, those that are filled from what is declared, or proven by a token: whoever is asked about a request in the
    /// course of it is shown them as they are set, and never as a client says them.
    pub fn granted_by_declared(&self) -> BTreeSet<String> {
        let keys = self.configs.iter().filter_map(|config| config.api_key_auth.as_ref());
        let tokens = self.configs.iter().filter_map(|config| config.oauth2.as_ref());
        let keys = keys.flat_map(|keys| keys.metadata_headers().into_keys());
        keys.chain(tokens.flat_map(|oauth2| oauth2.sets())).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_spellings_of_metadata_headers_and_the_users_are_granted() {
        let spec: AuthConfigSpec = serde_json::from_value(serde_json::json!({"configs": [
            {"apiKeyAuth": {"headersFromMetadataEntry": {"X-Organization": {"name": "organization"}}}},
            {"apiKeyAuth": {"headersFromMetadata": {"X-Plan": {"name": "plan"}}}},
        ]}))
        .unwrap();
        let granted: Vec<String> = spec.grants("X-Who").into_iter().collect();
        assert_eq!(granted, ["x-organization", "x-plan", "x-who"]);
    }

    #[test]
    fn what_others_may_set_is_granted_and_nothing_else_of_their_answers() {
        let spec: AuthConfigSpec = serde_json::from_value(serde_json::json!({"configs": [
            {"passThroughAuth": {"grpc": {"address": "a:1", "allowedUpstreamHeaders": ["X-Team"]}}},
            {"passThroughAuth": {"http": {"url": "http://a", "request": {"allowedHeaders": ["Cookie"]}, "response": {
                "allowedUpstreamHeaders": ["X-Roles"], "allowedUpstreamHeadersToOverwrite": ["x-plan"],
                "allowedClientHeadersOnDenied": ["x-a"], "allowedClientHeadersOnSuccess": ["x-b"]}}}},
            {"apiKeyAuth": {"headersFromMetadata": {"X-Org": {"name": "org"}}}},
            {"oauth2": {"accessTokenValidation": {"claimsToHeaders": [{"claim": "email", "header": "X-Mail"}]}}},
            {"oauth2": {"oidcAuthorizationCode": {"headers": {"idTokenHeader": "X-Id", "accessTokenHeader": ""},
                "accessToken": {"claimsToHeaders": [{"claim": "a", "header": "X-A"}]},
                "identityToken": {"claimsToHeaders": [{"claim": "a", "header": "X-B"}]}}}},
        ]}))
        .unwrap();
        let all = ["x-a", "x-b", "x-id", "x-mail", "x-org", "x-plan", "x-roles", "x-team"];
        assert_eq!(spec.granted_by_steps().into_iter().collect::<Vec<_>>(), all);
        assert_eq!(
            spec.granted_by_declared().into_iter().collect::<Vec<_>>(),
            ["x-a", "x-b", "x-id", "x-mail", "x-org"]
        );
    }
}
