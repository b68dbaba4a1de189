//! Steps that speak OAuth 2.0 and OpenID Connect: `oauth`, `oauth2`.

mod access_token;
pub mod jwks;
mod oidc;
mod parts;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gloo::ResourceRef;
use crate::proto_json::ProtoDuration;

use super::credentials::Empty;
use super::said::Said;
use super::session::{HeaderOptions, UserSession};
use crate::problem::Problem;

pub use oidc::{ClientProof, CookieForm, Logout, SameSite};

/// What is wrong with `oauth2`, which stands at `field` in an AuthConfig of `namespace`.
pub(super) fn oauth2(field: &str, oauth2: &OAuth2, namespace: &str, problems: &mut Vec<Problem>) {
    let OAuth2 { oidc_authorization_code, access_token_validation, oauth2 } = oauth2;
    if oauth2.is_some() {
        Said { field, problems }.refused(".oauth2", "oauth2 is not implemented yet");
    }
    match (oidc_authorization_code, access_token_validation) {
        (Some(_), Some(_)) => {
            Said { field, problems }.wrong("", "says several ways; write each in a config of its own")
        }
        (Some(_), None) | (None, Some(_)) if oauth2.is_some() => {
            Said { field, problems }.wrong("", "says several ways; write each in a config of its own");
        }
        (Some(login), None) => {
            let field = format!("{field}.oidcAuthorizationCode");
            oidc::login(login, namespace, &mut Said { field: &field, problems });
        }
        (None, Some(validation)) => {
            let field = format!("{field}.accessTokenValidation");
            access_token::access_token(validation, namespace, &mut Said { field: &field, problems });
        }
        (None, None) if oauth2.is_some() => {}
        (None, None) => {
            Said { field, problems }.wrong("", "names no way: write oidcAuthorizationCode or accessTokenValidation");
        }
    }
}

/// The first, deprecated form of OpenID Connect login.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth {
    /// Client id.
    #[serde(alias = "client_id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Client secret.
    #[serde(alias = "client_secret_ref", skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ResourceRef>,
    /// Issuer.
    #[serde(alias = "issuer_url", skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// Added to the authorization request.
    #[serde(alias = "auth_endpoint_query_params", skip_serializing_if = "BTreeMap::is_empty")]
    pub auth_endpoint_query_params: BTreeMap<String, String>,
    /// Public address of the application.
    #[serde(alias = "app_url", skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// Where the issuer redirects to.
    #[serde(alias = "callback_path", skip_serializing_if = "Option::is_none")]
    pub callback_path: Option<String>,
    /// Scopes besides openid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// OAuth 2.0; exactly one of its members.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2 {
    /// OpenID Connect login.
    #[serde(alias = "oidc_authorization_code", skip_serializing_if = "Option::is_none")]
    pub oidc_authorization_code: Option<OidcAuthorizationCode>,
    /// A bearer token is checked.
    #[serde(alias = "access_token_validation", skip_serializing_if = "Option::is_none")]
    pub access_token_validation: Option<AccessTokenValidation>,
    /// OAuth 2.0 login without OpenID Connect.
    #[serde(skip_serializing_if = "Option::is_none", rename = "oauth2")]
    pub oauth2: Option<PlainOAuth2>,
}

impl OAuth2 {
    /// The headers that it sets on requests that pass, in lower case.
    pub fn sets(&self) -> BTreeSet<String> {
        let tokens = self.access_token_validation.iter().flat_map(AccessTokenValidation::sets);
        tokens.chain(self.oidc_authorization_code.iter().flat_map(OidcAuthorizationCode::sets)).collect()
    }

    /// The request headers on which its answer depends; none if it may look at any.
    pub fn reads(&self) -> Option<&'static [&'static str]> {
        match (&self.oidc_authorization_code, &self.access_token_validation, &self.oauth2) {
            (Some(_), None, None) => Some(&OidcAuthorizationCode::READS),
            (None, Some(_), None) => Some(&AccessTokenValidation::READS),
            _ => None,
        }
    }
}

