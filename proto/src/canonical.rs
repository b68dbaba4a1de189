//! Equal messages, equal bytes.
//!
//! prost writes fields in a fixed order except for map entries, which come out
//! in the order of a `HashMap`. [`canonical`] sorts them, through nested
//! messages and through packed [`Any`]s, so that bytes can be digested and compared.

use bytes::{Buf, BufMut};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use prost_reflect::{Kind, MessageDescriptor};

use crate::descriptors;
use crate::google::protobuf::Any;
use crate::resource::{Resource, ResourceType};

/// Nothing we send is nested deeper; it bounds recursion.
const DEEPEST: u32 = 100;

/// The type URL of a message by its full name.
pub fn type_url(message: &str) -> String {
    format!("type.googleapis.com/{message}")
}

/// Packs `message`, of the full name `name`, into canonical bytes.
pub fn pack<M: Message>(name: &str, message: &M) -> Any {
    let type_url = type_url(name);
    let value = canonical(&type_url, &message.encode_to_vec());
    Any { type_url, value }
}

/// Makes the resource `name` of `kind` out of `message`; its version is a digest of the canonical bytes.
pub fn resource<M: Message>(kind: ResourceType, name: impl Into<String>, message: &M) -> Resource {
    of_bytes(kind, name, canonical(kind.type_url(), &message.encode_to_vec()))
}

/// Makes the resource `name` of `kind` out of canonical bytes.
pub fn of_bytes(kind: ResourceType, name: impl Into<String>, value: Vec<u8>) -> Resource {
    let version = blake3::hash(&value).to_hex()[..16].to_owned();
    Resource { name: name.into(), version, body: Any { type_url: kind.type_url().to_owned(), value } }
}

/// `bytes` of a message of type `type_url` with every map sorted.
///
/// Messages of types we have no schema for, and bytes that do not parse, come back as they are.
pub fn canonical(type_url: &str, bytes: &[u8]) -> Vec<u8> {
    descriptors::of_type_url(type_url)
        .and_then(|descriptor| message(&descriptor, bytes, DEEPEST))
        .unwrap_or_else(|| bytes.to_vec())
}

fn message(descriptor: &MessageDescriptor, mut bytes: &[u8], depth: u32) -> Option<Vec<u8>> {
    let depth = depth.checked_sub(1)?;
    if descriptor.full_name() == "google.protobuf.Any" {
        let mut any = Any::decode(bytes).ok()?;
        if let Some(inner) = descriptors::of_type_url(&any.type_url) {
            any.value = message(&inner, &any.value, depth)?;
        }
        return Some(any.encode_to_vec());
    }
    let mut out = Vec::with_capacity(bytes.len());
    // Entries of the map field being read; prost writes those of one map in a row.
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut entries_of = 0;
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes).ok()?;
        if number != entries_of {
            flush(entries_of, &mut entries, &mut out);
        }
        if wire != WireType::LengthDelimited {
            encode_key(number, wire, &mut out);
            scalar(wire, &mut bytes, &mut out)?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        if length > bytes.len() {
            return None;
        }
        let (body, rest) = bytes.split_at(length);
        bytes = rest;
        let field = descriptor.get_field(number);
        let inner = field.as_ref().map(|f| f.kind());
        let body = match &inner {
            Some(Kind::Message(inner)) => message(inner, body, depth)?,
            _ => body.to_vec(),
        };
        if field.is_some_and(|f| f.is_map()) {
            entries_of = number;
            entries.push(body);
        } else {
            delimited(number, &body, &mut out);
        }
    }
    flush(entries_of, &mut entries, &mut out);
    Some(out)
}

/// Entries begin with their key, so that sorting them by their bytes is a fixed order.
fn flush(number: u32, entries: &mut Vec<Vec<u8>>, out: &mut Vec<u8>) {
    entries.sort();
    for entry in entries.drain(..) {
        delimited(number, &entry, out);
    }
}

fn delimited(number: u32, body: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.put_slice(body);
}

fn scalar(wire: WireType, bytes: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let width = match wire {
        WireType::Varint => {
            encode_varint(decode_varint(bytes).ok()?, out);
            return Some(());
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        // Groups do not occur in proto3.
        _ => return None,
    };
    if bytes.len() < width {
        return None;
    }
    let (value, rest) = bytes.split_at(width);
    out.put_slice(value);
    *bytes = rest;
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use super::*;
    use crate::envoy::config::core::v3::Metadata;
    use crate::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
    use crate::google::protobuf::{Struct, Value, value};

    fn text(text: &str) -> Value {
        Value { kind: Some(value::Kind::StringValue(text.to_owned())) }
    }

    fn sample() -> RouteConfiguration {
        let fields: HashMap<String, Value> = (0..40).map(|i| (format!("key-{i}"), text("v"))).collect();
        let metadata = Metadata {
            filter_metadata: (0..20).map(|i| (format!("ns-{i}"), Struct { fields: fields.clone() })).collect(),
            typed_filter_metadata: HashMap::new(),
        };
        let packed = pack("google.protobuf.Struct", &Struct { fields });
        RouteConfiguration {
            name: "r".into(),
            virtual_hosts: vec![VirtualHost {
                name: "v".into(),
                routes: vec![Route {
                    metadata: Some(metadata),
                    typed_per_filter_config: (0..20).map(|i| (format!("f{i}"), packed.clone())).collect(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn maps_in_any_order_give_the_same_bytes() {
        let first = resource(ResourceType::Route, "r", &sample());
        for _ in 0..5 {
            // A new HashMap iterates in another order.
            assert_eq!(resource(ResourceType::Route, "r", &sample()), first);
        }
        assert_eq!(RouteConfiguration::decode(first.body.value.as_slice()).unwrap(), sample());
    }

    #[test]
    fn a_changed_value_is_another_version() {
        let mut changed = sample();
        changed.virtual_hosts[0].name.push('x');
        assert_ne!(
            resource(ResourceType::Route, "r", &changed).version,
            resource(ResourceType::Route, "r", &sample()).version
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_alone() {
        assert_eq!(canonical("type.googleapis.com/unknown.Type", b"\xff\xff"), b"\xff\xff");
        assert_eq!(canonical(ResourceType::Route.type_url(), b"\x0a\xff"), b"\x0a\xff");
    }
}
