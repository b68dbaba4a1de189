//! Envoy asks both servers over mutual TLS: what the waypoint tells it is what they want.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use waykeeper_tests::alone::{free, ready, start, waypoint};
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Backends, Curl, Folder, eventually, turn};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A folder like a mounted Secret, with a certificate for `name`.
fn put(folder: &Path, by: &Authority, name: &str) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, by).unwrap();
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
}

fn ask(header: &str) -> String {
    let request = format!("GET /get HTTP/1.1\r\nHost: httpbin2\r\n{header}Connection: close\r\n\r\n");
    send_raw("127.0.0.1:15088", &[proxy_header([127, 0, 20, 2], 8000, &[]), request.into_bytes()].concat())
}

fn answers(what: &str, header: &str, status: &str) {
    eventually(what, Duration::from_secs(15), || {
        let answer = std::net::TcpStream::connect("127.0.0.1:15088").map(|_| ask(header)).unwrap_or_default();
        if answer.starts_with(&format!("HTTP/1.1 {status}")) { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn envoy_shows_its_certificate_trusts_only_the_servers_and_a_stranger_in_their_place_lets_nobody_in() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let (folder, dir) = (Folder::example(), TempDir::new().unwrap());
    folder.apply_walkthrough("apikeys");
    let path = folder.path().to_str().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let (ours, strangers) = (authority("ours"), authority("strangers"));
    fs::write(at("ca.crt"), ours.pem()).unwrap();
    for (name, host) in [("extauth", "localhost"), ("ratelimit", "ratelimit.test"), ("client", "envoy.test")] {
        put(&at(name), &ours, host);
    }

    let (auth, limit) = (free(), free());
    let serve = |program: &str, grpc: &str| {
        let (admin, folder, ca, log) = (free(), text(program), text("ca.crt"), at(&format!("{program}.log")));
        let args = [path, "--grpc", grpc, "--admin", &admin, "--grpc-tls", &folder, "--grpc-client-ca", &ca];
        let process = start(&binary(program), &args, &log);
        ready(&admin, &log);
        process
    };
    let mut extauth = serve("extauth", &auth);
    let ratelimit = serve("ratelimit", &limit);

    let client = format!("ca={}&cert={}&key={}", text("ca.crt"), text("client/tls.crt"), text("client/tls.key"));
    let extauth_at = format!("tls://{}?{client}", auth.replace("127.0.0.1", "localhost"));
    let ratelimit_at = format!("tls://{limit}?{client}&name=ratelimit.test");
    let _waypoint = waypoint(path, &extauth_at, &ratelimit_at, dir.path());

    answers("asked", "", "401");
    answers("known", "api-key: mykey\r\n", "200");
    folder.delete_walkthrough("apikeys");
    folder.apply_walkthrough("ratelimit-httpbin2");
    // One a minute: over as soon as the rate-limit service has been asked.
    answers("limited", "", "429");
    // A stranger in its place is not asked: open, as it is when nobody is there.
    drop(ratelimit);
    put(&at("ratelimit"), &strangers, "ratelimit.test");
    let stranger = serve("ratelimit", &limit);
    for _ in 0..3 {
        let answer = ask("");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(stranger);
    put(&at("ratelimit"), &ours, "ratelimit.test");
    let _ratelimit = serve("ratelimit", &limit);
    answers("limited again", "", "429");
    folder.delete_walkthrough("ratelimit-httpbin2");
    folder.apply_walkthrough("apikeys");
    answers("asked again", "", "401");

    // Nobody else may ask, with a certificate of others or none.
    put(&at("other"), &strangers, "envoy.test");
    for (server, name) in [(&auth, "localhost"), (&limit, "ratelimit.test")] {
        let port = server.rsplit_once(':').unwrap().1;
        let call = |args: &[&str]| {
            let to = format!("{name}:{port}:127.0.0.1");
            let url = format!("https://{name}:{port}/");
            // Up to TLS 1.2 a client learns in the handshake that it is refused, later with whatever it does next.
            let common = ["--http2", "--tls-max", "1.2", "--resolve", &to, "--cacert", &text("ca.crt")];
            Curl::to(&url).args(&common).args(args).send()
        };
        let with = |folder: &str| {
            call(&["--cert", &text(&format!("{folder}/tls.crt")), "--key", &text(&format!("{folder}/tls.key"))])
        };
        assert_eq!(with("client").error, None, "the certificate Envoy has");
        for refused in [call(&[]), with("other")] {
            assert_eq!(refused.status, 0, "{refused:?}");
            let why = refused.error.unwrap_or_default();
            assert!(why.contains("alert"), "refused by TLS: {why}");
        }
    }

    // A stranger who says it is extauth, or one of ours whose certificate is for another, is not asked:
    // closed, whatever it would say.
    for (by, name) in [(&strangers, "localhost"), (&ours, "ratelimit.test")] {
        drop(extauth);
        put(&at("extauth"), by, name);
        extauth = serve("extauth", &auth);
        for _ in 0..20 {
            let answer = ask("api-key: mykey\r\n");
            assert!(answer.starts_with("HTTP/1.1 403"), "{name}: {answer}");
        }
    }
    // Its own again; and Envoy shows what it read at first, whatever its files have become.
    drop(extauth);
    put(&at("extauth"), &ours, "localhost");
    put(&at("client"), &strangers, "envoy.test");
    let _extauth = serve("extauth", &auth);
    answers("its own again", "api-key: mykey\r\n", "200");
}
