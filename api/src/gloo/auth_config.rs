//! `AuthConfig`: how a request proves who sends it.
//!
//! The whole schema is decoded, so that a field of it is known and can be
//! reported; [`validate`] refuses what no server of ours acts on yet. A type
//! that is decoded but not enforced must never look accepted.

mod api_key;
mod credentials;
mod expression;
mod grants;
mod oauth;
mod opa;
mod pass_through;
mod reads;
mod redis;
mod said;
mod session;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

pub use api_key::*;
pub use credentials::*;
pub use expression::Expression;
pub use oauth::*;
pub use opa::*;
pub use pass_through::*;
pub use redis::*;
pub use session::*;
pub use validate::{KeySource, validate};

use crate::redacted::Redacted;
use crate::resource::Resource;

/// `enterprise.gloo.solo.io/v1` (and `extauth.solo.io/v1`) AuthConfig.
pub type AuthConfig = Resource<AuthConfigSpec>;

/// The `spec` of an AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthConfigSpec {
    /// Steps, all of which must pass, in order, unless `booleanExpr` says otherwise.
    pub configs: Vec<Config>,
    /// Names of steps combined with `&&`, `||`, `!` and parentheses.
    #[serde(alias = "boolean_expr", skip_serializing_if = "Option::is_none")]
    pub boolean_expr: Option<String>,
    /// Answer 401 where a login step would redirect.
    #[serde(alias = "fail_on_redirect")]
    pub fail_on_redirect: bool,
}

impl AuthConfigSpec {
    /// The expression over the steps, if one is written. [`validate`] has seen that it parses.
    pub fn expression(&self) -> Option<&str> {
        self.boolean_expr.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The name of the step at `index`: its own, or `config_<index>`.
    pub fn step_name(&self, index: usize) -> String {
        match self.configs.get(index).and_then(|config| config.name.as_deref()) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => format!("config_{index}"),
        }
    }
}

/// One step: a name and exactly one of the types. Boxed but for the commonest: there are very many AuthConfigs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// What `booleanExpr` and dynamic metadata call the step; `config_<index>` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// User name and password.
    #[serde(alias = "basic_auth", skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<Box<BasicAuth>>,
    /// OpenID Connect login, deprecated form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Box<OAuth>>,
    /// A key in a header.
    #[serde(alias = "api_key_auth", skip_serializing_if = "Option::is_none")]
    pub api_key_auth: Option<ApiKeyAuth>,
    /// A Go plugin.
    #[serde(alias = "plugin_auth", skip_serializing_if = "Option::is_none")]
    pub plugin_auth: Option<Box<PluginAuth>>,
    /// Rego policies.
    #[serde(alias = "opa_auth", skip_serializing_if = "Option::is_none")]
    pub opa_auth: Option<Box<OpaAuth>>,
    /// An OPA server.
    #[serde(alias = "opa_server_auth", skip_serializing_if = "Option::is_none")]
    pub opa_server_auth: Option<Box<OpaServerAuth>>,
    /// An LDAP server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldap: Option<Box<Ldap>>,
    /// OAuth 2.0 and OpenID Connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<Box<OAuth2>>,
    /// A token that Envoy verified earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Empty>,
    /// Another service.
    #[serde(alias = "pass_through_auth", skip_serializing_if = "Option::is_none")]
    pub pass_through_auth: Option<Box<PassThroughAuth>>,
    /// Signed requests.
    #[serde(alias = "hmac_auth", skip_serializing_if = "Option::is_none")]
    pub hmac_auth: Option<Box<HmacAuth>>,
    /// A developer portal.
    #[serde(alias = "portal_auth", skip_serializing_if = "Option::is_none")]
    pub portal_auth: Option<Box<PortalAuth>>,
}

impl Config {
    /// The types that are set, by their field names; a valid step has exactly one.
    pub fn types(&self) -> Vec<&'static str> {
        let Config {
            name: _,
            basic_auth,
            oauth,
            api_key_auth,
            plugin_auth,
            opa_auth,
            opa_server_auth,
            ldap,
            oauth2,
            jwt,
            pass_through_auth,
            hmac_auth,
            portal_auth,
        } = self;
        [
            ("basicAuth", basic_auth.is_some()),
            ("oauth", oauth.is_some()),
            ("apiKeyAuth", api_key_auth.is_some()),
            ("pluginAuth", plugin_auth.is_some()),
            ("opaAuth", opa_auth.is_some()),
            ("opaServerAuth", opa_server_auth.is_some()),
            ("ldap", ldap.is_some()),
            ("oauth2", oauth2.is_some()),
            ("jwt", jwt.is_some()),
            ("passThroughAuth", pass_through_auth.is_some()),
            ("hmacAuth", hmac_auth.is_some()),
            ("portalAuth", portal_auth.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }
}

/// A string that is nobody's business; a wrong type is reported without its value.
fn secret_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Redacted>, D::Error> {
    redacted(serde_json::Value::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// A map of such strings.
fn secret_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Redacted>, D::Error> {
    BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?
        .into_iter()
        .map(|(key, value)| Ok((key, redacted(value).map_err(de::Error::custom)?)))
        .collect()
}

fn redacted(value: serde_json::Value) -> Result<Redacted, &'static str> {
    match value {
        serde_json::Value::String(text) => Ok(Redacted::new(text)),
        _ => Err("wrong type: write a string"),
    }
}
