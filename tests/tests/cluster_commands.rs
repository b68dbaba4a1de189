//! What commands do on a real API server.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use waykeeper_tests::alone::{envoy_of, free, ready, start};
use waykeeper_tests::kubernetes::{Cluster, files, gateway_crds};
use waykeeper_tests::parts::binary;
use waykeeper_tests::{eventually, turn};

/// How long a Gateway may take to serve, on a busy machine.
const SERVES: Duration = Duration::from_secs(60);

const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/t/gateways";

/// `waykeeper` as somebody whose kubeconfig this is.
struct Person<'a> {
    cluster: &'a Cluster,
    kubeconfig: PathBuf,
}

impl Person<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("waykeeper"));
        command.args(args).args(["--kubeconfig", self.kubeconfig.to_str().unwrap()]).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What it prints, when it succeeds.
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints and complains of, when it fails.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        text(&output)
    }

    fn begin(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The labels of the namespace `t`.
    fn labels(&self) -> Value {
        self.cluster.call("GET", "/api/v1/namespaces/t", None).json()["metadata"]["labels"].take()
    }

    fn gateway(&self, name: &str) -> Value {
        self.cluster.call("GET", &format!("{GATEWAYS}/{name}"), None).json()
    }

    /// Says of a Gateway that its `generation` serves, as a control plane would.
    fn say_that_it_serves(&self, name: &str, generation: i64) {
        let condition = json!({"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation});
        let patch = json!({"status": {"conditions": [condition]}}).to_string();
        let path = format!("{GATEWAYS}/{name}/status");
        let answer = self.cluster.call("PATCH", &path, Some(("application/merge-patch+json", &patch)));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn usage(args: &[&str]) {
    let output = Command::new(binary("waykeeper")).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
}

#[test]
fn waypoints_are_declared_as_with_istioctl_and_a_namespace_uses_one_that_serves() {
    let _turn = turn();
    let generated = Command::new(binary("waykeeper"))
        .args(["waypoint", "generate", "--namespace", "shop", "--for", "service"])
        .output()
        .unwrap();
    let expected = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  labels:\n    \
                    istio.io/waypoint-for: service\n  name: waypoint\n  namespace: shop\nspec:\n  \
                    gatewayClassName: gloo-waypoint\n  listeners:\n  - name: proxy\n    port: 15088\n    \
                    protocol: istio.io/PROXY\n";
    assert_eq!(String::from_utf8(generated.stdout).unwrap(), expected);
    for wrong in [
        &["generate", "--name", "none"][..],
        &["generate", "--for", "pods"],
        &["apply", "--overwrite"],
        &["apply", "--waypoint-timeout", "soon"],
        &["delete"],
        &["delete", "one", "--all"],
        &["delete", "../../../v1/namespaces/t"],
        &["list", "-n", "A/B"],
    ] {
        usage(&[&["waypoint"], wrong].concat());
    }

    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let admin = Person { cluster: &cluster, kubeconfig: cluster.admin(None) };
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: t}\n");
    let said = admin.fails(&["waypoint", "apply", "-n", "t"]);
    assert!(said.contains("missing Kubernetes Gateway CRDs"), "{said}");
    let said = admin.fails(&["waypoint", "apply", "-n", "nowhere", "--enroll-namespace"]);
    assert!(said.contains("namespace: nowhere not found"), "{said}");
    gateway_crds(&cluster);
    let said = admin.fails(&["waypoint", "apply", "-n", "nowhere"]);
    assert!(said.contains("namespace: nowhere not found"), "{said}");
    assert_eq!(admin.done(&["waypoint", "list", "-n", "t"]), "No waypoints found.\n");

    // Declared, and twice the same.
    for _ in 0..2 {
        assert_eq!(admin.done(&["waypoint", "apply", "-n", "t"]), "✅ waypoint t/waypoint applied\n");
    }
    assert_eq!(admin.gateway("waypoint")["metadata"]["generation"], 1);
    let row = "waypoint     default      none             False\n";
    let header = "NAME         REVISION     TRAFFIC TYPE     PROGRAMMED\n";
    assert_eq!(admin.done(&["waypoint", "list", "-n", "t"]), format!("{header}{row}"));
    let all = admin.done(&["waypoint", "list", "-A"]);
    assert_eq!(all, format!("NAMESPACE     {header}t             {row}"));
    let status = admin.done(&["waypoint", "status", "-n", "t"]);
    let mut rows = status.lines().map(|line| line.split_whitespace().take(5).collect::<Vec<_>>());
    assert_eq!(rows.next().unwrap(), ["NAME", "STATUS", "TYPE", "REASON", "MESSAGE"]);
    assert_eq!(rows.next().unwrap()[..4], ["waypoint", "Unknown", "Programmed", "Pending"]);

    // Nobody serves it: nobody is to use it.
    let said = admin.fails(&["waypoint", "apply", "-n", "t", "--enroll-namespace", "--waypoint-timeout", "300ms"]);
    assert!(said.contains("`kubectl label namespace t istio.io/dataplane-mode=ambient`"), "{said}");
    assert!(said.contains("timed out while waiting for waypoint\tt/waypoint; the namespace was not labeled"), "{said}");
    assert!(admin.labels()["istio.io/use-waypoint"].is_null());
    admin.fails(&["waypoint", "status", "-n", "t", "--wait", "--waypoint-timeout", "300ms"]);

    // With a control plane and an Envoy it serves, and only then it is used.
    cluster
        .apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: t\n  labels: {istio.io/dataplane-mode: ambient}\n");
    let (xds, tls, log) = (free(), dir.path().join("tls"), dir.path().join("waypoint"));
    let (kubeconfig, tls) = (admin.kubeconfig.to_str().unwrap(), tls.to_str().unwrap());
    let address = free();
    let serve = ["--kubernetes", "--kubeconfig", kubeconfig, "--own-namespace", "default", "--grpc", &xds];
    let serve = [&serve[..], &["--admin", &address, "--tls-dir", tls]].concat();
    let _waypoint = start(&binary("waypoint"), &serve, &log);
    ready(&address, &log);
    let applied = admin.begin(&["waypoint", "apply", "-n", "t", "--enroll-namespace", "--wait"]);
    eventually("a word of the control plane", SERVES, || {
        let status = admin.done(&["waypoint", "status", "-n", "t"]);
        if status.contains("waiting for Envoy") { Ok(()) } else { Err(status) }
    });
    assert!(admin.labels()["istio.io/use-waypoint"].is_null(), "no Envoy serves it yet");
    let _envoy = envoy_of("t/waypoint", &xds, tls, &free(), dir.path());
    let applied = applied.wait_with_output().unwrap();
    assert_eq!(
        text(&applied),
        "✅ waypoint t/waypoint applied\n✅ waypoint t/waypoint is ready!\n\
         ✅ namespace t labeled with \"istio.io/use-waypoint: waypoint\"\n"
    );
    assert_eq!(admin.labels()["istio.io/use-waypoint"], "waypoint");
    let status = admin.done(&["waypoint", "status", "-n", "t", "--wait"]);
    assert!(status.lines().nth(1).unwrap().starts_with("waypoint     True       Programmed"), "{status}");
    // What is so already is no conflict.
    let again = admin.done(&["waypoint", "apply", "-n", "t", "--enroll-namespace"]);
    assert!(again.contains("labeled with"), "{again}");

    // Another waypoint takes over only where that is asked for, and only once its present generation serves.
    let other = ["waypoint", "apply", "-n", "t", "--name", "other", "--class", "example", "--enroll-namespace"];
    let said = admin.fails(&other);
    assert!(
        said.contains("namespace (t) already has an enrolled Waypoint") && said.contains("`--overwrite`"),
        "{said}"
    );
    assert_eq!(cluster.call("GET", &format!("{GATEWAYS}/other"), None).status, 404);
    let patch = r#"{"metadata": {"labels": {"istio.io/use-waypoint-namespace": "infra"}}}"#;
    cluster.call("PATCH", "/api/v1/namespaces/t", Some(("application/merge-patch+json", patch)));
    let taking = admin.begin(&[&other[..], &["--overwrite"]].concat());
    eventually("the Gateway", SERVES, || {
        let answer = cluster.call("GET", &format!("{GATEWAYS}/other"), None);
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
    admin.say_that_it_serves("other", 0);
    admin.fails(&["waypoint", "status", "-n", "t", "--class", "example", "--wait", "--waypoint-timeout", "300ms"]);
    assert_eq!(admin.labels()["istio.io/use-waypoint"], "waypoint");
    admin.say_that_it_serves("other", 1);
    let taken = taking.wait_with_output().unwrap();
    assert!(taken.status.success(), "{}", text(&taken));
    let labels = admin.labels();
    assert_eq!(labels["istio.io/use-waypoint"], "other");
    assert!(labels["istio.io/use-waypoint-namespace"].is_null(), "{labels}");

    // A Gateway of another class is somebody else's, and what others have written of ours is a conflict.
    let said = admin.fails(&["waypoint", "apply", "-n", "t", "--name", "other"]);
    assert!(said.contains("t/other is a Gateway of the class \"example\" already"), "{said}");
    assert_eq!(admin.gateway("other")["spec"]["gatewayClassName"], "example");

    let listener = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: waypoint, namespace: t}\n\
                    spec: {listeners: [{name: proxy, port: 15089, protocol: istio.io/PROXY}]}\n";
    cluster.apply(listener);
    let said = admin.fails(&["waypoint", "apply", "-n", "t"]);
    assert!(said.contains("conflict"), "{said}");

    // Deleting: by name, all of a class, and with a word where it is still used.
    let said = admin.fails(&["waypoint", "delete", "other", "nobody", "-n", "t"]);
    assert!(said.contains("waypoint t/other not found\n") && said.contains("waypoint t/nobody not found\n"), "{said}");
    let output = admin.run(&["waypoint", "delete", "other", "-n", "t", "--class", "example"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"waypoint t/other deleted\n"[..]));
    assert!(text(&output).contains("`kubectl label namespace t istio.io/use-waypoint-`"), "{output:?}");
    admin.done(&["waypoint", "apply", "-n", "t", "--name", "stays", "--class", "example"]);
    assert_eq!(admin.done(&["waypoint", "delete", "--all", "-n", "t"]), "waypoint t/waypoint deleted\n");
    assert_eq!(admin.done(&["waypoint", "delete", "--revision", "canary", "-n", "t"]), "");
    assert_eq!(admin.gateway("stays")["metadata"]["name"], "stays");

    // Who may not is told so, by the API server.
    let nobody = Person { cluster: &cluster, kubeconfig: cluster.service_account("t", "nobody", None) };
    let said = nobody.fails(&["waypoint", "list", "-n", "t"]);
    assert!(said.contains("system:serviceaccount:t:nobody") && said.contains("cannot list"), "{said}");
    let said = Person { cluster: &cluster, kubeconfig: Path::new("/nowhere").into() }.fails(&["waypoint", "list"]);
    assert!(said.contains("/nowhere"), "{said}");
}

/// A Service whose one route asks for a key, and another one.
const SHOP: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: t, labels: {istio.io/use-waypoint: wp}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: t}
spec:
  gatewayClassName: gloo-waypoint
  listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: t}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata:
  name: alone
  namespace: t
  labels: {istio.io/use-waypoint: none}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: t}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {type: Exact, value: /admin}, method: POST}]
    backendRefs: [{name: web, port: 80, weight: 1}, {name: alone, port: 80, weight: 3}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: keys, namespace: t}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  options: {extauth: {configRef: {name: keys, namespace: t}}}
