//! Long-lived tasks, each with a name and an owner who notices its end.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};

use crate::Shutdown;

/// The tasks of a process. The first one that ends before shutdown, in
/// whatever way, begins the shutdown and becomes the reason for it.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    /// No tasks yet; `shutdown` is begun when one of them ends.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { set: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    /// The shutdown these tasks are bound to.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts a task. It should run until shutdown begins.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits for the end: first for shutdown to begin (or a task to end), then
    /// at most `deadline` for the tasks to finish, then aborts the rest.
    ///
    /// # Errors
    /// When a task failed, panicked, or ended before shutdown.
    pub async fn join(mut self, deadline: Duration) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let first = tokio::select! {
            () = self.shutdown.begun() => None,
            ended = self.set.join_next_with_id() => ended,
        };
        match first {
            Some(ended) => {
                let (name, result) = self.name(ended);
                outcome = match result {
                    Ok(()) if self.shutdown.is_begun() => Ok(()),
                    Ok(()) => Err(anyhow::anyhow!("{name} ended unexpectedly")),
                    Err(error) => Err(error.context(format!("{name} failed"))),
                };
                self.shutdown.begin();
            }
            None => self.shutdown.begun().await,
        }
        let finish = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let (name, result) = self.name(ended);
                if let Err(error) = result {
                    tracing::error!(task = name, error = format!("{error:#}"), "failed while stopping");
                    if outcome.is_ok() {
                        outcome = Err(error.context(format!("{name} failed while stopping")));
                    }
                }
            }
        };
        if tokio::time::timeout(deadline, finish).await.is_err() {
            let late: Vec<_> = self.names.values().copied().collect();
            tracing::warn!(?late, "not finished by the deadline, aborting");
            self.set.shutdown().await;
        }
        outcome
    }

    fn name(&mut self, ended: Ended) -> (&'static str, anyhow::Result<()>) {
        match ended {
            Ok((id, result)) => (self.names.remove(&id).unwrap_or("task"), result),
            Err(error) => (self.names.remove(&error.id()).unwrap_or("task"), Err(anyhow::anyhow!("{error}"))),
        }
    }
}

type Ended = Result<(Id, anyhow::Result<()>), tokio::task::JoinError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_stops_everything_and_is_named() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("forever", {
            let shutdown = shutdown.clone();
            async move {
                shutdown.begun().await;
                Ok(())
            }
        });
        tasks.spawn("brief", async { Ok(()) });
        let error = tasks.join(Duration::from_secs(5)).await.expect_err("must be reported");
        assert_eq!(error.to_string(), "brief ended unexpectedly");
    }

    #[tokio::test]
    async fn a_stuck_task_is_aborted_at_the_deadline() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("stuck", std::future::pending());
        shutdown.begin();
        assert!(tasks.join(Duration::from_millis(20)).await.is_ok());
    }
}
