//! Redis and the applications, as child processes that end with the test.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::free_port;
use crate::wait::eventually;

/// A child process that is ended when the test is.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    /// SIGTERM, then the end within `deadline`, with exit code 0.
    pub fn terminate(&mut self, deadline: Duration) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = eventually("the end after SIGTERM", deadline, || {
            self.0.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "still running".into())
        });
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which application answers behind the example's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// The walkthrough's own, from its Go module.
    GoHttpbin,
    /// Ours.
    Sample,
}

/// The applications at the example's endpoints.
#[derive(Debug)]
pub struct Backends(#[allow(dead_code)] Vec<Process>);

impl Backends {
    /// Starts the application at both endpoints of the example and waits until they answer.
    pub fn start(application: Application) -> Backends {
        let endpoints = ["127.0.10.2:8080", "127.0.10.3:8080"];
        let processes = endpoints.map(|endpoint| {
            let (host, port) = endpoint.split_once(':').unwrap();
            let mut command = match application {
                Application::GoHttpbin => {
                    let mut command = Command::new(go_httpbin());
                    command.args(["-host", host, "-port", port, "-use-real-hostname"]);
                    command
                }
                Application::Sample => {
                    let mut command = Command::new(binary("sample-app"));
                    command.args(["--listen", endpoint]);
                    command
                }
            };
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            Process(child.unwrap_or_else(|e| panic!("starting {command:?}: {e}")))
        });
        for endpoint in endpoints {
            eventually(endpoint, Duration::from_secs(10), || {
                TcpStream::connect(endpoint).map(drop).map_err(|e| e.to_string())
            });
        }
        Backends(processes.into())
    }
}

fn go_httpbin() -> PathBuf {
    let named = std::env::var_os("GO_HTTPBIN").map(PathBuf::from).filter(|p| p.exists());
    named.or_else(|| on_path("go-httpbin")).unwrap_or_else(|| {
        panic!("go-httpbin is missing: go install github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin@v2.14.0, or `make tools`")
    })
}

/// Finds a program on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A binary of this workspace, as built beside the tests.
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let binary = target.join(name);
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --workspace --bins`, or `make journeys`",
        binary.display()
    );
    binary
}

/// A Redis server of the test's own, with nothing kept on disk.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    /// Where it listens.
    pub port: u16,
    dir: TempDir,
}

impl Redis {
    /// Starts a server on a free loopback port.
    pub fn start() -> Redis {
        let port = free_port();
        let dir = TempDir::new().unwrap();
        Redis { process: Self::spawn(port, &dir), port, dir }.wait()
    }

    fn spawn(port: u16, dir: &TempDir) -> Process {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn();
        Process(child.expect("redis-server is missing: apt-get install redis-server"))
    }

    fn wait(self) -> Redis {
        eventually("redis-server", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", self.port)).map(drop).map_err(|e| e.to_string())
        });
        self
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs redis-cli against it and returns what it printed.
    pub fn cli(&self, args: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(args).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
    }

    /// Starts it again on the same port, empty.
    pub fn restart(self) -> Redis {
        let Redis { mut process, port, dir } = self;
        let _ = process.0.kill();
        let _ = process.0.wait();
        Redis { process: Self::spawn(port, &dir), port, dir }.wait()
    }
}
