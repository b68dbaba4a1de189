//! A message taken apart into its fields without being decoded, so that one part of a
//! resource can be exchanged while the bytes of all others stay as they are.

use bytes::{Buf as _, BufMut as _};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// One field as it stands in a message's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// All of it, with its key.
    pub raw: &'a [u8],
    /// What it holds, if that has a length: a message, a text, bytes.
    pub body: &'a [u8],
}

/// The fields of a message in the order in which they stand; none if `bytes` are not a message.
pub fn fields(bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while rest.has_remaining() {
        let start = rest;
        let (number, wire) = decode_key(&mut rest).ok()?;
        let length = match wire {
            WireType::Varint => {
                decode_varint(&mut rest).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
            // Groups do not occur in proto3.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let body = rest.get(..length)?;
        rest = &rest[length..];
        let raw = &start[..start.len() - rest.len()];
        fields.push(Field { number, raw, body: if wire == WireType::LengthDelimited { body } else { &[] } });
    }
    Some(fields)
}

/// Writes a field that has a length.
pub fn put(number: u32, body: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
    use crate::google::protobuf::UInt32Value;
    use prost::Message as _;

    #[test]
    fn the_fields_put_together_are_the_message() {
        let host = |name: &str| VirtualHost { name: name.to_owned(), ..Default::default() };
        let message = RouteConfiguration {
            name: "r".to_owned(),
            virtual_hosts: vec![host("a"), host("b")],
            ignore_port_in_host_matching: true,
            max_direct_response_body_size_bytes: Some(UInt32Value { value: 7 }),
            ..Default::default()
        };
        let bytes = message.encode_to_vec();
        let taken = fields(&bytes).unwrap();
        assert_eq!(taken.iter().flat_map(|field| field.raw.to_vec()).collect::<Vec<_>>(), bytes);
        let hosts: Vec<_> = taken.iter().filter(|field| field.number == 2).collect();
        assert_eq!(VirtualHost::decode(hosts[1].body).unwrap(), host("b"));
        let mut written = Vec::new();
        put(2, hosts[1].body, &mut written);
        assert_eq!(written, hosts[1].raw);
    }

    #[test]
    fn what_is_cut_off_is_not_a_message() {
        let bytes = RouteConfiguration { name: "name".to_owned(), ..Default::default() }.encode_to_vec();
        assert!((1..bytes.len()).all(|end| fields(&bytes[..end]).is_none()));
    }
}
