//! One Envoy: started, watched, started again when it dies, drained when told to stop.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use api::Name;
use http::Method;
use metrics::counter;
use runtime::Shutdown;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::FleetSettings;
use super::admin;
use super::states::Watch;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An Envoy that ran this long has earned a quick restart.
const STEADY: Duration = Duration::from_secs(30);
/// How long an Envoy that has drained may take to exit.
const EXIT: Duration = Duration::from_secs(3);
/// How long connections may still come to an Envoy whose Gateway is gone, from
/// those who have not heard of it yet.
const LATE_CALLERS: Duration = Duration::from_millis(250);

/// Keeps one Envoy running until `stop` begins, by itself or with that of `all`, then drains it.
pub(super) async fn supervise(
    name: Name,
    settings: FleetSettings,
    states: Watch,
    stop: Shutdown,
    all: Shutdown,
) -> Name {
    let mut pause = FIRST_PAUSE;
    let files = Files::of(&settings.run_dir, &name);
    states.update(&name, |state| state.admin = files.admin.clone());
    while !stop.is_begun() {
        let started = Instant::now();
        let leaving = Shutdown::new();
        match start(&name, &settings, &files, leaving.clone()).await {
            Err(error) => tracing::error!(gateway = %name, error = format!("{error:#}"), "Envoy could not be started"),
            Ok(mut child) => {
                states.update(&name, |state| state.pid = child.id());
                let ended = watch(&name, &mut child, &files, &states, &stop).await;
                if !ended {
                    let callers_gone = async {
                        if all.is_begun() { settings.callers_gone.begun().await } else { sleep(LATE_CALLERS).await }
                    };
                    drain(&name, child, &files, settings.drain, callers_gone, leaving).await;
                    break;
                }
            }
        }
        states.update(&name, |state| {
            state.pid = None;
            state.ready = false;
            state.restarts += 1;
        });
        counter!("waypoint_envoy_restarts_total", "gateway" => name.to_string()).increment(1);
        if started.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.begun() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    files.remove();
    name
}

struct Files {
    config: PathBuf,
    admin: PathBuf,
}

impl Files {
    /// Short names: the path of a Unix socket holds about a hundred bytes.
    fn of(run_dir: &Path, name: &Name) -> Files {
        let node = crate::node_id(name);
        let mut short = node.clone();
        if short.len() > 40 {
            use std::hash::{DefaultHasher, Hash as _, Hasher as _};
            let mut hasher = DefaultHasher::new();
            node.hash(&mut hasher);
            short = format!("{:016x}", hasher.finish());
        }
        Files { config: run_dir.join(format!("{short}.json")), admin: run_dir.join(format!("{short}.sock")) }
    }

    fn remove(&self) {
        for path in [&self.config, &self.admin] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// `leaving` begins when it is told to exit.
async fn start(name: &Name, settings: &FleetSettings, files: &Files, leaving: Shutdown) -> anyhow::Result<Child> {
    let bootstrap = (settings.bootstrap.0)(name, &files.admin);
    files.remove();
    tokio::fs::write(&files.config, bootstrap.to_string()).await.context("writing the bootstrap")?;
    let mut command = match settings.guard.split_first() {
        Some((guard, arguments)) => {
            let mut command = Command::new(guard);
            command.args(arguments).arg(&settings.envoy);
            command
        }
        None => Command::new(&settings.envoy),
    };
    let mut child = command
        .arg("--config-path")
        .arg(&files.config)
        .args(["--concurrency", &settings.concurrency.to_string()])
        .args(["--log-level", "warn", "--log-format", "%l %n: %v", "--disable-hot-restart"])
        .args(["--drain-time-s", &settings.drain.as_secs().max(1).to_string()])
        .stdin(Stdio::null())
        // Where the access log goes, and nothing else.
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C in a terminal goes to the whole group; Envoy must outlive it to be drained.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", settings.envoy.display()))?;
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(forward(name.to_string(), stderr, leaving));
    }
    Ok(child)
}

/// Envoy's log lines become ours. That one which was told to exit loses its connections is no warning.
async fn forward(gateway: String, stderr: tokio::process::ChildStderr, leaving: Shutdown) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split_once(' ') {
            Some(("error" | "critical", text)) => tracing::error!(target: "envoy", gateway, "{text}"),
            Some(("warning", text)) if leaving.is_begun() => tracing::debug!(target: "envoy", gateway, "{text}"),
            Some(("warning", text)) => tracing::warn!(target: "envoy", gateway, "{text}"),
            _ => tracing::info!(target: "envoy", gateway, "{line}"),
        }
    }
}

/// Whether it ended by itself, rather than being told to stop.
async fn watch(name: &Name, child: &mut Child, files: &Files, states: &Watch, stop: &Shutdown) -> bool {
    let ready = async {
        while admin::request(&files.admin, Method::GET, "/ready").await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        states.update(name, |state| state.ready = true);
        tracing::info!(gateway = %name, "Envoy is live");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = child.wait() => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::error!(gateway = %name, how, "Envoy ended; starting it again");
            true
        }
        () = stop.begun() => false,
        () = ready => false,
    }
}

/// Answers say that their connection ends; what is under way may finish until the deadline.
async fn drain(
    name: &Name,
    mut child: Child,
    files: &Files,
    deadline: Duration,
    callers_gone: impl Future<Output = ()>,
    leaving: Shutdown,
) {
    let drained = async {
        admin::request(&files.admin, Method::POST, "/healthcheck/fail").await?;
        admin::request(&files.admin, Method::POST, "/drain_listeners?graceful&skip_exit").await?;
        callers_gone.await;
        while connections(&files.admin).await? > 0 {
            sleep(Duration::from_millis(25)).await;
        }
        anyhow::Ok(())
    };
    let why = match tokio::time::timeout(deadline, drained).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("connections are still open".to_owned()),
    };
    if let Some(why) = why {
        tracing::warn!(gateway = %name, why, "Envoy did not drain in time");
    }
    leaving.begin();
    if let Err(error) = admin::request(&files.admin, Method::POST, "/quitquitquit").await {
        tracing::warn!(gateway = %name, error = format!("{error:#}"), "Envoy could not be told to exit");
    }
    if tokio::time::timeout(EXIT, child.wait()).await.is_err() {
        tracing::warn!(gateway = %name, "Envoy did not exit in time, killing it");
        let _ = child.kill().await;
    }
}

/// Connections of clients, those to the admin socket left out.
async fn connections(socket: &Path) -> anyhow::Result<u64> {
    let path = "/stats?filter=%5Elistener%5C..%2A%5C.downstream_cx_active%24";
    let text = admin::request(socket, Method::GET, path).await?;
    let counts = text.lines().filter(|line| !line.starts_with("listener.admin."));
    Ok(counts.filter_map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok()).sum())
}
