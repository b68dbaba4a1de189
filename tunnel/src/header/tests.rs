//! What is written is read back by ppp and by us, and nothing else is accepted.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

fn identity() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof!["spiffe://[a-z.]{1,20}/ns/[a-z-]{1,20}/sa/[a-z-]{1,20}", "\\PC{1,200}"])
}

fn any_header() -> impl Strategy<Value = Vec<u8>> {
    (socket_addr(), socket_addr(), identity()).prop_map(|(s, d, i)| write(s, d, i.as_deref()).unwrap())
}

proptest! {
    #[test]
    fn every_header_reads_back_as_it_was_written(s in socket_addr(), d in socket_addr(), id in identity()) {
        let bytes = write(s, d, id.as_deref()).unwrap();
        let (s, d) = (canonical(s), canonical(d));
        let same_family = s.is_ipv4() == d.is_ipv4();

        let (header, length) = read(&bytes).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(header.addresses, same_family.then_some((s, d)));
        // After UNSPEC everything counts as addresses to be skipped.
        let readable = if same_family { id.clone() } else { None };
        prop_assert_eq!(&header.identity, &readable);

        let theirs = v2::Header::try_from(bytes.as_slice()).unwrap();
        prop_assert_eq!(theirs.command, Command::Proxy);
        prop_assert_eq!(theirs.protocol, Protocol::Stream);
        prop_assert_eq!(theirs.addresses, if same_family { Addresses::from((s, d)) } else { Addresses::Unspecified });
        let tlvs: Vec<_> = theirs.tlvs().map(|tlv| tlv.unwrap()).map(|tlv| (tlv.kind, tlv.value.to_vec())).collect();
        let expected: Vec<_> = readable.iter().map(|id| (PEER_IDENTITY, id.as_bytes().to_vec())).collect();
        prop_assert_eq!(tlvs, expected);
    }

    #[test]
    fn a_truncated_header_asks_for_more(bytes in any_header(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len());
        prop_assert_eq!(read(&bytes[..cut]), Ok(None));
    }

    #[test]
    fn what_follows_a_header_is_not_part_of_it(bytes in any_header(), rest in prop::collection::vec(any::<u8>(), 0..64)) {
        let longer: Vec<u8> = bytes.iter().chain(&rest).copied().collect();
        prop_assert_eq!(read(&longer).unwrap().unwrap().1, bytes.len());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), real_prefix in any::<bool>()) {
        let bytes = if real_prefix { [v2::PROTOCOL_PREFIX, &bytes].concat() } else { bytes };
        let _ = read(&bytes);
    }

    #[test]
    fn a_damaged_header_never_gains_an_identity_out_of_nothing(
        s in socket_addr(), d in socket_addr(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = write(s, d, None).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some((header, _))) = read(&bytes) {
            prop_assert_eq!(header.identity, None);
        }
    }
}

fn v4() -> (SocketAddr, SocketAddr) {
    ("127.0.10.4:40000".parse().unwrap(), "127.0.20.2:8000".parse().unwrap())
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let (s, d) = v4();
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x16".to_vec();
    expected.extend([127, 0, 10, 4, 127, 0, 20, 2, 0x9c, 0x40, 0x1f, 0x40]);
    expected.extend([0xD0, 0, 7]);
    expected.extend(b"spiffe:");
    assert_eq!(write(s, d, Some("spiffe:")).unwrap(), expected);
}

#[test]
fn an_identity_too_long_or_empty_is_refused() {
    let (s, d) = v4();
    assert!(write(s, d, Some(&"x".repeat(LONGEST_IDENTITY))).is_ok());
    let longer = LONGEST_IDENTITY + 1;
    assert_eq!(write(s, d, Some(&"x".repeat(longer))), Err(Unwritable::IdentityTooLong(longer)));
    assert_eq!(write(s, d, Some(&"x".repeat(70_000))), Err(Unwritable::IdentityTooLong(70_000)));
    assert_eq!(write(s, d, Some("")), Err(Unwritable::EmptyIdentity));
}

#[test]
fn a_mapped_v4_address_is_written_as_v4() {
    let (s, d) = ("[::ffff:127.0.0.5]:9".parse().unwrap(), "127.0.20.2:8000".parse().unwrap());
    let (header, _) = read(&write(s, d, None).unwrap()).unwrap().unwrap();
    assert_eq!(header.addresses.unwrap().0, "127.0.0.5:9".parse().unwrap());
}

#[test]
fn an_identity_is_read_as_long_as_it_may_be_and_other_parts_are_none() {
    let (s, d) = v4();
    let longest = "x".repeat(LONGEST_IDENTITY);
    let (header, _) = read(&write(s, d, Some(&longest)).unwrap()).unwrap().unwrap();
    assert_eq!(header.identity.as_deref(), Some(longest.as_str()));
    let start = || v2::Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, (s, d));
    let longer = start().write_tlv(PEER_IDENTITY, &[b'x'; LONGEST_IDENTITY + 1]).unwrap().build().unwrap();
    assert_eq!(read(&longer), Err(Malformed::BadIdentity("longer than a SPIFFE id may be")));
    // Of what a load balancer may add nothing is taken for an identity, wherever it stands.
    let others = |build: v2::Builder| build.write_tlv(0xD1, b"other").unwrap().write_tlv(0x02, b"host").unwrap();
    let without = others(start()).build().unwrap();
    assert_eq!(read(&without).unwrap().unwrap().0.identity, None);
    let with = others(others(start()).write_tlv(PEER_IDENTITY, b"me").unwrap()).build().unwrap();
    assert_eq!(read(&with).unwrap().unwrap().0.identity.as_deref(), Some("me"));
}

#[test]
fn what_ztunnel_never_writes_is_malformed() {
    let (s, d) = v4();
    let tlv = |values: &[&[u8]]| {
        let start = v2::Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, (s, d));
        values.iter().fold(start, |b, v| b.write_tlv(PEER_IDENTITY, v).unwrap()).build().unwrap()
    };
    assert_eq!(read(&tlv(&[b""])), Err(Malformed::BadIdentity("empty")));
    assert_eq!(read(&tlv(&[b"a", b"b"])), Err(Malformed::SeveralIdentities));
    assert_eq!(read(&tlv(&[b"\xff"])), Err(Malformed::BadIdentity("not UTF-8")));
    assert!(matches!(read(&tlv(&[&[b'x'; 3000]])), Err(Malformed::BadIdentity(_))));
    let local = v2::Builder::with_addresses(Version::Two | Command::Local, Protocol::Stream, (s, d)).build().unwrap();
    assert!(matches!(read(&local), Err(Malformed::NotAProxiedStream(_))));
    let udp = v2::Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Datagram, (s, d)).build().unwrap();
    assert!(matches!(read(&udp), Err(Malformed::NotAProxiedStream(_))));
    let mut short_tlv = write(s, d, Some("abc")).unwrap();
    let at = short_tlv.len() - 4;
    short_tlv[at] = 200;
    assert!(matches!(read(&short_tlv), Err(Malformed::NotAHeader(_))));
    assert!(read(b"GET / HTTP/1.1\r\n").is_err());
}
