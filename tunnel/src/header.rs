//! The PROXY v2 header that ztunnel writes, and a strict reader of it.
//!
//! Command PROXY over a stream, both addresses, and one TLV of type 0xD0 with
//! the caller's SPIFFE id. The TLV is left out when there is no identity: an
//! empty one could be taken for a principal.

use std::borrow::Cow;
use std::net::SocketAddr;

use ppp::v2::{self, Addresses, Command, Protocol, Version};

/// Type of the TLV that carries the caller's SPIFFE id.
pub(crate) const PEER_IDENTITY: u8 = 0xD0;

/// The longest SPIFFE id the specification allows, in bytes.
pub(crate) const LONGEST_IDENTITY: usize = 2048;

/// Bytes before the addresses: signature, version, family and length.
const FIXED: usize = 16;

/// Why a header cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// An identity must say something.
    #[error("the identity is empty; leave it out instead")]
    EmptyIdentity,
    /// The identity is longer than a SPIFFE id may be.
    #[error("the identity has {0} bytes; a SPIFFE id has at most {LONGEST_IDENTITY}")]
    IdentityTooLong(usize),
}

/// Writes the header for a connection from `source` to `destination`.
///
/// A mix of address families is written as UNSPEC, without addresses, as
/// ztunnel does.
pub fn write(source: SocketAddr, destination: SocketAddr, identity: Option<&str>) -> Result<Vec<u8>, Unwritable> {
    let identity = identity.map(str::as_bytes);
    match identity {
        Some([]) => return Err(Unwritable::EmptyIdentity),
        Some(bytes) if bytes.len() > LONGEST_IDENTITY => return Err(Unwritable::IdentityTooLong(bytes.len())),
        _ => {}
    }
    let addresses = Addresses::from((canonical(source), canonical(destination)));
    let builder = v2::Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses);
    let too_long = |_| Unwritable::IdentityTooLong(identity.map_or(0, <[u8]>::len));
    match identity {
        Some(bytes) => builder.write_tlv(PEER_IDENTITY, bytes).map_err(too_long)?.build().map_err(too_long),
        None => builder.build().map_err(too_long),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Source and destination; none for UNSPEC.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The caller's SPIFFE id, if the header carries one. None for UNSPEC, whose
    /// content a reader is to skip.
    pub identity: Option<String>,
}

/// Why bytes are not a header that ztunnel writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not PROXY v2, or its lengths do not add up.
    #[error("not a PROXY v2 header: {0}")]
    NotAHeader(String),
    /// Right format, but not a proxied stream.
    #[error("the header is not of a proxied TCP connection: {0}")]
    NotAProxiedStream(Cow<'static, str>),
    /// More than one identity.
    #[error("the header carries more than one identity")]
    SeveralIdentities,
    /// An identity that is empty, too long or not UTF-8.
    #[error("the identity in the header is {0}")]
    BadIdentity(&'static str),
}

/// Reads the header at the beginning of `bytes`: what it says and how long it
/// is, or `None` when more bytes are needed to tell.
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let signature = bytes.len().min(v2::PROTOCOL_PREFIX.len());
    if bytes[..signature] != v2::PROTOCOL_PREFIX[..signature] {
        return Err(Malformed::NotAHeader("wrong signature".to_owned()));
    }
    let Some(&[high, low]) = bytes.get(14..FIXED) else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let Some(bytes) = bytes.get(..length) else { return Ok(None) };

    let parsed = v2::Header::try_from(bytes).map_err(|error| Malformed::NotAHeader(error.to_string()))?;
    if parsed.command != Command::Proxy {
        return Err(Malformed::NotAProxiedStream("the command is LOCAL".into()));
    }
    if parsed.protocol != Protocol::Stream {
        return Err(Malformed::NotAProxiedStream(format!("the protocol is {:?}", parsed.protocol).into()));
    }
    let addresses = match parsed.addresses {
        Addresses::Unspecified => None,
        Addresses::IPv4(a) => {
            Some(((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into()))
        }
        Addresses::IPv6(a) => {
            Some(((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into()))
        }
        Addresses::Unix(_) => return Err(Malformed::NotAProxiedStream("the addresses are of Unix sockets".into())),
    };
    let mut identity = None;
    for tlv in parsed.tlvs() {
        let tlv = tlv.map_err(|error| Malformed::NotAHeader(error.to_string()))?;
        if tlv.kind == PEER_IDENTITY {
            let text = read_identity(&tlv.value)?;
            if identity.replace(text).is_some() {
                return Err(Malformed::SeveralIdentities);
            }
        }
    }
    Ok(Some((Header { addresses, identity }, length)))
}

fn read_identity(value: &[u8]) -> Result<String, Malformed> {
    if value.is_empty() {
        return Err(Malformed::BadIdentity("empty"));
    }
    if value.len() > LONGEST_IDENTITY {
        return Err(Malformed::BadIdentity("longer than a SPIFFE id may be"));
    }
    let text = std::str::from_utf8(value).map_err(|_| Malformed::BadIdentity("not UTF-8"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
