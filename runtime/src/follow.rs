//! Compile aside, keep the last, swap: how a server follows what is declared.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::Shutdown;

/// How something that is declared is put into service.
pub trait Follower: Send + Sync + 'static {
    /// What is declared.
    type Declared: Send + Sync + 'static;
    /// What it is compiled to.
    type Made: Send + 'static;

    /// Compiles it. May take long, and runs on a thread that answers no requests. None where nothing is declared yet.
    fn make(&self, declared: &Arc<Self::Declared>, now: Instant) -> Option<Self::Made>;

    /// Puts it into service.
    fn install(&self, made: Self::Made) -> impl Future<Output = ()> + Send;

    /// When to compile the same again, if that is needed: for example when a grace has passed.
    fn again(&self) -> Option<Instant> {
        None
    }

    /// What else there is to do while nothing new is declared. Dropped as soon as something is, and begun anew
    /// afterwards: it must lose nothing when it is dropped where it waits.
    ///
    /// # Errors
    /// When there is no sense in going on.
    fn meanwhile(&self) -> impl Future<Output = anyhow::Result<Infallible>> + Send {
        std::future::pending()
    }
}

/// Compiles each state of `declared` and puts it into service, until shutdown. If compiling panics, what was in
/// service before stays.
///
/// # Errors
/// When the sender of `declared` is gone although shutdown has not begun: no later edit would ever take effect.
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
            Err(failure) => {
                let by = std::any::type_name::<F>();
                metrics::counter!("waykeeper_follow_panics_total", "by" => by).increment(1);
                tracing::error!(
                    by,
                    panicked = failure.is_panic(),
                    "what is declared could not be put into service; what was there before stays"
                );
            }
        }
        let again = follower.again();
        tokio::select! {
            changed = declared.changed() => if changed.is_err() {
                // While stopping, the sender may be dropped before this is told to stop.
                anyhow::ensure!(shutdown.is_begun(), "nobody reads what is declared any more");
                return Ok(());
            },
            () = shutdown.begun() => return Ok(()),
            ended = follower.meanwhile() => match ended? {},
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
        hints: tokio::sync::Notify,
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

        /// Notes a hint as 0, and gives up at the third.
        async fn meanwhile(&self) -> anyhow::Result<Infallible> {
            loop {
                self.hints.notified().await;
                self.installed.lock().push(0);
                anyhow::ensure!(self.installed.lock().iter().filter(|made| **made == 0).count() < 3, "enough");
            }
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

    #[tokio::test]
    async fn something_else_is_done_between_what_is_declared_and_may_end_it() {
        let (publish, declared) = watch::channel(Arc::new(1));
        let numbers = Arc::new(Numbers::default());
        let following = tokio::spawn(follow(numbers.clone(), declared, Shutdown::new()));
        let wait = async |wanted: &[u32]| {
            while *numbers.installed.lock() != wanted {
                tokio::task::yield_now().await;
            }
        };
        wait(&[1]).await;
        numbers.hints.notify_one();
        wait(&[1, 0]).await;
        publish.send_replace(Arc::new(3));
        wait(&[1, 0, 3]).await;
        numbers.hints.notify_one();
        wait(&[1, 0, 3, 0]).await;
        numbers.hints.notify_one();
        assert_eq!(following.await.unwrap().unwrap_err().to_string(), "enough");
    }
}
