//! A process put together one way.
//!
//! Settings become parts. Each part adds its tasks to a stage, its pages and metrics to the admin port,
//! and takes gates of [`Process::readiness`]. The process runs until a signal comes or a task ends, and
//! then stops stage after stage, so that whoever is asked stops later than whoever asks.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;

use crate::shutdown::Signals;
use crate::telemetry::{Telemetry, TelemetryArgs};
use crate::{Addr, Admin, Listener, Readiness, Shutdown, Tasks};

/// Where a task stands on the way of a request. Stages stop in this order, each when the one before has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Lets requests in: the tunnel, Envoys.
    Front,
    /// Answers what those in front ask.
    Server,
    /// What servers rest on: what is declared and whoever follows it, stores, the admin port.
    Behind,
}

/// How long a stage may take to stop unless it is given another time.
const USUAL_DRAIN: Duration = Duration::from_secs(3);

/// A process while it is put together. [`Process::run`] runs it.
#[derive(Debug)]
pub struct Process {
    telemetry: Telemetry,
    readiness: Readiness,
    stages: [Tasks; 3],
    drains: [Duration; 3],
    admin: Option<Port>,
    add_pages: Vec<AddPages>,
    _signals: Option<Signals>,
}

/// The admin port, bound.
#[derive(Debug)]
struct Port {
    listener: Listener,
    at: Addr,
    sets_log_level: bool,
}

struct AddPages(Box<dyn FnOnce(Admin) -> Admin + Send>);

impl std::fmt::Debug for AddPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddPages")
    }
}

impl Process {
    /// Sets up logs, metrics and traces, and listens for signals.
    ///
    /// # Errors
    /// When one of these cannot be set up.
    pub fn start(name: &'static str, telemetry: &TelemetryArgs) -> anyhow::Result<Process> {
        let mut process = Process::with(crate::telemetry::init(name, telemetry)?);
        process._signals = Some(process.stopping().on_signals().context("listening for signals")?);
        Ok(process)
    }

    /// A process that leaves logs and signals alone: for tests that run several in one.
    ///
    /// # Errors
    /// When metrics cannot be set up.
    pub fn detached() -> anyhow::Result<Process> {
        Ok(Process::with(Telemetry::detached()?))
    }

    fn with(telemetry: Telemetry) -> Process {
        Process {
            telemetry,
            readiness: Readiness::new(),
            stages: [(); 3].map(|()| Tasks::new(Shutdown::new())),
            drains: [USUAL_DRAIN; 3],
            admin: None,
            add_pages: Vec::new(),
            _signals: None,
        }
    }

    /// The gates that must be open before this process is ready.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Logs, metrics and traces.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// What begins when `stage` is to stop.
    pub fn shutdown(&self, stage: Stage) -> Shutdown {
        self.stages[stage as usize].shutdown().clone()
    }

    /// What begins when the process is to stop. Whoever begins it stops the process.
    pub fn stopping(&self) -> Shutdown {
        self.shutdown(Stage::Front)
    }

    /// The tasks of `stage`.
    pub fn tasks(&mut self, stage: Stage) -> &mut Tasks {
        &mut self.stages[stage as usize]
    }

    /// Starts a task. It should run until the shutdown of `stage` begins: if it ends earlier the process
    /// stops, and says so.
    pub fn spawn(
        &mut self,
        stage: Stage,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks(stage).spawn(name, task);
    }

    /// How long the tasks of `stage` may take to end before they are aborted.
    pub fn set_drain(&mut self, stage: Stage, most: Duration) {
        self.drains[stage as usize] = most;
    }