---
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys, namespace: t}
spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {team: x}}}]}
";

#[test]
fn it_is_described_what_applies_and_where_it_is_in_force() {
    let _turn = turn();
    for wrong in [&["describe", "secret", "a"][..], &["describe", "frobnicator", "a"], &["describe", "service"]] {
        usage(wrong);
    }
    let cluster = Cluster::start();
    let admin = Person { cluster: &cluster, kubeconfig: cluster.admin(None) };
    gateway_crds(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    cluster.apply(SHOP);
    let describe = |kind: &str, name: &str| admin.done(&["describe", kind, name, "-n", "t"]);

    // The order in which routes are tried is not that in which they are written.
    let said = describe("service", "web");
    assert!(
        said.contains("\nuses the waypoint t/wp\n\nPort 80 is read as HTTP; the first route that matches"),
        "{said}"
    );
    let second = "HTTPRoute t/web rule 1 match 0\n     POST, /admin exactly\n     \
                  to Service t/web port 80 (1 of 4), Service t/alone port 80 (3 of 4)\n     \
                  asks extauth by AuthConfig t/keys\n";
    let first = "HTTPRoute t/web rule 0 match 0\n     every path\n     to Service t/web port 80\n     asks extauth";
    let place = |what: &str| said.find(what).unwrap_or_else(|| panic!("{what} is not in\n{said}"));
    assert!(place(second) < place(first), "{said}");
    assert!(describe("service", "alone").contains("uses no waypoint: no policy applies to it"));
    let said = describe("gateway", "wp");
    assert!(said.contains("Service t/web port 80 is read as HTTP") && !said.contains("t/alone port 80 is"), "{said}");
    for (kind, name) in [("route", "web"), ("routeoption", "keys"), ("authconfig", "keys")] {
        let said = describe(kind, name);
        assert!(said.contains("in force at\nService t/web port 80, at the waypoint t/wp\n"), "{kind}: {said}");
    }

    // What servers have said is shown; a policy that cannot be used is seen to close what it names.
    let option = "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {name: keys, namespace: t}\n";
    let status = json!({"status": {"statuses": {"gloo-system": {"state": "Rejected", "reason": "no such field"}}}});
    let path = "/apis/gateway.solo.io/v1/namespaces/t/routeoptions/keys/status";
    let answer = cluster.call("PATCH", path, Some(("application/merge-patch+json", &status.to_string())));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(describe("rtopts", "keys").contains("\n  gloo-system: Rejected: no such field\n"));
    cluster.apply(&format!(
        "{option}spec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}}]\n  \
         options: {{extAuth: 5}}\n"
    ));
    let said = describe("service", "web");
    assert!(said.contains("     is answered 500: ") && !said.contains("asks extauth"), "{said}");

    let said = admin.fails(&["describe", "service", "wep", "-n", "t"]);
    assert!(said.contains("there is no Service t/wep; did you mean web?"), "{said}");
    let nobody = Person { cluster: &cluster, kubeconfig: cluster.service_account("t", "nobody", None) };
    let said = nobody.fails(&["describe", "service", "web", "-n", "t"]);
    assert!(said.contains("may not be listed and watched by whom the kubeconfig names (403)"), "{said}");

    // The same of files.
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("shop.yaml"), SHOP).unwrap();
    let of_files = ["describe", "authconfig", "keys", "-n", "t", "--file", dir.path().to_str().unwrap()];
    let output = Command::new(binary("waykeeper")).args(of_files).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output).contains("at the waypoint t/wp"), "{output:?}");

    // What is applied already changes nothing, also where files leave out what the API server has added; an edit does.
    cluster.apply(SHOP);
    let diff = |text: &str| {
        std::fs::write(dir.path().join("shop.yaml"), text).unwrap();
        admin.run(&["config", "diff", "--file", dir.path().to_str().unwrap()])
    };
    let same = diff(SHOP);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    let edit = text(&diff(&SHOP.replace("value: /admin", "value: /secret")));
    assert!(edit.starts_with("~ HTTPRoute t/web\n"), "{edit}");
    assert!(edit.contains("~ Scope t/web/80\n") && edit.contains("    +        path: /secret\n"), "{edit}");
    // What is taken out of a manifest would be taken out of the object: a guard that would be gone is seen to go.
    let guard = "{extauth: {configRef: {name: keys, namespace: t}}}";
    let opened = text(&diff(&SHOP.replace(guard, "{timeout: 5s}")));
    assert!(
        opened.contains("~ RouteOption t/keys\n") && opened.contains("-              config_id: t.keys\n"),
        "{opened}"
    );
    let refused = diff(&SHOP.replace("port: 80}]", "port: 0}]"));
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let dump = admin.done(&["config", "dump", "wp", "-n", "t", "-o", "name"]);
    assert!(dump.contains("t/wp Scope t/web/80\n"), "{dump}");

    // Keys of people are Secrets, of which nobody is shown the key again.
    let config = "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {name: teams, namespace: t}\nspec:\n  \
                  configs: [{apiKeyAuth: {labelSelector: {team: x}}}]\n";
    cluster.apply(config);
    let key = admin.done(&["apikey", "create", "ann", "-n", "t", "-l", "team=x", "-s", "organization=acme"]);
    let again = admin.fails(&["apikey", "create", "ann", "-n", "t", "-l", "team=x"]);
    assert!(again.contains("409") || again.contains("already"), "{again}");
    let other = admin.done(&["apikey", "rotate", "ann", "-n", "t", "--grace", "24h"]);
    let old = cluster.call("GET", "/api/v1/namespaces/t/secrets/ann", None).json();
    assert!(old["metadata"]["labels"]["waykeeper.dev/expires"].is_string(), "{}", old["metadata"]);
    let listed = admin.done(&["apikey", "list", "-n", "t"]);
    assert_eq!(listed.matches("t/teams").count(), 2, "{listed}");
    assert!(!listed.contains(key.trim()) && !listed.contains(other.trim()) && !listed.contains("acme"), "{listed}");
    admin.done(&["apikey", "revoke", "ann", "-n", "t"]);
    let listed = admin.done(&["apikey", "list", "-A", "-o", "name"]);
    assert!(listed.starts_with("secret/ann-") && listed.lines().count() == 1, "{listed}");
    let said = nobody.fails(&["apikey", "list", "-n", "t"]);
    assert!(said.contains("403"), "{said}");
}

