//! What becomes of the claims of a good token, or of what an issuer says of one: whether they are enough, and what the
//! application and Envoy are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::gloo::auth_config::{AccessTokenValidation, ClaimToHeader};
use serde_json::{Map, Value as Json};

use crate::headers::Value;
use crate::methods::granting::{Before, Granting};
use crate::state::State;
use crate::step::Grant;

/// What is made of claims.
#[derive(Debug, Clone)]
pub struct Uses {
    scopes: Vec<String>,
    headers: ToHeaders,
    metadata: ToMetadata,
}

/// Claims that become headers.
#[derive(Debug, Clone)]
pub struct ToHeaders(Vec<ToHeader>);

/// Claims that become metadata.
#[derive(Debug, Clone)]
pub struct ToMetadata {
    /// Name in the metadata, and claim.
    chosen: Vec<(String, String)>,
    /// The step, under whose name metadata stands.
    step: String,
}

#[derive(Debug, Clone)]
struct ToHeader {
    claim: String,
    /// In lower case.
    header: String,
    append: bool,
}

impl Uses {
    /// As `validation` says, of the step called `step`.
    pub fn of(validation: &AccessTokenValidation, step: &str) -> Uses {
        Uses {
            scopes: validation.scopes().to_vec(),
            headers: ToHeaders::of(&validation.claims_to_headers),
            metadata: ToMetadata::of(&validation.dynamic_metadata_from_claims, step),
        }
    }

    /// Whether `claims` have all scopes that are required.
    pub fn suffices(&self, claims: &Map<String, Json>) -> bool {
        let scope = claims.get("scope").and_then(Json::as_str).unwrap_or_default();
        self.scopes.iter().all(|required| scope.split(' ').any(|scope| scope == required))
    }

    /// What a request with these `claims` gets, whose user is `user`. Later steps know `state`.
    ///
    /// # Errors
    /// What of it cannot be said.
    pub fn grant(
        &self,
        claims: &Map<String, Json>,
        user: Option<&str>,
        state: State,
        before: &Before,
    ) -> Result<Arc<Grant>, &'static str> {
        let mut granting = Granting::on(before);
        if let Some(user) = user {
            granting.set(&before.user_header, Value::new(user).ok_or("a user that no header can name")?);
        }
        self.headers.write(claims, &mut granting)?;
        self.metadata.write(claims, &mut granting);
        granting.more.state = state;
        granting.done().map_err(|_| "claims that are too large")
    }
}

impl ToHeaders {
    /// As `written`.
    pub fn of(written: &[ClaimToHeader]) -> ToHeaders {
        let headers = written.iter().map(|entry| ToHeader {
            claim: entry.claim.clone().unwrap_or_default(),
            header: entry.header.as_deref().unwrap_or_default().to_ascii_lowercase(),
            append: entry.append,
        });
        ToHeaders(headers.collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `claims` into headers.
    ///
    /// # Errors
    /// What of it cannot be said.
    pub fn write(&self, claims: &Map<String, Json>, granting: &mut Granting<'_>) -> Result<(), &'static str> {
        for ToHeader { claim, header, append } in &self.0 {
            let Some(text) = claims.get(claim).and_then(text) else { continue };
            // Left out, it would be taken for a claim that the token does not have.
            let value = text.as_deref().and_then(Value::new).ok_or("a claim that no header can carry")?;
            match append {
                true => granting.add(header, value),
                false => granting.set(header, value),
            }
        }
        Ok(())
    }
}

impl ToMetadata {
    /// As `written`, of the step called `step`.
    pub fn of(written: &BTreeMap<String, String>, step: &str) -> ToMetadata {
        let chosen = written.iter().map(|(key, claim)| (key.clone(), claim.clone())).collect();
        ToMetadata { chosen, step: step.to_owned() }
    }

    /// Puts `claims` into metadata.
    pub fn write(&self, claims: &Map<String, Json>, granting: &mut Granting<'_>) {
        let chosen = self.chosen.iter().filter_map(|(key, claim)| Some((key.clone(), claims.get(claim)?.clone())));
        let chosen: Map<String, Json> = chosen.collect();
        if !chosen.is_empty() {
            granting.more.metadata.set(self.step.clone(), chosen.into());
        }
    }
}

/// A claim as the value of a header: none if it says nothing, the inner none if it cannot be written there.
fn text(claim: &Json) -> Option<Option<String>> {
    match claim {
        Json::Null => None,
        Json::String(text) if text.is_empty() => None,
        Json::Array(items) if items.is_empty() => None,
        // What has commas of its own would become several.
        Json::Array(items) => Some(
            items
                .iter()
                .map(|item| scalar(item).filter(|text| !text.is_empty() && !text.contains(',')))
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join(",")),
        ),
        Json::Object(_) => Some(Some(claim.to_string())),
        scalar_claim => Some(scalar(scalar_claim)),
    }
}

fn scalar(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(claim.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_there_if_one_of_its_claims_is() {
        let validation: AccessTokenValidation =
            serde_json::from_value(json!({"dynamicMetadataFromClaims": {"one": "a", "two": "b"}})).unwrap_or_default();
        let uses = Uses::of(&validation, "step");
        let before = Before { changes: Default::default(), user_header: "x-user-id".into() };
        let told = |claims: Json| {
            let claims = claims.as_object().cloned().unwrap_or_default();
            let grant = uses.grant(&claims, None, State::default(), &before);
            grant.ok().and_then(|grant| grant.more.as_ref().map(|more| more.metadata.expose().clone()))
        };
        assert_eq!(told(json!({"c": 1})), None);
        let one = told(json!({"b": [1], "c": 1})).map(Json::Object);
        assert_eq!(one, Some(json!({"step": {"two": [1]}})));
    }

    #[test]
    fn a_claim_is_written_as_it_is_or_not_at_all() {
        let some = |text: &str| Some(Some(text.to_owned()));
        for (claim, expected) in [
            (json!("a, b"), some("a, b")),
            (json!(7), some("7")),
            (json!(true), some("true")),
            (json!(["a", 1, false]), some("a,1,false")),
            (json!({"b": [1], "a": "x"}), some(r#"{"a":"x","b":[1]}"#)),
            (json!(null), None),
            (json!(""), None),
            (json!([]), None),
            (json!(["a,admin"]), Some(None)),
            (json!(["a", ""]), Some(None)),
            (json!(["a", null]), Some(None)),
            (json!([["a"]]), Some(None)),
            (json!([{}]), Some(None)),
        ] {
            assert_eq!(text(&claim), expected, "{claim}");
        }
    }
}