    /// Binds the admin port; it is served once the process runs, until everything else has stopped.
    /// Where it is, with the port that the system chose if 0 was asked for.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind_admin(&mut self, at: &Addr) -> anyhow::Result<Addr> {
        self.admin(Listener::bind(at).await?, true)
    }

    /// [`Self::bind_admin`], where more than those who operate the server can reach the port: without `/logging`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve_admin_without_log_level(&mut self, listener: Listener) -> anyhow::Result<Addr> {
        self.admin(listener, false)
    }

    fn admin(&mut self, listener: Listener, sets_log_level: bool) -> anyhow::Result<Addr> {
        let at = listener.local_addr().context("the admin address")?;
        self.admin = Some(Port { listener, at: at.clone(), sets_log_level });
        Ok(at)
    }

    /// Where the admin port is bound, if it is already.
    pub fn admin_address(&self) -> Option<&Addr> {
        self.admin.as_ref().map(|port| &port.at)
    }

    /// Adds pages to the admin port.
    pub fn add_pages(&mut self, pages: Router) {
        self.add_pages.push(AddPages(Box::new(|admin| admin.merge(pages))));
    }

    /// Adds what `make` makes to the metrics page. See [`Admin::metrics`].
    pub fn add_metrics<F>(&mut self, make: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Arc<str>> + Send + 'static,
    {
        self.add_pages.push(AddPages(Box::new(|admin| admin.metrics(make))));
    }

    /// Runs until a signal comes or a task ends, then stops stage after stage.
    ///
    /// # Errors
    /// When a task failed, or ended although nobody said to stop; the first one is the reason.
    pub async fn run(mut self) -> anyhow::Result<()> {
        if let Some(Port { listener, sets_log_level, .. }) = self.admin.take() {
            let admin = Admin::new(self.readiness.clone(), self.telemetry.clone());
            let admin = if sets_log_level { admin } else { admin.without_log_level() };
            let admin = self.add_pages.into_iter().fold(admin, |admin, AddPages(add)| add(admin));
            let behind = &mut self.stages[Stage::Behind as usize];
            let shutdown = behind.shutdown().clone();
            behind.spawn("admin", admin.serve(listener, shutdown));
        }
        let stopping = self.stages[Stage::Front as usize].shutdown().clone();
        let [front, servers, behind] = &mut self.stages;
        // What ends behind makes others end in front of it, a moment later: the reason is what ended first.
        let mut outcome = tokio::select! {
            biased;
            () = stopping.begun() => Ok(()),
            lost = behind.lost() => Err(lost),
            lost = servers.lost() => Err(lost),
            lost = front.lost() => Err(lost),
        };
        self.readiness.stopping();
        for (tasks, drain) in self.stages.into_iter().zip(self.drains) {
            let finished = tasks.finish(drain).await;
            outcome = outcome.and(finished);
        }
        self.telemetry.flush();
        outcome
    }
}

/// What a program that is called `name` exits with; a failure is said where people look, logs or not.
#[allow(clippy::print_stderr, reason = "the last words of a program")]
pub fn exit_code(name: &str, outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parking_lot::Mutex;

    use super::*;

    /// A process with a task in every stage, each of which notes when it is told to stop.
    fn noting(noted: &Arc<Mutex<Vec<Stage>>>) -> Process {
        let mut process = Process::detached().unwrap();
        for stage in [Stage::Behind, Stage::Server, Stage::Front] {
            let (shutdown, noted) = (process.shutdown(stage), noted.clone());
            process.spawn(stage, "noting", async move {
                shutdown.begun().await;
                // The others have every chance to go first.
                tokio::time::sleep(Duration::from_millis(5)).await;
                noted.lock().push(stage);
                Ok(())
            });
        }
        process
    }

    const IN_ORDER: [Stage; 3] = [Stage::Front, Stage::Server, Stage::Behind];

    #[tokio::test]
    async fn stages_stop_one_after_another_and_it_is_not_ready_any_more() {
        let noted = Arc::default();
        let process = noting(&noted);
        let (readiness, stopping) = (process.readiness().clone(), process.stopping());
        let running = tokio::spawn(process.run());
        assert!(readiness.is_ready());
        stopping.begin();
        running.await.unwrap().unwrap();
        assert_eq!(*noted.lock(), IN_ORDER);
        assert_eq!(readiness.waiting_for(), ["stopping"]);
    }

    #[tokio::test]
    async fn a_task_that_ends_in_any_stage_stops_the_process_from_the_front_and_is_the_reason() {
        for stage in IN_ORDER {
            let noted = Arc::default();
            let mut process = noting(&noted);
            process.spawn(stage, "brief", async { Ok(()) });
            assert_eq!(process.run().await.unwrap_err().to_string(), "brief ended unexpectedly");
            assert_eq!(*noted.lock(), IN_ORDER, "{stage:?}");
        }
    }

    #[tokio::test]
    async fn a_stage_that_does_not_end_is_aborted_in_time_and_the_next_one_stops() {
        let noted = Arc::default();
        let mut process = noting(&noted);
        process.set_drain(Stage::Server, Duration::from_millis(30));
        process.spawn(Stage::Server, "stuck", std::future::pending());
        process.stopping().begin();
        process.run().await.unwrap();
        assert_eq!(*noted.lock(), IN_ORDER);
    }

    #[tokio::test]
    async fn the_admin_port_is_served_while_the_servers_drain() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut process = Process::detached().unwrap();
        let Addr::Tcp(at) = process.bind_admin(&"127.0.0.1:0".parse().unwrap()).await.unwrap() else { panic!("TCP") };
        process.add_pages(Router::new().route("/own", axum::routing::get(|| async { "own" })));
        let shutdown = process.shutdown(Stage::Server);
        process.spawn(Stage::Server, "draining", async move {
            shutdown.begun().await;
            for (path, said) in [("/readyz", "waiting for: stopping"), ("/own", "own")] {
                let mut stream = tokio::net::TcpStream::connect(at).await?;
                stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                anyhow::ensure!(answer.contains(said), "{answer}");
            }
            Ok(())
        });
        process.stopping().begin();
        process.run().await.unwrap();
    }
}
