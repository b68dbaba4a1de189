//! A Docker Engine, the images, and the compose project, each test's from a copy of its own.

pub mod load;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;

use crate::curl::Curl;
use crate::wait::eventually;
use crate::waykeeper::{Folder, copy_all, root};

/// The tag of the images under test.
pub const TAG: &str = "test";
/// The compose project of the tests: whatever else the engine runs is left alone.
const PROJECT: &str = "waykeeper-test";
/// Our images.
pub const IMAGES: [&str; 4] = ["extauth", "ratelimit", "waypoint", "waykeeper"];

/// Where the example's services are published.
pub const PUBLISHED: [(&str, &str); 2] = [("httpbin2:8000", "127.0.30.2:8000"), ("httpbin3:8000", "127.0.30.3:8000")];

static ENGINE: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

/// A Docker Engine that has our images; one that we started ends with the last test that uses it.
#[derive(Debug)]
pub struct Engine {
    host: String,
    ours: bool,
}

/// A turn on this machine, with an engine that outlives it if another test waits for its own turn.
pub fn turn() -> (MutexGuard<'static, ()>, Arc<Engine>) {
    let engine = Engine::get();
    (crate::turn(), engine)
}

impl Engine {
    /// The engine that runs, or one of our own, with the images built from this checkout.
    pub fn get() -> Arc<Engine> {
        let mut shared = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return engine;
        }
        let output = Command::new(root().join("scripts/engine.sh")).arg("start").stderr(Stdio::inherit()).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (host, whose) =
            text.trim().split_once(' ').expect("a Docker Engine: scripts/engine.sh says why there is none");
        let engine = Arc::new(Engine { host: host.to_owned(), ours: whose == "ours" });
        engine.build();
        *shared = Arc::downgrade(&engine);
        engine
    }

    /// The base images, pulled or made here, and then ours, as the Dockerfile says.
    fn build(&self) {
        let made = self.command(root().join("scripts/images.sh")).current_dir(root()).status().unwrap();
        assert!(made.success(), "scripts/images.sh");
        // One service for each image: compose would export an image once for every service that has it.
        let build = ["compose", "--profile", "redis", "build", "--quiet", "waypoint", "extauth", "ratelimit", "tunnel"];
        let built = self.docker().current_dir(root()).args(build).output();
        succeeded("docker compose build", &built.unwrap());
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", &self.host).env("WAYKEEPER_TAG", TAG).env("COMPOSE_PROJECT_NAME", PROJECT);
        // What is built for tests is built quickly; it is the same Dockerfile.
        command.env("PROFILE", "dev").env_remove("COMPOSE_PROFILES").env_remove("COMPOSE_FILE").stdin(Stdio::null());
        let plugins = root().join(".tools/docker");
        if plugins.join("cli-plugins/docker-compose").exists() {
            command.env("DOCKER_CONFIG", plugins);
        }
        command
    }

    /// The `docker` command, in the making.
    pub fn docker(&self) -> Command {
        self.command("docker")
    }

    /// What `docker ARGS…` printed; it must succeed.
    pub fn run(&self, args: &[&str]) -> String {
        succeeded(&format!("docker {args:?}"), &self.docker().args(args).output().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.ours {
            let _ = Command::new(root().join("scripts/engine.sh")).arg("stop").status();
        }
    }
}