/// OpenID Connect login.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OidcAuthorizationCode {
    /// Client id.
    #[serde(alias = "client_id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Client secret (older place).
    #[serde(alias = "client_secret_ref", skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ResourceRef>,
    /// There is no client secret (older place).
    #[serde(alias = "disable_client_secret", skip_serializing_if = "Option::is_none")]
    pub disable_client_secret: Option<bool>,
    /// How the client proves itself.
    #[serde(alias = "client_authentication", skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
    /// Issuer.
    #[serde(alias = "issuer_url", skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// Added to the authorization request.
    #[serde(alias = "auth_endpoint_query_params", skip_serializing_if = "BTreeMap::is_empty")]
    pub auth_endpoint_query_params: BTreeMap<String, String>,
    /// Added to the token request.
    #[serde(alias = "token_endpoint_query_params", skip_serializing_if = "BTreeMap::is_empty")]
    pub token_endpoint_query_params: BTreeMap<String, String>,
    /// Public address of the application.
    #[serde(alias = "app_url", skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// Where the issuer redirects to.
    #[serde(alias = "callback_path", skip_serializing_if = "Option::is_none")]
    pub callback_path: Option<String>,
    /// `callbackPath` is a regular expression.
    #[serde(alias = "parse_callback_path_as_regex")]
    pub parse_callback_path_as_regex: bool,
    /// Path that logs out.
    #[serde(alias = "logout_path", skip_serializing_if = "Option::is_none")]
    pub logout_path: Option<String>,
    /// Where to go then.
    #[serde(alias = "after_logout_url", skip_serializing_if = "Option::is_none")]
    pub after_logout_url: Option<String>,
    /// Logout started by the issuer.
    #[serde(alias = "front_channel_logout", skip_serializing_if = "Option::is_none")]
    pub front_channel_logout: Option<FrontChannelLogout>,
    /// Scopes besides openid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Where tokens are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<UserSession>,
    /// Tokens sent upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeaderOptions>,
    /// Facts that override the issuer's own.
    #[serde(alias = "discovery_override", skip_serializing_if = "Option::is_none")]
    pub discovery_override: Option<DiscoveryOverride>,
    /// How often the issuer is asked.
    #[serde(alias = "discovery_poll_interval", skip_serializing_if = "Option::is_none")]
    pub discovery_poll_interval: Option<ProtoDuration>,
    /// When keys are fetched again.
    #[serde(alias = "jwks_cache_refresh_policy", skip_serializing_if = "Option::is_none")]
    pub jwks_cache_refresh_policy: Option<JwksCacheRefreshPolicy>,
    /// Header with the session's id.
    #[serde(alias = "session_id_header_name", skip_serializing_if = "Option::is_none")]
    pub session_id_header_name: Option<String>,
    /// Facts taken from Envoy's metadata.
    #[serde(alias = "auto_map_from_metadata", skip_serializing_if = "Option::is_none")]
    pub auto_map_from_metadata: Option<AutoMapFromMetadata>,
    /// How sessions end at the issuer.
    #[serde(alias = "end_session_properties", skip_serializing_if = "Option::is_none")]
    pub end_session_properties: Option<EndSessionProperties>,
    /// Claims put into dynamic metadata.
    #[serde(alias = "dynamic_metadata_from_claims", skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_metadata_from_claims: BTreeMap<String, String>,
    /// What is taken from the access token.
    #[serde(alias = "access_token", skip_serializing_if = "Option::is_none")]
    pub access_token: Option<TokenOptions>,
    /// What is taken from the id token.
    #[serde(alias = "identity_token", skip_serializing_if = "Option::is_none")]
    pub identity_token: Option<TokenOptions>,
    /// Any issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Empty>,
    /// Microsoft Entra.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
}

/// Logout started by the issuer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontChannelLogout {
    /// Where it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How the client proves itself; one of the two.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientAuthentication {
    /// With a secret.
    #[serde(alias = "client_secret", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecret>,
    /// With a signed token.
    #[serde(alias = "private_key_jwt", skip_serializing_if = "Option::is_none")]
    pub private_key_jwt: Option<PrivateKeyJwt>,
}

