//! Who is at the other end of a stream, and which node it may speak for.

use std::fmt;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the transport knows of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// It came without a client certificate: over a Unix socket, which the file system guards.
    Local,
    /// It proved these names: the DNS and URI subject alternative names of its certificate.
    Certified(Vec<String>),
}

impl Peer {
    /// The peer that sent `request`.
    pub fn of<T>(request: &tonic::Request<T>) -> Peer {
        match request.peer_certs() {
            Some(certificates) => Peer::Certified(certificates.first().map(|c| names(c)).unwrap_or_default()),
            None => Peer::Local,
        }
    }
}

fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |general: &GeneralName<'_>| match general {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

/// Decides whether a peer may have the resources of the node it says it is.
#[derive(Clone)]
pub struct Authorizer(Arc<Decide>);

type Decide = dyn Fn(&Peer, &str) -> bool + Send + Sync;

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer")
    }
}

impl Authorizer {
    /// An authorizer that asks `decide`, which is given the peer and the node id it claims.
    pub fn new(decide: impl Fn(&Peer, &str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// For a socket only trusted processes can open: the node is who it says it is.
    pub fn local() -> Self {
        Self::new(|peer, _| *peer == Peer::Local)
    }

    /// For mutual TLS: one of the certificate's names must be the node id.
    pub fn by_certificate() -> Self {
        Self::new(|peer, node| matches!(peer, Peer::Certified(names) if names.iter().any(|name| name == node)))
    }

    /// Whether `peer` may have what `node` is to have.
    pub fn allows(&self, peer: &Peer, node: &str) -> bool {
        !node.is_empty() && (self.0)(peer, node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_for_its_own_node_only() {
        let authorizer = Authorizer::by_certificate();
        let peer = Peer::Certified(vec!["shop~gateway".to_owned()]);
        assert!(authorizer.allows(&peer, "shop~gateway"));
        assert!(!authorizer.allows(&peer, "bank~gateway"));
        assert!(!authorizer.allows(&Peer::Local, "shop~gateway"));
        assert!(!authorizer.allows(&Peer::Certified(vec![String::new()]), ""));
    }

    #[test]
    fn the_local_rule_does_not_stretch_to_certificates() {
        let authorizer = Authorizer::local();
        assert!(authorizer.allows(&Peer::Local, "shop~gateway"));
        assert!(!authorizer.allows(&Peer::Certified(vec!["shop~gateway".to_owned()]), "shop~gateway"));
        assert!(!authorizer.allows(&Peer::Local, ""));
    }
}
