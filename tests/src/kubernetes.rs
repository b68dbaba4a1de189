//! A real API server with its etcd, and what a test does to them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parts::{Process, on_path};
use crate::ports::free_port;
use crate::wait::eventually;

/// The token of the user who may do everything.
const ADMIN: &str = "admin-token";
/// The addresses of Services.
pub const SERVICES: &str = "10.96.0.0/16";
/// How long the API server may take to begin.
const START: Duration = Duration::from_secs(120);

/// An API server with nothing in it but what it makes itself.
#[derive(Debug)]
pub struct Cluster {
    etcd: Option<Process>,
    server: Option<Process>,
    etcd_port: u16,
    port: u16,
    /// Where pods reach it, if there are to be any.
    address: Option<String>,
    dir: TempDir,
}

/// Who else may ask an API server: the name of its token, its user and its group.
pub type User<'a> = (&'a str, &'a str, &'a str);

/// What the API server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn done(self, what: &str) -> Self {
        assert!((200..300).contains(&self.status), "{what}: {self:?}");
        self
    }
}

impl Cluster {
    /// Starts etcd and the API server, ready.
    pub fn start() -> Cluster {
        Self::begin(None, &[])
    }

    /// The same for pods, which reach it at `address`, with what else a cluster consists of as its users.
    pub fn for_pods(address: &str, users: &[User<'_>]) -> Cluster {
        Self::begin(Some(address.to_owned()), users)
    }

    fn begin(address: Option<String>, users: &[User<'_>]) -> Cluster {
        let dir = TempDir::new().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(dir.path().join("accounts.key"), key.serialize_pem()).unwrap();
        fs::write(dir.path().join("accounts.pub"), key.public_key_pem()).unwrap();
        let admin = ("admin", "admin", "system:masters");
        let line = |(name, user, group): &User<'_>| format!("{},{user},{name},{group}\n", token_named(name));
        let tokens: String = users.iter().chain([&admin]).map(line).collect();
        fs::write(dir.path().join("tokens.csv"), tokens).unwrap();
        let mut cluster = Cluster { etcd: None, server: None, etcd_port: free_port(), port: free_port(), address, dir };
        cluster.start_etcd();
        cluster.start_server();
        cluster
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Starts etcd on what it has kept.
    pub fn start_etcd(&mut self) {
        let program = on_path("etcd").expect("etcd is missing: apt-get install etcd-server, or `make test-cluster`");
        let (client, peer) = (self.etcd_url(), format!("http://127.0.0.1:{}", free_port()));
        let mut command = Command::new(program);
        command.args(["--data-dir", &self.path("etcd"), "--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")]);
        self.etcd = Some(self.run(command, "etcd.log"));
    }

    /// Starts the API server on what etcd has, and waits until it is ready.
    pub fn start_server(&mut self) {
        let program = on_path("kube-apiserver").expect("kube-apiserver is missing: `make test-cluster` builds it");
        let mut command = Command::new(program);
        match &self.address {
            Some(address) => command.args([
                "--bind-address=0.0.0.0",
                &format!("--advertise-address={address}"),
                "--authorization-mode=Node,RBAC",
                "--kubelet-preferred-address-types=InternalIP",
            ]),
            None => command.args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--authorization-mode=RBAC",
                // Nobody makes accounts.
                "--disable-admission-plugins=ServiceAccount",
            ]),
        };
        command.args([
            &format!("--etcd-servers={}", self.etcd_url()),
            &format!("--secure-port={}", self.port),
            &format!("--cert-dir={}", self.path("certs")),
            &format!("--token-auth-file={}", self.path("tokens.csv")),
            &format!("--service-account-key-file={}", self.path("accounts.pub")),
            &format!("--service-account-signing-key-file={}", self.path("accounts.key")),
            "--service-account-issuer=https://kubernetes.default.svc",
            &format!("--service-cluster-ip-range={SERVICES}"),
            // A test that ends it does not wait for what is under way.
            "--shutdown-delay-duration=0s",
        ]);
        self.server = Some(self.run(command, "apiserver.log"));
        eventually("the API server", START, || {
            let answer = self.call("GET", "/readyz", None);
            let log = || fs::read_to_string(self.path("apiserver.log")).unwrap_or_default();
            let tail = || log().lines().rev().take(5).map(str::to_owned).collect::<Vec<_>>();
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?} {:#?}", tail())) }
        });
    }

