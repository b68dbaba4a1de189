//! Never: a header that panics the reader, reads past its end, or reads otherwise than it was written.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use tunnel::header::{Header, read, write};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

type Address = (IpAddr, u16);

fuzz_target!(|input: (Address, Address, Option<&str>, &[u8])| {
    let (source, destination, identity, rest) = input;
    survives(rest);
    survives(&[SIGNATURE, rest].concat());

    let (source, destination) = (SocketAddr::from(source), SocketAddr::from(destination));
    let Ok(written) = write(source, destination, identity) else { return };
    let (header, length) = read(&[&written, rest].concat()).expect("what we write is well formed").expect("whole");
    assert_eq!((header, length), (expected(source, destination, identity), written.len()));
    for end in 0..written.len() {
        assert_eq!(read(&written[..end]), Ok(None), "a part of a header was taken for a whole one");
    }
});

/// Reads `bytes`; what was read is written again and says the same.
fn survives(bytes: &[u8]) {
    let Ok(Some((header, length))) = read(bytes) else { return };
    assert_eq!(read(&bytes[..length]), Ok(Some((header.clone(), length))), "what follows a header changes it");
    let Some((source, destination)) = header.addresses else { return };
    let written = write(source, destination, header.identity.as_deref()).expect("what was read can be written");
    let (again, _) = read(&written).expect("what we write is well formed").expect("whole");
    assert_eq!(again, expected(source, destination, header.identity.as_deref()));
}

/// What a header says once written: IPv4 as such, and nothing of a mix of families.
fn expected(source: SocketAddr, destination: SocketAddr, identity: Option<&str>) -> Header {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (canonical(source), canonical(destination));
    if source.is_ipv4() != destination.is_ipv4() {
        return Header { addresses: None, identity: None };
    }
    Header { addresses: Some((source, destination)), identity: identity.map(str::to_owned) }
}