fn succeeded(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The compose project, in a folder that holds what a person who only wants to run it needs.
#[derive(Debug)]
pub struct Compose {
    /// The engine it runs on.
    pub engine: Arc<Engine>,
    profile: &'static str,
    dir: TempDir,
}

impl Compose {
    /// A copy of the compose files and examples; nothing runs yet.
    pub fn copied(profile: &'static str) -> Compose {
        use std::os::unix::fs::PermissionsExt as _;
        let engine = Engine::get();
        let dir = TempDir::new().unwrap();
        // Containers run as another user and are to read it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for file in ["docker-compose.yml", ".env"] {
            fs::copy(root().join(file), dir.path().join(file)).unwrap();
        }
        for folder in ["deploy/compose", "examples/httpbin", "examples/walkthrough-000"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            copy_all(&root().join(folder), &dir.path().join(folder));
        }
        let compose = Compose { engine, profile, dir };
        compose.down();
        compose
    }

    /// The same, started and healthy.
    pub fn up(profile: &'static str) -> Compose {
        let compose = Self::copied(profile);
        compose.start();
        compose
    }

    /// Starts everything of the profile and waits until it is healthy.
    pub fn start(&self) {
        self.run(&["up", "--detach", "--wait", "--wait-timeout", "90", "--no-build"]);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The manifests it follows.
    pub fn folder(&self) -> Folder {
        Folder::at(&self.manifests())
    }

    fn manifests(&self) -> PathBuf {
        self.dir.path().join("examples/httpbin")
    }

    /// `docker compose ARGS…`, in the making. The default profile is what no flag gives.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.engine.docker();
        command.current_dir(self.path()).arg("compose");
        if self.profile != "redis" {
            command.args(["--profile", self.profile]);
        }
        command.args(args);
        command
    }

    /// What `docker compose ARGS…` printed; it must succeed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        if !output.status.success() {
            eprintln!("{}", self.logs());
        }
        succeeded(&format!("docker compose {args:?}"), &output)
    }

    /// Runs a line as a person would type it in this folder.
    pub fn shell(&self, line: &str) -> Output {
        self.engine.command("bash").current_dir(self.path()).args(["-euo", "pipefail", "-c", line]).output().unwrap()
    }

    /// What the containers printed.
    pub fn logs(&self) -> String {
        let output = self.command(&["logs", "--no-color", "--tail", "30"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The id of a service's container.
    pub fn container(&self, service: &str) -> String {
        self.run(&["ps", "--all", "--quiet", service]).trim().to_owned()
    }

    /// Ends a service's process as a crash would, from outside; the engine is to start it again.
    pub fn crash(&self, service: &str) {
        let container = self.container(service);
        let pid = self.engine.run(&["inspect", "--format", "{{.State.Pid}}", &container]);
        let kill = format!("kill -9 {}", pid.trim());
        let image = "redis:7-bookworm";
        self.engine.run(&["run", "--rm", "--pid=host", "--entrypoint", "sh", image, "-c", &kill]);
    }

    /// Waits until a service is healthy, by its own health check.
    pub fn healthy(&self, service: &str) {
        let container = self.container(service);
        eventually(&format!("{service} healthy"), Duration::from_secs(40), || {
            let health = self.engine.run(&["inspect", "--format", "{{.State.Health.Status}}", &container]);
            if health.trim() == "healthy" { Ok(()) } else { Err(health) }
        });
    }

    fn down(&self) {
        let all = ["memory", "standalone", "redis", "redis-tls", "redis-cluster"];
        let mut command = self.engine.docker();
        command.current_dir(self.path()).arg("compose").args(all.map(|profile| ["--profile", profile]).concat());
        let _ = command.args(["down", "--volumes", "--remove-orphans", "--timeout", "5"]).output();
    }

    /// What of this project there is on the engine: containers, volumes and networks.
    pub fn left(&self) -> String {
        let label = format!("label=com.docker.compose.project={PROJECT}");
        ["container", "volume", "network"]
            .map(|kind| self.engine.run(&[kind, "ls", "--quiet", "--filter", &label]))
            .concat()
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- containers ---\n{}", self.logs());
        }
        self.down();
    }
}

/// A GET of `/get` as the walkthrough writes it, sent to where compose publishes the service.
pub fn get(service: &str) -> Curl {
    PUBLISHED.iter().fold(crate::walkthrough::get(service), |curl, (name, at)| {
        curl.args(&["--connect-to", &format!("{name}:{at}")])
    })
}