/// A client secret.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientSecret {
    /// Where it is.
    #[serde(alias = "client_secret_ref", skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ResourceRef>,
    /// There is none.
    #[serde(alias = "disable_client_secret", skip_serializing_if = "Option::is_none")]
    pub disable_client_secret: Option<bool>,
}

/// A signed token.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrivateKeyJwt {
    /// The key.
    #[serde(alias = "signing_key_ref", skip_serializing_if = "Option::is_none")]
    pub signing_key_ref: Option<ResourceRef>,
    /// How long it is valid.
    #[serde(alias = "valid_for", skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<ProtoDuration>,
}

/// Facts that override the issuer's own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoveryOverride {
    /// Authorization endpoint.
    #[serde(alias = "auth_endpoint", skip_serializing_if = "Option::is_none")]
    pub auth_endpoint: Option<String>,
    /// Token endpoint.
    #[serde(alias = "token_endpoint", skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// Keys.
    #[serde(alias = "jwks_uri", skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Response types.
    #[serde(alias = "response_types", skip_serializing_if = "Vec::is_empty")]
    pub response_types: Vec<String>,
    /// Subject types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Algorithms of id tokens.
    #[serde(alias = "id_token_algs", skip_serializing_if = "Vec::is_empty")]
    pub id_token_algs: Vec<String>,
    /// Scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Client authentication methods.
    #[serde(alias = "auth_methods", skip_serializing_if = "Vec::is_empty")]
    pub auth_methods: Vec<String>,
    /// Claims.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// Revocation endpoint.
    #[serde(alias = "revocation_endpoint", skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// Where sessions end.
    #[serde(alias = "end_session_endpoint", skip_serializing_if = "Option::is_none")]
    pub end_session_endpoint: Option<String>,
}

/// When keys are fetched again; one of these.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwksCacheRefreshPolicy {
    /// With discovery only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never: Option<Empty>,
    /// For every unknown key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always: Option<Empty>,
    /// So many times between two discoveries.
    #[serde(alias = "max_idp_req_per_polling_interval", skip_serializing_if = "Option::is_none")]
    pub max_idp_req_per_polling_interval: Option<u32>,
}

/// Facts taken from Envoy's metadata.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoMapFromMetadata {
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// How sessions end at the issuer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndSessionProperties {
    /// GET or POST.
    #[serde(alias = "method_type", skip_serializing_if = "Option::is_none")]
    pub method_type: Option<serde_json::Value>,
}

/// What is taken from a token.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenOptions {
    /// Claims sent upstream.
    #[serde(alias = "claims_to_headers", skip_serializing_if = "Vec::is_empty")]
    pub claims_to_headers: Vec<ClaimToHeader>,
}

/// A claim sent upstream.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimToHeader {
    /// The claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Add to what the client sent.
    pub append: bool,
}

/// Microsoft Entra.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Azure {
    /// Client id.
    #[serde(alias = "client_id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Tenant.
    #[serde(alias = "tenant_id", skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Client secret.
    #[serde(alias = "client_secret", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ResourceRef>,
    /// Where claims are kept.
    #[serde(alias = "claims_caching_options", skip_serializing_if = "Option::is_none")]
    pub claims_caching_options: Option<super::redis::RedisOptions>,
}

