//! A whole node of a real cluster: containerd, the kubelet, what makes pods of Deployments, their network and its
//! names, all in namespaces that end with the test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::kubernetes::{Cluster, SERVICES, User, address};
use crate::parts::{Process, on_path};
use crate::wait::eventually;
use crate::waykeeper::root;

/// Its name.
const NAME: &str = "node";
/// Its address, which pods reach.
const ADDRESS: &str = "10.98.0.1";
/// The addresses of pods.
const PODS: &str = "10.97.0.0/24";
/// How long its parts may take to begin, on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// What a cluster consists of besides its API server, each with a token of its own.
const USERS: [User<'_>; 6] = [
    ("kubelet", "system:node:node", "system:nodes"),
    ("kube-controller-manager", "system:kube-controller-manager", ""),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kube-proxy", "system:kube-proxy", ""),
    ("kube-network-policies", "kube-network-policies", "readers"),
    ("coredns", "coredns", "readers"),
];

/// Names and policies are made from what anybody may see.
const READERS: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: readers}\n\
                       roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\n\
                       subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]\n";

/// A cluster with one node, on which pods run.
#[derive(Debug)]
pub struct Node {
    /// Its API server.
    pub cluster: Cluster,
    /// The first process of its process namespace: with it all others end.
    all: Process,
    group: String,
    dir: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Whether it succeeded.
    pub well: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { well: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Node {
    /// Starts one that has the images of `scripts/node-images.sh`, ours under `tag`, and is ready for pods.
    pub fn start(tag: &str) -> Node {
        let began = Instant::now();
        for program in ["containerd", "runc", "kubelet", "kubectl", "iptables"] {
            assert!(
                on_path(program).is_some(),
                "{program} is missing: `make test-cluster`, or scripts/tools.sh node kubectl"
            );
        }
        let images = root().join(".tools/node/images.tar");
        assert!(images.exists(), "{} is missing: scripts/node-images.sh makes it", images.display());
        address(ADDRESS);
        let dir = TempDir::new().unwrap();
        let group = format!("/waykeeper-node-{}", std::process::id());
        ["log", "cni"].iter().for_each(|name| fs::create_dir(dir.path().join(name)).unwrap());
        symlink(&images, dir.path().join("images.tar")).unwrap();
        for (name, text) in [
            ("containerd.toml", include_str!("node/containerd.toml")),
            ("cni/network.conflist", include_str!("node/network.conflist")),
            ("kubelet.yaml", include_str!("node/kubelet.yaml")),
            ("kube-proxy.yaml", include_str!("node/kube-proxy.yaml")),
            ("Corefile", include_str!("node/Corefile")),
            ("resolv.conf", ""),
        ] {
            let text = text.replace("DIR", dir.path().to_str().unwrap()).replace("ADDRESS", ADDRESS);
            fs::write(dir.path().join(name), text.replace("GROUP", &group).replace("PODS", PODS)).unwrap();
        }
        make_groups(&group);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "bash"]);
        command.arg(root().join("tests/src/node/begin.sh")).arg(dir.path()).args([NAME, ADDRESS, SERVICES, tag]);
        let log = fs::File::create(dir.path().join("log/begin")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // Images are read while the API server begins.
        let all = Process(command.spawn().expect("unshare is missing: apt-get install util-linux"));
        let node = Node { cluster: Cluster::for_pods(ADDRESS, &USERS), all, group, dir };
        node.cluster.apply(READERS);
        for (name, ..) in USERS {
            fs::copy(node.cluster.user(name), node.path().join(format!("{name}.kubeconfig"))).unwrap();
        }
        fs::copy(node.cluster.accounts_key(), node.path().join("accounts.key")).unwrap();
        fs::copy(node.cluster.ca(), node.path().join("ca.crt")).unwrap();
        fs::write(node.path().join("cluster"), "").unwrap();
        eventually("the node to be ready", START, || {
            let answer = node.cluster.call("GET", "/api/v1/nodes/node", None);
            let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            match serde_json::from_str::<Value>(&answer.body).unwrap_or_default()["status"]["conditions"].as_array() {
                Some(conditions) if conditions.iter().any(ready) => Ok(()),
                _ => Err(format!("{answer:?}\n{}", node.logs())),
            }
        });
        println!("a node is ready after {:.1} s", began.elapsed().as_secs_f64());
        node
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a line as a person at this cluster would type it, in this repository.
    pub fn shell(&self, line: &str) -> Said {
        let mut command = Command::new("bash");
        for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, self.path().join("helm").join(folder));
        }
        command.env("KUBECONFIG", self.cluster.admin(None)).current_dir(root());
        command.args(["-euo", "pipefail", "-c", line]).stdin(Stdio::null()).output().unwrap().into()
    }

    /// The same; it must succeed. What it printed.
    pub fn run(&self, line: &str) -> String {
        let said = self.shell(line);
        assert!(said.well, "{line}\n{}{}", said.out, said.err);
        said.out
    }

    /// A command in the network namespace of the pod that has this address.
    pub fn in_network_of(&self, pod: &str, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network_of(pod).display())).arg(program);
        command
    }

    fn network_of(&self, pod: &str) -> PathBuf {
        // As the node's first process sees it, in whose mount namespace it is.
        let folder = PathBuf::from(format!("/proc/{}/root/run/netns", self.all.0.id()));
        let all = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let has = |path: &PathBuf| {
            let ip = Command::new("nsenter")
                .arg(format!("--net={}", path.display()))
                .args(["ip", "-o", "-4", "addr"])
                .output();
            String::from_utf8_lossy(&ip.unwrap().stdout).contains(&format!(" {pod}/"))
        };
        all.into_iter().find(has).unwrap_or_else(|| panic!("no pod has {pod}"))
    }

    /// The ends of what its parts have logged.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path().join("log")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(8)..];
            all.push_str(&format!("--- {} ---\n{}\n", file.file_name().unwrap().display(), tail.join("\n")));
        }
        all
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.shell("kubectl get pods,events -A -o wide; kubectl describe pods -A | grep -A12 ^Events");
            eprintln!("{}\n{}{}", self.logs(), said.out, said.err);
        }
        let _ = self.all.0.kill();
        let _ = self.all.0.wait();
        remove_groups(&self.group);
    }
}

/// The hierarchies of control groups, or the one.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(GROUPS).join("cgroup.controllers").exists() {
        return vec![GROUPS.into()];
    }
    fs::read_dir(GROUPS).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// Makes the control group below which all pods are, with the processors and memory of the whole.
fn make_groups(group: &str) {
    for hierarchy in hierarchies() {
        let own = hierarchy.join(group.trim_start_matches('/'));
        fs::create_dir(&own).unwrap_or_else(|error| panic!("{}: {error}: a node needs root", own.display()));
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (Ok(all), true) = (fs::read_to_string(hierarchy.join(file)), own.join(file).exists()) {
                fs::write(own.join(file), all).unwrap();
            }
        }
    }
}

/// Takes it away, once the kernel has done with what ran there.
fn remove_groups(group: &str) {
    fn removed(path: &Path) -> bool {
        let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        for child in below.filter(|path| path.is_dir()) {
            removed(&child);
        }
        !path.exists() || fs::remove_dir(path).is_ok()
    }
    for hierarchy in hierarchies() {
        let own = hierarchy.join(group.trim_start_matches('/'));
        let began = Instant::now();
        while !removed(&own) && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
