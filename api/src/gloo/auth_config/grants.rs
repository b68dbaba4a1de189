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
                oauth2: _,
                jwt: _,
                pass_through_auth: _,
                hmac_auth: _,
                portal_auth: _,
            } = config;
            if let Some(keys) = api_key_auth {
                headers.extend(keys.metadata_headers().into_keys());
            }
        }
        headers
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
}
