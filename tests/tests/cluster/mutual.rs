//! Envoys of Gateways and the servers that they ask prove to each other who they are, and nobody else is let in.

use std::collections::BTreeMap;

use api::contract::ENVOYS;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::envoys::{AUDIENCE, Certificates, Pod, age, bind, gateway, programmed};
use super::*;

/// The Secrets that the control plane makes, by the server that mounts them.
const SECRETS: [(&str, &str); 2] = [("extauth", "waykeeper-extauth-tls"), ("ratelimit", "waykeeper-ratelimit-tls")];

fn a_secret(name: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\n")
}

/// What a Secret has.
fn entries(cluster: &Cluster, name: &str) -> BTreeMap<String, String> {
    let answer = cluster.get(&a_secret(name));
    let data: BTreeMap<String, Value> = match answer.status {
        200 => serde_json::from_value(answer.json()["data"].take()).unwrap(),
        _ => BTreeMap::new(),
    };
    let decoded = |coded: &Value| String::from_utf8(STANDARD.decode(coded.as_str().unwrap()).unwrap()).unwrap();
    data.iter().map(|(name, coded)| (name.clone(), decoded(coded))).collect()
}

/// A Secret as a kubelet mounts it: once it is there, with these many authorities.
fn mounted(cluster: &Cluster, name: &str, folder: &Path, authorities: usize) -> BTreeMap<String, String> {
    let entries = eventually(name, CHANGE, || match entries(cluster, name) {
        found if found.get("ca.crt").is_some_and(|ca| ca.matches("BEGIN").count() == authorities) => Ok(found),
        found => Err(format!("{:?}", found.keys())),
    });
    put(folder, &entries);
    entries
}

fn put(folder: &Path, files: &BTreeMap<String, String>) {
    fs::create_dir_all(folder).unwrap();
    for (name, text) in files {
        let beside = folder.join(format!("{name}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, folder.join(name)).unwrap();
    }
}

/// Somebody who shows a certificate.
struct Client<'a> {
    /// The names in it.
    names: &'a [&'a str],
    /// What it is good for.
    usage: ExtendedKeyUsagePurpose,
    /// Until when, in years.
    until: i32,
}

impl Client<'_> {
    const ENVOY: Client<'static> = Client { names: &[ENVOYS], usage: ExtendedKeyUsagePurpose::ClientAuth, until: 2100 };

    /// Its files, signed by whose certificate and key these are.
    fn signed(&self, (cert, key): (&str, &str)) -> BTreeMap<String, String> {
        let issuer = Issuer::from_ca_cert_pem(cert, KeyPair::from_pem(key).unwrap()).unwrap();
        let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![self.usage.clone()];
        params.not_after = rcgen::date_time_ymd(self.until, 1, 1);
        let own = KeyPair::generate().unwrap();
        let cert = params.signed_by(&own, &issuer).unwrap().pem();
        [("tls.crt".to_owned(), cert), ("tls.key".to_owned(), own.serialize_pem())].into()
    }
}

/// An authority of nobody's, and its key.
fn strangers() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "strangers");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    (authority.pem(), authority.key().serialize_pem())
}

/// The authority that signs, and its key.
fn signer(cluster: &Cluster) -> (String, String) {
    let all: Value = serde_json::from_str(&entries(cluster, "waykeeper-waypoint-authority")["authorities"]).unwrap();
    let text = |field: &str| all["current"][field].as_str().unwrap().to_owned();
    (text("cert"), text("key"))
}

pub const POLICIES: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: app}]
  rules: [{backendRefs: [{name: app, port: 8000}]}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: app, namespace: t}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  options:
    extauth: {configRef: {name: keys, namespace: t}}
    rateLimitConfigs: {refs: [{name: once, namespace: t}]}
---
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {name: once, namespace: t}
spec:
  raw:
    descriptors: [{key: who, rateLimit: {requestsPerUnit: 1, unit: YEAR}}]
    rateLimits: [{actions: [{requestHeaders: {headerName: x-who, descriptorKey: who}}]}]
";