/// A bearer token is checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessTokenValidation {
    /// Introspection endpoint (older place).
    #[serde(alias = "introspection_url", skip_serializing_if = "Option::is_none")]
    pub introspection_url: Option<String>,
    /// The token is a JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtValidation>,
    /// The issuer is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionValidation>,
    /// Userinfo endpoint.
    #[serde(alias = "userinfo_url", skip_serializing_if = "Option::is_none")]
    pub userinfo_url: Option<String>,
    /// How long answers are kept.
    #[serde(alias = "cache_timeout", skip_serializing_if = "Option::is_none")]
    pub cache_timeout: Option<ProtoDuration>,
    /// Scopes the token must have.
    #[serde(alias = "required_scopes", skip_serializing_if = "Option::is_none")]
    pub required_scopes: Option<ScopeList>,
    /// Claims put into dynamic metadata.
    #[serde(alias = "dynamic_metadata_from_claims", skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_metadata_from_claims: BTreeMap<String, String>,
    /// Claims sent upstream.
    #[serde(alias = "claims_to_headers", skip_serializing_if = "Vec::is_empty")]
    pub claims_to_headers: Vec<ClaimToHeader>,
    /// Any issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Empty>,
    /// Microsoft Entra.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
}

/// How a JWT is checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtValidation {
    /// Keys at an address.
    #[serde(alias = "remote_jwks", skip_serializing_if = "Option::is_none")]
    pub remote_jwks: Option<RemoteJwks>,
    /// Keys written here.
    #[serde(alias = "local_jwks", skip_serializing_if = "Option::is_none")]
    pub local_jwks: Option<LocalJwks>,
    /// Issuer expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Audiences, one of which is expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

/// Keys at an address.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteJwks {
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How often they are fetched.
    #[serde(alias = "refresh_interval", skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<ProtoDuration>,
}

/// Keys written here.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalJwks {
    /// A JSON Web Key Set.
    #[serde(alias = "inline_string", skip_serializing_if = "Option::is_none")]
    pub inline_string: Option<String>,
}

/// The issuer is asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntrospectionValidation {
    /// The URL to ask about a token.
    #[serde(alias = "introspection_url", skip_serializing_if = "Option::is_none")]
    pub introspection_url: Option<String>,
    /// Client id.
    #[serde(alias = "client_id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Client secret.
    #[serde(alias = "client_secret_ref", skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ResourceRef>,
    /// There is no client secret.
    #[serde(alias = "disable_client_secret", skip_serializing_if = "Option::is_none")]
    pub disable_client_secret: Option<bool>,
    /// Which member of the answer names the user.
    #[serde(alias = "user_id_attribute_name", skip_serializing_if = "Option::is_none")]
    pub user_id_attribute_name: Option<String>,
}

/// Scopes the token must have.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeList {
    /// All of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
}

/// OAuth 2.0 login without OpenID Connect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlainOAuth2 {
    /// Client id.
    #[serde(alias = "client_id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Client secret.
    #[serde(alias = "client_secret_ref", skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<ResourceRef>,
    /// There is no client secret.
    #[serde(alias = "disable_client_secret", skip_serializing_if = "Option::is_none")]
    pub disable_client_secret: Option<bool>,
    /// Public address of the application.
    #[serde(alias = "app_url", skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// Where the server redirects to.
    #[serde(alias = "callback_path", skip_serializing_if = "Option::is_none")]
    pub callback_path: Option<String>,
    /// Scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Where tokens are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<UserSession>,
    /// Path that logs out.
    #[serde(alias = "logout_path", skip_serializing_if = "Option::is_none")]
    pub logout_path: Option<String>,
    /// Where to go then.
    #[serde(alias = "after_logout_url", skip_serializing_if = "Option::is_none")]
    pub after_logout_url: Option<String>,
    /// Token endpoint.
    #[serde(alias = "token_endpoint", skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// Authorization endpoint.
    #[serde(alias = "auth_endpoint", skip_serializing_if = "Option::is_none")]
    pub auth_endpoint: Option<String>,
    /// Revocation endpoint.
    #[serde(alias = "revocation_endpoint", skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// Added to the authorization request.
    #[serde(alias = "auth_endpoint_query_params", skip_serializing_if = "BTreeMap::is_empty")]
    pub auth_endpoint_query_params: BTreeMap<String, String>,
    /// Added to the token request.
    #[serde(alias = "token_endpoint_query_params", skip_serializing_if = "BTreeMap::is_empty")]
    pub token_endpoint_query_params: BTreeMap<String, String>,
    /// Tokens sent upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeaderOptions>,
}
