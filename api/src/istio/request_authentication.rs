//! `RequestAuthentication`: by whom tokens are signed that requests may bring, and what becomes of what is in them.

mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::targets::{Attachment, Selector, TargetRef};
use crate::gloo::auth_config::jwks::KeySet;
use crate::proto_json::ProtoDuration;
use crate::resource::Resource;

pub use validate::validate;

/// `security.istio.io/v1` RequestAuthentication.
pub type RequestAuthentication = Resource<RequestAuthenticationSpec>;

/// The `spec` of a RequestAuthentication.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestAuthenticationSpec {
    /// Workloads, whose sidecars look at tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// One of `targetRefs`, as it was written before there were several.
    #[serde(alias = "target_ref", skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// What waypoints serve.
    #[serde(alias = "target_refs", skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRef>,
    /// Who signs tokens, an issuer each.
    #[serde(alias = "jwt_rules", skip_serializing_if = "Vec::is_empty")]
    pub jwt_rules: Vec<JwtRule>,
}

/// One issuer of tokens.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtRule {
    /// What tokens have in `iss`.
    pub issuer: String,
    /// What they must have one of in `aud`; anything without a list.
    pub audiences: Vec<String>,
    /// Where the issuer's keys are.
    #[serde(alias = "jwks_uri", skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The keys themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// The headers that hold tokens.
    #[serde(alias = "from_headers")]
    pub from_headers: Vec<JwtHeader>,
    /// The parameters of the query that do.
    #[serde(alias = "from_params")]
    pub from_params: Vec<String>,
    /// The cookies that do.
    #[serde(alias = "from_cookies")]
    pub from_cookies: Vec<String>,
    /// The header that gets all that is in the token.
    #[serde(alias = "output_payload_to_header", skip_serializing_if = "Option::is_none")]
    pub output_payload_to_header: Option<String>,
    /// Whether the application gets the token.
    #[serde(alias = "forward_original_token")]
    pub forward_original_token: bool,
    /// The headers that get claims.
    #[serde(alias = "output_claim_to_headers")]
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long the issuer's keys may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ProtoDuration>,
    /// Claims that are lists of words with blanks between them.
    #[serde(alias = "space_delimited_claims")]
    pub space_delimited_claims: Vec<String>,
}

/// A header that holds a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(default)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token.
    pub prefix: String,
}

/// A header that gets a claim.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(default)]
pub struct ClaimToHeader {
    /// Its name.
    pub header: String,
    /// The claim; a dot leads to what is within.
    pub claim: String,
}

/// How long an issuer's keys may take where nothing is written.
const TIMEOUT: Duration = Duration::from_secs(5);

impl RequestAuthenticationSpec {
    /// What it is for.
    pub fn attachment(&self) -> Attachment<'_> {
        let Self { selector, target_ref, target_refs, .. } = self;
        Attachment { selector: selector.as_ref(), target_ref: target_ref.as_ref(), target_refs }
    }

    /// The headers that it sets on requests, in lower case: the application believes them.
    pub fn grants(&self) -> impl Iterator<Item = String> {
        self.jwt_rules.iter().flat_map(|rule| {
            let claims = rule.output_claim_to_headers.iter().map(|of| of.header.as_str());
            rule.output_payload_to_header.as_deref().into_iter().chain(claims).map(str::to_ascii_lowercase)
        })
    }
}

impl JwtRule {
    /// How long its keys may take.
    pub fn timeout(&self) -> Duration {
        self.timeout.map_or(TIMEOUT, |timeout| timeout.0)
    }

    /// Its keys, if they are written and one of them can be used: those that can, and no other.
    pub fn usable_keys(&self) -> Option<String> {
        usable(self.jwks.as_deref()?).ok()
    }
}

/// Of a set of keys those that Envoy can use, as a set of its own: it stops reading at the first one that it cannot.
fn usable(text: &str) -> Result<String, String> {
    let (set, ignored) = read(text)?;
    let usable: Vec<_> = set.into_iter().enumerate().filter(|(index, _)| !ignored.contains_key(index)).collect();
    if usable.is_empty() {
        return Err("has no key that can be used, so that no token would be accepted".to_owned());
    }
    let keys: Vec<_> = usable.into_iter().map(|(_, key)| key).collect();
    Ok(serde_json::json!({"keys": keys}).to_string())
}

type Ignored = std::collections::BTreeMap<usize, &'static str>;

/// The keys of a set, and which of them cannot be used, and why. One without a name is tried for every token.
fn read(text: &str) -> Result<(Vec<serde_json::Value>, Ignored), String> {
    KeySet::parse(text.as_bytes()).map_err(str::to_owned)?;
    let mut set: serde_json::Value = serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())?;
    let mut keys = set["keys"].take().as_array().cloned().unwrap_or_default();
    let written = keys.clone();
    for key in keys.iter_mut().filter_map(serde_json::Value::as_object_mut) {
        key.entry("kid").or_insert_with(|| "unnamed".into());
    }
    let named = serde_json::json!({"keys": keys}).to_string();
    let ignored = KeySet::parse(named.as_bytes()).map_err(str::to_owned)?.ignored;
    Ok((written, ignored.into_iter().collect()))
}
