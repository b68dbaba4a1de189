//! Encrypted connections: whom we trust, and who we are.

use std::path::{Path, PathBuf};

use ratelimit::store::Redis;
use ratelimit::store::redis::{RedisSettings, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use runtime::Shutdown;

use super::servers::*;

/// An authority, and certificates signed by it, as files in `dir`.
pub(super) fn certificates(dir: &Path, names: &[&str]) -> PathBuf {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "the authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![(*name).to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    dir.join("ca.pem")
}

/// A server in `dir` that speaks TLS only, with the certificate `name` that is in `at`.
pub(super) fn tls_server(dir: &Path, at: &Path, name: &str, args: &[&str]) -> Server {
    let port = free_port();
    let file = |name: &str| at.join(name).display().to_string();
    let (cert, key, ca) = (file(&format!("{name}.pem")), file(&format!("{name}.key")), file("ca.pem"));
    let text = port.to_string();
    let own = ["--tls-port", &text, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let mut server = Server::start(dir, 0, &[&own, args].concat());
    server.port = port;
    server
}

fn over_tls(port: u16, tls: Tls) -> RedisSettings {
    let plain = settings(&format!("rediss://127.0.0.1:{port}"));
    RedisSettings { url: plain.url.clone().with_tls(tls), ..plain }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_we_trust_is_used_and_it_sees_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let ca = certificates(dir.path(), &["127.0.0.1", "elsewhere", "client"]);
    let start = |name: &str| tls_server(dir.path(), dir.path(), name, &[]);
    let (server, elsewhere) = (start("127.0.0.1"), start("elsewhere"));
    let shutdown = Shutdown::new();
    let client = Some((dir.path().join("client.pem"), dir.path().join("client.key")));
    let trusted = Tls { ca: Some(ca), client, check_hostname: true };

    let good = opened(over_tls(server.port, trusted.clone()), &shutdown).await;
    assert_eq!(count(&good, 1).await, Ok(1));
    let unchecked = Tls { check_hostname: false, ..trusted.clone() };
    let lax = opened(over_tls(elsewhere.port, unchecked.clone()), &shutdown).await;
    assert_eq!(count(&lax, 1).await, Ok(1));

    let other = tempfile::tempdir().unwrap();
    let other_ca = certificates(other.path(), &[]);
    let refused: Vec<Redis> = [
        over_tls(elsewhere.port, trusted.clone()),
        over_tls(server.port, Tls { client: None, ..trusted.clone() }),
        over_tls(server.port, Tls { ca: None, ..trusted.clone() }),
        over_tls(server.port, Tls { ca: Some(other_ca), ..unchecked }),
        settings(&format!("127.0.0.1:{}", server.port)),
    ]
    .into_iter()
    .map(|settings| open(settings, &shutdown))
    .collect();
    // Long enough for each to have tried: a handle that connects does so before this one.
    let late = opened(over_tls(server.port, trusted.clone()), &shutdown).await;
    for n in 0..50 {
        assert!(count(&late, n).await.is_ok());
        assert!(refused.iter().all(|redis| !redis.is_up()));
    }

    let missing = Tls { ca: Some(dir.path().join("nothing.pem")), ..trusted };
    let wrong = Redis::new(over_tls(server.port, missing)).unwrap_err().to_string();
    assert!(wrong.contains("nothing.pem"), "{wrong}");
    shutdown.begin();
}

/// The peer's own make file makes such a one: it signed itself, and is its own authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_signed_itself_is_trusted_by_who_lists_it_and_by_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let own = |name: &str, host: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = dir.path().join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        file
    };
    let (listed, other) = (own("127.0.0.1", "127.0.0.1"), own("other", "127.0.0.1"));
    let elsewhere = own("elsewhere", "redis.test");
    std::fs::copy(&listed, dir.path().join("ca.pem")).unwrap();
    let start = |name: &str| tls_server(dir.path(), dir.path(), name, &["--tls-auth-clients", "no"]);
    let (server, renamed) = (start("127.0.0.1"), start("elsewhere"));
    let shutdown = Shutdown::new();
    let trusting = |ca: &Path, check_hostname| Tls { ca: Some(ca.to_owned()), client: None, check_hostname };
    for (port, tls) in [
        (server.port, trusting(&listed, true)),
        (server.port, trusting(&listed, false)),
        (renamed.port, trusting(&elsewhere, false)),
    ] {
        let redis = opened(over_tls(port, tls), &shutdown).await;
        assert!(count(&redis, 1).await.is_ok());
    }
    let refused: Vec<Redis> = [
        (server.port, trusting(&other, true)),
        (server.port, trusting(&other, false)),
        (renamed.port, trusting(&elsewhere, true)),
    ]
    .map(|(port, tls)| open(over_tls(port, tls), &shutdown))
    .into();
    let late = opened(over_tls(server.port, trusting(&listed, true)), &shutdown).await;
    for n in 0..50 {
        assert!(count(&late, n).await.is_ok());
        assert!(refused.iter().all(|redis| !redis.is_up()));
    }
    shutdown.begin();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_client_certificate_is_shown_at_the_next_connection_and_a_broken_one_changes_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (certificates(dir.path(), &["127.0.0.1", "client"]), certificates(other.path(), &["client"]));
    let port = free_port();
    let letting_in = |clients: &Path| {
        let (port, clients) = (port.to_string(), clients.display().to_string());
        tls_server(dir.path(), dir.path(), "127.0.0.1", &["--tls-port", &port, "--tls-ca-cert-file", &clients])
    };
    let shutdown = Shutdown::new();
    let client = Some((dir.path().join("client.pem"), dir.path().join("client.key")));
    let server = letting_in(&first);
    let redis = opened(over_tls(port, Tls { ca: Some(first.clone()), client, check_hostname: true }), &shutdown).await;

    std::fs::write(dir.path().join("client.pem"), "broken").unwrap();
    drop(server);
    until("the connection is gone", async || !redis.is_up()).await;
    let server = letting_in(&first);
    until("connected with the last good one", async || redis.is_up()).await;
    assert_eq!(count(&redis, 1).await, Ok(1));

    for name in ["client.key", "client.pem"] {
        std::fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
    }
    drop(server);
    until("the connection is gone", async || !redis.is_up()).await;
    let _server = letting_in(&second);
    until("connected with the new one", async || redis.is_up()).await;
    assert_eq!(count(&redis, 1).await, Ok(1));
    shutdown.begin();
}
