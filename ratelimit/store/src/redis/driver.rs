//! What must run for a [`super::Redis`] to be of any use.

use runtime::Shutdown;

use super::cluster::Router;
use super::node::Node;

/// The tasks behind a [`super::Redis`].
#[derive(Debug)]
pub struct Driver(pub(super) Vec<Task>);

#[derive(Debug)]
pub(super) enum Task {
    Node(Box<Node>),
    Cluster(Box<Router>),
}

impl Driver {
    /// Runs until `shutdown` begins, then answers what is still waiting;
    /// `connected` is called once, the first time everything is connected.
    ///
    /// # Errors
    /// Never; an unreachable Redis is tried again for ever.
    pub async fn run(self, shutdown: Shutdown, connected: impl FnOnce() + Send) -> anyhow::Result<()> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<()>();
        let pools = self.0.len();
        let tasks = self.0.into_iter().map(|task| {
            let (sender, shutdown) = (sender.clone(), shutdown.clone());
            let connected = move || {
                let _ = sender.send(());
            };
            async move {
                match task {
                    Task::Node(node) => node.run(shutdown, connected).await,
                    Task::Cluster(router) => router.run(shutdown, connected).await,
                }
            }
        });
        let all = futures_util::future::join_all(tasks);
        let first_time = async {
            for _ in 0..pools {
                if receiver.recv().await.is_none() {
                    return;
                }
            }
            connected();
        };
        tokio::join!(all, async {
            tokio::select! {
                () = first_time => {}
                () = shutdown.begun() => {}
            }
        });
        Ok(())
    }
}
