//! A message as people read it: YAML with Envoy's own field names, packed messages unpacked.

use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};

use crate::descriptors;
use crate::google::protobuf::Any;

/// `any` as JSON in Envoy's field names, with `@type` in it.
///
/// What cannot be decoded is shown by its type and size rather than not at all.
pub fn json(any: &Any) -> Value {
    let shown = descriptors::of_type_url(&any.type_url).and_then(|descriptor| {
        let message = DynamicMessage::decode(descriptor, any.value.as_slice()).ok()?;
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
        match message.serialize_with_options(serde_json::value::Serializer, &options).ok()? {
            Value::Object(fields) => Some(fields),
            other => Some(Map::from_iter([("value".to_owned(), other)])),
        }
    });
    let mut fields = shown.unwrap_or_else(|| Map::from_iter([("undecoded_bytes".to_owned(), json!(any.value.len()))]));
    fields.insert("@type".to_owned(), json!(any.type_url));
    Value::Object(fields)
}

/// `any` as YAML; see [`json`].
pub fn yaml(any: &Any) -> String {
    to_yaml(&json(any))
}

/// Any JSON value as YAML, keys sorted.
pub fn to_yaml(value: &Value) -> String {
    serde_norway::to_string(value).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::pack;
    use crate::envoy::config::core::v3::TypedExtensionConfig;
    use crate::google::protobuf::StringValue;

    #[test]
    fn packed_messages_are_shown_unpacked() {
        let inner = pack("google.protobuf.StringValue", &StringValue { value: "httpbin".into() });
        let outer = TypedExtensionConfig { name: "chain".into(), typed_config: Some(inner) };
        assert_eq!(
            yaml(&pack("envoy.config.core.v3.TypedExtensionConfig", &outer)),
            "'@type': type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig\nname: chain\ntyped_config:\n  '@type': type.googleapis.com/google.protobuf.StringValue\n  value: httpbin\n"
        );
    }

    #[test]
    fn an_unknown_message_is_named() {
        let any = Any { type_url: "type.googleapis.com/no.such".into(), value: vec![1, 2, 3] };
        assert!(yaml(&any).contains("undecoded_bytes: 3"));
    }
}
