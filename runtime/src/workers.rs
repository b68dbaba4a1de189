//! Threads that each run their own tasks and share none.
//!
//! What comes in together on one of them is answered together, and nothing moves from
//! processor to processor in between. What belongs to a connection is set up once for each.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// The most that are started unless more are asked for: a few go a long way, and each has
/// connections of its own to whatever is behind it.
const MOST_UNASKED: usize = 4;

/// Threads by number. They end when this is dropped, and whatever still runs on them with them.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    /// Dropped, they end the threads.
    _ends: Vec<oneshot::Sender<()>>,
}

impl Workers {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// When the system has no more.
    pub fn start(count: usize) -> anyhow::Result<Arc<Workers>> {
        let (mut handles, mut ends) = (Vec::new(), Vec::new());
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build().context("starting a worker")?;
            let (end, ended) = oneshot::channel::<()>();
            handles.push(runtime.handle().clone());
            ends.push(end);
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let _ = runtime.block_on(ended);
                })
                .context("starting a worker")?;
        }
        Ok(Arc::new(Workers { handles, _ends: ends }))
    }

    /// As many as there are processors for this process, but at most four.
    pub fn usual() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(MOST_UNASKED)
    }

    /// Runs `work` on this thread, which keeps the process going, with so many workers that answer;
    /// the usual number where none is given.
    ///
    /// # Errors
    /// That of `work`, or when the system has no more threads.
    pub fn with<W: Future<Output = anyhow::Result<()>>>(
        count: Option<usize>,
        work: impl FnOnce(Arc<Workers>) -> W,
    ) -> anyhow::Result<()> {
        let workers = Workers::start(count.unwrap_or_else(Workers::usual))?;
        let runtime = Builder::new_current_thread().enable_all().build().context("starting threads")?;
        runtime.block_on(work(workers))
    }

    /// A number of workers as a person writes it.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse_count(text: &str) -> Result<usize, String> {
        let count = text.parse().ok().filter(|count| (1..=512).contains(count));
        count.ok_or_else(|| "write a number from 1 to 512".to_owned())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Starts `work` on the worker of that number, and waits for it. Dropped, it ends the work.
    ///
    /// # Errors
    /// When it panics, or there is no such worker.
    pub fn run<T: Send + 'static>(
        &self,
        number: usize,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = anyhow::Result<T>> + Send + 'static {
        let started = self.handles.get(number).map(|handle| AbortOnDropHandle::new(handle.spawn(work)));
        async move { Ok(started.context("no such worker")?.await?) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn each_runs_on_a_thread_of_its_own_and_a_panic_is_told() {
        let workers = Workers::start(2).unwrap();
        let here = || std::thread::current().name().map(str::to_owned);
        assert_eq!(workers.run(0, async move { here() }).await.unwrap().unwrap(), "worker-0");
        assert_eq!(workers.run(1, async move { here() }).await.unwrap().unwrap(), "worker-1");
        assert!(workers.run(2, async {}).await.is_err());
        let panic: anyhow::Result<()> = workers.run(1, async { panic!("on purpose") }).await;
        assert!(panic.is_err());
        assert!(workers.run(1, async {}).await.is_ok());
    }

    #[tokio::test]
    async fn work_ends_when_nobody_waits_for_it_or_its_worker_is_gone() {
        let workers = Workers::start(1).unwrap();
        let (told, mut heard) = tokio::sync::mpsc::channel::<()>(1);
        let waiting = workers.run(0, async move {
            let _told = told;
            std::future::pending::<()>().await;
        });
        drop(waiting);
        assert!(heard.recv().await.is_none());
        let waiting = workers.run(0, std::future::pending::<()>());
        drop(workers);
        assert!(waiting.await.is_err());
    }
}