/// A Service, and the application behind it at `endpoint`.
pub fn service(endpoint: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: app, namespace: t, labels: {{istio.io/use-waypoint: a}}}}\n\
         spec: {{ports: [{{name: http, port: 8000, targetPort: 8080}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: app-1\n  namespace: t\n  \
         labels: {{kubernetes.io/service-name: app}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints: [{{addresses: [{endpoint}], conditions: {{ready: true}}}}]\n"
    )
}

/// The status of an answer from the Service at `vip`, through the Envoy at `port`.
pub fn ask(port: u16, vip: [u8; 4], headers: &str) -> String {
    let request = format!("GET /get HTTP/1.1\r\nHost: app\r\n{headers}Connection: close\r\n\r\n").into_bytes();
    let at = format!("127.0.0.1:{port}");
    let bytes = [proxy_header(vip, 8000, &[]), request].concat();
    let answer = std::net::TcpStream::connect(&at).map(|_| send_raw(&at, &bytes)).unwrap_or_default();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn nobody_but_envoys_of_gateways_may_ask_the_servers() {
    let _turn = turn();
    let endpoint = address("10.244.0.3");
    let mut cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    namespace(&cluster);
    gateway_crds(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    let kubeconfig = account(&cluster, "waypoint", None);
    bind(&cluster, "waykeeper-waypoint-xds");
    let port: u16 = free().rsplit(':').next().unwrap().parse().unwrap();
    cluster.apply(&gateway("a", port));
    for manifest in [&service(&endpoint), POLICIES, &config(GROUP, "keys"), &labelled_secret("k", "good-key")] {
        cluster.apply(manifest);
    }
    let app = cluster.get("apiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: t}\n").json();
    let vip = app["spec"]["clusterIP"].as_str().unwrap().parse::<std::net::Ipv4Addr>().unwrap().octets();
    let _application = start(&binary("sample-app"), &["--listen", &format!("{endpoint}:8080")], &at("app"));
    let answers = |what: &str, headers: &str, wanted: &str, more: &dyn Fn() -> String| {
        eventually(&format!("{what}: {wanted}"), RETURN, || match ask(port, vip, headers) {
            got if got == wanted => Ok(()),
            got => Err(format!("{got:?}\n{}", more())),
        });
    };

    // Its own certificate comes from files. Of that for the servers it may not make any yet: Envoy is let in and told
    // nothing, so that it never asks without.
    let own = Certificates::new(dir.path());
    let (auth, limit) = (free(), free());
    let extauth_at = format!("mtls://{}", auth.replace("127.0.0.1", "localhost"));
    let ratelimit_at = format!("mtls://{limit}?name=ratelimit.test");
    let (cert, key) = (own.at("tls.crt"), own.at("tls.key"));
    let args = ["--tls-cert", &cert, "--tls-key", &key, "--extauth", &extauth_at, "--ratelimit", &ratelimit_at];
    let mut waypoint = Server::start("waypoint", &kubeconfig, dir.path(), &args);
    let token = cluster.token_for("t", "gloo-proxy-a", AUDIENCE);
    let pod = Pod::of(dir.path(), "a", &token, &waypoint.grpc, &own.at("ca.crt"));
    eventually("an Envoy that waits", CHANGE, || match (waypoint.page("/readyz"), waypoint.page("/metrics").1) {
        ((503, body), metrics) if body.contains("authority") && metrics.contains("\nwaykeeper_xds_waiting 1\n") => {
            Ok(())
        }
        other => Err(format!("{other:?}\n{}", waypoint.log())),
    });
    eventually("its Gateway to be translated", CHANGE, || match waypoint.page("/config").1 {
        config if config.contains("\"gateway\":\"t/a\"") => Ok(()),
        config => Err(config),
    });
    let config = waypoint.page("/config").1;
    assert!(config.contains("\"generation\":0,"), "it is told nothing: {config}");
    assert_eq!(pod.page("/readyz").0, 503, "nobody knows yet who it is");

    // Where somebody else has a Secret of the name, it is left as it is.
    let theirs = format!("{}stringData: {{whose: theirs}}\n", a_secret("waykeeper-ratelimit-tls"));
    cluster.apply(&theirs);
    cluster.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: authority, namespace: default}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waykeeper-waypoint-authority}\n\
         subjects: [{kind: ServiceAccount, name: waypoint, namespace: default}]\n",
    );
    waypoint.ready();
    eventually("a word of it", CHANGE, || match waypoint.page("/readyz").1 {
        body if body.contains("waykeeper-ratelimit-tls: it is somebody else's") => Ok(()),
        body => Err(body),
    });
    assert_eq!(entries(&cluster, "waykeeper-ratelimit-tls"), [("whose".to_owned(), "theirs".to_owned())].into());
    cluster.delete(&theirs);

    // The servers, with what they mount. Without a certificate of ours nobody asks them anything.
    for (server, secret) in SECRETS {
        mounted(&cluster, secret, &at(server), 1);
        assert_eq!(cluster.get(&a_secret(secret)).json()["type"], "kubernetes.io/tls");
    }
    let begin = |program: &str, grpc: &str, folder: &str| {
        let kubeconfig = account(&cluster, program, None);
        let ca = format!("{}/ca.crt", text(program));
        let folder = text(folder);
        let args = ["--grpc-tls", &folder, "--grpc-client-ca", &ca, "--grpc-client-name", ENVOYS];
        let server = Server::at(grpc.to_owned(), program, &kubeconfig, dir.path(), &args);
        server.ready();
        server
    };
    let mut extauth = begin("extauth", &auth, "extauth");
    let ratelimit = begin("ratelimit", &limit, "ratelimit");
    let said = || format!("{}\n{}\n{}\n{}", waypoint.log(), pod.log(), extauth.log(), ratelimit.log());
    pod.ready();
    answers("a good key", "api-key: good-key\r\n", "200", &said);
    answers("no key", "", "401", &said);
    answers("room for one", "api-key: good-key\r\nx-who: a\r\n", "200", &said);
    answers("and no more", "api-key: good-key\r\nx-who: a\r\n", "429", &said);
    told(&cluster, &gateway("a", port), "programmed", programmed);

    // Who may ask is who has a certificate of this authority, for this purpose, with this name, as long as it is good.
    let ours = signer(&cluster);
    let ours = (ours.0.as_str(), ours.1.as_str());
    let others = strangers();
    let is_let_in = |grpc: &str, name: &str, shown: Option<&BTreeMap<String, String>>| {
        let port = grpc.rsplit_once(':').unwrap().1;
        let (to, url) = (format!("{name}:{port}:127.0.0.1"), format!("https://{name}:{port}/"));
        // Up to TLS 1.2 a client learns in the handshake that it is refused, later with whatever it does next.
        let mut args = ["--http2", "--tls-max", "1.2", "--resolve", &to, "--cacert"].map(str::to_owned).to_vec();
        args.push(format!("{}/ca.crt", text("extauth")));
        if let Some(shown) = shown {
            put(&at("client"), shown);
            args.extend(["--cert", &text("client/tls.crt"), "--key", &text("client/tls.key")].map(str::to_owned));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let reply = Curl::to(&url).args(&args).send();
        // curl says 60 also where the server says that the client's certificate has run out.
        let refused = reply.error.as_ref().is_some_and(|why| why.contains("alert") || why.contains("Some(60)"));
        assert_eq!(refused, reply.status == 0, "{name}: {reply:?}");
        !refused
    };
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let clients = [
        ("one of ours", true, Some(Client::ENVOY.signed(ours))),
        ("nobody", false, None),
        ("a stranger's", false, Some(Client::ENVOY.signed((&others.0, &others.1)))),
        ("one that has run out", false, Some(Client { until: 2001, ..Client::ENVOY }.signed(ours))),
        ("a server's", false, Some(Client { usage: ServerAuth, ..Client::ENVOY }.signed(ours))),
        ("of another name", false, Some(Client { names: &["other.test"], ..Client::ENVOY }.signed(ours))),
        ("of no name", false, Some(Client { names: &[], usage: ClientAuth, until: 2100 }.signed(ours))),
        ("extauth's own", false, Some(entries(&cluster, "waykeeper-extauth-tls"))),
    ];
    for (what, wanted, shown) in &clients {
        for (grpc, name) in [(&auth, "localhost"), (&limit, "ratelimit.test")] {
            assert_eq!(is_let_in(grpc, name, shown.as_ref()), *wanted, "{what} at {name}");
        }
    }

    // Whoever stands in extauth's place is not asked: a stranger, one of ours that is for another name or purpose, and
    // one without TLS.
    let served = |names: &'static [&'static str], usage| Client { names, usage, until: 2100 };
    put(&at("strange"), &served(&["localhost"], ServerAuth).signed((&others.0, &others.1)));
    put(&at("envoys"), &served(&["localhost"], ClientAuth).signed(ours));
    for folder in ["strange", "ratelimit", "envoys", ""] {
        extauth.stop(Duration::from_secs(15));
        extauth = match folder {
            "" => Server::at(auth.clone(), "extauth", &account(&cluster, "extauth", None), dir.path(), &[]),
            folder => begin("extauth", &auth, folder),
        };
        extauth.ready();
        for _ in 0..20 {
            assert_eq!(ask(port, vip, "api-key: good-key\r\n"), "403", "{folder:?}");
        }
    }
    extauth.stop(Duration::from_secs(15));
    let mut extauth = begin("extauth", &auth, "extauth");
    let said = || format!("{}\n{}\n{}", waypoint.log(), pod.log(), extauth.log());
    answers("its own again", "api-key: good-key\r\n", "200", &said);

    // What somebody else writes into the Secret does not stay, and what is good does.
    let before = entries(&cluster, "waykeeper-ratelimit-tls");
    let tampered = json!({"stringData": served(&["localhost"], ServerAuth).signed((&others.0, &others.1))});
    let path = "/api/v1/namespaces/default/secrets/waykeeper-extauth-tls";
    super::envoys::merge(&cluster, path, &tampered);
    eventually("another certificate", CHANGE, || match entries(&cluster, "waykeeper-extauth-tls") {
        now if now["tls.key"] != tampered["stringData"]["tls.key"] => Ok(()),
        now => Err(format!("{:?}", now.keys())),
    });
    assert_eq!(entries(&cluster, "waykeeper-ratelimit-tls"), before);

    // The authority changes: everyone knows the next one before it signs, and nothing begins anew.
    age(&cluster, |all| all["current"]["made"] = (all["current"]["made"].as_u64().unwrap() - 300 * 86_400).into());
    for (server, secret) in SECRETS {
        mounted(&cluster, secret, &at(server), 2);
    }
    answers("with two authorities", "api-key: good-key\r\n", "200", &said);
    let old = entries(&cluster, "waykeeper-extauth-tls");
    age(&cluster, |all| all["next"]["made"] = (all["next"]["made"].as_u64().unwrap() - 2 * 86_400).into());
    eventually("another signer", CHANGE, || match entries(&cluster, "waykeeper-extauth-tls") {
        now if now["tls.crt"] != old["tls.crt"] => Ok(()),
        _ => Err(waypoint.log()),
    });
    // Envoy shows what the new one signed, to a server that trusts nobody else and is trusted by its certificate alone.
    let new = signer(&cluster);
    assert_ne!(new.0, ours.0);
    for (server, secret) in SECRETS {
        let mut files = entries(&cluster, secret);
        files.insert("ca.crt".to_owned(), new.0.clone());
        put(&at(server), &files);
    }
    extauth.stop(Duration::from_secs(15));
    extauth = begin("extauth", &auth, "extauth");
    let said = || format!("{}\n{}\n{}", waypoint.log(), pod.log(), extauth.log());
    answers("by the new authority", "api-key: good-key\r\n", "200", &said);
    assert!(!is_let_in(&auth, "localhost", Some(&Client::ENVOY.signed(ours))), "one of the old authority");

    // Nothing of a key is shown, and while nobody signs everything goes on.
    let keys = [signer(&cluster).1, entries(&cluster, "waykeeper-extauth-tls")["tls.key"].clone()];
    let pages = ["/config", "/readyz", "/status", "/metrics"].map(|page| waypoint.page(page).1).concat();
    for shown in [waypoint.log(), pages, pod.log(), extauth.log()] {
        let line = |key: &String| key.lines().nth(1).unwrap().to_owned();
        assert!(!shown.contains("PRIVATE KEY") && keys.iter().all(|key| !shown.contains(&line(key))), "{shown}");
    }
    waypoint.stop(Duration::from_secs(20));
    cluster.kill_server();
    answers("without a control plane", "api-key: good-key\r\n", "200", &|| pod.log());
    assert_eq!(pod.page("/readyz").0, 200);
    pod.stop();
}