    fn run(&self, mut command: Command, log: &str) -> Process {
        let log = fs::File::options().create(true).append(true).open(self.path(log)).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Process(command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")))
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// Ends the API server as a machine that loses its power would.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// The same for etcd.
    pub fn kill_etcd(&mut self) {
        self.etcd = None;
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One request, as the user who may do everything.
    pub fn call(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Answer {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-k", "--noproxy", "*", "--max-time", "20", "-X", method, "-w", "\n%{http_code}"]);
        curl.args(["-H", &format!("Authorization: Bearer {ADMIN}")]);
        if let Some((kind, _)) = body {
            curl.args(["-H", &format!("Content-Type: {kind}"), "--data-binary", "@-"]);
        }
        curl.arg(format!("https://127.0.0.1:{}{path}", self.port));
        let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("curl");
        let input = child.stdin.take();
        if let (Some((_, text)), Some(mut input)) = (body, input) {
            input.write_all(text.as_bytes()).unwrap();
        }
        let output = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
        let (body, status) = output.rsplit_once('\n').unwrap_or_default();
        Answer { status: status.parse().unwrap_or_default(), body: body.to_owned() }
    }

    /// Applies each document of `manifests`, as `kubectl apply --server-side` would.
    pub fn apply(&self, manifests: &str) {
        for document in manifests.split("\n---\n").filter(|text| text.lines().any(|line| !line.trim().is_empty())) {
            self.try_apply(document).done(document);
        }
    }

    /// Applies one document.
    pub fn try_apply(&self, document: &str) -> Answer {
        let path = format!("{}?fieldManager=test&force=true&fieldValidation=Ignore", path_of(document));
        self.call("PATCH", &path, Some(("application/apply-patch+yaml", document)))
    }

    /// Deletes what `document` names.
    pub fn delete(&self, document: &str) {
        self.call("DELETE", &path_of(document), None).done(document);
    }

    /// What is stored of what `document` names.
    pub fn get(&self, document: &str) -> Answer {
        self.call("GET", &path_of(document), None)
    }

    /// Applies a definition, and waits until its kind is served.
    pub fn define(&self, crd: &str) {
        self.apply(crd);
        let path = path_of(crd);
        eventually("the kind to be served", Duration::from_secs(30), || {
            let answer = self.call("GET", &path, None);
            if answer.status == 200 && established(&answer.json()) { Ok(()) } else { Err(answer.body) }
        });
    }

    /// A kubeconfig of the user who may do everything; by another port if one is given.
    pub fn admin(&self, port: Option<u16>) -> PathBuf {
        self.kubeconfig("admin", ADMIN, port)
    }

    /// Makes many objects of one list, over one connection.
    pub fn create_all(&self, path: &str, objects: &[Value]) {
        let mut config = String::new();
        for object in objects {
            let quoted = object.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            config.push_str(&format!(
                "url = \"https://127.0.0.1:{}{path}\"\ninsecure\nnoproxy = \"*\"\nfail\nsilent\noutput = \"/dev/null\"\n\
                 header = \"Authorization: Bearer {ADMIN}\"\nheader = \"Content-Type: application/json\"\n\
                 data = \"{quoted}\"\nnext\n",
                self.port
            ));
        }
        let mut curl = Command::new("curl").args(["-K", "-"]).stdin(Stdio::piped()).spawn().expect("curl");
        curl.stdin.take().unwrap().write_all(config.trim_end_matches("next\n").as_bytes()).unwrap();
        assert!(curl.wait().unwrap().success(), "making {} objects at {path}", objects.len());
    }

    /// The authorities by which it is known.
    pub fn ca(&self) -> String {
        self.path("certs/apiserver.crt")
    }

    /// A kubeconfig of a ServiceAccount, which is made, by a token bound to it.
    pub fn service_account(&self, namespace: &str, name: &str, port: Option<u16>) -> PathBuf {
        self.kubeconfig(name, &self.token(namespace, name), port)
    }

    /// A token bound to a ServiceAccount, which is made, for the API server.
    pub fn token(&self, namespace: &str, name: &str) -> String {
        self.token_of(namespace, name, json!({"audiences": []}))
    }

    /// The same, for `audience`.
    pub fn token_for(&self, namespace: &str, name: &str, audience: &str) -> String {
        self.token_of(namespace, name, json!({"audiences": [audience]}))
    }

    /// The same, bound to a pod of that ServiceAccount, which is made, as those are that a kubelet gets.
    pub fn token_in_pod(&self, namespace: &str, name: &str, audience: &str, pod: &str) -> String {
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {namespace}}}\n\
             spec: {{serviceAccountName: {name}, containers: [{{name: a, image: none}}]}}\n"
        ));
        let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": pod});
        self.token_of(namespace, name, json!({"audiences": [audience], "boundObjectRef": bound}))
    }

    fn token_of(&self, namespace: &str, name: &str, spec: Value) -> String {
        self.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        ));
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self.call("POST", &path, Some(("application/json", &request.to_string()))).done("a token").json();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// The private key by which tokens of ServiceAccounts are signed.
    pub fn accounts_key(&self) -> String {
        self.path("accounts.key")
    }

    /// A kubeconfig of one of the users that it was started with.
    pub fn user(&self, name: &str) -> PathBuf {
        self.kubeconfig(name, &token_named(name), None)
    }

    fn kubeconfig(&self, user: &str, token: &str, port: Option<u16>) -> PathBuf {
        let file = self.dir.path().join(format!("{user}-{}.kubeconfig", port.unwrap_or(self.port)));
        let host = self.address.as_deref().unwrap_or("127.0.0.1");
        let (server, ca) = (format!("https://{host}:{}", port.unwrap_or(self.port)), self.ca());
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": ca}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(&file, config.to_string()).unwrap();
        file
    }
}

