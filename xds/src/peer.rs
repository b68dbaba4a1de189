//! Who is at the other end of a stream, and which node it may speak for.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// What the transport knows of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// It came with nothing that proves anything: over a Unix socket, which the file system guards.
    Local,
    /// It proved these names: the DNS and URI subject alternative names of its certificate.
    Certified(Vec<String>),
    /// It came without a certificate, and says who it is by a token of which nobody has seen yet whether it is good.
    Bearing(Bearer),
}

/// The token of `authorization: Bearer TOKEN`. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Zeroizing<String>);

impl Bearer {
    /// The token itself, for whoever has to show it to somebody who knows it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Bearer {
    fn from(token: &str) -> Self {
        Self(Zeroizing::new(token.to_owned()))
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl Peer {
    /// The peer that sent `request`.
    pub fn of<T>(request: &tonic::Request<T>) -> Peer {
        if let Some(certificates) = request.peer_certs() {
            return Peer::Certified(certificates.first().map(|c| names(c)).unwrap_or_default());
        }
        let mut said = request.metadata().get_all("authorization").iter();
        match (said.next(), said.next()) {
            (None, _) => Peer::Local,
            (Some(one), None) => match one.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")) {
                Some(token) if !token.is_empty() => Peer::Bearing(Bearer::from(token)),
                _ => Peer::Certified(Vec::new()),
            },
            // Who says two things has proved nothing, and is nobody that a Unix socket would let in.
            (Some(_), Some(_)) => Peer::Certified(Vec::new()),
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

/// What is decided, once it is.
pub type Decision = Pin<Box<dyn Future<Output = Admission> + Send>>;

/// Whether a client may have what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may not.
    Refused,
    /// It may; which of the node's clients it is nobody knows.
    Admitted,
    /// It may, and has proved to be the one of this name.
    As(String),
}

impl From<bool> for Admission {
    fn from(may: bool) -> Self {
        if may { Admission::Admitted } else { Admission::Refused }
    }
}

type Decide = dyn Fn(&Peer, &str) -> Decision + Send + Sync;

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer")
    }
}

impl Authorizer {
    fn new(decide: impl Fn(&Peer, &str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |peer, node| Box::pin(std::future::ready(decide(peer, node).into()))))
    }

    /// For a socket only trusted processes can open: the node is who it says it is.
    pub fn local() -> Self {
        Self::new(|peer, _| *peer == Peer::Local)
    }

    /// For mutual TLS: one of the certificate's names must be the node id.
    pub fn by_certificate() -> Self {
        Self::new(|peer, node| matches!(peer, Peer::Certified(names) if names.iter().any(|name| name == node)))
    }

    /// For TLS with tokens: `decide` is given the token and the node id that whoever bears it claims, and finds out
    /// whether it may, and which of the node's clients it is. Who bears none may not.
    pub fn by_token(decide: impl Fn(Bearer, String) -> Decision + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |peer, node| match peer {
            Peer::Bearing(token) => decide(token.clone(), node.to_owned()),
            Peer::Local | Peer::Certified(_) => Box::pin(std::future::ready(Admission::Refused)),
        }))
    }

    /// Whether `peer` may have what `node` is to have.
    pub async fn admits(&self, peer: &Peer, node: &str) -> Admission {
        if node.is_empty() { Admission::Refused } else { (self.0)(peer, node).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearing(token: &str) -> Peer {
        Peer::Bearing(Bearer::from(token))
    }

    #[tokio::test]
    async fn a_certificate_speaks_for_its_own_node_only() {
        let authorizer = Authorizer::by_certificate();
        let peer = Peer::Certified(vec!["shop~gateway".to_owned()]);
        assert_eq!(authorizer.admits(&peer, "shop~gateway").await, Admission::Admitted);
        for (peer, node) in [
            (peer, "bank~gateway"),
            (Peer::Local, "shop~gateway"),
            (bearing("shop~gateway"), "shop~gateway"),
            (Peer::Certified(vec![String::new()]), ""),
        ] {
            assert_eq!(authorizer.admits(&peer, node).await, Admission::Refused, "{peer:?} {node}");
        }
    }

    #[tokio::test]
    async fn the_local_rule_does_not_stretch_to_certificates_or_tokens() {
        let authorizer = Authorizer::local();
        assert_eq!(authorizer.admits(&Peer::Local, "shop~gateway").await, Admission::Admitted);
        let certified = Peer::Certified(vec!["shop~gateway".to_owned()]);
        for (peer, node) in [(certified, "shop~gateway"), (bearing("good"), "shop~gateway"), (Peer::Local, "")] {
            assert_eq!(authorizer.admits(&peer, node).await, Admission::Refused, "{peer:?} {node}");
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_about_and_nothing_else_gets_in() {
        let authorizer = Authorizer::by_token(|token, node| {
            let may = token.expose() == "good" && node == "shop~gateway";
            Box::pin(async move { if may { Admission::As("a".to_owned()) } else { Admission::Refused } })
        });
        assert_eq!(authorizer.admits(&bearing("good"), "shop~gateway").await, Admission::As("a".to_owned()));
        assert_eq!(authorizer.admits(&bearing("good"), "bank~gateway").await, Admission::Refused);
        assert_eq!(authorizer.admits(&bearing("bad"), "shop~gateway").await, Admission::Refused);
        let anyone = Authorizer::by_token(|_, _| Box::pin(std::future::ready(Admission::Admitted)));
        for peer in [Peer::Local, Peer::Certified(vec!["shop~gateway".to_owned()])] {
            assert_eq!(anyone.admits(&peer, "shop~gateway").await, Admission::Refused, "{peer:?}");
        }
        assert_eq!(anyone.admits(&bearing("good"), "").await, Admission::Refused);
    }

    #[test]
    fn a_certificate_proves_the_names_of_hosts_and_uris_in_it_and_nothing_else() {
        let of = |names: Vec<rcgen::SanType>| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, "shop~common");
            params.subject_alt_names = names;
            params.self_signed(&key).expect("a certificate").der().to_vec()
        };
        let text = |text: &str| text.try_into().expect("text");
        let uri = "spiffe://cluster.local/ns/shop/sa/gateway";
        let all = of(vec![
            rcgen::SanType::DnsName(text("shop.gateway")),
            rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
            rcgen::SanType::Rfc822Name(text("a@shop.test")),
            rcgen::SanType::URI(text(uri)),
        ]);
        assert_eq!(names(&all), ["shop.gateway", uri]);
        assert_eq!(names(&of(vec![])), Vec::<String>::new());
        assert_eq!(names(b"no certificate"), Vec::<String>::new());
    }

    #[test]
    fn a_token_comes_in_one_header_of_one_form_and_is_not_shown() {
        let with = |values: &[&'static str]| {
            let mut request = tonic::Request::new(());
            for value in values {
                request.metadata_mut().append("authorization", value.parse().expect("a value"));
            }
            Peer::of(&request)
        };
        assert_eq!(with(&[]), Peer::Local);
        assert_eq!(with(&["Bearer canary"]), bearing("canary"));
        for nobody in [&["Bearer "][..], &["canary"], &["Basic canary"], &["Bearer a", "Bearer b"]] {
            assert_eq!(with(nobody), Peer::Certified(vec![]), "{nobody:?}");
        }
        assert!(!format!("{:?}", with(&["Bearer canary"])).contains("canary"));
    }
}
