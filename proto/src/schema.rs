//! Messages from the JSON that Envoy's own documentation shows, checked against the schema.

use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::Value;

use crate::canonical::{canonical, type_url};
use crate::descriptors;
use crate::google::protobuf::Any;
use crate::resource::{Resource, ResourceType};

/// Why a JSON value is not a message.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No such message among the bundled descriptors.
    #[error("no schema for {0}")]
    UnknownType(String),
    /// A field that does not exist, or a value of another type.
    #[error("not a {name}: {source}")]
    Mismatch {
        /// Full name of the message.
        name: String,
        /// What serde found.
        source: serde_json::Error,
    },
}

/// The message of the full name `name` that `value` describes, packed into canonical bytes.
pub fn pack_json(name: &str, value: Value) -> Result<Any, SchemaError> {
    let type_url = type_url(name);
    let descriptor = descriptors::of_type_url(&type_url).ok_or_else(|| SchemaError::UnknownType(name.to_owned()))?;
    let message = DynamicMessage::deserialize(descriptor, value)
        .map_err(|source| SchemaError::Mismatch { name: name.to_owned(), source })?;
    let value = canonical(&type_url, &message.encode_to_vec());
    Ok(Any { type_url, value })
}

/// The resource `name` of type `kind` that `value` describes.
pub fn resource_json(kind: ResourceType, name: impl Into<String>, value: Value) -> Result<Resource, SchemaError> {
    let full_name = kind.type_url().rsplit('/').next().unwrap_or_default();
    let body = pack_json(full_name, value)?;
    let version = blake3::hash(&body.value).to_hex()[..16].to_owned();
    Ok(Resource { name: name.into(), version, body })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::envoy::config::endpoint::v3::ClusterLoadAssignment;

    #[test]
    fn json_becomes_the_message_it_describes() {
        let resource = resource_json(
            ResourceType::Endpoint,
            "a",
            json!({"cluster_name": "a", "policy": {"overprovisioning_factor": 140}}),
        )
        .unwrap();
        let message = ClusterLoadAssignment::decode(resource.body.value.as_slice()).unwrap();
        assert_eq!(message.cluster_name, "a");
        assert_eq!(resource, crate::canonical::resource(ResourceType::Endpoint, "a", &message));
    }

    #[test]
    fn a_field_that_does_not_exist_is_an_error() {
        let error = resource_json(ResourceType::Endpoint, "a", json!({"cluster": "a"})).unwrap_err();
        assert!(error.to_string().contains("ClusterLoadAssignment"), "{error}");
    }
}