fn token_named(name: &str) -> String {
    format!("{name}-token")
}

/// Whether the API server serves the kind of this CustomResourceDefinition, as its status says.
fn established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
}

/// What says where an object is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

/// Where what a manifest names is.
fn path_of(document: &str) -> String {
    let Named { api_version, kind, metadata: Metadata { name, namespace } } =
        serde_norway::from_str(document).unwrap_or_else(|error| panic!("{error}:\n{document}"));
    let lower = kind.to_lowercase();
    let plural = match lower.strip_suffix('y') {
        Some(stem) if lower.ends_with("policy") => format!("{stem}ies"),
        _ if lower.ends_with('s') => format!("{lower}es"),
        _ => format!("{lower}s"),
    };
    let root = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{root}/{plural}/{name}"),
    }
}

/// Passes connections on to a port of this machine, as long as it is let.
#[derive(Debug)]
pub struct Wire {
    /// Where it listens.
    pub port: u16,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// One to `target`.
    pub fn to(target: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let held = ends.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                held.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || pass(near, far));
                std::thread::spawn(move || pass(far2, near2));
            }
        });
        Wire { port, ends }
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// An address of this machine that is none of loopback's, in the network namespace of the test's own.
pub fn address(address: &str) -> String {
    let ip = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().expect("ip is missing: apt-get install iproute2");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (_, links) = ip(&["-o", "link"]);
    let alone = links.lines().all(|link| link.contains(": lo:"));
    assert!(alone, "run it as `make test-cluster` does, by scripts/alone.sh: it needs a network namespace\n{links}");
    let (added, _) = ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
    assert!(added || ip(&["-o", "addr"]).1.contains(address), "{address} cannot be added");
    address.to_owned()
}

/// The files in a folder of this repository, in the order of their names.
pub fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(crate::waykeeper::root().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// A definition that keeps whatever is written.
pub fn lax_crd(kind: &str, group: &str, version: &str, scope: &str) -> String {
    let singular = kind.to_lowercase();
    let plural = match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with('a') => format!("{stem}ies"),
        _ if singular.ends_with('s') => format!("{singular}es"),
        _ => format!("{singular}s"),
    };
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{group}
  annotations: {{api-approved.kubernetes.io: \"unapproved, of a test\"}}
spec:
  group: {group}
  scope: {scope}
  names: {{kind: {kind}, listKind: {kind}List, plural: {plural}, singular: {singular}}}
  versions:
  - name: {version}
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema:
      openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"
    )
}

/// As little of Gateway API's own definitions as the servers need.
pub fn gateway_crds(cluster: &Cluster) {
    let kinds = [
        ("GatewayClass", "Cluster", "v1"),
        ("Gateway", "Namespaced", "v1"),
        ("HTTPRoute", "Namespaced", "v1"),
        ("GRPCRoute", "Namespaced", "v1"),
        ("ReferenceGrant", "Namespaced", "v1beta1"),
    ];
    for (kind, scope, version) in kinds {
        cluster.define(&lax_crd(kind, "gateway.networking.k8s.io", version, scope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_served_once_its_definition_says_true_of_it() {
        let definition = |conditions: Value| json!({"status": {"conditions": conditions}});
        let accepted = json!({"type": "NamesAccepted", "status": "True"});
        let said = |status: &str| definition(json!([accepted, {"type": "Established", "status": status}]));
        assert!(established(&said("True")));
        for not_yet in
            [said("False"), said("Unknown"), definition(json!([accepted])), definition(json!(null)), json!({})]
        {
            assert!(!established(&not_yet), "{not_yet}");
        }
    }

    #[test]
    fn an_object_is_where_its_manifest_says_however_that_is_written() {
        let policy = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/open";
        for (document, path) in [
            ("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", "/api/v1/namespaces/shop"),
            (
                "# A comment.\n---\nmetadata:\n  name: 'shop' # and one\nkind: Namespace\napiVersion: \"v1\"",
                "/api/v1/namespaces/shop",
            ),
            (
                "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                 metadata:\n  labels:\n    name: other\n    namespace: other\n  namespace: shop\n  name: open\n",
                policy,
            ),
            (
                r#"{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                    "metadata": {"annotations": {"a": "name: b, c"}, "name": "open", "namespace": "shop"}}"#,
                policy,
            ),
            (
                "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata:\n  name: w\n",
                "/apis/gateway.networking.k8s.io/v1/gatewayclasses/w",
            ),
        ] {
            assert_eq!(path_of(document), path, "{document}");
        }
    }
}
