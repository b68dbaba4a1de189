//! Long-lived tasks, each with a name and an owner who notices its end.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};

use crate::Shutdown;

/// Tasks that stop together. One that ends before that, in whatever way, is noticed
/// by whoever waits for [`Tasks::lost`]; see [`crate::Process`].
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    /// No tasks yet; they are to stop when `shutdown` begins.
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

    /// Waits until one of them ends although nobody said to stop, and says which and why. Without tasks
    /// it waits for ever.
    pub async fn lost(&mut self) -> anyhow::Error {
        loop {
            let Some(ended) = self.set.join_next_with_id().await else { return std::future::pending().await };
            match self.name(ended) {
                (_, Ok(())) if self.shutdown.is_begun() => {}
                (name, Ok(())) => return anyhow::anyhow!("{name} ended unexpectedly"),
                (name, Err(error)) => return error.context(format!("{name} failed")),
            }
        }
    }

    /// Begins their shutdown, waits at most `deadline` for them to end, then aborts the rest.
    ///
    /// # Errors
    /// When a task failed or panicked.
    pub async fn finish(mut self, deadline: Duration) -> anyhow::Result<()> {
        self.shutdown.begin();
        let mut outcome = Ok(());
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
    async fn a_task_that_ends_early_is_named_and_those_that_end_when_told_to_are_not() {
        let mut tasks = Tasks::new(Shutdown::new());
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("patient", async move {
            shutdown.begun().await;
            Ok(())
        });
        tasks.spawn("brief", async { Ok(()) });
        assert_eq!(tasks.lost().await.to_string(), "brief ended unexpectedly");
        tasks.spawn("broken", async { anyhow::bail!("no way") });
        assert_eq!(format!("{:#}", tasks.lost().await), "broken failed: no way");
        tasks.spawn("panicking", async { panic!("on purpose") });
        assert!(format!("{:#}", tasks.lost().await).contains("panicking failed"));
        tasks.shutdown().begin();
        assert!(tokio::time::timeout(Duration::from_millis(20), tasks.lost()).await.is_err());
        assert!(tasks.finish(Duration::from_secs(5)).await.is_ok());
    }

    #[tokio::test]
    async fn a_stuck_task_is_aborted_at_the_deadline_and_a_failure_while_stopping_is_told() {
        let mut tasks = Tasks::new(Shutdown::new());
        tasks.spawn("stuck", std::future::pending());
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("late", async move {
            shutdown.begun().await;
            anyhow::bail!("no way")
        });
        let error = tasks.finish(Duration::from_millis(20)).await.expect_err("must be told");
        assert_eq!(format!("{error:#}"), "late failed while stopping: no way");
    }
}