/// Whatever texts stand anywhere in what a cluster has, those of which it is not known what they are stay there.
#[test]
fn a_bundle_tells_what_there_is_and_no_secret() {
    let _turn = turn();
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    gateway_crds(&cluster);
    files("deploy/crds").iter().for_each(|crd| cluster.define(crd));
    let meta = |name: &str| {
        format!(
            "metadata: {{name: {name}, namespace: t, labels: {{app.kubernetes.io/component: extauth, team: shown}}, \
             annotations: {{note: canary}}}}"
        )
    };
    let pod = "{containers: [{name: a, image: shown/image, args: ['--redis=redis://:canary@r'], command: [canary], \
               env: [{name: SHOWN, value: canary}]}]}";
    let route = "{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}], options: \
                 {headerManipulation: {requestHeadersToAdd: [{header: {key: authorization, value: canary}}]}}}";
    for (api, kind, rest) in [
        ("v1", "Namespace", String::new()),
        ("v1", "Secret", format!("{}\ntype: extauth.solo.io/apikey\nstringData: {{api-key: canary}}", meta("keys"))),
        ("v1", "ConfigMap", format!("{}\ndata: {{password: canary}}", meta("settings"))),
        ("v1", "Pod", format!("{}\nspec: {}", meta("extauth-1"), pod.replacen('{', "{nodeName: nowhere, ", 1))),
        (
            "apps/v1",
            "Deployment",
            format!(
                "{}\nspec: {{selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, spec: {pod}}}}}",
                meta("extauth")
            ),
        ),
        ("v1", "Service", format!("{}\nspec: {{ports: [{{port: 8000}}]}}", meta("web"))),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            format!(
                "{}\nspec: {{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{{filters: [{{type: \
                 RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-key, value: canary}}]}}}}]}}]}}",
                meta("web")
            ),
        ),
        ("gateway.solo.io/v1", "RouteOption", format!("{}\nspec: {route}", meta("web"))),
        (
            "enterprise.gloo.solo.io/v1",
            "AuthConfig",
            format!(
                "{}\nspec: {{configs: [{{basicAuth: {{apr: {{users: {{ann: {{salt: canary, hashedPassword: canary}}}}}}}}}}, \
                 {{oauth2: {{oidcAuthorizationCode: {{clientId: canary, clientSecret: canary}}}}}}]}}",
                meta("auth")
            ),
        ),
    ] {
        let rest = if kind == "Namespace" { "metadata: {name: t}".to_owned() } else { rest };
        cluster.apply(&format!("apiVersion: {api}\nkind: {kind}\n{rest}\n"));
    }
    let admin = Person { cluster: &cluster, kubeconfig: cluster.admin(None) };
    let folder = dir.path().join("bundle");
    let output = admin.run(&["bundle", folder.to_str().unwrap()]);
    let mut all = String::new();
    let mut names = Vec::new();
    let mut left = vec![folder.clone()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            names.push(path.strip_prefix(&folder).unwrap().display().to_string());
            all += &std::fs::read_to_string(&path).unwrap();
        }
    }
    assert!(!all.contains("canary") && !text(&output).contains("canary"), "{all}");
    for name in [
        "README.txt",
        "check.txt",
        "envoys.txt",
        "version.yaml",
        "objects/authconfigs.enterprise.gloo.solo.io.yaml",
        "objects/deployments.yaml",
        "objects/httproutes.gateway.networking.k8s.io.yaml",
        "objects/pods.yaml",
        "objects/routeoptions.gateway.solo.io.yaml",
        "objects/services.yaml",
    ] {
        assert!(names.contains(&name.to_owned()), "{name}: {names:?}\n{output:?}");
    }
    assert!(!names.iter().any(|name| name.contains("secrets") || name.contains("configmaps")), "{names:?}");
    for shown in ["shown/image", "team: shown", "name: web", "clientSecret: (left out)", "RequestHeaderModifier"] {
        assert!(all.contains(shown), "{shown}: {all}");
    }
    // No kubelet tells what a pod has logged: that is said, and by the exit code.
    assert_eq!(output.status.code(), Some(1));
    assert!(all.contains("Not in it: logs/t~extauth-1.log: "), "{all}");
    let again = admin.fails(&["bundle", folder.to_str().unwrap()]);
    assert!(again.contains("is there already"), "{again}");
}
