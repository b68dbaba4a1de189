//! The one signal that says: finish and stop.

use tokio_util::sync::CancellationToken;

/// Told once, heard by everyone who holds a clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown; further calls change nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn is_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when it begins.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    /// A shutdown that begins with this one and can begin earlier by itself.
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }

    /// Begins on SIGTERM or SIGINT; a second signal ends the process at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut asked = false;
            loop {
                let name = tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                };
                if asked {
                    tracing::warn!(signal = name, "second signal, exiting at once");
                    std::process::exit(130);
                }
                asked = true;
                tracing::info!(signal = name, "draining");
                shutdown.begin();
            }
        });
        Ok(())
    }
}
