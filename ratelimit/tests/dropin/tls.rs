//! TLS of the gRPC port: clients by authority and name, certificates replaced while serving.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::process::{Ours, ask, until, write};

pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key for `name`.
pub fn leaf(by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, by).unwrap();
    (cert.pem(), key.serialize_pem())
}

pub fn put(folder: &Path, (cert, key): &(String, String)) {
    std::fs::write(folder.join("tls.key"), key).unwrap();
    std::fs::write(folder.join("tls.crt"), cert).unwrap();
}

async fn connect(ours: &Ours, trusted: &str, identity: Option<&(String, String)>) -> Option<Channel> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted)).domain_name("ratelimit.test");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Channel::from_shared(format!("https://127.0.0.1:{}", ours.grpc)).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.ok()?;
    // In TLS 1.3 a client learns of its refusal with the first answer.
    ask(&channel, "d", "k").await.ok().map(|_| channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_let_in_by_authority_and_name_and_certificates_may_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("app/config");
    std::fs::create_dir_all(&config).unwrap();
    write(&config, "a.yaml", "1000");
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (servers, clients, strangers) = (authority("servers"), authority("clients"), authority("strangers"));
    put(folder.path(), &leaf(&servers, "ratelimit.test"));
    std::fs::write(folder.path().join("ca.crt"), clients.pem()).unwrap();
    let ours = Ours::start(&[
        ("RUNTIME_ROOT", &at("")),
        ("RUNTIME_SUBDIRECTORY", "app"),
        ("GRPC_SERVER_USE_TLS", "true"),
        ("GRPC_SERVER_TLS_CERT", &at("tls.crt")),
        ("GRPC_SERVER_TLS_KEY", &at("tls.key")),
        ("GRPC_CLIENT_TLS_CACERT", &at("ca.crt")),
        ("GRPC_CLIENT_TLS_SAN", "envoy.test"),
    ]);
    let trusted = servers.pem();
    let known = leaf(&clients, "envoy.test");
    until("the known client", async || connect(&ours, &trusted, Some(&known)).await).await;
    assert!(connect(&ours, &trusted, None).await.is_none(), "no certificate");
    assert!(connect(&ours, &trusted, Some(&leaf(&clients, "other.test"))).await.is_none(), "another name");
    assert!(connect(&ours, &trusted, Some(&leaf(&strangers, "envoy.test"))).await.is_none(), "another authority");

    std::fs::write(folder.path().join("tls.crt"), "broken").unwrap();
    let renewed = authority("renewed");
    put(folder.path(), &leaf(&renewed, "ratelimit.test"));
    until("the new certificate", async || connect(&ours, &renewed.pem(), Some(&known)).await).await;
    assert!(connect(&ours, &trusted, Some(&known)).await.is_none(), "the old one is gone");
}
