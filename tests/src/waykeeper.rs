//! `waykeeper up` on a folder of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::curl::{Curl, Reply};
use crate::parts::binary;
use crate::ports::free_port;
use crate::wait::eventually;

/// How long a change may take from the file to the first request under it.
pub const CHANGE: Duration = Duration::from_secs(1);

/// The root of this repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A folder of manifests.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _owned: Option<TempDir>,
}

/// See [`Folder::with_waypoint`].
const WAYPOINT: &str = "\
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
";

impl Folder {
    /// An empty one.
    pub fn empty() -> Folder {
        let owned = TempDir::new().unwrap();
        Folder { path: owned.path().to_owned(), _owned: Some(owned) }
    }

    /// One with the Namespace `t`, whose Services all use its waypoint `wp`.
    pub fn with_waypoint() -> Folder {
        let folder = Folder::empty();
        folder.apply("waypoint.yaml", WAYPOINT);
        folder
    }

    /// One that is there already.
    pub fn at(path: &Path) -> Folder {
        Folder { path: path.to_owned(), _owned: None }
    }

    /// A copy of `examples/httpbin`.
    pub fn example() -> Folder {
        let folder = Folder::empty();
        copy_all(&root().join("examples/httpbin"), folder.path());
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `kubectl apply -f - <<EOF`: writes a file the way an editor saves it.
    pub fn apply(&self, name: &str, manifest: &str) {
        let temporary = self.path().join(format!(".{name}.tmp"));
        fs::write(&temporary, manifest).unwrap();
        fs::rename(temporary, self.path().join(name)).unwrap();
    }

    /// Copies files of the walkthrough, e.g. `header-control`, into the folder.
    pub fn apply_walkthrough(&self, part: &str) {
        let mut files: Vec<_> = fs::read_dir(root().join("examples/walkthrough-000").join(part))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let name = format!("{part}-{}", file.file_name().unwrap().to_string_lossy());
            self.apply(&name, &fs::read_to_string(&file).unwrap());
        }
    }

    /// `kubectl delete` of everything a part of the walkthrough applied.
    pub fn delete_walkthrough(&self, part: &str) {
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().starts_with(&format!("{part}-")) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Deletes one file.
    pub fn delete(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }
}

/// Copies the manifests under `from`, and the folders they are in.
pub fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, copy) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            fs::create_dir_all(&copy).unwrap();
            copy_all(&path, &copy);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            fs::copy(&path, copy).unwrap();
        }
    }
}

/// A running `waykeeper up`.
#[derive(Debug)]
pub struct Waykeeper {
    child: Child,
    /// What it printed until `ready`.
    pub banner: String,
    /// The admin address, `host:port`.
    pub admin: String,
    /// Time from start to `ready`.
    pub started_in: Duration,
    log: PathBuf,
    #[allow(dead_code)]
    dir: TempDir,
}

impl Waykeeper {
    /// Starts it on `folder` and waits for the line `ready`.
    pub fn up(folder: &Folder, args: &[&str]) -> Waykeeper {
        let (mut waykeeper, banner) = Self::start(folder, args);
        let start = Instant::now();
        let Ok(banner) = banner.recv_timeout(Duration::from_secs(30)) else {
            let _ = waykeeper.child.kill();
            panic!("not ready within 30 s; its log:\n{}", waykeeper.log());
        };
        (waykeeper.banner, waykeeper.started_in) = (banner, start.elapsed());
        waykeeper
    }

    /// Starts it on a folder that it will not serve, and waits until it says why not.
    pub fn up_and_waiting(folder: &Folder, args: &[&str], what: &str) -> Waykeeper {
        let (waykeeper, _) = Self::start(folder, args);
        eventually("what it waits for", Duration::from_secs(30), || {
            let reply = waykeeper.admin("/readyz");
            if reply.status == 503 && reply.body.contains(what) { Ok(()) } else { Err(format!("{reply:?}")) }
        });
        waykeeper
    }

    /// Starts it; what it prints until `ready` comes by the channel.
    fn start(folder: &Folder, args: &[&str]) -> (Waykeeper, mpsc::Receiver<String>) {
        let dir = TempDir::new().unwrap();
        let log = dir.path().join("log");
        let admin = format!("127.0.0.1:{}", free_port());
        let mut child = Command::new(binary("waykeeper"))
            .arg("up")
            .arg(folder.path())
            .args(["--admin", &admin, "--log-level", "debug"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut banner = String::new();
            loop {
                let mut line = String::new();
                match lines.read_line(&mut line) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => banner.push_str(&line),
                }
                if line.trim() == "ready" {
                    let _ = send.send(banner.clone());
                }
            }
            let _ = lines.read_to_string(&mut banner);
        });
        let waykeeper = Waykeeper { child, banner: String::new(), admin, started_in: Duration::ZERO, log, dir };
        (waykeeper, receive)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// GET of a path of the admin port.
    pub fn admin(&self, path: &str) -> Reply {
        Curl::to(&format!("http://{}{path}", self.admin)).send()
    }

    /// `/status`, every object with its conditions.
    pub fn status(&self) -> Value {
        self.admin("/status").json()
    }

    /// Sends `curl` until `expected` likes the reply, at most for a second.
    pub fn within_a_second(&self, what: &str, curl: &Curl, expected: impl Fn(&Reply) -> bool) -> Reply {
        eventually(what, CHANGE, || {
            let reply = curl.send();
            if expected(&reply) { Ok(reply) } else { Err(format!("{reply:?}")) }
        })
    }

    /// SIGTERM, as a service manager sends it.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Kills the Envoys it started.
    pub fn kill_envoys(&self) {
        let parent = self.child.id().to_string();
        let killed = Command::new("pkill").args(["-KILL", "-P", &parent, "envoy"]).status();
        assert!(killed.expect("pkill is missing: apt-get install procps").success(), "no Envoy runs");
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it and waits for the end.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.terminate();
        let status = eventually("the end after SIGTERM", Duration::from_secs(20), || {
            self.child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "still running".into())
        });
        (status, self.log())
    }
}

impl Drop for Waykeeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- log of waykeeper ---\n{}", self.log());
        }
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        self.terminate();
        for _ in 0..1500 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
