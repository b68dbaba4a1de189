//! Compile aside, keep the last, swap: how a server follows what is declared.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::Shutdown;

/// How something that is declared is put into service.
pub trait Follower: Send + Sync + 'static {
    /// What is declared.
    type Declared: Send + Sync + 'static;
    /// What is made of it.
    type Made: Send + 'static;

    /// Makes it. May take long, and runs on a thread that answers nobody. None where nothing is declared yet.
    fn make(&self, declared: &Arc<Self::Declared>, now: Instant) -> Option<Self::Made>;

    /// Puts it into service.
    fn install(&self, made: Self::Made) -> impl Future<Output = ()> + Send;

    /// When it is to be made again of the same, if ever.
    fn again(&self) -> Option<Instant> {
        None
    }
}

/// Has `follower` follow `declared` until shutdown. What cannot be made leaves in service what was made last.
///
/// # Errors
/// When nobody declares anything any more, and nobody said to stop: what is in service would grow
/// old unnoticed.
pub async fn follow<F: Follower>(
    follower: Arc<F>,
    mut declared: watch::Receiver<Arc<F::Declared>>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    loop {
        let current = declared.borrow_and_update().clone();
        let making = {
            let follower = follower.clone();
            tokio::task::spawn_blocking(move || follower.make(&current, Instant::now()))
        };
        match making.await {
            Ok(Some(made)) => follower.install(made).await,
            Ok(None) => {}
            Err(failure) => tracing::error!(
                by = std::any::type_name::<F>(),
                panicked = failure.is_panic(),
                "what is declared could not be put into service; what was there before stays"
            ),
        }
        let again = follower.again();
        tokio::select! {
            changed = declared.changed() => if changed.is_err() {
                // Whoever declares may be the first to stop.
                anyhow::ensure!(shutdown.is_begun(), "nobody reads what is declared any more");
                return Ok(());
            },
            () = shutdown.begun() => return Ok(()),
            () = async { tokio::time::sleep_until(again.unwrap_or_else(Instant::now).into()).await }, if again.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    /// Makes of a number the number; panics at 2; makes 5 again until it has been made three times.
    #[derive(Default)]
    struct Numbers {
        installed: parking_lot::Mutex<Vec<u32>>,
    }

    impl Follower for Numbers {
        type Declared = u32;
        type Made = u32;

        fn make(&self, declared: &Arc<u32>, _: Instant) -> Option<u32> {
            assert!(**declared != 2, "on purpose");
            (**declared > 0).then_some(**declared)
        }

        async fn install(&self, made: u32) {
            self.installed.lock().push(made);
        }

        fn again(&self) -> Option<Instant> {
            let fives = self.installed.lock().iter().filter(|made| **made == 5).count();
            (1..3).contains(&fives).then(|| Instant::now() + Duration::from_millis(1))
        }
    }

    #[tokio::test]
    async fn the_last_good_one_stays_and_time_may_ask_for_more() {
        let (publish, declared) = watch::channel(Arc::new(0));
        let numbers = Arc::new(Numbers::default());
        let shutdown = Shutdown::new();
        let stopped = tokio::spawn(follow(Arc::new(Numbers::default()), declared.clone(), shutdown.clone()));
        let following = tokio::spawn(follow(numbers.clone(), declared, Shutdown::new()));
        let until = async |wanted: &[u32]| {
            while *numbers.installed.lock() != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        for (number, wanted) in [(1, &[1][..]), (2, &[1]), (3, &[1, 3]), (5, &[1, 3, 5, 5, 5])] {
            publish.send_replace(Arc::new(number));
            tokio::time::timeout(Duration::from_secs(20), until(wanted)).await.unwrap();
        }
        shutdown.begin();
        assert!(stopped.await.unwrap().is_ok());
        drop(publish);
        assert!(following.await.unwrap().is_err(), "nobody said to stop");
    }
}
