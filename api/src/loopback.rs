//! Loopback addresses that stand for services and gateways on one machine.
//!
//! They are derived from names, so that they stay the same from run to run.

use std::net::Ipv4Addr;

/// The purpose of a derived address. Each has a range of its own, so that addresses of two never collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Virtual addresses of Services: 127.64.0.0/10.
    Services,
    /// Addresses where the Envoys of Gateways listen: 127.128.0.0/10.
    Gateways,
}

/// The `attempt`th candidate address for `name` (`namespace/name`).
///
/// Attempt 0 is the one to use unless another name already holds it.
pub fn candidate(range: Range, name: &str, attempt: u32) -> Ipv4Addr {
    // FNV-1a: stable across versions and machines, which std's hashers do not promise.
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(0x2c1b_3c6d);
    hash ^= hash >> 12;
    let base: u32 = match range {
        Range::Services => u32::from(Ipv4Addr::new(127, 64, 0, 0)),
        Range::Gateways => u32::from(Ipv4Addr::new(127, 128, 0, 0)),
    };
    // 22 bits of host part, never ending in .0 or .255, which some tools treat as special.
    let mut host = hash.wrapping_add(attempt) & 0x003f_ffff;
    if host & 0xff == 0 || host & 0xff == 0xff {
        host ^= 0x55;
    }
    Ipv4Addr::from(base | host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_apart() {
        let service = candidate(Range::Services, "httpbin/httpbin2", 0);
        assert_eq!(service, candidate(Range::Services, "httpbin/httpbin2", 0));
        assert_ne!(service, candidate(Range::Services, "httpbin/httpbin3", 0));
        assert_ne!(service, candidate(Range::Services, "httpbin/httpbin2", 1));
        assert!(service.octets()[1] >= 64 && service.octets()[1] < 128);
        assert!(candidate(Range::Gateways, "httpbin/httpbin2", 0).octets()[1] >= 128);
    }
}
