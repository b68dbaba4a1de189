//! Addresses that no Service may point at: our own.
//!
//! Whoever reaches our admin ports decides about logs and configuration, whoever
//! reaches the servers that Envoy asks may ask them, and whoever reaches a PROXY
//! listener may claim to be anybody. They are open to this machine or pod only;
//! a Service that names them as its endpoints would open them to all its callers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ir::{Bind, GrpcTarget, Settings};

/// The addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    addresses: BTreeSet<SocketAddr>,
    hosts: BTreeSet<(String, u16)>,
    /// Whether Envoys run on this machine, so that a name they look up may be this machine's.
    here: bool,
}

impl Ours {
    /// Those of `settings`, and where `listeners` bind.
    pub fn new(settings: &Settings, listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut ours = Self { here: settings.bind == Bind::PerGateway, ..Self::default() };
        ours.addresses.extend(settings.reserved.iter().copied().chain(listeners));
        for target in [&settings.extauth, &settings.ratelimit].into_iter().flatten() {
            if let GrpcTarget::Tcp { host, port }
            | GrpcTarget::Tls { host, port, .. }
            | GrpcTarget::Mutual { host, port, .. } = target
            {
                let here = is_this_machine(host).then(|| IpAddr::from([127, 0, 0, 1]));
                match host.trim_matches(['[', ']']).parse().ok().or(here) {
                    Some(ip) => ours.addresses.extend([SocketAddr::new(ip, *port)]),
                    None => ours.hosts.extend([(name(host), *port)]),
                }
            }
        }
        ours
    }

    /// Why `host` and `port`, as an endpoint, are refused.
    pub fn refuse(&self, host: &str, port: u16) -> Option<String> {
        let ours = match host.parse::<IpAddr>() {
            Ok(ip) => self.has(ip, port),
            Err(_) if is_this_machine(host) => self.has(IpAddr::from([127, 0, 0, 1]), port),
            // Resolvers take `127.1` and `2130706433` for addresses; no host has such a name.
            Err(_)
                if name(host).rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit())) =>
            {
                return Some(format!("its endpoint {host} is neither an address nor the name of a host"));
            }
            // What a name comes to is for Envoy to find out, and its owner may change it at any time.
            Err(_) if self.here && self.addresses.iter().any(|own| own.port() == port) => {
                return Some(format!(
                    "its endpoint {host} port {port} may be this machine, where that port is our own; write its \
                     address instead of its name, or use another port"
                ));
            }
            Err(_) => self.hosts.contains(&(name(host), port)),
        };
        ours.then(|| {
            format!("its endpoint {host} port {port} is one of our own addresses, which no Service may expose")
        })
    }

    fn has(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        self.addresses.iter().any(|own| {
            let own_ip = own.ip().to_canonical();
            // The unspecified address is every address of this machine, this side and that.
            let same = ip == own_ip || (ip.is_unspecified() || own_ip.is_unspecified()) && local(ip) && local(own_ip);
            own.port() == port && same
        })
    }
}

fn name(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn is_this_machine(host: &str) -> bool {
    let host = name(host);
    ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"].contains(&host.as_str())
        || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_addresses_are_known_in_every_spelling_and_others_are_left_alone() {
        let settings = Settings {
            reserved: ["127.0.0.1:15000", "0.0.0.0:9090", "127.0.30.1:15001"]
                .iter()
                .filter_map(|a| a.parse().ok())
                .collect(),
            extauth: Some(GrpcTarget::Tcp { host: "ExtAuth.".to_owned(), port: 8083 }),
            ratelimit: Some(GrpcTarget::Tcp { host: "localhost".to_owned(), port: 8084 }),
            ..Settings::default()
        };
        let ours = Ours::new(&settings, "127.0.40.1:15088".parse());
        for (host, port) in [
            ("127.0.0.1", 15000),
            ("::ffff:127.0.0.1", 15000),
            ("0.0.0.0", 15000),
            ("::", 15000),
            ("localhost", 15000),
            ("LocalHost.", 15000),
            ("x.localhost", 15000),
            ("127.0.0.1", 9090),
            ("::1", 9090),
            ("127.9.9.9", 9090),
            ("127.0.30.1", 15001),
            ("127.0.40.1", 15088),
            ("extauth", 8083),
            ("127.0.0.1", 8084),
            ("127.1", 80),
            ("2130706433", 80),
            ("0x7f000001", 80),
        ] {
            assert!(ours.refuse(host, port).is_some(), "{host} {port}");
        }
        for (host, port) in [
            ("127.0.0.1", 8080),
            ("127.0.10.2", 15000),
            ("10.0.0.1", 9090),
            ("extauth", 80),
            ("app.example", 15000),
            ("7.example", 80),
        ] {
            assert_eq!(ours.refuse(host, port), None, "{host} {port}");
        }
        let here = Ours::new(&Settings { bind: Bind::PerGateway, ..settings }, []);
        assert!(here.refuse("app.example", 15000).is_some_and(|why| why.contains("write its address")));
        assert_eq!(here.refuse("app.example", 8080), None);
    }
}
